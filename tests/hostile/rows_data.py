"""Hostile spectrograms: image files, folders and links. Most come in at `prepare`, as all commands read them alike."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from hostile.corpus import Row
from hostile.image_bytes import (
    animated,
    bmp,
    damaged,
    encoded,
    full_png,
    grey_tiff,
    jpeg,
    pages,
    png,
    ppm,
    text_bomb,
    webp,
)
from hostile.inputs import depth_image, spectrogram, spectrograms

TRAINERS = {
    "train vq-vae": ["--max-train-images", "8", "--train-batch-size", "2"],
    "train kl-vae": ["--max-train-images", "8", "--train-batch-size", "2"],
    "train conv-ae": ["--max-train-images", "8", "--train-batch-size", "2", "--resolution", "32"],
}

BROKEN = r"cannot be decoded, it is truncated or no image"
TOO_LARGE = r"at most 16,777,216 pixels"


def replaced(
    content: bytes | Callable[[], bytes], *, suffix: str = ".png", every: bool = False, flags: Sequence[str] = ()
) -> Callable[[Path], list[str]]:
    """A maker of a good source in which the first image, or every one, has another content."""

    def make(folder: Path) -> list[str]:
        data = spectrograms(folder / "data")
        new = content if isinstance(content, bytes) else content()
        images = sorted(data.rglob("*.png"))
        for image in images if every else images[:1]:
            image.unlink()
            image.with_suffix(suffix).write_bytes(new)
        return ["prepare", str(data), *flags]

    return make


def bad_image(name: str, content: bytes | Callable[[], bytes], expected: str, suffix: str = ".png") -> Row:
    """A row whose first image is bad; the sentence names it."""
    return Row(
        name, "prepare", replaced(content, suffix=suffix), rf"ID_1/walk_t0000\{suffix}: [^\n]*{expected}[^\n]*\n$"
    )


def changed(
    change: Callable[[Path], object], *, users: int = 2, flags: Sequence[str] = ()
) -> Callable[[Path], list[str]]:
    """A maker of a good source to which something is done."""

    def make(folder: Path) -> list[str]:
        data = spectrograms(folder / "data", users=users)
        change(data)
        return ["prepare", str(data), *flags]

    return make


def _written(path: Path) -> Path:
    path.write_bytes(encoded(spectrogram(), "PNG"))
    return path


def _pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def at_trainer(door: str, content: bytes | Callable[[], bytes], expected: str) -> Row:
    """A bad first image at the door of a trainer."""

    def make(folder: Path) -> list[str]:
        data = replaced(content)(folder)[1]
        return [*door.split(), "--data", data, "--output-dir", str(folder / "out"), *TRAINERS[door]]

    return Row(f"bad image: {door}", door, make, expected)


IMAGES = [
    bad_image("image of no bytes", b"", "the file is empty"),
    bad_image("image of one byte", b"\x89", BROKEN),
    bad_image("signature of PNG alone", b"\x89PNG\r\n\x1a\n", BROKEN),
    bad_image("text called PNG", b"walk " * 100, BROKEN),
    bad_image("web page called PNG", b"<!DOCTYPE html><html>404</html>", BROKEN),
    bad_image("pointer of Git LFS", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", BROKEN),
    bad_image("zip called PNG", b"PK\x03\x04" + bytes(200), "it is a ZIP archive; save it as PNG"),
    bad_image("zeros called JPEG", bytes(4096), BROKEN, ".jpg"),
    bad_image("PNG cut in the middle", lambda: encoded(spectrogram(), "PNG")[:700], BROKEN),
    bad_image("JPEG cut in the middle", lambda: encoded(spectrogram(), "JPEG")[:-400], BROKEN, ".jpg"),
    bad_image("BMP cut in the middle", lambda: encoded(spectrogram(), "BMP")[:700], BROKEN, ".bmp"),
    bad_image("TIFF cut in the middle", lambda: encoded(spectrogram(), "TIFF")[:700], BROKEN, ".tif"),
    bad_image("WebP cut in the middle", lambda: encoded(spectrogram(), "WEBP")[:200], BROKEN, ".webp"),
    bad_image("PNG with damaged bytes", lambda: damaged("PNG", 1), BROKEN),
    bad_image("TIFF with damaged bytes", lambda: damaged("TIFF", 2), r"cannot be decoded|must ", ".tif"),
    bad_image("PNG whose header promises 13,000 x 13,000", png(13_000, 13_000), TOO_LARGE),
    bad_image("PNG whose header promises 2 billion squared", png(2**31 - 1, 2**31 - 1), TOO_LARGE),
    bad_image("PNG whose header promises 5,000 x 5,000", png(5000, 5000), TOO_LARGE),
    bad_image("PNG whose header promises nothing", png(0, 0), BROKEN),
    bad_image("PNG of 1 x 20,000,000", png(1, 20_000_000), TOO_LARGE),
    bad_image("JPEG whose header promises 65,500 x 65,500", lambda: jpeg(65_500, 65_500), TOO_LARGE, ".jpg"),
    bad_image("BMP whose header promises 60,000 x 60,000", bmp(60_000, 60_000), TOO_LARGE, ".bmp"),
    bad_image("TIFF whose header promises 100,000 x 100,000", grey_tiff(100_000, 100_000, 8), TOO_LARGE, ".tif"),
    bad_image("WebP whose header promises 16,000 x 16,000", lambda: webp(16_000, 16_000), TOO_LARGE, ".webp"),
    bad_image("13,000 x 13,000 that keeps its promise", lambda: full_png(13_000, 13_000), TOO_LARGE),
    bad_image("PNG with a text that unfolds to 256 MB", lambda: text_bomb(b"zTXt"), BROKEN),
    bad_image("PNG with a Unicode text that unfolds to 256 MB", lambda: text_bomb(b"iTXt"), BROKEN),
    bad_image("moving PNG", lambda: animated("PNG"), "one image, it holds several"),
    bad_image("moving WebP", lambda: animated("WEBP"), "one image, it holds several", ".webp"),
    bad_image("GIF called PNG", lambda: encoded(spectrogram(), "GIF"), "it is a GIF; save it as PNG"),
    bad_image("moving GIF called PNG", lambda: animated("GIF"), "it is a GIF; save it as PNG"),
    bad_image(
        "icon called PNG",
        lambda: encoded(spectrogram(), "ICO"),
        "it is an icon; save it as PNG",
    ),
    bad_image("PGM of 60,000 x 60,000 called PNG", ppm(60_000, 60_000), "it is a PGM; save it as PNG"),
    bad_image(
        "PostScript called PNG",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
        "must be PNG, JPEG, BMP, TIFF or WEBP, it is (PostScript|EPS)",
    ),
    bad_image("TIFF of three pages", lambda: pages(3), "one image, it holds several", ".tif"),
    bad_image("TIFF of 100,000 pages", lambda: pages(100_000), "it holds several", ".tif"),
    bad_image("TIFF whose next page is itself", grey_tiff(4, 4, 8, next_page=8), "several|cannot be decoded", ".tif"),
    bad_image("CMYK", lambda: encoded(Image.new("CMYK", (32, 32)), "JPEG"), "RGB or 8-bit greyscale.*CMYK", ".jpg"),
    bad_image(
        "transparency", lambda: encoded(Image.new("RGBA", (32, 32)), "PNG"), "an image must be opaque, its alpha"
    ),
    bad_image(
        "grey with transparency",
        lambda: encoded(Image.new("LA", (32, 32)), "PNG"),
        "an image must be opaque, its alpha",
    ),
    bad_image("one bit", lambda: encoded(Image.new("1", (32, 32)), "PNG"), "RGB or 8-bit greyscale"),
    bad_image(
        "16 bits where 8 are due",
        lambda: encoded(depth_image(), "PNG"),
        "it has numbers of more than 8 bits",
    ),
    bad_image(
        "floating point", lambda: encoded(np.ones((32, 32), np.float32), "TIFF"), "it has numbers of more", ".tif"
    ),
    bad_image("CIELAB", lambda: encoded(Image.new("LAB", (32, 32)), "TIFF"), "RGB or 8-bit greyscale", ".tif"),
    bad_image("another size", lambda: encoded(spectrogram(side=48), "PNG"), "one size, it is 48x48"),
    bad_image("one pixel", lambda: encoded(spectrogram(side=32)[:1, :1], "PNG"), "one size, it is 1x1"),
    bad_image("1 x 100,000", lambda: encoded(np.zeros((100_000, 1, 3), np.uint8), "PNG"), "one size"),
    bad_image("grey among colours", lambda: encoded(spectrogram()[..., 0], "PNG"), "one kind, it is greyscale"),
    bad_image("noise among jet", lambda: encoded(np.full((32, 32, 3), (255, 0, 255), np.uint8), "PNG"), "colour map"),
]

EVERY = [
    Row("13,000 x 13,000 in every file", "prepare", replaced(png(13_000, 13_000), every=True), TOO_LARGE),
    Row(
        "13,000 x 13,000 in every file, kept",
        "prepare",
        replaced(lambda: full_png(13_000, 13_000), every=True),
        TOO_LARGE,
    ),
    Row(
        "13,000 x 13,000 in every file, skipped",
        "prepare",
        replaced(png(13_000, 13_000), every=True, flags=["--skip-bad-files"]),
        "no image can be used, for example [^\n]*" + TOO_LARGE,
    ),
    Row(
        "2,000 x 2,000 in every file",
        "prepare",
        replaced(lambda: full_png(2000, 2000, colour=0), every=True),
        r"larger than 1024x1024 must be resized with --resolution",
    ),
    Row("no bytes in every file", "prepare", replaced(b"", every=True), r"no image can be used|files cannot be used"),
    Row(
        "text in every file", "prepare", replaced(b"x", every=True, flags=["--skip-bad-files"]), "no image can be used"
    ),
    Row(
        "one pixel in every file",
        "prepare",
        replaced(lambda: encoded(spectrogram()[:1, :1], "PNG"), every=True),
        "must be multiples of 16, .* got 1x1; --resolution",
    ),
    Row("resolution of a billion", "prepare", changed(lambda data: None, flags=["--resolution", "1000000000"]), "1024"),
    Row("resolution of nothing", "prepare", changed(lambda data: None, flags=["--resolution", "0"]), "at least 1"),
]


def _first(data: Path) -> Path:
    return data / "ID_1" / "walk_t0000.png"


def instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Remove the first image and make something else of its name."""

    def change(data: Path) -> None:
        _first(data).unlink()
        make(_first(data))

    return change


