"""`echoform train ldm`: train the second stage, a diffusion model of latents, and export the pipeline."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform.unet_doppler import DopplerUNet2DModel
from echoform_train.data.config import load_data
from echoform_train.data.spectrograms import SpectrogramData
from echoform_train.data.split_files import split_to_read
from echoform_train.engine.batches import Draw
from echoform_train.engine.callbacks import NO_CALLBACKS, Callbacks
from echoform_train.engine.content import content_hash, pipeline_content
from echoform_train.engine.errors import MissingFileError
from echoform_train.engine.files import DENOISER, SAMPLES, SPLIT
from echoform_train.engine.learner import Learner
from echoform_train.engine.names import check_model_name
from echoform_train.engine.processes import summed
from echoform_train.engine.resume import data_content, resume_settings
from echoform_train.engine.run import Run
from echoform_train.engine.training_result import TrainingResult
from echoform_train.latent_diffusion.card_gallery import write_gallery
from echoform_train.latent_diffusion.denoiser_size import check_latent_sides, fitting_window
from echoform_train.latent_diffusion.first_stage import FirstStage, load_first_stage
from echoform_train.latent_diffusion.latents import LatentData, Latents, PipelineFacts, drop_labels, encode_data
from echoform_train.latent_diffusion.ldm_config import PRESETS, Config
from echoform_train.latent_diffusion.objective import FlowMatching, VPrediction, denoising_loss, make_objective
from echoform_train.latent_diffusion.pixel_stage import NO_FIRST_STAGE, pixel_halving, pixel_stage
from echoform_train.latent_diffusion.transfer import USERS, initialise_from, load_initial_pipeline
from echoform_train.publishing.cards.common import hub_id_of_source
from echoform_train.publishing.export import finish_training, keep_split
from echoform_train.publishing.push import check_before_training

__all__ = ["PRESETS", "Config", "main"]

NORM_GROUPS = 8  # as good as the usual 32, and cheaper on CPUs
SHEET_USERS = 16


def main(config: Config, callbacks: Callbacks = NO_CALLBACKS) -> TrainingResult:
    """Train, and export the pipeline to OUTPUT_DIR/pipeline."""
    if config.first_stage == NO_FIRST_STAGE:
        split_file = split_to_read(config.data.split_file, config.run.output_dir)
        halving = pixel_halving(config.block_size, len(config.block_out_channels))
        data = load_data(replace(config.data, split_file=split_file), config.run.seed, halving=halving)
        return train(config, data, pixel_stage(data, config.block_size, config.initial_pipeline), callbacks)
    stage = load_first_stage(Path(config.first_stage))
    check_latent_sides(stage, len(config.block_out_channels))
    resolution = stage.facts["data"]["resolution"] if config.data.resolution is None else config.data.resolution
    data_config = replace(config.data, split_file=_split_file(config), resolution=resolution)
    return train(config, load_data(data_config, config.run.seed), stage, callbacks)


def _split_file(config: Config) -> Path | None:
    """The split of the first stage; with --initial-pipeline, whose first stage knows other users, a split of one's own.

    Raises:
        FileNotFoundError: If the first stage has none.
    """
    of_stage, folder = config.initial_pipeline is None, Path(config.first_stage)
    own = split_to_read(config.data.split_file, folder if of_stage else config.run.output_dir)
    if own is None and of_stage:
        raise MissingFileError(f"{folder} holds no {SPLIT}; --split-file must name the split of its training")
    return own


def train(
    config: Config, data: SpectrogramData, stage: FirstStage, callbacks: Callbacks = NO_CALLBACKS
) -> TrainingResult:
    """Train on the latents of `data`, and export the pipeline to OUTPUT_DIR/pipeline.

    Args:
        config: Settings.
        data: The spectrograms.
        stage: The first stage, whose autoencoder becomes a part of the pipeline.
        callbacks: What is called during the training.

    Raises:
        ValueError: If the data are not of the kind that the first stage was trained on, the first stage has no
            codebook, or the pipeline to start from does not fit.
    """
    for user in data.id2label.values():
        check_model_name(user, "user", "the data")
    for condition, labels in data.condition_labels.items():
        for name in (condition, *labels.values()):
            check_model_name(name, "condition", "the data")
    stage.check_usable_in_pipeline()
    check_latent_sides(stage, len(config.block_out_channels))
    source = None if config.initial_pipeline is None else load_initial_pipeline(config.initial_pipeline, stage.model)
    inputs = data_content(data) | {
        "--first-stage": f"content {content_hash([stage.model, stage.quantized])}",
        "--initial-pipeline": None if source is None else f"content {pipeline_content(source)}",
    }
    # The guidance is that of the sample sheets only.
    run = Run(config.run, len(data.train), resume_settings(config, inputs, free={"guidance_scale"}), callbacks)
    # The first stage does not learn any more, so its latents are computed once and kept in memory.
    stage.model.to(run.device)
    latents = encode_data(stage, data, source, config.whitening if config.first_stage == NO_FIRST_STAGE else 1.0)
    check_before_training(run)
    keep_split(run, data.split)

    unet = make_denoiser(config, latents, source)
    rate_factors = {} if config.user_rate_factor == 1 else {f"{USERS}.weight": config.user_rate_factor}
    learner = Learner(run, DENOISER, unet, ema_decay=config.ema_decay, rate_factors=rate_factors)
    learner.resume()
    run.accelerator.print(describe(unet, latents))
    if (window := unet.config["window_size"]) != config.window_size:
        fitted = f"{window}x{window}, because those of {config.window_size}x{config.window_size} do not tile them"
        run.accelerator.print(f"Attention windows of {fitted}")
    run.start_trackers("ldm", config.preset)

    objective = make_objective(config.objective, config.beta_schedule, config.min_snr_gamma)
    pipeline = VQLDMDopplerPipeline(stage.model, unet, objective.sampler(), **latents.pipeline_facts)
    shared_facts = {"data": latents.data_facts, "first_stage": stage.facts}
    if config.initial_pipeline is not None:
        shared_facts |= hub_id_of_source(config.initial_pipeline)
    facts = {"kind": "ldm", "preset": config.preset, "objective": config.objective, **shared_facts}
    while not run.done:
        # One optimizer step. All random numbers come from the draw, so that they depend on seed and image alone.
        for draw in learner.passes():
            noise, level = draw.randn(*latents.shape), draw.rand()
            batch = drop_labels(latents.train.select(draw.indices), draw, config.label_dropout, unet)
            learner.descend(denoising_loss(learner.model, objective, batch, noise, level))
        # Validation and samples use the averaged weights, because those are exported.
        if run.due(config.run.validation_every):
            with learner.averaged():
                loss = validate(objective, unet, latents.validation, run)
                run.keep_if_best(unet, DENOISER, loss, {"loss": loss}, facts)
        if run.due(config.sample_every) and run.is_main:
            sheet = config.run.output_dir / SAMPLES / f"images-{run.seen:09d}.png"
            with learner.averaged():
                save_sample_sheet(pipeline, config, sheet)
            run.log_sheet(sheet)
        learner.save_if_due()

    def best_pipeline() -> VQLDMDopplerPipeline:
        pipeline.register_modules(unet=DopplerUNet2DModel.from_pretrained(config.run.output_dir / DENOISER))
        return pipeline

    return finish_training(run, best_pipeline, write_gallery)


def make_denoiser(config: Config, latents: LatentData, source: VQLDMDopplerPipeline | None) -> DopplerUNet2DModel:
    """Make the denoiser with random weights from the seed, or with those of the pipeline to start from."""
    torch.manual_seed(config.run.seed)
    unet = build_unet(config, latents.shape, latents.pipeline_facts)
    if source is not None:
        initialise_from(source, unet, latents.pipeline_facts["condition_labels"])
    return unet


def build_unet(config: Config, latent_shape: tuple[int, int, int], facts: PipelineFacts) -> DopplerUNet2DModel:
    """Build the denoiser for latents of shape (D, h, w) and the users and conditions of the pipeline's facts."""
    _, height, width = latent_shape
    return DopplerUNet2DModel(
        sample_size=height if height == width else (height, width),
        in_channels=latent_shape[0],
        out_channels=latent_shape[0],
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        attention_types=config.attention_types,
        window_size=fitting_window((height, width), config.attention_types, config.window_size),
        num_attention_heads=config.num_attention_heads,
        norm_num_groups=math.gcd(NORM_GROUPS, *config.block_out_channels),
        dropout=config.dropout,
        num_users=len(facts["id2label"]),
        conditions={name: len(labels) for name, labels in facts["condition_labels"].items()},
        conditioning=config.conditioning,
    )


