"""Captures of TI radars and other files of 16-bit numbers give the spectrograms of the same walk as an array."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.constants import speed_of_light

from echoform_train.commands.prepare import Config, main
from echoform_train.radar.chirp_config import read_chirp_config
from echoform_train.radar.iq_config import IqConfig
from echoform_train.radar.iq_recordings import prepare_recordings
from walker_cubes import (
    CHIRP,
    RATE_HZ,
    counts,
    demo_config,
    four_lanes,
    save,
    studio_config,
    two_lanes,
    walker_cube,
    wrongly_paired,
)

FLAGS: dict[str, Any] = {"carrier_ghz": 77.0, "bandwidth_hz": CHIRP.bandwidth_hz, "db_min": 40.0, "db_max": 100.0}
CAPTURE: dict[str, Any] = {"format": "dca1000", "rx": 2, "samples": 64, "span_mps": 1.9}


def prepare(source: Path, output_dir: Path, **changes: Any) -> Path:
    settings = {**FLAGS, **changes}
    config = IqConfig(from_iq=True, output_dir=output_dir, save_db=True, **settings)
    config.check()
    prepare_recordings(source, config, resolution=32)
    return output_dir


def decibels(folder: Path) -> np.ndarray:
    return np.stack([np.load(path) for path in sorted((folder / "ID_1").glob("*.npy"))])


@pytest.fixture(scope="module")
def words() -> np.ndarray:
    """Counts of a walk, int16 [chirps, 1 transmitter, 2 receivers, samples, 2]; the second is half as strong."""
    iq = counts(walker_cube().samples)
    return np.stack([iq, iq // 2], axis=1)[:, None]


def capture(folder: Path, content: bytes, name: str = "adc_data.bin") -> Path:
    (folder / "ID_1").mkdir(parents=True)
    (folder / "ID_1" / name).write_bytes(content)
    return folder


def as_array(folder: Path, words: np.ndarray, receiver: int = 0) -> Path:
    return save(folder, words[:, 0, receiver].astype(np.float32).view(np.complex64)[..., 0], users=1)


@pytest.mark.parametrize("lanes", [2, 4])
def test_a_capture_gives_the_same_decibels_as_the_array(tmp_path, words, lanes, capsys):
    content = two_lanes(words) if lanes == 2 else four_lanes(words)
    source = capture(tmp_path / "raw", content)
    made = prepare(source, tmp_path / "a", pulse_rate_hz=RATE_HZ, lanes=lanes, receiver=1, **CAPTURE)
    expected = prepare(
        as_array(tmp_path / "npy", words),
        tmp_path / "b",
        pulse_rate_hz=RATE_HZ,
        axes=("chirps", "samples"),
        span_mps=1.9,
    )
    np.testing.assert_array_equal(decibels(made), decibels(expected))
    assert (
        f".bin files: {lanes} lanes, {'I I Q Q' if lanes == 2 else 'I I I I Q Q Q Q'}, channel 1 of 2"
        in capsys.readouterr().out
    )


def test_exchanged_parts_of_a_capture_are_put_right(tmp_path, words):
    turned = words[..., ::-1]
    source = capture(tmp_path / "raw", two_lanes(turned))
    flags = {"pulse_rate_hz": RATE_HZ, "lanes": 2, "receiver": 1, **CAPTURE}
    made = prepare(source, tmp_path / "a", iq_order="qi", **flags)
    right = prepare(capture(tmp_path / "right", two_lanes(words)), tmp_path / "b", **flags)
    np.testing.assert_allclose(decibels(made), decibels(right), atol=1e-3)


@pytest.mark.parametrize(("write", "name"), [(demo_config, "profile.cfg"), (studio_config, "walk.mmwave.json")])
def test_the_file_of_the_chirps_says_everything(tmp_path, words, write, name, capsys):
    """Two transmitters take turns, and half of each frame is idle."""
    pulse_us, frame_ms, loops = 2e6 / RATE_HZ, 62.5, 128
    turns = words.reshape(-1, 2, 2, 64, 2)
    turns = turns[: len(turns) // 256 * 256].reshape(-1, 256, 2, 2, 64, 2)[:, :loops].reshape(-1, 2, 2, 64, 2)
    source = capture(tmp_path / "raw", two_lanes(turns))
    text = write(samples=64, transmitters=2, receivers=2, loops=loops, pulse_us=pulse_us, frame_ms=frame_ms)
    # 64 samples in 6.4 us at 46.875 MHz/us sweep the 300 MHz of the simulated chirp.
    text = text.replace(" 30 1 64", " 46.875 1 64").replace(
        '"freqSlopeConst_MHz_usec": 30.0', '"freqSlopeConst_MHz_usec": 46.875'
    )
    (source / name).write_text(text)
    found = read_chirp_config(source / name)
    assert (found.transmitters, found.receivers, found.samples, found.loops, found.lanes) == (2, 2, 64, loops, 2)
    assert found.bandwidth_hz == pytest.approx(300e6)
    assert found.carrier_hz == pytest.approx(77e9 + 46.875e12 * 9.2e-6)  # 6 us to the first sample, 3.2 to the middle
    assert found.pulse_s == pytest.approx(pulse_us * 1e-6, rel=1e-6)

    config = IqConfig(from_iq=True, output_dir=tmp_path / "out", format="dca1000", span_mps=1.9, save_db=True)
    config = replace(config, clutter="mean")
    config.check()
    prepare_recordings(source, config, resolution=32)
    text = capsys.readouterr().out
    assert f"{name}: 2 transmitters x 2 receivers, 64 complex samples per chirp, 128 chirps" in text
    assert "power averaged over 4 channels" in text
    assert "ID_1/adc_data.bin: track 9.0..4.2 m, closing at +1.30 m/s, Doppler +1.2" in text
    axes = json.loads((tmp_path / "out" / "axes.json").read_text())
    assert axes["native_columns"] == 48  # one spectrum per frame in 3 s
    assert axes["window_s"] == pytest.approx(3.0)
    bin_hz = (axes["doppler_max_hz"] - axes["doppler_min_hz"]) / axes["native_bins"]
    assert bin_hz == pytest.approx(1e6 / pulse_us / loops)
    image_db = np.load(tmp_path / "out" / "ID_1" / "adc_data_000.npy")
    row = json.loads((tmp_path / "out" / "metadata.jsonl").read_text().splitlines()[0])
    assert row["body_doppler_hz"] * speed_of_light / found.carrier_hz / 2 == pytest.approx(1.3, abs=0.1)
    assert abs(image_db.mean(axis=1).argmax() - len(image_db) // 2) <= 2


def test_a_flag_that_contradicts_the_file_is_refused(tmp_path, words):
    source = capture(tmp_path / "raw", two_lanes(words))
    text = demo_config(samples=64, transmitters=1, receivers=2, loops=128, pulse_us=1e6 / RATE_HZ, frame_ms=62.5)
    (source / "profile.cfg").write_text(text)
    with pytest.raises(ValueError, match=r"--rx is 4, but .*profile\.cfg says 2; leave out one of them"):
        prepare(source, tmp_path / "a", format="dca1000", rx=4, carrier_ghz=None, bandwidth_hz=None)
    with pytest.raises(ValueError, match=r"--axes must name frames, .* 128 chirps .* 15\.6 ms of 62\.5 ms"):
        prepare(
            as_array(tmp_path / "npy", words),
            tmp_path / "b",
            chirp_config=source / "profile.cfg",
            axes=("chirps", "samples"),
            carrier_ghz=None,
            bandwidth_hz=None,
        )


def test_a_size_that_is_no_multiple_of_a_frame_is_refused_with_the_arithmetic(tmp_path, words):
    source = capture(tmp_path / "raw", two_lanes(words)[:-4])
    flags = {"pulse_rate_hz": RATE_HZ, "lanes": 2, **CAPTURE}
    rule = (
        r"ID_1/adc_data\.bin: its size must be a multiple of one frame, 64 chirps x 1 transmitters x 2 receivers x 64 "
        r"samples x 4 bytes = 32,768 bytes; its 16,777,212 bytes are 511 of them and 32,764 bytes"
    )
    with pytest.raises(ValueError, match=rule):
        prepare(source, tmp_path / "a", chirps=64, frame_rate_hz=RATE_HZ / 64, **flags)
    assert not (tmp_path / "a").exists()


def test_pairs_of_16_bits_are_read_in_the_order_of_their_axes(tmp_path, words):
    iq = words[:, 0]  # chirps, receivers, samples, 2
    expected = decibels(
        prepare(as_array(tmp_path / "npy", words), tmp_path / "b", pulse_rate_hz=RATE_HZ, axes=("chirps", "samples"))
    )
    source = capture(tmp_path / "raw", iq.astype("<i2").tobytes(), "walk.bin")
    made = prepare(
        source,
        tmp_path / "a",
        pulse_rate_hz=RATE_HZ,
        format="int16",
        axes=("chirps", "receivers", "samples"),
        rx=2,
        samples=64,
        receiver=1,
    )
    np.testing.assert_array_equal(decibels(made), expected)
    with pytest.raises(ValueError, match=r"axes chirps receivers samples needs --rx, the length of receivers"):
        prepare(
            source,
            tmp_path / "c",
            pulse_rate_hz=RATE_HZ,
            format="int16",
            axes=("chirps", "receivers", "samples"),
            samples=64,
            receiver=1,
        )
    with pytest.raises(ValueError, match=r"a \.bin does not say what it holds; --format dca1000 .* --format int16"):
        prepare(source, tmp_path / "d", pulse_rate_hz=RATE_HZ, axes=("chirps", "samples"))


def test_one_row_of_pairs_is_continuous_wave(tmp_path):
    iq = np.random.default_rng(0).integers(-999, 999, (RATE_HZ * 4, 2)).astype("<i2")
    source = capture(tmp_path / "raw", iq.tobytes(), "walk.bin")
    flags = {"pulse_rate_hz": RATE_HZ, "bandwidth_hz": None}
    made = prepare(source, tmp_path / "a", format="int16", **flags)
    expected = prepare(save(tmp_path / "npy", iq, users=1), tmp_path / "b", axes=("time", "iq"), **flags)
    np.testing.assert_array_equal(decibels(made), decibels(expected))


@pytest.mark.parametrize(
    ("spoil", "axes", "advice"),
    [
        (
            lambda cube: 1j * np.conj(cube),
            "chirps samples",
            "exponent .1[0-9.]+ inst.*; with --iq-order qi they agree",
        ),
        (wrongly_paired, "chirps samples", "power grows with range.*; with --iq-order iiqq they agree"),
        (lambda cube: cube[:, ::-1], "chirps samples", r"differ by 2\.[0-9]+ m/s.*; with --bandwidth-hz -3e\+08"),
        (lambda cube: np.fft.fft(cube * np.hanning(64)), "chirps samples", "; with --axes chirps ranges they agree"),
        (lambda cube: cube, "chirps ranges", "; with --axes chirps samples they agree"),
    ],
)
def test_a_recording_that_is_read_wrongly_is_told_which_flag_mends_it(tmp_path, spoil, axes, advice, caplog, capsys):
    wrong = np.ascontiguousarray(spoil(walker_cube().samples), np.complex64)
    prepare(save(tmp_path / "npy", wrong, users=1), tmp_path / "a", pulse_rate_hz=RATE_HZ, axes=tuple(axes.split()))
    assert "ID_1/walk.npy: track " in capsys.readouterr().out
    warnings = [record.message for record in caplog.records if "read wrongly" in record.message]
    assert len(warnings) == 1
    assert warnings[0].startswith("read wrongly: ID_1/walk.npy (")
    assert re.search(advice, warnings[0]), warnings[0]


def test_bursts_laid_end_to_end_are_named_even_if_they_are_too_short(tmp_path, caplog):
    bursts = walker_cube().samples.reshape(-1, 512, 64)[:, :128].reshape(-1, 64)
    with pytest.raises(ValueError, match="no recording gives an image"):
        prepare(save(tmp_path / "npy", bursts), tmp_path / "a", pulse_rate_hz=RATE_HZ, axes=("chirps", "samples"))
    assert "and 1 more of 2 recordings; their range changes 3." in caplog.text
    assert "--axes frames chirps samples with --frame-rate-hz keeps them apart" in caplog.text


def test_right_recordings_are_told_nothing(tmp_path, caplog, capsys):
    prepare(
        save(tmp_path / "npy", walker_cube("away").samples),
        tmp_path / "a",
        pulse_rate_hz=RATE_HZ,
        axes=("chirps", "samples"),
    )
    out = capsys.readouterr().out
    assert "track 4.2..9.0 m, closing at -1.30 m/s, Doppler -1.2" in out
    assert "read wrongly" not in caplog.text


def test_short_recordings_are_left_out_and_the_rest_is_made(tmp_path, caplog):
    cube = walker_cube().samples
    source = save(tmp_path / "npy", cube)
    np.save(source / "ID_1" / "short.npy", cube[:RATE_HZ])
    iq = IqConfig(from_iq=True, output_dir=tmp_path / "a", pulse_rate_hz=RATE_HZ, axes=("chirps", "samples"), **FLAGS)
    assert main(Config(data=str(source), resolution=32, iq=iq)) is None
    assert sorted(path.name for path in (tmp_path / "a").rglob("*.png")) == ["walk_000.png", "walk_000.png"]
    assert "skipped ID_1/short.npy: a recording must last at least one image of 3.01 s" in caplog.text
    assert "the spectrograms are complete, but cannot be trained on by themselves: every user must have" in caplog.text


def test_if_all_recordings_are_short_nothing_is_written(tmp_path):
    source = save(tmp_path / "npy", walker_cube().samples[:RATE_HZ])
    with pytest.raises(ValueError, match=r"no recording gives an image, .* must last at least one image of 3\.01 s"):
        prepare(source, tmp_path / "a", pulse_rate_hz=RATE_HZ, axes=("chirps", "samples"))
    assert not (tmp_path / "a").exists()


def test_a_bin_beside_other_recordings_is_named_and_left_alone(tmp_path, caplog):
    source = save(tmp_path / "npy", walker_cube().samples, users=1)
    (source / "ID_1" / "firmware.bin").write_bytes(b"x" * 99)
    made = prepare(source, tmp_path / "a", pulse_rate_hz=RATE_HZ, axes=("chirps", "samples"))
    assert [path.name for path in made.rglob("*.png")] == ["walk_000.png"]
    assert "no recording (.npy, .npz, .mat, .h5, .hdf5): ID_1/firmware.bin" in caplog.text