def _socket(path: Path) -> None:
    # The path of a socket may be 108 characters long, so it is bound in its folder.
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(before)


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**40)


def _deep(data: Path, levels: int) -> None:
    descriptor = os.open(data / "ID_1", os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)


def _many_links(data: Path) -> None:
    """Folders that each lead to all others: without loops through a folder above, but with a million ways."""
    folders = [data / f"ID_{number}" for number in range(1, 11)]
    for folder in folders:
        for other in folders:
            if other != folder:
                (folder / f"to_{other.name}").symlink_to(other)


def _linked_user(data: Path) -> None:
    (data / "ID_2").rename(data.parent / "elsewhere")
    (data / "ID_2").symlink_to(data.parent / "elsewhere")
    (data / "ID_3").symlink_to(data.parent / "elsewhere")


def _network_storage(data: Path) -> None:
    for name in ("@eaDir", "#recycle", "$RECYCLE.BIN", ".AppleDouble"):
        for place in (data, data / "ID_1"):
            (place / name).mkdir()
            (place / name / "SYNOPHOTO_THUMB_M.png").write_bytes(_first(data).read_bytes())


def _folder_of_links(data: Path) -> None:
    (data / "ID_3").mkdir()
    for path in sorted((data / "ID_1").iterdir()):
        (data / "ID_3" / path.name).symlink_to(path)


