"""Any folder of pictures, grey or RGB, as tensors in memory, parted into train, validation and test."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro
from datasets import Dataset
from PIL import Image
from torch import Tensor

from echoform.pipeline_conv_autoencoder import cut_square
from echoform_train.data.folder import build_dataset
from echoform_train.data.hub import find_in_dataset, is_dataset_folder, is_hub_id
from echoform_train.data.image_check import IMAGE_SUFFIXES, BadFile, BadFileError, decode_image, refuse
from echoform_train.data.layout import (
    Found,
    ImageFile,
    find_in_folder,
    natural_key,
    read_axes,
    recording_of,
    split_name,
)
from echoform_train.data.split import Split, check_split, make_split
from echoform_train.engine.files import AXES, METADATA

Color = Literal["auto", "rgb", "grey"]


@dataclass(frozen=True, kw_only=True)
class ImageSourceConfig:
    """Which pictures, and how they are parted."""

    data: Annotated[str, tyro.conf.arg(aliases=["--dataset-name"])]
    """Folder of pictures in any folders, or the id of a data set on the Hub: user/name, user/name@revision."""
    split_file: Path | None = None
    """Split to use, written there when there is none yet. Default: split.json of the training's output folder."""
    validation_share: float = 0.15
    """Share of the images for validation."""
    test_share: float = 0.2
    """Share of the images for the test."""
    gap_images: int = 2
    """Images left out at each cut through a folder, or a recording whose window length is not known."""
    skip_bad_files: bool = False
    """List and skip files that cannot be used instead of stopping."""


