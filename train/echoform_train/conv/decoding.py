"""Images that a convolutional autoencoder decodes from latents alone: random latents, and interpolated ones.

The decoder of an unpooling model normally also gets the pooling indices of its encoder. Here there is no encoder, so
that the same fixed indices are used for all images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from diffusers.utils import make_image_grid
from PIL import Image
from torch import Tensor

from echoform.pipeline_conv_autoencoder import ConvAutoencoderPipeline
from echoform.unet_doppler import spherical_mix
from echoform_train.data.image_check import decode_image, read_file
from echoform_train.engine.files import METADATA
from echoform_train.engine.json_files import write_json_lines
from echoform_train.engine.seeds import mix_seed

End = tuple[str | int, Tensor]
"""Name of an image or seed of random latents, and the latents float32 [D, h, w]."""

MetadataRow = Mapping[str, str | int | float]
"""Row of one image in metadata.jsonl."""


@dataclass(frozen=True)
class Interpolation:
    """Latents interpolated between two images, or between two random latents."""

    first: str | int
    """Name of the first image, or seed of the first random latents."""
    last: str | int
    latents: Tensor
    """float32 [steps, D, h, w], including both ends."""


def interpolate_images(
    pipeline: ConvAutoencoderPipeline, images: Sequence[Path], steps: int, batch_size: int
) -> Iterator[Interpolation]:
    """Interpolate between the latents of each image and the next, along a straight line.

    Args:
        pipeline: Encodes the images.
        images: At least two image files.
        steps: Latents per interpolation, including both ends.
        batch_size: Images per forward pass.

    Raises:
        UserError: If an image cannot be read.
        ValueError: If it does not fit the pipeline.
    """
    decoded = [Image.fromarray(decode_image(read_file(path, str(path)), str(path))) for path in images]
    latents = pipeline.encode(decoded, batch_size=batch_size)
    ends: list[End] = [(path.name, one) for path, one in zip(images, latents, strict=True)]
    for first, last in pairwise(ends):
        yield _interpolate(first, last, steps, spherical=False)


def interpolate_random(pipeline: ConvAutoencoderPipeline, count: int, seed: int, steps: int) -> Iterator[Interpolation]:
    """Interpolate between random latents, in `count` pairs.

    The interpolation follows a straight line. For a variational model, whose latents are normally distributed and have
    nearly equal lengths, it follows an arc, which keeps the length.
    """
    if not count:
        return
    # The -1 makes these seeds differ from those of single random images.
    seeds = [mix_seed(seed, -1, end) for end in range(2 * count)]
    generators = [torch.Generator().manual_seed(one) for one in seeds]
    ends: list[End] = list(zip(seeds, pipeline.prepare_latents(generators), strict=True))
    for first, last in zip(ends[::2], ends[1::2], strict=True):
        yield _interpolate(first, last, steps, spherical=pipeline.autoencoder.config["variational"])


def _interpolate(first: End, last: End, steps: int, *, spherical: bool) -> Interpolation:
    (first_name, start), (last_name, end) = first, last
    share = torch.linspace(0, 1, steps)
    if spherical:
        latents = spherical_mix(start.flatten(), end.flatten(), share).unflatten(1, start.shape)
    else:
        latents = torch.lerp(start[None], end[None], share[:, None, None, None])
    return Interpolation(first_name, last_name, latents)


class DecodedFolder:
    """Writes decoded images into an output folder, with one row of metadata.jsonl per image.

    Args:
        folder: New or empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[MetadataRow] = []

    def add(self, images: Sequence[Image.Image], subfolder: str, facts: Sequence[MetadataRow]) -> None:
        """Write images as SUBFOLDER/00000.png ... and keep their rows; `facts` are added to the rows."""
        (self.folder / subfolder).mkdir(parents=True, exist_ok=True)
        for index, (image, fact) in enumerate(zip(images, facts, strict=True)):
            name = f"{subfolder}/{index:05d}.png"
            image.save(self.folder / name)
            self.rows.append({"file_name": name, "origin": "generated", **fact})

    def add_sheet(self, images: Sequence[Image.Image], columns: int, name: str) -> None:
        """Write one image file that shows all images in rows of `columns`."""
        columns = min(columns, len(images))
        rows = -(-len(images) // columns)
        blank = Image.new(images[0].mode, images[0].size)
        filled = [*images, *[blank] * (rows * columns - len(images))]
        make_image_grid(filled, rows, columns).save(self.folder / name)

    def write_metadata(self) -> None:
        """Write the rows of all images to metadata.jsonl."""
        write_json_lines(self.folder / METADATA, self.rows)
