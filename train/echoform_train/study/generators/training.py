"""Train both stages of a generator on the few real images that the classifiers of a study see, and no others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from echoform_train.data.config import DataConfig
from echoform_train.data.spectrograms import SpectrogramData, Spectrograms, load_spectrograms
from echoform_train.engine.config import RunConfig
from echoform_train.engine.errors import UserError
from echoform_train.engine.files import AXES, PIPELINE
from echoform_train.engine.resolution import Halving, resolution_of
from echoform_train.engine.seeds import mix_seed
from echoform_train.latent_diffusion.first_stage import FirstStage, load_first_stage
from echoform_train.radar.likeness import FEWEST_IMAGES, Measured, known_settings, read_likeness
from echoform_train.radar.likeness_fit import fit_likeness
from echoform_train.radar.loads import CONDITIONS
from echoform_train.radar.simulation import simulate
from echoform_train.radar.simulation_config import SimulationConfig
from echoform_train.study.config import GeneratorConfig
from echoform_train.study.generators.training_copies import export_unrolled, with_training_copies
from echoform_train.trainers import ldm as train_ldm
from echoform_train.trainers import vq_vae as train_vq_vae

VQ_VAE, LDM, WALKERS = "vq-vae", "ldm", "walkers"
"""Folders of the first stage, of the second stage, and of the simulated images."""
LATENT_SIDE = 16
"""The first stage halves the image until the latents have about this many pixels per side."""
IMAGE_HALVING = Halving(8, "the levels of the models", 8)
"""The first stage halves the images at least once, the denoiser twice."""
PRETRAINING_COPIES = 3
"""Versions of each simulated image; few are enough, because there are many simulated images."""
PRETRAINING_VALIDATION = 200
"""Approximate number of simulated images that validate the pre-training."""

TUNING_RATE = 5e-4
"""Learning rate of a second stage that starts from a pre-trained one."""
USER_RATE_FACTOR = 100.0
"""Factor on TUNING_RATE for the embeddings of the users. They all start from the mean user, while all other weights
are pre-trained."""

_COPIES_SEED, _WALKERS_SEED = 1, 3  # mixed into the seed; sampling.py uses 2


def pretrain(data: SpectrogramData, like: Spectrograms, folder: Path, settings: GeneratorConfig, *, seed: int) -> Path:
    """Train both stages on simulated people; continues where an earlier call was interrupted.

    The image size, the length of an image in seconds, the colour map, and the conditions that the simulator knows are
    taken from `data`. The simulation is fitted to statistics of `like`, see `fit_likeness`. The simulated people have
    their own seed.

    Args:
        data: The data that generators will later be trained on.
        like: Training images that the simulation has to resemble; with fewer than FEWEST_IMAGES it keeps its defaults.
        folder: Filled with the simulated images and the outputs of both trainings.
        settings: Number of people, and lengths of the trainings.
        seed: Seed of people, weights, order and noise.

    Returns:
        `folder`, for `train_generator`.

    Raises:
        ValueError: If `data` are RGB images, which the simulator does not make.
    """
    if data.colormap is None:
        raise UserError("pre-training on simulated people needs colour-mapped spectrograms, these are RGB")
    resolution = resolution_of(*data.train.pixels.shape[-2:])
    window_s = (data.axes or {}).get("window_s", SimulationConfig.window_s)
    simulated = _simulate(data, like, folder, settings.pretrain_people, resolution, window_s, seed)
    held_out = simulated.validation
    validation = held_out.select(range(0, len(held_out), max(1, len(held_out) // PRETRAINING_VALIDATION)))
    material = with_training_copies(
        # The stages see colour-map indices, so the colour map of the simulated images can be replaced.
        replace(simulated, colormap=data.colormap),
        simulated.train,
        PRETRAINING_COPIES,
        window_s,
        validation=validation,
        seed=mix_seed(seed, _COPIES_SEED),
    )
    stage = _train_vq_vae(material, folder, settings.pretrain_vq_images, seed)
    _train_ldm(material, stage, folder, settings.pretrain_ldm_images, seed)
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
    """Train both stages on `images` only and export the pipeline; continues where an earlier call was interrupted.

    Validation uses `images` too, so that the choice of the best weights depends on no other images.

    Args:
        images: The real images to train on.
        data: The data that `images` are from, for labels, colour map and axes. Its images are not used.
        folder: Filled with the outputs of both trainings.
        settings: Lengths of the trainings, and number of copies.
        seed: Seed of copies, weights, order and noise.
        window_s: Length of one image, seconds; None if unknown; then overlapping windows are not re-cropped.
        pretrained: Folder that `pretrain` returned, to start from; only the second stage is trained then.

    Returns:
        Folder of the exported pipeline.
    """
    copies_seed = mix_seed(seed, _COPIES_SEED)
    material = with_training_copies(data, images, settings.copies, window_s, validation=images, seed=copies_seed)
    # A first stage trained on many simulated people is better than one trained on few images, so it is not changed.
    if pretrained is None:
        stage, initial_pipeline = _train_vq_vae(material, folder, settings.vq_train_images, seed), None
    else:
        stage, initial_pipeline = load_first_stage(pretrained / VQ_VAE), pretrained / LDM / PIPELINE
    trained = _train_ldm(material, stage, folder, settings.ldm_train_images, seed, initial_pipeline)
    return export_unrolled(trained, folder / PIPELINE)


def levels(resolution: int) -> int:
    """Levels of a first stage whose latents have about 16 pixels per side: 3 for 64 pixels, 4 for 128, 5 for 256."""
    halvings = 0
    while resolution >> (halvings + 1) >= LATENT_SIDE:
        halvings += 1
    return max(halvings, 1) + 1


def fitting_levels(height: int, width: int) -> int:
    """Levels of a first stage for images of a size: `levels` of the smaller side, or fewer if it divides them only so.

    The denoiser must be able to halve the latents further.
    """
    count, halvings = levels(min(height, width)), len(train_ldm.PRESETS["cpu"].block_out_channels) - 1
    while count > 2 and any(side % 2 ** (count - 1 + halvings) for side in (height, width)):
        count -= 1
    return count


def _simulate(
    data: SpectrogramData,
    like: Spectrograms,
    folder: Path,
    people: int,
    resolution: int | str,
    window_s: float,
    seed: int,
) -> SpectrogramData:
    """Images of simulated people in the conditions of `data` that the simulator knows; made once."""
    walkers = folder / WALKERS
    # axes.json is written last, so it marks complete images.
    if not (walkers / AXES).is_file():
        known = set(data.condition_labels.get("condition", {}).values())
        config = SimulationConfig(
            output_dir=walkers,
            users=people,
            recordings_per_user=12,
            recording_s=window_s + 5,
            window_s=window_s,
            conditions=tuple(name for name in CONDITIONS if name in known) or ("normal",),
            resolution=resolution,
            seed=mix_seed(seed, _WALKERS_SEED) % 2**31,
        )
        simulate(_in_the_manner_of(config, like, data.axes))
    return load_spectrograms(walkers, resolution=resolution, colormap="jet")


def _in_the_manner_of(
    config: SimulationConfig, like: Spectrograms, axes: Mapping[str, float] | None
) -> SimulationConfig:
    """The same simulation, fitted to images if there are enough of them."""
    if len(like) < FEWEST_IMAGES:
        return config
    measured = Measured(
        level=np.divide(like.pixels[:, 0].numpy(), 255, dtype=np.float32),
        users=like.users.numpy(),
        axes=axes,
        jpeg_quality=None,
        window_s=config.window_s,
    )
    first, found = read_likeness(measured)
    fitted = fit_likeness(first, found, config, known=known_settings(measured)).likeness.applied_to(config)
    return replace(fitted, recording_s=fitted.shown_s + 5)


def _train_vq_vae(material: SpectrogramData, folder: Path, train_images: int, seed: int) -> FirstStage:
    config = train_vq_vae.PRESETS["cpu"]
    config = replace(
        config,
        data=DataConfig(data=material.source),
        run=_run_config(config.run, folder / VQ_VAE, train_images, seed),
        n_layers=fitting_levels(*material.train.pixels.shape[-2:]),
        quantize_after=train_images // 4,
    )
    train_vq_vae.train(config, material)
    return load_first_stage(folder / VQ_VAE)


def _train_ldm(
    material: SpectrogramData,
    stage: FirstStage,
    folder: Path,
    train_images: int,
    seed: int,
    initial_pipeline: Path | None = None,
) -> Path:
    """Train the second stage and export the pipeline."""
    config = train_ldm.PRESETS["cpu"]
    run = _run_config(config.run, folder / LDM, train_images, seed)
    if initial_pipeline is not None:
        config = replace(config, initial_pipeline=initial_pipeline, user_rate_factor=USER_RATE_FACTOR)
        run = replace(run, learning_rate=TUNING_RATE)
    config = replace(
        config,
        data=DataConfig(data=material.source),
        run=run,
        first_stage=stage.folder,
        # Never reached: the report of the study shows its own images.
        sample_every=train_images + 1,
    )
    train_ldm.train(config, material, stage)
    return folder / LDM / PIPELINE


def _run_config(preset: RunConfig, folder: Path, train_images: int, seed: int) -> RunConfig:
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
