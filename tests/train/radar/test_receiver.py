"""A receiver's noise level is found, its threshold cuts, its bursts raise whole columns, and a second path fades."""

import numpy as np
import pytest

from echoform_train.radar.person import Person
from echoform_train.radar.receiver import Receiver, add_bursts, cell_shares, noise_level_db, shown_levels
from echoform_train.radar.recordings import Measurement
from echoform_train.radar.returns import Radar, echoes
from echoform_train.radar.spectrogram_images import default_grid, window_image
from echoform_train.radar.walks import Walk, record_walk

PULSE_RATE_HZ = 8192


def white(samples: int, seed: int = 0) -> np.ndarray:
    pairs = np.random.default_rng(seed).standard_normal((samples, 2)) / np.sqrt(2)
    return (pairs[:, 0] + 1j * pairs[:, 1]).astype(np.complex64)


@pytest.mark.parametrize("looks", [1, 2, 6])
def test_the_noise_level_of_white_noise_is_its_power_in_a_cell(looks):
    grid = default_grid(77e9, PULSE_RATE_HZ, looks=looks)
    image_db = window_image(white(grid.samples), grid, centre_hz=0.0)
    # A Hann window of unit gain passes 1.5 bins of a power of 1 per sample.
    assert noise_level_db(image_db, looks) == pytest.approx(10 * np.log10(1.5 / grid.window), abs=0.6)
    assert image_db.shape == (63, 64)


def test_one_look_of_noise_has_exponential_power_and_six_looks_a_sixth_of_its_variance():
    spread = {}
    for looks in (1, 6):
        grid = default_grid(77e9, PULSE_RATE_HZ, looks=looks)
        power = 10 ** (window_image(white(grid.samples), grid, centre_hz=0.0) / 10)
        spread[looks] = power.std() / power.mean()
    assert spread[1] == pytest.approx(1, rel=0.1)
    # Successive transforms share 43 % of their samples, so that six looks are worth a little less than six.
    assert 0.95 * 6**-0.5 < spread[6] < 0.5


def test_a_threshold_cuts_noise_and_keeps_what_stands_above_it():
    grid = default_grid(77e9, PULSE_RATE_HZ, looks=1)
    tone = 2.0 * np.exp(2j * np.pi * 500 / PULSE_RATE_HZ * np.arange(grid.samples))
    image_db = window_image((white(grid.samples) + tone).astype(np.complex64), grid, centre_hz=0.0)
    receiver = Receiver(looks=1, threshold_db=12.0, shown_db=40.0)
    levels = shown_levels(image_db, receiver, (-38.0, -4.0))
    row = int(image_db.mean(axis=1).argmax())
    assert (levels[row] > 0).all()
    assert levels.max() == pytest.approx(1)
    # Exponential noise passes 12 dB with a probability of exp(-15.8), and one dB of error is far from mattering.
    assert (np.delete(levels, range(row - 2, row + 3), axis=0) == 0).all()


def test_without_settings_the_levels_are_the_fixed_range():
    image_db = np.array([[-50.0, -38.0], [-21.0, 0.0]], np.float32)
    np.testing.assert_allclose(shown_levels(image_db, Receiver(), (-38.0, -4.0)), [[0, 0], [0.5, 1]])


