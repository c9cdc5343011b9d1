"""Windows that are cut from long drawn walks, so that it is known which of them share columns."""

from __future__ import annotations

import hashlib
import io
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from echoform_train.data.colormap import paint
from echoform_train.data.spectrograms import load_spectrograms
from echoform_train.data.split import Split
from echoform_train.engine.errors import UserError
from echoform_train.study.classifiers.recropping import Strips

SIDE = 64
HOP = 16


def walk(seed: int, columns: int, *, noise: float = 45.0) -> np.ndarray:
    """A torso line and limbs that swing about it, with speckle, uint8 [64, columns]."""
    rng = np.random.default_rng(seed)
    period = rng.uniform(14, 22)
    time, row = np.arange(columns), np.arange(SIDE)[:, None]
    phase = 2 * np.pi * time / period
    torso = 32 + 2 * np.sin(2 * phase)
    limbs = np.abs(np.sin(phase)) * 18
    level = 150 * np.exp(-(((row - torso) / 2) ** 2)) + 90 * (np.abs(row - torso) < limbs)
    return np.clip(level + noise * rng.exponential(size=(SIDE, columns)), 0, 255).astype(np.uint8)


def write_windows(
    folder: Path,
    *,
    hop: int = HOP,
    count: int = 24,
    suffix: str = ".png",
    hashed: bool = False,
    missing: tuple[int, ...] = (),
    users: int = 3,
    noise: float = 45.0,
) -> dict[str, tuple[str, int]]:
    """Windows of one walk per user; returns user and first column of each file."""
    truth = {}
    for user in range(1, users + 1):
        long = walk(user, hop * (count - 1) + SIDE, noise=noise)
        place = folder / f"ID_{user}"
        place.mkdir(parents=True)
        for number in range(count):
            if number in missing:
                continue
            name = hashlib.md5(f"{user} {number}".encode()).hexdigest()[:10] if hashed else f"Doppler{number}"
            image = Image.fromarray(paint(long[:, hop * number : hop * number + SIDE], "jet"))
            image.resize((128, 128), Image.Resampling.NEAREST).save(place / (name + suffix), quality=85)
            truth[f"ID_{user}/{name}{suffix}"] = f"ID_{user}", hop * number
    return truth


def shared_columns(split: Split, truth: dict[str, tuple[str, int]]) -> list[tuple[str, str]]:
    """Pairs of images on two sides that show the same columns."""
    sides = [split.train, split.validation, split.test]
    pairs = [pair for one, other in ((0, 1), (0, 2), (1, 2)) for pair in product(sides[one], sides[other])]
    return [
        (first, second)
        for first, second in pairs
        if truth[first][0] == truth[second][0] and abs(truth[first][1] - truth[second][1]) < SIDE
    ]


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("hop", [4, 16, 32])
def test_the_hop_of_numbered_windows_is_that_of_the_pixels_and_no_side_shares_columns(tmp_path, hop, suffix):
    truth = write_windows(tmp_path, hop=hop, count=60 if hop == 4 else 24, suffix=suffix)
    data = load_spectrograms(tmp_path)
    assert data.times is not None and data.times.hop_columns == pytest.approx(2 * hop, abs=0.5)
    assert not shared_columns(data.split, truth)
    assert len(data.split.train) > len(data.split.test) > 0 or hop == 4


def test_missing_numbers_are_gaps_in_time(tmp_path):
    truth = write_windows(tmp_path, missing=(3, 4, 9, 15, 16, 17))
    data = load_spectrograms(tmp_path)
    assert data.times is not None and data.times.starts is not None
    starts = dict.fromkeys(truth, 0.0)
    for side in (data.train, data.validation, data.test, data.left_out):
        assert side.starts_windows is not None
        starts.update(zip(side.files, side.starts_windows, strict=True))
    for file, (_, column) in truth.items():
        assert starts[file] == pytest.approx(column / SIDE, abs=0.05 * (1 + column / SIDE))
    assert not shared_columns(data.split, truth)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_names_that_are_hashes_are_chained_by_their_pixels(tmp_path, suffix):
    truth = write_windows(tmp_path, hashed=True, suffix=suffix)
    data = load_spectrograms(tmp_path)
    assert not shared_columns(data.split, truth)
    assert len(data.train) > 20 and len(data.test) >= 3


@pytest.mark.parametrize("hashed", [False, True])
def test_windows_that_do_not_overlap_keep_the_split_of_their_names(tmp_path, hashed):
    write_windows(tmp_path, hop=SIDE, hashed=hashed)
    data = load_spectrograms(tmp_path, gap_windows=0)
    assert data.times is not None and data.times.starts is None and data.times.unclear is None
    assert len(data.left_out) == 0


