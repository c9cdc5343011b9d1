"""What the card of a classifier of users shows, measured on test images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from echoform_train.data.spectrograms import SpectrogramData, Spectrograms
from echoform_train.scoring.calibration import calibration_error
from echoform_train.scoring.intervals import share_interval


def accuracy(logits: Tensor, users: Tensor) -> float:
    """Share of images whose largest logit is that of their user, 0..1."""
    return float((logits.argmax(1) == users).double().mean())


def card_scores(
    logits: Tensor, users: Tensor, temperature: float, nobody: Mapping[str, Any] | None
) -> dict[str, dict[str, Any]]:
    """Scores of the card.

    Args:
        logits: float [N, K], of test images.
        users: int64 [N].
        temperature: What the logits are divided by.
        nobody: Facts on the answer "nobody": its false-accept and false-reject rates; None without that answer.
    """
    hits = (logits.argmax(1) == users).double().numpy()
    interval = share_interval([float(hits.mean())], len(hits))
    scores: dict[str, dict[str, Any]] = {
        "accuracy": {**interval._asdict(), "n": len(hits), "interval_over": "images"},
        "ece": {
            "mean": calibration_error((logits / temperature).softmax(1), users),
            "baselines": {"before calibration": calibration_error(logits.softmax(1), users)},
        },
    }
    if nobody is not None:
        scores["false_reject_rate"] = {"mean": nobody["false_reject_rate"]}
        if nobody["false_accept_rate"] is not None:
            scores["false_accept_rate"] = {"mean": nobody["false_accept_rate"]}
    return scores


def card_tables(logits: Tensor, test: Spectrograms, data: SpectrogramData) -> dict[str, Any]:
    """Accuracy per user and condition, and the confusion, on test images."""
    predicted, count = logits.argmax(1), len(data.id2label)
    hits = (predicted == test.users).double()
    confusion = torch.bincount(test.users * count + predicted, minlength=count**2).view(count, count)
    by_user = {data.id2label[user]: hits[test.users == user] for user in sorted(data.id2label)}
    by_condition = {
        name: {label: hits[test.conditions[name] == value] for value, label in labels.items()}
        for name, labels in data.condition_labels.items()
    }
    return {
        "accuracy_by_user": {name: float(each.mean()) for name, each in by_user.items() if len(each)},
        "accuracy_by_condition": {
            name: {label: float(each.mean()) for label, each in labels.items() if len(each)}
            for name, labels in by_condition.items()
        },
        "confusion": confusion.tolist(),
    }
