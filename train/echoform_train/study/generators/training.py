"""A generator that has seen no real images but the few that a classifier gets too: both stages, and its samples.

It may start from one that was trained on simulated walkers, who are other people.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform_train.data.config import DataConfig
from echoform_train.data.spectrograms import SpectrogramData, Spectrograms, load_spectrograms, to_pixels
from echoform_train.engine.config import RunConfig
from echoform_train.engine.files import AXES, PIPELINE, SPLIT
from echoform_train.engine.seeds import mix_seed
from echoform_train.latent_diffusion.first_stage import FirstStage, load_first_stage
from echoform_train.latent_diffusion.sampling import load_pipeline
from echoform_train.radar.loads import CONDITIONS
from echoform_train.radar.simulation import simulate
from echoform_train.radar.simulation_config import SimulationConfig
from echoform_train.scoring.generated_images import Sample
from echoform_train.study.generators.training_copies import export_unrolled, learning_material
from echoform_train.trainers import ldm as train_ldm
from echoform_train.trainers import vq_vae as train_vq_vae

VQ_VAE = "vq-vae"
LDM = "ldm"
WALKERS = "walkers"
LATENT_SIDE = 16
"""First stages halve the picture until its latents have about this many pixels a side."""

TUNING_RATE = 5e-4
USER_RATE_FACTOR = 100.0
"""With a pre-trained denoiser nearly everything is in place, but each user starts as the mean user."""

_COPIES, _SAMPLES, _WALKERS = 1, 2, 3  # what a seed is drawn for


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """How a generator is made from few images. Nothing is chosen by held-out ones: all lengths are fixed beforehand."""

    copies: int = 16
    """Versions of each image that both stages see: itself, and others of another start in time, gain and floor."""
    vq_train_images: int = 16_000
    """Length of the first stage's training, images seen."""
    ldm_train_images: int = 40_000
    """Length of the second stage's training, images seen."""
    pretrain_people: int = 0
    """Simulated walkers on whom both stages are trained first; the second then goes on with the few real images, and
    the first stays as it is. 0 starts from nothing."""
    pretrain_vq_images: int = 30_000
    """Length of the first stage's training on simulated walkers, images seen."""
    pretrain_ldm_images: int = 60_000
    """Length of the second stage's training on simulated walkers, images seen."""
    guidance_scale: float = 1.0
    """Pull of the samples towards their user and conditions; 1 is none."""
    num_inference_steps: int = 16
    """Steps of the sampler; with 8, more images have steps too irregular for a walk's."""

    def __post_init__(self) -> None:
        lengths = ("vq_train_images", "ldm_train_images", "pretrain_vq_images", "pretrain_ldm_images")
        for name in ("copies", "num_inference_steps", *lengths):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.pretrain_people < 0:
            raise ValueError(f"pretrain_people must not be negative, got {self.pretrain_people}")


