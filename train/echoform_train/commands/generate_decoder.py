"""`echoform generate --decoder-only`: decode random latents and interpolations with a convolutional autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from echoform_train.engine.errors import UserError, refused_by
from echoform_train.engine.output_folders import new_folder, require_empty
from echoform_train.engine.seeds import mix_seed
from echoform_train.engine.shown import ShownAsTable

if TYPE_CHECKING:
    from echoform.pipeline_conv_autoencoder import ConvAutoencoderPipeline
    from echoform_train.conv.decoding import DecodedFolder, Interpolation, MetadataRow

RANDOM_SHEET = "random.png"
WALKS_SHEET = "walks.png"
SHEET_COLUMNS = 8
MOST_IMAGES, MOST_WALKS = 10_000, 1_000
"""Most images of a kind, and most interpolations; all are in memory at once."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Decode random latents, and interpolations between them or between images, with a convolutional autoencoder.

    Every image is decoded from latents alone. An unpooling decoder, which normally gets pooling indices from the
    encoder, uses the same fixed indices for all images.
    """

    pipeline: str
    """Folder of an exported pipeline of a convolutional autoencoder, or its id on the Hub."""
    output_dir: Path
    """Folder for the images, metadata.jsonl and overview sheets; must be new or empty."""
    num_images: int = 16
    """Number of random latents to decode."""
    walks: int = 4
    """Number of interpolations between random latents, unless --images are given."""
    images: tuple[Path, ...] = ()
    """At least two images; each is interpolated to the next."""
    steps: int = 8
    """Images per interpolation, including both ends."""
    seed: int = 0
    """Random seed. Random image k depends only on the seed and k, not on the other settings."""
    batch_size: int = 16
    """Images per forward pass."""
    device: str = "auto"
    """Device of the model; auto: the GPU, if there is one."""
    trust_remote_code: bool = False
    """Run the code of the repository instead of the installed echoform."""


@dataclass(frozen=True, repr=False)
class DecodingResult(ShownAsTable):
    """What `echoform generate --decoder-only` wrote."""

    folder: Path
    """Folder of the images and metadata.jsonl."""
    rows: list[MetadataRow]
    """Rows of metadata.jsonl: file_name, origin and kind; image_seed of random images; from, to and share of
    interpolated images."""


def main(config: Config) -> DecodingResult:
    """Write random/00000.png ..., walk-00/00000.png ..., metadata.jsonl, random.png and walks.png.

    Raises:
        FileNotFoundError: If the folder holds no pipeline, or there is no such image.
        ValueError: If the pipeline is of another kind, or a setting is out of range.
    """
    from echoform.pipeline_conv_autoencoder import ConvAutoencoderPipeline
    from echoform_train.conv.decoding import DecodedFolder, interpolate_images, interpolate_random
    from echoform_train.engine.evaluation import choose_device
    from echoform_train.publishing.exported import load_pipeline

    _check(config)
    pipeline: ConvAutoencoderPipeline = load_pipeline(
        config.pipeline, ConvAutoencoderPipeline, trust_remote_code=config.trust_remote_code
    )
    pipeline.to(choose_device(config.device))
    pipeline.set_progress_bar_config(disable=True)
    with refused_by(f"{config.pipeline} cannot encode this"):
        if config.images:
            walks = list(interpolate_images(pipeline, config.images, config.steps, config.batch_size))
        else:
            walks = list(interpolate_random(pipeline, config.walks, config.seed, config.steps))
    with new_folder(config.output_dir, "--output-dir") as partial:
        folder = DecodedFolder(partial)
        if config.num_images:
            _write_random(pipeline, config, folder)
        if walks:
            _write_interpolations(pipeline, config, walks, folder)
        folder.write_metadata()
    print(f"{len(folder.rows)} images decoded from latents alone in {config.output_dir}")
    return DecodingResult(config.output_dir, folder.rows)


def _write_random(pipeline: ConvAutoencoderPipeline, config: Config, folder: DecodedFolder) -> None:
    import torch

    seeds = [mix_seed(config.seed, index) for index in range(config.num_images)]
    latents = pipeline.prepare_latents([torch.Generator().manual_seed(seed) for seed in seeds])
    images = pipeline.decode(latents, batch_size=config.batch_size).images
    folder.add(images, "random", [{"kind": "random", "image_seed": seed} for seed in seeds])
    folder.add_sheet(images, SHEET_COLUMNS, RANDOM_SHEET)


def _write_interpolations(
    pipeline: ConvAutoencoderPipeline, config: Config, walks: list[Interpolation], folder: DecodedFolder
) -> None:
    sheet = []
    for index, walk in enumerate(walks):
        images = pipeline.decode(walk.latents, batch_size=config.batch_size).images
        facts: list[MetadataRow] = [
            {"kind": "walk", "from": walk.first, "to": walk.last, "share": step / (config.steps - 1)}
            for step in range(config.steps)
        ]
        folder.add(images, f"walk-{index:02d}", facts)
        sheet += images
    folder.add_sheet(sheet, config.steps, WALKS_SHEET)


def _check(config: Config) -> None:
    bounds = {
        "--num-images": (config.num_images, 0, MOST_IMAGES),
        "--walks": (config.walks, 0, MOST_WALKS),
        "--steps": (config.steps, 2, MOST_IMAGES),
        "--batch-size": (config.batch_size, 1, MOST_IMAGES),
    }
    for flag, (value, low, high) in bounds.items():
        if not low <= value <= high:
            raise UserError(f"{flag} must be in {low}..{high}, got {value}")
    if not (config.num_images or config.walks or config.images):
        raise UserError("there is nothing to decode: --num-images and --walks are 0, and there are no --images")
    if len(config.images) == 1:
        raise UserError(f"--images must name at least two images to interpolate between, got {config.images[0]}")
    require_empty(config.output_dir, "--output-dir")