def test_one_period_again_and_again_is_refused_where_no_shift_is_the_only_one(tmp_path):
    for user in (1, 2):
        time = np.arange(SIDE * 20)
        rows = np.arange(SIDE)[:, None]
        long = (120 + 120 * np.sin(2 * np.pi * time / 16 + rows / (5 + user))).astype(np.uint8)
        (tmp_path / f"ID_{user}").mkdir()
        for number in range(20):
            image = paint(long[:, 68 * number % 1200 :][:, :SIDE], "jet")
            Image.fromarray(image).save(tmp_path / f"ID_{user}" / f"{number}.png")
    with pytest.raises(UserError, match=r"cannot be told which images .* overlap: .*--hop-s must give the seconds"):
        load_spectrograms(tmp_path)
    data = load_spectrograms(tmp_path, hop_s=3.0, window_s=3.0)
    assert len(data.train) > 0


def test_images_of_constant_columns_and_equal_floors_are_not_refused(tmp_path):
    rng = np.random.default_rng(0)
    for user in (1, 2):
        (tmp_path / f"ID_{user}").mkdir()
        for number in range(12):
            levels = np.repeat(rng.integers(0, 256, (SIDE, 1), dtype=np.uint8), SIDE, axis=1)
            Image.fromarray(paint(levels, "jet")).save(tmp_path / f"ID_{user}" / f"{number}.png")
    assert load_spectrograms(tmp_path).split.method == "contiguous with a gap"


def test_a_split_that_shares_columns_is_refused_with_two_names(tmp_path):
    truth = write_windows(tmp_path / "data")
    good = load_spectrograms(tmp_path / "data").split
    leaking = Split(
        train=(*good.train, *good.left_out),
        validation=good.validation,
        test=good.test,
        left_out=(),
        method=good.method,
        gap_windows=0,
        seed=0,
    )
    assert shared_columns(leaking, truth)
    leaking.save(tmp_path / "split.json")
    with pytest.raises(UserError, match=r"split\.json cannot be used .*Doppler\d+\.png \(.*Doppler\d+\.png \("):
        load_spectrograms(tmp_path / "data", split_file=tmp_path / "split.json")


def test_a_split_of_hashed_names_that_shares_columns_is_refused_with_two_names(tmp_path):
    truth = write_windows(tmp_path / "data", hashed=True)
    files = sorted(truth)
    Split(
        train=tuple(files[::2]),
        validation=tuple(files[1::4]),
        test=tuple(files[3::4]),
        left_out=(),
        method="by recording",
        gap_windows=0,
        seed=0,
    ).save(tmp_path / "split.json")
    with pytest.raises(UserError, match=r"split\.json cannot be used with .*ID_\d/\w+\.png \(train\)"):
        load_spectrograms(tmp_path / "data", split_file=tmp_path / "split.json")


def test_folders_of_a_split_that_share_columns_are_refused(tmp_path):
    truth = write_windows(tmp_path / "all")
    for number, file in enumerate(sorted(truth)):
        side = ("train", "train", "validation", "test")[number % 4]
        target = tmp_path / "data" / side / file
        target.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "all" / file).rename(target)
    with pytest.raises(UserError, match="windows that overlap must stand on one side"):
        load_spectrograms(tmp_path / "data")


def test_the_length_of_a_window_is_measured_where_names_tell_starts(tmp_path):
    """A window every 0.5 s that shows the last three quarters of the one before it lasts 2 s."""
    truth = write_windows(tmp_path)
    for file in truth:
        number = int(Path(file).stem.removeprefix("Doppler"))
        (tmp_path / file).rename(tmp_path / Path(file).parent / f"walk_t{50 * number:05d}.png")
    data = load_spectrograms(tmp_path)
    assert data.times is not None and data.times.window_s == pytest.approx(2.0, rel=0.02)
    with pytest.raises(UserError, match="--window-s must be right"):
        load_spectrograms(tmp_path, window_s=1.0)


def test_a_hop_that_the_pixels_contradict_is_refused(tmp_path):
    write_windows(tmp_path)
    assert load_spectrograms(tmp_path, hop_s=0.75, window_s=3.0).times is not None
    with pytest.raises(UserError, match="their columns are 25% of a window apart"):
        load_spectrograms(tmp_path, hop_s=1.5, window_s=3.0)
    with pytest.raises(UserError, match="--hop-s must be a positive number"):
        load_spectrograms(tmp_path, hop_s=-1.0)


def test_windows_whose_hop_was_found_are_stitched_and_cut_anew(tmp_path):
    write_windows(tmp_path)
    train = load_spectrograms(tmp_path).train
    strips = Strips(train, None, full_size=True)
    assert strips.why_none is None and len(strips) == len(train)
    blind = Strips(load_spectrograms(tmp_path, find_overlap=False).train, None)
    assert blind.why_none == "the length of a window in seconds is unknown"


def test_the_drawn_jpegs_are_no_copies_of_the_pngs(tmp_path):
    """The tests of JPEG would prove nothing if its columns were equal."""
    image = Image.fromarray(paint(walk(1, SIDE), "jet"))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    assert np.abs(np.asarray(Image.open(stream)).astype(int) - np.asarray(image)).mean() > 3
