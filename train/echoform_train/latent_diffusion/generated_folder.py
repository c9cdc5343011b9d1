"""A folder of generated spectrograms: images and metadata.jsonl; an interrupted run can continue in it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from echoform_train.engine.atomic_files import atomic_write, write_text
from echoform_train.engine.files import METADATA
from echoform_train.engine.json_files import parse_json
from echoform_train.engine.names import check_relative_path

GRID = "grid"
"""Figure of the first images, without the ending of its format."""


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

    @property
    def file_name(self) -> str:
        """Path inside the output folder."""
        return f"{self.user}/{self.index:05d}.png"

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
        }


class GeneratedFolder:
    """The output folder of `echoform generate`, which several processes fill together.

    Every process adds its rows to its own file metadata.jsonl.<number>; the main process merges these files.

    Args:
        folder: The folder.
        images: All images that it should hold in the end, in the order of metadata.jsonl.
    """

    def __init__(self, folder: Path, images: Sequence[PlannedImage]) -> None:
        self.folder, self.images = folder, images

    def missing(self) -> list[PlannedImage]:
        """The planned images whose file or row is still missing."""
        rows = self._rows()
        return [i for i in self.images if i.file_name not in rows or not (self.folder / i.file_name).is_file()]

    def add(self, planned: Sequence[PlannedImage], images: Sequence[Image.Image], process: int) -> None:
        """Write images, and then their rows to the metadata file of this process."""
        for each, image in zip(planned, images, strict=True):
            path = self.folder / each.file_name
            path.parent.mkdir(parents=True, exist_ok=True)
            # An image under its final name is always complete.
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
        columns = min(columns, max(image.index for image in self.images) + 1)
        planned = [image for image in self.images if image.index < columns and image.user in users]
        drawn = figure(
            [_load(self.folder / image.file_name) for image in planned],
            axes,
            ["\n".join([*_conditions_of(image), f"seed {image.image_seed}"]) for image in planned],
            columns=columns,
            rows=users,
            colormap=colormap,
            figure_colormap=figure_colormap,
            title="Generated spectrograms",
        )
        path = self.folder / f"{GRID}.{file_format}"
        save_figure(drawn, path)
        return path

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


def _conditions_of(image: PlannedImage) -> list[str]:
    """The conditions of an image in one line, or nothing."""
    return [", ".join(image.conditions.values())] if image.conditions else []
