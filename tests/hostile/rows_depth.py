"""Hostile depth images."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from hostile.corpus import Row
from hostile.image_bytes import GREY, damaged, encoded, full_png, grey_tiff, jpeg, pages, png, ppm, text_bomb
from hostile.inputs import depth_image, depth_images, spectrogram, spectrograms
from tiny_depth import tiny_depth_pipeline

BROKEN = r"cannot be decoded, it is truncated or no image"
TOO_LARGE = r"at most 16,777,216 pixels"
RANGE = ("--depth-min-mm", "1", "--depth-max-mm", "9")
Content = bytes | Callable[[], bytes]


def replaced(content: Content, *, suffix: str = ".png", every: bool = False, flags: Sequence[str] = ()) -> Callable:
    """A maker of a good source in which the first image, or every one, has another content."""

    def make(folder: Path) -> list[str]:
        data = depth_images(folder / "data")
        new = content if isinstance(content, bytes) else content()
        images = sorted(data.rglob("*.png"))
        for image in images if every else images[:1]:
            image.unlink()
            image.with_suffix(suffix).write_bytes(new)
        return ["prepare-depth", str(data), *flags]

    return make


def changed(change: Callable[[Path], object], *flags: str) -> Callable[[Path], list[str]]:
    """A maker of a good source to which something is done."""

    def make(folder: Path) -> list[str]:
        data = depth_images(folder / "data")
        change(data)
        return ["prepare-depth", str(data), *flags]

    return make


def bad_image(name: str, content: Content, expected: str, suffix: str = ".png") -> Row:
    """A row whose first image is bad; the sentence names it."""
    return Row(
        name,
        "prepare-depth",
        replaced(content, suffix=suffix),
        rf"ball/depth_ball_0000\{suffix}: [^\n]*{expected}[^\n]*\n$",
    )


def every(name: str, pixels: np.ndarray, expected: str, *flags: str, form: str = "PNG") -> Row:
    """A row whose images are all the same."""
    suffix = ".png" if form == "PNG" else ".tif"
    make = replaced(lambda: encoded(pixels, form), every=True, flags=flags, suffix=suffix)
    return Row(name, "prepare-depth", make, expected)


def _full(value: int) -> np.ndarray:
    return np.full((32, 32), value, np.uint16)


def _instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(data: Path) -> None:
        first = data / "ball" / "depth_ball_0000.png"
        first.unlink()
        make(first)

    return change


def _all_zero_training(data: Path) -> None:
    for path in sorted(data.rglob("*.png")):
        path.write_bytes(encoded(_full(0), "PNG"))


@cache
def _pipeline() -> Path:
    folder = Path(tempfile.mkdtemp()) / "pipeline"
    tiny_depth_pipeline().save_pretrained(folder)
    return folder


def encode(name: str, content: Content, expected: str) -> Row:
    """A bad image at the door of `encode`."""

    def make(folder: Path) -> list[str]:
        data = replaced(content)(folder)[1]
        return ["encode", data, "--pipeline", str(_pipeline()), "--output-dir", str(folder / "out")]

    return Row(f"encode: {name}", "encode", make, expected)


def embed(words: list[str]) -> object:
    """The pipeline's own door: `encode` of the file named by the first word."""
    from echoform import DepthAutoencoderPipeline

    pipeline = DepthAutoencoderPipeline.from_pretrained(words[1])
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.encode(words[0])


def python(name: str, content: Content, expected: str, suffix: str = ".png") -> Row:
    """A bad file at the door of the pipeline in Python."""

    def make(folder: Path) -> list[str]:
        path = folder / f"depth{suffix}"
        path.write_bytes(content if isinstance(content, bytes) else content())
        return [str(path), str(_pipeline())]

    return Row(f"pipeline: {name}", embed, make, expected)


def _training(make: Callable[[Path], list[str]]) -> Callable[[Path], list[str]]:
    """The same source at the door of `train depth-ae`."""

    def train(folder: Path) -> list[str]:
        _, data, *flags = make(folder)
        run = ["--max-train-images", "8", "--train-batch-size", "2", "--resolution", "32"]
        return ["train", "depth-ae", "--data", data, *flags, "--output-dir", str(folder / "out"), *run]

    return train


IMAGES = [
    bad_image("image of no bytes", b"", "the file is empty"),
    bad_image("text called PNG", b"depth " * 99, BROKEN),
    bad_image("PNG cut in the middle", lambda: encoded(depth_image(), "PNG")[:90], BROKEN),
    bad_image("TIFF cut in the middle", lambda: encoded(depth_image(), "TIFF")[:700], BROKEN, ".tif"),
    bad_image("PNG with damaged bytes", lambda: damaged("PNG", 3, depth=True), BROKEN),
    bad_image("PNG whose header promises 13,000 x 13,000", png(13_000, 13_000, colour=GREY, bits=16), TOO_LARGE),
    bad_image("PNG whose header promises 100,000 x 100,000", png(100_000, 100_000, colour=GREY, bits=16), TOO_LARGE),
    bad_image("TIFF whose header promises 60,000 x 60,000", grey_tiff(60_000, 60_000), TOO_LARGE, ".tif"),
    bad_image("TIFF whose header promises 4,000 x 4,000", grey_tiff(4000, 4000), BROKEN, ".tif"),
    bad_image("TIFF of 100,000 pages", lambda: pages(100_000), "one image, it holds several", ".tif"),
    bad_image("PNG with a text that unfolds to 256 MB", lambda: text_bomb(b"zTXt"), BROKEN),
    bad_image("JPEG called PNG", lambda: jpeg(32, 32), "must be PNG or TIFF, it is JPEG"),
    bad_image("PGM called PNG", ppm(32, 32), "must be PNG, JPEG, BMP, TIFF or WEBP, it is a PGM"),
    bad_image("8 bits", lambda: encoded(spectrogram()[..., 0], "PNG"), "8 bits hold no millimetres"),
    bad_image("colours", lambda: encoded(spectrogram(), "PNG"), "one number per pixel"),
    bad_image("floating point", lambda: encoded(np.ones((32, 32), np.float32), "TIFF"), "floating point", ".tif"),
    bad_image("NaN", lambda: encoded(np.full((32, 32), np.nan, np.float32), "TIFF"), "floating point", ".tif"),
    bad_image("negative", lambda: encoded(np.full((32, 32), -5, np.int32), "TIFF"), r"-5\.\.-5", ".tif"),
    bad_image("32 bits", lambda: encoded(np.full((32, 32), 70_000, np.int32), "TIFF"), r"0\.\.65535", ".tif"),
    bad_image("no reading anywhere", lambda: encoded(_full(0), "PNG"), "must have a reading"),
]

