"""The figure of spectrograms: axes in seconds, hertz and metres per second, a bar in decibels, a name per image."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.constants import speed_of_light
from torch import Tensor

from echoform_train.data.colormap import lookup_table
from echoform_train.data.figure_fonts import fonts_for
from echoform_train.data.figure_images import FigureImage, grey_table, is_grey, painted, table_of
from echoform_train.data.figure_layout import CHARACTER, LINE, Layout
from echoform_train.data.metadata import check_axes
from echoform_train.engine.atomic_files import atomic_write
from echoform_train.engine.errors import UserError

FORMATS = ("png", "svg", "pdf")
MOST_ROWS, MOST_COLUMNS = 64, 16
PNG_DPI = 200
_LARGE_COLUMNS, _LARGE_IMAGES = 4, 12  # at most, in a small figure


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
    labels: tuple[str, str] | None = ("time", "Doppler"),
    text: float = 1.0,
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
        labels: What runs to the right and up; None for images that are no spectrograms, which have no axes.
        text: Factor of the size of all text, such as 1.5 for a figure that is shown small.

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

    written = (*(names or ()), *(rows or ()), *(text for text, _ in groups), title, level, *(labels or ()))
    with fonts_for(*written) as legible:
        names, rows = ([legible(each) for each in texts] if texts else None for texts in (names, rows))
        groups, title = [(legible(each), number) for each, number in groups], legible(title)
        axes = {} if axes is None else check_axes(axes, "axes")
        table = None if colormap is None else table_of(colormap)
        colored = [None if image is None else painted(image, table, figure_colormap) for image in given]
        first = next(image for image in colored if image is not None)
        layout = Layout(
            columns=columns,
            rows=number_of_rows,
            large=columns <= _LARGE_COLUMNS and columns * number_of_rows <= _LARGE_IMAGES,
            height_of_width=float(np.clip(first.shape[0] / first.shape[1], 0.5, 2)),
            name_lines=max((name.count("\n") + 1 for name in names if name), default=0) if names else 0,
            group_ends=tuple(np.cumsum([number for _, number in groups])[:-1].tolist()),
            has_groups=bool(groups),
            has_speeds=axes.get("carrier_hz", 0) > 0 and _has_doppler(axes),
            has_bar={"db_min", "db_max"} <= set(axes) and (table is not None or is_grey(shown)),
            title=title,
            text=text,
        )
        drawn = Figure(figsize=(layout.width, layout.height))
        for index, image in enumerate(colored):
            if image is not None:
                row, column = divmod(index, columns)
                cell = drawn.add_axes(layout.cell(row, column), label=f"image {index}")
                _show(cell, image, axes)
                _label(cell, layout, axes, row_name=rows[row] if rows else "", at=index, taken=colored, labels=labels)
                if names and names[index]:
                    lines = [_short(line, layout.width_in_characters) for line in names[index].split("\n")]
                    cell.set_title("\n".join(lines), fontsize=layout.font, pad=3, linespacing=1.15, parse_math=False)
        _draw_groups(drawn, layout, groups)
        if layout.has_bar:
            colors = lookup_table(figure_colormap) if figure_colormap else table if table is not None else grey_table()
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
    cell: Axes,
    layout: Layout,
    axes: Mapping[str, float],
    *,
    row_name: str,
    at: int,
    taken: Sequence[Any],
    labels: tuple[str, str] | None,
) -> None:
    """Write numbers and units at the outer images only, as all share their axes."""
    column = at % layout.columns
    below, right = at + layout.columns, at + 1
    lowest = below >= len(taken) or taken[below] is None
    last = column == layout.columns - 1 or right >= len(taken) or taken[right] is None
    cell.tick_params(labelsize=layout.font, length=2, pad=1.5, labelbottom=lowest, labelleft=column == 0)
    if not last and "window_s" in axes:
        # The number at the right end would touch that at the left end of the next image.
        cell.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], prune="upper"))
    time, doppler = ("", "") if labels is None else labels
    if lowest:
        cell.set_xlabel(f"{time}, s" if "window_s" in axes else time, fontsize=layout.label_font, labelpad=2)
    if column == 0:
        unit = f"{doppler}, Hz" if _has_doppler(axes) else doppler
        lines = [_short(line, layout.height_in_characters) for line in row_name.split("\n") if line]
        cell.set_ylabel(
            "\n".join([*lines, *([unit] if unit else [])]), fontsize=layout.label_font, labelpad=2, parse_math=False
        )
    if last and layout.has_speeds:
        _add_speed_axis(cell, layout, axes["carrier_hz"])


def _add_speed_axis(cell: Axes, layout: Layout, carrier_hz: float) -> None:
    """Radial speed on the right: a target at v m/s shifts the carrier by 2 v f / c."""
    hz_per_mps = 2 * carrier_hz / speed_of_light
    to_mps, to_hz = lambda hz: np.asarray(hz) / hz_per_mps, lambda mps: np.asarray(mps) * hz_per_mps
    right = cell.secondary_yaxis("right", functions=(to_mps, to_hz))
    right.set_ylabel("m/s", fontsize=layout.label_font, labelpad=2)
    right.tick_params(labelsize=layout.font, length=2, pad=1.5)


def _draw_groups(drawn: Figure, layout: Layout, groups: Sequence[tuple[str, int]]) -> None:
    """Write the titles of groups of columns, and a line between each two groups."""
    start = 0
    top = layout.top_of_images + layout.names_height + 0.05
    for title, number in groups:
        left, right = layout.column_left(start), layout.column_left(start + number - 1) + layout.image_width
        characters = int((right - left) * 72 / (layout.title_font * CHARACTER * 1.1))
        text = _short(title, characters)
        place = (left / layout.width, top / layout.height)
        drawn.text(*place, text, fontsize=layout.title_font, weight="bold", va="bottom", parse_math=False)
        start += number
        if start < layout.columns:
            middle = (right + layout.column_left(start)) / 2 / layout.width
            ends = [layout.bottom / layout.height, (top + layout.title_font * LINE / 72) / layout.height]
            drawn.add_artist(Line2D([middle, middle], ends, color="0.35", linewidth=1.0))


def _draw_bar(
    drawn: Figure, layout: Layout, ends_db: tuple[float, float], colors: NDArray[np.uint8], level: str
) -> None:
    height = min(layout.top_of_images - layout.bottom - 0.1, 1.5 * layout.image_height + layout.names_height)
    place = layout.share(layout.bar_left, layout.top_of_images - height, 0.14 if layout.large else 0.1, height)
    bar = drawn.add_axes(place, label="dB")
    drawn.colorbar(ScalarMappable(Normalize(*ends_db), ListedColormap(colors / 255)), cax=bar)
    bar.set_ylabel(level, fontsize=layout.label_font, labelpad=2)
    bar.tick_params(labelsize=layout.font, length=2, pad=1.5)


def _short(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[: max(1, characters - 1)]}…"
