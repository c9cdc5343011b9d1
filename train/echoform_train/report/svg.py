"""Matplotlib figures as small SVG elements of a page, with colours and fonts from the page's style."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

COLORS = {
    "first": "#0b6e99",
    "second": "#c4501b",
    "third": "#6a4fb3",
    "fourth": "#2f7d4f",
    "soft": "#5c6570",
    "rule": "#e2dfd8",
}
"""Colour variables of the page's style, with their values in light mode; a page may redefine them for dark mode."""
LINE_COLORS = tuple(COLORS[name] for name in ("first", "second", "third", "fourth"))
"""Colours of the first, second ... line of a chart; the classes line-0, line-1 ... of the style have the same."""

_XLINK = "http://www.w3.org/1999/xlink"


@dataclass(frozen=True)
class Layout:
    """Size of a chart and of the margins around its axes, in units of its viewBox, which are pixels at full width."""

    width: int = 420
    height: int = 250
    left: int = 62
    bottom: int = 46
    right: int = 10
    top: int = 10


def new_chart(xlabel: str, ylabel: str, layout: Layout = Layout()) -> tuple[Figure, Axes]:
    """An empty figure with one pair of axes in the style of the pages: horizontal grid, no frame, labels with units."""
    figure = Figure(figsize=(layout.width / 72, layout.height / 72))
    inner_width = layout.width - layout.left - layout.right
    inner_height = layout.height - layout.top - layout.bottom
    axes = figure.add_axes(
        (
            layout.left / layout.width,
            layout.bottom / layout.height,
            inner_width / layout.width,
            inner_height / layout.height,
        )
    )
    axes.spines[:].set_visible(False)
    axes.grid(axis="y", color=COLORS["rule"], linewidth=1)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, pad=7, labelcolor=COLORS["soft"], labelsize=12)
    axes.set_xlabel(xlabel, color=COLORS["soft"], fontsize=12, va="baseline")
    axes.set_ylabel(ylabel, color=COLORS["soft"], fontsize=12, va="baseline")
    # Axis labels are at the edges of the chart, so that the width of the tick labels does not move them.
    axes.xaxis.set_label_coords(0.5, (8 - layout.bottom) / inner_height)
    axes.yaxis.set_label_coords((12 - layout.left) / inner_width, 0.5)
    return figure, axes


def to_svg(figure: Figure, label: str, titles: Mapping[str, str] | None = None) -> Markup:
    """Draw a figure as an SVG element.

    Artists keep their gid as a class, up to the first colon ("right:0:1" becomes "right"); groups of ticks have the
    class xtick or ytick. Colours of COLORS become variables of the page's style, and text its font.

    Args:
        figure: What to draw.
        label: Description of the chart for screen readers.
        titles: Tooltip of an artist, by its gid.
    """
    figure.patch.set_visible(False)
    for axes in figure.axes:
        axes.patch.set_visible(False)
    text = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "echoform"}):
        FigureCanvasSVG(figure).print_svg(text, metadata=nothing)
    root = ElementTree.fromstring(text.getvalue())
    view_box = root.attrib["viewBox"]
    _simplify(root, titles or {})
    root.attrib = {"viewBox": view_box, "xmlns:xlink": _XLINK, "role": "img", "aria-label": label}
    return Markup(re.sub(r"\s*\n\s*", "", ElementTree.tostring(root, encoding="unicode")))


def _simplify(element: ElementTree.Element, titles: Mapping[str, str]) -> None:
    """Drop what is not drawn, turn ids into classes, and leave colours and fonts to the page's style."""
    for child in list(element):
        _simplify(child, titles)
        # A style element would apply to the whole page. Clipping is not needed: nothing is drawn outside of the axes.
        if child.tag in ("metadata", "style", "clipPath") or (child.tag in ("g", "defs") and len(child) == 0):
            element.remove(child)
    element.tag = element.tag.rpartition("}")[2]
    gid = element.attrib.pop("id", "") if element.tag == "g" else ""
    if gid in titles:
        title = ElementTree.Element("title")
        title.text = titles[gid]
        element.insert(0, title)
    attributes = {
        name.replace(f"{{{_XLINK}}}", "xlink:"): _short(name, value) for name, value in element.attrib.items()
    }
    element.attrib = _class_of(gid) | {name: value for name, value in attributes.items() if value}


def _short(name: str, value: str) -> str:
    if name == "clip-path" or value.startswith("rotate(-0 "):
        return ""
    if name == "style":
        value = re.sub(r"font(-size|-family)?: [^;]*;? ?", "", value)
        for variable, color in COLORS.items():
            value = value.replace(color, f"var(--{variable})")
        return value
    # Hundredths of a pixel are enough.
    return re.sub(r"(\.\d\d)\d+", r"\1", " ".join(value.split()))


def _class_of(gid: str) -> dict[str, str]:
    """Class of a group, from its gid. Matplotlib's own gids end in an underscore and a number; they give no class."""
    name, underscore, _ = gid.partition("_")
    if not gid or (underscore and name not in ("xtick", "ytick")):
        return {}
    return {"class": name.partition(":")[0]}
