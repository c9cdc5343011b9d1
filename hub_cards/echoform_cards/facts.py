"""What facts a card takes: those that it knows, numbers that were measured, and None for each that is missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

PEOPLE = ("simulated", "recorded")
STAGE = ("name", "command", "commit", "versions", "machine", "seconds", "images_seen", "parameters")
SCORE = ("mean", "low", "high", "n", "interval_over", "floor", "baselines")


def complete(
    card: str,
    facts: Mapping[str, Any],
    *,
    required: Sequence[str],
    optional: Sequence[str],
    groups: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """The facts with every missing one as None; groups as dicts, `stages` as a list, `scores` as a dict.

    Args:
        card: What the facts are for, in words, such as "a model card".
        facts: As they came.
        required: Must be there and not empty.
        optional: May be missing or None.
        groups: Members of each fact that is a dict. A group without members may hold anything.

    Raises:
        ValueError: If a required fact is missing or empty, one is unknown, `people` of the data has another value than
            PEOPLE, or a score is not finite.
    """
    refuse_unknown("facts", card, facts, (*required, *optional, *groups))
    for name in required:
        if not facts.get(name):
            raise ValueError(f"{card} needs {' and '.join(required)}, got {name}={facts.get(name)!r}")
    full: dict[str, Any] = dict.fromkeys(optional) | dict(facts)
    for group, members in groups.items():
        values = facts.get(group) or {}
        if members:
            refuse_unknown(group, card, values, members)
        full[group] = dict.fromkeys(members) | dict(values)
    people = full.get("data", full).get("people")
    if people not in (None, *PEOPLE):
        raise ValueError(f"people of the data must be {' or '.join(PEOPLE)}, got {people!r}")
    if "stages" in optional:
        full["stages"] = [complete_record("stages", card, stage, STAGE) for stage in facts.get("stages") or []]
    if "scores" in optional:
        scores = facts.get("scores") or {}
        full["scores"] = {name: complete_record(name, card, score, SCORE) for name, score in scores.items()}
        for name, score in full["scores"].items():
            _check_finite(name, score)
    return full


def complete_record(where: str, card: str, record: Mapping[str, Any], members: Sequence[str]) -> dict[str, Any]:
    """A record with every missing member as None; raises ValueError where it holds another."""
    refuse_unknown(where, card, record, members)
    return dict.fromkeys(members) | dict(record)


def refuse_unknown(where: str, card: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raise a ValueError which names what `where` holds and `card` does not know; do nothing where it knows all."""
    unknown = sorted(given.keys() - set(known))
    if unknown:
        raise ValueError(f"{where} of {card} may hold {', '.join(known)}, got {', '.join(unknown)}")


def _check_finite(name: str, score: Mapping[str, Any]) -> None:
    values = {key: score[key] for key in ("mean", "low", "high", "floor")}
    values |= {f"baseline {key}": value for key, value in (score["baselines"] or {}).items()}
    for key, value in values.items():
        if (value is None and key == "mean") or (value is not None and not math.isfinite(value)):
            raise ValueError(f"a score must be finite, got {name} {key}={value}")
