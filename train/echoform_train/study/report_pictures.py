"""Images on the page of a study: a gallery of each user, and possible copies with their nearest training images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from echoform_train.data.painting import to_pil_images
from echoform_train.data.spectrograms import SpectrogramData
from echoform_train.report.gallery import GalleryRow, gallery_rows
from echoform_train.scoring.generated_images import Sample
from echoform_train.study.images.nearest_training import Suspect


@dataclass(frozen=True, kw_only=True)
class ReportPictures:
    """Colour images of spectrograms for the page."""

    gallery: Sequence[GalleryRow]
    """Held-out real and kept generated images of each user."""
    suspicious: Sequence[Sequence[Image.Image]]
    """For each suspect: the generated image, its nearest and its second nearest training image."""
    colormap: str | None = None
    """Colour map of the images; None for RGB."""


def draw_pictures(data: SpectrogramData, kept: Sample, suspicious: Sequence[Suspect]) -> ReportPictures:
    """Colour the spectrograms that the page shows.

    Args:
        data: The real images.
        kept: Pixels and users of the kept generated images.
        suspicious: Kept images that may be copies of training images.
    """
    pixels, users = kept

    def paint(image: Tensor) -> Image.Image:
        return to_pil_images(image[None], data.colormap)[0]

    # The first kept images are shown, not the best, so that the gallery is typical.
    gallery = gallery_rows(data, pixels, users, first=True)
    # The generated image and its two nearest training images, side by side.
    trios = [
        [
            paint(pixels[suspect["place"]]),
            paint(data.train.pixels[suspect["nearest"]]),
            paint(data.train.pixels[suspect["second"]]),
        ]
        for suspect in suspicious
    ]
    return ReportPictures(gallery=gallery, suspicious=trios, colormap=data.colormap)
