"""Shares of fine detail and spectral distances of images whose spectra are known."""

import math

import pytest
import torch

from echoform_train.scoring.texture import (
    compare_spectra,
    fine_energy_share,
    log_spectral_distance_db,
    mean_spectrum,
)


def test_white_noise_has_three_quarters_of_its_energy_above_a_quarter_of_the_sampling_rate():
    noise = torch.randn(50, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    # Frequencies of up to 0.25 along both axes: 33 of 64 per axis.
    assert fine_energy_share(noise) == pytest.approx(1 - (33 / 64) ** 2, abs=0.01)


def test_a_slow_wave_has_no_fine_detail_and_a_fast_one_nothing_else():
    column = torch.arange(64)
    slow, fast = (torch.cos(2 * math.pi * cycles * column / 64).expand(1, 1, 64, 64) for cycles in (4, 24))
    assert fine_energy_share(slow) == pytest.approx(0, abs=1e-9)
    assert fine_energy_share(fast) == pytest.approx(1, abs=1e-9)


def test_energy_is_kept_by_the_spectrum():
    image = torch.rand(3, 2, 16, 24, generator=torch.Generator().manual_seed(0))
    centred = image - image.mean(dim=(-2, -1), keepdim=True)
    assert mean_spectrum(image).sum().item() == pytest.approx(centred.square().sum(dim=(-2, -1)).mean().item())


def test_twice_the_amplitude_is_six_decibels_away():
    noise = torch.randn(20, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert log_spectral_distance_db(2 * noise, noise) == pytest.approx(20 * math.log10(2), abs=0.01)
    assert log_spectral_distance_db(noise, noise) == 0


def test_the_distance_of_two_sets_of_one_kind_is_the_uncertainty_of_their_means():
    generator = torch.Generator().manual_seed(0)
    sets = [torch.randn(100, 1, 32, 32, generator=generator) for _ in range(2)]
    # 4.34 / sqrt(100) decibels for each, and both are uncertain.
    assert log_spectral_distance_db(*sets) == pytest.approx(4.34 / 10 * math.sqrt(2), rel=0.1)


def test_a_wave_along_time_stands_at_its_frequency_and_half_its_amplitude_is_six_decibels_less():
    wave = torch.cos(2 * math.pi * 8 * torch.arange(64) / 64).expand(2, 1, 16, 64)
    found = compare_spectra(wave, wave / 2)
    time, doppler = found["time"], found["doppler"]
    assert time["cycles_per_pixel"][7] == 8 / 64 and time["cycles_per_pixel"][-1] == 0.5 and len(time["real_db"]) == 32
    assert time["real_db"][7] == pytest.approx(0, abs=1e-9)
    assert time["generated_db"][7] == pytest.approx(-20 * math.log10(2))
    # Nothing changes along Doppler.
    assert set(time["real_db"][8:] + doppler["real_db"]) == {-80.0} and len(doppler["real_db"]) == 8


def test_unlike_sizes_and_constant_images_are_refused():
    with pytest.raises(ValueError, match="of one size"):
        log_spectral_distance_db(torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 16))
    with pytest.raises(ValueError, match="constant"):
        compare_spectra(torch.ones(2, 1, 8, 8), torch.rand(2, 1, 8, 8))
    with pytest.raises(ValueError, match="constant"):
        fine_energy_share(torch.ones(2, 1, 8, 8))
    with pytest.raises(ValueError, match="N > 0"):
        mean_spectrum(torch.rand(0, 1, 8, 8))
