"""A simulation's settings are read from its pictures, survive their file, and a fit brings statistics nearer."""

from dataclasses import replace

import numpy as np
import pytest

from echoform_train.radar.image_statistics import STATISTICS, image_statistics
from echoform_train.radar.likeness import Likeness, Measured, known_settings, read_likeness
from echoform_train.radar.likeness_fit import Fit, fit_likeness
from echoform_train.radar.likeness_report import read_likeness_file, write_likeness
from echoform_train.radar.likeness_source import measure_source
from echoform_train.radar.population import Population
from echoform_train.radar.receiver import Receiver
from echoform_train.radar.scatterers import Surface
from echoform_train.radar.simulation import simulate
from echoform_train.radar.simulation_config import SimulationConfig
from echoform_train.radar.view import View

TRUTH = Likeness(
    view=View(doppler_axis="fixed", centre_mps=1.6, span_mps=3.5, native_rows=61, native_columns=56, transform_ms=14),
    receiver=Receiver(
        looks=1,
        range_cell_m=0,
        shown_db=35,
        cut_share=0.1,
        range_gain=False,
        interpolate=False,
        jpeg_quality=75,
        noise_db=10,
    ),
    surface=Surface(torso_db=8),
    population=Population(directions=("towards",)),
    window_s=2.2,
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Pictures of three simulated people, whose settings the tests find again, without their axes.json."""
    folder = tmp_path_factory.mktemp("like") / "pictures"
    config = SimulationConfig(output_dir=folder, users=3, recordings_per_user=1, seed=5, workers=1)
    simulate(TRUTH.applied_to(config))
    (folder / "axes.json").unlink()
    (folder / "metadata.jsonl").unlink()
    return folder


def test_statistics_of_a_drawn_walker_are_its_own():
    rows, columns = np.mgrid[:64, :64]
    wave = 40 + 2 * np.sin(2 * np.pi * 4 * columns / 64)
    level = np.exp(-((rows - wave) ** 2) / 4)
    level += 0.5 * ((rows < wave) & (rows > wave - 12 * np.maximum(np.sin(2 * np.pi * 4 * columns / 64), 0)))
    found = image_statistics(np.clip(level, 0, 1)[None].repeat(3, axis=0))
    assert set(found) == set(STATISTICS)
    assert found["torso_row"] == pytest.approx(40, abs=1)
    assert found["torso_wave"] == pytest.approx(2 / np.sqrt(2), abs=0.4)
    assert found["steps"] == pytest.approx(4, abs=0.2)
    assert found["reach_above"] == pytest.approx(12, abs=2)


def test_grid_axis_direction_and_compression_are_read_from_the_pictures(pictures):
    first, _ = read_likeness(measure_source(pictures))
    assert first.view.doppler_axis == "fixed"
    assert first.view.native_rows == pytest.approx(61, abs=1)
    assert first.population.directions == ("towards",)
    assert first.receiver.jpeg_quality == 75
    # Without axes, speeds are those of people: the scale is right within the differences between them.
    assert first.view.span_mps == pytest.approx(3.5, rel=0.3)
    assert first.window_s == pytest.approx(2.2, rel=0.25)


def test_what_the_axes_say_is_taken_as_it_is_said(pictures):
    hz_per_mps = 2 * 77e9 / 299792458
    axes = {
        "window_s": 1.9,
        "doppler_min_hz": -1.5 * hz_per_mps,
        "doppler_max_hz": 4.5 * hz_per_mps,
        "carrier_hz": 77e9,
        "native_bins": 32,
        "native_columns": 40,
    }
    measured = replace(measure_source(pictures), axes=axes, window_s=1.9)
    first, _ = read_likeness(measured)
    assert first.view.span_mps == pytest.approx(3.0, rel=1e-6)
    assert first.view.centre_mps == pytest.approx(1.5, rel=1e-6)
    assert (first.view.native_rows, first.view.native_columns, first.window_s) == (32, 40, 1.9)
    # 61 rows show in the pixels, so 32 rows must have been enlarged smoothly.
    assert first.receiver.interpolate
    assert known_settings(measured) == {"span_mps", "centre_mps"}
    assert not known_settings(replace(measured, axes=None))


def test_a_walk_to_and_fro_is_told_from_a_straight_one():
    rows, columns = np.mgrid[:64, :64]
    turning = 32 + 12 * np.tanh((columns - 32) / 6) + np.sin(2 * np.pi * columns / 12)
    for line, route in ((turning, "hall"), (20 + np.sin(2 * np.pi * columns / 12), "straight")):
        level = np.exp(-((rows - line) ** 2) / 6)[None].repeat(24, axis=0).astype(np.float32)
        axes = {"window_s": 5.0, "doppler_min_hz": -1500.0, "doppler_max_hz": 1500.0, "carrier_hz": 77e9}
        measured = Measured(level=level, users=np.zeros(24, np.int64), axes=axes, jpeg_quality=None, window_s=5.0)
        assert read_likeness(measured)[0].route == route


def test_bursts_are_counted_by_the_columns_that_they_raise():
    rows, columns = np.mgrid[:64, :64]
    level = np.exp(-((rows - 20 - np.sin(2 * np.pi * columns / 12)) ** 2) / 6)[None].repeat(24, axis=0)
    for raised, per_minute in ((0, 0.0), (2, 24.0)):  # two of 64 columns in 5 s
        level[:, :, 10 : 10 + raised] = 0.5
        measured = Measured(
            level=level.astype(np.float32),
            users=np.zeros(24, np.int64),
            axes={"window_s": 5.0, "doppler_min_hz": -1500.0, "doppler_max_hz": 1500.0, "carrier_hz": 77e9},
            jpeg_quality=None,
            window_s=5.0,
        )
        assert read_likeness(measured)[0].receiver.bursts_per_minute == pytest.approx(per_minute, abs=0.1)


def test_images_whose_length_nothing_tells_are_refused():
    rows, columns = np.mgrid[:64, :64]
    level = np.exp(-((rows - 20 - columns / 4) ** 2) / 6)[None].repeat(24, axis=0).astype(np.float32)
    measured = Measured(level=level, users=np.zeros(24, np.int64), axes=None, jpeg_quality=None, window_s=None)
    with pytest.raises(ValueError, match=r"--like needs axes\.json with window_s where images show no rhythm"):
        read_likeness(measured)


@pytest.mark.slow
def test_a_fit_brings_statistics_nearer_and_its_file_gives_the_same_settings(pictures, tmp_path):
    measured = measure_source(pictures)
    first, found = read_likeness(measured)
    base = SimulationConfig(output_dir=tmp_path / "unused")
    fits = [fit_likeness(first, found, base, people=2, rounds=rounds) for rounds in (1, 3)]
    before, after = (_misfit(fit) for fit in fits)
    assert after < 0.8 * before
    write_likeness(tmp_path / "like.json", measured, fits[1])
    assert read_likeness_file(tmp_path / "like.json") == fits[1].likeness


def test_too_few_pictures_are_refused():
    with pytest.raises(ValueError, match="--like needs at least 20 images, got 3"):
        read_likeness(
            Measured(
                level=np.zeros((3, 64, 64), np.float32),
                users=np.zeros(3, np.int64),
                axes=None,
                jpeg_quality=None,
                window_s=None,
            )
        )


def test_known_seconds_are_kept(pictures):
    first, _ = read_likeness(replace(measure_source(pictures), window_s=4.0))
    assert first.window_s == 4.0 and first.view.window_steps is None


def _misfit(fit: Fit) -> float:
    return float(np.sqrt(np.mean([np.clip(difference, -5, 5) ** 2 for _, _, difference in fit.table.values()])))
