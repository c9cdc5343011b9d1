"""The scores of a first stage against closed forms and hand-made tables."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from echoform_train.latent_diffusion.first_stage import encode_pixels, load_first_stage
from echoform_train.latent_diffusion.quality import measure_accuracy, measure_latents, thumbnail


def test_a_thumbnail_keeps_blocks_and_loses_what_is_finer():
    stripes = torch.tensor([-1.0, 1.0]).repeat(8).expand(1, 1, 16, 16)
    assert thumbnail(stripes, 8, 8).abs().max() < 1e-6
    flat = torch.full((1, 1, 16, 16), 0.25)
    torch.testing.assert_close(thumbnail(flat, 4, 4), flat)


def test_accuracy_kept_is_the_share_of_the_right_answers_that_is_left():
    real = torch.tensor([[8, 2], [0, 10]])  # 18 of 20
    made = torch.tensor([[8, 2], [9, 1]])  # 9 of 20
    told = measure_accuracy([(real, made)])
    # A single judge has the interval of the images.
    wilson = stats.binomtest(18, 20).proportion_ci(method="wilson")
    assert told["real"] == pytest.approx({"mean": 0.9, "low": wilson.low, "high": wilson.high})
    assert told["kept"]["mean"] == 0.5
    low, high = told["kept"]["low"], told["kept"]["high"]
    assert low is not None and high is not None and low < 0.35 and high > 0.65
    two = measure_accuracy([(real, made), (real, real)])
    assert two["kept"]["mean"] == 0.75
    low, high = two["kept"]["low"], two["kept"]["high"]
    assert low == 0 and high is not None and high > 1  # Student's t of two, which knows no ends of a scale
    with pytest.raises(ValueError, match="one judge names none right"):
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
