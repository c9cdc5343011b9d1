import json
from dataclasses import replace

import pytest
import torch

from echoform import BlockDCT, VQLDMDopplerPipeline
from echoform_train.data.spectrograms import load_spectrograms
from echoform_train.latent_diffusion.first_stage import decode_to_pixels, encode_pixels
from echoform_train.latent_diffusion.pixel_stage import echo_floor
from echoform_train.latent_diffusion.quality import measure_quality
from echoform_train.scoring.judge import train_judges
from echoform_train.trainers import ldm as train_ldm
from tiny import tiny_ldm


@pytest.fixture(scope="module")
def pixel_run(walkers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pixels") / "ldm"
    train_ldm.main(tiny_ldm(walkers, "none", folder))
    return folder


def speckle(count: int = 4) -> torch.Tensor:
    return torch.randint(40, 256, (count, 1, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_the_floor_is_the_level_of_pixels_without_echo():
    pixels = speckle()
    pixels[:, :, 10:] = 7
    assert echo_floor(pixels) == pytest.approx(7 / 127.5 - 1)
    # A few pixels below it are rounding; a fifth of all pixels are not.
    pixels[0, 0, 10] = 6
    assert echo_floor(pixels) == pytest.approx(7 / 127.5 - 1)
    pixels[:, :, 14:] = 3
    assert echo_floor(pixels) is None


def test_images_without_a_common_lowest_level_and_images_in_colour_have_no_floor():
    assert echo_floor(speckle()) is None
    # A level in the middle is no floor, however common it is.
    pixels = speckle()
    pixels[:, :, 10:] = 200
    assert echo_floor(pixels) is None
    assert echo_floor(torch.zeros(2, 3, 8, 8, dtype=torch.uint8)) is None


def test_the_pipeline_generates_pixels_and_never_below_the_floor(walkers, pixel_run):
    pipeline = VQLDMDopplerPipeline.from_pretrained(pixel_run / "pipeline")
    train = load_spectrograms(str(walkers), split_file=pixel_run / "split.json").train.pixels
    assert isinstance(pipeline.vqvae, BlockDCT) and pipeline.vqvae.config["floor"] == echo_floor(train)
    latents = encode_pixels(pipeline.vqvae, train)
    assert latents.shape[1:] == (16, 8, 8)
    assert torch.equal(decode_to_pixels(pipeline.vqvae, latents), train)
    divisors = torch.tensor([pipeline.config["latent_std"][str(channel)] for channel in range(16)])
    ratios = latents.std(dim=(0, 2, 3)) / divisors
    assert ratios.square().mean() == pytest.approx(1, rel=1e-4)
    # Half whitened: the ratio of two channels is the root of the ratio of their strengths.
    assert (ratios[0] / ratios[15]) ** 2 == pytest.approx((latents[:, 0].std() / latents[:, 15].std()).item(), rel=1e-3)
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline(["ID_1"], 4, num_inference_steps=2, output_type="pt").images
    assert made.shape == (4, 1, 32, 32) and (2 * made - 1).min() >= pipeline.vqvae.config["floor"]
    card = (pixel_run / "pipeline" / "README.md").read_text()
    assert "cosine coefficients of blocks of pixels" in card and "VQ-VAE" not in card


def test_a_reconstruction_that_is_exact_cannot_be_told_from_its_image(walkers, pixel_run):
    data = load_spectrograms(str(walkers), split_file=pixel_run / "split.json")
    model = VQLDMDopplerPipeline.from_pretrained(pixel_run / "pipeline").vqvae
    judges = train_judges(data, [0], 64, "cpu")
    texture = measure_quality(model, data.test, data.train, data.id2label, judges, texture_train_images=64).scores[
        "texture"
    ]
    assert texture["fine_energy_ratio"]["mean"] == 1 and texture["log_spectral_distance"]["mean"] == 0
    assert texture["log_spectral_distance"]["floor"] > 0 and 0 <= texture["two_sample_auc"]["mean"] <= 1


def test_blocks_that_do_not_tile_the_images_are_refused_with_sizes_that_do(walkers, tmp_path):
    config = replace(tiny_ldm(walkers, "none", tmp_path / "ldm"), block_size=12)
    with pytest.raises(ValueError, match=r"blocks of 12 pixels \(--block-size\).*32x32"):
        train_ldm.main(config)


def test_a_pipeline_to_start_from_must_be_one_of_the_same_pixels(walkers, second_stage, pixel_run, tmp_path):
    start = replace(tiny_ldm(walkers, "none", tmp_path / "ldm"), initial_pipeline=second_stage / "pipeline")
    with pytest.raises(ValueError, match=r"must have blocks of 4 pixels with --first-stage none.*has a first stage"):
        train_ldm.main(start)
    train_ldm.main(replace(start, initial_pipeline=pixel_run / "pipeline"))
    config = json.loads((tmp_path / "ldm" / "pipeline" / "vqvae" / "config.json").read_text())
    assert config["_class_name"] == "BlockDCT"
