"""The figure of spectrograms: axes in seconds, hertz and metres per second, a bar in decibels, a name per image."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image
from scipy.constants import speed_of_light
from scipy.spatial import KDTree
from torch import Tensor

from echoform_train.data.colormap import lookup_table, paint
from echoform_train.data.metadata import check_axes
from echoform_train.engine.atomic_files import atomic_write
from echoform_train.engine.errors import UserError

FigureImage: TypeAlias = "Image.Image | NDArray[Any] | Tensor"
"""A PIL image, an array [H, W] or [H, W, C], or a tensor [C, H, W], with C of 1 or 3: uint8, or float in 0..1."""

FORMATS = ("png", "svg", "pdf")
MOST_ROWS, MOST_COLUMNS = 64, 16
INCHES_PER_IMAGE = 1.28
"""Width of an image in a sheet of many; twice that in a small figure. Images of 256 pixels keep their pixels in PNG."""
PNG_DPI = 200
_LARGE_COLUMNS, _LARGE_IMAGES = 4, 12  # at most, in a small figure
_CHARACTER = 0.56  # mean width of a character, of its font size
_LINE = 1.3  # height of a line of text, of its font size


def figure(
    images: Sequence[FigureImage | None] | NDArray[Any] | Tensor,
    axes: Mapping[str, float] | None = None,
    names: Sequence[str] | None = None,
    *,
    columns: int | None = None,
    rows: Sequence[str] | None = None,
    groups: Sequence[tuple[str, int]] = (),
    colormap: str | Mapping[str, str] | None = "jet",
    figure_colormap: str | None = None,
    title: str = "",
    level: str = "echo strength, dB",
) -> Figure:
    """Draw spectrograms side by side, row by row, each with its name.

    What `axes` does not hold is not shown: then the axes say only "time" and "Doppler", and there is no bar.

    Args:
        images: Spectrograms, row 0 the highest Doppler; None leaves a gap. Indices into the colour map, or its colours.
        axes: Contents of axes.json, or `pipe.config["axes"]`: window_s, doppler_min_hz, doppler_max_hz, db_min, db_max
            and carrier_hz, of which any may be missing.
        names: Text above each image, such as its user and seed.
        columns: Images per row. Default: 4 at most.
        rows: Text at the left of each row.
        groups: Title and number of columns of each group, such as (("real", 2), ("generated", 2)); a line separates
            them.
        colormap: What the images are painted with: a name, `pipe.config["colormap"]`, or None for RGB and grey.
        figure_colormap: Map to show them in instead, such as viridis.
        title: Text above the figure.
        level: Text of the bar.

    Returns:
        A matplotlib figure, which a notebook shows; `save_figure` writes it.

    Raises:
        ValueError: If there is no image, they are too many, texts and images differ in number, or colours cannot be
            changed.
    """
    given = list(images)
    shown = [image for image in given if image is not None]
    columns = min(4, len(given)) if columns is None else columns
    if not shown or columns < 1:
        raise UserError(f"a figure needs images and columns, got {len(shown)} images in {columns} columns")
    number_of_rows = -(-len(given) // columns)
    if number_of_rows > MOST_ROWS or columns > MOST_COLUMNS:
        most = f"{MOST_ROWS} rows and {MOST_COLUMNS} columns"
        raise UserError(f"a figure has at most {most}, got {number_of_rows} rows and {columns} columns")
    for what, texts, wanted in (("names", names, len(given)), ("rows", rows, number_of_rows)):
        if texts is not None and len(texts) != wanted:
            raise UserError(f"{what} must be {wanted}, one for each, got {len(texts)}")
    if groups and sum(number for _, number in groups) != columns:
        raise UserError(f"groups must cover {columns} columns, got {list(groups)}")

    axes = {} if axes is None else check_axes(axes, "axes")
    table = None if colormap is None else _table(colormap)
    painted = [None if image is None else _painted(image, table, figure_colormap) for image in given]
    first = next(image for image in painted if image is not None)
    layout = _Layout(
        columns=columns,
        rows=number_of_rows,
        large=columns <= _LARGE_COLUMNS and columns * number_of_rows <= _LARGE_IMAGES,
        height_of_width=float(np.clip(first.shape[0] / first.shape[1], 0.5, 2)),
        name_lines=max((name.count("\n") + 1 for name in names if name), default=0) if names else 0,
        group_ends=tuple(np.cumsum([number for _, number in groups])[:-1].tolist()),
        has_groups=bool(groups),
        has_speeds=axes.get("carrier_hz", 0) > 0 and _has_doppler(axes),
        has_bar={"db_min", "db_max"} <= set(axes) and (table is not None or _is_grey(shown)),
        title=title,
    )
    drawn = Figure(figsize=(layout.width, layout.height))
    for index, image in enumerate(painted):
        if image is not None:
            row, column = divmod(index, columns)
            cell = drawn.add_axes(layout.cell(row, column), label=f"image {index}")
            _show(cell, image, axes)
            _label(cell, layout, axes, row_name=rows[row] if rows else "", at=index, taken=painted)
            if names and names[index]:
                lines = [_short(line, layout.width_in_characters) for line in names[index].split("\n")]
                cell.set_title("\n".join(lines), fontsize=layout.font, pad=3, linespacing=1.15, parse_math=False)
    _draw_groups(drawn, layout, groups)
    if layout.has_bar:
        colors = lookup_table(figure_colormap) if figure_colormap else table if table is not None else _grey_table()
        _draw_bar(drawn, layout, (axes["db_min"], axes["db_max"]), colors, level)
    if title:
        top = 1 - layout.edge / layout.height
        place = (layout.left / layout.width, top)
        drawn.text(*place, layout.wrapped_title, va="top", fontsize=layout.title_font, parse_math=False)
    return drawn


def result_figure(pipeline: Any, result: Any, **settings: Any) -> Figure:
    """Draw what a call of the pipeline gave, with the axes and colours of the pipeline; for notebooks.

    Args:
        pipeline: A `VQLDMDopplerPipeline`.
        result: What its call returned, with `output_type` of pil, np or pt; user and seed of each image are its name.
        settings: Those of `figure`, such as columns and figure_colormap.

    Raises:
        ValueError: If `figure` cannot draw it, such as decibels.
    """
    users = result.users or [""] * len(result.seeds)
    names = [f"{user}\nseed {seed}".lstrip() for user, seed in zip(users, result.seeds, strict=True)]
    facts: dict[str, Any] = {"names": names, "axes": pipeline.config["axes"], "colormap": pipeline.config["colormap"]}
    return figure(result.images, **(facts | settings))


def save_figure(drawn: Figure, path: Path) -> None:
    """Write a figure as .png (200 pixels per inch), .svg or .pdf, by the ending of the file; makes its folder.

    Raises:
        ValueError: If the file has another ending.
    """
    ending = path.suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        raise UserError(f"a figure is written as .png, .svg or .pdf, got {path.name}")
    if ending != "png":
        # The pixels of the spectrograms stay as they are, and the viewer enlarges them.
        for shown in (image for cell in drawn.axes for image in cell.images):
            shown.set_interpolation("none")
    # Without dates, equal figures are equal files.
    metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[ending]
    path.parent.mkdir(parents=True, exist_ok=True)
    fonts: Any = {"svg.fonttype": "none", "svg.hashsalt": "echoform", "pdf.fonttype": 42}
    with rc_context(fonts), atomic_write(path) as partial:
        drawn.savefig(partial, format=ending, dpi=PNG_DPI, metadata=metadata)


def png_bytes(drawn: Figure) -> bytes:
    """A figure as PNG of 200 pixels per inch, for a page."""
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return buffer.getvalue()


@dataclass(frozen=True, kw_only=True)
class _Layout:
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

    edge = 0.08
    group_gap = 0.3

    @property
    def font(self) -> float:
        return 9.0 if self.large else 6.0

    @property
    def label_font(self) -> float:
        return 10.0 if self.large else 7.0

    @property
    def title_font(self) -> float:
        return 12.0 if self.large else 9.0

    @property
    def image_width(self) -> float:
        return INCHES_PER_IMAGE * (2 if self.large else 1)

    @property
    def image_height(self) -> float:
        return _rounded(self.image_width * self.height_of_width)

    @property
    def left(self) -> float:
        return 1.06 if self.large else 0.82

    @property
    def names_height(self) -> float:
        return _rounded(self.name_lines * self.font * _LINE / 72 + (0.06 if self.name_lines else 0))

    @property
    def row_pitch(self) -> float:
        return self.image_height + self.names_height + 0.1

    @property
    def column_pitch(self) -> float:
        return self.image_width + (0.16 if self.large else 0.1)

    @property
    def right_of_images(self) -> float:
        return self.column_left(self.columns - 1) + self.image_width

    @property
    def bar_left(self) -> float:
        speeds = (0.64 if self.large else 0.45) if self.has_speeds else 0.0
        return self.right_of_images + speeds + 0.14

    @property
    def width(self) -> float:
        return _rounded(self.bar_left + ((0.85 if self.large else 0.65) if self.has_bar else 0.0))

    @property
    def wrapped_title(self) -> str:
        characters = int((self.width - self.left) * 72 / (self.title_font * _CHARACTER))
        return textwrap.fill(self.title, max(20, characters))

    @property
    def titles_height(self) -> float:
        """Title of the figure and of the groups."""
        title = (self.wrapped_title.count("\n") + 1) * self.title_font * _LINE / 72 + 0.06 if self.title else 0.0
        groups = self.title_font * _LINE / 72 + 0.06 if self.has_groups else 0.0
        return _rounded(self.edge + title + groups)

    @property
    def bottom(self) -> float:
        return 0.48 if self.large else 0.34

    @property
    def height(self) -> float:
        return _rounded(self.titles_height + self.rows * self.row_pitch + self.bottom)

    @property
    def top_of_images(self) -> float:
        return self.height - self.titles_height - self.names_height

    @property
    def width_in_characters(self) -> int:
        return int(self.image_width * 72 / (self.font * _CHARACTER))

    @property
    def height_in_characters(self) -> int:
        return int(self.image_height * 72 / (self.label_font * _CHARACTER))

    def column_left(self, column: int) -> float:
        return self.left + column * self.column_pitch + self.group_gap * sum(end <= column for end in self.group_ends)

    def cell(self, row: int, column: int) -> tuple[float, float, float, float]:
        """Left, bottom, width and height of an image, as shares of the figure."""
        bottom = self.top_of_images - row * self.row_pitch - self.image_height
        return self.share(self.column_left(column), bottom, self.image_width, self.image_height)

    def share(self, left: float, bottom: float, width: float, height: float) -> tuple[float, float, float, float]:
        return left / self.width, bottom / self.height, width / self.width, height / self.height


def _rounded(inches: float) -> float:
    return round(inches, 2)


def _has_doppler(axes: Mapping[str, float]) -> bool:
    return {"doppler_min_hz", "doppler_max_hz"} <= set(axes)


def _show(cell: Axes, image: NDArray[np.uint8], axes: Mapping[str, float]) -> None:
    """Show an image between its ends in seconds and hertz where they are known, with ticks there only."""
    times = (0.0, axes["window_s"]) if "window_s" in axes else (0.0, 1.0)
    doppler = (axes["doppler_min_hz"], axes["doppler_max_hz"]) if _has_doppler(axes) else (0.0, 1.0)
    cell.imshow(image, extent=(*times, *doppler), aspect="auto")
    cell.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    cell.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    if "window_s" not in axes:
        cell.set_xticks([])
    if not _has_doppler(axes):
        cell.set_yticks([])


def _label(
    cell: Axes, layout: _Layout, axes: Mapping[str, float], *, row_name: str, at: int, taken: Sequence[Any]
) -> None:
    """Write numbers and units at the outer images only, as all share their axes."""
    column = at % layout.columns
    below, right = at + layout.columns, at + 1
    lowest = below >= len(taken) or taken[below] is None
    last = column == layout.columns - 1 or right >= len(taken) or taken[right] is None
    cell.tick_params(labelsize=layout.font, length=2, pad=1.5, labelbottom=lowest, labelleft=column == 0)
    if lowest:
        cell.set_xlabel("time, s" if "window_s" in axes else "time", fontsize=layout.label_font, labelpad=2)
    if column == 0:
        unit = "Doppler, Hz" if _has_doppler(axes) else "Doppler"
        lines = [_short(line, layout.height_in_characters) for line in row_name.split("\n") if line]
        cell.set_ylabel("\n".join([*lines, unit]), fontsize=layout.label_font, labelpad=2, parse_math=False)
    if last and layout.has_speeds:
        _add_speed_axis(cell, layout, axes["carrier_hz"])


def _add_speed_axis(cell: Axes, layout: _Layout, carrier_hz: float) -> None:
    """Radial speed on the right: a target at v m/s shifts the carrier by 2 v f / c."""
    hz_per_mps = 2 * carrier_hz / speed_of_light
    to_mps, to_hz = lambda hz: np.asarray(hz) / hz_per_mps, lambda mps: np.asarray(mps) * hz_per_mps
    right = cell.secondary_yaxis("right", functions=(to_mps, to_hz))
    right.set_ylabel("m/s", fontsize=layout.label_font, labelpad=2)
    right.tick_params(labelsize=layout.font, length=2, pad=1.5)


def _draw_groups(drawn: Figure, layout: _Layout, groups: Sequence[tuple[str, int]]) -> None:
    """Write the titles of groups of columns, and a line between each two groups."""
    start = 0
    top = layout.top_of_images + layout.names_height + 0.05
    for title, number in groups:
        left, right = layout.column_left(start), layout.column_left(start + number - 1) + layout.image_width
        characters = int((right - left) * 72 / (layout.title_font * _CHARACTER * 1.1))
        text = _short(title, characters)
        place = (left / layout.width, top / layout.height)
        drawn.text(*place, text, fontsize=layout.title_font, weight="bold", va="bottom", parse_math=False)
        start += number
        if start < layout.columns:
            middle = (right + layout.column_left(start)) / 2 / layout.width
            ends = [layout.bottom / layout.height, (top + layout.title_font * _LINE / 72) / layout.height]
            drawn.add_artist(Line2D([middle, middle], ends, color="0.35", linewidth=1.0))


def _draw_bar(
    drawn: Figure, layout: _Layout, ends_db: tuple[float, float], colors: NDArray[np.uint8], level: str
) -> None:
    height = min(layout.top_of_images - layout.bottom - 0.1, 1.5 * layout.image_height + layout.names_height)
    place = layout.share(layout.bar_left, layout.top_of_images - height, 0.14 if layout.large else 0.1, height)
    bar = drawn.add_axes(place, label="dB")
    drawn.colorbar(ScalarMappable(Normalize(*ends_db), ListedColormap(colors / 255)), cax=bar)
    bar.set_ylabel(level, fontsize=layout.label_font, labelpad=2)
    bar.tick_params(labelsize=layout.font, length=2, pad=1.5)


def _short(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[: max(1, characters - 1)]}…"


def _table(colormap: str | Mapping[str, str]) -> NDArray[np.uint8]:
    """Colours uint8 [256, 3] of a map, by its name or as a pipeline holds it."""
    if isinstance(colormap, str):
        return lookup_table(colormap)
    return np.frombuffer(bytes.fromhex(colormap["rgb_hex"]), dtype=np.uint8).reshape(-1, 3)


def _grey_table() -> NDArray[np.uint8]:
    return np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)


def _is_grey(images: Sequence[FigureImage]) -> bool:
    return all(_pixels(image).ndim == 2 for image in images)


def _pixels(image: FigureImage) -> NDArray[np.uint8]:
    """An image as uint8: indices [H, W], or colours [H, W, 3]."""
    if isinstance(image, Image.Image):
        array = np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
    elif isinstance(image, Tensor):
        array = image.detach().cpu().numpy()
        array = array.transpose(1, 2, 0) if array.ndim == 3 else array
    else:
        array = np.asarray(image)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2 and (array.ndim != 3 or array.shape[2] != 3):
        raise UserError(f"an image must be [H, W] or have 1 or 3 channels, got {list(array.shape)}")
    if array.dtype == np.uint8:
        return array
    if not np.issubdtype(array.dtype, np.floating) or not (array.min() >= 0 and array.max() <= 1):
        raise UserError(f"an image must be uint8, or float in 0..1, got {array.dtype} in {array.min()}..{array.max()}")
    return (array * 255).round().astype(np.uint8)


def _painted(image: FigureImage, table: NDArray[np.uint8] | None, figure_colormap: str | None) -> NDArray[np.uint8]:
    """An image as RGB uint8 [H, W, 3], in the colours of the figure if it has its own."""
    pixels = _pixels(image)
    if pixels.ndim == 3:
        if figure_colormap is None:
            return pixels
        if table is None:
            raise UserError(f"a figure in {figure_colormap} needs images in the colours of one map, got RGB images")
        pixels = _indices(pixels, table)
    if figure_colormap is not None:
        return paint(pixels, figure_colormap)
    return (_grey_table() if table is None else table)[pixels]


def _indices(rgb: NDArray[np.uint8], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Index of the nearest colour of a map, uint8 [H, W], of colours [H, W, 3]."""
    colors, inverse = np.unique(rgb.reshape(-1, 3), axis=0, return_inverse=True)
    nearest = np.asarray(KDTree(table).query(colors)[1])
    return nearest.astype(np.uint8)[inverse].reshape(rgb.shape[:2])
