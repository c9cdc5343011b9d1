"""What both stages cost beside the stock diffusers configuration of the earlier system, in one process, in turns.

    python benchmarks/stock.py OUTPUT_JSON [--parts vq denoiser decoding sampling] [--repeats 5] [--threads 2] ...

Stock: `VQModel` of widths 64, 128, 256 on RGB and `UNet2DModel` of widths 256, 512, 768, 1,024 with 2 layers a block
and heads of 16 on its 64x64 latents, float32, squared error, AdamW, DDIM of 50 steps. Ours: a preset of the training
scripts on one channel, its own loss, precision and averaging; 8 steps, or the 4 of a distilled pipeline. Weights are
random, pictures are noise of 256x256. What a stock image costs is 50 times its measured forward pass and one
decoding; the JSON file says so. Ours is the whole pipeline, from noise to painted pictures. The perceptual loss of
the preset is measured with a random backbone, so that nothing is downloaded. Writes OUTPUT_JSON.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import lpips
import torch
import tyro
from diffusers import DDPMScheduler, UNet2DModel, VQModel
from diffusers.models.autoencoders.vae import DecoderOutput
from in_turns import Maker, gemm_gflop_per_s, measure, write_results
from torch import Tensor, nn
from torch.nn import functional as F
from untrained import noise_data, untrained_pipeline, untrained_unet

from echoform_train.data.config import DataConfig
from echoform_train.data.spectrograms import SpectrogramData
from echoform_train.engine.config import fixed_settings
from echoform_train.engine.ema import make_ema
from echoform_train.engine.precision import cpu_bf16_gain
from echoform_train.engine.run import Run
from echoform_train.latent_diffusion.codebook import EMACodebook, look_up
from echoform_train.latent_diffusion.first_stage import encode_pixels
from echoform_train.latent_diffusion.first_stage_training import Learner
from echoform_train.latent_diffusion.objective import make_objective
from echoform_train.scoring.perceptual import PerceptualLoss
from echoform_train.trainers import ldm as train_ldm
from echoform_train.trainers import vq_vae as train_vq_vae

Part = Literal["vq", "denoiser", "decoding", "sampling"]
Model = TypeVar("Model", bound=nn.Module)
RESOLUTION = 256
USERS = 31
STOCK_STEPS = 50
STOCK_LATENTS = (3, 64, 64)
OURS = ((torch.float32, 8, 1.0), (torch.bfloat16, 8, 1.0), (torch.bfloat16, 8, 1.5), (torch.bfloat16, 4, 1.0))
"""What of ours is sampled: precision, steps and guidance."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to measure."""

    output: tyro.conf.Positional[Path]
    """JSON file to write."""
    parts: tuple[Part, ...] = ("vq", "denoiser", "decoding", "sampling")
    """Which rows of the table."""
    preset: Literal["256", "16gb", "6gb", "paper"] = "256"
    """Our side: preset of both training scripts."""
    batch_size: int = 4
    """Images a call, on both sides."""
    repeats: int = 5
    """Timings of each call, after one that warms up."""
    threads: int = 2
    """Of torch, on a CPU."""
    only_ours: bool = False
    """Leave out the stock side, which takes minutes a repeat on a CPU."""