def test_bursts_raise_whole_columns_and_come_as_often_as_said():
    iq = white(PULSE_RATE_HZ * 60)
    before = iq.copy()
    receiver = Receiver(bursts_per_minute=40.0, burst_db=30.0)
    add_bursts(iq, PULSE_RATE_HZ, receiver, np.random.default_rng(0))
    touched = iq != before
    starts = np.flatnonzero(np.diff(touched.astype(int)) == 1)
    assert 25 <= len(starts) <= 55  # Poisson with mean 40
    assert np.mean(np.abs(iq[touched]) ** 2) == pytest.approx(1000, rel=0.6)  # 30 dB over a noise of power 1
    grid = default_grid(77e9, PULSE_RATE_HZ, looks=1)
    start = max(0, int(starts[np.argmax([np.abs(iq[s + 1]) for s in starts])]) - grid.samples // 2)
    column_db = window_image(iq[start : start + grid.samples], grid, centre_hz=0.0).mean(axis=0)
    assert column_db.max() > np.median(column_db) + 10


def test_the_second_path_makes_the_level_fade_with_range():
    """Floor and direct echo of one point interfere: with equal paths the level doubles and vanishes over the range."""
    walk = Walk(person=Person(), speed_mps=1.3, speed_variation=0.0, clutter_db=-90.0)
    radar = Radar(noise_figure_db=0.0, phase_noise_rad=0.0)

    def level_db(receiver: Receiver) -> np.ndarray:
        recording = record_walk(walk, Measurement(radar=radar, receiver=receiver), 6.0, np.random.default_rng(0))
        return 10 * np.log10(np.mean(np.abs(recording.iq.reshape(-1, 256)) ** 2, axis=1))

    direct, fading = level_db(Receiver()), level_db(Receiver(second_path_db=-6.0))
    faint = level_db(Receiver(second_path_db=-50.0))
    assert np.abs(faint - direct).max() < 0.3
    assert (fading - direct).std() > 1.5


def test_removal_of_clutter_takes_the_line_at_zero_and_leaves_the_walker():
    walk = Walk(person=Person(), speed_mps=1.3, speed_variation=0.0, clutter_db=-10.0)
    radar = Radar(noise_figure_db=0.0, phase_noise_rad=0.0)

    def spectrum(receiver: Receiver) -> np.ndarray:
        iq = record_walk(walk, Measurement(radar=radar, receiver=receiver), 4.0, np.random.default_rng(0)).iq
        return np.abs(np.fft.fft(iq * np.hanning(len(iq)))) ** 2  # one bin is a quarter of a hertz

    kept, stronger = spectrum(Receiver()), spectrum(Receiver(clutter_gain_db=10.0))
    removed = spectrum(Receiver(remove_clutter=True))
    assert 10 * np.log10(stronger[0] / kept[0]) == pytest.approx(10.0, abs=0.5)
    assert removed[0] < kept[0] / 100
    # Range compensation moves what stands still by some hertz, so that the walker is compared beyond.
    walker = slice(200, 4000)
    assert removed[walker].sum() == pytest.approx(kept[walker].sum(), rel=0.02)


def test_without_range_gain_the_walker_fades_with_the_fourth_power():
    walk = Walk(person=Person(), direction="away", speed_mps=1.3, speed_variation=0.0, clutter_db=-90.0)
    measurement = Measurement(radar=Radar(noise_figure_db=0.0), receiver=Receiver(range_gain=False))
    recording = record_walk(walk, measurement, 8.0, np.random.default_rng(0))
    power = np.abs(recording.iq) ** 2
    second = recording.pulse_rate_hz
    measured_db = 10 * np.log10(power[:second].mean() / power[-second:].mean())
    expected_db = 40 * np.log10(recording.body_m[-128] / recording.body_m[128])
    assert measured_db == pytest.approx(expected_db, abs=2.0)


@pytest.mark.parametrize(
    "settings",
    [
        {"looks": 4},
        {"shown_db": 1.0},
        {"threshold_db": -1.0},
        {"bursts_per_minute": -1.0},
        {"clutter_gain_db": 99.0},
        {"burst_db": 100.0},
        {"second_path_db": 3.0},
        {"jpeg_quality": 0},
    ],
)
def test_settings_out_of_range_are_refused_by_their_flag(settings):
    flag = "--" + next(iter(settings)).replace("_", "-")
    with pytest.raises(ValueError, match=flag):
        Receiver(**settings)


def test_range_cells_share_all_power_and_echoes_of_different_cells_do_not_interfere():
    range_m = np.array([[5.0, 5.3, 5.17]]).repeat(4, axis=0)
    share = cell_shares(range_m, np.full(4, 5.0), 0.1)
    np.testing.assert_allclose(share.sum(axis=0), 1)
    # 0.3 m apart, the first two fall into different cells; the third lies between two cells and shows in both.
    assert (share[:, 0, 0] * share[:, 0, 1] < 1e-12).all()
    assert (share[:, 0, 2] > 0.05).sum() == 2
    radar = Radar()
    moments = 64
    still = np.stack([np.full(moments, 5.0), np.full(moments, 5.3)], axis=1)
    still += np.linspace(0, [0.0, radar.wavelength_m / 4], moments)  # the second moves by half a cycle of phase
    section = np.ones_like(still)
    together = np.abs(echoes(radar, still, section)) ** 2
    cells = echoes(radar, still, section, cell_share=cell_shares(still, np.full(moments, 5.0), 0.1))
    apart = (np.abs(cells) ** 2).sum(axis=0)
    assert together.max() / together.min() > 20
    assert apart.max() / apart.min() < 1.01


def test_levels_below_the_cut_are_drawn_in_the_lowest_colour():
    image_db = np.array([[-38.0, -34.7], [-34.5, -4.0]], np.float32)
    np.testing.assert_allclose(
        shown_levels(image_db, Receiver(cut_share=0.1), (-38.0, -4.0)), [[0, 0], [3.5 / 34, 1]], atol=1e-6
    )
