"""Height and width of spectrograms: one number or HEIGHTxWIDTH, and multiples of what the levels halve."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import tyro

from echoform_train.engine.resolution import (
    PRESET_HALVING,
    Halving,
    OptionalResolution,
    Resolution,
    parse_resolution,
    resolution_of,
    shown_size,
    sides_of,
)
from echoform_train.latent_diffusion.denoiser_size import fitting_window
from echoform_train.latent_diffusion.first_stage_config import image_halving
from echoform_train.trainers import kl_vae, ldm, vq_vae


@dataclass(frozen=True)
class Flags:
    """Settings as commands have them."""

    resolution: Resolution = 64
    """Size."""
    other: OptionalResolution = None
    """Size, or None."""


@pytest.mark.parametrize(
    ("text", "canonical", "sides"),
    [
        ("64", 64, (64, 64)),
        ("64x64", 64, (64, 64)),
        ("64x128", "64x128", (64, 128)),
        ("128X64", "128x64", (128, 64)),
        ("0051x017", "51x17", (51, 17)),
    ],
)
def test_a_size_is_one_number_or_height_times_width(text, canonical, sides):
    assert parse_resolution(text) == canonical
    assert sides_of(canonical) == sides_of(text) == sides
    assert resolution_of(*sides) == canonical
    assert tyro.cli(Flags, args=["--resolution", text, "--other", text]) == Flags(canonical, canonical)


@pytest.mark.parametrize("text", ["", "x", "64x", "x64", "64x128x3", "64,128", "6.4", "sixty", "64 128", "1e3"])
def test_anything_else_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match=r"HEIGHTxWIDTH .* such as 64x128, got"):
        sides_of(text)
    # On the command line it is a command that refuses it.
    with pytest.raises(ValueError, match="--resolution must be one number"):
        sides_of(tyro.cli(Flags, args=["--resolution", text]).resolution)


@pytest.mark.parametrize("value", [True, 64.0, (64, 128), None])
def test_from_python_a_size_is_a_number_or_a_text(value):
    with pytest.raises(ValueError, match="--resolution must be one number"):
        sides_of(value)


def test_none_is_a_word_only_where_a_size_is_optional():
    assert tyro.cli(Flags, args=["--other", "None"]).other is None
    with pytest.raises(ValueError, match="got 'None'"):
        sides_of(tyro.cli(Flags, args=["--resolution", "None"]).resolution)


@pytest.mark.parametrize(
    ("height", "width", "proposed"),
    [
        (51, 17, "48x16 (nearest) or 64x32 (none smaller)"),
        (100, 75, "96x80 (nearest) or 112x80 (none smaller)"),
        (75, 100, "80x96 (nearest) or 80x112 (none smaller)"),
        (62, 64, "64 resizes"),
        (3, 3, "16 resizes"),
    ],
)
def test_a_size_that_the_levels_cannot_halve_is_refused_with_sizes_that_they_can(height, width, proposed):
    with pytest.raises(ValueError, match="must be multiples of 16, because the levels halve them, got") as error:
        Halving(16, "the levels", 16).check(height, width)
    assert f"--resolution {proposed}" in str(error.value) and f"{height}x{width}" in str(error.value)


def test_a_first_stage_proposes_sizes_that_a_denoiser_can_halve_further():
    with pytest.raises(ValueError, match=r"multiples of 4, .* got 51x17 .* --resolution 48x16 \(nearest\) or 64x32"):
        image_halving(vq_vae.PRESETS["cpu"]).check(51, 17)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (48, 16), (128, 64), (256, 112)])
def test_sizes_that_the_levels_can_halve_pass(height, width):
    Halving(16, "the levels", 16).check(height, width)


def test_a_message_says_which_side_is_which():
    assert shown_size(64, 64) == "64x64"
    assert shown_size(64, 128) == "64x128 (height x width)"


def test_the_divisor_of_the_presets_is_that_of_the_smallest_one():
    for first_stage in (vq_vae, kl_vae):
        divisors = [
            image_halving(first_stage.PRESETS[name]).divisor * 2 ** (len(ldm.PRESETS[name].block_out_channels) - 1)
            for name in ldm.PRESETS
        ]
        assert min(divisors) == divisors[0] == PRESET_HALVING.divisor


@pytest.mark.parametrize(
    ("sides", "kinds", "expected"),
    [
        ((16, 16), ("window", "axial"), 8),
        ((4, 4), ("window", "axial"), 8),  # one window
        ((12, 4), ("window", "axial", "axial"), 6),
        ((64, 28), ("window", "axial", "axial"), 4),
        ((20, 20), ("window", "window"), 5),
        ((13, 26), ("axial", "none"), 8),
        ((13, 26), ("window",), 1),
    ],
)
def test_windows_are_the_largest_that_tile_the_latents(sides, kinds, expected):
    window = fitting_window(sides, kinds, 8)
    assert window == expected
    for level in [level for level, kind in enumerate(kinds) if kind == "window"]:
        assert all(side >> level <= window or (side >> level) % window == 0 for side in sides)
