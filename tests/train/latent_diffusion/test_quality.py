"""The numbers of a first stage against closed forms, hand-made tables and Parseval's theorem."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from echoform_train.latent_diffusion.error_spectrum import error_spectrum
from echoform_train.latent_diffusion.first_stage import encode_pixels, load_first_stage
from echoform_train.latent_diffusion.quality import measure_accuracy, measure_latents, thumbnail
from echoform_train.latent_diffusion.verdict import verdict


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


def test_a_thumbnail_keeps_blocks_and_loses_what_is_finer():
    stripes = torch.tensor([-1.0, 1.0]).repeat(8).expand(1, 1, 16, 16)
    assert thumbnail(stripes, 8, 8).abs().max() < 1e-6
    flat = torch.full((1, 1, 16, 16), 0.25)
    torch.testing.assert_close(thumbnail(flat, 4, 4), flat)


def test_accuracy_kept_is_the_share_of_the_right_answers_that_is_left():
    real = torch.tensor([[8, 2], [0, 10]])  # 18 of 20
    made = torch.tensor([[8, 2], [9, 1]])  # 9 of 20
    told = measure_accuracy([(real, made)])
    assert told == {
        "real": {"mean": 0.9, "low": None, "high": None},
        "kept": {"mean": 0.5, "low": None, "high": None},
    }
    two = measure_accuracy([(real, made), (real, real)])
    assert two["kept"]["mean"] == 0.75
    low, high = two["kept"]["low"], two["kept"]["high"]
    assert low == 0 and high is not None and high > 1  # Student's t of two, which knows no ends of a scale
    with pytest.raises(ValueError, match="one names none of them"):
        measure_accuracy([(torch.tensor([[0, 3], [3, 0]]), made)])


def test_the_deviation_of_the_posterior_is_told_in_deviations_of_the_channel(walkers, kl_first_stage):
    stage = load_first_stage(kl_first_stage)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8, generator=generator)
    latents = encode_pixels(stage.model, pixels)
    told = measure_latents(stage.model, pixels, latents)
    posterior = stage.model.encode(pixels.float() / 127.5 - 1).latent_dist  # pyright: ignore[reportAttributeAccessIssue]
    drawn = torch.stack([posterior.sample(torch.Generator().manual_seed(seed)) for seed in range(200)])
    spread = (drawn - posterior.mean).square().mean(dim=(0, 1, 3, 4)).sqrt()
    assert told["shape"] == [4, 8, 8]
    assert told.get("posterior_deviation") == pytest.approx((spread / latents.std(dim=(0, 2, 3))).tolist(), rel=0.05)


GOOD: Any = {
    "psnr_db": {"mean": 30.0},
    "thumbnail_psnr_db": 22.0,
    "accuracy": {"real": {"mean": 0.9}, "kept": {"mean": 0.97}},
    "codebook": {"size": 256, "use": 1.0, "perplexity": 180.0},
}


def test_a_first_stage_that_passes_every_check_is_good_enough():
    told = verdict(GOOD, num_users=4)
    assert told["good_enough"] and told["sentence"].startswith("Good enough to train a second stage on: PSNR is 8.0 dB")
    assert len(told["checks"]) == 4
    assert len(verdict(GOOD | {"codebook": None}, num_users=4)["checks"]) == 3


@pytest.mark.parametrize(
    ("worse", "reason"),
    [
        ({"psnr_db": {"mean": 20.0}}, "PSNR is 2.0 dB below a thumbnail"),
        ({"accuracy": {"real": {"mean": 0.9}, "kept": {"mean": 0.94}}}, "keep 94.0% of their accuracy, 95% are needed"),
        ({"accuracy": {"real": {"mean": 0.4}, "kept": {"mean": 1.0}}}, "name 40.0% of real images right, 50% are"),
        ({"codebook": {"size": 512, "use": 0.004, "perplexity": 2.0}}, "perplexity is 2 of 512 codes, 51 are needed"),
    ],
)
def test_the_verdict_says_what_is_not_good_enough(worse: dict[str, Any], reason: str):
    told = verdict(GOOD | worse, num_users=4)
    assert not told["good_enough"]
    assert told["sentence"].startswith("Not good enough to train a second stage on: ")
    assert reason in told["sentence"] and "keep 97" not in told["sentence"]
    assert [check["passed"] for check in told["checks"]].count(False) == 1
