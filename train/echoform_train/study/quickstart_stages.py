"""The stages of `echoform quickstart`: simulated data, both trainings, generated images and their scores."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from echoform_train.data.layout import SPLITS
from echoform_train.data.spectrograms import SpectrogramData
from echoform_train.engine.files import METADATA
from echoform_train.engine.resume import resume_settings
from echoform_train.publishing import without_echoform
from echoform_train.publishing.identity import model_identity
from echoform_train.radar.simulation import simulate
from echoform_train.radar.simulation_config import SimulationConfig
from echoform_train.scoring.generated import score_generated
from echoform_train.scoring.generated_images import read_generated, read_metadata
from echoform_train.scoring.scores import Scores
from echoform_train.study.content_hashes import split_hashes
from echoform_train.study.stage_cache import StageFacts
from echoform_train.trainers import ldm as train_ldm
from echoform_train.trainers import vq_vae as train_vq_vae


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """Simulate walkers."""

    config: SimulationConfig
    name: str = "data"

    def inputs(self) -> dict[str, Any]:
        """The settings of the simulation."""
        settings = asdict(self.config)
        return {_flag(name): value for name, value in settings.items() if name not in ("output_dir", "workers")}

    def make(self, folder: Path) -> StageFacts:
        """Fill the folder as `simulate` does."""
        simulate(replace(self.config, output_dir=folder))
        return {"summary": f"{self.config.users} simulated people"}


@dataclass(frozen=True, kw_only=True)
class FirstStageTraining:
    """Train the first stage, or continue its training."""

    data: SpectrogramData
    config: train_vq_vae.Config
    name: str = "vq-vae"

    def inputs(self) -> dict[str, Any]:
        """The images with their split, and the settings of the training."""
        return _data_inputs(self.data) | resume_settings(self.config)

    def make(self, folder: Path) -> StageFacts:
        """Fill the folder as `echoform train vq-vae` does."""
        result = train_vq_vae.main(replace(self.config, run=replace(self.config.run, output_dir=folder)))
        return {"summary": f"{result.facts['images_seen']:,} images seen"}


@dataclass(frozen=True, kw_only=True)
class DenoiserTraining:
    """Train the second stage, or continue its training."""

    data: SpectrogramData
    first_stage_key: str | None
    """Key of the stage of the first stage; None if there is none."""
    config: train_ldm.Config
    name: str = "ldm"

    def inputs(self) -> dict[str, Any]:
        """The images with their split, what the training starts from, and its settings."""
        source = self.config.initial_pipeline
        initial = {} if source is None else {"--initial-pipeline": model_identity(source)}
        return _data_inputs(self.data) | {"first stage": self.first_stage_key} | resume_settings(self.config) | initial

    def make(self, folder: Path) -> StageFacts:
        """Fill the folder as `echoform train ldm` does."""
        result = train_ldm.main(replace(self.config, run=replace(self.config.run, output_dir=folder)))
        return {"summary": f"{result.facts['images_seen']:,} images seen"}


class GenerationFacts(StageFacts):
    """The model that generated the images."""

    model: str
    """See `model_identity`."""


@dataclass(frozen=True, kw_only=True)
class Generation:
    """Generate images with the exported pipeline, in a process without echoform."""

    pipeline: Path
    images_per_user: int
    guidance_scale: float
    num_inference_steps: int
    sampling_seeds: Sequence[int]
    name: str = "generated"

    def inputs(self) -> dict[str, Any]:
        """The pipeline and the settings of the sampling."""
        settings = {_flag(name): value for name, value in vars(self).items() if name not in ("pipeline", "name")}
        return {"pipeline": model_identity(self.pipeline), **settings}

    def make(self, folder: Path) -> GenerationFacts:
        """Write seed-<seed>/ with metadata.jsonl per sampling seed; those that are complete already are kept."""
        missing = [seed for seed in self.sampling_seeds if not (folder / f"seed-{seed}" / METADATA).is_file()]
        arguments = [self.images_per_user, self.guidance_scale, self.num_inference_steps, *missing]
        command = [sys.executable, "-I", without_echoform.__file__, self.pipeline, folder, *arguments]
        if missing:
            # A fresh cache, so that the code comes from the pipeline's folder and not from an earlier load.
            with tempfile.TemporaryDirectory() as cache:
                environment = os.environ | {"HF_MODULES_CACHE": cache}
                subprocess.run([str(word) for word in command], env=environment, check=True)
        return {
            "summary": f"{self.images_per_user} images per user and sampling seed",
            "model": model_identity(self.pipeline),
        }


class QuickstartScores(StageFacts):
    """Scores of the generated images."""

    scores: Scores


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """Score the generated images."""

    data: SpectrogramData
    generated_key: str
    """Key of the stage that generated the images."""
    folders: Sequence[Path]
    """Folders of generated images, one per sampling seed."""
    judge_train_images: int
    seeds: Sequence[int]
    name: str = "scores"

    def inputs(self) -> dict[str, Any]:
        """The real and the generated images, and the settings of the judges."""
        return _data_inputs(self.data) | {
            "generated images": self.generated_key,
            "--judge-train-images": self.judge_train_images,
            "--sampling-seeds": self.seeds,
        }

    def make(self, folder: Path) -> QuickstartScores:
        """Return the scores; no file is written."""
        samples = read_generated([row for each in self.folders for row in read_metadata(each)], self.data)
        scores = score_generated(self.data, samples, judge_train_images=self.judge_train_images, seeds=self.seeds)
        return {"summary": f"{len(samples)} sets of generated images", "scores": scores}


def _data_inputs(data: SpectrogramData) -> dict[str, Any]:
    return {f"--data ({split})": found for split, found in zip(SPLITS, split_hashes(data), strict=True)}


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
