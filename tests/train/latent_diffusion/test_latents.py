"""Latents of real spectrograms against their definition, and dropped labels against their shares."""

from __future__ import annotations

import pytest
import torch

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform.unet_doppler import DopplerUNet2DModel
from echoform_train.data.spectrograms import load_spectrograms
from echoform_train.engine.batches import Draw
from echoform_train.latent_diffusion.first_stage import load_first_stage
from echoform_train.latent_diffusion.latents import Latents, drop_labels, encode_data


def test_training_latents_are_standardised_and_held_out_ones_by_the_same_numbers(walkers, first_stage):
    stage = load_first_stage(first_stage)
    data = load_spectrograms(str(walkers), split_file=first_stage / "split.json")
    latents = encode_data(stage, data)
    values = latents.train.values
    torch.testing.assert_close(values.mean(dim=(0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-5)
    torch.testing.assert_close(values.std(dim=(0, 2, 3)), torch.ones(4), rtol=1e-5, atol=0)
    assert latents.shape == (4, 8, 8) and torch.equal(latents.train.users, data.train.users)
    with torch.no_grad():
        raw = stage.model.encode(data.validation.pixels.float() / 127.5 - 1).latents  # pyright: ignore[reportAttributeAccessIssue]
    mean, std = (
        torch.tensor([latents.pipeline_facts[name][str(channel)] for channel in range(4)])[:, None, None]
        for name in ("latent_mean", "latent_std")
    )
    torch.testing.assert_close(latents.validation.values * std + mean, raw, rtol=1e-4, atol=1e-4)


def test_latents_for_a_denoiser_that_starts_from_a_pipeline_are_standardised_as_that_ones(
    walkers, first_stage, second_stage
):
    source = VQLDMDopplerPipeline.from_pretrained(second_stage / "pipeline")
    data = load_spectrograms(str(walkers), split_file=first_stage / "split.json")
    facts = encode_data(load_first_stage(first_stage), data, source).pipeline_facts
    for name in ("latent_mean", "latent_std"):
        assert facts[name] == pytest.approx(source.config[name])


def test_labels_are_dropped_sample_by_sample_and_never_become_somebody():
    unet = DopplerUNet2DModel(
        num_users=3, conditions={"direction": 2}, block_out_channels=(32,), attention_types=("none",)
    )
    count = 4000
    latents = Latents(torch.zeros(count, 1, 1, 1), torch.arange(count) % 3, {"direction": torch.arange(count) % 2})
    draw = Draw(torch.arange(count), [torch.Generator().manual_seed(k) for k in range(count)])
    batch = drop_labels(latents, draw, 0.2, unet)
    dropped = batch.users == unet.null_user
    dropped_too = batch.conditions["direction"] == unet.null_conditions["direction"]
    assert unet.null_user == 3
    assert torch.equal(batch.users[~dropped], latents.users[~dropped])
    assert dropped.float().mean().item() == pytest.approx(0.2, abs=0.03)
    assert dropped_too.float().mean().item() == pytest.approx(0.2, abs=0.03)
    # Apart from each other: both at once in a share of 0.2 x 0.2.
    assert (dropped & dropped_too).float().mean().item() == pytest.approx(0.04, abs=0.015)
