"""Depth images as whole units of a sensor: read from files and arrays, resized, and mapped to the model's range.

The text of this file stands in the saved copy of the pipeline's file. transformers copies the file itself.
"""

from __future__ import annotations

import math
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

DepthImage = str | Path | Image.Image | np.ndarray | Tensor
DepthImages = DepthImage | Sequence[DepthImage]
DepthRange = Mapping[str, float]
Size = tuple[int, int]

MAX_UNITS = 65535  # largest of 16 bits
MAX_PIXELS = 4096 * 4096  # most of an image
MM_PER = {"mm": 1, "cm": 10, "m": 1000}
ENCODINGS = {"linear": 2**63 - 1, "rotated": MAX_UNITS, "disparity": 2047}  # largest numbers, see `decoded_units`
RESIZE_RULES = {"half": 0.5 - 1e-5, "any": 0.0, "nearest": None}  # weight that readings exceed, see `resize_depth`


def range_in_units(depth_range_mm: Mapping[str, float] | None, units_per_mm: float | None) -> tuple[int, int]:
    """First and last whole unit, both at least 1, of a range {"min": ..., "max": ...} in millimetres.

    Raises ValueError if the range is not 0 <= min < max, or holds fewer than two values of 16 bits.
    """
    if not isinstance(units_per_mm, (int, float)) or not 0 < units_per_mm < math.inf:
        raise ValueError(f"units_per_mm must be greater than 0, got {units_per_mm!r:.80}")
    if not isinstance(depth_range_mm, Mapping) or set(depth_range_mm) != {"min", "max"}:
        raise ValueError(f"depth_range_mm must hold min and max, got {depth_range_mm!r:.80}")
    if not all(isinstance(value, (int, float)) for value in depth_range_mm.values()):
        raise ValueError(f"depth_range_mm must hold numbers, got {depth_range_mm!r:.80}")
    low_mm, high_mm = depth_range_mm["min"], depth_range_mm["max"]
    if not 0 <= low_mm < high_mm < math.inf:
        raise ValueError(f"depth_range_mm must be 0 <= min < max, got {low_mm}..{high_mm}")
    low, high = units_between(low_mm, high_mm, units_per_mm)
    if not low < high <= MAX_UNITS:
        span = f"{low_mm}..{high_mm} mm of {units_per_mm:g} units each"
        raise ValueError(f"depth_range_mm must span at least two of the units 1..{MAX_UNITS}, got {span}")
    return low, high


def units_between(low_mm: float, high_mm: float, units_per_mm: float) -> tuple[int, int]:
    """First and last whole unit of a range, at least 1; the tolerance makes products such as 10 * 0.1 mm whole."""
    return max(math.ceil(low_mm * units_per_mm - 1e-6), 1), math.floor(high_mm * units_per_mm + 1e-6)


def encode_units(units: Tensor, depth_range_mm: DepthRange, units_per_mm: float = 1.0) -> tuple[Tensor, Tensor]:
    """Map depth in the sensor's units to model range, in which `depth_range_mm` becomes -1 and +1, for every image.

    Takes units [..., H, W] of any number type that holds 16 bits; 0 means no reading. Returns depth, float32 of the
    same shape in [-1, 1], and whether there is a reading, bool; one outside the range counts as none, and depth is 0
    there. See `range_in_units` for errors.
    """
    low, high = range_in_units(depth_range_mm, units_per_mm)
    units = units.to(torch.float32)
    valid = (units >= low) & (units <= high)
    depth = (units - low) * (2 / (high - low)) - 1
    return torch.where(valid, depth, 0.0), valid


def decode_units(
    depth: Tensor, depth_range_mm: DepthRange, units_per_mm: float = 1.0, valid: Tensor | None = None
) -> Tensor:
    """Map model range back to the sensor's units: the inverse of `encode_units`, within 0.02 units.

    Takes depth of any shape, of which values beyond [-1, 1] become the ends of the range, and whether there is a
    reading, bool of the same shape; None is everywhere. Returns float32, not rounded, 0 where there is no reading.
    """
    low, high = range_in_units(depth_range_mm, units_per_mm)
    units = low + (depth.to(torch.float32).clamp(-1, 1) + 1) * ((high - low) / 2)
    return units if valid is None else torch.where(valid.to(torch.bool), units, 0.0)


