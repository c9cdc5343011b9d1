"""Which real images a study of few images a user takes."""

from __future__ import annotations

import torch
from torch import Tensor

from echoform_train.data.spectrograms import Spectrograms
from echoform_train.engine.seeds import mix_seed


def choose(part: Spectrograms, images_a_user: int | None, *, seed: int) -> Tensor:
    """Places of at most so many images of each user, drawn evenly over that user's recordings.

    Recordings come in random order, the windows of each in random order, and they are taken in turn: one window of
    every recording, then a second one. With the same seed the places for 5 images a user are among those for 10. Where
    recordings are unknown, a user's images count as one recording. A user with fewer images gives all of them.

    Args:
        part: Images to choose from.
        images_a_user: At least 1; None takes every image.
        seed: Of the order. A user's order depends on the seed and on that user's own images alone.

    Returns:
        int64 [M], ascending.

    Raises:
        ValueError: If images_a_user is less than 1.
    """
    if images_a_user is None:
        return torch.arange(len(part))
    if images_a_user < 1:
        raise ValueError(f"images_a_user must be at least 1, got {images_a_user}")
    chosen = [place for user in part.users.unique().tolist() for place in _in_turn(part, user, seed)[:images_a_user]]
    return torch.tensor(sorted(chosen), dtype=torch.int64)


def _in_turn(part: Spectrograms, user: int, seed: int) -> list[int]:
    """All places of a user, in the order in which they are chosen."""
    generator = torch.Generator().manual_seed(mix_seed(seed, user))
    recordings: dict[str | None, list[int]] = {}
    for place in torch.nonzero(part.users == user).flatten().tolist():
        recordings.setdefault(part.recordings[place], []).append(place)
    windows = list(recordings.values())
    order = [windows[number] for number in torch.randperm(len(windows), generator=generator).tolist()]
    shuffled = [[one[k] for k in torch.randperm(len(one), generator=generator).tolist()] for one in order]
    return [one[turn] for turn in range(max(map(len, shuffled))) for one in shuffled if turn < len(one)]
