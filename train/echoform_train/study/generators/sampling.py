"""Draw images of every user and condition from a trained generator."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor
from tqdm.auto import tqdm

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform_train.data.spectrograms import Spectrograms, to_pixels
from echoform_train.engine.seeds import mix_seed
from echoform_train.latent_diffusion.sampling import load_pipeline
from echoform_train.scoring.generated_images import Sample
from echoform_train.study.config import GeneratorConfig

BATCH_SIZE = 64
_SAMPLES_SEED, _BETWEEN_SEED = 2, 4  # mixed into the seed; training.py uses 1 and 3


class DrawnImage(TypedDict):
    """Inputs from which the pipeline generates (and can reproduce) one image."""

    user: int
    """Class id of the user."""
    conditions: dict[str, int]
    """Class id of each condition."""
    seed: int


def known_conditions(images: Spectrograms) -> list[dict[str, int]]:
    """All combinations of conditions in the images, in a fixed order; [{}] if there are no conditions."""
    columns = [images.conditions[name].tolist() for name in images.conditions]
    combinations = sorted(set(zip(*columns, strict=True))) if columns else [()]
    return [dict(zip(images.conditions, values, strict=True)) for values in combinations]


@torch.inference_mode()
def draw_sample(
    pipeline_folder: Path | str, images: Spectrograms, per_user: int, settings: GeneratorConfig, *, seed: int
) -> tuple[Sample, list[DrawnImage]]:
    """Generate `per_user` images of each user, cycling through the combinations of conditions.

    A user may be generated in a condition that only other users were recorded in.

    Args:
        pipeline_folder: Exported pipeline, or its id on the Hub.
        images: The training images of the generator; images of their users and conditions are generated.
        per_user: Number of images per user.
        settings: Guidance scale and number of steps.
        seed: Seed of all noise.

    Returns:
        Pixels uint8 [N, C, H, W] and users int64 [N]; and the inputs of each image.
    """
    pipeline = load_pipeline(str(pipeline_folder), torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    combinations = known_conditions(images)
    users = [user for user in images.users.unique().tolist() for _ in range(per_user)]
    # Each image has its own seed, so that it does not depend on the others in its batch.
    source = torch.Generator().manual_seed(mix_seed(seed, _SAMPLES_SEED))
    seeds = torch.randint(2**31, (len(users),), generator=source).tolist()
    rows: list[DrawnImage] = [
        {"user": user, "conditions": combinations[index % per_user % len(combinations)], "seed": seeds[index]}
        for index, user in enumerate(users)
    ]
    pixels = []
    # The batch size limits the memory; it does not change the images.
    with tqdm(total=len(rows), desc="sampling", unit="image") as bar:
        for start in range(0, len(rows), BATCH_SIZE):
            batch = rows[start : start + BATCH_SIZE]
            pixels.append(_generate(pipeline, batch, settings))
            bar.update(len(batch))
    return (torch.cat(pixels), torch.tensor(users)), rows


@torch.inference_mode()
def draw_between_users(
    pipeline_folder: Path | str, images: Spectrograms, count: int, settings: GeneratorConfig, *, seed: int
) -> Tensor:
    """Generate images of nobody whom the generator knows: in turn of the null user, and of a mix of two users.

    Args:
        pipeline_folder: Exported pipeline, or its id on the Hub.
        images: The training images of the generator; their users are mixed, in the conditions of the images.
        count: Number of images.
        settings: Guidance scale and number of steps.
        seed: Seed of the mixes and of all noise.

    Returns:
        Pixels uint8 [count, C, H, W].
    """
    pipeline = load_pipeline(str(pipeline_folder), torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    combinations, users = known_conditions(images), images.users.unique()
    generator = torch.Generator().manual_seed(mix_seed(seed, _BETWEEN_SEED))
    seeds = torch.randint(2**31, (count,), generator=generator).tolist()
    embeds = []
    for index in range(count):
        first, last = pipeline.unet.embed_users(users[torch.randperm(len(users), generator=generator)[:2]])
        share = torch.rand(1, generator=generator)
        null = pipeline.unet.embed_users(torch.tensor([pipeline.unet.null_user]))
        embeds.append(pipeline.unet.mix_users(first, last, share) if index % 2 else null)
    rows: list[DrawnImage] = [
        {"user": -1, "conditions": combinations[index % len(combinations)], "seed": seeds[index]}
        for index in range(count)
    ]
    pixels = [
        _generate(pipeline, rows[at : at + BATCH_SIZE], settings, torch.cat(embeds[at : at + BATCH_SIZE]))
        for at in range(0, count, BATCH_SIZE)
    ]
    return torch.cat([images.pixels[:0], *pixels])


def _generate(
    pipeline: VQLDMDopplerPipeline,
    rows: list[DrawnImage],
    settings: GeneratorConfig,
    user_embeds: Tensor | None = None,
) -> Tensor:
    """Images of the users of the rows, or of `user_embeds`."""
    names = list(rows[0]["conditions"])
    images = pipeline(
        [row["user"] for row in rows] if user_embeds is None else None,
        user_embeds=user_embeds,
        conditions={name: [row["conditions"][name] for row in rows] for name in names},
        guidance_scale=settings.guidance_scale,
        num_inference_steps=settings.num_inference_steps,
        generator=[torch.Generator().manual_seed(row["seed"]) for row in rows],
        batch_size=len(rows),
        output_type="pt",
    ).images
    return to_pixels(2 * torch.as_tensor(images) - 1).cpu()
