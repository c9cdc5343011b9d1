"""Hand-made rows of classifiers, as a study measures them."""

from __future__ import annotations

from typing import Any, cast

from echoform_train.study.accuracy.rows import Row


def make_row(arm: str, accuracy: float, seed: int, **facts: Any) -> Row:
    """A row of 10 images per user, a ResNet and the first draw; `facts` replace these."""
    known = {
        "n": 10,
        "arm": arm,
        "family": "ResNet",
        "seed": seed,
        "draw": 0,
        "condition": None,
        "augmentation": "real",
        "images": 30,
        "seen": 8000,
        "share": 0.0,
        "weight": 1.0,
        "note": None,
        "validation": 0.0,
        "accuracy": accuracy,
        "hits": [],
    }
    return cast(Row, known | facts)
