import json
import shutil
from dataclasses import replace

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform_train.commands import generate
from echoform_train.data.spectrograms import load_spectrograms
from echoform_train.engine.training_log import read_log
from echoform_train.latent_diffusion.first_stage import (
    decode_to_pixels,
    encode_pixels,
    latent_distribution,
    latent_shape,
    load_first_stage,
)
from echoform_train.publishing.push import copy_for_push
from echoform_train.publishing.verify import verify
from echoform_train.trainers import kl_vae as train_kl_vae
from echoform_train.trainers import ldm as train_ldm
from echoform_train.trainers import vq_vae as train_vq_vae
from tiny import tiny_kl_vae, tiny_ldm, tiny_run, tiny_vq_vae


def weights(folder):
    return load_file(folder / "vqvae" / "diffusion_pytorch_model.safetensors")


def losses(folder):
    return [row for row in read_log(folder) if "train/loss" in row]


def test_the_model_is_a_stock_one_and_its_facts_hold(kl_first_stage):
    facts = json.loads((kl_first_stage / "facts.json").read_text())
    model = AutoencoderKL.from_pretrained(kl_first_stage / "vqvae")
    latents = latent_distribution(model, torch.zeros(1, 1, 32, 32)).mode()
    assert list(latents.shape[1:]) == facts["latent_shape"] == [4, 8, 8]
    assert (facts["kind"], facts["images_seen"], facts["data"]["colormap"]) == ("kl-vae", 192, "jet")
    assert (kl_first_stage / "reconstructions" / "images-000000192.png").is_file()


def test_the_psnr_in_the_facts_is_that_of_the_saved_averages_on_the_validation_part(walkers, kl_first_stage):
    stage = load_first_stage(kl_first_stage)
    pixels = load_spectrograms(str(walkers), split_file=kl_first_stage / "split.json").validation.pixels
    error = (
        (pixels.double() - decode_to_pixels(stage.model, encode_pixels(stage.model, pixels)).double()).square().mean()
    )
    assert stage.facts["validation"]["psnr"] == pytest.approx(10 * torch.log10(255**2 / error).item(), abs=0.05)
    trained = load_file(sorted((kl_first_stage / "checkpoints").iterdir())[-1] / "vae.safetensors")
    assert any(not torch.equal(trained[name], value) for name, value in weights(kl_first_stage).items())


def test_training_makes_the_loss_smaller_and_logs_every_weighted_part(kl_first_stage):
    rows = losses(kl_first_stage)
    assert rows[-1]["train/l1"] < 0.7 * rows[0]["train/l1"]
    parts = ("train/l1", "train/l2", "train/spectral", "train/kl")
    assert rows[-1]["train/loss"] == pytest.approx(sum(rows[-1][part] for part in parts), rel=1e-5)
    assert rows[-1]["train/kl"] == pytest.approx(1e-4 * rows[-1]["train/kl_nats"], rel=1e-5)
    assert rows[-1]["train/spectral_share"] == pytest.approx(
        rows[-1]["train/spectral"] / rows[-1]["train/loss"], rel=1e-5
    )


def test_an_interrupted_run_resumes_to_the_same_bits(walkers, kl_first_stage, tmp_path):
    resumed = tmp_path / "kl"
    shutil.copytree(kl_first_stage, resumed)
    for checkpoint in sorted((resumed / "checkpoints").iterdir())[2:]:
        shutil.rmtree(checkpoint)
    shutil.rmtree(resumed / "vqvae")
    train_kl_vae.main(tiny_kl_vae(walkers, resumed, run=tiny_run(resumed, resume_from_checkpoint="latest")))
    before, after = weights(kl_first_stage), weights(resumed)
    assert all(torch.equal(before[name], value) for name, value in after.items())
    assert read_log(resumed) == read_log(kl_first_stage)


def test_the_spectral_part_never_takes_more_than_its_share(walkers, tmp_path):
    run = tiny_run(tmp_path, max_train_images=24, validation_every=24)
    train_kl_vae.main(tiny_kl_vae(walkers, tmp_path, run=run, spectral_weight=50.0, spectral_max_share=0.2))
    rows = losses(tmp_path)
    assert [row["train/spectral_share"] for row in rows] == pytest.approx([0.2] * 3, rel=1e-5)
    assert [row["train/spectral"] / row["train/loss"] for row in rows] == pytest.approx([0.2] * 3, rel=1e-5)
    with pytest.raises(ValueError, match=r"--spectral-max-share must be in \(0, 1\], got 0"):
        train_kl_vae.main(tiny_kl_vae(walkers, tmp_path / "none", spectral_max_share=0.0))


