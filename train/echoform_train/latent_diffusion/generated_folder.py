"""A folder of generated spectrograms: images and metadata.jsonl; an interrupted run can continue in it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from echoform_train.engine.atomic_files import atomic_write, write_text
from echoform_train.engine.files import METADATA
from echoform_train.engine.json_files import parse_json
from echoform_train.engine.names import check_relative_path

GRID = "grid"
"""Figure of the first images, without the ending of its format."""


_LONGEST_LABEL = 20


@dataclass(frozen=True)
class PlannedImage:
    """One image to generate."""

    user: str
    """Name of the user."""
    index: int
    """Number of the image among those of the user, from 0."""
    seed: int
    """Seed of the command."""
    image_seed: int
    """Seed of this image's noise."""
    conditions: dict[str, str]
    """Label by name of the condition."""
    source: int | None = None
    """Index of the image that it is a variation of; None: it is made from noise alone."""
    share: float | None = None
    """Position between two users, 0..1; None: it is of one user."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Further columns of its line of metadata.jsonl."""

    @property
    def file_name(self) -> str:
        """Path inside the output folder."""
        return f"{self.user}/{self.index:05d}.png"

    @property
    def db_name(self) -> str:
        """Path of its decibels inside the output folder."""
        return f"{self.user}/{self.index:05d}.npy"

    def row(self) -> dict[str, Any]:
        """The image's line of metadata.jsonl."""
        return {
            "file_name": self.file_name,
            "user": self.user,
            "index": self.index,
            "seed": self.seed,
            "image_seed": self.image_seed,
            "origin": "generated",
            **self.conditions,
            **self.facts,
        }


class GeneratedFolder:
    """The output folder of `echoform generate`, which several processes fill together.

    Every process adds its rows to its own file metadata.jsonl.<number>; the main process merges these files.

    Args:
        folder: The folder.
        images: All images that it should hold in the end, in the order of metadata.jsonl.
        save_db: Whether decibels lie beside each image.
    """

    def __init__(self, folder: Path, images: Sequence[PlannedImage], *, save_db: bool = False) -> None:
        self.folder, self.images, self.save_db = folder, images, save_db

    def missing(self) -> list[PlannedImage]:
        """The planned images of which a file or the row is still missing."""
        rows = self._rows()
        return [i for i in self.images if i.file_name not in rows or not all(map(Path.is_file, self._files_of(i)))]

    def add(
        self,
        planned: Sequence[PlannedImage],
        images: Sequence[Image.Image],
        process: int,
        decibels: np.ndarray | None = None,
    ) -> None:
        """Write images, and then their rows to the metadata file of this process.

        Args:
            planned: What was planned.
            images: The images.
            process: Number of this process.
            decibels: Values of the images, float32 [N, H, W], row 0 the highest Doppler; with `save_db`.
        """
        for number, (each, image) in enumerate(zip(planned, images, strict=True)):
            path = self.folder / each.file_name
            path.parent.mkdir(parents=True, exist_ok=True)
            # A file under its final name is always complete.
            if decibels is not None:
                with atomic_write(self.folder / each.db_name) as partial, partial.open("wb") as file:
                    # The lowest Doppler first, as `echoform simulate` writes decibels and --read arrays takes them.
                    np.save(file, np.ascontiguousarray(decibels[number, ::-1]))
            with atomic_write(path) as partial:
                image.save(partial, format="png")
        with (self.folder / f"{METADATA}.{process}").open("a") as file:
            file.writelines(json.dumps(each.row()) + "\n" for each in planned)

    def merge_metadata(self) -> None:
        """Merge the metadata files of all processes into metadata.jsonl; main process only."""
        rows = self._rows()
        order = {image.file_name: position for position, image in enumerate(self.images)}
        names = sorted(rows, key=lambda name: (order.get(name, len(order)), name))
        write_text(self.folder / METADATA, "".join(rows[name] + "\n" for name in names))
        for path in self._files_of_processes():
            path.unlink()

    def save_grid(
        self,
        axes: Mapping[str, float] | None,
        colormap: Mapping[str, str] | None,
        *,
        figure_colormap: str | None = None,
        file_format: str = "png",
        columns: int = 8,
    ) -> Path:
        """Write grid.png: the first images of each user with their seeds and axes, one row per user.

        Args:
            axes: Axes of the pipeline.
            colormap: Colour map of the pipeline, as it holds it.
            figure_colormap: Map to show the images in instead.
            file_format: png, svg or pdf.
            columns: Most images of a user.

        Returns:
            The file.
        """
        # matplotlib takes a moment to import.
        from echoform_train.data.figure import MOST_ROWS, figure, save_figure

        users = list(dict.fromkeys(image.user for image in self.images))[:MOST_ROWS]
        count = max(image.index for image in self.images) + 1
        columns = min(columns, count)
        # The way from one user to another is shown from its first to its last step.
        is_way = self.images[0].share is not None
        chosen = {round(one) for one in np.linspace(0, count - 1, columns)} if is_way else set(range(columns))
        planned = [image for image in self.images if image.index in chosen and image.user in users]
        drawn = figure(
            [_load(self.folder / image.file_name) for image in planned],
            axes,
            ["\n".join([*_labels_of(image), f"seed {image.image_seed}"]) for image in planned],
            columns=columns,
            rows=users,
            colormap=colormap,
            figure_colormap=figure_colormap,
            title="Generated spectrograms",
        )
        path = self.folder / f"{GRID}.{file_format}"
        save_figure(drawn, path)
        return path

    def _files_of(self, image: PlannedImage) -> list[Path]:
        names = [image.file_name, image.db_name] if self.save_db else [image.file_name]
        return [self.folder / name for name in names]

    def _rows(self) -> dict[str, str]:
        """Lines of all metadata files by file name, without a line that an interruption cut short."""
        rows = {}
        for path in [self.folder / METADATA, *self._files_of_processes()]:
            for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
                if line.endswith("}"):
                    row = parse_json(line, f"a line of {path}")
                    rows[check_relative_path(row.get("file_name"), "file_name", f"a line of {path}")] = line
        return rows

    def _files_of_processes(self) -> list[Path]:
        """The metadata files that processes have written and that are not merged yet."""
        pattern = re.compile(rf"{re.escape(METADATA)}\.[0-9]+")
        return sorted(path for path in self.folder.glob(f"{METADATA}.*") if pattern.fullmatch(path.name))


def _load(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.copy()


def _labels_of(image: PlannedImage) -> list[str]:
    """What the figure tells of an image beside its seed: its conditions, its place between two users, its source."""
    labels = [", ".join(image.conditions.values())] if image.conditions else []
    labels += [] if image.share is None else [f"{100 * image.share:.0f} %"]
    source = image.facts.get("recording", "")
    return [*labels, *([f"from {_shortened(source)}"] if source else [])]


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_LABEL else "…" + name[1 - _LONGEST_LABEL :]
