"""Encoded images to one array: decoded, compared, turned into indices and resized, each file read once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from echoform_train.data.colormap import COLORMAPS, MAX_RESIDUAL, detect, residual, to_index
from echoform_train.data.image_check import BadFile, BadFileError, decode_image
from echoform_train.data.layout import ImageFile

_SAMPLE = 48


@dataclass(frozen=True)
class Pixels:
    """Images of one size and one kind."""

    images: tuple[ImageFile, ...]
    pixels: np.ndarray
    """uint8 [N, C, H, W]; C is 1 for indices into a colour map, 3 for RGB."""
    bad_files: tuple[BadFile, ...]
    native_size: tuple[int, int]
    """Height and width of the files, pixels."""
    colormap: str | None
    residual: float
    """Mean distance to the colour map (to the nearest known one where none fits), RGB units."""


@dataclass(frozen=True)
class _Kind:
    """What the images of a source have in common, by the majority of a sample."""

    shape: tuple[int, ...]
    colormap: str | None
    residual: float
    max_residual: float = np.inf
    gray_allowed: bool = True


def read_pixels(images: Sequence[ImageFile], *, colormap: str = "auto", resolution: int | None = None) -> Pixels:
    """Decode, check, convert and resize images.

    The colour map is that which explains most of some 50 images from all over the source. Files that differ from most
    (another size, greyscale among colour, another colour map) come back as bad files, as do those that cannot be
    decoded.

    Args:
        images: What to read; each file is read once.
        colormap: "auto" detects, "none" keeps RGB, or the name of a map.
        resolution: Height and width to resize to, pixels; None keeps the size. Indices are resized, never painted
            colours: by area mean where it divides the size, else antialiased bicubic.

    Raises:
        ValueError: If colormap or resolution are out of range, or no image can be used at all.
    """
    if colormap not in ("auto", "none", *COLORMAPS):
        raise ValueError(f"colormap must be auto, none or one of {', '.join(COLORMAPS)}, got {colormap!r}")
    if resolution is not None and resolution < 1:
        raise ValueError(f"resolution must be positive, got {resolution}")
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        places = sorted({round(place) for place in np.linspace(0, len(images) - 1, min(_SAMPLE, len(images)))})
        sample = dict(zip(places, pool.map(_decode, [images[place] for place in places]), strict=True))
        kind = _majority([decoded for decoded in sample.values() if isinstance(decoded, np.ndarray)], colormap)
        if kind is None:
            raise ValueError(f"no image can be used, for example {next(d for d in sample.values())}")

        height, width = (resolution, resolution) if resolution else kind.shape[:2]
        channels = 1 if kind.colormap else 3
        pixels = np.empty((len(images), channels, height, width), dtype=np.uint8)

        def convert(place: int) -> BadFile | float:
            decoded = sample.pop(place, None)
            if decoded is None:
                decoded = _decode(images[place])
            if isinstance(decoded, BadFile):
                return decoded
            scalar, distance, reason = _to_kind(decoded, kind)
            if reason is not None:
                return BadFile(images[place].file, reason)
            pixels[place] = _resize(scalar, height, width)
            return distance

        results = list(pool.map(convert, range(len(images))))

    bad_files = tuple(result for result in results if isinstance(result, BadFile))
    used = [place for place, result in enumerate(results) if not isinstance(result, BadFile)]
    distances = [result for result in results if not isinstance(result, BadFile)]
    return Pixels(
        images=tuple(images[place] for place in used),
        pixels=pixels if len(used) == len(images) else pixels[used],
        bad_files=bad_files,
        native_size=(kind.shape[0], kind.shape[1]),
        colormap=kind.colormap,
        residual=float(np.mean(distances)) if kind.colormap and distances else kind.residual,
    )


def _decode(image: ImageFile) -> np.ndarray | BadFile:
    try:
        return decode_image(image.read(), image.file)
    except BadFileError as error:
        return error.bad


def _majority(sample: list[np.ndarray], colormap: str) -> _Kind | None:
    if not sample:
        return None
    shape = Counter(image.shape for image in sample).most_common(1)[0][0]
    sample = [image for image in sample if image.shape == shape]
    if len(shape) == 2:
        if colormap not in ("auto", "none", "gray"):
            raise ValueError(f"greyscale images have the colour map gray, so colormap cannot be {colormap!r}")
        return _Kind(shape, "gray", 0.0)
    matches = [detect(image) for image in sample]
    name, votes = Counter(match.name for match in matches).most_common(1)[0]
    if colormap == "none" or (colormap == "auto" and (name is None or votes <= len(sample) / 2)):
        mean = float(np.mean([match.residual for match in matches]))
        return _Kind(shape, None, mean, gray_allowed=sum(map(_is_gray, sample)) > len(sample) / 2)
    name = colormap if colormap != "auto" else name
    assert name is not None
    usual = float(np.median([_painted_residual(image, to_index(image, name), name) for image in sample]))
    return _Kind(shape, name, usual, max_residual=max(MAX_RESIDUAL, 3 * usual))


def _painted_residual(rgb: np.ndarray, index: np.ndarray, name: str) -> float:
    """Residual over every 7th pixel: enough to tell one picture."""
    return residual(rgb.reshape(-1, 3)[::7], index.reshape(-1)[::7], name)


def _to_kind(decoded: np.ndarray, kind: _Kind) -> tuple[np.ndarray, float, str | None]:
    """The picture as the others are, its distance from the colour map, and why it cannot be used."""
    reason = _difference(decoded, kind)
    if reason is not None:
        return decoded, 0.0, reason
    if kind.colormap is None or decoded.ndim == 2:
        return decoded, 0.0, None
    index = to_index(decoded, kind.colormap)
    distance = _painted_residual(decoded, index, kind.colormap)
    if distance > kind.max_residual:
        gray = ", and is greyscale" if kind.colormap != "gray" and _is_gray(decoded) else ""
        return (
            decoded,
            distance,
            (
                f"all images must have one colour map, it is {distance:.0f} RGB units from {kind.colormap}, "
                f"the map of most others{gray}"
            ),
        )
    return index, distance, None


def _difference(decoded: np.ndarray, kind: _Kind) -> str | None:
    size, usual = f"{decoded.shape[1]}x{decoded.shape[0]}", f"{kind.shape[1]}x{kind.shape[0]}"
    if size != usual:
        return f"all images must have one size, it is {size}, most are {usual}"
    if decoded.ndim != len(kind.shape):
        what, most = ("greyscale", "colour") if decoded.ndim == 2 else ("colour", "greyscale")
        return f"all images must be of one kind, it is {what}, most are {most}"
    if not kind.gray_allowed and _is_gray(decoded):
        return "all images must be of one kind, it is greyscale, most are colour"
    return None


def _is_gray(rgb: np.ndarray) -> bool:
    return bool((rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 1] == rgb[..., 2]).all())


def _resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 [H, W] or [H, W, 3] to uint8 [1 or 3, height, width]."""
    if pixels.shape[:2] != (height, width):
        whole = pixels.shape[0] % height == 0 and pixels.shape[1] % width == 0
        method = Image.Resampling.BOX if whole else Image.Resampling.BICUBIC
        pixels = np.asarray(Image.fromarray(pixels).resize((width, height), method))
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
