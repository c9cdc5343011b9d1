"""Checks of data and of a given pipeline before a study trains anything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform_train.data.config import data_facts
from echoform_train.data.facts import SpectrogramFacts
from echoform_train.data.hub import published_split
from echoform_train.data.spectrograms import SpectrogramData
from echoform_train.data.split_files import check_split_of_model
from echoform_train.engine.errors import UserError
from echoform_train.engine.files import FACTS
from echoform_train.engine.names import composed
from echoform_train.publishing.cards.spectrogram import DenoiserTraining
from echoform_train.publishing.exported import load_pipeline
from echoform_train.publishing.training_facts import read_training
from echoform_train.scoring.set_scores import NEIGHBOURS
from echoform_train.study.config import GeneratorConfig


def check_held_out(data: SpectrogramData, images_per_user: Mapping[int, int]) -> None:
    """Check that there are enough held-out real images for the scores.

    Args:
        data: The real images.
        images_per_user: Generated images to draw, by user.

    Raises:
        ValueError: If the images are generated, a user has no validation or test image, or the compared sets are too
            small.
    """
    if "generated" in data.condition_labels.get("origin", {}).values():
        raise UserError(f"a study needs real images, {data.source} holds images of origin generated")
    for part in ("validation", "test"):
        counts = torch.bincount(getattr(data, part).users, minlength=len(data.id2label))
        absent = [data.id2label[user] for user in (counts == 0).nonzero().flatten().tolist()]
        if absent:
            raise UserError(f"a study needs {part} images of each user, there are none of {', '.join(absent)}")
    comparable = count_comparable(data, images_per_user)
    if comparable <= NEIGHBOURS:
        raise UserError(
            f"sets of more than {NEIGHBOURS} images are needed to compare generated with real ones: half of each "
            f"user's test images, and as many generated ones; they are {comparable} of all users together"
        )


def count_comparable(data: SpectrogramData, images_per_user: Mapping[int, int]) -> int:
    """Size of the sets that scores compare: half of each user's test images, or the generated images if fewer."""
    halves = torch.bincount(data.test.users, minlength=len(data.id2label)) // 2
    return sum(min(int(halves[user]), count) for user, count in images_per_user.items())


def check_split_is_known(data: SpectrogramData, split_file: Path | None) -> None:
    """Check that the split of a given pipeline is known, so that its training images are not in the test.

    Args:
        data: The data as they were loaded.
        split_file: Value of --split-file, or the split.json beside the pipeline.

    Raises:
        ValueError: If neither `split_file` nor the data give the split.
    """
    if split_file is None and data.split.method != "as given" and published_split(data.source) is None:
        raise UserError(
            "--pipeline needs --split-file, the split of its training (split.json in the output folder of that "
            "training); with another split, the pipeline may have been trained on test images"
        )


def check_pipeline(folder: Path, data: SpectrogramData, sampling: GeneratorConfig) -> None:
    """Check that a given pipeline has the users of the data, and was trained on these data with this split.

    Raises:
        ValueError: If its users differ, facts.json names other images or conditions, or it was distilled to other steps
            than `sampling` has.
    """
    # Loaded once, so that what is wrong with it is known before anything trains.
    index = load_pipeline(folder, VQLDMDopplerPipeline).config
    # The model knows users by class id, so their order must agree too.
    users = [composed(label) for _, label in sorted(index["id2label"].items(), key=lambda item: int(item[0]))]
    if users != list(data.id2label.values()):
        raise UserError(
            f"the pipeline must have the users of the data, {', '.join(data.id2label.values())}; it has "
            f"{', '.join(users)}"
        )
    if not (folder / FACTS).is_file():
        return
    facts = read_training(folder / FACTS, DenoiserTraining, SpectrogramFacts)
    if "distilled" in facts:
        # A distilled model makes good images only with the steps that it was trained for.
        given = sampling.num_inference_steps, sampling.guidance_scale
        steps, guidance_scale = index["num_inference_steps"], index["guidance_scale"]
        if given != (steps, guidance_scale):
            raise UserError(
                f"the pipeline was distilled to --num-inference-steps {steps} and --guidance-scale "
                f"{guidance_scale:g}, got {given[0]} and {given[1]:g}"
            )
    theirs, ours = cast(SpectrogramFacts, facts["data"]), data_facts(data)
    for name in ("resolution", "channels", "colormap", "reading", "conditions"):
        if theirs.get(name, "") != ours[name]:
            raise UserError(
                f"the pipeline must have been trained on these data with this split: its facts.json has {name} "
                f"{theirs.get(name)}, the data have {ours[name]}"
            )
    check_split_of_model(data, theirs, f"the pipeline {folder}", folder.parent)
