"""Steps before any training: a given pipeline is found, the real images are read, and the study is planned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform_train.data.facts import SpectrogramFacts
from echoform_train.data.reading import ReadingConfig
from echoform_train.data.spectrograms import SpectrogramData, load_spectrograms
from echoform_train.data.split_files import check_writable, split_to_read
from echoform_train.engine.evaluation import choose_device
from echoform_train.engine.files import FACTS, SPLIT
from echoform_train.engine.parallel import usable_cores
from echoform_train.engine.resolution import OptionalResolution
from echoform_train.publishing.cards.spectrogram import DenoiserTraining
from echoform_train.publishing.exported import find_pipeline
from echoform_train.publishing.training_facts import read_training
from echoform_train.study.config import GeneratorConfig, StudyConfig
from echoform_train.study.generators.training import IMAGE_HALVING
from echoform_train.study.make_plan import plan_study
from echoform_train.study.plan import Study
from echoform_train.study.plan_checks import check_pipeline, check_split_is_known
from echoform_train.study.steps.step import Step


@dataclass(frozen=True, kw_only=True)
class GivenPipeline(Step[Path | None]):
    """Find the pipeline that is used instead of training generators."""

    source: str | None
    """Folder or id on the Hub; None if generators are trained."""

    def make(self) -> Path | None:
        """Folder of the pipeline; None if none is given."""
        return None if self.source is None else find_pipeline(self.source, VQLDMDopplerPipeline)


@dataclass(frozen=True, kw_only=True)
class RealImages(Step[SpectrogramData]):
    """Read the real images with the split of the study, or with that of the training of a given pipeline."""

    pipeline: GivenPipeline
    source: str
    """Folder, or id of a data set on the Hub."""
    output_dir: Path
    """Folder of the study, which may hold a split."""
    split_file: Path | None
    resolution: OptionalResolution
    colormap: str
    window_s: float | None
    hop_s: float | None
    name_pattern: str | None
    gap_windows: int
    reading: ReadingConfig
    skip_bad_files: bool
    seed: int
    """Seed of the split, if it is made."""

    def make(self) -> SpectrogramData:
        """The images with their split."""
        pipeline = self.pipeline.result
        return load_spectrograms(
            self.source,
            split_file=split_to_read(self.split_file, self.output_dir if pipeline is None else pipeline.parent),
            resolution=_size_of(pipeline) if self.resolution is None and pipeline is not None else self.resolution,
            halving=IMAGE_HALVING if pipeline is None else None,
            native=pipeline is None,
            colormap=self.colormap,
            window_s=self.window_s,
            hop_s=self.hop_s,
            name_pattern=self.name_pattern,
            gap_windows=self.gap_windows,
            reading=self.reading,
            skip_bad_files=self.skip_bad_files,
            seed=self.seed,
        )


def _size_of(pipeline: Path) -> int | str | None:
    """Size of the images that a pipeline was trained on, if its facts tell it."""
    if not (pipeline / FACTS).is_file():
        return None
    return read_training(pipeline / FACTS, DenoiserTraining, SpectrogramFacts)["data"]["resolution"]


@dataclass(frozen=True, kw_only=True)
class Planning(Step[Study]):
    """Check all inputs, before hours of training, and decide everything that the study does."""

    pipeline: GivenPipeline
    images: RealImages
    settings: StudyConfig
    generator: GeneratorConfig
    per_user: int | None
    balance_to: int | None
    window_s: float | None
    device: str
    workers: int | None
    seed: int
    output_dir: Path
    """Folder of the study, to which the split must be writable."""

    def make(self) -> Study:
        """The plan."""
        pipeline, data = self.pipeline.result, self.images.result
        if pipeline is not None:
            check_split_is_known(data, data.split_file)
            check_pipeline(pipeline, data, self.generator)
        check_writable(data.split, self.output_dir / SPLIT)
        # A small network uses one core, so each core gets a process; a GPU is used by one process.
        device = choose_device(self.device)
        study = plan_study(
            data,
            self.settings,
            self.generator,
            pipeline=pipeline,
            per_user=self.per_user,
            balance_to=self.balance_to,
            window_s=self.window_s,
            device=device,
            workers=self.workers or (usable_cores() if device == "cpu" else 1),
            seed=self.seed,
        )
        users = len(data.id2label)
        print(f"{data.source}: {len(data.train)} images of {users} users for training, {len(data.test)} held out")
        for note in study.notes:
            print(note)
        return study