def describe(unet: DopplerUNet2DModel, latents: LatentData) -> str:
    """One line for the terminal: size of the denoiser, shape of the latents, number of images and users."""
    return (
        f"U-Net of {unet.num_parameters() / 1e6:.1f} M parameters on latents {'x'.join(map(str, latents.shape))}, "
        f"{len(latents.train)} images of {unet.config['num_users']} users"
    )


@torch.no_grad()
def validate(
    objective: VPrediction | FlowMatching, unet: DopplerUNet2DModel, latents: Latents, run: Run, levels: int = 4
) -> float:
    """Denoising loss on held-out latents, with the same noise at each call; shared among processes.

    Every image is noised at `levels` noise levels. The levels of all images together are spread evenly over 0..1.
    """
    total = torch.zeros(2, device=run.device)  # summed error, samples
    unet.eval()
    count = len(latents)
    rank, world = run.accelerator.process_index, run.accelerator.num_processes
    for samples in torch.arange(rank, count * levels, world).split(64):
        draw = Draw(samples % count, [torch.Generator().manual_seed(int(sample)) for sample in samples])
        # Multiples of the golden ratio cover [0, 1) evenly for any number of samples.
        level = (samples * 0.6180339887498949).frac().float()
        # The share 0 drops no label; the call keeps the order of random numbers as in training.
        batch = drop_labels(latents.select(draw.indices), draw, 0.0, unet)
        loss = denoising_loss(unet, objective, batch, draw.randn(*latents.values.shape[1:]), level)
        total += torch.stack([loss * len(samples), torch.tensor(float(len(samples)), device=run.device)])
    unet.train()
    error, number = summed(total, run.accelerator).tolist()
    return error / number


def save_sample_sheet(pipeline: VQLDMDopplerPipeline, config: Config, path: Path, per_user: int = 4) -> None:
    """Draw some generated spectrograms of each of the first 16 users with their seeds, one row per user."""
    from echoform_train.data.figure import figure, save_figure  # matplotlib takes a moment to import

    pipeline.set_progress_bar_config(disable=True)
    pipeline.unet.eval()
    generator = torch.Generator().manual_seed(config.run.seed)
    labels = pipeline.config["id2label"]
    users = [labels[str(index)] for index in range(len(labels))][:SHEET_USERS]
    result = pipeline(users, per_user, guidance_scale=config.guidance_scale, generator=generator)
    pipeline.unet.train()
    drawn = figure(
        result.images,
        pipeline.config["axes"],
        [f"seed {seed}" for seed in result.seeds],
        columns=per_user,
        rows=users,
        colormap=pipeline.config["colormap"],
        title="Generated spectrograms",
    )
    save_figure(drawn, path)