def pretrain(data: SpectrogramData, folder: Path, settings: GeneratorConfig, *, seed: int) -> Path:
    """Train both stages on simulated walkers; goes on where an earlier call was interrupted.

    The walkers are drawn by a seed of their own. They carry what the users of `data` carry, as far as the simulator
    knows it, and nothing else is taken from `data` but the size of the pictures and the seconds in one.

    Args:
        data: What the generators will be for.
        folder: Filled with the simulated pictures and the outputs of both trainings.
        settings: How many people, and lengths.
        seed: Of people, weights, order and noise.

    Returns:
        `folder`, for `train_generator`.

    Raises:
        ValueError: If `data` are not colour-mapped pictures, which is what the simulator makes.
    """
    if data.colormap is None:
        raise ValueError("pre-training on simulated walkers needs colour-mapped spectrograms, these are RGB")
    resolution = data.train.pixels.shape[-1]
    carried = set(data.condition_labels.get("condition", {}).values())
    window_s = (data.axes or {}).get("window_s", SimulationConfig.window_s)
    walkers = folder / WALKERS
    if not (walkers / AXES).is_file():
        simulate(
            SimulationConfig(
                output_dir=walkers,
                users=settings.pretrain_people,
                recordings_per_user=12,
                recording_s=window_s + 5,
                window_s=window_s,
                conditions=tuple(name for name in CONDITIONS if name in carried) or ("normal",),
                resolution=resolution,
                seed=mix_seed(seed, _WALKERS) % 2**31,
            )
        )
    simulated = load_spectrograms(walkers, split_file=folder / SPLIT, resolution=resolution, colormap="jet")
    held_out = simulated.validation
    painted = replace(simulated, colormap=data.colormap)  # the simulator's scalar, painted as the users' is
    few = held_out.select(range(0, len(held_out), max(1, len(held_out) // 200)))
    copies_seed = mix_seed(seed, _COPIES)
    seen = learning_material(painted, simulated.train, 3, window_s, validation=few, seed=copies_seed)
    stage = _train_vq_vae(seen, folder, settings.pretrain_vq_images, seed)
    _train_ldm(seen, stage, folder, settings.pretrain_ldm_images, seed)
    return folder


def train_generator(
    images: Spectrograms,
    data: SpectrogramData,
    folder: Path,
    settings: GeneratorConfig,
    *,
    seed: int,
    window_s: float | None = None,
    pretrained: Path | None = None,
) -> Path:
    """Train both stages on `images` alone and export the pipeline; goes on where an earlier call was interrupted.

    The trainings validate on the same images, so that no choice of theirs knows more than those tell.

    Args:
        images: The real images that may be seen.
        data: What they are from: names of users and conditions, colour map and axes. Its own images are not used.
        folder: Filled with the outputs of both trainings.
        settings: Lengths, and how many copies.
        seed: Of copies, weights, order and noise.
        window_s: Seconds in one image, without which overlapping windows are not cut anew.
        pretrained: What `pretrain` returned, to start from; only the second stage is trained then.

    Returns:
        Folder of the exported pipeline.
    """
    copies_seed = mix_seed(seed, _COPIES)
    seen = learning_material(data, images, settings.copies, window_s, validation=images, seed=copies_seed)
    if pretrained is None:
        stage, start = _train_vq_vae(seen, folder, settings.vq_train_images, seed), None
    else:
        stage, start = load_first_stage(pretrained / VQ_VAE), pretrained / LDM / PIPELINE
    trained = _train_ldm(seen, stage, folder, settings.ldm_train_images, seed, start)
    return export_unrolled(trained, folder / PIPELINE)


def _train_vq_vae(seen: SpectrogramData, folder: Path, train_images: int, seed: int) -> FirstStage:
    config = train_vq_vae.PRESETS["cpu"]
    config = replace(
        config,
        data=DataConfig(data=seen.source),
        run=_run(config.run, folder / VQ_VAE, train_images, seed),
        n_layers=levels(seen.train.pixels.shape[-1]),
        quantize_after=train_images // 4,
    )
    train_vq_vae.train(config, seen)
    seen.split.save(folder / VQ_VAE / SPLIT)
    return load_first_stage(folder / VQ_VAE)


def _train_ldm(
    seen: SpectrogramData,
    stage: FirstStage,
    folder: Path,
    train_images: int,
    seed: int,
    initial_pipeline: Path | None = None,
) -> Path:
    """Train the second stage, faster where users are new to a network that knows walking, and export the pipeline."""
    config = train_ldm.PRESETS["cpu"]
    run = _run(config.run, folder / LDM, train_images, seed)
    if initial_pipeline is not None:
        config = replace(config, initial_pipeline=initial_pipeline, user_rate_factor=USER_RATE_FACTOR)
        run = replace(run, learning_rate=TUNING_RATE)
    never = train_images + 1  # the study shows samples of its own
    config = replace(config, data=DataConfig(data=seen.source), run=run, first_stage=stage.folder, sample_every=never)
    train_ldm.train(config, seen, stage)
    return folder / LDM / PIPELINE


def levels(resolution: int) -> int:
    """Levels of a first stage whose latents have some 16 pixels a side: 3 for 64 pixels, 4 for 128, 5 for 256."""
    halvings = 0
    while resolution >> (halvings + 1) >= LATENT_SIDE:
        halvings += 1
    return max(halvings, 1) + 1


def known_conditions(images: Spectrograms) -> list[dict[str, int]]:
    """Combinations of conditions that any user shows, in a fixed order; [{}] where the data have none."""
    columns = [images.conditions[name].tolist() for name in images.conditions]
    combinations = sorted(set(zip(*columns, strict=True))) if columns else [()]
    return [dict(zip(images.conditions, values, strict=True)) for values in combinations]


@torch.inference_mode()
def draw_sample(
    pipeline_folder: Path | str, images: Spectrograms, per_user: int, settings: GeneratorConfig, *, seed: int
) -> tuple[Sample, list[dict[str, Any]]]:
    """Generate `per_user` images of each user, the combinations of conditions in turn.

    A user may thus be shown in conditions in which only others were recorded.

    Args:
        pipeline_folder: Exported pipeline, or its id on the Hub.
        images: The real images that the generator saw: their users and conditions are asked for.
        per_user: Images of each user.
        settings: Guidance and steps.
        seed: Of all noise.

    Returns:
        Pixels uint8 [N, C, H, W] and users int64 [N]; and for each image {"user", "conditions", "seed"}, from which the
        pipeline makes it again on its own.
    """
    pipeline = load_pipeline(str(pipeline_folder), torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    combinations = known_conditions(images)
    users = images.users.unique().tolist()
    asked = [
        {"user": user, "conditions": combinations[number % len(combinations)]}
        for user in users
        for number in range(per_user)
    ]
    source = torch.Generator().manual_seed(mix_seed(seed, _SAMPLES))
    seeds = torch.randint(2**31, (len(asked),), generator=source).tolist()
    pixels = []
    with tqdm(total=len(asked), desc="sampling", unit="image") as bar:
        for batch in torch.arange(len(asked)).split(64):
            rows = [asked[place] for place in batch.tolist()]
            pixels.append(_generate(pipeline, rows, [seeds[place] for place in batch.tolist()], settings))
            bar.update(len(rows))
    drawn = [row | {"seed": seed} for row, seed in zip(asked, seeds, strict=True)]
    return (torch.cat(pixels), torch.tensor([row["user"] for row in asked])), drawn


def _generate(
    pipeline: VQLDMDopplerPipeline, rows: list[dict[str, Any]], seeds: list[int], settings: GeneratorConfig
) -> Tensor:
    names = list(rows[0]["conditions"])
    images = pipeline(
        [row["user"] for row in rows],
        conditions={name: [row["conditions"][name] for row in rows] for name in names},
        guidance_scale=settings.guidance_scale,
        num_inference_steps=settings.num_inference_steps,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        batch_size=len(rows),
        output_type="pt",
    ).images
    return to_pixels(2 * torch.as_tensor(images) - 1).cpu()


def _run(preset: RunConfig, folder: Path, train_images: int, seed: int) -> RunConfig:
    return replace(
        preset,
        output_dir=folder,
        max_train_images=train_images,
        validation_every=max(train_images // 4, 1),
        checkpointing_every=max(train_images // 4, 1),
        logging_every=max(train_images // 20, 1),
        early_stopping_patience=0,
        checkpoints_total_limit=1,
        resume_from_checkpoint="latest",
        report_to="none",
        seed=seed,
    )
