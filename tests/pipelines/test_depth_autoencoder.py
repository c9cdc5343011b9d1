"""The depth models against closed forms, scikit-learn's PCA, torch's own attention and exact round trips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echoform import DepthAutoencoder, DepthEncoder
from echoform.depth_autoencoder import AttentionBlock, Downsample, Upsample
from echoform.depth_sizes import SIZES
from echoform.depth_units import encode_units
from echoform_train.depth.balance import balance
from tiny_depth import tiny_autoencoder

BOTTLENECKS = pytest.mark.parametrize("bottleneck", ["map", "cosine"])


def images(batch: int = 4, side: int = 32, channels: int = 1, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    valid = torch.rand(batch, 1, side, side, generator=generator) > 0.2
    return (2 * torch.rand(batch, channels, side, side, generator=generator) - 1) * valid, valid


def awake(**settings: Any) -> DepthAutoencoder:
    """As in the middle of training: nothing is zero any more."""
    model = tiny_autoencoder(**settings)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


@BOTTLENECKS
def test_every_parameter_gets_a_gradient(bottleneck: str):
    model = awake(bottleneck=bottleneck, dropout=0.1).train()
    output = model(*images())
    (output.depth.square().mean() + output.valid_logit.square().mean()).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().amax() > 0]
    assert without == []


@BOTTLENECKS
@pytest.mark.parametrize("channels", [1, 3])
def test_a_saved_model_comes_back_bit_for_bit(bottleneck: str, channels: int, tmp_path: Path):
    model = awake(bottleneck=bottleneck, input_channels=channels, decoder_block_out_channels=(8, 16, 16, 8))
    model.save_pretrained(tmp_path / "whole")
    model.encoder.save_pretrained(tmp_path / "encoder")
    loaded = DepthAutoencoder.from_pretrained(tmp_path / "whole")
    encoder = DepthEncoder.from_pretrained(tmp_path / "encoder")
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    inputs = images(channels=channels)
    expected = model(*inputs)
    assert torch.equal(loaded(*inputs).depth, expected.depth)
    assert torch.equal(loaded(*inputs).valid_logit, expected.valid_logit)
    assert torch.equal(encoder(*inputs), expected.latents)
    assert expected.depth.shape == (4, channels, 32, 32) and expected.valid_logit.shape == (4, 1, 32, 32)


@BOTTLENECKS
def test_an_image_does_not_depend_on_its_batch_and_twice_is_the_same(bottleneck: str):
    model = awake(bottleneck=bottleneck)
    depth, valid = images()
    together = model.encode(depth, valid)
    outlier = torch.cat([depth[:1], 1e4 * depth[1:]])
    assert torch.equal(model.encode(depth, valid), together)
    torch.testing.assert_close(model.encode(depth[:1], valid[:1]), together[:1])
    torch.testing.assert_close(model.encode(outlier, valid)[:1], together[:1])
    torch.testing.assert_close(model.decode(together).depth[2:3], model.decode(together[2:3]).depth)


@BOTTLENECKS
def test_what_lies_where_there_is_no_reading_does_not_matter(bottleneck: str):
    model = awake(bottleneck=bottleneck)
    depth, valid = images()
    for garbage in (7.0, float("nan"), float("inf")):
        assert torch.equal(model.encode(torch.where(valid, depth, garbage), valid), model.encode(depth, valid))
    assert model.encode(depth, torch.zeros_like(valid)).isfinite().all()
    assert not torch.equal(model.encode(depth, valid), model.encode(depth))


@BOTTLENECKS
def test_balancing_maps_the_embedding_and_leaves_the_reconstruction(bottleneck: str, tmp_path: Path):
    model = awake(bottleneck=bottleneck)
    depth, valid = images()
    latents, expected = model.encode(depth, valid), model(depth, valid)
    centre, mix = torch.randn(16), torch.eye(16) + 0.1 * torch.randn(16, 16)
    balance(model, centre, mix)
    torch.testing.assert_close(model.encode(depth, valid), (latents - centre) @ mix)
    torch.testing.assert_close(model(depth, valid).depth, expected.depth, rtol=1e-3, atol=1e-4)
    model.encoder.save_pretrained(tmp_path)
    assert torch.equal(DepthEncoder.from_pretrained(tmp_path)(depth, valid), model.encode(depth, valid))


def test_folding_and_unfolding_shortcuts_undo_one_another():
    down, up = Downsample(4, 16), Upsample(16, 4)
    for layer in (down, up):
        nn.init.zeros_(layer.conv.weight)
        nn.init.zeros_(layer.conv.bias)  # pyright: ignore[reportArgumentType]
    grid = torch.randn(2, 4, 6, 6)
    assert torch.equal(up(down(grid)), grid)


@pytest.mark.parametrize("num_heads", [1, 2, 4])
def test_attention_is_torch_attention_with_as_many_heads_as_asked_for(num_heads: int):
    torch.manual_seed(0)
    block = AttentionBlock(16, side=4, num_heads=num_heads, norm_num_groups=4)
    nn.init.normal_(block.to_out.weight)
    reference = nn.MultiheadAttention(16, num_heads, batch_first=True)
    reference.load_state_dict(
        {
            "in_proj_weight": block.to_qkv.weight,
            "in_proj_bias": block.to_qkv.bias,
            "out_proj.weight": block.to_out.weight,
            "out_proj.bias": block.to_out.bias,
        }
    )
    grid = torch.randn(2, 16, 4, 4)
    tokens = block.norm(grid).flatten(2).transpose(1, 2) + block.position
    expected = grid + reference(tokens, tokens, tokens)[0].transpose(1, 2).unflatten(2, (4, 4))
    torch.testing.assert_close(block(grid), expected)


@BOTTLENECKS
def test_checkpointed_gradients_are_the_gradients(bottleneck: str):
    gradients = []
    for checkpointed in (False, True):
        model = awake(bottleneck=bottleneck).train()
        if checkpointed:
            model.enable_gradient_checkpointing()
            assert model.encoder.gradient_checkpointing and model.decoder.gradient_checkpointing
        model(*images()).depth.square().mean().backward()
        gradients.append([p.grad for p in model.encoder.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


@BOTTLENECKS
def test_bfloat16_and_channels_last_change_little(bottleneck: str):
    model = awake(bottleneck=bottleneck)
    expected = model(*images())
    model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    torch.testing.assert_close(model(*images()).depth, expected.depth, rtol=1e-3, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(*images())
    assert F.mse_loss(output.depth.float(), expected.depth) < 1e-3 * expected.depth.var()


@pytest.mark.parametrize(("low_mm", "high_mm", "units_per_mm"), [(300.0, 5000.0, 1.0), (0.0, 8191.875, 8.0)])
def test_units_become_readings_as_in_the_pipeline(low_mm: float, high_mm: float, units_per_mm: float):
    depth_range_mm = {"min": low_mm, "max": high_mm}
    facts: dict[str, Any] = {"depth_range_mm": depth_range_mm, "units_per_mm": units_per_mm}
    encoder = DepthEncoder(
        **facts, invalid_values={"0": "no reading", "1000": "saturated"}, block_out_channels=(8, 8, 8, 8)
    )
    units = torch.from_numpy(np.arange(65536, dtype=np.uint16)).reshape(4, 1, 128, 128)
    depth, valid = encoder.readings(units)
    as_numbers = units.to(torch.int32)
    expected_depth, expected_valid = encode_units(
        torch.where(as_numbers == 1000, 0, as_numbers), depth_range_mm, units_per_mm
    )
    assert torch.equal(depth, expected_depth) and torch.equal(valid, expected_valid)
    with pytest.raises(ValueError, match="units need depth_range_mm and units_per_mm of the config, got None"):
        tiny_autoencoder().encoder.readings(units)


@pytest.mark.parametrize("size", SIZES)
def test_named_sizes_take_128_pixels_to_768_numbers_and_back(size: str):
    model = DepthAutoencoder(**SIZES[size])
    with torch.no_grad():
        output = model(torch.zeros(2, 1, 128, 128), torch.ones(2, 1, 128, 128))
    assert output.latents.shape == (2, 768) and output.depth.shape == (2, 1, 128, 128)
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    assert {"small": 5 < millions < 10, "large": 40 < millions < 70}[size]


@BOTTLENECKS
def test_another_side_is_a_model_of_its_own(bottleneck: str):
    model = tiny_autoencoder(sample_size=64, bottleneck=bottleneck)
    assert model(*images(side=64)).depth.shape == (4, 1, 64, 64)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sample_size": 48}, "sample_size must be a multiple of 32, got 48"),
        ({"sample_size": 0}, "sample_size must be a whole number in 1..2048, got 0"),
        ({"input_channels": 2}, "input_channels must be 1 or 3, got 2"),
        ({"latent_dim": 0}, "latent_dim must be a whole number in 1..8192, got 0"),
        ({"block_out_channels": (8, 8, 16)}, "widths must hold one value for each of 4 stages"),
        ({"attention": (True,)}, "attention must hold one value for each of 4 stages"),
        ({"layers_per_block": (1, 1, 0, 1)}, "layers_per_block must be 1 to 16 whole numbers in 1..32"),
        ({"block_out_channels": (8, 8, 18, 16)}, r"divisible by norm_num_groups \(4\), got 18"),
        ({"num_attention_heads": 3}, "divisible by 3 heads, got 8"),
        ({"decoder_block_out_channels": (8, 8, 8, 64)}, "multiple of the next one, got 8 and 64"),
        ({"latent_dim": 18}, r"latent_dim must be a multiple of 4, \(sample_size / 16\)\^2, got 18"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        tiny_autoencoder(**settings)


def test_inputs_that_do_not_fit_are_refused():
    model = tiny_autoencoder()
    depth, valid = images()
    with pytest.raises(ValueError, match=r"depth must be \[B, 1, 32, 32\], got \[4, 1, 16, 16\]"):
        model.encode(depth[..., ::2, ::2], valid)
    with pytest.raises(ValueError, match=r"depth must be \[B, 1, 32, 32\], got \[4, 3, 32, 32\]"):
        model.encode(depth.expand(-1, 3, -1, -1), valid)
    with pytest.raises(ValueError, match=r"valid must be \[4, 1, 32, 32\], got \[4, 32, 32\]"):
        model.encode(depth, valid[:, 0])
    with pytest.raises(ValueError, match=r"floating point in \[-1, 1\], got torch.uint16"):
        model.encode(torch.zeros(1, 1, 32, 32, dtype=torch.uint16))


@BOTTLENECKS
@pytest.mark.slow
def test_it_compiles_without_graph_breaks(bottleneck: str):
    model = awake(bottleneck=bottleneck)
    expected = model(*images())
    compiled = torch.compile(model, fullgraph=True)
    torch.testing.assert_close(compiled(*images()).depth, expected.depth, rtol=1e-4, atol=1e-5)
