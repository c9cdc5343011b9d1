"""The result of a study in the form that its model card shows."""

from __future__ import annotations

from echoform_cards.augmentation import Augmentation, AugmentationRow
from echoform_train.study.accuracy.tables import Points
from echoform_train.study.report_types import ReportFacts, SizeReport


def card_facts(report: ReportFacts) -> Augmentation:
    """Verdict and table of accuracies for the template of the card."""
    return {
        "verdict": report["verdict"]["word"],
        "sentence": report["verdict"]["sentence"],
        "exchange": report["exchange"]["sentence"],
        "classifier": report["classifier"]["sentence"] if report["classifier"] else None,
        "over": report["over"],
        "rows": [_card_row(size) for size in report["sizes"]],
        "notes": report["notes"],
    }


def _card_row(size: SizeReport) -> AugmentationRow:
    difference = size["difference"]["all"] if size["difference"] else None
    return {
        "images_a_user": size["images_a_user"],
        "real": _mean(size["real"]),
        "classical": _mean(size["classical"]),
        "generated": _mean(size["generated"]),
        "both": _mean(size["both"]),
        "difference": difference["mean"] if difference else None,
        "low": difference["low"] if difference else None,
        "high": difference["high"] if difference else None,
    }


def _mean(points: Points | None) -> float | None:
    return points["all"]["mean"] if points else None
