"""The spectrum of the error against Parseval's theorem and a wave of known frequency."""

from __future__ import annotations

import math

import pytest
import torch

from echoform_train.latent_diffusion.error_spectrum import error_spectrum


def test_powers_of_the_error_sum_up_to_its_mean_square_along_either_axis():
    generator = torch.Generator().manual_seed(0)
    made, target = (torch.rand(3, 2, 12, 9, generator=generator) * 2 - 1 for _ in range(2))
    spectra = error_spectrum(made, target)
    expected = (made.double() - target.double()).square().mean().item()
    for axis, size in (("time", 9), ("doppler", 12)):
        assert sum(spectra[axis].error) == pytest.approx(expected)
        assert sum(spectra[axis].image) == pytest.approx(target.double().square().mean().item())
        assert len(spectra[axis].error) == size // 2 + 1
        assert max(spectra[axis].cycles_per_pixel) == pytest.approx((size // 2) / size)


def test_an_error_that_swings_in_time_lies_at_its_frequency_in_time_and_at_none_in_doppler():
    columns = torch.arange(32) / 32
    wave = 0.5 * torch.cos(2 * math.pi * 5 * columns).expand(1, 1, 16, 32)
    spectra = error_spectrum(wave, torch.zeros_like(wave))
    assert spectra["time"].cycles_per_pixel[5] == 5 / 32
    assert spectra["time"].error[5] == pytest.approx(0.5**2 / 2)
    assert sum(spectra["time"].error) - spectra["time"].error[5] < 1e-12
    assert spectra["doppler"].error[0] == pytest.approx(0.5**2 / 2)
