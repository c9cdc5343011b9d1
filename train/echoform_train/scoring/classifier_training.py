"""The training loop shared by all small classifiers of users, and the images that go into them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from echoform.spectrogram_resnet import MAX_SIDE as MAX_SIDE
from echoform.spectrogram_resnet import MIN_SIDE as MIN_SIDE
from echoform.spectrogram_resnet import shrink as shrink
from echoform_train.data.spectrograms import to_model
from echoform_train.engine.errors import UserError
from echoform_train.engine.precision import autocast_dtype
from echoform_train.engine.schedules import learning_rate_at

LABEL_SMOOTHING = 0.1

MixedPrecision = Literal["no", "bf16", "auto"]
"""Autocast to bf16 while training; "auto" does so on devices where bf16 is faster."""
ClassifierT = TypeVar("ClassifierT", bound=nn.Module)
Batch = tuple[Tensor, Tensor]
"""Images float32 [B, C, H, W] in [-1, 1] on the CPU, and their users int64 [B], or shares of users float32 [B, U]."""


def fit_classifier(
    build: Callable[[], ClassifierT],
    batches: Iterator[Batch],
    *,
    steps: int,
    seed: int,
    peak_rate: float,
    weight_decay: float,
    fused: bool = False,
    device: torch.device | str = "cpu",
    mixed_precision: MixedPrecision = "auto",
    validate: Callable[[ClassifierT], float] | None = None,
    validations: int = 10,
    more: Iterator[Batch | None] | None = None,
    more_weight: float = 1.0,
    more_smoothing: float = LABEL_SMOOTHING,
) -> ClassifierT:
    """Build and train a classifier: AdamW, label smoothing, a warm-up over 5 % of the steps, then a cosine to zero.

    The same arguments and batches give the same weights on the same machine. The caller's random state is untouched.

    Args:
        build: Makes the network; called after torch has been seeded, so that its first weights depend on `seed` alone.
        batches: At least `steps` batches, read one per step. Their randomness must come from generators of their own.
        steps: Optimizer steps.
        seed: Seed of first weights and dropout.
        peak_rate: Learning rate at the end of the warm-up.
        weight_decay: Weight decay of matrices and kernels; biases and norms have none.
        fused: Use torch's fused AdamW: faster, and it rounds differently.
        device: Where to train.
        mixed_precision: See `MixedPrecision`.
        validate: Score of the network in eval mode on held-out images; higher is better. The network keeps its best
            weights; of equal ones the latest. None: the last weights.
        validations: How often to validate, in equal steps up to the end.
        more: Batches of other images, such as generated ones, read one per step; None is a step without them. They
            pass through the network apart from `batches`, whose images alone decide what it knows of means and
            deviations when the training is over.
        more_weight: Weight of the loss of `more`.
        more_smoothing: Label smoothing of `more`; 0 for shares that say themselves how sure they are.

    Returns:
        The network, in eval mode, on `device`.
    """
    device = torch.device(device)
    dtype = {"no": None, "bf16": torch.bfloat16, "auto": autocast_dtype(device)}[mixed_precision]
    # A fork, so that neither the first weights nor dropout move the caller's random state.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model = build().to(device).to(memory_format=torch.channels_last)
        optimizer = _adamw(model, peak_rate, weight_decay, fused)
        due = {round(steps * (number + 1) / validations) for number in range(validations)} if validate else set()
        best_score, best = -math.inf, {}
        for step in range(steps):
            loss = _loss(model, next(batches), device, dtype, LABEL_SMOOTHING)
            if more is not None and (others := next(more)) is not None:
                with _fixed_statistics(model):
                    loss = loss + more_weight * _loss(model, others, device, dtype, more_smoothing)
            # The rate is a function of the step, so the optimizer's own is overwritten each time.
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(
                    step, peak=peak_rate, warmup_steps=steps // 20, total_steps=steps, shape="cosine"
                )
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if validate is not None and step + 1 in due:
                if (score := validate(model.eval())) >= best_score:
                    best_score, best = score, {name: value.clone() for name, value in model.state_dict().items()}
                model.train()
    if best:
        model.load_state_dict(best)
    return model.eval()


def _loss(
    model: nn.Module, batch: Batch, device: torch.device, dtype: torch.dtype | None, label_smoothing: float
) -> Tensor:
    """Cross-entropy of a batch."""
    image, users = batch
    image = image.to(device, memory_format=torch.channels_last)
    # The loss stays in float32: bf16 has too few digits for the logarithm of a softmax.
    with torch.autocast(device.type, dtype, enabled=dtype is not None):
        logits = model(image)
    return F.cross_entropy(logits.float(), users.to(device), label_smoothing=label_smoothing)


@contextmanager
def _fixed_statistics(model: nn.Module) -> Iterator[None]:
    """Batch norms normalise by each batch as before, but do not count it into the statistics that they keep."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum


@torch.inference_mode()
def logits_of(classifier: nn.Module, pixels: Tensor, batch_size: int = 256) -> Tensor:
    """Logits of a classifier, float32 [N, num_users] on the CPU, for pixels uint8 [N, C, H, W]."""
    return torch.cat([classifier(image).float().cpu() for image in inference_batches(classifier, pixels, batch_size)])


def inference_batches(classifier: nn.Module, pixels: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Pixels uint8 [N, C, H, W] in batches as a classifier takes them: float32 in [-1, 1], on its device."""
    device = next(classifier.parameters()).device
    for part in pixels.split(batch_size):
        yield to_model(part).to(device, memory_format=torch.channels_last)


def shuffled_indices(count: int, generator: torch.Generator) -> Iterator[int]:
    """Indices 0..count-1 without end: one shuffled pass over all of them after another."""
    while True:
        yield from torch.randperm(count, generator=generator).tolist()


def check_labelled_images(pixels: Tensor, users: Tensor, num_users: int, kind: str = "") -> None:
    """Check that images and users can train or test a classifier of `num_users` users.

    Args:
        pixels: uint8 [N, C, H, W], N > 0, sides of at least 16 pixels.
        users: int64 [N] in 0..num_users-1.
        num_users: Number of users.
        kind: Word that errors put before "pixels" and "users", such as "real".

    Raises:
        ValueError: If an argument is not as described above.
    """
    prefix = f"{kind} " if kind else ""
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or len(pixels) == 0:
        raise UserError(
            f"{prefix}pixels must be uint8 [N, C, H, W] with N > 0, got {pixels.dtype} {list(pixels.shape)}"
        )
    if min(pixels.shape[-2:]) < MIN_SIDE:
        raise UserError(
            f"{prefix}images must have at least {MIN_SIDE} pixels per side, got {pixels.shape[-2]}x{pixels.shape[-1]}"
        )
    if users.dtype != torch.int64 or users.shape != pixels.shape[:1]:
        raise UserError(f"{prefix}users must be int64 [{len(pixels)}], got {users.dtype} {list(users.shape)}")
    if not 0 <= int(users.min()) <= int(users.max()) < num_users:
        raise UserError(f"{prefix}users must be in 0..{num_users - 1}, got {int(users.min())}..{int(users.max())}")


def _adamw(model: nn.Module, rate: float, weight_decay: float, fused: bool) -> torch.optim.AdamW:
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    # None, not False: torch then still picks its fast loop over tensors on a GPU.
    return torch.optim.AdamW(groups, lr=rate, fused=fused or None)
