"""Places and sizes of everything in the figure of spectrograms, in inches."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

INCHES_PER_IMAGE = 1.28
"""Width of an image in a sheet of many; twice that in a small figure. Images of 256 pixels keep their pixels in PNG."""
CHARACTER = 0.56
"""Mean width of a character, of its font size."""
LINE = 1.3
"""Height of a line of text, of its font size."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Places of everything in the figure, in inches; whole pixels in PNG, so that each image keeps its pixels."""

    columns: int
    rows: int
    large: bool
    height_of_width: float
    name_lines: int
    group_ends: tuple[int, ...]
    """Number of columns before each line between groups."""
    has_groups: bool
    has_speeds: bool
    has_bar: bool
    title: str
    text: float = 1.0
    """Factor of the size of all text, and of the room for it."""

    edge = 0.08
    group_gap = 0.3

    @property
    def font(self) -> float:
        """Size of names and numbers, points."""
        return (9.0 if self.large else 6.0) * self.text

    @property
    def label_font(self) -> float:
        """Size of the labels of axes, points."""
        return (10.0 if self.large else 7.0) * self.text

    @property
    def title_font(self) -> float:
        """Size of titles, points."""
        return (12.0 if self.large else 9.0) * self.text

    @property
    def image_width(self) -> float:
        """Width of an image."""
        return INCHES_PER_IMAGE * (2 if self.large else 1)

    @property
    def image_height(self) -> float:
        """Height of an image."""
        return _rounded(self.image_width * self.height_of_width)

    @property
    def left(self) -> float:
        """From the left edge to the first image."""
        return _rounded((1.06 if self.large else 0.82) * self.text)

    @property
    def names_height(self) -> float:
        """Height of the names above an image."""
        return _rounded(self.name_lines * self.font * LINE / 72 + (0.06 if self.name_lines else 0))

    @property
    def row_pitch(self) -> float:
        """From one row to the next."""
        return self.image_height + self.names_height + 0.1

    @property
    def column_pitch(self) -> float:
        """From one column to the next, without lines between groups."""
        return self.image_width + (0.16 if self.large else 0.1)

    @property
    def right_of_images(self) -> float:
        """Right end of the last image."""
        return self.column_left(self.columns - 1) + self.image_width

    @property
    def bar_left(self) -> float:
        """Left end of the bar."""
        speeds = (0.64 if self.large else 0.45) if self.has_speeds else 0.0
        return _rounded(self.right_of_images + speeds * self.text + 0.14)

    @property
    def width(self) -> float:
        """Width of the figure."""
        return _rounded(self.bar_left + ((0.85 if self.large else 0.65) * self.text if self.has_bar else 0.0))

    @property
    def wrapped_title(self) -> str:
        """The title in lines that fit."""
        characters = int((self.width - self.left) * 72 / (self.title_font * CHARACTER))
        return textwrap.fill(self.title, max(20, characters))

    @property
    def titles_height(self) -> float:
        """Title of the figure and of the groups."""
        title = (self.wrapped_title.count("\n") + 1) * self.title_font * LINE / 72 + 0.06 if self.title else 0.0
        groups = self.title_font * LINE / 72 + 0.06 if self.has_groups else 0.0
        return _rounded(self.edge + title + groups)

    @property
    def bottom(self) -> float:
        """From the lower edge to the last row."""
        return _rounded((0.48 if self.large else 0.34) * self.text)

    @property
    def height(self) -> float:
        """Height of the figure."""
        return _rounded(self.titles_height + self.rows * self.row_pitch + self.bottom)

    @property
    def top_of_images(self) -> float:
        """Top of the first row, from below."""
        return self.height - self.titles_height - self.names_height

    @property
    def width_in_characters(self) -> int:
        """Characters of a name that fit above an image."""
        return int(self.image_width * 72 / (self.font * CHARACTER))

    @property
    def height_in_characters(self) -> int:
        """Characters of a label that fit beside an image."""
        return int(self.image_height * 72 / (self.label_font * CHARACTER))

    def column_left(self, column: int) -> float:
        """Left end of the images of a column."""
        return self.left + column * self.column_pitch + self.group_gap * sum(end <= column for end in self.group_ends)

    def cell(self, row: int, column: int) -> tuple[float, float, float, float]:
        """Left, bottom, width and height of an image, as shares of the figure."""
        bottom = self.top_of_images - row * self.row_pitch - self.image_height
        return self.share(self.column_left(column), bottom, self.image_width, self.image_height)

    def share(self, left: float, bottom: float, width: float, height: float) -> tuple[float, float, float, float]:
        """Inches as shares of the figure."""
        return left / self.width, bottom / self.height, width / self.width, height / self.height


def _rounded(inches: float) -> float:
    return round(inches, 2)
