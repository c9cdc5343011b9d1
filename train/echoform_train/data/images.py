"""Any folder of images, grey or RGB, as tensors in memory, split into train, validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from torch import Tensor

from echoform.pipeline_conv_autoencoder import cut_square
from echoform_train.data.dataset import build_dataset
from echoform_train.data.facts import ImageFacts
from echoform_train.data.find import find_in_folder, split_folders
from echoform_train.data.hub import find_in_dataset, folder_of_files
from echoform_train.data.image_check import IMAGE_SUFFIXES, BadFile, check_resolution, decode_image
from echoform_train.data.image_config import Color, ImageSourceConfig
from echoform_train.data.layout import ImageFile, SourceFiles, recording_of
from echoform_train.data.loading import ContentHashes, read_files, read_split, refuse_or_skip
from echoform_train.data.metadata import metadata_file, read_axes
from echoform_train.data.split import Split, make_split
from echoform_train.data.walk import find_files
from echoform_train.engine.errors import UserError
from echoform_train.engine.files import AXES


@dataclass(frozen=True, kw_only=True)
class Images:
    """The images of one side of the split."""

    pixels: Tensor
    """uint8 [N, C, H, W]; C is 1 for grey, 3 for RGB."""
    files: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.files)


@dataclass(frozen=True, kw_only=True)
class ImageData:
    """Images of one source, split for training and scoring."""

    train: Images
    validation: Images
    test: Images
    left_out: Images
    """Images in the gaps of the split."""
    split: Split
    split_file: Path | None
    """File that the split was read from; None: that of a published data set, or a new one."""
    images_sha256: str
    """Hash of names and content of all image files."""
    source: str
    skipped: tuple[BadFile, ...]
    """Files that could not be used and were skipped, because `skip_bad_files` was set."""


def load_image_data(
    config: ImageSourceConfig, split_file: Path | None, seed: int, *, resolution: int, color: Color
) -> ImageData:
    """Read, check, resize and split the images of a source.

    Folders are not users: no folder needs to be on every side. Folders called train, validation or test at the top
    are these sides. Windows of one recording, known by their names (`<recording>_t<centiseconds>.png`) or by
    metadata.jsonl, never overlap across sides: if there are at least three recordings, each stays on one side;
    otherwise each folder is cut in natural order with a gap.

    Args:
        config: Source and shares of the sides; its `split_file` is not read.
        split_file: Existing split to use, also of `echoform prepare` or another training; None: that of a published
            data set, or a new one.
        seed: Seed for choosing the recordings of each side.
        resolution: Height and width to resize to, pixels.
        color: See `ImageDataConfig`.

    Raises:
        FileNotFoundError: If there is no such source or split.
        ValueError: If a file cannot be used, the split does not fit, or an argument is out of range.
    """
    check_resolution(resolution, smallest=2)
    folder = folder_of_files(config.data)
    found = _find_in_dataset(config.data) if folder is None else _find_in_folder(folder)
    hashes = ContentHashes()
    kept, decoded, bad_files = read_files(found.images, lambda image: _read(image, hashes, resolution, color))
    bad_files = [*found.bad_files, *bad_files]
    refuse_or_skip(bad_files, skip_bad_files=config.skip_bad_files)
    if not kept:
        raise UserError(f"a source must hold images that can be used, {config.data} holds none")
    pixels = _stack(decoded, resolution)

    split = _choose_split(config, found, build_dataset(kept), split_file, seed)
    sides = {
        side: Images(pixels=pixels[torch.tensor(indices, dtype=torch.int64)], files=getattr(split, side))
        for side, indices in split.indices([image.file for image in kept]).items()
    }
    return ImageData(
        **sides,
        split=split,
        split_file=split_file,
        images_sha256=hashes.of(kept),
        source=config.data,
        skipped=tuple(bad_files),
    )


def image_facts(data: ImageData) -> ImageFacts:
    """Facts of the data for facts.json and the model card."""
    return {
        "source": data.source,
        "resolution": data.train.pixels.shape[-1],
        "channels": data.train.pixels.shape[1],
        "images": {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
        "split": data.split.method,
        "split_sha256": data.split.sha256,
        "images_sha256": data.images_sha256,
    }


def _find_in_dataset(source: str) -> SourceFiles:
    found = find_in_dataset(source, need_users=False)
    return replace(found, images=tuple(_without_user(image, folder=image.user) for image in found.images))


def _find_in_folder(folder: Path) -> SourceFiles:
    paths = find_files(folder, IMAGE_SUFFIXES)
    if not paths:
        raise UserError(f"a source must hold images ({', '.join(IMAGE_SUFFIXES)}), {folder} holds none")
    splits = split_folders(folder, list(paths))
    # Rows of metadata give recordings and starts, in precedence over the names of the files.
    known = find_in_folder(folder).images if metadata_file(folder) else ()
    described = {image.file: (image.recording, image.start_s) for image in known}
    images = []
    for name, path in paths.items():
        recording, start_s = described.get(name) or recording_of(name)
        split = splits.get(name.partition("/")[0])
        image = ImageFile(file=name, data=path, user="", recording=recording, start_s=start_s, split=split)
        images.append(_without_user(image, folder=PurePosixPath(name).parent.as_posix()))
    return SourceFiles(tuple(images), axes=read_axes(folder / AXES))


def _without_user(image: ImageFile, folder: str) -> ImageFile:
    """The image with the user "all" in place of its folder, because `make_split` needs every user on every side."""
    recording = None if image.recording is None else f"{folder}/{image.recording}"
    return replace(image, user="all", recording=recording, columns={})


def _read(file: ImageFile, hashes: ContentHashes, resolution: int, color: Color) -> np.ndarray:
    """Pixels uint8 [resolution, resolution] or [resolution, resolution, 3] of one file."""
    image = Image.fromarray(decode_image(hashes.read(file), file.file))
    image = image if color == "auto" else image.convert("L" if color == "grey" else "RGB")
    return np.asarray(cut_square(image, resolution))


def _stack(decoded: Sequence[np.ndarray], resolution: int) -> Tensor:
    """uint8 [N, C, H, W]; C is 1 if every image is grey, else 3 with grey repeated."""
    channels = 1 if all(pixels.ndim == 2 for pixels in decoded) else 3
    stacked = np.empty((len(decoded), channels, resolution, resolution), dtype=np.uint8)
    for index, pixels in enumerate(decoded):
        stacked[index] = pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return torch.from_numpy(stacked)


def _choose_split(
    config: ImageSourceConfig, found: SourceFiles, dataset: Dataset, split_file: Path | None, seed: int
) -> Split:
    window_s = None if found.axes is None else found.axes.get("window_s")
    return read_split(dataset, config.data, split_file, found.split_file, window_s=window_s) or make_split(
        dataset,
        validation_share=config.validation_share,
        test_share=config.test_share,
        gap_windows=config.gap_images,
        window_s=window_s,
        seed=seed,
    )
