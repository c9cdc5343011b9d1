"""The content of report.json, from which the page and the model card of a study are made."""

from __future__ import annotations

from typing import Any, TypedDict

from echoform_train.scoring.scores import Scores
from echoform_train.study.accuracy.exchange import Exchange
from echoform_train.study.accuracy.rows import Row
from echoform_train.study.accuracy.tables import ConditionAccuracies, Point, Points
from echoform_train.study.accuracy.verdict import Verdict
from echoform_train.study.gait.findings import GaitFindings
from echoform_train.study.images.nearest_training import Suspect
from echoform_train.study.recipes.table import RecipeAccuracies
from echoform_train.study.stages.confusion import ConfusionFacts


class SizeReport(TypedDict):
    """Results at one number of real images per user; None for accuracies that were not measured."""

    size: str
    """Requested number of images per user, or "all"."""
    images_a_user: str
    """Actual number of images per user, such as "10", "7 to 10" or "24 (all)"."""
    images: int
    """Real images of all users together."""
    draws: int
    best_classical: str | None
    """The best classical augmentation; that of each family if the families differ."""
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
    recommended: str
    """Recommended share of generated images, such as "1/4 generated, weight 1", or "none"; that of each family if they
    differ."""


class ExchangeReport(TypedDict):
    """How many more real images would have done what the generated ones did."""

    generated_per_user: int
    """Generated images per user that classifiers see, mean over users and generators."""
    sentence: str | None
    """None if fewer than two sizes were measured, which make no curve, or classifiers have learned nothing."""
    rates: list[Exchange]


class ConfusionReport(ConfusionFacts):
    """Tables of confusion at one number of real images per user."""

    size: str
    """Actual number of images per user, as in `SizeReport`."""


class ClassifierReport(TypedDict):
    """The classifier that the study hands over."""

    way: str
    """How it was trained, in words."""
    scores: dict[str, dict[str, Any]]
    """Scores of its card, on test images."""
    sentence: str


class CopiedShares(TypedDict):
    """Share of images that count as copies of training images, 0..1; see `copied_share`."""

    generated: float
    real: float
    """Share of the real test images, for comparison."""


class StageCost(TypedDict):
    """Cost of one stage."""

    name: str
    seconds: float
    cpu_seconds: float
    summary: str
    code: str
    """State of the code that made it: commit or release; several if the code changed in between."""


class Cost(TypedDict):
    """Cost of a study."""

    seconds: float
    """Sum over all stages."""
    cpu_seconds: float
    workers: int
    """Number of parallel processes that made stages."""
    stages: list[StageCost]


class ReportFacts(TypedDict):
    """Everything that the page of a study shows."""

    title: str
    subject: str
    """One sentence on the topic and the data of the study."""
    notes: list[str]
    """Warnings for the reader, such as on sizes that were left out, or on numbers that other code has measured."""
    verdict: Verdict
    exchange: ExchangeReport
    over: str
    """Independent units that intervals are computed over, in words."""
    chance: float
    """Accuracy of guessing."""
    sizes: list[SizeReport]
    """In ascending order."""
    arms: dict[str, dict[str, Point]]
    """Accuracy of every arm, by the name of the size."""
    recipes: list[RecipeAccuracies]
    """[] if they were not asked for."""
    conditions: list[ConditionAccuracies]
    confusion: ConfusionReport | None
    suspicious: list[Suspect]
    memorised: CopiedShares
    physics: GaitFindings | None
    """None if gait cannot be read from the images."""
    scores: dict[str, Scores]
    """Scores by "drawn" and, if enough images were kept, "kept"."""
    axes: dict[str, float] | None
    """Content of axes.json of the data."""
    dataset: str
    """Sentence on the augmented data set."""
    classifier: ClassifierReport | None
    """None if the images cannot be read by a classifier; a note says why."""
    cost: Cost
    provenance: dict[str, Any]
    """Result of `provenance`."""


class Report(ReportFacts):
    """Everything that report.json holds."""

    rows: list[Row]
    """Every classifier that was trained."""
