import numpy as np
import pytest
from scipy.constants import Boltzmann, speed_of_light

from echoform_train.radar.body import SEGMENTS
from echoform_train.radar.fmcw import Chirp, beat_cube, cube_noise, fmcw_returns
from echoform_train.radar.gait import gait_timing, walking_joints
from echoform_train.radar.person import Person
from echoform_train.radar.range_gate import gate_body, range_profiles, track_range
from echoform_train.radar.returns import JOINT_RATE_HZ, Radar, echoes, received_power_w, segment_returns, thermal_noise
from echoform_train.radar.spectrogram_images import default_grid, window_image
from echoform_train.radar.walks import place_walk

RADAR = Radar()
CHIRP = Chirp()


def still(range_m: float, rows: int = 3) -> np.ndarray:
    return np.full((rows, 1), range_m)


def level_db(values: np.ndarray) -> np.ndarray:
    return 20 * np.log10(np.abs(values) + 1e-30)


@pytest.fixture(scope="module")
def walk() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ranges and cross-sections [T, S] of 4 s of a walk towards the radar, and the range of the pelvis [T]."""
    time_s = np.arange(4 * JOINT_RATE_HZ + 1) / JOINT_RATE_HZ
    person = Person()
    phase = time_s / gait_timing(person, 1.3).cycle_s
    joints = walking_joints(person, 1.3, phase, 1.3 * (time_s - 2))
    placed = place_walk(joints, "towards", 5.0, middle_m=7.0)
    position_m = np.array([0.0, 0.0, RADAR.height_m])
    range_m, section_m2 = segment_returns(placed, position_m, np.zeros(len(SEGMENTS)))
    return range_m, section_m2, np.linalg.norm(placed[:, 0] - position_m, axis=-1)


def beat_frequency_hz(chirp, range_m):
    return 2 * range_m * chirp.slope_hz_per_s / speed_of_light


def test_a_scatterer_beats_at_twice_bandwidth_times_range_over_c_and_duration():
    chirp = Chirp(bandwidth_hz=1e9, samples=64, duration_s=64e-6)
    cube = beat_cube(RADAR, chirp, still(6.0), still(0.1))
    # 2 x 1 GHz x 6 m / (c x 64 us) = 625.4 kHz, by hand; measured as phase steps between samples 1 us apart.
    step = np.angle(np.mean(cube[:, 1:] * np.conj(cube[:, :-1]))) % (2 * np.pi)
    assert step / (2 * np.pi) * 1e6 == pytest.approx(625_430, rel=1e-4)
    assert beat_frequency_hz(chirp, 6.0) == pytest.approx(625_430, rel=1e-5)


@pytest.mark.parametrize(("samples", "within_rad"), [(64, 5e-4), (61, 2e-5)])
def test_the_beat_signal_has_the_exact_phase_of_transmitted_times_received(samples, within_rad):
    # The phase of the transmitted sweep is taken twice, now and one delay ago, and subtracted, in long doubles.
    speed_mps, start_m = -5.5, 9.0
    chirp = Chirp(samples=samples)
    rows = np.arange(9) / JOINT_RATE_HZ
    cube = beat_cube(RADAR, chirp, (start_m + speed_mps * rows)[:, None], np.ones((9, 1)))
    pulse_s = np.arange(len(cube), dtype=np.longdouble)[:, None] / RADAR.pulse_rate_hz
    since_middle_s = (np.arange(samples, dtype=np.longdouble) - samples // 2) / samples * chirp.duration_s
    delay_s = 2 * (start_m + speed_mps * (pulse_s + since_middle_s)) / speed_of_light

    def sweep_cycles(time_s):
        return RADAR.carrier_hz * time_s + chirp.slope_hz_per_s * time_s**2 / 2

    cycles = sweep_cycles(since_middle_s) - sweep_cycles(since_middle_s - delay_s)
    exact = np.exp(2j * np.pi * (cycles % 1).astype(float))
    received = cube / np.abs(cube)
    assert np.abs(np.angle(received * np.conj(exact))).max() < within_rad


def test_the_range_peak_is_the_scatterers_bin_and_level():
    for range_m in (1.0, 4.3, 9.9, 15.0):
        profile = range_profiles(beat_cube(RADAR, CHIRP, still(range_m), still(0.1)))[0]
        assert np.abs(profile).argmax() * CHIRP.bin_m == pytest.approx(range_m, abs=CHIRP.bin_m)
    on_bin_m = 10 * CHIRP.bin_m
    profile = range_profiles(beat_cube(RADAR, CHIRP, still(on_bin_m), still(0.1)))[0]
    assert np.abs(profile[10]) == pytest.approx(np.sqrt(received_power_w(RADAR, on_bin_m, 0.1)), rel=1e-3)


def test_from_chirp_to_chirp_the_phase_falls_by_four_pi_per_wavelength():
    speed_mps = -0.8  # coming nearer
    rows = np.arange(9) / JOINT_RATE_HZ
    profiles = range_profiles(beat_cube(RADAR, CHIRP, (5 + speed_mps * rows)[:, None], np.ones((9, 1))))
    slow = profiles[:, 10]
    step = np.angle(np.mean(slow[1:] * np.conj(slow[:-1])))
    assert step == pytest.approx(-4 * np.pi * speed_mps / RADAR.pulse_rate_hz / RADAR.wavelength_m, rel=1e-3)


@pytest.mark.parametrize("carrier_hz", [77e9, 60e9, 24e9])
@pytest.mark.parametrize("speed_mps", [1.5, -1.5])
def test_a_moving_point_stands_at_its_doppler(carrier_hz, speed_mps):
    radar = Radar(carrier_hz=carrier_hz)
    rows = np.arange(JOINT_RATE_HZ + 1) / JOINT_RATE_HZ
    range_m = (8 - speed_mps * rows)[:, None]
    iq, track_m = fmcw_returns(radar, CHIRP, range_m, np.ones_like(range_m), np.random.default_rng(0))
    spectrum = np.abs(np.fft.fft(iq * np.hanning(len(iq))))
    peak_hz = np.fft.fftfreq(len(iq), 1 / radar.pulse_rate_hz)[spectrum.argmax()]
    assert peak_hz == pytest.approx(2 * speed_mps / radar.wavelength_m, abs=2)
    true_m = 8 - speed_mps * np.arange(len(track_m)) / radar.pulse_rate_hz
    assert np.abs(track_m - true_m)[len(iq) // 4 : -len(iq) // 4].max() < CHIRP.bin_m / 2


@pytest.mark.parametrize(("chirp", "bins_apart"), [(CHIRP, 3), (Chirp(bandwidth_hz=2.4e9, samples=256), 3), (CHIRP, 5)])
def test_two_scatterers_that_stand_apart_are_two_peaks(chirp, bins_apart):
    # c / 2B is the width of a bin; the main lobe of a Hann window is two bins to either side.
    bins = [60, 60 + bins_apart] if chirp.samples > 64 else [10, 10 + bins_apart]
    cube = beat_cube(RADAR, chirp, np.array([bins] * 3) * chirp.bin_m, np.ones((3, 2)))
    profile = np.abs(range_profiles(cube))[0]
    inner = profile[1:-1]
    peaks = 1 + np.flatnonzero((inner > profile[:-2]) & (inner > profile[2:]) & (inner > 0.3 * inner.max()))
    assert peaks.tolist() == bins


def test_a_real_cube_gives_the_profiles_of_its_complex_one():
    cube = beat_cube(RADAR, CHIRP, still(7.2), still(0.1))
    # A real converter takes the real part; bins below half the samples then hold the same, but for the mirror's skirt.
    real = range_profiles(np.ascontiguousarray(cube.real))
    both = range_profiles(cube)[:, :32]
    assert real.shape == both.shape
    np.testing.assert_allclose(real[:, 13:17], both[:, 13:17], rtol=2e-3)


def test_the_gate_keeps_the_amplitude_of_the_body_and_drops_what_stands_elsewhere():
    for range_m in np.linspace(6, 7, 5):
        profiles = range_profiles(beat_cube(RADAR, CHIRP, still(range_m), still(0.1)))
        expected = np.sqrt(received_power_w(RADAR, range_m, 0.1))
        inside = gate_body(profiles, np.full(len(profiles), 6.5), CHIRP.bin_m)
        outside = gate_body(profiles, np.full(len(profiles), 12.0), CHIRP.bin_m)
        np.testing.assert_allclose(np.abs(inside), expected, rtol=0.03)
        assert np.abs(outside).max() < 0.001 * expected


def test_the_track_follows_a_walker_past_stronger_things_that_stand_still(walk):
    range_m, section_m2, body_m = walk
    furniture = np.full((len(range_m), 1), 3.0), np.full((len(range_m), 1), 5.0)
    ranges_m, sections_m2 = (np.hstack(pair) for pair in zip((range_m, section_m2), furniture, strict=True))
    _, track_m = fmcw_returns(RADAR, CHIRP, ranges_m, sections_m2, np.random.default_rng(0))
    true_m = np.interp(np.arange(len(track_m)) / RADAR.pulse_rate_hz * JOINT_RATE_HZ, np.arange(len(body_m)), body_m)
    assert np.abs(track_m - true_m).max() < CHIRP.bin_m


def test_silence_has_a_track_that_stays():
    track_m = track_range(np.zeros((2048, 64), np.complex64), 0.5, 1024)
    assert len(track_m) == 2048
    assert np.ptp(track_m) == 0


def test_fmcw_and_cw_see_the_same_walk(walk):
    range_m, section_m2, _ = walk
    rng = np.random.default_rng(0)
    fmcw, _ = fmcw_returns(RADAR, CHIRP, range_m, section_m2, rng)
    cw = echoes(RADAR, range_m, section_m2)
    assert np.mean(np.abs(fmcw) ** 2) == pytest.approx(np.mean(np.abs(cw) ** 2), rel=0.03)
    cw += thermal_noise(RADAR, len(cw), rng)
    grid = default_grid(RADAR.carrier_hz, RADAR.pulse_rate_hz)
    from_fmcw, from_cw = (window_image(iq[: grid.samples], grid, centre_hz=0.0) for iq in (fmcw, cw))
    assert abs(from_fmcw.mean(axis=1).argmax() - from_cw.mean(axis=1).argmax()) <= 1
    above_noise = [np.maximum(image_db, from_cw.max() - 35).ravel() for image_db in (from_fmcw, from_cw)]
    assert np.corrcoef(above_noise)[0, 1] > 0.99


def test_the_cubes_noise_is_that_of_a_warm_resistor_in_the_converters_band():
    radar = Radar(noise_figure_db=10)
    noise = cube_noise(radar, CHIRP, 5000, np.random.default_rng(0))
    expected_w = Boltzmann * 290 * 64 / 100e-6 * 10
    assert np.mean(np.abs(noise.astype(complex)) ** 2) == pytest.approx(expected_w, rel=0.01)
    # A bin takes the share sum(w^2) / sum(w)^2 of it, 1.5 / 64 for a Hann window.
    in_bins_w = np.mean(np.abs(range_profiles(noise).astype(complex)) ** 2)
    assert in_bins_w == pytest.approx(expected_w * 1.5 / 64, rel=0.01)


def test_nothing_folds_for_a_walker_between_1_and_15_metres():
    assert CHIRP.longest_range_m > 15 + 1
    assert beat_frequency_hz(CHIRP, 15) < CHIRP.samples / CHIRP.duration_s / 2  # a real converter would do, too
    assert CHIRP.duration_s < 1 / RADAR.pulse_rate_hz
    # The range of a foot at 6.3 m/s seems moved by f_D / K, less than half a bin.
    assert 2 * 6.3 / RADAR.wavelength_m / CHIRP.slope_hz_per_s * speed_of_light / 2 < CHIRP.bin_m / 2


def test_impossible_chirps_are_refused():
    with pytest.raises(ValueError, match=r"ranges must stay below 32\.0 m, .* fold, got 40\.0 m"):
        beat_cube(RADAR, CHIRP, still(40.0), still(1.0))
    with pytest.raises(ValueError, match=r"over before the next, 0\.000122 s later, its duration_s is 0\.0002"):
        beat_cube(RADAR, Chirp(duration_s=2e-4), still(4.0), still(1.0))
    with pytest.raises(ValueError, match="bandwidth_hz must be above 0, got 0"):
        Chirp(bandwidth_hz=0)
    with pytest.raises(ValueError, match="at least 8 samples, got 4"):
        Chirp(samples=4)
