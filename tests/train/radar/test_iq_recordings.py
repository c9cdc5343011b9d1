from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.signal
import tyro
from numpy.typing import NDArray
from PIL import Image
from scipy.constants import speed_of_light

from echoform_train import cli
from echoform_train.commands.prepare import Config, main
from echoform_train.data.colormap import lookup_table
from echoform_train.data.find import find_in_folder
from echoform_train.data.spectrograms import load_spectrograms
from echoform_train.radar import simulation
from echoform_train.radar.fmcw import Chirp, beat_cube, cube_noise
from echoform_train.radar.iq_config import IqConfig
from echoform_train.radar.iq_recordings import prepare_recordings
from echoform_train.radar.returns import JOINT_RATE_HZ, Radar
from echoform_train.radar.simulated_walks import simulated_walks
from echoform_train.radar.simulation_config import DB_MAX, DB_MIN, SimulationConfig

RATE_HZ = 8192


def iq_config(output_dir: Path, **changes: Any) -> IqConfig:
    return IqConfig(from_iq=True, output_dir=output_dir, **{"pulse_rate_hz": RATE_HZ, "carrier_ghz": 77.0, **changes})


def prepare(source: Path, output_dir: Path, resolution: int = 64, **changes: Any) -> Path:
    prepare_recordings(source, iq_config(output_dir, **changes), resolution=resolution)
    return output_dir


def tone(doppler_hz: float, seconds: float = 3.2, noise: float = 1e-3) -> NDArray[np.complex64]:
    samples = np.arange(round(seconds * RATE_HZ))
    pairs = np.random.default_rng(0).normal(0, noise, (len(samples), 2))
    return (np.exp(2j * np.pi * doppler_hz / RATE_HZ * samples) + pairs.view(complex)[:, 0]).astype(np.complex64)


def two_users(folder: Path, array: NDArray[Any]) -> Path:
    for user in ("ID_1", "ID_2"):
        (folder / user).mkdir(parents=True)
        np.save(folder / user / "walk.npy", array)
    return folder


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def axes_of(folder: Path) -> dict[str, float]:
    return json.loads((folder / "axes.json").read_text())


def levels(path: Path) -> NDArray[np.int64]:
    """Place on the jet line of each pixel, row 0 the highest Doppler."""
    entry = {tuple(colour): place for place, colour in enumerate(lookup_table("jet").tolist())}
    picture = np.asarray(Image.open(path))
    return np.array([[entry[tuple(pixel)] for pixel in row] for row in picture.tolist()])


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    """Pictures that `echoform simulate` made of two people, and the recordings they came from."""
    folder = tmp_path_factory.mktemp("simulated") / "pictures"
    config = SimulationConfig(
        output_dir=folder, users=2, recordings_per_user=3, recording_s=5.0, resolution=64, workers=1, body="ellipsoids"
    )
    simulation.simulate(config)
    walks = simulated_walks(2, 3, config.conditions, config.route)
    return folder, {f"{walk.user}/{walk.name}": simulation.record(config, walk) for walk in walks}


def write_npy(path: Path, iq: NDArray[np.complex64]) -> None:
    np.save(path.with_suffix(".npy"), iq)


def write_v5(path: Path, iq: NDArray[np.complex64]) -> None:
    scipy.io.savemat(path.with_suffix(".mat"), {"iq": iq[:, None], "rate": float(RATE_HZ)})


def write_v73(path: Path, iq: NDArray[np.complex64]) -> None:
    with h5py.File(path.with_suffix(".mat"), "w", userblock_size=512) as file:
        pairs = np.empty((1, len(iq)), [("real", "<f4"), ("imag", "<f4")])
        pairs["real"], pairs["imag"] = iq.real, iq.imag
        file["iq"] = pairs