def units_in_range(units: np.ndarray, facts: Mapping[str, Any]) -> np.ndarray:
    """Units with 0 in place of readings outside the range; raises ValueError if there are readings, but none inside."""
    low, high = range_in_units(facts["depth_range_mm"], facts["units_per_mm"])
    inside = np.where((units >= low) & (units <= high), units, 0)
    if units.any() and not inside.any():
        span, found = "{min:g}..{max:g} mm".format(**facts["depth_range_mm"]), units[units != 0] / facts["units_per_mm"]
        raise ValueError(
            f"depth must have readings in {span}, they are {found.min():g}..{found.max():g} mm; which unit?"
        )
    return inside


def resized_units(units: np.ndarray, size: Size, facts: Mapping[str, Any]) -> Tensor:
    """Units [H, W] as whole float32 [1, 1, *size]; raises ValueError if the resize rule leaves no reading of some."""
    resized = resize_depth(torch.from_numpy(units).float()[None, None], size, facts["resize_rule"]).round()
    if units.any() and not resized.any():
        what = f"{(units != 0).mean():.2%} of the pixels have one, and in {size} none"
        raise ValueError(f"depth has too few readings for resize_rule {facts['resize_rule']!r}: {what}")
    return resized


def resize_depth(units: Tensor, size: Size, rule: str = "half") -> Tensor:
    """Resize depth images so that no reading is mixed with "no reading", which is 0.

    Along each axis the mean over the area where it gets smaller, linear interpolation where it gets larger, both over
    readings alone (normalised convolution: Knutsson and Westin 1993). By the rule "half" a pixel has a reading where
    readings have at least half of the weight, by "any" where they have some, which keeps sparse ones. By "nearest" it
    is the pixel at its centre, so that nothing is averaged.

    Takes units [B, 1, H, W] of any number type, and a height and width of at least 1. Returns float32 [B, 1, *size],
    not rounded; the same size comes back unchanged.
    """
    if min(size) < 1 or min(units.shape[-2:]) < 1:
        raise ValueError(f"sides must be at least 1 pixel, got {tuple(units.shape[-2:])} to {tuple(size)}")
    units = units.to(torch.float32)
    if tuple(units.shape[-2:]) == tuple(size):
        return units
    sides, least = list(zip(units.shape[-2:], size, strict=True)), RESIZE_RULES[rule]
    if least is None:
        rows, columns = (((torch.arange(after) + 0.5) * before / after).long() for before, after in sides)
        return units[..., rows[:, None], columns]
    rows, columns = (_resize_weights(*side).to(units.device) for side in sides)
    total, weight = (rows @ one @ columns.T for one in (units, (units != 0).to(units)))
    return torch.where(weight > least, total / weight.clamp(min=1e-12), 0.0)


@lru_cache(maxsize=512)
def _resize_weights(before: int, after: int) -> Tensor:
    """Share of each old pixel in each new one along one axis, float32 [after, before]; rows sum to 1."""
    new, old = torch.arange(after, dtype=torch.float64)[:, None], torch.arange(before, dtype=torch.float64)[None]
    scale = before / after
    if scale > 1:
        overlap = torch.minimum((new + 1) * scale, old + 1) - torch.maximum(new * scale, old)
        return (overlap.clamp(min=0) / scale).float()
    centre = ((new + 0.5) * scale - 0.5).clamp(0, before - 1)
    return (1 - (centre - old).abs()).clamp(min=0).float()


def units_of_image(image: Image.Image) -> np.ndarray:
    """Pixels [H, W] of a PIL depth image as they are: uint16 for mode I;16, int32 for I, float32 for F.

    Raises ValueError if it holds several images, more than MAX_PIXELS, colour or fewer than 16 bits.
    """
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"an image must have at most {MAX_PIXELS:,} pixels, it has {image.width}x{image.height}")
    with suppress(EOFError):  # of going to a second image; counting all could take minutes
        image.seek(1)
        raise ValueError("a file must hold one depth image, it holds several")
    if image.format not in (None, "PNG", "TIFF"):  # PIL stretches 12-bit PGM to 16 bits without a word
        raise ValueError(f"a file of depth must be PNG or TIFF, it is {image.format}")
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        colour = len(image.getbands()) > 1 or image.mode == "P"
        why = "depth has one number per pixel" if colour else "8 bits hold no millimetres: 255 values for metres"
        raise ValueError(f"depth must be 16-bit greyscale, it is of mode {image.mode}; {why}")
    return (pixels := np.array(image)).astype(pixels.dtype.newbyteorder("="), copy=False)