@dataclass(frozen=True, kw_only=True)
class ImageDataConfig(ImageSourceConfig):
    """Which pictures, and how the model sees them."""

    resolution: int = 224
    """Height and width in pixels: pictures are cut to a square about their centre and resized."""
    color: Color = "auto"
    """auto: grey where every file is grey; rgb repeats grey three times; grey takes the luminance of colours."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """Pictures of one part."""

    pixels: Tensor
    """uint8 [N, C, H, W]; C is 1 for grey, 3 for RGB."""
    files: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.files)


@dataclass(frozen=True, kw_only=True)
class ImageData:
    """What the training and the scoring start from."""

    train: Images
    validation: Images
    test: Images
    left_out: Images
    """Images in the gaps of the split."""
    split: Split
    source: str
    skipped: tuple[BadFile, ...]
    """Files that were left out because `skip_bad_files` asked for it."""


def load_image_data(
    config: ImageSourceConfig, split_file: Path | None, seed: int, *, resolution: int, color: Color
) -> ImageData:
    """The pictures that the flags name, in the parts of `split_file`.

    Folders are names, not users: images of all of them stand on all sides where there are enough. A folder called
    train, validation or test at the top is that part. Windows of a recording, known by their names
    (`<recording>_t<centiseconds>.png`) or by metadata.jsonl, never overlap across parts: where there are at least three
    recordings they stay whole, and elsewhere folders are cut in natural order with a gap.

    Args:
        config: What the flags say; its own `split_file` is not read.
        split_file: Split to use; where it does not exist yet, the one that a published data set brings along, or a
            new one, is written there. Splits of `echoform prepare` and of the other trainings do as well.
        seed: Draws the recordings of each side.
        resolution: Height and width to resize to, pixels.
        color: As of `ImageDataConfig`.

    Raises:
        FileNotFoundError: If there is no such source.
        ValueError: If a file cannot be used, the split does not fit, or an argument is out of range.
    """
    if resolution < 2:
        raise ValueError(f"resolution must be at least 2, got {resolution}")
    found = _find(config.data)
    pixels, kept, bad_files = _read(found.images, resolution, color)
    bad_files = [*found.bad_files, *bad_files]
    if not config.skip_bad_files:
        refuse(bad_files)
    if not kept:
        raise ValueError(f"a source must hold pictures that can be used, {config.data} holds none")
    split = _choose_split(config, found, build_dataset(kept), split_file, seed)
    place_of = {image.file: place for place, image in enumerate(kept)}
    sides = {}
    for side in ("train", "validation", "test", "left_out"):
        files = getattr(split, side)
        places = torch.tensor([place_of[file] for file in files], dtype=torch.int64)
        sides[side] = Images(pixels=pixels[places], files=files)
    return ImageData(**sides, split=split, source=config.data, skipped=tuple(bad_files))


def image_facts(data: ImageData) -> dict[str, Any]:
    """What a card tells of the data; JSON-able."""
    return {
        "source": data.source,
        "resolution": data.train.pixels.shape[-1],
        "channels": data.train.pixels.shape[1],
        "images": {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
        "split": data.split.how,
    }


def _find(source: str) -> Found:
    folder = Path(source)
    if folder.is_dir() and not is_dataset_folder(folder):
        images = _find_in_folder(folder)
        return Found(tuple(images), axes=read_axes(folder / AXES))
    if folder.is_file():
        raise ValueError(f"a source must be a folder or a data set of the Hub, {source} is a file")
    if not folder.is_dir() and not is_hub_id(source):
        raise FileNotFoundError(f"there is no folder {source}")
    found = find_in_dataset(source, need_users=False)
    images = [_of_nobody(image, home=image.user) for image in found.images]
    return replace(found, images=tuple(images))


def _find_in_folder(folder: Path) -> list[ImageFile]:
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if _is_picture(path, folder)}
    if not paths:
        raise ValueError(f"a source must hold pictures ({', '.join(IMAGE_SUFFIXES)}), {folder} holds none")
    names = sorted(paths, key=natural_key)
    splits = {name: split_name(name.partition("/")[0]) if "/" in name else None for name in names}
    inside = [name for name in names if splits[name] is not None]
    if inside and len(inside) < len(names):
        outside = next(name for name in names if splits[name] is None)
        raise ValueError(f"split folders must stand alone, {folder} holds {inside[0]} and {outside}")
    # What its metadata say of recordings is what they say to every other training.
    known = find_in_folder(folder).images if (folder / METADATA).is_file() else ()
    described = {image.file: (image.recording, image.start_s) for image in known}
    images = []
    for name in names:
        recording, start_s = described.get(name) or recording_of(name)
        image = ImageFile(
            file=name, data=paths[name], user="", recording=recording, start_s=start_s, split=splits[name]
        )
        images.append(_of_nobody(image, home=PurePosixPath(name).parent.as_posix()))
    return images


def _is_picture(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.relative_to(folder).parts)
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden and path.is_file()


def _of_nobody(image: ImageFile, home: str) -> ImageFile:
    """All images as those of one user, so that a split asks of no folder that it reach all sides."""
    recording = None if image.recording is None else f"{home}/{image.recording}"
    return replace(image, user="all", recording=recording, columns={})


def _read(images: Sequence[ImageFile], resolution: int, color: Color) -> tuple[Tensor, list[ImageFile], list[BadFile]]:
    """Pixels uint8 [N, C, H, W], the files that they are of, and those that cannot be used; each is read once."""

    def read(image: ImageFile) -> np.ndarray | BadFile:
        try:
            picture = Image.fromarray(decode_image(image.read(), image.file))
        except BadFileError as error:
            return error.bad
        picture = picture if color == "auto" else picture.convert("L" if color == "grey" else "RGB")
        return np.asarray(cut_square(picture, resolution))

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        results = list(pool.map(read, images))
    bad_files = [result for result in results if isinstance(result, BadFile)]
    kept = [image for image, result in zip(images, results, strict=True) if not isinstance(result, BadFile)]
    decoded = [result for result in results if not isinstance(result, BadFile)]
    channels = 1 if all(pixels.ndim == 2 for pixels in decoded) else 3
    together = np.empty((len(decoded), channels, resolution, resolution), dtype=np.uint8)
    for place, pixels in enumerate(decoded):
        together[place] = pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return torch.from_numpy(together), kept, bad_files


def _choose_split(
    config: ImageSourceConfig, found: Found, dataset: Dataset, split_file: Path | None, seed: int
) -> Split:
    window_s = None if found.axes is None else found.axes.get("window_s")
    given = split_file if split_file is not None and split_file.exists() else found.split_file
    if given is not None:
        split = Split.load(given)
        try:
            check_split(dataset, split, window_s=window_s)
        except ValueError as error:
            raise ValueError(f"{given} cannot be used with {config.data}: {error}") from error
    else:
        split = make_split(
            dataset,
            validation_share=config.validation_share,
            test_share=config.test_share,
            gap_windows=config.gap_images,
            window_s=window_s,
            seed=seed,
        )
    if split_file is not None and not split_file.exists():
        split.save(split_file)
    return split