@pytest.mark.parametrize("write", [write_npy, write_v5, write_v73])
def test_recordings_that_were_simulated_give_the_same_pictures_again(simulated, tmp_path, write):
    pictures, recordings = simulated
    lines = []
    for name, recording in recordings.items():
        path = tmp_path / "recordings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, recording.iq)
        file = next(path.parent.glob(f"{path.name}.*"))
        known = {"file_name": f"{path.parent.name}/{file.name}", "body_doppler_hz": recording.truth.body_doppler_hz}
        lines.append(json.dumps({**known, "user": path.parent.name, "shoes": "none"}) + "\n")
    (tmp_path / "recordings" / "metadata.jsonl").write_text("".join(lines))
    again = prepare(tmp_path / "recordings", tmp_path / "again", db_min=DB_MIN, db_max=DB_MAX)

    names = [row["file_name"] for row in rows_of(pictures)]
    assert [row["file_name"] for row in rows_of(again)] == names
    assert len(names) == 2 * 3 * 3
    for name in names:
        np.testing.assert_array_equal(np.asarray(Image.open(again / name)), np.asarray(Image.open(pictures / name)))
    assert axes_of(again) == axes_of(pictures)
    for row, truth in zip(rows_of(again), rows_of(pictures), strict=True):
        assert row["shoes"] == "none"
        assert {key: row[key] for key in ("user", "recording", "start_s", "body_doppler_hz")} == {
            key: truth[key] for key in ("user", "recording", "start_s", "body_doppler_hz")
        }


def test_without_being_told_the_pictures_are_those_of_the_simulator_within_a_doppler_bin(simulated, tmp_path, capsys):
    pictures, recordings = simulated
    for name, recording in recordings.items():
        path = tmp_path / "recordings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_npy(path, (1e4 * recording.iq).astype(np.complex64))  # counts of a converter, not square metres
    again = tmp_path / "again"
    main(Config(data=str(tmp_path / "recordings"), resolution=64, iq=iq_config(again)))
    text = capsys.readouterr().out
    assert f"Wrote 18 spectrograms to {again}" in text
    assert f"{again}: 18 images of 2 users, 64x64 pixels" in text
    axes, bin_hz = axes_of(again), RATE_HZ / 112
    # The range is measured: some two thirds are background, and the gain of the receiver does not matter.
    assert axes["db_min"] == pytest.approx(DB_MIN + 80, abs=10)
    assert axes["db_max"] == pytest.approx(DB_MAX + 80, abs=4)
    for row, truth in zip(rows_of(again), rows_of(pictures), strict=True):
        assert row["body_doppler_hz"] == pytest.approx(truth["body_doppler_hz"], abs=1.5 * bin_hz)
        found, true = (levels(folder / row["file_name"]) for folder in (again, pictures))
        assert np.corrcoef(found.ravel(), true.ravel())[0, 1] > 0.85
    # And training reads them.
    data = load_spectrograms(again)
    assert data.colormap == "jet"
    assert list(data.id2label.values()) == ["ID_1", "ID_2"]
    assert data.axes == axes


@pytest.mark.parametrize("doppler_hz", [1000.0, -2300.0])
def test_a_tone_stands_in_the_row_of_its_doppler(tmp_path, doppler_hz):
    source = two_users(tmp_path / "recordings", tone(doppler_hz))
    folder = prepare(source, tmp_path / "pictures", centre="zero", db_min=-60.0, db_max=0.0, resolution=256)
    axes = axes_of(folder)
    row = levels(folder / "ID_1" / "walk_000.png").mean(axis=1).argmax()
    found_hz = axes["doppler_max_hz"] + (row + 0.5) / 256 * (axes["doppler_min_hz"] - axes["doppler_max_hz"])
    assert found_hz == pytest.approx(doppler_hz, abs=RATE_HZ / 112)
    assert axes["doppler_max_hz"] * speed_of_light / 77e9 / 2 == pytest.approx(6.5, abs=0.1)
    assert "body_doppler_hz" not in rows_of(folder)[0]


def test_a_body_stands_in_the_middle(tmp_path):
    folder = prepare(two_users(tmp_path / "recordings", tone(700.0)), tmp_path / "pictures", db_min=-60.0, db_max=0.0)
    assert abs(levels(folder / "ID_1" / "walk_000.png").mean(axis=1).argmax() - 31.5) <= 1
    assert rows_of(folder)[0]["body_doppler_hz"] == pytest.approx(700, abs=40)


