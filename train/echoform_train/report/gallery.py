"""The gallery of a page: a figure per user, with real and generated spectrograms side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from echoform_train.data.figure import figure, png_bytes
from echoform_train.data.painting import to_pil_images
from echoform_train.data.spectrograms import SpectrogramData
from echoform_train.report.embedding import png_uri

GALLERY_IMAGES = 4
"""Number of real and of generated images per user."""
NARROW_IMAGES = 2
"""The same on a narrow screen."""
_TEXT, _NARROW_TEXT = 1.6, 2.0
"""Size of the text in a figure that is as wide as the page, and as wide as a narrow screen."""


@dataclass(frozen=True, kw_only=True)
class GalleryRow:
    """Some images of one user, and their names."""

    user: str
    real: Sequence[Image.Image]
    generated: Sequence[Image.Image]
    real_names: Sequence[str] = ()
    generated_names: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class ShownRow:
    """A row as the page shows it."""

    user: str
    src: str
    """The figure, as PNG in a data URI."""
    narrow_src: str
    """The same for a narrow screen: the first images of each kind, with larger text."""
    alt: str
    """What it shows, for screen readers."""


def gallery_rows(
    data: SpectrogramData, pixels: Tensor, users: Tensor, names: Sequence[str] | None = None, *, first: bool = False
) -> list[GalleryRow]:
    """Some held-out real and some generated images of each user.

    Args:
        data: The real images.
        pixels: Generated images, uint8 [N, C, H, W].
        users: Their users, int64 [N].
        names: Their names. Default: their number.
        first: Whether the first generated images of a user are shown, instead of some spread over all of them.
    """
    rows = []
    for user, label in data.id2label.items():
        real = _spread((data.test.users == user).nonzero()[:, 0])
        made = (users == user).nonzero()[:, 0]
        made = made[:GALLERY_IMAGES] if first else _spread(made)
        files = [data.test.files[int(index)] for index in real]
        rows.append(
            GalleryRow(
                user=label,
                real=to_pil_images(data.test.pixels[real], data.colormap),
                generated=to_pil_images(pixels[made], data.colormap),
                real_names=[file.rpartition("/")[2].rpartition(".")[0] or file for file in files],
                generated_names=[f"no. {int(index) + 1}" if names is None else names[int(index)] for index in made],
            )
        )
    return rows


def shown_rows(
    rows: Sequence[GalleryRow], axes: Mapping[str, float] | None, colormap: str | None = None
) -> Iterator[ShownRow]:
    """The figure of each row that has images; all have as many columns, so that images are of one size.

    Args:
        rows: The images.
        axes: Contents of axes.json.
        colormap: Colour map of the images, for the bar in decibels; None for RGB and grey.
    """
    kinds = {kind: max((len(getattr(row, kind)) for row in rows), default=0) for kind in ("real", "generated")}
    groups = [(kind, columns) for kind, columns in kinds.items() if columns]
    for row in rows:
        images: list[Image.Image | None] = []
        names: list[str] = []
        for kind, columns in groups:
            given, named = list(getattr(row, kind)), list(getattr(row, f"{kind}_names"))
            images += [*given, *[None] * (columns - len(given))]
            names += [*named, *[""] * (columns - len(named))]
        if not any(image is not None for image in images):
            continue
        drawn = figure(images, axes, names, columns=len(images), groups=groups, colormap=colormap, text=_TEXT)
        narrow = _narrow(row, [kind for kind, _ in groups], axes, colormap)
        counts = f"{len(row.real)} real and {len(row.generated)} generated spectrograms of {row.user}"
        yield ShownRow(user=row.user, src=png_uri(png_bytes(drawn)), narrow_src=png_uri(png_bytes(narrow)), alt=counts)


def _narrow(row: GalleryRow, kinds: Sequence[str], axes: Mapping[str, float] | None, colormap: str | None) -> Figure:
    """A column per kind, with at most NARROW_IMAGES images."""
    columns = [list(getattr(row, kind))[:NARROW_IMAGES] for kind in kinds]
    rows = max(map(len, columns))
    padded = [[*column, *[None] * (rows - len(column))] for column in columns]
    names = [[*getattr(row, f"{kind}_names"), *[""] * rows][:rows] for kind in kinds]
    return figure(
        [column[index] for index in range(rows) for column in padded],
        axes,
        [column[index] for index in range(rows) for column in names],
        columns=len(kinds),
        groups=[(kind, 1) for kind in kinds],
        colormap=colormap,
        text=_NARROW_TEXT,
    )


def trio_uri(images: Sequence[Image.Image], axes: Mapping[str, float] | None, names: Sequence[str]) -> str:
    """A few images in a row with their names, as PNG in a data URI."""
    return png_uri(png_bytes(figure(images, axes, names, columns=len(images), colormap=None)))


def _spread(indices: Tensor) -> Tensor:
    """A few indices, evenly spaced over all of them."""
    return indices[torch.linspace(0, len(indices) - 1, min(GALLERY_IMAGES, len(indices))).round().long()]
