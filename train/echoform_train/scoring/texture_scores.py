"""How well a set of images can be told from real ones by its texture: the three scores of one set."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from echoform_train.scoring.generated_images import Sample
from echoform_train.scoring.texture import fine_energy_share, log_spectral_distance_db
from echoform_train.scoring.two_sample import TRAIN_IMAGES, halves_in_time, two_sample_auc


def texture_scores(
    real: Sample, other: Sample, *, seed: int, train_images: int = TRAIN_IMAGES, device: torch.device | str = "cpu"
) -> dict[str, float]:
    """Compare the texture of other images with that of real ones; as many images of each user are taken.

    Args:
        real: Real images with their users, in the order of time for each user.
        other: Images to compare with them; each user of `real` has some.
        seed: Seed of the choice, of the halves and of the network of the two-sample test.
        train_images: Images that this network sees.
        device: Where it is trained.

    Returns:
        By the names of `scores.TEXTURE_LABELS`: the area under the ROC curve of the two-sample test; the ratio of
        the shares of energy in fine detail; the distance of the mean spectra in decibels.
    """
    rng = np.random.default_rng(seed)
    (real_pixels, real_users), (pixels, users) = real, other
    chosen = _like_users(users.numpy(), real_users.numpy(), rng)
    pixels, users = pixels[chosen], users[chosen]
    # The network learns from one half of each user's images and is tested on the other.
    halves = zip(halves_in_time(real_users.numpy(), rng), halves_in_time(users.numpy(), rng), strict=True)
    learn, check = ((real_pixels[first], pixels[second]) for first, second in halves)
    return {
        "two_sample_auc": two_sample_auc(learn, check, seed=seed, train_images=train_images, device=device),
        "fine_energy_ratio": fine_energy_share(pixels.float()) / fine_energy_share(real_pixels.float()),
        "log_spectral_distance": log_spectral_distance_db(pixels.float(), real_pixels.float()),
    }


def tested_images(users: Tensor, real_users: Tensor) -> int:
    """Number of images of each kind that the network of the two-sample test is tested on, at least 1."""
    fewest = torch.minimum(*(torch.bincount(each, minlength=int(real_users.max()) + 1) for each in (users, real_users)))
    return max(1, int(fewest.sum()) // 2)


def _like_users(users: np.ndarray, wanted: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Indices of as many images of each user as `wanted` has, or all where there are fewer, in the order of time."""
    return np.concatenate(
        [
            np.sort(rng.permutation(np.flatnonzero(users == user))[: int((wanted == user).sum())])
            for user in np.unique(wanted)
        ]
    )