def test_the_divergence_is_that_of_torch_distributions():
    mean, logvar = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    posterior = torch.distributions.Normal(mean, (0.5 * logvar).exp())
    prior = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    expected = torch.distributions.kl_divergence(posterior, prior).mean()
    torch.testing.assert_close(train_kl_vae.kl_divergence(mean, logvar), expected)


def test_the_default_model_makes_f8_and_fewer_layers_make_f4(walkers, tmp_path):
    config = tiny_kl_vae(walkers, tmp_path, block_out_channels=(8, 8, 8, 8))
    for layers, side, resolution in ((None, 32, 256), (3, 16, 64), (4, 16, 128)):
        model = train_kl_vae.build_model(replace(config, n_layers=layers), channels=1)
        assert latent_shape(model, 1, resolution) == (4, side, side)


def test_an_adversarial_run_trains_its_discriminator(walkers, tmp_path):
    run = tiny_run(tmp_path, max_train_images=24, validation_every=24)
    train_kl_vae.main(tiny_kl_vae(walkers, tmp_path, run=run, adversarial_weight=0.01))
    assert {"train/adversarial", "train/discriminator"} <= losses(tmp_path)[-1].keys()


def test_a_pipeline_on_it_generates_loads_anywhere_and_is_verified(walkers, kl_second_stage, tmp_path):
    folder = kl_second_stage / "pipeline"
    index = json.loads((folder / "model_index.json").read_text())
    assert index["vqvae"] == ["diffusers", "AutoencoderKL"]
    assert json.loads((folder / "unet" / "config.json").read_text())["conditioning"] == "cross-attention"
    card = (folder / "README.md").read_text()
    assert "a KL-VAE decodes" in card and "vq-vae" not in card.partition("---\n\n")[0]
    config = generate.Config(
        pipeline=str(folder), output_dir=tmp_path / "generated", users=("ID_2",), num_images=2, num_inference_steps=2
    )
    generate.main(config)
    assert len(list((tmp_path / "generated" / "ID_2").glob("*.png"))) == 2
    copy_for_push(folder, tmp_path / "staged", "someone/kl")
    (tmp_path / "home").mkdir()
    assert "same output as when it was pushed" in verify(str(tmp_path / "staged"), tmp_path / "home").summary()


def test_the_latents_that_the_second_stage_learns_are_standardised_means(walkers, kl_first_stage, kl_second_stage):
    pipeline = VQLDMDopplerPipeline.from_pretrained(kl_second_stage / "pipeline")
    stage = load_first_stage(kl_first_stage)
    pixels = load_spectrograms(str(walkers), split_file=kl_first_stage / "split.json").train.pixels
    latents = pipeline.encode(pixels.float() / 127.5 - 1)
    assert latents.mean(dim=(0, 2, 3)).abs().max() < 1e-4
    torch.testing.assert_close(latents.std(dim=(0, 2, 3)), torch.ones(4), rtol=1e-4, atol=1e-4)
    before, after = weights(kl_first_stage), pipeline.vqvae.state_dict()
    assert all(torch.equal(before[name], value) for name, value in after.items())
    assert not stage.quantized


def test_a_vq_vae_trained_without_its_codebook_is_no_first_stage_of_a_pipeline(walkers, tmp_path):
    run = tiny_run(tmp_path / "vq", max_train_images=8, validation_every=8)
    train_vq_vae.main(tiny_vq_vae(walkers, tmp_path / "vq", run=run, quantize=False))
    with pytest.raises(ValueError, match=r"needs a first stage with its codebook, .* --no-quantize"):
        train_ldm.main(tiny_ldm(walkers, tmp_path / "vq", tmp_path / "ldm"))


def test_a_folder_with_another_model_is_named(kl_first_stage, tmp_path):
    shutil.copytree(kl_first_stage, tmp_path / "other")
    config = tmp_path / "other" / "vqvae" / "config.json"
    config.write_text(config.read_text().replace('"AutoencoderKL"', '"UNet2DModel"'))
    with pytest.raises(ValueError, match="must be a VQModel or an AutoencoderKL, got UNet2DModel"):
        load_first_stage(tmp_path / "other")
