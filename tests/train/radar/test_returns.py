import numpy as np
import pytest
from scipy.constants import speed_of_light

from echoform_train.radar.body import JOINT_INDEX, JOINTS, SEGMENT_INDEX, SEGMENTS
from echoform_train.radar.returns import (
    JOINT_RATE_HZ,
    Radar,
    doppler_shift_hz,
    echoes,
    ellipsoid_cross_section,
    phase_noise,
    received_power_w,
    segment_returns,
    thermal_noise,
)


def test_doppler_shift_is_twice_the_speed_over_the_wavelength():
    assert doppler_shift_hz(1.5, 0.0125) == pytest.approx(240.0)


@pytest.mark.parametrize(("carrier_hz", "pulse_rate_hz"), [(77e9, 8192), (60e9, 6400), (24e9, 2560)])
def test_pulse_rate_leaves_eight_metres_a_second_unfolded(carrier_hz, pulse_rate_hz):
    radar = Radar(carrier_hz=carrier_hz)
    assert radar.pulse_rate_hz == pulse_rate_hz
    assert pulse_rate_hz / 2 * radar.wavelength_m / 2 == pytest.approx(8, rel=0.01)


def test_a_round_ellipsoid_reflects_like_a_sphere_from_everywhere():
    cos_theta = np.linspace(-1, 1, 11)
    np.testing.assert_allclose(ellipsoid_cross_section(0.2, 0.2, 0.2, cos_theta, 0.7), np.pi * 0.2**2)


def test_an_ellipsoid_reflects_by_the_curvature_of_its_nearest_point():
    # Geometrical optics: sigma = pi r1 r2, r1 and r2 the radii of curvature. On the z axis these are a^2/c and b^2/c,
    # on the x axis b^2/a and c^2/a, on the y axis a^2/b and c^2/b.
    a, b, c = 0.1, 0.15, 0.4
    on_z = ellipsoid_cross_section(a, b, c, 1.0)
    on_x = ellipsoid_cross_section(a, b, c, 0.0, 0.0)
    on_y = ellipsoid_cross_section(a, b, c, 0.0, np.pi / 2)
    np.testing.assert_allclose(on_z, np.pi * (a**2 / c) * (b**2 / c))
    np.testing.assert_allclose(on_x, np.pi * (b**2 / a) * (c**2 / a))
    np.testing.assert_allclose(on_y, np.pi * (a**2 / b) * (c**2 / b))


def test_received_power_follows_the_radar_equation():
    radar = Radar(carrier_hz=speed_of_light / 0.004, transmit_power_w=0.01, antenna_gain_db=10)
    # 0.01 W x 10 x 10 x (4 mm)^2 x 0.5 m2 / ((4 pi)^3 (10 m)^4), by hand.
    assert received_power_w(radar, 10.0, 0.5) == pytest.approx(4.0314e-13, rel=1e-4)
    assert received_power_w(radar, 20.0, 0.5) == pytest.approx(4.0314e-13 / 16, rel=1e-4)


def test_the_echo_of_a_point_matches_the_closed_form():
    radar = Radar()
    rows = JOINT_RATE_HZ + 1
    time_s = np.arange(rows) / JOINT_RATE_HZ
    # A foot-like motion: 1.4 m/s with a swing of 0.4 m at 1 Hz.
    range_m = (10 - 1.4 * time_s + 0.4 * np.sin(2 * np.pi * time_s))[:, None]
    iq = echoes(radar, range_m, np.full((rows, 1), 0.02))
    fine_s = np.arange(len(iq)) / radar.pulse_rate_hz
    exact_m = 10 - 1.4 * fine_s + 0.4 * np.sin(2 * np.pi * fine_s)
    exact = np.sqrt(received_power_w(radar, exact_m, 0.02)) * np.exp(-4j * np.pi * exact_m / radar.wavelength_m)
    assert len(iq) == radar.pulse_rate_hz
    assert np.abs(iq - exact).max() < 0.002 * np.abs(exact).max()


def test_echoes_add_coherently():
    radar = Radar()
    range_m = np.broadcast_to([5.0, 5.0 + radar.wavelength_m / 4], (9, 2))  # a quarter wavelength each way cancels
    power_w = received_power_w(radar, range_m, 1.0)
    left = echoes(radar, range_m, np.ones((9, 2)))
    assert np.abs(left).max() < 1e-3 * np.sqrt(power_w.max())


def test_echoes_refuse_a_joint_rate_that_does_not_divide_the_pulse_rate():
    with pytest.raises(ValueError, match="joint_rate_hz must divide the pulse rate of 8192 Hz, got 100"):
        echoes(Radar(), np.ones((5, 1)), np.ones((5, 1)), joint_rate_hz=100)


def test_a_vertical_shank_reflects_as_the_ellipsoid_seen_from_its_side():
    joints = np.zeros((1, len(JOINTS), 3))
    joints[0] = np.random.default_rng(0).normal(size=(len(JOINTS), 3)) + np.array([8.0, 0.0, 0.0])
    joints[0, JOINT_INDEX["left_knee"]] = [6.0, 0.0, 1.2]
    joints[0, JOINT_INDEX["left_ankle"]] = [6.0, 0.0, 0.8]
    gain_db = np.zeros(len(SEGMENTS))
    shank = SEGMENT_INDEX["left_shank"]
    gain_db[shank] = 3.0
    range_m, section_m2 = segment_returns(joints, np.array([0.0, 0.0, 1.0]), gain_db)
    assert range_m[0, shank] == pytest.approx(6.0)
    # Seen at a right angle to its axis: radii of curvature a and c^2/a, so pi c^2 whatever a is.
    assert section_m2[0, shank] == pytest.approx(np.pi * 0.2**2 * 10**0.3)


def test_thermal_noise_has_the_power_of_a_warm_resistor():
    radar = Radar(noise_figure_db=10)
    noise = thermal_noise(radar, 200_000, np.random.default_rng(0))
    assert np.mean(np.abs(noise.astype(complex)) ** 2) == pytest.approx(1.380649e-23 * 290 * 8192 * 10, rel=0.01)
    assert abs(np.mean(noise.astype(complex) ** 2)) < 0.01 * np.mean(np.abs(noise.astype(complex)) ** 2)


def test_phase_noise_has_its_deviation_and_correlation_time():
    radar = Radar(phase_noise_rad=0.1, phase_noise_s=2e-3)
    phase = np.angle(phase_noise(radar, 400_000, np.random.default_rng(0)))
    lag = round(2e-3 * radar.pulse_rate_hz)
    assert phase.std() == pytest.approx(0.1, rel=0.03)
    assert np.mean(phase[lag:] * phase[:-lag]) / phase.var() == pytest.approx(np.exp(-1), abs=0.03)
