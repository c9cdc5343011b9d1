from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from echoform_train.data.colormap import lookup_table, paint
from echoform_train.data.spectrograms import load_spectrograms, to_model, to_pixels


def test_every_stored_value_survives_the_model_range():
    pixels = torch.arange(256, dtype=torch.uint8)
    model = to_model(pixels)
    assert model.dtype == torch.float32 and model[0] == -1 and model[255] == 1
    assert torch.equal(to_pixels(model), pixels)
    assert torch.equal(to_pixels(torch.tensor([-7.0, 7.0, -1 + 0.49 / 127.5])), torch.tensor([0, 255, 0]).byte())


def test_painted_pictures_become_one_channel_that_paints_back_exactly(two_users):
    data = load_spectrograms(two_users)
    assert (data.colormap, data.colormap_residual) == ("jet", 0.0)
    assert data.id2label == {0: "ID_1", 1: "ID_2"} and data.native_size == (32, 32)
    sides = [data.train, data.validation, data.test, data.left_out]
    assert sum(map(len, sides)) == 20
    for side in sides:
        assert side.pixels.dtype == torch.uint8 and side.pixels.shape == (len(side), 1, 32, 32)
        for file, user, pixels in zip(side.files, side.users.tolist(), side.pixels, strict=True):
            assert file.startswith(data.id2label[user])
            np.testing.assert_array_equal(paint(pixels[0].numpy(), "jet"), np.asarray(Image.open(two_users / file)))
    assert data.train.files == data.split.train and data.test.files == data.split.test


def test_rgb_is_kept_where_it_is_asked_for(two_users):
    data = load_spectrograms(two_users, colormap="none")
    assert data.colormap is None
    file = data.test.files[0]
    pixels = data.test.pixels[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(pixels, np.asarray(Image.open(two_users / file)))


def test_photographs_stay_rgb(tmp_path):
    rng = np.random.default_rng(0)
    for user in ("a", "b"):
        (tmp_path / user).mkdir()
        for number in range(8):
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(tmp_path / user / f"{number}.png")
    data = load_spectrograms(tmp_path)
    assert data.colormap is None and data.train.pixels.shape[1] == 3 and data.colormap_residual > 20


def test_greyscale_files_are_their_own_index(tmp_path):
    rng = np.random.default_rng(0)
    for user in ("a", "b"):
        (tmp_path / user).mkdir()
        for number in range(8):
            Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8)).save(tmp_path / user / f"{number}.png")
    data = load_spectrograms(tmp_path)
    assert data.colormap == "gray"
    np.testing.assert_array_equal(data.test.pixels[0, 0].numpy(), np.asarray(Image.open(tmp_path / data.test.files[0])))
    with pytest.raises(ValueError, match=r"greyscale images have the colour map gray, .* 'jet'"):
        load_spectrograms(tmp_path, colormap="jet")


def test_resizing_averages_the_scalar_not_the_colours(tmp_path):
    # The mean of indices 0 (dark blue) and 200 (orange) is index 100; that of the two colours is of no map.
    checkers = np.indices((16, 16)).sum(axis=0) % 2 * np.uint8(200)
    for user in ("a", "b"):
        (tmp_path / user).mkdir()
        for number in range(8):
            Image.fromarray(lookup_table("jet")[checkers]).save(tmp_path / user / f"{number}.png")
    data = load_spectrograms(tmp_path, resolution=8)
    assert data.train.pixels.shape[-2:] == (8, 8) and data.native_size == (16, 16)
    assert (data.train.pixels == 100).all()
    assert load_spectrograms(tmp_path, resolution=12).train.pixels.shape[-2:] == (12, 12)


def test_each_file_is_read_once(two_users, monkeypatch):
    reads: Counter[Path] = Counter()
    read_bytes = Path.read_bytes

    def counting(self: Path) -> bytes:
        reads[self] += 1
        return read_bytes(self)

    monkeypatch.setattr(Path, "read_bytes", counting)
    load_spectrograms(two_users)
    assert len(reads) == 20 and set(reads.values()) == {1}


