"""Subsets of images: a number of real images per user, one condition, or the first images of each user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from echoform_train.data.spectrograms import SpectrogramData, Spectrograms
from echoform_train.engine.errors import UserError
from echoform_train.engine.seeds import mix_seed


def choose_per_user(images: Spectrograms, per_user: int | None, *, seed: int) -> Tensor:
    """Indices of at most `per_user` images of each user, drawn evenly over the recordings of that user.

    The recordings of a user and the windows of each recording are shuffled. One window is taken from each recording,
    then a second one from each, and so on. With the same seed, the images for 5 per user are among those for 10. If
    recordings are unknown, all images of a user count as one recording. All images of users with fewer are taken.

    Args:
        images: Images to choose from.
        per_user: At least 1; None takes every image.
        seed: Seed of the shuffling; the choice for a user does not depend on the images of other users.

    Returns:
        int64 [M], ascending.

    Raises:
        ValueError: If `per_user` is less than 1.
    """
    if per_user is None:
        return torch.arange(len(images))
    if per_user < 1:
        raise UserError(f"per_user must be at least 1, got {per_user}")
    chosen = [index for user in images.users.unique().tolist() for index in _order_of(images, user, seed)[:per_user]]
    return torch.tensor(sorted(chosen), dtype=torch.int64)


def _order_of(images: Spectrograms, user: int, seed: int) -> list[int]:
    """Indices of all images of a user in the order in which they are chosen."""
    generator = torch.Generator().manual_seed(mix_seed(seed, user))
    recordings: dict[str | None, list[int]] = {}
    for index in torch.nonzero(images.users == user).flatten().tolist():
        recordings.setdefault(images.recordings[index], []).append(index)
    windows = list(recordings.values())
    order = [windows[number] for number in torch.randperm(len(windows), generator=generator).tolist()]
    shuffled = [[one[k] for k in torch.randperm(len(one), generator=generator).tolist()] for one in order]
    return [one[turn] for turn in range(max(map(len, shuffled))) for one in shuffled if turn < len(one)]


def across_conditions(data: SpectrogramData, column: str, trained: str, tested: str) -> SpectrogramData:
    """Data for a test across conditions: training and validation images of one condition, test images of another.

    Validation images show the trained condition too, because the tested condition stands for one that is unknown in
    training. A generator trained on `train` of this data has seen no image of the tested condition.

    Args:
        data: The whole data.
        column: Name of the condition, a key of `data.condition_labels`.
        trained: Label of its value to train on.
        tested: Label of its value to test on.

    Raises:
        ValueError: If the column or a label is unknown, or a part has no images.
    """
    # The names come from a flag, so they are checked.
    if column not in data.condition_labels:
        raise UserError(f"the column must be one of {', '.join(data.condition_labels) or 'none'}, got {column}")
    values = {label: value for value, label in data.condition_labels[column].items()}
    for label in (trained, tested):
        if label not in values:
            raise UserError(f"{column} must be one of {', '.join(values)}, got {label}")

    def only(images: Spectrograms, side: str, label: str) -> Spectrograms:
        chosen = images.select(torch.nonzero(images.conditions[column] == values[label]).flatten())
        if not len(chosen):
            raise UserError(f"{side} must hold images whose {column} is {label}, it holds none")
        return chosen

    return replace(
        data,
        train=only(data.train, "train", trained),
        validation=only(data.validation, "validation", trained),
        test=only(data.test, "test", tested),
    )


def first_of_each_user(users: Tensor, counts: Mapping[int, int]) -> Tensor:
    """Indices of the first `counts[user]` images of each user in order, or of all if there are fewer: int64 [M].

    Args:
        users: int64 [N].
        counts: Number of images by user; a user that is missing here gets none.
    """
    indices = [(users == user).nonzero().flatten()[:count] for user, count in counts.items()]
    return torch.cat([torch.empty(0, dtype=torch.int64), *indices]).sort().values
