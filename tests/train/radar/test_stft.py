import numpy as np
import pytest
import scipy.signal
from numpy.typing import NDArray

from echoform_train.radar.stft import spectrogram, stft, window_samples


def complex_noise(samples: int) -> NDArray[np.complex128]:
    parts = np.random.default_rng(0).normal(size=(samples, 2))
    return parts.view(np.complex128)[:, 0]


def test_stft_equals_scipy():
    iq = complex_noise(1000)
    _, _, expected = scipy.signal.stft(
        iq,
        window="hann",
        nperseg=112,
        noverlap=112 - 64,
        return_onesided=False,
        boundary=None,  # pyright: ignore[reportArgumentType]  # scipy's stub knows only names
        padded=False,
        scaling="spectrum",
    )
    np.testing.assert_allclose(stft(iq, window=112, hop=64), np.fft.fftshift(expected, axes=0), atol=1e-12)


def test_stft_conserves_energy():
    # Periodic Hann windows at a hop of a quarter: their squares add up to the same everywhere, so frames hold the
    # energy of the signal times sum(w^2) / hop, by Parseval's theorem.
    iq = np.concatenate([np.zeros(128, complex), complex_noise(512), np.zeros(128, complex)])
    frames = stft(iq, window=128, hop=32)
    taper = np.asarray(scipy.signal.get_window("hann", 128))
    energy = np.sum(np.abs(frames) ** 2) * 32 * taper.sum() ** 2 / (128 * np.sum(taper**2))
    assert energy == pytest.approx(np.sum(np.abs(iq) ** 2), rel=1e-9)


def test_spectrogram_peak_sits_at_the_doppler_and_level_of_the_target():
    pulse_rate_hz = 2000
    iq = np.complex128(0.1) * np.exp(2j * np.pi * 250.0 * np.arange(4000) / pulse_rate_hz)
    image_db, doppler_hz, time_s = spectrogram(iq, pulse_rate_hz, window=64, hop=32, looks=4)
    peak = image_db.mean(axis=-1).argmax()
    assert doppler_hz[peak] == pytest.approx(250.0)
    assert image_db[peak].max() == pytest.approx(-20.0, abs=1e-3)
    assert image_db.shape == (len(doppler_hz), len(time_s))
    assert np.all(np.diff(doppler_hz) > 0)


def test_columns_carry_the_time_of_what_they_show():
    pulse_rate_hz = 1000
    iq = np.zeros(3000, complex)
    iq[1500] = 1
    image_db, _, time_s = spectrogram(iq, pulse_rate_hz, window=50, hop=25, looks=2)
    assert time_s[image_db.max(axis=0).argmax()] == pytest.approx(1.5, abs=0.025)


def test_centring_moves_the_body_to_zero_and_the_span_crops():
    pulse_rate_hz = 2000
    iq = np.exp(2j * np.pi * 300.0 * np.arange(2000) / pulse_rate_hz)
    image_db, doppler_hz, _ = spectrogram(iq, pulse_rate_hz, window=50, hop=25, centre_hz=300.0, span_hz=400.0)
    assert doppler_hz[image_db.mean(axis=-1).argmax()] == 0
    assert doppler_hz[[0, -1]].tolist() == [-400.0, 400.0]


def test_silence_has_the_floor_as_its_level():
    image_db, _, _ = spectrogram(np.zeros(500, np.complex64), 100.0, window=20, hop=10, floor_db=-90.0)
    assert np.all(image_db == -90)


@pytest.mark.parametrize(
    ("carrier_hz", "pulse_rate_hz", "samples"), [(77e9, 8192, 112), (60e9, 6400, 100), (24e9, 2560, 62)]
)
def test_window_grows_with_the_square_root_of_the_wavelength(carrier_hz, pulse_rate_hz, samples):
    assert window_samples(carrier_hz, pulse_rate_hz) == samples


def test_impossible_transforms_are_refused():
    with pytest.raises(ValueError, match="the window must not be longer than the 10 samples given, got 20"):
        stft(np.ones(10, complex), window=20, hop=5)
    with pytest.raises(ValueError, match="window and hop must be at least 1 sample, got 8 and 0"):
        stft(np.ones(10, complex), window=8, hop=0)
    with pytest.raises(ValueError, match=r"span_hz must be above 0 and at most half the pulse rate, 50\.0, got 60"):
        spectrogram(np.ones(100, complex), 100, window=20, hop=10, span_hz=60)
    with pytest.raises(ValueError, match="one column needs 20 transforms"):
        spectrogram(np.ones(100, complex), 100, window=20, hop=10, looks=20)
