"""Train a classifier of users on real images, with or without augmentation and generated images."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from echoform_train.data.spectrograms import to_model
from echoform_train.engine.errors import UserError
from echoform_train.engine.seeds import mix_seed
from echoform_train.scoring.classifier_training import (
    LABEL_SMOOTHING,
    Batch,
    MixedPrecision,
    check_labelled_images,
    fit_classifier,
    logits_of,
    shrink,
    shuffled_indices,
)
from echoform_train.scoring.classifier_way import Lessons
from echoform_train.scoring.generated_images import Sample
from echoform_train.study.classifiers.augmentations import Recipe
from echoform_train.study.classifiers.networks import FAMILIES
from echoform_train.study.classifiers.recropping import Strips

BATCH_SIZE = 16
"""Images per optimizer step, chosen on validation images; numbers in benchmarks/EXPERIMENTS.md."""

_ROUNDING = 1e-9
"""Added before rounding down, because shares such as 1/3 are not exact."""
_ORDER, _CROPS, _AUGMENTATION, _GENERATED = 0, 1, 2, 3  # mixed into the seed, one per use of random numbers


def train_classifier(
    family: str,
    real: Sample,
    num_users: int,
    *,
    seed: int,
    recipe: Recipe | None = None,
    generated: Sample | None = None,
    generated_share: float = 0.5,
    generated_weight: float = 1.0,
    initial: nn.Module | None = None,
    train_images: int = 8_000,
    batch_size: int = BATCH_SIZE,
    device: torch.device | str = "cpu",
    mixed_precision: MixedPrecision = "auto",
) -> nn.Module:
    """Train a classifier of one family.

    Every classifier sees `train_images` real images, and generated ones in addition to them. They come in batches of
    their own, so that their statistics do not mix with those of the real ones. The same seed gives the same initial
    weights, and the same real images with the same augmentation in the same order, with or without generated images.
    The same arguments give the same classifier on the same machine.

    Args:
        family: One of FAMILIES.
        real: Pixels uint8 [N, C, H, W], sides of at least 16 pixels, and users int64 [N] in 0..num_users-1.
        num_users: Number of users to tell apart.
        seed: Seed of weights, order and augmentation.
        recipe: Augmentation of real and generated images, and re-cropping of real ones; None for neither.
        generated: Generated images of the same size, and their users: ids, or shares of users float32 [M, num_users]
            that add up to 1, such as the probabilities of a teacher.
        generated_share: Share of generated images among all images seen, 0..0.5: with 0.25, a batch of them follows
            every third batch of real ones.
        generated_weight: Weight of the loss of a generated batch; that of a real one is 1.
        initial: Classifier of the same family whose weights to start from, all but those of its head, for example one
            that was trained on simulated people. Default: random weights.
        train_images: Real images seen in training, counting an image each time that it is seen.
        batch_size: Images per optimizer step.
        device: Where to train.
        mixed_precision: See `MixedPrecision`.

    Returns:
        The classifier: logits [B, num_users] of images [B, C, H, W] in [-1, 1]; in eval mode, on `device`.

    Raises:
        ValueError: If an argument is out of its range.
    """
    # Arguments are checked before training.
    recipe = recipe or Recipe()
    if family not in FAMILIES:
        raise UserError(f"family must be one of {', '.join(FAMILIES)}, got {family}")
    if not 2 <= batch_size <= train_images:
        raise UserError(f"batch_size must be in 2..train_images ({train_images}), got {batch_size}")
    check_labelled_images(*real, num_users, "real")
    if recipe.strips is not None and len(recipe.strips) != len(real[0]):
        raise UserError(f"strips must be of the {len(real[0])} real images, they are of {len(recipe.strips)}")
    if generated is not None:
        _check_generated(generated, generated_share, real, num_users)

    # The GRU has separate weights per row, so it is built for the size of the shrunk images.
    kind = FAMILIES[family]
    channels, height = real[0].shape[1], shrink(to_model(real[0][:1])).shape[2]
    shown = lessons(
        real,
        num_users,
        seed=seed,
        recipe=recipe,
        generated=generated,
        generated_share=generated_share,
        generated_weight=generated_weight,
        batch_size=batch_size,
    )
    return fit_classifier(
        lambda: _started_from(kind.build(channels, height, num_users), initial),
        shown.batches,
        more=shown.more,
        more_weight=shown.more_weight,
        more_smoothing=shown.more_smoothing,
        steps=train_images // batch_size,
        seed=seed,
        peak_rate=kind.peak_rate,
        weight_decay=kind.weight_decay,
        fused=True,
        device=device,
        mixed_precision=mixed_precision,
    )


def lessons(
    real: Sample,
    num_users: int,
    *,
    seed: int,
    recipe: Recipe,
    generated: Sample | None = None,
    generated_share: float = 0.5,
    generated_weight: float = 1.0,
    batch_size: int = BATCH_SIZE,
) -> Lessons:
    """The batches that `train_classifier` trains on, see there; the arguments are not checked."""
    more, smoothing = None, LABEL_SMOOTHING
    if generated is not None:
        # Shares say themselves how sure they are: cross-entropy with them is KL, but for a constant.
        smoothing = 0.0 if generated[1].is_floating_point() else LABEL_SMOOTHING
        # Random numbers of its own, so that the real images do not depend on the generated ones.
        own_seed = mix_seed(seed, _GENERATED)
        others = _batches(_ImagePool(generated, own_seed), recipe, num_users, batch_size, own_seed)
        more = _now_and_then(others, generated_share)
    batches = _batches(_ImagePool(real, seed, recipe.strips), recipe, num_users, batch_size, seed)
    return Lessons(batches=batches, more=more, more_weight=generated_weight, more_smoothing=smoothing)


def _started_from(classifier: nn.Module, initial: nn.Module | None) -> nn.Module:
    """The classifier with the weights of another one, but for the head, which has another number of users."""
    if initial is not None:
        body = {name: value for name, value in initial.state_dict().items() if not name.startswith("head.")}
        missing, unexpected = classifier.load_state_dict(body, strict=False)
        if unexpected or any(not name.startswith("head.") for name in missing):
            raise UserError("initial must be a classifier of the same family and of images of the same size")
    return classifier


def hits(classifier: nn.Module, pixels: Tensor, users: Tensor) -> Tensor:
    """Whether each image is classified correctly, bool [N], for pixels uint8 [N, C, H, W] and users int64 [N]."""
    return logits_of(classifier, pixels).argmax(1) == users


class _ImagePool:
    """An endless shuffled sequence of images, in model range and at the size that classifiers see."""

    def __init__(self, sample: Sample, seed: int, strips: Strips | None = None) -> None:
        self._pixels, self._users = sample
        self._strips = strips
        self._order = shuffled_indices(len(self._users), torch.Generator().manual_seed(mix_seed(seed, _ORDER)))
        self._crop_generator = torch.Generator().manual_seed(mix_seed(seed, _CROPS))

    def take(self, count: int) -> tuple[Tensor, Tensor]:
        """The next images float32 [count, C, H, W] in [-1, 1], and their users."""
        indices = torch.tensor(list(islice(self._order, count)), dtype=torch.int64)
        if self._strips is not None:
            return self._strips.crop(indices, self._crop_generator), self._users[indices]
        return shrink(to_model(self._pixels[indices])), self._users[indices]


def _batches(pool: _ImagePool, recipe: Recipe, num_users: int, batch_size: int, seed: int) -> Iterator[Batch]:
    """Endless batches of images of the pool, augmented and mixed as the recipe says."""
    generator = torch.Generator().manual_seed(mix_seed(seed, _AUGMENTATION))
    while True:
        image, users = pool.take(batch_size)
        if recipe.augmentation is not None:
            image = recipe.augmentation(image, generator)
        if recipe.mixing is None:
            yield image, users
        else:
            shares = users if users.is_floating_point() else F.one_hot(users, num_users).float()
            yield recipe.mixing(image, shares, generator)


def _now_and_then(batches: Iterator[Batch], share: float) -> Iterator[Batch | None]:
    """A batch or None per step, so evenly that batches are this share of all, real ones included."""
    per_step = share / (1 - share)
    for step in count():
        yield next(batches) if int((step + 1) * per_step + _ROUNDING) > int(step * per_step + _ROUNDING) else None


def _check_generated(generated: Sample, share: float, real: Sample, num_users: int) -> None:
    if not 0 <= share <= 0.5:
        raise UserError(f"generated_share must be in 0..0.5, got {share}")
    pixels, users = generated
    if users.is_floating_point():
        if users.shape != (len(pixels), num_users) or not torch.allclose(
            users.sum(1), torch.ones(len(users)), atol=1e-3
        ):
            raise UserError(
                f"shares of users must be float [{len(pixels)}, {num_users}] and add up to 1, got {list(users.shape)}"
            )
        users = users.argmax(1)
    check_labelled_images(pixels, users, num_users, "generated")
    if generated[0].shape[1:] != real[0].shape[1:]:
        raise UserError(
            f"generated images must be of the size of the real ones, {list(real[0].shape[1:])}, "
            f"got {list(generated[0].shape[1:])}"
        )
