"""The cosine bottleneck against scipy's transform, hand-computed images and exact round trips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.fft import dctn, idctn
from torch import Tensor

from echoform import DepthAutoencoder, DepthEncoder, SemanticEncoder, create_semantic_encoder
from echoform.depth_autoencoder import filled, from_cosines, to_cosines
from echoform.depth_sizes import COSINE_SIZES, SIZES
from echoform.transformers_depth_encoder import DepthEncoderModel, save_for_transformers
from echoform_train.depth.balance import balance
from tiny_depth import tiny_autoencoder, tiny_depth_pipeline
from without_echoform import UNINSTALLED, run_alone


def cosine(**settings: Any) -> DepthAutoencoder:
    """32x32 pixels to 16 coefficients, as before training."""
    return tiny_autoencoder(**({"bottleneck": "cosine"} | settings))


def trained(**settings: Any) -> DepthAutoencoder:
    """Stands for one that was trained: nothing in it is zero."""
    model = cosine(**settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return model


def images(channels: int = 1, side: int = 32) -> Tensor:
    return 2 * torch.rand(3, channels, side, side, generator=torch.Generator().manual_seed(0)) - 1


def zigzag(side: int) -> list[tuple[int, int]]:
    """Rows and columns by walking the square as JPEG does."""
    row = column = 0
    walk, step = [(0, 0)], -1
    while len(walk) < side**2:
        if step < 0 and column == side - 1:
            row, step = row + 1, 1
        elif step > 0 and row == side - 1:
            column, step = column + 1, -1
        elif step < 0 and row == 0:
            column, step = column + 1, 1
        elif step > 0 and column == 0:
            row, step = row + 1, -1
        else:
            row, column = row + step, column - step
        walk.append((row, column))
    return walk


def test_the_walk_of_this_test_is_that_of_the_jpeg_standard():
    # The first ten and the last of ITU-T T.81, figure A.6, as (row, column).
    assert zigzag(8)[:10] == [(0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2), (0, 3), (1, 2), (2, 1), (3, 0)]
    assert zigzag(8)[-3:] == [(6, 7), (7, 6), (7, 7)]


@pytest.mark.parametrize("count", [1, 2, 16, 300, 1024])
def test_the_numbers_are_scipys_coefficients_in_zigzag_order_times_what_is_documented(count: int):
    spectrum = np.asarray(dctn(images()[:, 0].double().numpy(), axes=(1, 2), norm="ortho"))
    expected = [spectrum[:, row, column] * np.sqrt(1 + row + column) / 32 for row, column in zigzag(32)[:count]]
    np.testing.assert_allclose(to_cosines(images(), count).numpy(), np.stack(expected, axis=1), atol=1e-6)


def test_channels_take_turns_at_every_frequency():
    together = to_cosines(images(channels=3), 50)
    for channel in range(3):
        alone = to_cosines(images(channels=3)[:, channel : channel + 1], 17)
        torch.testing.assert_close(together[:, channel::3], alone[:, : len(range(channel, 50, 3))])


@pytest.mark.parametrize("channels", [1, 3])
def test_all_numbers_together_are_the_image_and_the_first_is_its_mean(channels: int):
    numbers = to_cosines(images(channels), channels * 1024)
    torch.testing.assert_close(from_cosines(numbers, channels, 32), images(channels), rtol=0, atol=1e-5)
    torch.testing.assert_close(numbers[:, :channels], images(channels).mean(dim=(2, 3)), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("latent_dim", "channels"), [(16, 1), (77, 1), (1024, 1), (30, 3)])
def test_before_training_it_is_the_cosine_transform(latent_dim: int, channels: int):
    spectrum = np.asarray(dctn(images(channels).double().numpy(), axes=(2, 3), norm="ortho"))
    kept = np.zeros_like(spectrum)
    for row, column in zigzag(32)[: latent_dim // channels]:
        kept[:, :, row, column] = spectrum[:, :, row, column]
    expected = np.asarray(idctn(kept, axes=(2, 3), norm="ortho"))
    model = cosine(latent_dim=latent_dim, input_channels=channels)
    with torch.no_grad():
        output = model(images(channels))
        with torch.autocast("cpu", torch.bfloat16):
            in_few_bits = model(images(channels))
    assert output.latents.shape == (3, latent_dim)
    np.testing.assert_allclose(output.depth.numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(in_few_bits.depth.float().numpy(), expected, atol=1e-5, err_msg="transform in few bits")


@pytest.mark.parametrize("level", [-1.0, 0.3])
def test_a_constant_image_comes_back_exactly_whatever_is_missing_in_it(level: float):
    valid = torch.ones(3, 1, 32, 32, dtype=torch.bool)
    valid[1, :, 5:30, 3:32] = False
    valid[2] = False
    valid[2, :, 31, 0] = True
    with torch.no_grad():
        depth = cosine()(torch.full((3, 1, 32, 32), level), valid).depth
    torch.testing.assert_close(depth, torch.full_like(depth, level), rtol=0, atol=1e-6)


def test_an_image_without_any_reading_is_finite_and_the_middle_of_the_range():
    nothing = torch.zeros(1, 1, 32, 32)
    output = cosine()(torch.full_like(nothing, torch.nan), nothing)
    assert torch.equal(output.depth, nothing) and torch.equal(output.latents, torch.zeros(1, 16))
    awake = trained()(torch.full_like(nothing, torch.nan), nothing)
    assert awake.depth.isfinite().all() and awake.valid_logit.isfinite().all() and awake.latents.isfinite().all()


@pytest.mark.parametrize("side", [32, 96])
def test_filling_leaves_readings_and_invents_nothing_nearer_or_farther_than_they_are(side: int):
    depth = images(channels=3, side=side)
    valid = (torch.rand(3, 1, side, side, generator=torch.Generator().manual_seed(2)) > 0.5).float()
    valid[0, :, : side // 2] = 0
    whole = filled(depth * valid, valid)
    assert torch.equal(torch.where(valid > 0, whole, 0), depth * valid)
    for image, known, readings in zip(whole, valid, depth, strict=True):
        for channel, values in zip(image, readings, strict=True):
            seen = values[known[0] > 0]
            assert seen.min() - 1e-6 <= channel.min() and channel.max() <= seen.max() + 1e-6
    assert torch.equal(filled(depth, torch.ones_like(valid)), depth)


def test_a_small_hole_in_a_slope_is_filled_with_about_what_was_there():
    slope = torch.linspace(-1, 1, 32).expand(1, 1, 32, 32)
    valid = torch.ones(1, 1, 32, 32)
    valid[:, :, 10:12, 14:16] = 0
    assert (filled(slope * valid, valid) - slope).abs().max() <= 2 * (slope[..., 1] - slope[..., 0]).max()


def test_a_few_steps_from_the_start_move_every_parameter():
    model = cosine().train()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    valid = images() > -0.6
    losses = []
    for _ in range(6):
        output = model(images(), valid)
        loss = ((output.depth - images()) * valid).square().mean() + 0.1 * torch.nn.functional.mse_loss(
            output.valid_logit, 2 * valid.float() - 1
        )
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert [name for name, value in model.named_parameters() if torch.equal(value, before[name])] == []
    assert losses[-1] < losses[0]


def test_a_config_of_before_there_were_two_bottlenecks_is_a_map(tmp_path: Path):
    model = tiny_autoencoder()
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["bottleneck"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = DepthAutoencoder.from_pretrained(tmp_path)
    assert loaded.config["bottleneck"] == loaded.encoder.config["bottleneck"] == "map"
    assert torch.equal(loaded(images()).depth, model(images()).depth)


def test_the_encoder_alone_is_the_encoder_through_every_door(tmp_path: Path):
    model = trained()
    facts: dict[str, Any] = {"depth_range_mm": {"min": 300.0, "max": 5000.0}, "units_per_mm": 1.0}
    model.encoder.register_to_config(**facts)
    model.encoder.save_pretrained(tmp_path / "encoder")
    create_semantic_encoder(tmp_path / "encoder").save_encoder_weights(tmp_path / "file" / "weights.safetensors")
    tiny_depth_pipeline(model).save_pretrained(tmp_path / "pipeline")
    save_for_transformers(model.encoder, tmp_path / "transformers")
    valid = images() > -0.6
    expected = model.encode(images(), valid)
    assert torch.equal(DepthEncoder.from_pretrained(tmp_path / "encoder")(images(), valid), expected)
    for source in ("encoder", "file/weights.safetensors", "pipeline"):
        encoder = SemanticEncoder(latent_dim=16, pretrained_path=tmp_path / source)
        assert torch.equal(encoder.encode(images(), valid), expected)
    door = DepthEncoderModel.from_pretrained(tmp_path / "transformers")
    output = door(images(), valid)
    assert torch.equal(output.pooler_output, expected)
    pixels = output.last_hidden_state.transpose(1, 2).unflatten(2, (32, 32))
    torch.testing.assert_close(to_cosines(pixels, 16), expected)


WITHOUT_ECHOFORM = f"""{UNINSTALLED}
import torch
from diffusers import AutoModel, DiffusionPipeline
import transformers