class UntrainedPerceptualLoss(PerceptualLoss):
    """As heavy as the real one, which would download its backbone."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lpips calls torchvision as of old
            self.distance = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
        self.requires_grad_(False).eval()


def main(config: Config) -> None:
    torch.set_num_threads(config.threads)
    torch.manual_seed(0)
    facts: dict[str, Any] = {
        "batch_size": config.batch_size,
        "preset": config.preset,
        "bf16_gain_of_a_convolution": cpu_bf16_gain(),
        "gemm_gflop_per_s": {
            str(dtype).removeprefix("torch."): gemm_gflop_per_s(dtype) for dtype in (torch.float32, torch.bfloat16)
        },
        "stock_image": f"{STOCK_STEPS} x the measured forward pass + one decoding, no guidance",
        "calls": {},
    }
    data = noise_data(RESOLUTION, USERS, 64)
    with tempfile.TemporaryDirectory() as folder:
        for part in config.parts:
            makers = MAKERS[part](config, data, Path(folder) / part)
            if config.only_ours:
                makers = {name: make for name, make in makers.items() if not name.startswith("stock")}
            facts["calls"] |= {f"{part}: {name}": result for name, result in measure(makers, config.repeats).items()}
            write_results(config.output, facts | {"table": summary(facts["calls"], config.batch_size)})
    print("\n".join(describe(facts)))


# Training of the first stage ------------------------------------------------------------------------------------------


def vq_makers(config: Config, data: SpectrogramData, folder: Path) -> dict[str, Maker]:
    """One optimizer step each: ours as the preset has it, without its perceptual loss, and stock."""
    return {
        "ours without LPIPS": lambda: our_vq_step(config, data, folder / "plain", perceptual=False),
        "ours": lambda: our_vq_step(config, data, folder / "perceptual", perceptual=True),
        "stock": lambda: stock_vq_step(config),
    }


def our_vq_step(config: Config, data: SpectrogramData, folder: Path, *, perceptual: bool) -> Callable[[], None]:
    """The loop of `train_vq_vae` with its codebook started, but for log, validation and checkpoints."""
    preset = train_vq_vae.PRESETS[config.preset]
    settings = _settings(preset, config, folder, lpips_weight=0.0)
    run = Run(settings.run, len(data.train), fixed_settings(settings))
    vqvae = train_vq_vae.build_model(settings, data.train.pixels.shape[1])
    vqvae.quantize.embedding.weight.requires_grad_(False)
    learner = Learner(settings, run, train_vq_vae.QuantizedAutoencoder(vqvae), data.train.pixels.shape[1])
    if perceptual:
        learner.config = replace(settings, lpips_weight=preset.lpips_weight)
        learner.perceptual = UntrainedPerceptualLoss().to(run.device)
    codebook = EMACodebook(vqvae.quantize.embedding.weight, run.accelerator, decay=settings.codebook_decay)

    def step() -> None:
        for draw in run.draws():
            images = learner.images(data.train, draw)
            with run.accelerator.accumulate(learner.model):
                reconstruction, latents, codes = learner.model(images, True)
                commitment = settings.commitment_weight * F.mse_loss(latents, look_up(codes, codebook.weight))
                learner.descend(images, reconstruction, {"commitment": commitment})
                codebook.update(latents, codes, run.generator())

    return step


def stock_vq_step(config: Config) -> Callable[[], None]:
    vqvae = _placed(stock_vqvae())
    optimizer = torch.optim.AdamW(vqvae.parameters(), 1e-4)
    images = _normal(config.batch_size, 3, RESOLUTION, RESOLUTION)

    def step() -> None:
        output = cast(DecoderOutput, vqvae(images))
        loss = F.mse_loss(output.sample, images) + cast(Tensor, output.commit_loss).mean()
        _descend(loss, optimizer)

    return step


def stock_vqvae() -> VQModel:
    return VQModel(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(64, 128, 256),
        num_vq_embeddings=512,
    )


# Training of the second stage -----------------------------------------------------------------------------------------


def denoiser_makers(config: Config, data: SpectrogramData, folder: Path) -> dict[str, Maker]:
    """A training step and a forward pass as while sampling, of each side."""
    return {
        "ours, forward, float32": lambda: our_forward(config, data, torch.float32),
        "ours, forward, bfloat16": lambda: our_forward(config, data, torch.bfloat16),
        "ours, training step": lambda: our_denoiser_step(config, data, folder),
        "stock, forward": lambda: stock_forward(config),
        "stock, training step": lambda: stock_denoiser_step(config),
    }


def our_denoiser_step(config: Config, data: SpectrogramData, folder: Path) -> Callable[[], None]:
    """The loop of `train_ldm`, but for log, validation and checkpoints."""
    settings = _settings(train_ldm.PRESETS[config.preset], config, folder, first_stage=folder)
    run = Run(settings.run, len(data.train), fixed_settings(settings))
    vqvae = train_vq_vae.build_model(train_vq_vae.PRESETS[config.preset], data.train.pixels.shape[1])
    values = encode_pixels(vqvae, data.train.pixels[: config.batch_size])
    latents = train_ldm.Latents(
        values.repeat(-(-len(data.train) // len(values)), 1, 1, 1)[: len(data.train)], data.train.users, {}
    )
    unet = train_ldm.build_unet(settings, data, latents.values.shape).to(run.device, memory_format=run.memory_format)
    if settings.run.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    ema = make_ema(unet, settings.ema_decay)
    model, optimizer = run.accelerator.prepare(unet, run.optimizer(unet))
    objective = make_objective(settings.objective, settings.beta_schedule, settings.snr_gamma)

    def step() -> None:
        for draw in run.draws():
            with run.accelerator.accumulate(model):
                values = latents.values[draw.indices]
                noise, level = draw.randn(*values.shape[1:]), draw.rand()
                users, conditions = train_ldm.drop_labels(latents, draw, settings.label_dropout, unet)
                loss = train_ldm.denoising_loss(model, objective, values, noise, level, users, conditions)
                run.descend(loss, optimizer, model)
        ema.update_parameters(unet)

    return step


def our_forward(config: Config, data: SpectrogramData, dtype: torch.dtype) -> Callable[[], Any]:
    shape = _our_latents(config)
    unet = _placed(untrained_unet(train_ldm.PRESETS[config.preset], data, shape), dtype).eval()
    unet.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    latents, users = _normal(config.batch_size, *shape).to(dtype), _users(config)
    return torch.no_grad()(lambda: unet(latents, 500, users=users))


def stock_unet() -> UNet2DModel:
    return UNet2DModel(
        sample_size=STOCK_LATENTS[-1],
        block_out_channels=(256, 512, 768, 1024),
        layers_per_block=2,
        attention_head_dim=16,
        num_class_embeds=USERS,
    )


def stock_forward(config: Config) -> Callable[[], Any]:
    unet = _placed(stock_unet()).eval()
    latents, users = _normal(config.batch_size, *STOCK_LATENTS), _users(config)
    return torch.no_grad()(lambda: unet(latents, 500, class_labels=users))


def stock_denoiser_step(config: Config) -> Callable[[], None]:
    unet = _placed(stock_unet())
    optimizer, noising = torch.optim.AdamW(unet.parameters(), 1e-4), DDPMScheduler()
    latents, users = _normal(config.batch_size, *STOCK_LATENTS), _users(config)

    def step() -> None:
        noise = torch.randn_like(latents)
        timesteps = torch.randint(1000, (config.batch_size,), device=latents.device)
        noised = noising.add_noise(latents, noise, cast(torch.IntTensor, timesteps))
        _descend(F.mse_loss(unet(noised, timesteps, class_labels=users).sample, noise), optimizer)

    return step


# Images ---------------------------------------------------------------------------------------------------------------


def decoding_makers(config: Config, data: SpectrogramData, folder: Path) -> dict[str, Maker]:
    """Latents to pictures."""

    def ours(dtype: torch.dtype) -> Callable[[], Any]:
        pipeline = untrained_pipeline(config.preset, data)
        _placed(pipeline.vqvae, dtype).to(memory_format=torch.channels_last)
        latents = _normal(config.batch_size, *_our_latents(config))
        return torch.no_grad()(lambda: pipeline.decode(latents))

    def stock() -> Callable[[], Any]:
        vqvae, latents = _placed(stock_vqvae()).eval(), _normal(config.batch_size, *STOCK_LATENTS)
        return torch.no_grad()(lambda: vqvae.decode(cast(torch.FloatTensor, latents)))

    return {
        "ours, float32": lambda: ours(torch.float32),
        "ours, bfloat16": lambda: ours(torch.bfloat16),
        "stock": stock,
    }


def sampling_makers(config: Config, data: SpectrogramData, folder: Path) -> dict[str, Maker]:
    """The whole pipeline, ours alone: the stock one is put together from its parts."""

    def ours(dtype: torch.dtype, steps: int, guidance_scale: float) -> Callable[[], Any]:
        pipeline = untrained_pipeline(config.preset, data)
        for model in (pipeline.vqvae, pipeline.unet):
            _placed(model, dtype).to(memory_format=torch.channels_last)  # as `echoform generate` does
        return lambda: pipeline(
            users=[0],
            num_images_per_user=config.batch_size,
            guidance_scale=guidance_scale,
            num_inference_steps=steps,
            batch_size=config.batch_size,
        )

    return {
        f"ours, {str(dtype).removeprefix('torch.')}, {steps} steps, guidance {guidance_scale:g}": (
            partial(ours, dtype, steps, guidance_scale)
        )
        for dtype, steps, guidance_scale in OURS
    }


MAKERS: dict[Part, Callable[[Config, SpectrogramData, Path], dict[str, Maker]]] = {
    "vq": vq_makers,
    "denoiser": denoiser_makers,
    "decoding": decoding_makers,
    "sampling": sampling_makers,
}


# Table ----------------------------------------------------------------------------------------------------------------


def summary(calls: dict[str, dict[str, Any]], batch_size: int) -> list[dict[str, Any]]:
    """Rows of the table: seconds by the clock of both sides and how many times cheaper ours is."""
    rows = [
        ("VQ training step", "vq: ours", "vq: stock"),
        ("VQ training step, ours without LPIPS", "vq: ours without LPIPS", "vq: stock"),
        ("denoiser training step", "denoiser: ours, training step", "denoiser: stock, training step"),
        ("denoiser forward, ours in float32", "denoiser: ours, forward, float32", "denoiser: stock, forward"),
        ("denoiser forward, ours in bfloat16", "denoiser: ours, forward, bfloat16", "denoiser: stock, forward"),
        ("decoding, ours in float32", "decoding: ours, float32", "decoding: stock"),
        ("decoding, ours in bfloat16", "decoding: ours, bfloat16", "decoding: stock"),
    ]
    table = [_row(name, calls.get(ours), calls.get(stock)) for name, ours, stock in rows]
    image = _stock_image(calls, batch_size)
    for name, result in calls.items():
        if name.startswith("sampling"):
            each = {key: result[key] / batch_size for key in ("wall_s", "cpu_s", "gflop")}
            table.append(_row(f"an image, {name.partition(': ')[2]}", each | {"peak_mib": result["peak_mib"]}, image))
    return [row for row in table if row["ours"] is not None or row["stock"] is not None]


def _stock_image(calls: dict[str, dict[str, Any]], batch_size: int) -> dict[str, Any] | None:
    forward, decoding = calls.get("denoiser: stock, forward"), calls.get("decoding: stock")
    if forward is None or decoding is None:
        return None
    image = {key: (STOCK_STEPS * forward[key] + decoding[key]) / batch_size for key in ("wall_s", "cpu_s", "gflop")}
    peaks = forward["peak_mib"], decoding["peak_mib"]
    return image | {"peak_mib": None if None in peaks else max(peaks)}


def _row(name: str, ours: dict[str, Any] | None, stock: dict[str, Any] | None) -> dict[str, Any]:
    times = {
        f"{key}_times": stock[key] / ours[key] if ours and stock and ours[key] and stock[key] else None
        for key in ("wall_s", "cpu_s", "gflop", "peak_mib")
    }
    return {"what": name, "ours": _brief(ours), "stock": _brief(stock), **times}


def _brief(result: dict[str, Any] | None) -> dict[str, Any] | None:
    return result and {key: result[key] for key in ("wall_s", "cpu_s", "gflop", "peak_mib")}


def describe(facts: dict[str, Any]) -> list[str]:
    """The table in Markdown."""
    peaks = facts["gemm_gflop_per_s"]
    lines = [
        f"Matrix products: {peaks['float32']:.0f} GFLOP/s in float32, {peaks['bfloat16']:.0f} in bfloat16. "
        f"Batches of {facts['batch_size']}.",
        "",
        "| | ours, s | stock, s | times cheaper (clock; CPU time) | GFLOP ours, stock | peak MiB ours, stock |",
        "|---|---|---|---|---|---|",
    ]
    for row in summary(facts["calls"], facts["batch_size"]):
        ours, stock = row["ours"], row["stock"]
        lines.append(
            f"| {row['what']} | {_cell(ours, 'wall_s', 3)} | {_cell(stock, 'wall_s', 3)} "
            f"| {_cell(row, 'wall_s_times', 3)}; {_cell(row, 'cpu_s_times', 3)} "
            f"| {_cell(ours, 'gflop', 4)}, {_cell(stock, 'gflop', 4)} "
            f"| {_cell(ours, 'peak_mib', 4)}, {_cell(stock, 'peak_mib', 4)} |"
        )
    return lines


def _cell(values: dict[str, Any] | None, key: str, digits: int) -> str:
    value = None if values is None else values[key]
    return "not measured" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.{digits}g}"


# Small things ---------------------------------------------------------------------------------------------------------


def _settings(preset: Any, config: Config, folder: Path, **changes: Any) -> Any:
    run = replace(
        preset.run,
        output_dir=folder,
        train_batch_size=config.batch_size,
        gradient_accumulation_steps=1,
        report_to="none",
    )
    return replace(preset, data=DataConfig(data="noise"), run=run, **changes)


def _our_latents(config: Config) -> tuple[int, int, int]:
    stage = train_vq_vae.PRESETS[config.preset]
    side = RESOLUTION // 2 ** (len(stage.block_out_channels) - 1)
    return stage.latent_channels, side, side


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _placed(model: Model, dtype: torch.dtype = torch.float32) -> Model:
    nn.Module.to(model, _device(), dtype)  # in place; that of diffusers warns of every cast
    return model


def _normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(_device())


def _users(config: Config) -> Tensor:
    return torch.arange(config.batch_size, device=_device()) % USERS


def _descend(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


if __name__ == "__main__":
    main(tyro.cli(Config))
