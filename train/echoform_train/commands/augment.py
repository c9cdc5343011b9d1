"""`echoform augment`: add generated spectrograms to a training set, and measure whether they help a classifier."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from echoform_train.data.config import PublishConfig, data_facts
from echoform_train.data.reading import ReadingConfig
from echoform_train.engine.errors import UserError
from echoform_train.engine.files import FACTS, MODEL_INDEX, PIPELINE, REPORT_DATA, REPORT_PAGE, SPLIT
from echoform_train.engine.json_files import read_json_object, write_json
from echoform_train.engine.parallel import usable_cores
from echoform_train.engine.resolution import OptionalResolution
from echoform_train.study.config import GeneratorConfig, StudyConfig

if TYPE_CHECKING:
    from echoform_train.data.spectrograms import SpectrogramData
    from echoform_train.study.accuracy.verdict import Verdict
    from echoform_train.study.plan import Study
    from echoform_train.study.report_types import Report

STAGES, DATASET = "stages", "dataset"
"""Folders inside the output folder: work of the stages, and the augmented data set."""


@dataclass(frozen=True, kw_only=True)
class Config(PublishConfig):
    """Train a generator on real spectrograms, add generated ones to them, and measure whether that helps a classifier.

    For each number of real images per user, a generator and classifiers are trained on those images only. Measured on
    held-out recordings is what generated images add to the best classical augmentation. Writes the augmented data set
    and a report. Started again after an interruption, or with other flags, it makes only what is missing.
    """

    data: tyro.conf.Positional[str]
    """Folder of real spectrograms, one folder per user, or the id of a data set on the Hub."""
    output_dir: tyro.conf.Positional[Path]
    """Folder for report.html, report.json, dataset/, pipeline/, and stages/ with everything that was trained."""
    preset: Literal["cpu", "quick"] = "cpu"
    """Settings to start from; every other flag overrides them. quick: rough results in some minutes."""
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
    the size of the images."""
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


@dataclass(frozen=True, kw_only=True)
class AugmentResult:
    """Results of a study, and the files that it wrote."""

    report: Report
    """Content of report.json."""
    page: Path
    """The report to read, report.html."""
    dataset: Path
    """Folder of the augmented data set."""
    pipeline: Path
    """Folder of the generator that made the images of the data set."""
    url: str | None
    """Commit on the Hub, if the data set was pushed."""

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
    from echoform_train.data.split_files import write_split
    from echoform_train.study.report_data import assemble_report
    from echoform_train.study.report_page import write_page
    from echoform_train.study.report_pictures import draw_pictures
    from echoform_train.study.run import run_study

    if config.push_to_hub is not None:
        check_access(config.push_to_hub, private=config.private, repo_type="dataset")
    # All inputs are checked here, before hours of training.
    study = plan(config)
    out = config.output_dir
    write_split(study.data.split, out / SPLIT)
    results = run_study(study, out / STAGES, out / DATASET)

    # Page and card are made from the content of report.json alone.
    report = assemble_report(study, results)
    write_json(out / REPORT_DATA, report)
    kept = results.images[study.largest.name].sample
    write_page(report, draw_pictures(study.data, kept, report["suspicious"]), out / REPORT_PAGE)
    _export_pipeline(study, results.pipeline, report, out / PIPELINE, config.people)
    print(f"\n{report['verdict']['sentence']}\nData set: {out / DATASET}\nPage: {out / REPORT_PAGE}")
    return AugmentResult(
        report=report,
        page=out / REPORT_PAGE,
        dataset=out / DATASET,
        pipeline=out / PIPELINE,
        url=None if config.push_to_hub is None else _publish(config, config.push_to_hub),
    )


