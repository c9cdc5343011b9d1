import json

import numpy as np
import pytest
import scipy
import torch

from echoform import BlockDCT, VQLDMDopplerPipeline
from tiny_doppler import tiny_pipeline
from without_echoform import UNINSTALLED, run_alone


def images(channels: int = 1, height: int = 16, width: int = 32) -> torch.Tensor:
    return 2 * torch.rand(3, channels, height, width, generator=torch.Generator().manual_seed(0)) - 1


@pytest.mark.parametrize("block", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_channels_are_the_cosine_coefficients_that_scipy_computes(block, channels):
    sample = images(channels)
    latents = BlockDCT(channels, block).encode(sample).latents
    assert latents.shape == (3, channels * block**2, 16 // block, 32 // block)
    for row, column, channel in ((0, 0, 0), (16 // block - 1, 32 // block - 1, channels - 1)):
        pixels = sample[1, channel, row * block : (row + 1) * block, column * block : (column + 1) * block]
        expected = scipy.fft.dctn(pixels.numpy(), norm="ortho").flatten()
        found = latents[1, channel * block**2 : (channel + 1) * block**2, row, column]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_images_come_back_and_keep_their_energy():
    model, sample = BlockDCT(3, 8), images(3)
    latents = model.encode(sample).latents
    torch.testing.assert_close(model(sample).sample, sample, rtol=0, atol=1e-5)
    torch.testing.assert_close(latents.square().sum(), sample.square().sum())


def test_every_level_of_8_bits_above_the_floor_comes_back_and_all_below_is_the_floor():
    levels = torch.arange(256).reshape(1, 1, 16, 16)
    model = BlockDCT(floor=7 / 127.5 - 1)
    decoded = model(levels / 127.5 - 1).sample
    assert torch.equal(((decoded + 1) * 127.5).round().long(), levels.clamp(min=7))


def test_errors_of_latents_smaller_than_the_gap_do_not_lift_pixels_above_the_floor():
    sample = torch.where(images() < 0.5, -0.9, images())
    model = BlockDCT(floor=-0.9, floor_gap=0.2)
    latents = model.encode(sample).latents
    error = 0.19 * (2 * torch.rand(sample.shape, generator=torch.Generator().manual_seed(1)) - 1)
    decoded = model.decode(latents + BlockDCT().encode(error).latents).sample
    assert (decoded[sample == -0.9] == torch.tensor(-0.9)).all()
    torch.testing.assert_close(decoded[sample > -0.7], (sample + error)[sample > -0.7], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"block_size": 0}, r"block_size must be in 1\.\.32, got 0"),
        ({"block_size": 4.0}, r"block_size must be in 1\.\.32, got 4\.0"),
        ({"in_channels": 5}, r"in_channels must be in 1\.\.4, got 5"),
        ({"floor": 1.5}, r"floor must be in -1\.\.1, got 1\.5"),
        ({"floor": float("nan")}, r"floor must be in -1\.\.1, got nan"),
        ({"floor_gap": -0.1}, r"floor_gap must be in 0\.\.1, got -0\.1"),
        ({"latent_channels": 4}, "latent_channels must be 16, got 4"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        BlockDCT(**settings)


def test_sides_that_blocks_do_not_tile_are_refused():
    with pytest.raises(ValueError, match=r"height and width must be multiples of 8, got \(12, 16\)"):
        BlockDCT(block_size=8).encode(torch.zeros(1, 1, 12, 16))


def test_a_pipeline_of_pixels_loads_where_echoform_is_not_installed_and_gives_the_same_images(tmp_path):
    pipeline = tiny_pipeline(vqvae=BlockDCT(block_size=2, floor=-0.9))
    pipeline.save_pretrained(tmp_path / "pipe")
    expected = pipeline(users=["ID_2"], generator=torch.Generator().manual_seed(3), output_type="np").images
    code = (
        "import sys, numpy as np, torch\nfrom diffusers import DiffusionPipeline\n"
        f"pipe = DiffusionPipeline.from_pretrained({str(tmp_path / 'pipe')!r}, trust_remote_code=True)\n"
        "images = pipe(users=['ID_2'], generator=torch.Generator().manual_seed(3), output_type='np').images\n"
        f"np.save({str(tmp_path / 'images.npy')!r}, images)"
    )
    run_alone(UNINSTALLED + code, tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "images.npy"), expected, atol=1e-5)


def test_loading_says_nothing_and_a_config_that_was_changed_is_refused(tmp_path, capfd):
    tiny_pipeline(vqvae=BlockDCT(block_size=2)).save_pretrained(tmp_path)
    capfd.readouterr()
    loaded = VQLDMDopplerPipeline.from_pretrained(tmp_path)
    assert "ignored" not in capfd.readouterr().err and loaded.vqvae.config["latent_channels"] == 4
    path = tmp_path / "vqvae" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"block_size": 4}))
    with pytest.raises(ValueError, match="latent_channels must be 16, got 4"):
        VQLDMDopplerPipeline.from_pretrained(tmp_path)


def test_an_image_decodes_exactly_from_its_latents_in_a_pipeline():
    pipeline = tiny_pipeline(vqvae=BlockDCT(block_size=2))
    sample = images(1, 16, 16)
    decoded = pipeline.decode(pipeline.encode(sample))
    torch.testing.assert_close(decoded, (sample + 1) / 2, rtol=0, atol=1e-5)