def test_the_decibels_are_those_of_scipys_short_time_fft(tmp_path):
    iq = np.random.default_rng(1).normal(size=(round(3.1 * RATE_HZ), 2)).view(complex)[:, 0].astype(np.complex64)
    folder = prepare(two_users(tmp_path / "recordings", iq), tmp_path / "pictures", centre="zero", save_db=True)
    image_db = np.load(folder / "ID_1" / "walk_000.npy")
    taper = np.asarray(scipy.signal.get_window("hann", 112))
    transform = scipy.signal.ShortTimeFFT(taper, hop=64, fs=RATE_HZ, fft_mode="centered", scale_to="magnitude")
    # It puts the middle of slice p at sample 64 p, and here the slice starts there.
    spectra = transform.stft(iq.astype(complex), p0=0, p1=64 * 6, k_offset=112 // 2)
    looked_db = 10 * np.log10((np.abs(spectra) ** 2).reshape(112, 64, 6).mean(axis=2))
    half = len(image_db) // 2
    np.testing.assert_allclose(image_db, looked_db[56 - half : 56 + half + 1], atol=0.001)


def test_a_cube_of_two_receivers_in_matlabs_order_shows_the_walkers_speed(tmp_path):
    radar, chirp, rng = Radar(), Chirp(samples=32), np.random.default_rng(0)
    rows = np.arange(round(3.1 * JOINT_RATE_HZ)) / JOINT_RATE_HZ
    for user, speed_mps in (("ID_1", 1.0), ("ID_2", -1.3)):
        range_m = (7 - speed_mps * (rows - 1.5))[:, None]
        cube = beat_cube(radar, chirp, range_m, np.ones_like(range_m))
        channels = np.stack([cube + cube_noise(radar, chirp, len(cube), rng) for _ in range(2)])  # R, chirps, samples
        (tmp_path / "cubes" / user).mkdir(parents=True)
        stored = {"adc": channels.transpose(2, 0, 1)}  # samples x receivers x chirps
        scipy.io.savemat(tmp_path / "cubes" / user / "walk.mat", stored)
    folder = prepare(
        tmp_path / "cubes",
        tmp_path / "pictures",
        axes=("samples", "receivers", "chirps"),
        receiver="mean",
        bandwidth_hz=chirp.bandwidth_hz,
        centre="zero",
        save_db=True,
    )
    for user, speed_mps in (("ID_1", 1.0), ("ID_2", -1.3)):
        image_db = np.load(folder / user / "walk_000.npy")
        doppler_hz = (image_db.mean(axis=1).argmax() - len(image_db) // 2) * RATE_HZ / 112
        assert doppler_hz == pytest.approx(2 * speed_mps / radar.wavelength_m, abs=RATE_HZ / 112)


def test_conditions_splits_and_pieces_of_a_recording_stay_known(tmp_path):
    recordings = tmp_path / "recordings"
    for split in ("train", "test"):
        for user in ("ID_1", "ID_2"):
            for condition in ("bag", "normal"):
                place = recordings / split / user / condition
                place.mkdir(parents=True)
                np.save(place / f"{split}_t01000.npy", tone(600, 4.2))
    folder = prepare(recordings, tmp_path / "pictures")
    rows = rows_of(folder)
    assert len(rows) == 2 * 2 * 2 * 2
    assert rows[0] == {
        "file_name": "test/ID_1/bag_test_t01000_000.png",
        "user": "ID_1",
        "condition": "bag",
        "body_doppler_hz": pytest.approx(600, abs=40),
        "recording": "test",
        "start_s": 10.0,
    }
    data = load_spectrograms(folder)
    assert (len(data.train), len(data.test)) == (8, 8)
    assert data.condition_labels == {"condition": {0: "bag", 1: "normal"}}


def test_the_decibels_beside_the_pictures_are_no_strangers(tmp_path):
    folder = prepare(two_users(tmp_path / "recordings", tone(600, 5.2)), tmp_path / "pictures", save_db=True)
    assert len(list(folder.rglob("*.npy"))) == len(rows_of(folder)) == 6
    (folder / "ID_1" / "other.npy").write_bytes(b"")
    assert find_in_folder(folder).other_files == ("ID_1/other.npy",)
    image_db = np.load(folder / "ID_2" / "walk_002.npy")
    assert (image_db.dtype, image_db.shape) == (np.float32, (63, 64))


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"pulse_rate_hz": None}, "--from-iq needs --pulse-rate-hz"),
        ({"carrier_ghz": None}, "--from-iq needs --carrier-ghz"),
        ({"output_dir": None}, "--from-iq needs --output-dir"),
        ({"carrier_ghz": 77e9}, "--carrier-ghz must be between 1 and 1000, got 77000000000"),
        ({"axes": ("chirps", "samples")}, "bandwidth_hz must be given if and only if there is an axis samples"),
        ({"hop_s": 0.0}, r"--hop-s must be at least 0\.1, got 0\.0"),
        ({"clutter_mps": 0.0}, r"--clutter-mps must be above 0, got 0\.0"),
        ({"db_min": 3.0, "db_max": -3.0}, r"--db-min must be below --db-max, got 3\.0 and -3\.0"),
        ({"from_iq": False}, "--output-dir is for recordings: it must go with --from-iq"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, changes, rule):
    with pytest.raises(ValueError, match=rule):
        Config(data="walks", iq=replace(iq_config(tmp_path), **changes))


