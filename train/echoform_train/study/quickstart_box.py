"""Where the trainings of `echoform quickstart` start: from the shipped walkers where these fit, else from scratch."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from echoform.shipped import WEIGHTS, shipped
from echoform_train.data.config import data_facts
from echoform_train.data.spectrograms import SpectrogramData
from echoform_train.data.split_files import write_split
from echoform_train.engine.atomic_files import write_text
from echoform_train.engine.files import DENOISER, FACTS, FIRST_STAGE, LOG, MODEL_CONFIG, SPLIT
from echoform_train.engine.json_files import read_json_object, write_json
from echoform_train.engine.resolution import sides_of
from echoform_train.publishing.identity import model_identity
from echoform_train.study.content_hashes import split_hashes
from echoform_train.study.generators.training import TUNING_RATE, USER_RATE_FACTOR
from echoform_train.study.stage_cache import StageFacts
from echoform_train.trainers import ldm as train_ldm

SHIPPED = "walkers"
"""Name of the shipped pipeline."""
SHIPPED_SEED = 1000
"""Seed of its simulated people; those of the quickstart must be others, see benchmarks/make_box.py."""
_DENOISER_FLAGS = ("block_out_channels", "attention_types", "layers_per_block", "conditioning", "num_attention_heads")


@dataclass(frozen=True)
class Start:
    """Where the trainings start."""

    pipeline: Path | None
    """The shipped pipeline; None for random weights."""
    line: str
    """What is said of it on the terminal."""


def choose_start(*, own_data: bool, from_scratch: bool, seed: int, resolution: int | str) -> Start:
    """Find out whether the shipped pipeline may be started from; whether it fits the images, `fitting` tells."""
    reason = None
    if from_scratch:
        reason = "--from-scratch"
    elif SHIPPED not in shipped():
        reason = f"this installation of echoform has no weights of {SHIPPED}"
    elif own_data:
        reason = "the shipped weights are for simulated people, not for --data"
    elif seed == SHIPPED_SEED:
        reason = f"the shipped weights know the people of --seed {SHIPPED_SEED}"
    else:
        trained_on = read_json_object(WEIGHTS / SHIPPED / FACTS)["data"]["resolution"]
        if sides_of(resolution) != sides_of(trained_on):
            reason = f"the shipped weights are for --resolution {trained_on}, got {resolution}"
    if reason is not None:
        return Start(None, f"Both stages are trained from scratch: {reason}")
    return Start(
        WEIGHTS / SHIPPED, "Starts from the shipped pipeline of other simulated people (not with --from-scratch)"
    )


def fitting(start: Start, data: SpectrogramData) -> Start:
    """The same start, or from scratch where the shipped pipeline was trained on other images."""
    if start.pipeline is None:
        return start
    trained_on, facts = read_json_object(start.pipeline / FACTS)["data"], data_facts(data)
    for name in ("resolution", "channels", "colormap"):
        if trained_on[name] != facts[name]:
            reason = f"the shipped weights are for {name} {trained_on[name]}, the images have {facts[name]}"
            return Start(None, f"Both stages are trained from scratch: {reason}")
    return start


@dataclass(frozen=True, kw_only=True)
class ShippedFirstStage:
    """Take the first stage of the shipped pipeline as it is."""

    data: SpectrogramData
    pipeline: Path
    name: str = "vq-vae"

    def inputs(self) -> dict[str, Any]:
        """The shipped pipeline, and the images with their split."""
        hashes = split_hashes(self.data)
        return {"shipped pipeline": model_identity(self.pipeline), "--data (images)": list(hashes)}

    def make(self, folder: Path) -> StageFacts:
        """Fill the folder as a training of a first stage does."""
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copytree(self.pipeline / FIRST_STAGE, folder / FIRST_STAGE, dirs_exist_ok=True)
        write_json(folder / FACTS, read_json_object(self.pipeline / FACTS)["first_stage"])
        write_split(self.data.split, folder / SPLIT)
        write_text(folder / LOG, "")  # nothing was trained here
        return {"summary": "that of the shipped pipeline"}


def like_shipped(config: train_ldm.Config, pipeline: Path) -> train_ldm.Config:
    """Settings of a denoiser of the architecture and objective of the shipped one, which starts from its weights.

    The folder of the first stage in `config` holds the split.
    """
    unet = read_json_object(pipeline / DENOISER / MODEL_CONFIG)
    found = {name: unet[name] for name in _DENOISER_FLAGS}
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
    settings |= {"window_size": unet["window_size"], "objective": read_json_object(pipeline / FACTS)["objective"]}
    data = replace(config.data, split_file=Path(config.first_stage) / SPLIT)
    run = replace(config.run, learning_rate=TUNING_RATE)
    settings |= {"user_rate_factor": USER_RATE_FACTOR}
    return replace(config, data=data, run=run, initial_pipeline=pipeline, **settings)
