"""Two families of small classifiers that tell people apart, trained alike with and without generated images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from echoform_train.data.spectrograms import to_model
from echoform_train.engine.precision import autocast_dtype
from echoform_train.engine.schedules import learning_rate_at
from echoform_train.engine.seeds import mix_seed
from echoform_train.scoring.classifier_training import LABEL_SMOOTHING, MIN_SIDE, shrink
from echoform_train.scoring.generated_images import Sample
from echoform_train.scoring.judge import Judge
from echoform_train.study.classifiers.augmentations import Augmentation, Strips

# Chosen on validation recordings of 31 simulated people with 10 images each, so that no arm stands on a weak rival.
# Many small steps beat few large ones: by real images alone the ResNet names 39 % in batches of 64, 49 % in batches of
# 16, 55 % with 64 features in place of 16; the GRU 87 % (a transformer over columns 32 %). With a time roll both name
# some 90 %.
BATCH_SIZE = 16
RESNET_WIDTH = 16
RESNET_FEATURES = 64
GRU_WIDTH = 96
_WARMUP_SHARE = 0.05


class ColumnGRU(nn.Module):
    """A recurrent network that reads a spectrogram as a sequence of columns, each a whole spectrum.

    Pictures of more than 64 pixels a side are averaged down to 64 first. A convolution along time turns every second
    column and its neighbours into one vector, so that each frequency has weights of its own from the start; a GRU
    reads them in both directions, and its states are summed up by their mean and their deviation.

    Args:
        in_channels: 1 for colour-mapped spectrograms, 3 for RGB.
        height: Rows of the pictures after `shrink`.
        num_users: Number of people.
        width: Size of the vectors, and of the state of either direction.
    """

    def __init__(self, in_channels: int, height: int, num_users: int, *, width: int = GRU_WIDTH) -> None:
        super().__init__()
        self.embed = nn.Conv1d(in_channels * height, width, 5, stride=2, padding=2, bias=False)
        self.norm = nn.BatchNorm1d(width)
        self.body = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(4 * width, num_users)

    def forward(self, image: Tensor) -> Tensor:
        """Logits float [B, num_users] of pictures [B, C, H, W] in [-1, 1]."""
        columns = shrink(image).flatten(1, 2)  # [B, C H, W]
        steps = F.relu(self.norm(self.embed(columns))).float().transpose(1, 2)  # [B, W / 2, width]
        with torch.autocast(image.device.type, enabled=False):  # it would cast the weights anew in every step of time
            states, _ = self.body(steps)
        # The root has no slope at zero; without the floor, a state that is constant in time would give NaN.
        deviation = (states.var(1) + 1e-6).sqrt()
        return self.head(self.dropout(torch.cat([states.mean(1), deviation], dim=1)))


@dataclass(frozen=True, kw_only=True)
class Family:
    """A kind of classifier and how it is best trained."""

    build: Callable[[int, int, int], nn.Module]
    """From channels, rows and number of people."""
    peak_rate: float
    weight_decay: float


def _resnet(in_channels: int, height: int, num_users: int) -> Judge:
    return Judge(in_channels, num_users, width=RESNET_WIDTH, num_features=RESNET_FEATURES)


FAMILIES: dict[str, Family] = {
    "ResNet": Family(build=_resnet, peak_rate=2e-3, weight_decay=1.0),
    "GRU over columns": Family(build=ColumnGRU, peak_rate=2e-3, weight_decay=0.1),
}


def train_classifier(
    family: str,
    pixels: Tensor,
    users: Tensor,
    num_users: int,
    *,
    augmentation: Augmentation | None = None,
    strips: Strips | None = None,
    seed: int,
    train_images: int = 8_000,
    batch_size: int = BATCH_SIZE,
    extra: Sample | None = None,
    extra_share: float = 0.5,
    device: torch.device | str = "cpu",
    mixed_precision: Literal["no", "bf16", "auto"] = "auto",
) -> nn.Module:
    """Train a classifier of one family with AdamW, a warm-up and a cosine to zero.

    Whatever is added, every classifier sees the same number of images. The same seed gives the same first weights and
    the same order of the real images (at a slower pace where `extra` takes its share), whatever the augmentation, and
    the same classifier for the same arguments on the same machine.

    Args:
        family: Of FAMILIES.
        pixels: Real images, uint8 [N, C, H, W], sides of at least 16 pixels.
        users: int64 [N] in 0..num_users-1.
        num_users: Number of people to tell apart.
        augmentation: Of every batch, real and generated; None takes the images as they are.
        strips: Of the same real images; each real image is then cut anew from its strip.
        seed: Of weights, order and augmentation.
        train_images: Images to see, those seen again counted again; 8,000 of 64x64 take 7 (ResNet) and 11 s (GRU) on
            one core.
        batch_size: Images an optimizer step.
        extra: Generated images of the same size, and their users.
        extra_share: Share of generated images in each batch, 0..1, to the nearest image.
        device: Where to train.
        mixed_precision: Autocast to bf16; "auto" does so where it is measured to be faster.

    Returns:
        The classifier, logits [B, num_users] of pictures [B, C, H, W] in [-1, 1], in eval mode, on `device`.

    Raises:
        ValueError: If an argument is out of its range.
    """
    if family not in FAMILIES:
        raise ValueError(f"family must be one of {', '.join(FAMILIES)}, got {family}")
    if not 2 <= batch_size <= train_images:
        raise ValueError(f"batch_size must be in 2..train_images ({train_images}), got {batch_size}")
    _check_images("real", pixels, users, num_users)
    if strips is not None and len(strips) != len(pixels):
        raise ValueError(f"strips must be of the {len(pixels)} real images, they are of {len(strips)}")
    pools = [(_Pool(pixels, users, seed, strips), batch_size)]
    if extra is not None:
        _check_extra(extra, extra_share, pixels, num_users)
        of_extra = round(extra_share * batch_size)
        pools = [(pools[0][0], batch_size - of_extra), (_Pool(*extra, seed=mix_seed(seed, 3)), of_extra)]
    kind = FAMILIES[family]
    device = torch.device(device)
    dtype = {"no": None, "bf16": torch.bfloat16, "auto": autocast_dtype(device)}[mixed_precision]
    steps = train_images // batch_size
    augment_generator = torch.Generator().manual_seed(mix_seed(seed, 2))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        height = shrink(to_model(pixels[:1])).shape[2]
        model = kind.build(pixels.shape[1], height, num_users).to(device).to(memory_format=torch.channels_last)
        optimizer = _adamw(model, kind)
        for step in range(steps):
            image, user = (torch.cat(parts) for parts in zip(*(pool.take(count) for pool, count in pools), strict=True))
            if augmentation is not None:
                image = augmentation(image, augment_generator)
            image = image.to(device, memory_format=torch.channels_last)
            with torch.autocast(device.type, dtype, enabled=dtype is not None):
                logits = model(image)
            loss = F.cross_entropy(logits.float(), user.to(device), label_smoothing=LABEL_SMOOTHING)
            rate = learning_rate_at(
                step,
                peak=kind.peak_rate,
                warmup_steps=int(_WARMUP_SHARE * steps),
                total_steps=steps,
                shape="cosine",
            )
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    return model.eval()


@torch.inference_mode()
def logits_of(classifier: nn.Module, pixels: Tensor, batch_size: int = 256) -> Tensor:
    """Logits float32 [N, num_users] on the CPU for pixels uint8 [N, C, H, W]."""
    device = next(classifier.parameters()).device
    parts = (to_model(part).to(device, memory_format=torch.channels_last) for part in pixels.split(batch_size))
    return torch.cat([classifier(part).float().cpu() for part in parts])


def hits(classifier: nn.Module, pixels: Tensor, users: Tensor) -> Tensor:
    """Whether the classifier names the user, bool [N], for pixels uint8 [N, C, H, W] and users int64 [N]."""
    return logits_of(classifier, pixels).argmax(1) == users


class _Pool:
    """Images to draw from, in model range and at the size that classifiers see."""

    def __init__(self, pixels: Tensor, users: Tensor, seed: int, strips: Strips | None = None) -> None:
        self._pixels, self._users, self._strips = pixels, users, strips
        self._order = _endless_order(len(users), torch.Generator().manual_seed(mix_seed(seed, 0)))
        self._crops = torch.Generator().manual_seed(mix_seed(seed, 1))

    def take(self, count: int) -> tuple[Tensor, Tensor]:
        """The next so many images and their users."""
        places = torch.tensor(list(islice(self._order, count)), dtype=torch.int64)
        if self._strips is not None:
            return self._strips.crop(places, self._crops), self._users[places]
        return shrink(to_model(self._pixels[places])), self._users[places]


def _endless_order(count: int, generator: torch.Generator) -> Iterator[int]:
    """Places in one shuffled pass after another."""
    while True:
        yield from torch.randperm(count, generator=generator).tolist()


def _adamw(model: nn.Module, family: Family) -> torch.optim.AdamW:
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": family.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=family.peak_rate, fused=True)


def _check_extra(extra: Sample, extra_share: float, pixels: Tensor, num_users: int) -> None:
    if not 0 <= extra_share <= 1:
        raise ValueError(f"extra_share must be in 0..1, got {extra_share}")
    _check_images("generated", *extra, num_users)
    if extra[0].shape[1:] != pixels.shape[1:]:
        raise ValueError(
            f"generated images must be of the size of the real ones, {list(pixels.shape[1:])}, "
            f"got {list(extra[0].shape[1:])}"
        )


def _check_images(what: str, pixels: Tensor, users: Tensor, num_users: int) -> None:
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or len(pixels) == 0:
        raise ValueError(
            f"{what} pixels must be uint8 [N, C, H, W] with N > 0, got {pixels.dtype} {list(pixels.shape)}"
        )
    if min(pixels.shape[-2:]) < MIN_SIDE:
        raise ValueError(
            f"{what} images must have at least {MIN_SIDE} pixels a side, got {pixels.shape[-2]}x{pixels.shape[-1]}"
        )
    if users.dtype != torch.int64 or users.shape != pixels.shape[:1]:
        raise ValueError(f"{what} users must be int64 [{len(pixels)}], got {users.dtype} {list(users.shape)}")
    if not 0 <= int(users.min()) <= int(users.max()) < num_users:
        raise ValueError(f"{what} users must be in 0..{num_users - 1}, got {int(users.min())}..{int(users.max())}")
