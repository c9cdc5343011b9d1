import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from echoform_train.commands import simulate as module
from echoform_train.commands.simulate import Config
from echoform_train.data.spectrograms import load_spectrograms
from echoform_train.radar.body import JOINT_INDEX
from echoform_train.radar.gait import gait_timing, walking_joints
from echoform_train.radar.mocap import CMU_NAMES
from echoform_train.radar.person import Person
from echoform_train.radar.recordings import Recording
from echoform_train.radar.simulated_walks import person_of, simulated_walks
from echoform_train.radar.simulation import cut_windows, record, simulate
from echoform_train.radar.simulation_config import DB_MAX, DB_MIN
from echoform_train.radar.spectrogram_images import paint
from tiny import run_python


def tiny(folder: Path, **changes) -> Config:
    config = Config(output_dir=folder, users=2, recordings_per_user=2, recording_s=4.0, resolution=32, workers=1)
    return replace(config, **changes)


def walk_recording(config: Config, user: int, number: int) -> Recording:
    walks = simulated_walks(config.users, config.recordings_per_user, config.conditions, config.route)
    return record(config, next(walk for walk in walks if (walk.user_number, walk.number) == (user, number)))


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
        assert 0.9 * row["speed_mps"] < radial_mps < 1.1 * row["speed_mps"]
        assert row["heading_deg"] < 40 if row["direction"] == "towards" else row["heading_deg"] > 140
        assert (row["route"], row["turn_deg"]) == ("straight", 0)


def test_a_free_route_turns_and_its_windows_are_centred_on_the_body_of_their_own_seconds(tmp_path):
    config = tiny(tmp_path, users=2, recordings_per_user=3, recording_s=8.0, route="free", save_db=True)
    rows = rows_of(simulate(config))
    assert {(row["route"], row["direction"]) for row in rows} == {("free", "free")}
    assert max(row["turn_deg"] for row in rows) > 60
    assert len({row["body_doppler_hz"] for row in rows}) == len(rows)
    hz_per_mps = 2 * 77e9 / 299792458
    for row in rows:
        # Straight on between two headings, a body closes in by the cosine of what lies between them.
        if row["turn_deg"] < 10:
            closing_mps = row["speed_mps"] * np.cos(np.radians(row["heading_deg"]))
            assert row["body_doppler_hz"] / hz_per_mps == pytest.approx(closing_mps, abs=0.15)
        image_db = np.load((tmp_path / row["file_name"]).with_suffix(".npy"))
        level = np.clip((image_db - DB_MIN) / (DB_MAX - DB_MIN), 0, 1)
        assert abs(np.median(level.argmax(axis=0)) - 57) < 16  # of 115 rows


def test_every_condition_is_walked_in_both_directions(tmp_path):
    config = tiny(
        tmp_path, users=1, recordings_per_user=8, conditions=("normal", "backpack", "bag", "bag_phone"), recording_s=3.0
    )
    rows = rows_of(simulate(config))
    kinds = Counter((row["condition"], row["direction"]) for row in rows)
    assert kinds == {(condition, direction): 1 for condition in config.conditions for direction in ("towards", "away")}


