"""Figures of depth images and embeddings, as PNG files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from echoform.pipeline_depth_autoencoder import DepthAutoencoderPipeline
from echoform_train.data.figure_fonts import fonts_for
from echoform_train.depth.dataset import DepthData
from echoform_train.depth.latents import LatentStatistics, map_to_plane
from echoform_train.depth.quality import DepthScores, ReconstructedTestImages
from echoform_train.depth.score_table import METHOD_TITLES

SHOWN_IMAGES = 8
INTERPOLATION_STEPS = 8
MAX_INTERPOLATIONS = 4
MAP_POINTS = 2000
_LONGEST_LINE = 22
"""Characters above a panel."""
_NO_READING = "black: no reading"


def save_score_figures(
    pipeline: DepthAutoencoderPipeline,
    data: DepthData,
    scores: DepthScores,
    reconstructions: ReconstructedTestImages,
    folder: Path,
) -> None:
    """Write the figures of scored test images: reconstructions.png, interpolations.png, spectrum.png and map.png."""
    scale, model = data.scale, reconstructions.model
    # Images spread evenly over the test set, because neighbours look alike.
    shown = torch.linspace(0, len(data.test) - 1, min(SHOWN_IMAGES, len(data.test))).long()
    save_reconstructions(
        scale.to_mm(model.depth[shown]),
        model.valid[shown],
        {
            METHOD_TITLES[name]: scale.to_mm(images[shown])
            for name, images in {"model": model.reconstructed, **reconstructions.others}.items()
        },
        model.valid_logit[shown] > 0,
        folder / "reconstructions.png",
    )
    # Pair the first shown images with the last ones, so that most pairs differ a lot.
    pairs = [(int(shown[index]), int(shown[-1 - index])) for index in range(min(MAX_INTERPOLATIONS, len(shown) // 2))]
    if pairs:
        paths = torch.stack([_interpolate(pipeline, *(data.test.units[index, 0] for index in pair)) for pair in pairs])
        save_interpolations(paths / scale.units_per_mm, scale.depth_range_mm, folder / "interpolations.png")
    save_spectrum(scores.latents, folder / "spectrum.png")
    chosen = torch.linspace(0, len(data.test) - 1, min(MAP_POINTS, len(data.test))).long()
    if len(chosen) >= 4:  # t-SNE needs at least 4 points
        labels = None if data.test.labels is None else data.test.labels[chosen].numpy()
        save_map(map_to_plane(model.latents[chosen].numpy()), labels, data.id2label, folder / "map.png")


def save_reconstructions(
    target_mm: Tensor,
    valid: Tensor,
    reconstructed_mm: Mapping[str, Tensor],
    predicted_valid: Tensor,
    path: Path,
    *,
    names: Sequence[str] | None = None,
) -> None:
    """Draw images in the first row; below them, for each method, its reconstructions with the RMSE of each, and errors.

    Args:
        target_mm: float [N, 1, H, W], millimetres.
        valid: Where there is a reading, bool [N, 1, H, W].
        reconstructed_mm: By title of the method, reconstructions of the same shape; the model is the first.
        predicted_valid: Where the model predicts a reading, bool [N, 1, H, W].
        path: PNG file.
        names: Text above each image, such as its class.
    """
    readings = target_mm[valid]
    near, far = (readings.min().item(), readings.max().item()) if len(readings) else (0.0, 1.0)
    errors = {name: (images - target_mm).abs() for name, images in reconstructed_mm.items()}
    # All methods share one colour scale of errors, whose end is a high quantile of the errors of the model.
    model_errors = next(iter(errors.values()))[valid]
    largest = torch.quantile(model_errors.flatten()[:1_000_000], 0.99).item() if len(model_errors) else 1.0
    rows = [_Row("image", target_mm, valid, "viridis", near, far, names)]
    for index, (name, images) in enumerate(reconstructed_mm.items()):
        shown = predicted_valid if index == 0 else valid
        rows.append(_Row(name, images, shown, "viridis", near, far, _rmse_of_each(errors[name], valid)))
        rows.append(_Row(f"{name}: error", errors[name], valid, "inferno", 0.0, max(1.0, largest), what="error"))
    columns = len(target_mm)
    figure = Figure(figsize=(1.2 * columns + 1.6, 1.4 * len(rows)), layout="constrained")
    with fonts_for(*(names or ())) as legible:
        for axes, row in zip(figure.subplots(len(rows), columns, squeeze=False), rows, strict=True):
            row.draw(figure, axes, legible)
    figure.supxlabel(_NO_READING, fontsize=7)
    _save(figure, path)


def save_interpolations(paths_mm: Tensor, depth_range_mm: Mapping[str, float], path: Path) -> None:
    """Draw images along paths between embeddings, one path per row, with the share of the way and bars in mm.

    Args:
        paths_mm: float [paths, steps, H, W], millimetres; 0 means no reading.
        depth_range_mm: Range of the colours.
        path: PNG file.
    """
    number, steps = paths_mm.shape[:2]
    shares = [f"{100 * step / max(1, steps - 1):.0f} %" for step in range(steps)]
    scale = ("viridis", depth_range_mm["min"], depth_range_mm["max"])
    figure = Figure(figsize=(1.2 * steps + 1.6, 1.45 * number), layout="constrained")
    for index, axes in enumerate(figure.subplots(number, steps, squeeze=False)):
        images = paths_mm[index][:, None]
        _Row(f"path {index + 1}", images, images > 0, *scale, titles=shares).draw(figure, axes)
    figure.supxlabel(_NO_READING, fontsize=7)
    _save(figure, path)


@dataclass(frozen=True)
class Panel:
    """A depth image and its title, whose lines are shortened at their beginnings where they are too long."""

    units: np.ndarray
    """[H, W], sensor units; 0 means no reading."""
    title: str


def save_panels(
    rows: Sequence[Sequence[Panel]], depth_range_mm: Mapping[str, float], units_per_mm: float, path: Path
) -> None:
    """Draw rows of depth images of any sizes with their titles, all with the same colours."""
    columns = max(len(row) for row in rows)
    titles = [panel.title for row in rows for panel in row]
    figure = Figure(figsize=(1.5 * columns + 1, 2.0 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    colours = matplotlib.colormaps["viridis"].with_extremes(bad="black")
    image = None
    for axes_of_row, panels in zip(axes, rows, strict=True):
        for index, axis in enumerate(axes_of_row):
            axis.set(xticks=[], yticks=[], visible=index < len(panels))
        for axis, panel in zip(axes_of_row, panels, strict=False):
            mm = np.ma.masked_equal(panel.units, 0) / units_per_mm
            image = axis.imshow(mm, cmap=colours, vmin=depth_range_mm["min"], vmax=depth_range_mm["max"])
            with fonts_for(*titles) as legible:
                axis.set_title("\n".join(map(_end, legible(panel.title).split("\n"))), fontsize=7, parse_math=False)
    if image is not None:
        figure.colorbar(image, ax=axes.ravel().tolist(), label="depth, mm", fraction=0.03, pad=0.01)
        figure.supxlabel(_NO_READING, fontsize=7)
    _save(figure, path)


def save_spectrum(statistics: LatentStatistics, path: Path) -> None:
    """Draw the share of the variance of each principal component of the embedding."""
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axis = figure.subplots()
    axis.bar(np.arange(1, len(statistics["spectrum"]) + 1), statistics["spectrum"], color="tab:blue")
    axis.set(xlabel="principal component of the embedding", ylabel="share of the variance", yscale="log")
    axis.set_title(
        f"{statistics['effective_dimensions']:.0f} effective dimensions, {statistics['components_for_99']} for 99 %, "
        f"{statistics['dead_dimensions']} dead",
        fontsize=9,
    )
    _save(figure, path)


def save_map(positions: np.ndarray, labels: np.ndarray | None, id2label: Mapping[int, str], path: Path) -> None:
    """Draw embeddings on a plane, float [N, 2], coloured by class if there are labels, int [N], with a legend."""
    figure = Figure(figsize=(7, 6), layout="constrained")
    axis = figure.subplots()
    colours = matplotlib.colormaps["turbo"](np.linspace(0, 1, max(1, len(id2label))))
    if labels is None or not id2label:
        axis.scatter(*positions.T, s=4)
    else:
        for index in id2label:
            of_class = labels == index
            axis.scatter(*positions[of_class].T, s=4, color=colours[index], label=f"class {index}")
        with fonts_for(*id2label.values()) as legible:
            legend = axis.legend(
                ncols=1 + len(id2label) // 25, markerscale=3, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5)
            )
            # Set afterwards, as matplotlib leaves out labels that begin with an underscore, and typesets those with $.
            for text, (index, name) in zip(legend.get_texts(), id2label.items(), strict=True):
                text.set(text=f"{legible(name)} ({int((labels == index).sum())})", parse_math=False)
    axis.set(xticks=[], yticks=[], title="t-SNE of the embeddings of held-out images")
    _save(figure, path)


@dataclass(frozen=True)
class _Row:
    """A row of images with one scale of colours in millimetres."""

    title: str
    images: Tensor
    """[N, 1, H, W], millimetres."""
    mask: Tensor
    """bool [N, 1, H, W]; pixels outside the mask are black."""
    colormap: str
    low: float
    high: float
    titles: Sequence[str] | None = None
    """Text above each image."""
    what: str = "depth"
    """What the colours show."""

    def draw(self, figure: Figure, axes: np.ndarray, legible: Callable[[str], str] = str) -> None:
        """Draw the N images on N axes, and a colour bar beside them; `legible` is that of `fonts_for`."""
        colours = matplotlib.colormaps[self.colormap].with_extremes(bad="black")
        drawn = None
        for axis, image, mask in zip(axes, self.images, self.mask, strict=True):
            masked = np.ma.masked_array(image[0].cpu().numpy(), ~mask[0].cpu().numpy())
            drawn = axis.imshow(masked, cmap=colours, vmin=self.low, vmax=self.high)
            axis.set(xticks=[], yticks=[])
        for axis, title in zip(axes, self.titles or (), strict=False):
            title = legible(title)
            axis.set_title(title if len(title) <= 16 else f"{title[:15]}…", fontsize=7, pad=3, parse_math=False)
        axes[0].set_ylabel(self.title, fontsize=8)
        if drawn is not None:
            figure.colorbar(drawn, ax=axes.tolist(), label=f"{self.what}, mm", fraction=0.05, pad=0.01)


def _interpolate(pipeline: DepthAutoencoderPipeline, first: Tensor, last: Tensor) -> Tensor:
    """Images decoded between the embeddings of two images [H, W], float32 [steps, H, W], all in sensor units."""
    ends = [image.to(torch.int32).numpy() for image in (first, last)]
    steps = pipeline.interpolate(*ends, steps=INTERPOLATION_STEPS).depth
    return torch.stack([torch.from_numpy(step.astype(np.float32)) for step in steps])


def _end(line: str) -> str:
    """A line of a title over a panel; of a path that is too long its end, which tells files apart."""
    return line if len(line) <= _LONGEST_LINE else f"…{line[1 - _LONGEST_LINE :]}"


def _rmse_of_each(error_mm: Tensor, valid: Tensor) -> list[str]:
    """Root mean square of the errors [N, 1, H, W] of each image, over its readings."""
    readings = valid.flatten(1).sum(dim=1)
    squares = (error_mm.double().square() * valid).flatten(1).sum(dim=1)
    return [
        f"RMSE {(square / number) ** 0.5:.0f} mm" if number else "no readings"
        for square, number in zip(squares.tolist(), readings.tolist(), strict=True)
    ]


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.set_dpi(150)
    FigureCanvasAgg(figure).print_png(path)
