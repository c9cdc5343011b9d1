"""Image files as one array: decoded, checked against the majority, turned into indices and resized."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from echoform_train.data.colormap import COLORMAPS, MAX_RESIDUAL, detect, residual, to_index
from echoform_train.data.column_signatures import signature_of
from echoform_train.data.decoding import Decoder
from echoform_train.data.figure_frame import Frame, find_frame, rim
from echoform_train.data.image_check import MAX_SIDE, BadFile, BadFileError, check_resolution
from echoform_train.data.layout import ImageFile
from echoform_train.data.loading import ContentHashes, read_files
from echoform_train.data.model_grid import ModelGrid, find_model_grid
from echoform_train.data.number_files import ARRAY_SUFFIXES, NumberScale, choose_scale
from echoform_train.data.reading import ReadingConfig
from echoform_train.engine.errors import UserError
from echoform_train.engine.resolution import PRESET_HALVING, Halving, shown_size, sides_of

_SAMPLE = 48
_NEARLY = 0.05
"""Share of a side by which images may differ from the usual size if all are resized; two pixels always may."""
_THINNED_PIXELS = 2**20
_FRAME_PIXELS = 2**24


@dataclass(frozen=True)
class Pixels:
    """Decoded images of one size and one kind."""

    images: tuple[ImageFile, ...]
    images_sha256: str
    """Hash of names and content of these files."""
    pixels: np.ndarray
    """uint8 [N, C, H, W]; C is 1 for indices into a colour map, 3 for RGB."""
    signatures: np.ndarray
    """uint8 [N, h, w], see `signature_of`, of the files at their native size."""
    bad_files: tuple[BadFile, ...]
    """Files that cannot be decoded, or differ from most others."""
    native_size: tuple[int, int]
    """Height and width of the files, pixels."""
    other_sizes: int
    """Number of files that differ from it by a few pixels and were resized with all others."""
    colormap: str | None
    """Colour map whose indices the pixels are; None for RGB."""
    residual: float
    """Mean distance to the colour map (for RGB: to the nearest known one), RGB units."""
    axes: dict[str, float] | None
    """Content of axes.json, with the decibels of the lowest and the highest index where flags or files tell them."""
    reading: str
    """How files were read, if not as they are: the box of the data, the scale of numbers ..."""
    notes: tuple[str, ...]
    """What was found in the files, as lines of text."""


@dataclass(frozen=True)
class _Kind:
    """Properties that most images of a source have, measured on a sample."""

    shape: tuple[int, ...]
    colormap: str | None
    residual: float
    max_residual: float = np.inf
    gray_allowed: bool = True
    scale: NumberScale | None = None
    """Scale of numbers; None for pictures of 8 bits."""
    nearest: str | None = None
    """For RGB: the nearest colour map."""


@dataclass(frozen=True)
class _Look:
    """What one image of the sample shows of them."""

    shape: tuple[int, ...]
    colors: np.ndarray
    """Its pixels, uint8 [..., C]; of a large image every n-th one, so that a sample fits into memory."""
    is_gray: bool
    decoded: np.ndarray | None
    """The image itself, unless it is large."""


def read_pixels(
    images: Sequence[ImageFile],
    *,
    colormap: str = "auto",
    resolution: int | str | None = None,
    halving: Halving | None = None,
    native: bool = False,
    reading: ReadingConfig | None = None,
    axes: Mapping[str, float] | None = None,
) -> Pixels:
    """Decode, check, convert and resize images.

    Size, kind and colour map are those of most of about 50 images, spread over the source. Files that differ in one of
    them are bad files, as are files that cannot be decoded.

    Args:
        images: The files to read.
        colormap: "auto" detects, "none" keeps RGB, or the name of a map.
        resolution: Height and width to resize to, at most MAX_SIDE pixels, see `sides_of`; None keeps the size, which
            must then be at most MAX_SIDE. Indices are resized, not painted colours: by the mean over areas if the
            resolution divides the size, else by antialiased bicubic. Files whose size differs by a few pixels are then
            no bad files.
        halving: How often models will halve the images; their size after resizing must allow it.
        native: Resize enlarged pictures to their native grid where resolution is None.
        reading: How files are read.
        axes: Content of axes.json.

    Raises:
        ValueError: If colormap, resolution or size are out of range, or no image of the sample can be decoded.
    """
    if colormap not in ("auto", "none", *COLORMAPS):
        raise UserError(f"colormap must be auto, none or one of {', '.join(COLORMAPS)}, got {colormap!r}")
    if resolution is not None:
        check_resolution(resolution)
        if halving is not None:
            halving.check(*sides_of(resolution))
    reading = reading or ReadingConfig()
    reading.check()
    decode = Decoder(hashes := ContentHashes(), reading)
    # Find the usual size and colour map on images spread over the source.
    sampled = sorted({round(index) for index in np.linspace(0, len(images) - 1, min(_SAMPLE, len(images)))})
    sampled, sample, bad_sample = read_files(sampled, lambda index: _look(decode(images[index])))
    if not sample:
        raise UserError(f"no image can be used, for example {bad_sample[0]}")
    kind = _majority(sample, colormap, images[sampled[0]].file, reading, axes)
    notes = [kind.scale.note] if kind.scale else decode.check_of_pictures()
    # Axes, colour bars and rims around the data would be painted ever after.
    frame = None if kind.scale else _frame(decode, [images[index] for index in sampled], sample, kind)
    if frame is not None:
        notes.append(decode.take_frame(frame, kind.shape[:2]))
    if frame is not None and reading.crop == "auto":
        sampled, sample, _ = read_files(sampled, lambda index: _look(decode(images[index])))
        kind = _majority(sample, colormap, images[sampled[0]].file, reading, axes)
    elif frame is None and reading.crop == "auto":
        notes.append("Crop: the data fill the pictures")
    if kind.nearest not in (None, "gray") and colormap == "auto":
        notes.append(
            f"Nearest colour map: {kind.nearest}; --colormap {kind.nearest} reads the images as painted with it"
        )

    if resolution is None and max(kind.shape[:2]) > MAX_SIDE:
        size = shown_size(*kind.shape[:2])
        raise UserError(f"images larger than {MAX_SIDE}x{MAX_SIDE} must be resized with --resolution, they are {size}")

    height, width = kind.shape[:2] if resolution is None else sides_of(resolution)
    if native and resolution is None and (grid := _model_grid(sample, kind, halving)) is not None:
        height, width = grid.size
        notes.append(grid.note)
    # One array for all images: a list of arrays and their stack would need twice the memory.
    if halving is not None:
        halving.check(height, width)
    pixels = np.empty((len(images), 1 if kind.colormap else 3, height, width), dtype=np.uint8)
    decoded_sample = {index: look.decoded for index, look in zip(sampled, sample, strict=True)}
    of_other_size = np.zeros(len(images), dtype=bool)
    signatures: np.ndarray = np.empty((len(images), *signature_of(np.zeros(kind.shape[:2], np.uint8)).shape), np.uint8)

    def convert(index: int) -> float:
        decoded = decoded_sample.pop(index, None)
        decoded = decode(images[index]) if decoded is None else decoded
        converted, distance = _to_kind(decoded, kind, images[index].file, resized=resolution is not None)
        of_other_size[index] = decoded.shape[:2] != kind.shape[:2]
        if kind.scale is not None:
            pixels[index] = kind.scale.levels(converted, height, width)
            converted = kind.scale.levels(converted, *converted.shape)[0]
        else:
            if frame is None and reading.crop is None:
                _check_rim(converted, decoded, kind, images[index].file)
            pixels[index] = _resize(converted, height, width)
        native = (
            Image.fromarray(converted).resize((kind.shape[1], kind.shape[0])) if of_other_size[index] else converted
        )
        signatures[index] = signature_of(np.asarray(native))
        return distance

    used, distances, bad_files = read_files(range(len(images)), convert)
    return Pixels(
        images=(kept := tuple(images[index] for index in used)),
        images_sha256=hashes.of(kept),
        pixels=pixels if len(used) == len(images) else pixels[used],
        signatures=signatures[used],
        bad_files=tuple(bad_files),
        native_size=(kind.shape[0], kind.shape[1]),
        other_sizes=int(of_other_size[used].sum()),
        colormap=kind.colormap,
        residual=float(np.mean(distances)) if kind.colormap and distances else kind.residual,
        axes=decode.axes(axes, kind.scale),
        reading=decode.described(kind.scale),
        notes=tuple(notes),
    )


def _model_grid(sample: Sequence[_Look], kind: _Kind, halving: Halving | None) -> ModelGrid | None:
    """Size of the native grid of the pictures of the sample, if they were enlarged."""
    shown = [look.decoded for look in sample if look.decoded is not None and look.shape == kind.shape]
    if kind.scale is not None or not shown:
        return None
    if kind.colormap is None:
        level = [np.asarray(Image.fromarray(picture).convert("L")) for picture in shown]
    else:
        level = [picture if picture.ndim == 2 else to_index(picture, kind.colormap) for picture in shown]
    unit = (halving or PRESET_HALVING).proposed_divisor
    return find_model_grid(np.stack(level).astype(np.float32) / 255, np.lcm(unit, PRESET_HALVING.divisor))


def _frame(decode: Decoder, images: Sequence[ImageFile], sample: Sequence[_Look], kind: _Kind) -> Frame | None:
    """What surrounds the data in the pictures of the sample that have the usual size."""
    if decode.reading.crop == "none":
        return None
    usual = [(image, look) for image, look in zip(images, sample, strict=True) if look.shape == kind.shape]
    step = -(-len(usual) // max(3, _FRAME_PIXELS // (kind.shape[0] * kind.shape[1])))
    pictures = [decode(image) if look.decoded is None else look.decoded for image, look in usual[::step]]
    return find_frame(pictures, kind.colormap)


def _check_rim(index: np.ndarray, decoded: np.ndarray, kind: _Kind, file: str) -> None:
    """Refuse a picture with a rim, where most pictures have none.

    Raises:
        BadFileError: If it has one.
    """
    if kind.colormap in (None, "gray") or kind.residual > MAX_RESIDUAL or decoded.ndim == 2:
        return
    assert kind.colormap is not None
    if (line := rim(decoded, kind.colormap)) is not None:
        reason = (
            f"its {line} is not in the colours of {kind.colormap}: it has axes or a rim, which most images have not "
            "(--crop none takes it as it is)"
        )
        raise BadFileError(BadFile(file, reason))


def _look(decoded: np.ndarray) -> _Look:
    is_gray = decoded.ndim == 2 or _is_gray(decoded)
    pixels = decoded.shape[0] * decoded.shape[1]
    if pixels <= _THINNED_PIXELS:
        return _Look(decoded.shape, decoded, is_gray, decoded)
    flat = decoded.reshape(pixels, *decoded.shape[2:])
    # An odd step, because an even one would stay in some columns.
    return _Look(decoded.shape, flat[:: pixels // _THINNED_PIXELS | 1].copy(), is_gray, None)


def _majority(
    sample: list[_Look], colormap: str, file: str, reading: ReadingConfig, axes: Mapping[str, float] | None
) -> _Kind:
    """Properties of most images of a sample."""
    shape, is_number = Counter((look.shape, look.colors.dtype != np.uint8) for look in sample).most_common(1)[0][0]
    sample = [look for look in sample if look.shape == shape and (look.colors.dtype != np.uint8) == is_number]
    if is_number:
        arrays = [look.colors for look in sample]
        scale = choose_scale(arrays, file, reading, axes, pictures=not file.lower().endswith(ARRAY_SUFFIXES))
        return _Kind(shape, "gray" if colormap in ("auto", "none") else colormap, 0.0, scale=scale)
    if len(shape) == 2:
        if colormap not in ("auto", "none", "gray"):
            raise UserError(f"greyscale images have the colour map gray, so colormap cannot be {colormap!r}")
        return _Kind(shape, "gray", 0.0)
    matches = [detect(look.colors) for look in sample]
    name, votes = Counter(match.name for match in matches).most_common(1)[0]
    # RGB is kept if it was chosen, or if no known map painted most images.
    if colormap == "none" or (colormap == "auto" and (name is None or votes <= len(sample) / 2)):
        mean = float(np.mean([match.residual for match in matches]))
        nearest = Counter(match.nearest for match in matches).most_common(1)[0][0]
        gray_allowed = sum(look.is_gray for look in sample) > len(sample) / 2
        return _Kind(shape, None, mean, gray_allowed=gray_allowed, nearest=nearest)
    name = colormap if colormap != "auto" else name
    assert name is not None
    # All images of strongly compressed JPEG are far from their map, so the limit depends on the usual distance.
    usual = float(np.median([_painted_residual(look.colors, to_index(look.colors, name), name) for look in sample]))
    return _Kind(shape, name, usual, max_residual=max(MAX_RESIDUAL, (3 if usual <= MAX_RESIDUAL else 2) * usual))


def _painted_residual(rgb: np.ndarray, index: np.ndarray, name: str) -> float:
    """Residual of every 7th pixel, which is enough for one image."""
    return residual(rgb.reshape(-1, 3)[::7], index.reshape(-1)[::7], name)


def _to_kind(decoded: np.ndarray, kind: _Kind, file: str, *, resized: bool) -> tuple[np.ndarray, float]:
    """Convert an image to the kind of most images.

    Returns:
        Indices into the colour map uint8 [H, W], or RGB uint8 [H, W, 3]; and the distance from the colour map.

    Raises:
        BadFileError: If the image differs in size, kind or colour map.
    """
    reason = _difference(decoded, kind, resized)
    if reason is not None:
        raise BadFileError(BadFile(file, reason))
    if kind.colormap is None or decoded.ndim == 2 or kind.scale is not None:
        return decoded, 0.0
    index = to_index(decoded, kind.colormap)
    distance = _painted_residual(decoded, index, kind.colormap)
    if distance > kind.max_residual:
        gray = ", and is greyscale" if kind.colormap != "gray" and _is_gray(decoded) else ""
        reason = (
            f"all images must have one colour map, it is {distance:.0f} RGB units from {kind.colormap}, "
            f"the map of most others{gray}"
        )
        raise BadFileError(BadFile(file, reason))
    return index, distance


def _difference(decoded: np.ndarray, kind: _Kind, resized: bool) -> str | None:
    size, usual = decoded.shape[:2], kind.shape[:2]
    nearly = all(abs(one - other) <= max(2, _NEARLY * other) for one, other in zip(size, usual, strict=True))
    if size != usual and not (resized and nearly):
        hint = "; --resolution resizes those that differ by a few pixels" if nearly else ""
        return f"all images must have one size, it is {shown_size(*size)}, most are {shown_size(*usual)}{hint}"
    if (decoded.dtype != np.uint8) != (kind.scale is not None):
        what, most = "numbers of more than 8 bits", "pictures of 8 bits"
        what, most = (what, most) if kind.scale is None else (most, what)
        return f"all images must be of one kind, it has {what}, most are {most}"
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