def test_conditions_are_those_with_two_values_or_those_asked_for(tmp_path, write_picture):
    rows = []
    for user in ("ID_1", "ID_2"):
        for number in range(12):
            write_picture(tmp_path / user / f"{number}.png")
            rows.append({"file_name": f"{user}/{number}.png", "condition": "normal"})
            rows[-1]["direction"] = ("towards", "away")[number % 2]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = load_spectrograms(tmp_path)
    assert data.condition_labels == {"direction": {0: "away", 1: "towards"}}
    numbers = [int(Path(file).stem) for file in data.train.files]
    assert data.train.conditions["direction"].tolist() == [1 - number % 2 for number in numbers]
    asked = load_spectrograms(tmp_path, conditions=("condition",))
    assert asked.condition_labels == {"condition": {0: "normal"}}
    with pytest.raises(ValueError, match=r"\['condition', 'direction'\], got weather"):
        load_spectrograms(tmp_path, conditions=("weather",))


def test_selecting_keeps_everything_in_step(two_users):
    train = load_spectrograms(two_users).train
    picked = train.select([3, 0])
    assert len(picked) == 2 and picked.files == (train.files[3], train.files[0])
    assert torch.equal(picked.pixels, train.pixels[[3, 0]]) and torch.equal(picked.users, train.users[[3, 0]])
    assert len(train.select([])) == 0


def test_starts_are_those_of_the_file_names_and_follow_a_selection(tmp_path, write_picture):
    for name in ("walk_t00000", "walk_t00150", "walk_t00300", "other"):
        for user in ("ID_1", "ID_2"):
            write_picture(tmp_path / "train" / user / f"{name}.png")
    train = load_spectrograms(tmp_path).train
    expected = {"walk_t00000": 0.0, "walk_t00150": 1.5, "walk_t00300": 3.0, "other": None}
    for part in (train, train.select([5, 2, 0])):
        assert part.starts_s == tuple(expected[Path(file).stem] for file in part.files)


def test_the_split_travels_in_its_file(two_users, tmp_path, write_picture):
    split_file = tmp_path / "split.json"
    first = load_spectrograms(two_users, gap_windows=1)
    first.split.save(split_file)
    assert load_spectrograms(two_users, split_file=split_file, gap_windows=2, seed=5).split == first.split
    write_picture(two_users / "ID_2" / "new.png")
    with pytest.raises(ValueError, match=r"split\.json cannot be used .*1 images are not in it \(ID_2/new\.png\)"):
        load_spectrograms(two_users, split_file=split_file)


def test_window_length_comes_from_the_axes(tmp_path, write_picture):
    for user in ("ID_1", "ID_2"):
        for start_s in range(20):
            write_picture(tmp_path / user / f"walk_t{start_s * 100:05}.png")
    assert len(load_spectrograms(tmp_path, gap_windows=0).left_out) == 0
    (tmp_path / "axes.json").write_text(json.dumps({"window_s": 3.0, "hop_s": 1.0}))
    data = load_spectrograms(tmp_path, gap_windows=0)
    assert len(data.left_out) == 2 * 2 * 2 and data.axes == {"window_s": 3.0, "hop_s": 1.0}


def test_skipped_files_are_listed_in_the_data_and_the_log(two_users, caplog):
    (two_users / "ID_1" / "4.png").write_bytes(b"")
    data = load_spectrograms(two_users, skip_bad_files=True)
    assert [bad.file for bad in data.skipped] == ["ID_1/4.png"]
    assert "skipped ID_1/4.png: an image must hold data" in caplog.text


def test_the_same_seed_gives_the_same_data(two_users):
    first, second = load_spectrograms(two_users, seed=3), load_spectrograms(two_users, seed=3)
    assert first.split == second.split and torch.equal(first.train.pixels, second.train.pixels)


@pytest.mark.parametrize(
    ("arguments", "rule"), [({"colormap": "coolwarm"}, "got 'coolwarm'"), ({"resolution": 0}, "got 0")]
)
def test_arguments_out_of_range_are_refused(two_users, arguments, rule):
    with pytest.raises(ValueError, match=rule):
        load_spectrograms(two_users, **arguments)
