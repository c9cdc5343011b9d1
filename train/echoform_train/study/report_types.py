"""The content of report.json, from which the page and the model card of a study are made."""

from __future__ import annotations

from typing import Any, TypedDict

from echoform_train.scoring.scores import Scores
from echoform_train.study.accuracy.rows import Row
from echoform_train.study.accuracy.tables import ConditionAccuracies, Point, Points
from echoform_train.study.accuracy.verdict import Verdict
from echoform_train.study.gait.findings import GaitFindings
from echoform_train.study.images.nearest_training import Suspect
from echoform_train.study.stages.confusion import ConfusionFacts


class SizeReport(TypedDict):
    """What was made and measured at one number of real images per user; None for accuracies that were not measured."""

    size: str
    """The number that was asked for, or "all"."""
    images_a_user: str
    """The number of images that users really have, such as "10", "7 to 10" or "24 (all)"."""
    images: int
    """Real images of all users together."""
    draws: int
    best_classical: str | None
    """The best classical augmentation, of each family if they differ."""
    drawn: int
    """Generated images of all draws together."""
    kept: int
    reasons: dict[str, int]
    """Number of drawn images that were not kept, by reason."""
    real: Points | None
    classical: Points | None
    generated: Points | None
    both: Points | None
    difference: Points | None
    """`both` minus `classical`."""


class ConfusionReport(ConfusionFacts):
    """Tables of confusion at one number of real images per user."""

    size: str
    """As `SizeReport.images_a_user`."""


class CopiedShares(TypedDict):
    """Share of images that are nearer to a training image than a third of the distance to the second nearest, 0..1."""

    generated: float
    real: float
    """Of the real test images."""


class StageCost(TypedDict):
    """Cost of one stage."""

    name: str
    seconds: float
    cpu_seconds: float
    summary: str


class Cost(TypedDict):
    """Cost of a study."""

    seconds: float
    """Sum over all stages."""
    cpu_seconds: float
    workers: int
    """Processes that made stages side by side."""
    stages: list[StageCost]


class ReportFacts(TypedDict):
    """Everything that the page of a study shows."""

    title: str
    subject: str
    """One sentence on what was studied on which data."""
    notes: list[str]
    """Sentences of warning, such as on sizes that were left out."""
    verdict: Verdict
    over: str
    """What intervals are taken over, in words."""
    chance: float
    """Share of images named right by guessing."""
    sizes: list[SizeReport]
    """In ascending order."""
    arms: dict[str, dict[str, Point]]
    """Accuracy of every arm, by the name of the size."""
    conditions: list[ConditionAccuracies]
    confusion: ConfusionReport | None
    suspicious: list[Suspect]
    memorised: CopiedShares
    physics: GaitFindings | None
    """None if gait cannot be read from the images."""
    scores: dict[str, Scores]
    """Of the "drawn" images, and of the "kept" ones if there are enough."""
    axes: dict[str, float] | None
    """Content of axes.json of the data."""
    dataset: str
    """Sentence on the augmented data set."""
    cost: Cost
    provenance: dict[str, Any]
    """As `provenance` returns it."""


class Report(ReportFacts):
    """Everything that report.json holds."""

    rows: list[Row]
    """Every classifier that was trained."""
