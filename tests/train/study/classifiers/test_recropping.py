"""Re-cropped windows are cut from recordings that their overlapping windows were stitched to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from echoform_train.data.spectrograms import SpectrogramData, Spectrograms, load_spectrograms, to_model, to_pixels
from echoform_train.study.classifiers.augmentations import ALL, RECROPPING, recipe
from echoform_train.study.classifiers.recropping import Strips


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def windows_of(strip: Tensor, starts: list[int], width: int, **changes: tuple) -> Spectrograms:
    """Windows [C, H, width] of a strip [C, H, L] of 10 columns a second, all of one recording."""
    images = torch.stack([strip[..., start : start + width] for start in starts])
    known = {
        "recordings": ("r0",) * len(starts),
        "starts_s": tuple(start / 10 for start in starts),
        **changes,
    }
    return Spectrograms(
        pixels=to_pixels(images),
        users=torch.zeros(len(starts), dtype=torch.int64),
        conditions={},
        files=tuple(map(str, starts)),
        **known,
    )


STRIP = to_model(torch.randint(256, (1, 16, 100), generator=generator(5), dtype=torch.uint8))


@pytest.fixture(scope="module")
def data(walkers: Path) -> SpectrogramData:
    return load_spectrograms(walkers)


def test_overlapping_windows_are_stitched_to_the_recording_they_were_cut_from():
    part = windows_of(STRIP, [68, 0, 10, 35, 36, 23], 32)  # those from 0 to 36 overlap, none touches the one at 68
    strips = Strips(part, window_s=3.2)
    assert strips.why_none is None
    assert len(strips) == 6
    crops = strips.crop(torch.full((400,), 1), generator())
    starts = [next(start for start in range(37) if torch.equal(crop, STRIP[..., start : start + 32])) for crop in crops]
    assert set(starts) == set(range(37))  # every offset, not those of the windows alone
    alone = strips.crop(torch.tensor([0, 0, 0]), generator())
    assert torch.equal(alone, STRIP[..., 68:].expand(3, -1, -1, -1))


def test_a_window_that_was_left_out_is_made_again_from_its_neighbours(data):
    """Windows of a simulated walker at 0 and 2 s hold the one at 1 s as the radar would have shown it."""
    train = data.train
    rows = enumerate(zip(train.recordings, train.starts_s, strict=True))
    indices = {start_s: index for index, (recording, start_s) in rows if recording == train.recordings[0]}
    strips = Strips(train.select([indices[0.0], indices[2.0]]), window_s=3.0)
    crops = strips.crop(torch.zeros(200, dtype=torch.int64), generator())
    distance = (crops[:, None] - to_model(train.pixels)).square().mean((2, 3, 4)).sqrt().min(0).values
    left_out = distance[indices[1.0]].item()
    distance[list(indices.values())] = 1.0
    assert left_out < 0.2
    assert left_out < distance.min()  # of every other window at its best offset


@pytest.mark.parametrize(
    ("starts", "window_s", "changes", "why"),
    [
        ([0, 40], 3.2, {}, "no two windows overlap"),
        ([0, 13], None, {}, "length of a window in seconds is unknown"),
        ([0, 13], 3.2, {"starts_s": (None, None)}, "starts of the windows are unknown"),
        ([0, 13], 3.2, {"recordings": (None, None)}, "recordings or the starts"),
        ([0, 13], 3.2, {"recordings": ("r0", "r1")}, "no two windows overlap"),
        ([0, 13], 3.2, {"starts_s": (0.0, 1.6)}, "do not show the same"),
    ],
)
def test_windows_that_do_not_join_are_left_as_they_are_and_it_is_said_why(starts, window_s, changes, why):
    part = windows_of(STRIP, starts, 32, **changes)
    strips = Strips(part, window_s)
    assert strips.why_none is not None
    assert why in strips.why_none
    assert torch.equal(strips.crop(torch.tensor([1, 0]), generator()), to_model(part.pixels[[1, 0]]))
    for name in (RECROPPING, ALL):
        assert recipe(name, strips).strips is None


def test_large_pictures_are_stitched_at_the_size_that_classifiers_see(data):
    large = data.train.select([0, 1, 2])
    pixels = large.pixels.repeat_interleave(4, 2).repeat_interleave(4, 3)  # 128 x 128
    part = Spectrograms(**{**vars(large), "pixels": pixels})
    assert Strips(part, 3.0).crop(torch.tensor([0]), generator()).shape == (1, 1, 64, 64)


def test_a_window_of_no_length_is_refused(data):
    with pytest.raises(ValueError, match="above 0, got 0"):
        Strips(data.train, 0.0)
