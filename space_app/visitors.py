"""Exchange with visitors: safe uploads, errors of one sentence, and downloads that are deleted later."""

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
_STRING = {"type": "string"}
# JSON schema of a list of files, as agents get it; see `several_files`.
FILES = {
    "title": "ListFiles",
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "path": {**_STRING, "description": "https address, or the answer of /gradio_api/upload"},
            "meta": {"type": "object", "properties": {"_type": {**_STRING, "enum": ["gradio.FileData"]}}},
        },
        "required": ["path", "meta"],
    },
}


def refusal(message: str) -> gr.Error:
    """An error message for the visitor; text that they typed is escaped, so that it cannot act as HTML."""
    return gr.Error(html.escape(message, quote=False), print_exception=False)


@contextmanager
def shown_to_visitor() -> Iterator[None]:
    """Show a ValueError raised inside as a one-sentence error on the page."""
    try:
        yield
    except gr.Error:  # already a message for the visitor
        raise
    except ValueError as error:
        raise refusal(str(error)) from error


def open_upload(path: str | Path, formats: tuple[str, ...]) -> Image.Image:
    """Open and decode one uploaded image. The content decides its format, not the file name.

    Args:
        path: The uploaded file.
        formats: Formats as PIL names them, such as ("PNG", "TIFF"); no other decoder is tried.

    Raises:
        gradio.Error: If the file was deleted, is too large, has another format, holds several images, is truncated or
            is no image.
    """
    path = Path(path)
    if not path.is_file():
        raise refusal(f"{path.name} was deleted, like every upload after an hour; please upload it again.")
    if (size := path.stat().st_size) > MAX_FILE_BYTES:
        raise refusal(f"A file may have at most {MAX_FILE_BYTES >> 20} MB, {path.name} has {size / 2**20:.0f} MB.")
    # The header tells size and number of images before any pixel is decoded.
    try:
        with Image.open(path, formats=formats) as image:
            if image.width * image.height > MAX_PIXELS:
                raise refusal(
                    f"An image may have {MAX_PIXELS:,} pixels, {path.name} has {image.width} x {image.height}."
                )
            if holds_several(image):
                raise refusal(f"A file must hold one image, {path.name} holds several.")
            image.load()
            return image
    except gr.Error:  # already a message for the visitor
        raise
    except Image.DecompressionBombError as error:
        raise refusal(f"An image may have {MAX_PIXELS:,} pixels, {path.name} has many more.") from error
    except (OSError, EOFError, SyntaxError, ValueError, struct.error) as error:  # what PIL raises on broken files
        raise refusal(f"{path.name} is damaged, or not an image of the format {' or '.join(formats)}.") from error


def holds_several(image: Image.Image) -> bool:
    """Whether the file holds a second image; counting all could take minutes in a malicious file."""
    try:
        image.seek(1)
    except EOFError:
        return False
    return True


def open_uploads(paths: list[str] | None, formats: tuple[str, ...]) -> list[tuple[str, Image.Image]]:
    """Open several uploads, each with `open_upload`; returns their names and images.

    Raises:
        gradio.Error: If there is no file, there are more than MAX_FILES, or one cannot be opened.
    """
    if not paths:
        raise refusal("Drop in at least one file.")
    if len(paths) > MAX_FILES:
        raise refusal(f"At most {MAX_FILES} files at once, got {len(paths)}.")
    return [(Path(path).name, open_upload(path, formats)) for path in paths]


def several_files(value: list[str], file_types: list[str], label: str) -> gr.File:
    """An upload field for several files, with a schema that agents (MCP) can use.

    Gradio's own schema for several files refers to a definition that is missing from its MCP tools, so every call with
    it fails; it also does not turn a list of addresses into files.
    """
    files = gr.File(value, file_count="multiple", file_types=file_types, label=label, height=160)
    files.api_info = lambda: FILES
    return files


def stored(image: Image.Image) -> str:
    """Write an image as PNG for one visitor, and return its path.

    gradio would name the file by its content and write it again with each answer that holds it, also while it is read.
    """
    path = download_path("image.png")
    image.save(path)
    return str(path)


def download_path(name: str) -> Path:
    """A path for a file that one visitor downloads: in a new folder below gradio's, which deletes it later."""
    folder = Path(get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    return Path(mkdtemp(dir=folder)) / name
