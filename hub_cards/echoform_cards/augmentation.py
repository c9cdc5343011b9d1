"""What a study of augmentation found, as the lines and the table of a card."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from echoform_cards.facts import complete_record
from echoform_cards.rendering import percent

VERDICTS = ("helps", "no measurable effect", "hurts")
MEMBERS = ("verdict", "sentence", "over", "rows")
SHARES = ("real", "classical", "generated", "both")
ROW = ("images_a_user", *SHARES, "difference", "low", "high")


def points(share: float) -> str:
    """A difference of two shares in percentage points, with its sign: 0.0123 as +1.2."""
    return f"{100 * share:+.1f}"


def augmentation_rows(found: Mapping[str, Any]) -> list[dict[str, str]]:
    """The rows of the card's table as text, what was not measured empty.

    Args:
        found: `verdict`, one of VERDICTS; `sentence`, the verdict in words; `over`, what the intervals are taken over;
            `rows`, a list of `images_a_user` (str), accuracies 0..1 on held-out real images of a classifier that was
            trained on `real` images, with the best `classical` augmentation, with `generated` images, and with `both`;
            `difference` of both and classical, and the ends `low` and `high` of its 95 % interval.

    Raises:
        ValueError: If the verdict is another, a row holds something else, or a number is not finite.
    """
    if found["verdict"] not in VERDICTS:
        raise ValueError(f"a verdict on augmentation must be {', '.join(VERDICTS)}, got {found['verdict']!r}")
    rows = [complete_record("rows of augmentation", "a model card", row, ROW) for row in found["rows"] or []]
    for row in rows:
        for name in ROW[1:]:
            if row[name] is not None and not math.isfinite(row[name]):
                raise ValueError(f"a number of augmentation must be finite, got {name}={row[name]}")
    return [_row(row) for row in rows]


def _row(row: Mapping[str, Any]) -> dict[str, str]:
    difference = "" if row["difference"] is None else f"{points(row['difference'])} points"
    if row["low"] is not None and row["high"] is not None:
        difference += f" ({points(row['low'])} to {points(row['high'])})"
    shares = {name: "" if row[name] is None else percent(row[name]) for name in SHARES}
    return {"images_a_user": str(row["images_a_user"]), **shares, "difference": difference}
