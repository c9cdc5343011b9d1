"""The convolutional autoencoder against torchvision's VGG, torch's pooling, and numbers worked out by hand."""

from __future__ import annotations

import urllib.request
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models

from echoform.conv_autoencoder import BACKBONES, ConvAutoencoder, channel_range, check_activation, unpool
from echoform_train.conv.vgg import copy_features, load_torchvision_weights
from tiny_conv import tiny_conv_autoencoder


def widths(backbone: str, share: int) -> tuple[int, ...]:
    return tuple(width // share for width in BACKBONES[backbone]["block_out_channels"])


def of_vgg(name: str, share: int = 16) -> nn.Sequential:
    """torchvision's layers, narrower, with random weights and statistics of batch norm that matter."""
    torch.manual_seed(0)
    layers = models.vgg.cfgs["D" if "16" in name else "B"]
    narrow = [layer if isinstance(layer, str) else layer // share for layer in layers]
    features = models.vgg.make_layers(narrow, batch_norm=name.endswith("_bn"))
    for module in features:
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)  # pyright: ignore[reportArgumentType]
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # pyright: ignore[reportArgumentType]
    return features.eval()


def like_vgg(name: str, **settings: Any) -> ConvAutoencoder:
    backbone, _, norm = name.partition("_")
    layers = BACKBONES[backbone]["layers_per_block"]
    return ConvAutoencoder(
        block_out_channels=widths(backbone, 16), layers_per_block=layers, batch_norm=bool(norm), **settings
    ).eval()


@pytest.mark.parametrize("name", ["vgg13", "vgg13_bn", "vgg16", "vgg16_bn"])
def test_with_the_weights_of_torchvision_the_encoder_makes_what_torchvision_makes(name: str):
    features, model = of_vgg(name), like_vgg(name, data_range="imagenet")
    copy_features(features.state_dict(), model)
    pixels = torch.rand(1, 3, 64, 64)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    standardised = (pixels - mean[:, None, None]) / deviation[:, None, None]
    with torch.no_grad():
        expected = features(standardised)
        torch.testing.assert_close(model.from_unit(pixels), standardised, rtol=0, atol=1e-6)
        encoded = model.encode(standardised)
    assert torch.equal(encoded.latents, expected) and encoded.indices is not None
    assert [tuple(where.shape[1:]) for where in encoded.indices] == [
        (4, 32, 32), (8, 16, 16), (16, 8, 8), (32, 4, 4), (32, 2, 2)
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["vgg13", "vgg13_bn", "vgg16", "vgg16_bn"])
def test_at_whole_width_every_layer_has_torchvisions_shape(name: str):
    backbone, _, norm = name.partition("_")
    with torch.device("meta"):
        theirs = getattr(models, name)(weights=None, init_weights=False).features.state_dict()
        model = ConvAutoencoder(**BACKBONES[backbone], batch_norm=bool(norm))
    ours = model.encoder.state_dict()
    assert [value.shape for value in ours.values()] == [value.shape for value in theirs.values()]
    assert model.latent_shape == (512, 7, 7)


@pytest.mark.parametrize(("data_range", "channels"), [("unit", 3), ("symmetric", 3), ("unit", 1), ("imagenet", 1)])
def test_other_ranges_and_grey_give_what_torchvision_makes_of_the_same_image(data_range: str, channels: int):
    features, model = of_vgg("vgg13"), like_vgg("vgg13", in_channels=channels, data_range=data_range)
    copy_features(features.state_dict(), model)
    pixels = torch.rand(1, channels, 32, 32)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = features[:2]((pixels.expand(-1, 3, -1, -1) - mean[:, None, None]) / deviation[:, None, None])
        made = next(iter(model.encoder))[:2](model.from_unit(pixels))  # pyright: ignore[reportIndexIssue]
    inside = (..., slice(1, -1), slice(1, -1))  # zeros around the border are another colour in each range
    torch.testing.assert_close(made[inside], expected[inside], rtol=1e-4, atol=1e-4)


def test_weights_of_another_width_or_out_of_reach_are_refused_in_one_sentence(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match=r"vgg13 with --width-factor 1 and --levels 5, whose block_out_channels are"):
        load_torchvision_weights(tiny_conv_autoencoder(), "vgg13")
    with torch.device("meta"):
        model = ConvAutoencoder(**BACKBONES["vgg13"])
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    # urllib keeps the opener of its first call, with the proxies of that time, for the whole process.
    monkeypatch.setattr(urllib.request, "_opener", None)
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with pytest.raises(FileNotFoundError, match=r"vgg13_bn weights are not in the cache .*--no-torchvision-weights"):
        load_torchvision_weights(model, "vgg13")


def test_unpooling_puts_values_where_the_maxima_stood_as_torch_does():
    grid = torch.rand(2, 3, 8, 6)
    pooled, indices = nn.MaxPool2d(2, return_indices=True)(grid)
    doubled = unpool(pooled, indices)
    assert torch.equal(doubled, nn.MaxUnpool2d(2)(pooled, indices))
    kept = doubled != 0
    assert torch.equal(doubled[kept], grid[kept]) and kept.sum() == pooled.numel()


def test_without_places_each_value_goes_to_the_upper_left_corner_of_its_square():
    pooled = torch.arange(1.0, 7.0).reshape(1, 1, 2, 3)
    by_hand = torch.zeros(1, 1, 4, 6)
    by_hand[0, 0, 0, :] = torch.tensor([1.0, 0, 2, 0, 3, 0])
    by_hand[0, 0, 2, :] = torch.tensor([4.0, 0, 5, 0, 6, 0])
    assert torch.equal(unpool(pooled, None), by_hand)
    corners = torch.tensor([[0, 2, 4], [12, 14, 16]]).expand(1, 1, 2, 3)  # 6 pixels a row
    assert torch.equal(nn.MaxUnpool2d(2)(pooled, corners), by_hand)


def test_the_places_of_the_maxima_go_around_the_latents_and_transposed_convolutions_have_none():
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        model = tiny_conv_autoencoder()
        encoded = model.encode(images)
        whole, alone = model(images).sample, model.decode(encoded.latents).sample
        assert torch.equal(whole, model.decode(encoded.latents, encoded.indices).sample)
        assert not torch.allclose(whole, alone, atol=1e-3)
        assert encoded.indices is not None
        corners = [torch.zeros_like(where) for where in encoded.indices]
        for level, where in enumerate(corners):
            side = 16 >> level
            rows = torch.arange(0, side, 2)
            where += rows[:, None] * side + rows
        assert torch.equal(alone, model.decode(encoded.latents, corners).sample)
        plain = tiny_conv_autoencoder(upsampling="transpose")
        encoded = plain.encode(images)
        assert encoded.indices is None
        assert torch.equal(plain(images).sample, plain.decode(encoded.latents).sample)


@pytest.mark.parametrize("upsampling", ["unpool", "transpose"])
@pytest.mark.parametrize("settings", [{}, {"latent_channels": 4, "variational": True}, {"batch_norm": False}])
def test_every_parameter_learns_and_saving_and_loading_keeps_every_bit(upsampling: str, settings: Any, tmp_path):
    model = tiny_conv_autoencoder(upsampling=upsampling, **settings).train()
    images = torch.rand(4, 3, 16, 16)
    noise = torch.randn(4, *model.latent_shape) if settings.get("variational") else None
    output = model(images, noise)
    loss = output.sample.square().mean() + (0 if output.log_variance is None else output.log_variance.mean())
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    if settings.get("batch_norm", True):  # else the units of a few weights may all be off in these few images
        assert [name for name, p in model.named_parameters() if p.ndim > 1 and not (p.grad != 0).any()] == []  # pyright: ignore[reportOptionalOperand]
    model.eval().save_pretrained(tmp_path)
    again = ConvAutoencoder.from_pretrained(tmp_path)
    assert not again.training
    with torch.no_grad():
        assert torch.equal(again(images).sample, model(images).sample)


def test_the_decoder_mirrors_the_encoder_layer_by_layer():
    with torch.device("meta"):
        model = ConvAutoencoder(**BACKBONES["vgg16"], batch_norm=False)

    def convolutions(module: nn.Module) -> list[tuple[int, int]]:
        return [(m.in_channels, m.out_channels) for m in module.modules() if isinstance(m, nn.Conv2d)]

    down = [pair for level in model.encoder for pair in convolutions(level)]
    up = [pair for level in reversed(model.decoder) for pair in convolutions(level)]
    assert len(down) == 13
    assert [(b, a) for a, b in [*up, *convolutions(model.conv_out)]] == down[::-1]


def test_noise_moves_a_variational_sample_by_its_deviation():
    model = tiny_conv_autoencoder(variational=True, latent_channels=4, upsampling="transpose")
    images, noise = torch.rand(1, 3, 16, 16), torch.randn(1, 4, 4, 4)
    with torch.no_grad():
        encoded = model.encode(images)
        assert encoded.log_variance is not None
        sample = encoded.latents + encoded.log_variance.exp().sqrt() * noise
        torch.testing.assert_close(model(images, noise).sample, model.decode(sample).sample)
        assert torch.equal(model(images).sample, model.decode(encoded.latents).sample)
        assert torch.equal(model(images, noise).latents, encoded.latents)
    with pytest.raises(ValueError, match="noise is for a variational model"):
        tiny_conv_autoencoder()(images, noise)


@pytest.mark.parametrize("data_range", ["unit", "symmetric", "imagenet"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_survive_the_way_to_the_models_range_and_back(data_range: str, channels: int):
    model = tiny_conv_autoencoder(data_range=data_range, in_channels=channels)
    pixels = torch.arange(256.0).reshape(1, 16, 16).expand(channels, -1, -1) / 255
    there = model.from_unit(pixels)
    torch.testing.assert_close(model.to_unit(there), pixels, rtol=0, atol=1e-6)
    assert (255 * model.to_unit(there)).round().equal(255 * pixels)
    mean, deviation = channel_range(data_range, channels)
    assert there[:, 0, 0].tolist() == pytest.approx([-m / d for m, d in zip(mean, deviation, strict=True)])
    assert (model.to_unit(10 + there) == 1).all()


@pytest.mark.parametrize(
    ("activation", "data_range"),
    [("none", "unit"), ("none", "symmetric"), ("none", "imagenet"), ("sigmoid", "unit"), ("tanh", "symmetric")],
)
def test_an_activation_that_can_say_the_data_is_taken_and_stays_in_its_range(activation: str, data_range: str):
    model = tiny_conv_autoencoder(output_activation=activation, data_range=data_range)
    with torch.no_grad():
        made = model.decode(100 * torch.randn(2, 12, 4, 4)).sample
    least, most = {"none": (-1e9, 1e9), "sigmoid": (0, 1), "tanh": (-1, 1)}[activation]
    assert made.min() >= least and made.max() <= most
    if activation == "none":
        assert made.abs().max() > 3


@pytest.mark.parametrize(
    ("activation", "data_range", "reason"),
    [
        ("sigmoid", "symmetric", r"makes 0\.\.1, but data of range symmetric hold -1\.\.1: it could not produce"),
        ("sigmoid", "imagenet", r"hold -2\.12\.\.2\.64: it could not produce all pixels; none fits"),
        ("tanh", "unit", r"hold 0\.\.1: some of its outputs would be no pixels"),
        ("tanh", "imagenet", "it could not produce all pixels"),
        ("relu", "unit", "output_activation must be among none, sigmoid, tanh, got 'relu'"),
        ("none", "bytes", "data_range must be among unit, symmetric, imagenet, got 'bytes'"),
    ],
)
def test_an_activation_that_does_not_fit_the_data_is_refused_with_the_reason(activation, data_range, reason):
    with pytest.raises(ValueError, match=reason):
        check_activation(activation, data_range)
    with pytest.raises(ValueError, match=reason):
        ConvAutoencoder(output_activation=activation, data_range=data_range)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"sample_size": 100}, "sample_size must be a multiple of 32, got 100"),
        ({"in_channels": 4}, "in_channels must be 1 or 3, got 4"),
        ({"layers_per_block": (2, 2)}, "must hold one number for each level"),
        ({"upsampling": "nearest"}, "upsampling must be among unpool, transpose, got 'nearest'"),
        ({"latent_channels": 0}, "latent_channels must be a whole number in 1..4096, got 0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(settings: Any, reason: str):
    with pytest.raises(ValueError, match=reason):
        ConvAutoencoder(**settings)


def test_images_latents_and_places_of_other_shapes_are_refused():
    model, plain = tiny_conv_autoencoder(), tiny_conv_autoencoder(upsampling="transpose")
    with pytest.raises(ValueError, match=r"\[B, 3, H, W\] with H and W divisible by 4, got \[1, 3, 10, 16\]"):
        model.encode(torch.rand(1, 3, 10, 16))
    with pytest.raises(ValueError, match=r"latents must be \[B, 12, h, w\]"):
        model.decode(torch.rand(1, 3, 4, 4))
    with pytest.raises(ValueError, match="one tensor for each of 2 levels, got 0"):
        model.decode(torch.rand(1, 12, 4, 4), [])
    with pytest.raises(ValueError, match="indices are for upsampling 'unpool'"):
        plain.decode(torch.rand(1, 12, 4, 4), [])


def test_gradient_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointing in (False, True):
        model = tiny_conv_autoencoder(batch_norm=False).train()
        if checkpointing:
            model.enable_gradient_checkpointing()
        torch.manual_seed(1)
        model(torch.rand(2, 3, 16, 16)).sample.square().mean().backward()
        gradients.append([p.grad for p in model.parameters()])
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("batch_norm", [False, True])
def test_an_untrained_model_begins_near_mid_grey_with_maps_that_neither_vanish_nor_explode(batch_norm: bool):
    torch.manual_seed(0)
    for data_range in ("unit", "symmetric", "imagenet"):
        model = ConvAutoencoder(
            sample_size=64,
            block_out_channels=(16, 32, 64, 64, 64),
            batch_norm=batch_norm,
            data_range=data_range,
        )
        with torch.no_grad():
            output = model(model.from_unit(torch.rand(4, 3, 64, 64)))
        assert 0.1 < output.latents.std() < 10
        middle = model.from_unit(torch.full((3, 1, 1), 0.5))
        assert ((output.sample - middle).abs().mean(dim=(0, 2, 3)) < 0.5).all()