def _two_forms(data: Path) -> None:
    for name in ("\u00e9.png", "e\u0301.png"):
        (data / "ID_1" / name).write_bytes(_first(data).read_bytes())


def _many_files(data: Path) -> None:
    first = _first(data)
    other = data / "ID_1" / "note0.txt"
    other.write_bytes(first.read_bytes())
    for number in range(1, 10_000):
        os.link(other, data / "ID_1" / f"note{number}.txt")


def _inside_another(data: Path) -> None:
    (data / "ID_2").rename(data / "ID_1" / "b")


def _train_twice(data: Path) -> None:
    (data / "ID_1").rename(data / "train")
    (data / "ID_2").rename(data / "Train")


REGULAR = r"ID_1/walk_t0000\.png: it must be a regular file"

FOLDERS = [
    Row("pipe called like an image", "prepare", changed(instead(os.mkfifo)), REGULAR),
    Row("socket called like an image", "prepare", changed(instead(_socket)), REGULAR),
    Row("device called like an image", "prepare", changed(instead(lambda path: path.symlink_to("/dev/zero"))), REGULAR),
    Row("link to nothing", "prepare", changed(instead(lambda path: path.symlink_to("nowhere.png"))), REGULAR),
    Row("link to itself", "prepare", changed(instead(lambda path: path.symlink_to(path.name))), REGULAR),
    Row(
        "file that cannot be read",
        "prepare",
        changed(instead(lambda path: path.symlink_to("/proc/self/mem"))),
        r"walk_t0000\.png: (it cannot be read|an image must hold data)",
    ),
    Row("file of a terabyte", "prepare", changed(instead(_sparse)), r"at most 96 MiB"),
    Row(
        "folder called like an image",
        "prepare",
        changed(instead(lambda path: path.mkdir())),
        "",
        accepted=True,
    ),
    Row("folders 300 deep", "prepare", changed(lambda data: _deep(data, 300)), "at most 32 folders deep"),
    Row("folders 3,000 deep", "prepare", changed(lambda data: _deep(data, 3000)), "at most 32 folders deep"),
    Row(
        "link to the folder above",
        "prepare",
        changed(lambda data: (data / "ID_1" / "up").symlink_to("..")),
        "link to a folder above it",
    ),
    Row("a user's folder that is a link", "prepare", changed(_linked_user), "24 images of 2 users", accepted=True),
    Row("folders of network storage", "prepare", changed(_network_storage), "24 images of 2 users", accepted=True),
    Row("a folder full of links", "prepare", changed(_folder_of_links), "only links to images of other folders"),
    Row("two files of one name in two Unicode forms", "prepare", changed(_two_forms), "only in their Unicode form"),
    Row("folders that lead to all others", "prepare", changed(_many_links, users=10), "link"),
    Row("10,000 other files", "prepare", changed(_many_files), "Not images: 10000", accepted=True),
    Row("folder of nothing", "prepare", changed(lambda data: (data / "ID_3").mkdir()), r"ID_3/: [^\n]* it is empty"),
    Row("one user", "prepare", changed(lambda data: None, users=1), "at least 2 users"),
    Row(
        "a user in the folder of another",
        "prepare",
        changed(lambda data: (data / "ID_2").rename(data / "ID_1" / "b")),
        "must have a condition",
    ),
    Row("two folders called train", "prepare", changed(_train_twice), "train"),
    Row(
        "users that differ in case",
        "prepare",
        changed(lambda data: (data / "ID_2").rename(data / "id_1")),
        "differ only in case",
    ),
    Row("no images at all", "prepare", lambda folder: ["prepare", str(folder)], "must hold images"),
    Row("no such folder", "prepare", lambda folder: ["prepare", str(folder / "nothing")], "nothing"),
    Row("a file as the source", "prepare", lambda folder: ["prepare", str(_written(folder / "a.png"))], r"a\.png"),
    Row("pipe as the source", "prepare", lambda folder: ["prepare", str(_pipe(folder / "data"))], "data"),
    Row("nothing as the source", "prepare", lambda folder: ["prepare", ""], "."),
    Row("NUL in the source", "prepare", lambda folder: ["prepare", f"{folder}/a\0b"], "."),
    Row("source of 5,000 letters", "prepare", lambda folder: ["prepare", "a" * 5000], "at most 1000 characters"),
    Row(
        "name of an image with an escape code",
        "prepare",
        changed(lambda data: _first(data).rename(data / "ID_1" / "\x1b[2Jwalk.png")),
        r"U\+001B",
    ),
    Row(
        "name of a folder with a line break",
        "prepare",
        changed(lambda data: (data / "ID_1").rename(data / "a\nb")),
        r"U\+000A",
    ),
    Row(
        "start of 200 digits in a name",
        "prepare",
        changed(lambda data: _first(data).rename(data / "ID_1" / f"walk_t{'9' * 200}.png")),
        "",
        accepted=True,
    ),
    Row(
        "name that is no Unicode",
        "prepare",
        changed(lambda data: _first(data).rename(data / "ID_1" / "\udcff\udcfe.png")),
        r"U\+DC",
    ),
]


ROWS = [
    Row("a good source", "prepare", changed(lambda data: None), r"24 images of 2 users", accepted=True),
    *IMAGES,
    *EVERY,
    *FOLDERS,
    *[at_trainer(door, png(13_000, 13_000), TOO_LARGE) for door in TRAINERS],
]