def test_the_decibels_beside_a_picture_are_what_it_was_painted_from(tmp_path):
    config = tiny(tmp_path, users=1, recordings_per_user=1, save_db=True, resolution=64)
    simulate(config)
    axes = json.loads((tmp_path / "axes.json").read_text())
    image_db = np.load(tmp_path / "ID_1" / "r01_000.npy")
    assert image_db.dtype == np.float32
    assert image_db.shape == (axes["native_bins"], axes["native_columns"]) == (115, 64)
    with Image.open(tmp_path / "ID_1" / "r01_000.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), paint(image_db, 64, db_min=DB_MIN, db_max=DB_MAX))


def test_a_data_set_with_decibels_and_a_sheet_loads(tmp_path):
    config = tiny(tmp_path / "data", recordings_per_user=3, recording_s=3.0, save_db=True, sheet=True)
    data = load_spectrograms(module.main(config))
    assert len(data.train) + len(data.validation) + len(data.test) == 2 * 3
    with Image.open(tmp_path / "data-sheet.png") as sheet:
        assert sheet.width > 400
        assert sheet.height > 300


def test_fmcw_shows_what_continuous_wave_shows(tmp_path):
    waves = [tiny(tmp_path, recording_s=3.0, mode=mode) for mode in ("cw", "fmcw")]
    shown = []
    for config in waves:
        _, _, image_db = next(cut_windows(config, walk_recording(config, 1, 1)))
        shown.append(np.clip((image_db - DB_MIN) / (DB_MAX - DB_MIN), 0, 1))
    assert np.corrcoef(shown[0].ravel(), shown[1].ravel())[0, 1] > 0.98
    assert np.abs(shown[0] - shown[1]).mean() < 0.02


def test_a_simulation_is_pushed_as_a_data_set_that_loads_alike(tmp_path, hub):
    repo_id = hub.repo_id("walkers")
    config = tiny(tmp_path / "data", recordings_per_user=3, recording_s=3.0, push_to_hub=repo_id, private=True)
    module.main(config)
    local, pushed = load_spectrograms(tmp_path / "data"), load_spectrograms(repo_id)
    np.testing.assert_array_equal(local.test.pixels, pushed.test.pixels)
    assert local.axes == pushed.axes


def save_capture(path: Path, seconds: float) -> None:
    person = Person(height_m=1.7)
    time_s = np.arange(0, seconds + 1e-9, 1 / 120)
    joints = walking_joints(person, 1.3, time_s / gait_timing(person, 1.3).cycle_s, 1.3 * time_s)
    held = np.stack([joints[:, JOINT_INDEX[name]] for name in CMU_NAMES], axis=1)
    np.savez(path, joints=np.roll(held, -1, axis=-1), names=np.array(list(CMU_NAMES.values())), fps=120)


def test_motion_captures_become_users_and_recordings_and_short_ones_are_named(tmp_path, capsys):
    captures = tmp_path / "joints"
    captures.mkdir()
    save_capture(captures / "07_01.npz", 4.5)
    save_capture(captures / "07_02.npz", 2.0)
    save_capture(captures / "16_15.npz", 3.2)
    rows = rows_of(simulate(Config(output_dir=tmp_path / "data", joints=captures, resolution=32, workers=1)))
    assert "skipped, as they are shorter than a window of 3.00 s: 07_02.npz" in capsys.readouterr().out
    assert [(row["file_name"], row["recording"]) for row in rows] == [
        ("07/01_000.png", "07_01"),
        ("07/01_001.png", "07_01"),
        ("16/15_000.png", "16_15"),
    ]
    for row in rows:
        assert row["user"] == row["file_name"].split("/")[0]
        assert row["speed_mps"] == pytest.approx(1.3, rel=0.03)
        assert row["cadence_hz"] == pytest.approx(2 / gait_timing(Person(height_m=1.7), 1.3).cycle_s, rel=0.01)
        assert not {"height_m", "asymmetry"} & set(row)
    (captures / "07_02.npz").unlink()
    (captures / "07_01.npz").rename(captures / "08_01.npz")
    simulate(Config(output_dir=tmp_path / "again", joints=captures, resolution=32, workers=1))
    one, again = ((tmp_path / folder / "16" / "15_000.png").read_bytes() for folder in ("data", "again"))
    assert one == again


def test_folders_without_usable_captures_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        simulate(Config(output_dir=tmp_path / "data", joints=tmp_path / "nowhere"))
    captures = tmp_path / "joints"
    captures.mkdir()
    with pytest.raises(ValueError, match=r"joints must be a folder of <subject>_<trial>\.npz"):
        simulate(Config(output_dir=tmp_path / "data", joints=captures))
    save_capture(captures / "07_01.npz", 2.0)
    with pytest.raises(ValueError, match=r"must last at least a window of 3\.00 s, the longest of .* lasts 2\.00 s"):
        simulate(Config(output_dir=tmp_path / "data", joints=captures))
    save_capture(captures / "07_02.npz", 4.0)
    with pytest.raises(ValueError, match=r"07_02\.npz: the head must stand above the feet along .* \(x\)"):
        simulate(Config(output_dir=tmp_path / "data", joints=captures, joints_up="x"))
    save_capture(captures / "walk.npz", 4.0)
    with pytest.raises(ValueError, match=r"must be named <subject>_<trial>\.npz, got walk\.npz"):
        simulate(Config(output_dir=tmp_path / "data", joints=captures))
    with pytest.raises(ValueError, match="users must not be given with --joints, as the motion captures set it"):
        Config(output_dir=tmp_path / "data", joints=captures, users=3)
    assert not (tmp_path / "data").exists()


def test_overlapping_windows_show_the_same_seconds(tmp_path):
    config = tiny(tmp_path, window_s=3.0, hop_s=1.5, recording_s=6.0)
    windows = list(cut_windows(config, walk_recording(config, 1, 1)))
    assert [start_s for start_s, _, _ in windows] == [0.0, 1.5, 3.0]
    assert windows[0][2].shape == (115, 64)
    np.testing.assert_allclose(windows[0][2][:, 32:], windows[1][2][:, :32], atol=0.01)


@pytest.mark.parametrize("carrier_ghz", [77, 60, 24])
def test_axes_are_the_outer_edges_of_the_pictures(tmp_path, carrier_ghz):
    config = tiny(tmp_path, carrier_ghz=carrier_ghz)
    axes = config.axes
    _, _, image_db = next(cut_windows(config, walk_recording(config, 1, 1)))
    bin_hz = (axes["doppler_max_hz"] - axes["doppler_min_hz"]) / len(image_db)
    assert axes["doppler_min_hz"] == -axes["doppler_max_hz"]
    speed_mps = axes["doppler_max_hz"] * 299792458 / (carrier_ghz * 1e9) / 2
    assert speed_mps == pytest.approx(4.5, abs=0.15)
    assert image_db.mean(axis=-1).argmax() == pytest.approx((len(image_db) - 1) / 2, abs=1)
    assert bin_hz == pytest.approx({77: 39.96, 60: 40.0, 24: 40.0}[carrier_ghz], rel=1e-3)
    assert axes["carrier_hz"] == carrier_ghz * 1e9
    assert (axes["native_bins"], axes["native_columns"]) == image_db.shape


def test_pictures_look_as_the_field_draws_walkers(tmp_path):
    # Torso line in the middle, limbs to the side of the walk, 60 to 70 % of the picture background: dark blue in jet.
    config = tiny(tmp_path, users=4, recordings_per_user=2, recording_s=8.0)
    background = []
    for user in range(1, 5):
        for recording, limbs_side in ((1, 1), (2, -1)):
            images = np.stack(
                [image_db for _, _, image_db in cut_windows(config, walk_recording(config, user, recording))]
            )
            level = np.clip((images - DB_MIN) / (DB_MAX - DB_MIN), 0, 1)
            assert abs(level.mean(axis=(0, 2)).argmax() - 57) <= 4
            above, below = level[:, 77:].mean(), level[:, :38].mean()
            assert limbs_side * (above - below) > 0
            background.append(np.mean(level < 1 / 8))
    assert 0.6 < np.mean(background) < 0.7
    assert 0.5 < min(background) < max(background) < 0.8


def test_paint_puts_the_highest_doppler_in_row_0_and_clips_at_the_fixed_range():
    image_db = np.full((20, 20), DB_MIN - 30, np.float32)
    image_db[-4:] = DB_MAX + 10
    picture = np.asarray(paint(image_db, 40, db_min=DB_MIN, db_max=DB_MAX))
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
    with pytest.raises(ValueError, match="--output-dir must be a new or an empty folder"):
        simulate(tiny(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"users": 0}, "users must be at least 1, got 0"),
        ({"carrier_ghz": 10}, "--carrier-ghz must be 77, 60 or 24, got 10"),
        (
            {"conditions": ("normal", "umbrella")},
            "conditions must be of normal, backpack, bag, bag_phone, got umbrella",
        ),
        ({"conditions": ()}, "conditions must be one or more"),
        ({"conditions": ("normal", "bag")}, "--recordings-per-user must be at least 4"),
        ({"recording_s": 2.0}, "--window-s <= --recording-s"),
        ({"recording_s": 60.0}, r"--recording-s <= 30\.0"),
        ({"recording_s": 20.0, "mode": "fmcw"}, "--recording-s of straight walks must be at most 15 in the FMCW mode"),
        ({"hop_s": 0.0}, r"--hop-s must be at least 0\.1, got 0\.0"),
        ({"resolution": 8}, r"resolution must be in 16\.\.1024, got 8"),
        ({"workers": -1}, "workers must not be negative, got -1"),
        ({"seed": -1}, "seed must not be negative, got -1"),
    ],
)
def test_impossible_configurations_are_refused(tmp_path, changes, rule):
    with pytest.raises(ValueError, match=rule):
        tiny(tmp_path, **changes)


@pytest.mark.slow
def test_a_simulation_like_pictures_is_written_with_its_settings_and_both_kinds_side_by_side(tmp_path):
    measured = ["simulate", str(tmp_path / "measured"), "--users", "2", "--recordings-per-user", "2", "--workers", "1"]
    measured += ["--resolution", "64", "--seed", "9", "--body", "scatterers", "--looks", "1", "--jpeg-quality", "75"]
    like = ["simulate", str(tmp_path / "like"), "--users", "2", "--recordings-per-user", "1", "--workers", "1"]
    like += ["--resolution", "64", "--like", str(tmp_path / "measured")]
    again = [*like[:1], str(tmp_path / "again"), *like[2:-1], str(tmp_path / "like-like.json")]
    for words in (measured, like, again):
        run_python(["-m", "echoform_train.cli", *words])
    assert (tmp_path / "like-like.png").stat().st_size > 10_000
    # The settings alone give the same pictures, in the kind of file that was measured.
    first, second = (sorted((tmp_path / name).rglob("*.jpg")) for name in ("like", "again"))
    assert len(first) > 10
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