known = torch.load("known.pt", weights_only=True)
with torch.no_grad():
    for model in (
        AutoModel.from_pretrained("whole", trust_remote_code=True),
        AutoModel.from_pretrained("encoder", trust_remote_code=True),
        DiffusionPipeline.from_pretrained("pipeline", trust_remote_code=True).autoencoder,
        transformers.AutoModel.from_pretrained("transformers", trust_remote_code=True).encoder,
    ):
        torch.testing.assert_close(model.encode(known["depth"], known["valid"]), known["latents"], rtol=0, atol=1e-6)
assert "echoform" not in sys.modules
"""


@pytest.mark.slow
def test_it_loads_where_echoform_is_not_installed(tmp_path: Path):
    model = trained()
    balance(model, torch.randn(16), torch.eye(16) + 0.1 * torch.randn(16, 16))
    valid = images() > -0.6
    with torch.no_grad():
        known = {"depth": images(), "valid": valid, "latents": model.encode(images(), valid)}
    torch.save(known, tmp_path / "known.pt")
    model.save_pretrained(tmp_path / "whole")
    tiny_depth_pipeline(model).save_pretrained(tmp_path / "pipeline")
    model.encoder.register_to_config(depth_range_mm={"min": 300.0, "max": 5000.0}, units_per_mm=1.0)
    model.encoder.save_pretrained(tmp_path / "encoder")
    save_for_transformers(model.encoder, tmp_path / "transformers")
    run_alone(WITHOUT_ECHOFORM, tmp_path)


def test_frozen_stages_stay_and_the_others_learn(tmp_path: Path):
    trained(dropout=0.5).encoder.save_pretrained(tmp_path)
    encoder = create_semantic_encoder(tmp_path, freeze_layers=["stem", "layer1", "layer2", "layer3", "layer4"])
    encoder.train()
    encoder(images()).square().sum().backward()
    learning = {name.split(".")[1] for name, value in encoder.named_parameters() if value.grad is not None}
    assert learning == {"head"}
    encoder.freeze_layers(["head"])
    assert encoder.count_parameters(only_trainable=True) == 0
    assert torch.equal(encoder(images()), encoder.encode(images())), "a frozen encoder drops features"


@pytest.mark.parametrize("sizes", [SIZES, COSINE_SIZES], ids=["as of the map", "its own"])
@pytest.mark.parametrize("size", ["small", "large"])
def test_named_sizes_take_128_pixels_to_768_numbers_and_back(sizes: dict[str, dict[str, Any]], size: str):
    settings: dict[str, Any] = {"bottleneck": "cosine"} | sizes[size]
    model = DepthAutoencoder(**settings)
    with torch.no_grad():
        output = model(images(side=128)[:1])
    assert output.latents.shape == (1, 768)
    assert output.depth.shape == output.valid_logit.shape == (1, 1, 128, 128)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_of_few_bits_still_knows_what_is_near(dtype: torch.dtype):
    model = cosine(latent_dim=64)
    expected = model(images()).depth
    model.to(dtype=dtype)  # pyright: ignore[reportCallIssue]
    found = model(images().to(dtype))
    assert found.depth.dtype == found.latents.dtype == dtype
    assert (found.depth.float() - expected).abs().max() < 0.02


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bottleneck": "dct"}, "bottleneck must be map or cosine, got 'dct'"),
        ({"latent_dim": 1025}, "latent_dim must be at most 1024, what an image holds, got 1025"),
        ({"latent_dim": 3073, "input_channels": 3}, "latent_dim must be at most 3072, what an image holds, got 3073"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        cosine(**settings)
