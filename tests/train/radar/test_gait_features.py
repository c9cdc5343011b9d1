"""Features read from pictures, against what is true of the simulated walks that made them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from echoform_train.radar.gait_features import detect_middle, gait_features, to_level
from echoform_train.radar.simulated_walks import simulated_walks
from echoform_train.radar.simulation import cut_windows, record
from echoform_train.radar.simulation_config import DB_MAX, DB_MIN, SimulationConfig
from echoform_train.radar.spectrogram_scale import read_scale
from echoform_train.radar.view import View
from walking import Walks, simulate_walks


@pytest.fixture(scope="module")
def walks() -> Walks:
    return simulate_walks(12, 4, 64, 256, recording_s=3.0)


@pytest.fixture(scope="module", params=[64, 256])
def read(walks: Walks, request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    return gait_features(to_level(walks.pixels[request.param]), walks.axes)


def test_the_cadence_of_every_simulated_walk_is_read_within_three_percent(walks, read):
    error = np.abs(read["cadence_hz"] / walks.cadence_hz - 1)
    assert np.median(error) < 0.004
    assert (error < 0.03).all()


def test_cadence_and_heading_of_speckled_walks_are_read_as_well():
    walks = simulate_walks(6, 4, 64, recording_s=3.0, body="scatterers")
    read = gait_features(to_level(walks.pixels[64]), walks.axes)
    error = np.abs(read["cadence_hz"] / walks.cadence_hz - 1)
    assert np.median(error) < 0.005
    assert (error < 0.03).all()
    np.testing.assert_array_equal(read["heading"], np.sign(walks.speed_mps))


def torso_error(walks: Walks, read: dict[str, np.ndarray]) -> tuple[float, np.ndarray]:
    """Share of windows with a readable torso speed, and the relative error of these."""
    error = np.abs(read["torso_speed_mps"] / np.abs(walks.speed_mps) - 1)
    readable = np.isfinite(error)
    return float(readable.mean()), error[readable]


def test_the_median_torso_speed_is_within_two_percent_and_most_are_within_three(walks, read):
    share, error = torso_error(walks, read)
    assert share > 0.2
    assert np.median(error) < 0.02
    # 9 of 10 of many, less three binomial deviations of so few.
    assert (error < 0.03).mean() > 0.9 - 3 * np.sqrt(0.9 * 0.1 / len(error))


@pytest.mark.slow
def test_of_240_walks_about_half_are_readable_and_most_of_these_within_three_percent():
    walks = simulate_walks(60, 4, 64, 256, recording_s=3.0, seed=201)
    for side, least in ((64, 0.5), (256, 0.35)):
        share, error = torso_error(walks, gait_features(to_level(walks.pixels[side]), walks.axes))
        assert share > least
        assert np.median(error) < 0.015
        assert (error < 0.03).mean() > 0.86


def test_every_walk_is_seen_to_head_where_it_heads(walks, read):
    np.testing.assert_array_equal(read["heading"], np.sign(walks.speed_mps))
    ahead = np.where(walks.speed_mps > 0, read["envelope_max_mps"], -read["envelope_min_mps"])
    # In swing the foot moves at three to four times the speed of the walk (Boulic's feet; 3.9 at the most).
    assert ((ahead / np.abs(walks.speed_mps) + 1 > 2.3) & (ahead / np.abs(walks.speed_mps) + 1 < 4.6)).all()


def test_rolling_a_picture_in_time_changes_nothing_that_is_read(walks):
    level = to_level(walks.pixels[64])
    whole, rolled = (gait_features(part, walks.axes) for part in (level, level.roll(23, dims=2)))
    for name, tolerance in (("cadence_hz", 0.03), ("envelope_max_mps", 0.02), ("envelope_min_mps", 0.02)):
        np.testing.assert_allclose(rolled[name], whole[name], rtol=tolerance, err_msg=name)
    np.testing.assert_allclose(rolled["torso_speed_mps"], whole["torso_speed_mps"], rtol=0.02)


def test_a_noise_floor_leaves_cadence_and_heading_as_they_are(walks):
    generator = torch.Generator().manual_seed(0)
    level = to_level(walks.pixels[64])
    noisy = (level + 0.03 + 0.03 * torch.randn(level.shape, generator=generator)).clamp(0, 1)
    read = gait_features(noisy, walks.axes)
    assert (np.abs(read["cadence_hz"] / walks.cadence_hz - 1) < 0.03).all()
    np.testing.assert_array_equal(read["heading"], np.sign(walks.speed_mps))


def test_what_is_no_walk_has_no_cadence(walks):
    generator = torch.Generator().manual_seed(0)
    level = to_level(walks.pixels[64])[:24]
    shuffled = torch.stack([image[:, torch.randperm(64, generator=generator)] for image in level])
    still = level.mean(dim=2, keepdim=True).expand_as(level)
    for pictures in (shuffled, still, torch.rand(level.shape, generator=generator), torch.zeros_like(level)):
        assert np.isnan(gait_features(pictures, walks.axes)["cadence_hz"]).all()
    assert np.isnan(gait_features(torch.zeros_like(level), walks.axes)["torso_speed_mps"]).all()


def test_units_follow_what_is_known_of_the_axes(walks):
    level = to_level(walks.pixels[64])
    mps = gait_features(level, walks.axes)
    hz = gait_features(level, {name: value for name, value in walks.axes.items() if name != "carrier_hz"})
    rows = gait_features(level, None)
    hertz_a_metre = 2 * 77e9 / 299792458
    both = np.isfinite(mps["torso_speed_mps"]) & np.isfinite(hz["torso_speed_hz"])
    ratio = hz["torso_speed_hz"][both] / mps["torso_speed_mps"][both]
    np.testing.assert_allclose(np.median(ratio), hertz_a_metre, rtol=0.01)
    hertz_a_row = (walks.axes["doppler_max_hz"] - walks.axes["doppler_min_hz"]) / 64
    np.testing.assert_allclose(rows["envelope_max_px"] * hertz_a_row, hz["envelope_max_hz"], rtol=0.02)
    np.testing.assert_allclose(rows["cadence_per_picture"] / walks.axes["window_s"], mps["cadence_hz"], rtol=0.02)


def test_the_middle_of_pictures_is_told_from_where_bodies_walk(walks):
    level = to_level(walks.pixels[64])
    assert detect_middle(level) == "body"
    bin_mps = 9 / 64
    shift = np.rint(walks.speed_mps / bin_mps).astype(int)
    absolute = torch.stack([image.roll(-int(by), dims=0) for image, by in zip(level, shift, strict=True)])
    assert detect_middle(absolute) == "zero"
    read = gait_features(absolute, walks.axes, middle="zero")
    # Whole bins were shifted, so half a bin may be missing, and the torso sways by some of another.
    np.testing.assert_allclose(read["torso_speed_mps"], np.abs(walks.speed_mps), atol=0.75 * bin_mps)
    np.testing.assert_array_equal(read["heading"], np.sign(walks.speed_mps))


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(ValueError, match=r"level must be in 0\.\.1, got -1\.\.0"):
        gait_features(torch.linspace(-1, 0, 32 * 32).reshape(1, 32, 32), None)
    with pytest.raises(ValueError, match=r"sides of at least 16, got \[1, 8, 32\]"):
        gait_features(torch.zeros(1, 8, 32), None)
    with pytest.raises(ValueError, match=r"must be uint8 \[N, C, H, W\], got torch\.float32"):
        to_level(torch.zeros(1, 1, 32, 32))
    with pytest.raises(ValueError, match=r"must be above 0, got 3\.0 and -10"):
        read_scale({"window_s": 3.0, "doppler_min_hz": 5.0, "doppler_max_hz": -5.0}, 64)


def test_speeds_on_a_fixed_axis_are_read_from_its_own_zero():
    view = View(doppler_axis="fixed", centre_mps=1.5, span_mps=3.0)
    config = SimulationConfig(output_dir=Path("unused"), view=view, recording_s=9.0)
    for walk in simulated_walks(3, 2, ("normal",), "straight"):
        recording = record(config, walk)
        images_db = np.stack([image_db[::-1] for _, _, image_db in cut_windows(config, recording)])
        levels = np.clip((images_db - DB_MIN) / (DB_MAX - DB_MIN), 0, 1)
        found = gait_features(torch.from_numpy(levels.astype(np.float32)), config.axes, middle="zero")
        radial_mps = abs(recording.truth.body_doppler_hz) * recording.radar.wavelength_m / 2
        # Who walks away is beyond the lower edge of this axis.
        if walk.direction == "towards":
            assert np.nanmedian(found["torso_speed_mps"]) == pytest.approx(radial_mps, rel=0.05)
