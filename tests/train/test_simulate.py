import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from echoform_train.simulate import (
    DB_MAX,
    DB_MIN,
    Config,
    cut_windows,
    paint,
    person_of,
    picture_axes,
    simulate,
    walk_recording,
)


def tiny(folder: Path, **changes) -> Config:
    config = Config(output_dir=folder, users=2, recordings_per_user=2, recording_s=4.0, resolution=32, workers=1)
    return replace(config, **changes)


def fingerprints(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def test_the_same_seed_writes_the_same_bytes_with_one_worker_and_with_two(tmp_path):
    alone = fingerprints(simulate(tiny(tmp_path / "alone")))
    shared = fingerprints(simulate(tiny(tmp_path / "shared", workers=2)))
    other = fingerprints(simulate(tiny(tmp_path / "other", seed=1)))
    assert alone == shared
    assert len(alone) == 2 * 2 * 2 + 2
    assert not set(alone.values()) & {other[name] for name in other if name.endswith(".png")}


def test_a_person_and_their_walks_do_not_depend_on_how_many_others_there_are(tmp_path):
    few, many = tiny(tmp_path), tiny(tmp_path, users=31, recordings_per_user=9)
    np.testing.assert_array_equal(walk_recording(few, 2, 1).iq, walk_recording(many, 2, 1).iq)
    assert person_of(0, 1) != person_of(0, 2)


def test_rows_tell_the_truth_about_each_picture(tmp_path):
    config = tiny(tmp_path, recordings_per_user=4, conditions=("normal", "bag"), recording_s=5.0)
    rows = rows_of(simulate(config))
    assert {row["file_name"] for row in rows} == {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png")}
    assert Counter((row["condition"], row["direction"]) for row in rows) == dict.fromkeys(
        [("normal", "towards"), ("normal", "away"), ("bag", "towards"), ("bag", "away")], 2 * 3
    )
    assert {row["start_s"] for row in rows} == {0.0, 1.0, 2.0}
    first = rows[0]
    assert first["file_name"] == "ID_1/r01_000.png"
    assert (first["user"], first["recording"]) == ("ID_1", "ID_1_r01")
    assert first["height_m"] == pytest.approx(person_of(0, 1).height_m, abs=1e-4)
    for row in rows:
        assert (row["body_doppler_hz"] > 0) == (row["direction"] == "towards")
        radial_mps = abs(row["body_doppler_hz"]) * 299792458 / 77e9 / 2
        assert 0.9 * row["speed_mps"] < radial_mps < 1.02 * row["speed_mps"]


def test_overlapping_windows_show_the_same_seconds(tmp_path):
    config = tiny(tmp_path, window_s=3.0, hop_s=1.5, recording_s=6.0)
    windows = list(cut_windows(config, walk_recording(config, 1, 1)))
    assert [start_s for start_s, _ in windows] == [0.0, 1.5, 3.0]
    assert windows[0][1].shape == (63, 64)
    np.testing.assert_allclose(windows[0][1][:, 32:], windows[1][1][:, :32], atol=0.01)


@pytest.mark.parametrize("carrier_ghz", [77, 60, 24])
def test_axes_are_the_outer_edges_of_the_pictures(tmp_path, carrier_ghz):
    config = tiny(tmp_path, carrier_ghz=carrier_ghz)
    axes = picture_axes(config)
    _, image_db = next(cut_windows(config, walk_recording(config, 1, 1)))
    bin_hz = (axes["doppler_max_hz"] - axes["doppler_min_hz"]) / len(image_db)
    assert axes["doppler_min_hz"] == -axes["doppler_max_hz"]
    speed_mps = axes["doppler_max_hz"] * 299792458 / (carrier_ghz * 1e9) / 2
    assert speed_mps == pytest.approx(4.5, abs=0.15)
    assert image_db.mean(axis=-1).argmax() == pytest.approx((len(image_db) - 1) / 2, abs=1)
    assert bin_hz == pytest.approx({77: 73.14, 60: 64.0, 24: 41.29}[carrier_ghz], rel=1e-3)
    assert axes["carrier_hz"] == carrier_ghz * 1e9


def test_pictures_look_as_the_field_draws_walkers(tmp_path):
    # Torso line in the middle, limbs to the side of the walk, more than half of the picture background.
    config = tiny(tmp_path, users=4, recordings_per_user=2, recording_s=8.0)
    for user in range(1, 5):
        for recording, limbs_side in ((1, 1), (2, -1)):
            images = np.stack(
                [image_db for _, image_db in cut_windows(config, walk_recording(config, user, recording))]
            )
            level = np.clip((images - DB_MIN) / (DB_MAX - DB_MIN), 0, 1)
            assert abs(level.mean(axis=(0, 2)).argmax() - 31) <= 2
            above, below = level[:, 42:].mean(), level[:, :21].mean()
            assert limbs_side * (above - below) > 0
            assert 0.5 < np.mean(level < 0.2) < 0.8


def test_paint_puts_the_highest_doppler_in_row_0_and_clips_at_the_fixed_range():
    image_db = np.full((20, 20), DB_MIN - 30, np.float32)
    image_db[-4:] = DB_MAX + 10
    picture = np.asarray(paint(image_db, 40))
    jet = matplotlib.colormaps["jet"]
    np.testing.assert_array_equal(picture[0, 0], np.rint(255 * np.array(jet(255)[:3])))
    np.testing.assert_array_equal(picture[-1, 0], np.rint(255 * np.array(jet(0)[:3])))
    assert picture.shape == (40, 40, 3)
    assert picture.dtype == np.uint8


def test_pictures_are_plain_rgb_of_the_asked_size(tmp_path):
    simulate(tiny(tmp_path, users=1, recordings_per_user=1, resolution=48))
    with Image.open(tmp_path / "ID_1" / "r01_001.png") as picture:
        assert (picture.mode, picture.size) == ("RGB", (48, 48))


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(ValueError, match="output_dir must be new or empty, got"):
        simulate(tiny(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"users": 0}, "users must be at least 1, got 0"),
        ({"carrier_ghz": 10}, "carrier_ghz must be 77, 60 or 24, got 10"),
        ({"conditions": ("normal", "umbrella")}, "conditions must be of normal, backpack, bag, got umbrella"),
        ({"conditions": ()}, "conditions must name at least one"),
        ({"conditions": ("normal", "bag")}, "recordings_per_user must be at least 4"),
        ({"recording_s": 2.0}, "window_s <= recording_s"),
        ({"recording_s": 60.0}, r"recording_s <= 30\.0"),
        ({"hop_s": 0.0}, r"hop_s must be at least 0\.1, got 0\.0"),
        ({"resolution": 8}, r"resolution must be in 16\.\.1024, got 8"),
        ({"workers": -1}, "workers must not be negative, got -1"),
        ({"seed": -1}, "seed must not be negative, got -1"),
    ],
)
def test_impossible_configurations_are_refused(tmp_path, changes, rule):
    with pytest.raises(ValueError, match=rule):
        tiny(tmp_path, **changes)