SOURCES = [
    every("0 in every image", _full(0), "must have a reading"),
    every("0 in every image, range given", _full(0), "must have a reading", *RANGE),
    every("0 in every image, skipped", _full(0), "holds none that can be used", "--skip-bad-files"),
    every("65535 in every image", _full(65535), "at least two different readings"),
    every("65535 that means no reading", _full(65535), "must have a reading", "--invalid-values", "65535"),
    every("one value in every image", _full(700), "at least two different readings"),
    every("no reading in the range", depth_image(), "has a reading in the range", *RANGE),
    every("one pixel in every image", _full(700)[:1, :1], "at least two different readings"),
    every("floating point in every image", np.ones((8, 8), np.float32), "floating point", form="TIFF"),
    every("range upside down", depth_image(), "min|range", "--depth-min-mm", "5000", "--depth-max-mm", "300"),
    every("range that is no number", depth_image(), "range|finite", "--depth-min-mm", "nan", "--depth-max-mm", "nan"),
    every("range to infinity", depth_image(), "range|finite", "--depth-min-mm", "0", "--depth-max-mm", "inf"),
    every("no units", depth_image(), "units_per_mm|units-per-mm", "--units-per-mm", "0"),
    every("units that are no number", depth_image(), "units_per_mm|units-per-mm", "--units-per-mm", "nan"),
    every("resolution of a billion", depth_image(), "at most 1024", "--resolution", "1000000000"),
    every("value of no sensor", depth_image(), "65535|invalid", "--invalid-values", "-7"),
    Row(
        "13,000 x 13,000 in every file",
        "prepare-depth",
        replaced(lambda: full_png(13_000, 13_000, colour=GREY, bits=16), every=True),
        TOO_LARGE,
    ),
    Row("colours in every file", "prepare-depth", lambda folder: _of_spectrograms(folder), "one number per pixel"),
    Row("pipe called like an image", "prepare-depth", changed(_instead(os.mkfifo)), "regular file"),
    Row(
        "device called like an image",
        "prepare-depth",
        changed(_instead(lambda it: it.symlink_to("/dev/zero"))),
        "regular file",
    ),
    Row("link to nothing", "prepare-depth", changed(_instead(lambda it: it.symlink_to("no.png"))), "regular file"),
    Row("link to the folder above", "prepare-depth", changed(lambda it: (it / "ball" / "up").symlink_to("..")), "link"),
    Row("images at two depths", "prepare-depth", changed(lambda it: _copy_to_top(it)), "must lie all directly"),
    Row("no images", "prepare-depth", lambda folder: ["prepare-depth", str(folder)], "holds none"),
    Row("frames of 200 digits", "prepare-depth", changed(lambda it: _long_frames(it)), "", accepted=True),
    Row(
        "training with no reading",
        "train depth-ae",
        _training(replaced(lambda: encoded(_full(0), "PNG"), every=True)),
        "must have a reading",
    ),
    Row(
        "training with promises",
        "train depth-ae",
        _training(replaced(png(13_000, 13_000, colour=GREY, bits=16))),
        TOO_LARGE,
    ),
    encode("promises", png(13_000, 13_000, colour=GREY, bits=16), TOO_LARGE),
    encode("no reading", lambda: encoded(_full(0), "PNG"), "must have a reading"),
    encode("no bytes", b"", "the file is empty"),
    python("promises", png(13_000, 13_000, colour=GREY, bits=16), "pixels"),
    python("promises 100,000", png(100_000, 100_000, colour=GREY, bits=16), "pixels"),
    python("100,000 pages", lambda: pages(100_000), "one depth image", ".tif"),
    python("text", b"depth", "cannot be decoded"),
    python("cut", lambda: encoded(depth_image(), "PNG")[:90], "cannot be decoded"),
    python("damaged", lambda: damaged("TIFF", 5, depth=True), "."),
]


def _of_spectrograms(folder: Path) -> list[str]:
    return ["prepare-depth", str(spectrograms(folder / "data"))]


def _copy_to_top(data: Path) -> None:
    (data / "0.png").write_bytes((data / "ball" / "depth_ball_0000.png").read_bytes())


def _long_frames(data: Path) -> None:
    for path in data.rglob("*0.png"):
        path.rename(path.with_name(f"depth_{'9' * 200}{path.stem[-4:]}.png"))


ROWS = [
    Row("a good source", "prepare-depth", changed(lambda data: None), "48 depth images", accepted=True),
    *IMAGES,
    *SOURCES,
]
