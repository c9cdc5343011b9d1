"""The scores of generated spectrograms as a published table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tables import Table, cell, mean_cell

from echoform_train.scoring.scores import LABELS, SHARES


def scores_table(scores: Mapping[str, Mapping[str, Any]], shown: Sequence[str] = tuple(LABELS)) -> Table:
    """Scores with their 95 % intervals, and what real images reach.

    Args:
        scores: For each column, the entries of `scores.json` by the names of LABELS.
        shown: Scores to show, a row each.
    """
    rows = []
    for name in shown:
        # Shares are published in percent.
        text, unit, factor = ("{:.1f}", " %", 100) if name in SHARES else ("{:.3f}", "", 1)
        entries = [column[name] for column in scores.values()]
        floor = entries[0]["floor"]
        real = cell(text + unit, None if floor is None else factor * floor)
        rows.append([LABELS[name].partition(":")[0], *(mean_cell(one, text, unit, factor) for one in entries), real])
    first = next(iter(scores.values()))[shown[0]]
    over = "one seed" if first["low"] is None else f"95 % intervals over {first['n']} {first['interval_over']}"
    return {"columns": [over, *scores, "real in its place"], "rows": rows}
