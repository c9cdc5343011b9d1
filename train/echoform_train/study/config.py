"""Flags of a study: sizes, seeds and limits of its measurements, and settings of its generators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from echoform_train.engine.errors import UserError

ALL = "all"
"""Value of --sizes that means all training images."""
DRAWS = 3
"""Default number of choices of the real images per size."""
LEAST_IMAGES = 2
"""Smallest number of real images per user for training a generator and classifiers."""


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Settings of the measurements of a study."""

    sizes: tuple[str, ...] = ("5", "20", ALL)
    """Numbers of real images per user to measure at; all means all training images."""
    seeds: int = 5
    """Classifiers per family, arm and size, from which the 95 % intervals are computed."""
    draws: int | None = None
    """Choices of the real images per size, each with its own generator, at most as many as --seeds. Intervals are over
    draws, so that they cover the choice of the images and the training of the generator; with 1, no verdict is given.
    The cost grows with draws. Default: 3, or --seeds if that is 2."""
    across: tuple[str, ...] = ()
    """Tests on a condition that was not trained on, written column:trained:tested, such as condition:normal:backpack;
    each trains another generator."""
    classifier_train_images: int = 8_000
    """Real images that a classifier sees in training, the same number in every arm; generated ones come in addition."""
    shares: tuple[float, ...] = (0.125, 0.25, 0.5)
    """Shares of generated images among all images that a classifier sees, above 0 and at most 0.5. The best on
    validation images is taken; if none beats classical augmentation alone, none is recommended."""
    loss_weights: tuple[float, ...] = (1.0, 0.5)
    """Weights of generated images in the loss (real ones: 1); the best at the best share is taken, as it is."""
    recipes: bool = False
    """Also measure other uses of generated images, each beside the same idea without them: labelled by classifiers that
    each miss a part of the real images, and pre-training on them. About as long again as all other classifiers."""
    keep_share: float = 0.7
    """Share of the drawn images to keep: those that a classifier trained on the same real images recognises best."""
    max_duplicate: float = 0.99
    """Largest similarity of a kept image to a training or another kept image (maximal correlation over time shifts).
    Windows of one recording that overlap by two thirds reach 0.9 to 0.99, windows of two recordings of a user 0.96."""
    only_walks: bool = True
    """Keep only images that can show a walking person, by gait limits learned from the same real images."""
    false_accept_rate: float = 0.05
    """Of the classifier that is handed over: share of images of unknown people that may be taken for one of the users.
    It answers "nobody" beyond a threshold that is measured by leaving each of the users out of one further training."""
    onnx: bool = False
    """Write that classifier as model.onnx too, one file for onnxruntime on a server or in a browser."""
    judge_seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the judges that score the generator of the largest size."""
    judge_train_images: int = 12_000
    """Images that a judge sees in training."""

    def __post_init__(self) -> None:
        if self.seeds < 2:
            raise UserError(f"--seeds must be at least 2, because an interval needs two, got {self.seeds}")
        if self.draws is not None and not 1 <= self.draws <= self.seeds:
            raise UserError(f"--draws must be at least 1 and at most --seeds ({self.seeds}), got {self.draws}")
        if wrong := [text for text in self.across if text.count(":") != 2]:
            raise UserError(f"--across must be written column:trained:tested, got {', '.join(wrong)}")
        if not 0 < self.keep_share <= 1:
            raise UserError(f"--keep-share must be above 0 and at most 1, got {self.keep_share}")
        if not 0 < self.false_accept_rate < 1:
            raise UserError(f"--false-accept-rate must be above 0 and below 1, got {self.false_accept_rate}")
        check_shares(self.shares, self.loss_weights)
        parse_sizes(self.sizes)

    @property
    def count_draws(self) -> int:
        """Number of choices of the real images per size."""
        return min(DRAWS, self.seeds) if self.draws is None else self.draws


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """Settings of training and sampling a generator. Training lengths are fixed, not chosen on held-out images."""

    copies: int = 16
    """Versions of each training image: the image itself, and copies with another start, gain and noise floor."""
    vq_train_images: int = 16_000
    """Images that the first stage sees in training."""
    ldm_train_images: int = 40_000
    """Images that the second stage sees in training."""
    pretrain_people: int = 0
    """Number of simulated people to pre-train both stages on; afterwards only the second stage is trained on the real
    images. 0 trains both stages from random weights."""
    pretrain_vq_images: int = 30_000
    """Images of simulated people that the first stage sees in training."""
    pretrain_ldm_images: int = 60_000
    """Images of simulated people that the second stage sees in training."""
    guidance_scale: float = 1.0
    """Scale of classifier-free guidance towards user and conditions; 1 means no guidance."""
    num_inference_steps: int = 16
    """Steps of the sampler. With 8, more images show a rhythm too irregular for a walk."""

    def __post_init__(self) -> None:
        lengths = ("vq_train_images", "ldm_train_images", "pretrain_vq_images", "pretrain_ldm_images")
        for name in ("copies", "num_inference_steps", *lengths):
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(self, name)}")
        if self.pretrain_people < 0:
            raise UserError(f"--pretrain-people must not be negative, got {self.pretrain_people}")


def check_shares(shares: Sequence[float], loss_weights: Sequence[float]) -> None:
    """Check the shares of generated images and their loss weights.

    Raises:
        ValueError: If there is none, one is out of its range, or one is given twice.
    """
    if not shares or len(set(shares)) < len(shares) or not all(0 < share <= 0.5 for share in shares):
        raise UserError(f"--shares must be numbers above 0 and at most 0.5, each once, got {list(shares)}")
    if (
        not loss_weights
        or len(set(loss_weights)) < len(loss_weights)
        or not all(0 < weight < math.inf for weight in loss_weights)
    ):
        raise UserError(f"--loss-weights must be numbers above 0, each once, got {list(loss_weights)}")


def parse_sizes(sizes: Sequence[str]) -> list[int | None]:
    """Numbers of real images per user, each once, in ascending order; None stands for all and comes last.

    Raises:
        ValueError: If a size is neither a whole number of at least 2 nor "all", or there are no sizes.
    """
    for size in sizes:
        if size != ALL and not (size.isdecimal() and int(size) >= LEAST_IMAGES):
            raise UserError(f"--sizes must be whole numbers of at least {LEAST_IMAGES}, or all, got {size!r}")
    if not sizes:
        raise UserError("--sizes must name at least one size, got none")
    numbers = sorted({int(size) for size in sizes if size != ALL})
    return [*numbers, *([None] if ALL in sizes else [])]