def plan(config: Config) -> Study:
    """Read the data, and check everything that can be known before anything trains.

    Raises:
        FileNotFoundError: If the data or the pipeline do not exist.
        ValueError: If the data are not fit for a study, or the pipeline does not fit them.
    """
    from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
    from echoform_train.data.split_files import check_writable
    from echoform_train.engine.evaluation import choose_device
    from echoform_train.publishing.exported import find_pipeline
    from echoform_train.study.make_plan import plan_study
    from echoform_train.study.plan_checks import check_pipeline, check_split_is_known

    pipeline = None if config.pipeline is None else find_pipeline(config.pipeline, VQLDMDopplerPipeline)
    data = _load_data(config, pipeline)
    if pipeline is not None:
        check_split_is_known(data, data.split_file)
        check_pipeline(pipeline, data, config.generator)
    check_writable(data.split, config.output_dir / SPLIT)
    # A small network uses one core, so each core gets a process; a GPU is used by one process.
    device = choose_device(config.device)
    study = plan_study(
        data,
        config.study,
        config.generator,
        pipeline=pipeline,
        per_user=config.per_user,
        balance_to=config.balance_to,
        window_s=config.window_s,
        device=device,
        workers=config.workers or (usable_cores() if device == "cpu" else 1),
        seed=config.seed,
    )
    users = len(data.id2label)
    print(f"{data.source}: {len(data.train)} images of {users} users for training, {len(data.test)} held out")
    for note in study.notes:
        print(note)
    return study


def _load_data(config: Config, pipeline: Path | None) -> SpectrogramData:
    """The data with the split of the study, or with that of the training of a given pipeline."""
    from echoform_train.data.spectrograms import load_spectrograms
    from echoform_train.data.split_files import split_to_read
    from echoform_train.study.generators.training import IMAGE_HALVING

    return load_spectrograms(
        config.data,
        split_file=split_to_read(config.split_file, config.output_dir if pipeline is None else pipeline.parent),
        resolution=config.resolution,
        halving=IMAGE_HALVING if pipeline is None else None,
        colormap=config.colormap,
        window_s=config.window_s,
        hop_s=config.hop_s,
        name_pattern=config.name_pattern,
        gap_windows=config.gap_windows,
        reading=config.reading,
        skip_bad_files=config.skip_bad_files,
        seed=config.seed,
    )


def _export_pipeline(
    study: Study, source: Path, report: Report, folder: Path, people: Literal["simulated", "recorded"] | None
) -> None:
    """Copy the generator of the largest size to OUTPUT_DIR/pipeline, with a card that shows the result."""
    from echoform.hub import CARD
    from echoform_train.publishing.card import write_card
    from echoform_train.publishing.copy_model import copy_model
    from echoform_train.publishing.identity import model_identity
    from echoform_train.study.report_card import card_facts

    if folder.is_dir() and not (folder / MODEL_INDEX).is_file():
        raise UserError(f"{folder} must be empty or hold an exported pipeline, it holds something else")
    # An existing card may have been edited by hand, so it is kept, and only updated below.
    copy_model(source, folder, keep=(CARD,))
    if not (folder / FACTS).is_file():
        print(f"{study.pipeline} holds no {FACTS}: nothing is known of its training, so that no card is written")
        return
    if study.pipeline is None:
        # The training used varied copies of each image; the card counts the originals.
        real = data_facts(replace(study.data, train=study.largest.images))
        write_json(folder / FACTS, read_json_object(folder / FACTS) | {"data": real})
    write_card(
        folder,
        report["scores"]["drawn"]["scores"],
        {
            "num_inference_steps": study.generator.num_inference_steps,
            "guidance_scale": study.generator.guidance_scale,
        },
        people=people,
        augmentation=card_facts(report),
        scores_of=model_identity(source),
    )


def _publish(config: Config, repo: str) -> str:
    from echoform_train.data.publish import publish_dataset

    url = publish_dataset(
        config.output_dir / DATASET,
        repo,
        people=config.people,
        private=config.private,
        revision=config.revision,
        license=config.license,
    )
    print(f"Pushed to {url}")
    return url
