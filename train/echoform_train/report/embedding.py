"""Images inside a page, so that it needs no other file."""

from __future__ import annotations

import base64
import io

from PIL import Image


def data_uri(image: Image.Image) -> str:
    """The image as PNG in a data URI."""
    buffer = io.BytesIO()
    image.save(buffer, format="png", optimize=True)
    return png_uri(buffer.getvalue())


def png_uri(png: bytes) -> str:
    """A PNG file as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