def test_a_flag_that_is_missing_is_one_sentence_on_the_command_line(capsys):
    with pytest.raises(SystemExit):
        cli.main(["prepare", "walks", "--from-iq", "--carrier-ghz", "77", "--output-dir", "pictures"])
    assert "--from-iq needs --pulse-rate-hz" in capsys.readouterr().err


def test_a_pulse_rate_too_low_for_the_span_is_refused_before_it_folds(tmp_path):
    source = two_users(tmp_path / "recordings", tone(600))
    with pytest.raises(ValueError, match=r"--span-mps must be .* at most 3\.89 m/s, .* folds at 4000 Hz .* got 4\.5"):
        prepare(source, tmp_path / "pictures", pulse_rate_hz=4000.0)
    with pytest.raises(ValueError, match=r"ID_1/walk\.npy: around the body at .* choose --span-mps [0-9.]+ or less"):
        prepare(source, tmp_path / "pictures", pulse_rate_hz=5000.0)
    with pytest.raises(
        ValueError, match=r"a recording must last at least one image of 3\.00 s, its 26214 pulses .* take 2\.62 s"
    ):
        prepare(source, tmp_path / "pictures", pulse_rate_hz=10_000.0)
    assert not (tmp_path / "pictures").exists()


def test_a_recording_that_cannot_be_used_is_named_or_left_out(tmp_path, caplog):
    source = two_users(tmp_path / "recordings", tone(600))
    np.save(source / "ID_2" / "real.npy", tone(600).real)
    (source / "ID_2" / "torn.mat").write_bytes(b"MATLAB 5.0")
    (source / "notes.txt").write_text("walked on a Monday")
    with pytest.raises(ValueError, match=r"--skip-bad-files .* ID_2/real\.npy: I/Q samples must be complex"):
        prepare(source, tmp_path / "pictures")
    prepare_recordings(source, iq_config(tmp_path / "pictures"), resolution=32, skip_bad_files=True)
    assert [row["file_name"] for row in rows_of(tmp_path / "pictures")] == ["ID_1/walk_000.png", "ID_2/walk_000.png"]
    assert "ID_2/torn.mat: cannot be read as .mat" in caplog.text
    assert "notes.txt" in caplog.text


def test_recordings_whose_pictures_would_share_names_are_refused(tmp_path):
    source = two_users(tmp_path / "recordings", tone(600))
    scipy.io.savemat(source / "ID_1" / "walk.mat", {"iq": tone(600)})
    with pytest.raises(ValueError, match="its images would have the names of those of ID_1/walk"):
        prepare(source, tmp_path / "pictures")


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    source = two_users(tmp_path / "recordings", tone(600))
    with pytest.raises(ValueError, match="--output-dir must be a new or an empty folder"):
        prepare(source, source)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        prepare(tmp_path / "nowhere", tmp_path / "pictures")


def test_the_command_line_takes_the_flags_of_recordings_without_a_prefix(tmp_path):
    text = (
        f"walks --from-iq --output-dir {tmp_path} --pulse-rate-hz 2000 --carrier-ghz 24 --axes chirps samples receivers"
    )
    config = tyro.cli(
        Config, args=[*text.split(), "--receiver", "mean", "--bandwidth-hz", "250e6", "--clutter", "mean"]
    )
    assert config.iq.axes == ("chirps", "samples", "receivers")
    assert (config.iq.receiver, config.iq.bandwidth_hz, config.iq.clutter) == ("mean", 250e6, "mean")
    assert tyro.cli(Config, args=[*text.split(), "--bandwidth-hz", "1e9", "--receiver", "3"]).iq.receiver == 3
