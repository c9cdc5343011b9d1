"""Checks of architectures and facts for those who build models and pipelines; this file does not travel.

The classes that travel call it where echoform is installed. Without echoform nothing is built, only loaded, and then
they check by themselves what would exhaust memory or make images without a word of warning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch

from echoform.depth_autoencoder import PATCH
from echoform.depth_units import ENCODINGS, MAX_UNITS, MM_PER, RESIZE_RULES, range_in_units
from echoform.model_checks import check_weights


def check_component(name: str, component: Any) -> None:
    """Check that a component of a pipeline is given and that its weights are complete and finite.

    Raises:
        ValueError: If it is None, or weights are missing, NaN or infinite.
    """
    if component is None:
        raise ValueError(f"{name} must be given, got None")
    if isinstance(component, torch.nn.Module):
        check_weights(component)


def check_depth_parts(autoencoder: Any, facts: Mapping[str, Any]) -> None:
    """Check the model and the description of the sensor that a `DepthAutoencoderPipeline` is made of.

    Raises:
        ValueError: If one is missing, or does not fit one channel of 16 bits.
    """
    check_component("autoencoder", autoencoder)
    if (channels := autoencoder.config.input_channels) != 1:
        raise ValueError(f"autoencoder must have one channel, because depth has one, got {channels}")
    range_in_units(facts["depth_range_mm"], facts["units_per_mm"])
    check_depth_reading(facts)
    invalid_values = facts["invalid_values"]
    units = [str(unit) for unit in invalid_values] if isinstance(invalid_values, Mapping) else []
    if "0" not in units or not all(re.fullmatch("[0-9]{1,5}", unit) and int(unit) <= MAX_UNITS for unit in units):
        raise ValueError(f"invalid_values must hold '0' and be units in 0..{MAX_UNITS}, got {units!s:.80}")


def check_depth_reading(facts: Mapping[str, Any]) -> None:
    """Check how stored numbers become units, and how images are resized.

    Raises:
        ValueError: If there is no such unit, encoding or rule.
    """
    for name, choices in (("float_unit", [None, *MM_PER]), ("encoding", ENCODINGS), ("resize_rule", RESIZE_RULES)):
        if not isinstance(facts[name], (str, type(None))) or facts[name] not in choices:
            raise ValueError(f"{name} must be among {', '.join(map(str, choices))}, got {facts[name]!r:.80}")


def check_depth_encoder(config: Mapping[str, Any]) -> None:
    """Check that the settings of a `DepthEncoder` or of a decoder, each within its limits, fit together.

    Raises:
        ValueError: If they do not, or describe no sensor.
    """
    size, channels, unit = config["sample_size"], config["input_channels"], 8 * PATCH
    if size % unit:
        raise ValueError(f"sample_size must be a multiple of {unit}, got {size}")
    if channels not in (1, 3):
        raise ValueError(f"input_channels must be 1 or 3, got {channels!r:.80}")
    _check_stages(config)
    # The bottleneck must be able to make an embedding of this size.
    latent_dim, pixels, positions = config["latent_dim"], channels * size**2, (size // 16) ** 2
    if config["bottleneck"] not in ("map", "cosine"):
        raise ValueError(f"bottleneck must be map or cosine, got {config['bottleneck']!r:.80}")
    if config["bottleneck"] == "cosine" and latent_dim > pixels:
        raise ValueError(f"latent_dim must be at most {pixels}, what an image holds, got {latent_dim}")
    if config["bottleneck"] == "map" and latent_dim % positions:
        raise ValueError(f"latent_dim must be a multiple of {positions}, (sample_size / 16)^2, got {latent_dim}")
    # Inside a pipeline and in a decoder, the sensor is not described.
    depth_range_mm, units_per_mm = config.get("depth_range_mm"), config.get("units_per_mm")
    if depth_range_mm is not None or units_per_mm is not None:
        range_in_units(depth_range_mm, units_per_mm)
        check_depth_reading(config)


def _check_stages(config: Mapping[str, Any]) -> None:
    """The width of each stage must suit its norms, its attention heads and the next stage."""
    heads, groups = config["num_attention_heads"], config["norm_num_groups"]
    widths, layers, attention = config["block_out_channels"], config["layers_per_block"], config["attention"]
    if not isinstance(attention, (list, tuple)) or not all(isinstance(attends, bool) for attends in attention):
        raise ValueError(f"attention must be true or false for each stage, got {attention!r:.80}")
    for name, values in (("widths", widths), ("layers_per_block", layers), ("attention", attention)):
        if len(values) != 4:
            raise ValueError(f"{name} must hold one value for each of 4 stages, got {tuple(values)}")
    for width, attends in zip(widths, attention, strict=True):
        if width % groups:
            raise ValueError(f"widths must be divisible by norm_num_groups ({groups}), got {width}")
        if attends and width % heads:
            raise ValueError(f"widths of stages that attend must be divisible by {heads} heads, got {width}")
    for wide, wider in pairwise(widths):
        if 4 * wide % wider:
            raise ValueError(f"4 times each width must be a multiple of the next one, got {wide} and {wider}")


def check_doppler_unet(config: Mapping[str, Any]) -> None:
    """Check that the settings of a `DopplerUNet2DModel`, each of a kind that exists, fit together.

    Raises:
        ValueError: If they do not.
    """
    attention_types, groups, heads = config["attention_types"], config["norm_num_groups"], config["num_attention_heads"]
    # Widths must suit group norm, and rotary positions in every head of attention.
    for channels, attention_type in zip(config["block_out_channels"], attention_types, strict=True):
        if channels % groups:
            raise ValueError(
                f"each of block_out_channels must be divisible by norm_num_groups ({groups}), got {channels}"
            )
        if attention_type != "none" and channels % (4 * heads):
            raise ValueError(
                f"channels of levels that attend must be divisible by 4 * num_attention_heads ({4 * heads}), "
                f"got {channels}"
            )
    if "axial" in attention_types and heads % 2:
        raise ValueError(
            f"axial attention gives half of the heads to each axis, so their number must be even, got {heads}"
        )
    if config["conditioning"] == "cross-attention":
        if set(attention_types) == {"none"}:
            raise ValueError(f"cross-attention needs a level that attends, got attention_types {attention_types}")
        if config["label_tokens"] < 2:
            raise ValueError(f"label_tokens must be at least 2, got {config['label_tokens']}")


def check_colormap(colormap: Any, image_channels: int) -> None:
    """Check that the colours of a `VQLDMDopplerPipeline` fit its first stage.

    Args:
        colormap: Entry of its config; None if images are grey or RGB.
        image_channels: Channels that the first stage decodes to.

    Raises:
        ValueError: If they do not, or are no table of 256 colours.
    """
    if colormap is None:
        return
    digits = str(colormap.get("rgb_hex")) if isinstance(colormap, dict) else ""
    if image_channels != 1:
        raise ValueError(f"a colormap paints one-channel images, got {image_channels} channels")
    if not re.fullmatch("[0-9a-fA-F]{1536}", digits):
        raise ValueError(f"rgb_hex must hold 256 colours of six hex digits, got {len(digits)} digits")
