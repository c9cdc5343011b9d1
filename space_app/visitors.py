"""What visitors send and get: their files opened with care, errors of one sentence, downloads that are deleted."""

from __future__ import annotations

import html
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import gradio as gr
from gradio.utils import get_upload_folder
from PIL import Image

MAX_FILE_BYTES = 20 * 2**20
MAX_PIXELS = 2048 * 2048
MAX_FILES = 16
DELETE_CACHE_S = (600, 3600)
"""Every ten minutes files that are older than an hour are deleted."""
_STRING = {"type": "string"}
FILES = {
    "title": "ListFiles",
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "path": {**_STRING, "description": "https address, or what /gradio_api/upload answered"},
            "meta": {"type": "object", "properties": {"_type": {**_STRING, "enum": ["gradio.FileData"]}}},
        },
        "required": ["path", "meta"],
    },
}


def refusal(message: str) -> gr.Error:
    """An error that a visitor reads; what they wrote themselves is no HTML in it."""
    return gr.Error(html.escape(message, quote=False), print_exception=False)


@contextmanager
def told_to_the_visitor() -> Iterator[None]:
    """Turn a ValueError, which is one sentence, into an error of the page."""
    try:
        yield
    except gr.Error:  # a ValueError too
        raise
    except ValueError as error:
        raise refusal(str(error)) from error


def open_upload(path: str | Path, formats: tuple[str, ...]) -> Image.Image:
    """Open and decode one uploaded picture, whatever its name says that it is.

    Args:
        path: Where gradio put it.
        formats: Names of PIL, such as ("PNG", "TIFF"); no other decoder is tried.

    Raises:
        gradio.Error: If it is deleted by now, too large, of another format, several pictures, truncated or no picture.
    """
    path = Path(path)
    if not path.is_file():
        raise refusal(f"{path.name} was deleted, as every upload is after an hour; drop it in again.")
    if (size := path.stat().st_size) > MAX_FILE_BYTES:
        raise refusal(f"A file may have {MAX_FILE_BYTES >> 20} MB, {path.name} has {size / 2**20:.0f} MB.")
    try:
        with Image.open(path, formats=formats) as image:
            if image.width * image.height > MAX_PIXELS:
                raise refusal(
                    f"A picture may have {MAX_PIXELS:,} pixels, {path.name} has {image.width} x {image.height}."
                )
            if holds_several(image):
                raise refusal(f"A file must hold one picture, {path.name} holds several.")
            image.load()
            return image
    except gr.Error:  # a ValueError too
        raise
    except Image.DecompressionBombError as error:
        raise refusal(f"A picture may have {MAX_PIXELS:,} pixels, {path.name} has many more.") from error
    except (OSError, EOFError, SyntaxError, ValueError, struct.error) as error:  # what PIL raises on broken files
        raise refusal(f"{path.name} is damaged, or no picture of the format {' or '.join(formats)}.") from error


def holds_several(image: Image.Image) -> bool:
    """Whether there is a second picture; counting them could take minutes in a file that was made for it."""
    try:
        image.seek(1)
    except EOFError:
        return False
    return True


def open_uploads(paths: list[str] | None, formats: tuple[str, ...]) -> list[tuple[str, Image.Image]]:
    """Several uploads with their names; see `open_upload`.

    Raises:
        gradio.Error: If there are none or more than MAX_FILES, or one cannot be opened.
    """
    if not paths:
        raise refusal("Drop in at least one file.")
    if len(paths) > MAX_FILES:
        raise refusal(f"At most {MAX_FILES} files at once, got {len(paths)}.")
    return [(Path(path).name, open_upload(path, formats)) for path in paths]


def several_files(value: list[str], file_types: list[str], label: str) -> gr.File:
    """A place for files, described so that an agent can fill it.

    Gradio's own description of several files refers to a definition that it leaves out of its tools, where every call
    then fails; and it turns no list of addresses into files.
    """
    files = gr.File(value, file_count="multiple", file_types=file_types, label=label, height=160)
    files.api_info = lambda: FILES
    return files


def download_path(name: str) -> Path:
    """Where to write a file that one visitor will download: a folder of its own in gradio's, which deletes it."""
    folder = Path(get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    return Path(mkdtemp(dir=folder)) / name
