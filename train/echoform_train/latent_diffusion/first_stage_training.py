"""Steps that the trainings of both first stages share: start, losses, validation, and saving of the best model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from echoform_train.data.config import data_facts, load_data
from echoform_train.data.spectrograms import SpectrogramData, Spectrograms, to_model
from echoform_train.data.split_files import split_to_read
from echoform_train.engine.batches import Draw
from echoform_train.engine.callbacks import NO_CALLBACKS, Callbacks
from echoform_train.engine.files import FACTS, FIRST_STAGE, RECONSTRUCTIONS
from echoform_train.engine.json_files import write_json
from echoform_train.engine.learner import Learner
from echoform_train.engine.optimizers import build_optimizer
from echoform_train.engine.processes import summed
from echoform_train.engine.resolution import resolution_of
from echoform_train.engine.run import Run
from echoform_train.engine.training_result import TrainingResult
from echoform_train.latent_diffusion.first_stage import (
    FirstStageModel,
    decode_to_pixels,
    encode_pixels,
    latent_shape,
)
from echoform_train.latent_diffusion.first_stage_config import FirstStageConfig, image_halving
from echoform_train.latent_diffusion.initial_model import InitialModel
from echoform_train.latent_diffusion.losses import PatchDiscriminator, discriminator_loss, share_limit, spectral_loss
from echoform_train.publishing.export import start_training
from echoform_train.publishing.push import push_after_training
from echoform_train.scoring.image_quality import psnr_each
from echoform_train.scoring.perceptual import PerceptualLoss

SHEET_USERS = 16


def load_training_data(config: FirstStageConfig) -> SpectrogramData:
    """Load the spectrograms that the flags name; a run that is continued uses its own split."""
    split_file = split_to_read(config.data.split_file, config.run.output_dir)
    data_config = replace(config.data, split_file=split_file)
    return load_data(data_config, config.run.seed, halving=image_halving(config))


def start_run(
    config: FirstStageConfig,
    data: SpectrogramData,
    callbacks: Callbacks = NO_CALLBACKS,
    initial: InitialModel | None = None,
) -> Run:
    """Begin the training run, with torch seeded for the initial weights; `initial` is the model to start from.

    Raises:
        UserError: If there are no validation images, or the output folder holds another run.
        PushError: If the result is to be pushed and could not be.
    """
    inputs = {"--initial-model": None if initial is None else initial.content()}
    return start_training(config, data, callbacks, inputs)


def describe(name: str, model: FirstStageModel, data: SpectrogramData) -> str:
    """One line for the terminal: size of the model, shapes of image and latents, number of images."""
    _, channels, height, width = data.train.pixels.shape
    shape = latent_shape(model, channels, resolution_of(height, width))
    latents = "x".join(map(str, shape))
    # A denoiser halves the latents at all levels but the last; the smallest preset has three levels.
    halvings = next(count for count in range(17) if any(side % 2 ** (count + 1) for side in shape[1:]))
    limit = f", which fit denoisers of at most {halvings + 1} levels" if halvings < 2 else ""
    parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    shapes = f"{channels}x{height}x{width} -> {latents}{limit}"
    return f"{name} of {parameters:.1f} M parameters: {shapes}, {len(data.train)} images"


class FirstStageLearner(Learner):
    """A first stage in training, with a discriminator if the settings give it a weight.

    Args:
        config: Settings.
        run: The training run.
        name: Group of the model's weights in checkpoints.
        model: The first stage.
        forward: Module that holds the model and returns its reconstructions.
        ema_decay: Decay of the moving average of the weights at each optimizer step; None keeps no average.
    """

    def __init__(
        self,
        config: FirstStageConfig,
        run: Run,
        name: str,
        model: FirstStageModel,
        forward: nn.Module,
        ema_decay: float | None = None,
    ) -> None:
        super().__init__(run, name, model, forward=forward, ema_decay=ema_decay)
        self.config = config
        self.perceptual = PerceptualLoss().to(run.device) if config.lpips_weight else None
        self.discriminator: nn.Module | None = None
        if config.adversarial_weight:
            discriminator = PatchDiscriminator(model.config["in_channels"]).to(run.device)
            optimizer = build_optimizer(run.config, discriminator)
            self.discriminator, self.discriminator_optimizer = run.accelerator.prepare(discriminator, optimizer)
            self.parts["discriminator"] = _ModuleInCheckpoint(discriminator)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Every optimizer, by the name of its group in checkpoints."""
        own = super().optimizers()
        return own if self.discriminator is None else own | {"discriminator_optimizer": self.discriminator_optimizer}

    def batches(self, images: Spectrograms) -> Iterator[tuple[Draw, Tensor]]:
        """The draws of the next optimizer step, see `passes`, each with its images.

        These are float32 [B, C, H, W] in [-1, 1], on the device of the run.
        """
        for draw in self.passes():
            batch = to_model(images.pixels[draw.indices])
            yield draw, batch.to(self.run.device, memory_format=self.run.memory_format)

    def descend_reconstruction(self, images: Tensor, reconstruction: Tensor, **own_losses: Tensor) -> None:
        """Backward pass of the model, then of the discriminator; every weighted part of the loss is logged.

        Args:
            images: float32 [B, C, H, W] in [-1, 1].
            reconstruction: The model's reconstruction, same shape and range.
            **own_losses: Weighted losses that only this kind of first stage has, scalars.
        """
        loss, parts = self._loss(images, reconstruction, own_losses)
        self.descend(loss, **parts)
        if self.discriminator is not None:
            self.discriminator.requires_grad_(True)
            loss = discriminator_loss(self.discriminator(images), self.discriminator(reconstruction.detach()))
            self.run.collect(discriminator=loss)
            self.run.descend(loss, self.discriminator_optimizer, self.discriminator)

    def _loss(
        self, images: Tensor, reconstruction: Tensor, own_losses: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of the model, and its weighted parts by name."""
        config = self.config
        parts = {
            "l1": config.l1_weight * F.l1_loss(reconstruction, images),
            "l2": config.l2_weight * F.mse_loss(reconstruction, images),
            **own_losses,
        }
        if self.perceptual is not None:
            parts["lpips"] = config.lpips_weight * self.perceptual(reconstruction, images)
        # The share is taken of the parts that cannot be negative, so without the adversarial part.
        parts["spectral"] = self._limited(config.spectral_weight * spectral_loss(reconstruction, images), parts)
        if self.discriminator is not None:
            self.discriminator.requires_grad_(False)
            parts["adversarial"] = -config.adversarial_weight * self.discriminator(reconstruction).mean()
        return torch.stack(list(parts.values())).sum(), parts

    def _limited(self, spectral: Tensor, parts: Mapping[str, Tensor]) -> Tensor:
        """The spectral part, scaled down to its largest share of the loss where it is above that.

        The share is taken over all processes together, so that the result does not depend on their number.
        """
        others = torch.stack(list(parts.values())).sum()
        everywhere = summed(torch.stack([spectral, others]).detach(), self.run.accelerator)
        factor = share_limit(everywhere[0], everywhere[1], self.config.spectral_max_share)
        self.run.collect(spectral_share=factor * everywhere[0] / (factor * everywhere[0] + everywhere[1]))
        return factor * spectral


class _ModuleInCheckpoint:
    """A module as a part of checkpoints."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def tensors(self) -> dict[str, Tensor]:
        return self.module.state_dict()

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self.module.load_state_dict(tensors)


@torch.no_grad()
def validate_reconstruction(
    images: Spectrograms, run: Run, reconstruct: Callable[[Tensor], Tensor]
) -> dict[str, float]:
    """Error of the reconstruction of held-out images, shared among processes.

    Args:
        images: Held-out images.
        run: The training run.
        reconstruct: Maps images, float32 [B, C, H, W] in [-1, 1], to their reconstruction, in float32.

    Returns:
        "psnr" in dB over the full range, "l1" in model range.
    """
    error = torch.zeros(3, device=run.device, dtype=torch.float64)  # squared error, absolute error, pixels
    rank, world = run.accelerator.process_index, run.accelerator.num_processes
    for indices in torch.arange(rank, len(images), world).split(16):
        batch = to_model(images.pixels[indices]).to(run.device, memory_format=run.memory_format)
        difference = reconstruct(batch).clamp(-1, 1) - batch
        error += torch.stack([difference.square().sum(), difference.abs().sum(), torch.tensor(batch.numel())]).to(error)
    squared, absolute, pixels = summed(error, run.accelerator).tolist()
    return {"psnr": 10 * math.log10(4 / (squared / pixels)), "l1": absolute / pixels}


def keep_if_best(
    model: FirstStageModel,
    run: Run,
    data: SpectrogramData,
    scores: dict[str, float],
    facts: Mapping[str, Any],
    *,
    candidate: bool = True,
    quantize: bool = True,
) -> None:
    """Log a validation, write a sheet of reconstructions, and save the model if no earlier validation was better.

    Args:
        model: With the weights that were validated.
        run: The training run.
        data: The training data.
        scores: What the validation measured; the PSNR decides.
        facts: Facts that only this kind of first stage has, for facts.json.
        candidate: False only logs the validation and writes the sheet; the model is not saved.
        quantize: Whether a VQModel replaces each latent by its nearest code.
    """
    if candidate:
        facts_of_data = data_facts(data)
        shape = list(latent_shape(model, facts_of_data["channels"], facts_of_data["resolution"]))
        shared_facts = {"latent_shape": shape, "data": facts_of_data}
        run.keep_if_best(model, FIRST_STAGE, -scores["psnr"], scores, {**facts, **shared_facts})
    else:
        run.log_validation(scores)
    if run.is_main:
        sheet = run.config.output_dir / RECONSTRUCTIONS / f"images-{run.seen:09d}.png"
        _save_reconstructions(model, data, sheet, quantize)
        run.log_sheet(sheet)


def finish(run: Run) -> TrainingResult:
    """Close the run, push the model if the settings name a repository, and return the result."""
    result = run.finish(run.config.output_dir)
    said = {"license": run.config.license, "people": run.config.people}
    if run.is_main and (card := {name: value for name, value in said.items() if value is not None}):
        # A later push writes the card of the model from these facts.
        write_json(run.config.output_dir / FACTS, result.facts | {"card": card})
    push_after_training(run, result)
    return result


def _save_reconstructions(model: FirstStageModel, data: SpectrogramData, path: Path, quantize: bool) -> None:
    """Draw held-out spectrograms of the first 16 users beside their reconstructions, with the PSNR of each."""
    from echoform_train.data.figure import figure, save_figure  # matplotlib takes a moment to import

    users = data.validation.users
    first = [int((users == user).nonzero()[0]) for user in sorted(set(users.tolist()))][:SHEET_USERS]
    pixels = data.validation.pixels[first]
    reconstructed = decode_to_pixels(model, encode_pixels(model, pixels), quantize=quantize)
    names = [data.id2label[int(users[index])] for index in first]
    scores = [f"PSNR {value:.1f} dB" for value in psnr_each(reconstructed / 255, pixels / 255).tolist()]
    # Two users in a row, so that many users make no narrow strip.
    per_row = min(2, len(first))
    drawn = figure(
        torch.stack([pixels, reconstructed], dim=1).flatten(0, 1),
        data.axes,
        [text for pair in zip(names, scores, strict=True) for text in pair],
        columns=2 * per_row,
        groups=(("real", 1), ("reconstruction", 1)) * per_row,
        colormap=data.colormap,
    )
    save_figure(drawn, path)
