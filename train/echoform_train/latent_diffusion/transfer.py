"""A denoiser of other people as the start of a new one: how people walk is known, who walks is learned anew."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform.unet_doppler import DopplerUNet2DModel
from echoform_train.data.spectrograms import SpectrogramData

USERS = "user_embedding"
CONDITIONS = "condition_embeddings"


def load_source(folder: Path, first_stage: nn.Module) -> VQLDMDopplerPipeline:
    """The exported pipeline to start from.

    Raises:
        FileNotFoundError: If the folder holds none.
        ValueError: If its first stage is not this one: its denoiser would not know these latents.
    """
    if not (folder / "model_index.json").is_file():
        raise FileNotFoundError(f"{folder} holds no model_index.json; is it an exported pipeline?")
    source = VQLDMDopplerPipeline.from_pretrained(folder)
    theirs, ours = source.vqvae.state_dict(), first_stage.state_dict()
    if theirs.keys() != ours.keys() or not all(torch.equal(theirs[name], ours[name].cpu()) for name in ours):
        raise ValueError(f"--initial-pipeline must hold the first stage of --first-stage, {folder} holds another one")
    return source


def latent_statistics(source: VQLDMDopplerPipeline) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the latents that the pipeline was trained on, float32 [D] each."""

    def by_channel(facts: dict[str, float]) -> Tensor:
        return torch.tensor([facts[str(channel)] for channel in range(len(facts))])

    return by_channel(source.config["latent_mean"]), by_channel(source.config["latent_std"])


@torch.no_grad()
def adopt(unet: DopplerUNet2DModel, source: VQLDMDopplerPipeline, data: SpectrogramData) -> None:
    """Give a new denoiser the weights of the source's.

    Users are others: each starts as the mean of the source's users. A condition's label starts as the source's label
    of the same name, or as the mean of that condition's labels where there is none. Null classes stay what they are.

    Args:
        unet: For the users and conditions of `data`; changed in place.
        source: The pipeline to start from.
        data: Names of the new users and conditions.

    Raises:
        ValueError: If the networks differ in more than users and conditions.
    """
    theirs, ours = source.unet.state_dict(), unet.state_dict()
    embeddings = (f"{USERS}.", f"{CONDITIONS}.")
    for name, weight in ours.items():
        if not name.startswith(embeddings):
            if name not in theirs or theirs[name].shape != weight.shape:
                raise ValueError(
                    f"--initial-pipeline must hold a denoiser of the same widths, levels and attention, {name} differs"
                )
            weight.copy_(theirs[name])
    if unet.user_embedding.embedding_dim != source.unet.user_embedding.embedding_dim:
        raise ValueError("--initial-pipeline must hold a denoiser with the same --conditioning, it has another one")
    unet.user_embedding.weight.copy_(_rows(source.unet.user_embedding.weight, [None] * len(data.id2label)))
    known = source.config["condition_labels"] or {}
    tables: dict[str, nn.Module] = dict(zip(sorted(known), source.unet.condition_embeddings, strict=True))
    for name, table in zip(sorted(data.condition_labels), unet.condition_embeddings, strict=True):
        if name in tables:
            places = {label: int(key) for key, label in known[name].items()}
            labels = data.condition_labels[name]
            cast(nn.Embedding, table).weight.copy_(
                _rows(cast(nn.Embedding, tables[name]).weight, [places.get(labels[key]) for key in sorted(labels)])
            )


def _rows(table: Tensor, places: list[int | None]) -> Tensor:
    """Rows of an embedding at these places, their mean where a place is None, and its null class, which is the last."""
    mean = table[:-1].mean(0)
    return torch.stack([mean if place is None else table[place] for place in places] + [table[-1]])
