"""`echoform augment`: add generated spectrograms to a training set, and measure whether they help a classifier."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from echoform_train.data.config import PublishConfig
from echoform_train.data.reading import ReadingConfig
from echoform_train.engine.errors import UserError
from echoform_train.engine.files import CLASSIFIER, PIPELINE, REPORT_PAGE
from echoform_train.engine.resolution import OptionalResolution
from echoform_train.engine.shown import ShownAsTable
from echoform_train.study.config import GeneratorConfig, StudyConfig

if TYPE_CHECKING:
    from echoform_train.study.accuracy.verdict import Verdict
    from echoform_train.study.plan import Study
    from echoform_train.study.report_types import Report
    from echoform_train.study.steps.inputs import Planning

STAGES, DATASET = "stages", "dataset"
"""Folders inside the output folder: work of the stages, and the augmented data set."""


@dataclass(frozen=True, kw_only=True)
class Config(PublishConfig):
    """Train a generator on real spectrograms, add generated ones to them, and measure whether that helps a classifier.

    For each number of real images per user, a generator and classifiers are trained on those images only. Measured on
    held-out recordings is what generated images add to the best classical augmentation. Writes a classifier that was
    trained in the way that did best, the augmented data set and a report. Started again after an interruption, or with
    other flags, it makes only what is missing.
    """

    data: tyro.conf.Positional[str]
    """Folder of real spectrograms, one folder per user, or the id of a data set on the Hub."""
    output_dir: tyro.conf.Positional[Path]
    """Folder for report.html, report.json, classifier/, dataset/, pipeline/, and stages/ with everything that was
    trained."""
    preset: Literal["cpu", "quick"] = "cpu"
    """Settings to start from; every other flag overrides them. quick: rough results at one size in about a quarter of
    an hour."""
    pipeline: str | None = None
    """Exported pipeline (folder, or id on the Hub) to use instead of training generators. Only the size "all" is
    measured then, because the pipeline was trained on all training images."""
    split_file: Path | None = None
    """File of an existing split to use. Default: OUTPUT_DIR/split.json, which a study writes, else the split of a
    published data set or a new one. With --pipeline: the split of its training; another one is refused."""
    per_user: int | None = None
    """Generated images per user in the data set. Default: 100."""
    balance_to: int | None = None
    """Instead of --per-user: add generated images until each user has this many, real and generated together."""
    resolution: OptionalResolution = None
    """Height and width to resize to, in pixels: 64, or 64x128 for height 64 (Doppler) and width 128 (time). Default:
    the size of the images, or their native grid if they were enlarged; with --pipeline, the size of its images."""
    colormap: str = "auto"
    """Colour map of the images: auto detects it, none keeps RGB, or its name."""
    window_s: float | None = None
    """Length of one image, in seconds. Default: axes.json of the data."""
    hop_s: float | None = None
    """Seconds from the start of an image to that of the next one, where names count; needs --window-s. Default:
    found from names and pixels."""
    name_pattern: str | None = None
    """What the names of files tell, such as "{user}_{condition}_{recording}_Doppler{index}"; with {user}, the
    images need no folders of users."""
    gap_windows: int = 2
    """Windows left out at each cut through a recording; only used if the length of a window is unknown."""
    skip_bad_files: bool = False
    """List and skip files that cannot be used instead of stopping."""
    reading: Annotated[ReadingConfig, tyro.conf.arg(name="")] = field(default_factory=ReadingConfig)
    seed: int = 0
    """Seed of the split, of the choice of real images at each size, and of the generators."""
    device: str = "auto"
    """Where classifiers and judges are trained; auto: on the GPU, if there is one."""
    workers: int | None = None
    """Number of parallel training processes. Default: one per CPU core, or 1 with a GPU. Results with 1 and with
    several processes may differ in the last digits, because sums are rounded in another order."""
    study: Annotated[StudyConfig, tyro.conf.arg(name="")] = field(default_factory=StudyConfig)
    generator: Annotated[GeneratorConfig, tyro.conf.arg(name="")] = field(default_factory=GeneratorConfig)
    people: Literal["simulated", "recorded"] | None = None
    """Whether the people in the data are simulated or recorded, for the cards. Default: the cards carry the same
    warning as for recorded people."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.workers is not None and self.workers < 1:
            raise UserError(f"--workers must be at least 1, got {self.workers}")
        if self.per_user is not None and self.balance_to is not None:
            raise UserError(
                f"one of --per-user and --balance-to must be given, not both, got {self.per_user} and {self.balance_to}"
            )