def units_of(image: DepthImage, facts: Mapping[str, Any]) -> np.ndarray:
    """Whole units, int64 [H, W], of anything that `DepthAutoencoderPipeline` takes as one image."""
    if isinstance(image, (str, Path)):
        with opened_image(Path(image)) as opened:
            return units_of(opened, facts)
    if isinstance(image, Image.Image):
        image = units_of_image(image)
    if isinstance(image, Tensor):  # numpy has no bfloat16, and half precision is refused as well
        image = (image.half() if image.dtype == torch.bfloat16 else image).detach().cpu().numpy()
    return decoded_units(np.asarray(image), facts)


@contextmanager
def opened_image(path: Path) -> Iterator[Image.Image]:
    """Open an image file; what PIL raises on a broken one becomes a ValueError that names it."""
    # Most decoders of PIL do not check what they read, and a pipe would be waited for without end.
    builtin = (OSError, EOFError, SyntaxError, TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError)
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: it must be a regular file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PIL warns of what is an error here, or makes no difference
            with Image.open(path) as opened:
                yield opened
    except FileNotFoundError:
        raise
    except (*builtin, MemoryError, struct.error, zlib.error, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: cannot be decoded, it is truncated or no image ({error})") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def decoded_units(pixels: np.ndarray, facts: Mapping[str, Any]) -> np.ndarray:
    """Whole units, int64 [H, W], of stored numbers [H, W] or [1, H, W]; 0 is no reading.

    Floating point is in `float_unit` (None: in units), and may lose at most 1 % of a reading by rounding. Whole numbers
    are units ("linear"), units whose 16 bits are rotated left by 3 ("rotated": SUN RGB-D), or 11-bit disparities of
    Kinect v1 ("disparity": 2047 is no reading; Burrus' formula, openkinect.org/wiki/Imaging_Information).
    """
    pixels = pixels[0] if pixels.ndim == 3 and pixels.shape[0] == 1 else pixels
    if pixels.ndim != 2 or 0 in pixels.shape:
        raise ValueError(f"a depth image must be [H, W] with at least one pixel, got {list(pixels.shape)}")
    if pixels.dtype.kind not in "iuf" or pixels.dtype.itemsize < 2:
        raise ValueError(f"depth must have at least 16 bits, got {pixels.dtype}; 8 bits hold no millimetres")
    per_mm, unit = facts["units_per_mm"], facts["float_unit"]
    if pixels.dtype == np.float16 and unit is None:
        raise ValueError("depth in floating point must have at least 32 bits, got 16, which skip units beyond 2048")
    if np.isinf(pixels).any():
        raise ValueError("depth must be finite, or NaN where there is no reading, got inf")
    if (pixels < 0).any():
        raise ValueError(f"depth must not be negative, got {pixels.min()}; is it uint16 that was read as int16?")
    if pixels.dtype.kind == "f":
        exact = np.nan_to_num(pixels.astype(np.float64), nan=0.0) * (1 if unit is None else per_mm * MM_PER[unit])
        whole = exact.round()
        if (lost := np.abs(whole - exact) > 0.01 * exact).any():
            what = f"{exact[lost][0]:g} would be {whole[lost][0]:g} units of {1 / per_mm:g} mm"
            raise ValueError(f"floating-point depth must lose at most 1 % by rounding, {what}; is it in metres?")
        return np.minimum(whole, 2**40).astype(np.int64)
    whole, encoding = pixels.astype(np.int64), facts["encoding"]
    if whole.max() > ENCODINGS[encoding]:
        raise ValueError(f"depth of the encoding {encoding} must be in 0..{ENCODINGS[encoding]}, got {whole.max()}")
    if encoding == "rotated":
        whole = (whole >> 3 | whole << 13) & MAX_UNITS
    elif encoding == "disparity":
        units = 1000 * per_mm / np.maximum(3.3309495161 - 0.0030711016 * whole, 1e-9)
        whole = np.where((whole > 0) & (units <= MAX_UNITS), units, 0).round().astype(np.int64)
    return whole


def as_list(images: DepthImages) -> list[Any]:
    """One entry per image; files are not opened yet."""
    if isinstance(images, (str, Path, Image.Image)):
        return [images]
    if isinstance(images, (np.ndarray, Tensor)):
        shape = list(images.shape)
        if len(shape) == 2:
            return [images]
        channels_last = len(shape) == 3 and shape[2] in (1, 3, 4) and min(shape[:2]) >= max(2, shape[2])
        if channels_last or not (len(shape) == 3 or (len(shape) == 4 and shape[1] == 1)):
            raise ValueError(f"images must be [H, W], [N, H, W] or [N, 1, H, W], got {shape}; is the last axis colour?")
    items = list(images)
    if not items:
        raise ValueError("images must hold at least one image, got none")
    return items
