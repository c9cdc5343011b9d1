"""Initialisation of a denoiser with the weights of another pipeline's denoiser, which was trained on other users."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform.unet_doppler import DopplerUNet2DModel
from echoform_train.engine.content import public_config
from echoform_train.engine.errors import UserError
from echoform_train.publishing.exported import load_pipeline

USERS = "user_embedding"
CONDITIONS = "condition_embeddings"


def load_initial_pipeline(folder: Path, first_stage: nn.Module) -> VQLDMDopplerPipeline:
    """Load the exported pipeline that a denoiser is initialised from.

    Raises:
        FileNotFoundError: If the folder holds no pipeline.
        ValueError: If its first stage is not `first_stage`, so that its denoiser was trained on other latents.
    """
    source: VQLDMDopplerPipeline = load_pipeline(folder, VQLDMDopplerPipeline)
    theirs, ours = source.vqvae.state_dict(), first_stage.state_dict()
    same_weights = theirs.keys() == ours.keys() and all(torch.equal(theirs[name], ours[name].cpu()) for name in ours)
    if not same_weights or public_config(source.vqvae) != public_config(first_stage):
        raise UserError(f"--initial-pipeline must hold the first stage of --first-stage, {folder} holds another one")
    return source


@torch.no_grad()
def initialise_from(
    source: VQLDMDopplerPipeline, unet: DopplerUNet2DModel, condition_labels: dict[str, dict[str, str]]
) -> None:
    """Copy the weights of a pipeline's denoiser to a new denoiser for other users.

    Every new user starts as the mean of the source's users. A label of a condition starts as the source's label of the
    same name, or as the mean of all labels of that condition if there is none. Null classes are copied.

    Args:
        source: The pipeline.
        unet: The new denoiser; changed in place.
        condition_labels: Names of the new denoiser's labels: by condition, label id -> name.

    Raises:
        ValueError: If the networks differ in more than the numbers of users and labels.
    """
    # 1. Everything that does not depend on users and conditions.
    theirs, ours = source.unet.state_dict(), unet.state_dict()
    for name, weight in ours.items():
        if not name.startswith((f"{USERS}.", f"{CONDITIONS}.")):
            if name not in theirs or theirs[name].shape != weight.shape:
                raise UserError(
                    f"--initial-pipeline must hold a denoiser of the same widths, levels and attention, {name} differs"
                )
            weight.copy_(theirs[name])
    # 2. Users.
    if unet.user_embedding.embedding_dim != source.unet.user_embedding.embedding_dim:
        raise UserError("--initial-pipeline must hold a denoiser with the same --conditioning, got one with another")
    _copy_rows(source.unet.user_embedding, unet.user_embedding, [None] * unet.config["num_users"])
    # 3. Conditions; a network holds their embeddings in the order of the sorted names.
    known_labels = source.config["condition_labels"] or {}
    tables = dict(zip(sorted(known_labels), source.unet.condition_embeddings, strict=True))
    for name, table in zip(sorted(condition_labels), unet.condition_embeddings, strict=True):
        if name in tables:
            row_of = {label: int(key) for key, label in known_labels[name].items()}
            labels = [condition_labels[name][str(index)] for index in range(len(condition_labels[name]))]
            _copy_rows(tables[name], table, [row_of.get(label) for label in labels])


def _copy_rows(source: nn.Module, target: nn.Module, rows: list[int | None]) -> None:
    """Copy the given rows of an embedding (the mean of all rows for None), and the null class, the last row of both."""
    table = cast(nn.Embedding, source).weight
    mean = table[:-1].mean(0)
    copied = [mean if row is None else table[row] for row in rows]
    cast(Tensor, cast(nn.Embedding, target).weight).copy_(torch.stack([*copied, table[-1]]))