PRESETS = {
    "cpu": Config(data=tyro.MISSING, output_dir=tyro.MISSING),
    "quick": Config(
        data=tyro.MISSING,
        output_dir=tyro.MISSING,
        preset="quick",
        study=StudyConfig(sizes=("10",), seeds=3, classifier_train_images=4_000, judge_train_images=6_000),
        generator=GeneratorConfig(vq_train_images=8_000, ldm_train_images=16_000),
    ),
}


@dataclass(frozen=True, kw_only=True, repr=False)
class AugmentResult(ShownAsTable):
    """Results of a study, and the files that it wrote."""

    report: Report
    """Content of report.json."""
    page: Path
    """The report to read, report.html."""
    dataset: Path
    """Folder of the augmented data set."""
    pipeline: Path
    """Folder of the generator that made the images of the data set."""
    classifier: Path | None
    """Folder of the classifier that was trained in the recommended way; None if the images cannot be read by one."""
    url: str | None
    """Commit on the Hub, if the data set was pushed."""

    def shown(self) -> Iterator[tuple[str, str]]:
        """Rows of the table that it prints: the verdict, and the paths."""
        yield "verdict", self.verdict["sentence"]
        yield from super().shown()

    @property
    def verdict(self) -> Verdict:
        """Whether generated images help a classifier that has the best classical augmentation."""
        return self.report["verdict"]


def main(config: Config) -> AugmentResult:
    """Make everything that is missing, write report and cards, and print the verdict.

    Raises:
        FileNotFoundError: If the data or the pipeline do not exist.
        ValueError: If the data are not fit for a study, or the pipeline does not fit them; raised before training.
        PushError: If the Hub refuses the data set; raised before training if the token cannot write there.
    """
    from echoform.hub import check_access
    from echoform_train.study.steps.outputs import (
        ClassifierExport,
        DatasetUpload,
        GeneratorExport,
        ReportFiles,
        StageRuns,
    )

    if config.push_to_hub is not None:
        check_access(config.push_to_hub, private=config.private, repo_type="dataset")
    out = config.output_dir
    planning = _planning(config)
    runs = StageRuns(plan=planning, output_dir=out, stages=out / STAGES, dataset=out / DATASET)
    report = ReportFiles(plan=planning, runs=runs, output_dir=out)
    export = GeneratorExport(
        plan=planning,
        runs=runs,
        report=report,
        folder=out / PIPELINE,
        people=config.people,
        license=config.license,
    )
    classifier = ClassifierExport(
        plan=planning, runs=runs, folder=out / CLASSIFIER, people=config.people, license=config.license
    )
    upload = DatasetUpload(
        dataset=out / DATASET,
        repo=config.push_to_hub,
        people=config.people,
        private=config.private,
        revision=config.revision,
        license=config.license,
    )
    # Each step first makes those that it continues: the plan, which checks all inputs, stages, report, and this export.
    pipeline, handed_over = export.result, classifier.result
    told = [note for note in report.result["notes"] if "learned nothing" in note]
    chance = f"Guessing at random would be right for {100 * report.result['chance']:.1f} %."
    print("\n".join(["", *told, report.result["verdict"]["sentence"], chance]))
    found = report.result["classifier"]
    if found is not None:
        print(found["sentence"])
    print(f"Data set: {out / DATASET}\nPage: {out / REPORT_PAGE}")
    return AugmentResult(
        report=report.result,
        page=out / REPORT_PAGE,
        dataset=out / DATASET,
        pipeline=pipeline,
        classifier=handed_over,
        url=upload.result,
    )


def plan(config: Config) -> Study:
    """Read the data, and check everything that can be known before anything trains.

    Raises:
        FileNotFoundError: If the data or the pipeline do not exist.
        ValueError: If the data are not fit for a study, or the pipeline does not fit them.
    """
    return _planning(config).result


def _planning(config: Config) -> Planning:
    """The steps before any training, each with the values that it needs; no other step sees the config."""
    from echoform_train.study.steps.inputs import GivenPipeline, Planning, RealImages

    pipeline = GivenPipeline(source=config.pipeline)
    images = RealImages(
        pipeline=pipeline,
        source=config.data,
        output_dir=config.output_dir,
        split_file=config.split_file,
        resolution=config.resolution,
        colormap=config.colormap,
        window_s=config.window_s,
        hop_s=config.hop_s,
        name_pattern=config.name_pattern,
        gap_windows=config.gap_windows,
        reading=config.reading,
        skip_bad_files=config.skip_bad_files,
        seed=config.seed,
    )
    return Planning(
        pipeline=pipeline,
        images=images,
        settings=config.study,
        generator=config.generator,
        per_user=config.per_user,
        balance_to=config.balance_to,
        window_s=config.window_s,
        device=config.device,
        workers=config.workers,
        seed=config.seed,
        output_dir=config.output_dir,
    )
