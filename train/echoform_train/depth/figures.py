"""Figures of depth images and embeddings, as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from echoform_train.depth.painting import paint_depth, save_sheet


def save_reconstruction_figure(
    target_mm: Tensor, valid: Tensor, made_mm: Mapping[str, Tensor], said: Tensor, path: Path
) -> None:
    """Images, and below them what each method makes of them and how far that is off, with bars in millimetres.

    Args:
        target_mm: float [N, 1, H, W], millimetres.
        valid: bool [N, 1, H, W], where there is a reading.
        made_mm: By method, reconstructions of the same shape; the first is the model's.
        said: bool [N, 1, H, W], where the model says that there is a reading.
        path: PNG.
    """
    readings = target_mm[valid]
    near, far = (readings.min().item(), readings.max().item()) if len(readings) else (0.0, 1.0)
    errors = {name: (made - target_mm).abs() for name, made in made_mm.items()}
    first = next(iter(errors.values()))[valid]
    # One scale for all methods; the model's largest errors stand in few pixels.
    most = max(1.0, torch.quantile(first.flatten()[:1_000_000], 0.99).item()) if len(first) else 1.0
    rows: list[tuple[str, Tensor, Tensor, str, float, float]] = [("image", target_mm, valid, "viridis", near, far)]
    for place, (name, made) in enumerate(made_mm.items()):
        rows.append((name, made, said if place == 0 else valid, "viridis", near, far))
        rows.append((f"{name}: error", errors[name], valid, "inferno", 0.0, most))
    columns = len(target_mm)
    figure = Figure(figsize=(1.2 * columns + 1.6, 1.25 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, (name, images, mask, colormap, low, high) in zip(axes, rows, strict=True):
        shown = None
        for axis, image, known in zip(row, images, mask, strict=True):
            hidden = np.ma.masked_array(image[0].cpu().numpy(), ~known[0].cpu().numpy())
            colours = matplotlib.colormaps[colormap].with_extremes(bad="black")
            shown = axis.imshow(hidden, cmap=colours, vmin=low, vmax=high)
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(name, fontsize=8)
        if shown is not None:
            figure.colorbar(shown, ax=row.tolist(), label="mm", fraction=0.05, pad=0.01)
    _save(figure, path)


def save_interpolations(walks_mm: Tensor, depth_range_mm: Mapping[str, float], path: Path) -> None:
    """Walks between embeddings, float [W, S, H, W'] in millimetres with 0 for no reading, a row a walk."""
    near, far = depth_range_mm["min"], depth_range_mm["max"]
    depth = 2 * (walks_mm - near) / (far - near) - 1
    save_sheet([paint_depth(walk[:, None], mm[:, None] > 0) for walk, mm in zip(depth, walks_mm, strict=True)], path)


@dataclass(frozen=True)
class Panel:
    """A depth image and what stands above it."""

    units: np.ndarray
    """[H, W], the sensor's units; 0 is no reading."""
    title: str


def save_panels(
    rows: Sequence[Sequence[Panel]], depth_range_mm: Mapping[str, float], units_per_mm: float, path: Path
) -> None:
    """Depth images of any sizes in rows, each under its title, in one scale of colours."""
    columns = max(len(row) for row in rows)
    figure = Figure(figsize=(1.5 * columns + 1, 1.8 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    colours = matplotlib.colormaps["viridis"].with_extremes(bad="black")
    shown = None
    for row, panels in zip(axes, rows, strict=True):
        for axis in row:
            axis.set(xticks=[], yticks=[])
        for axis, panel in zip(row, panels, strict=False):
            mm = np.ma.masked_equal(panel.units, 0) / units_per_mm
            shown = axis.imshow(mm, cmap=colours, vmin=depth_range_mm["min"], vmax=depth_range_mm["max"])
            axis.set_title(panel.title, fontsize=7)
    if shown is not None:
        figure.colorbar(shown, ax=axes.ravel().tolist(), label="mm", fraction=0.03, pad=0.01)
    _save(figure, path)


def save_spectrum(facts: Mapping[str, Any], path: Path) -> None:
    """Shares of the variance of the embedding, by principal component, from `analyse_latents`."""
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axis = figure.subplots()
    axis.bar(np.arange(1, len(facts["spectrum"]) + 1), facts["spectrum"], color="tab:blue")
    axis.set(xlabel="principal component of the embedding", ylabel="share of the variance", yscale="log")
    axis.set_title(
        f"{facts['effective_dimensions']:.0f} effective dimensions, {facts['components_for_99']} for 99 %, "
        f"{facts['dead_dimensions']} dead",
        fontsize=9,
    )
    _save(figure, path)


def save_map(places: np.ndarray, labels: np.ndarray | None, id2label: Mapping[int, str], path: Path) -> None:
    """Embeddings on a plane, float [N, 2], coloured by class where int [N] labels are known."""
    figure = Figure(figsize=(7, 6), layout="constrained")
    axis = figure.subplots()
    colours = matplotlib.colormaps["turbo"](np.linspace(0, 1, max(1, len(id2label))))
    if labels is None or not id2label:
        axis.scatter(*places.T, s=4)
    else:
        for index, name in id2label.items():
            mine = labels == index
            axis.scatter(*places[mine].T, s=4, color=colours[index], label=name)
        axis.legend(
            ncols=1 + len(id2label) // 25, markerscale=3, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5)
        )
    axis.set(xticks=[], yticks=[], title="t-SNE of the embeddings of held-out images")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(path)
