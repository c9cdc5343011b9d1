"""The tab "Depth": embeddings and reconstructions of 16-bit depth images, nearest images, and interpolation."""

from __future__ import annotations

import math
import zipfile
from functools import cache
from io import BytesIO
from typing import Any

import gradio as gr
import numpy as np
import torch
from generate import Shown, image_gallery
from hardware import model_queue, on_gpu
from loading import damage_as_sentence, load, pipeline, source
from PIL import Image
from plots import SHOWN_PX, Bar, depth_bar, frame, paint, signed_bar
from probe import READ_PIXELS, probes
from visitors import download_path, open_upload, open_uploads, refusal, several_files, shown_to_visitor, stored

FORMATS = ("PNG", "TIFF")
SUFFIXES = [".png", ".tif", ".tiff"]
NEAREST = 3
NUM_SCENES = 6
SCENE_PX = 128
BETWEEN = 4
"""Frames of the animation per image of the strip."""
FRAME_MS = 100
HEADINGS = ["file", "RMSE in mm", "MAE in mm", "validity IoU", "out of range", "nearest image"]
COLUMN_PX: list[str | int] = [150, 110, 110, 120, 120, 150]


def draw_scene(seed: int, side: int, low_mm: float, high_mm: float) -> np.ndarray:
    """Simulated scene: a ball before a slanted wall, uint16 millimetres [side, side]; a corner has no reading (0)."""
    rng = np.random.default_rng(seed)
    rows, columns = (np.mgrid[:side, :side] + 0.5) / side - 0.5
    reach = high_mm - low_mm
    wall_mm = low_mm + reach * (0.6 + 0.3 * rng.random() * columns)
    row, column = rng.uniform(-0.2, 0.2, 2)
    radius = rng.uniform(0.15, 0.3)
    bulge = np.sqrt(np.maximum(0, radius**2 - (rows - row) ** 2 - (columns - column) ** 2))
    ball_mm = low_mm + reach * (rng.uniform(0.3, 0.4) - 0.4 * bulge)
    depth_mm = np.where(bulge > 0, ball_mm, wall_mm)
    depth_mm[rows + columns < -0.85] = 0
    return depth_mm.round().astype(np.uint16)


def as_file(units: np.ndarray, config: Any) -> Image.Image:
    """Units, uint16 [H, W], as an image that a pipeline of this config reads as them."""
    if config.get("encoding", "linear") == "linear":  # a pipeline of an earlier version has no encoding
        return Image.fromarray(units)
    # Whole numbers would be taken for encoded ones, floating point is not.
    mm_per = {"mm": 1, "cm": 10, "m": 1000}.get(config["float_unit"], 1 / config["units_per_mm"])
    return Image.fromarray((units / config["units_per_mm"] / mm_per).astype(np.float32))


@cache
def scenes(first: int = 0, count: int = NUM_SCENES) -> tuple[tuple[str, Image.Image], ...]:
    """Names and images of simulated scenes in the loaded model's range and units, for the search of nearest images."""
    config = load("depth").config
    span, units_per_mm = config["depth_range_mm"], config["units_per_mm"]
    far_mm = min(span["max"], 65535 / units_per_mm)
    return tuple(
        (
            f"scene_{seed}.{'png' if config.get('encoding', 'linear') == 'linear' else 'tif'}",
            as_file((draw_scene(seed, SCENE_PX, span["min"], far_mm) * units_per_mm).astype(np.uint16), config),
        )
        for seed in range(first, first + count)
    )


def read_depth(pipe: Any, name: str, image: Image.Image) -> np.ndarray:
    """Depth of one image as float [H, W] in mm; 0 where there is no reading, or one outside the model's range.

    Raises:
        gradio.Error: If it is no depth image, or no reading lies in the model's range.
    """
    try:
        depth_mm = pipe.read(image) / pipe.config["units_per_mm"]
    except ValueError as error:
        raise refusal(f"{name}: {error}") from error
    low, high = pipe.config["depth_range_mm"]["min"], pipe.config["depth_range_mm"]["max"]
    inside = np.where((depth_mm >= low) & (depth_mm <= high), depth_mm, 0)
    if not inside.any():
        found = f"its depths are {depth_mm.min():g} to {depth_mm.max():g} mm" if depth_mm.any() else "it has no reading"
        raise refusal(f"{name} must hold depths from {low:g} to {high:g} mm, the range of the model, but {found}.")
    return inside


def comparison(name: str, before_mm: np.ndarray, after_mm: np.ndarray, rmse_mm: float) -> Shown:
    """Three framed images in mm: depth and reconstruction in one colour scale, and the signed error."""
    known, known_after = before_mm > 0, after_mm > 0
    low, high = float(before_mm[known].min()), float(before_mm[known].max())
    bar = depth_bar(low, max(high, low + 1))
    error_mm, both = after_mm - before_mm, known & known_after
    reach = float(np.quantile(np.abs(error_mm[both]), 0.99)) if both.any() else 1.0
    difference = signed_bar(max(1.0, math.ceil(reach)), "mm")
    return [
        (stored(frame(paint(before_mm, bar, known), bar=bar)), name),
        (stored(frame(paint(after_mm, bar, known_after), bar=bar)), "reconstruction"),
        (stored(frame(paint(error_mm, difference, both), bar=difference)), f"RMSE {rmse_mm:.1f} mm"),
    ]


def nearest(latents: torch.Tensor, others: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The NEAREST most similar embeddings of each embedding, itself excluded.

    Args:
        latents: float [N, D].
        others: float [M, D], of which the first N rows are `latents`.

    Returns:
        Cosines float [N, NEAREST] and indices into `others`, int64 [N, NEAREST], the most similar first.
    """
    rows, columns = (torch.nn.functional.normalize(one.float()) for one in (latents, others))
    cosines = rows @ columns.T
    cosines[torch.arange(len(rows)), torch.arange(len(rows))] = -2  # itself
    return cosines.topk(min(NEAREST, len(others) - 1), dim=1)


@on_gpu
def embed(files: list[str]) -> tuple[Shown, list[list[Any]], Shown, str, str, str]:
    """Encode and decode 16-bit depth images, and find similar ones.

    Args:
        files: PNG or TIFF, 16-bit greyscale (or floating point TIFF) in the model's units; at most 16.

    Returns:
        Each image with its reconstruction and error in mm; a row of numbers for each; the images nearest to the first
        one, among the others and simulated scenes; embeddings, float32 [N, D], as .npy; the reconstructions as 16-bit
        PNG in a ZIP; and the images as HTML, where pointing at a pixel shows its depth and error.
    """
    return encode_images(pipeline("depth"), open_uploads(files, FORMATS))


def encode_images(
    pipe: Any, images: list[tuple[str, Image.Image]]
) -> tuple[Shown, list[list[Any]], Shown, str, str, str]:
    """Results of `embed` for opened images with their names."""
    before = [read_depth(pipe, name, image) for name, image in images]
    with shown_to_visitor():
        output = pipe([image for _, image in images], batch_size=4)
        around = pipe.encode([image for _, image in scenes()])
    # Nearest images are searched among the other images and the simulated scenes.
    units_per_mm = pipe.config["units_per_mm"]
    cosines, indices = nearest(output.latents, torch.cat([output.latents, around]))
    gallery = [*images, *scenes()]
    after = [one / units_per_mm for one in output.depth]
    shown, rows = [], []
    for number, (name, _) in enumerate(images):
        shown += comparison(name, before[number], after[number], output.rmse_mm[number])
        errors = [round(float(one[number]), 3) for one in (output.rmse_mm, output.mae_mm, output.validity_iou)]
        rows.append([name, *errors, output.out_of_range[number], gallery[int(indices[number, 0])][0]])
    alike = [
        (stored(show_depth(pipe, gallery[int(index)][1])), f"{gallery[int(index)][0]}, cosine {float(cosine):.4f}")
        for index, cosine in zip(indices[0], cosines[0], strict=True)
    ]
    path = download_path("embeddings.npy")
    np.save(path, output.latents.numpy())
    names = [name for name, _ in images]
    readable = probes(zip(names, before, after, strict=True))
    return shown, rows, alike, str(path), pack(names, output.depth), readable


def show_depth(pipe: Any, image: Image.Image) -> Image.Image:
    """Show a depth image in a colour scale that spans its own readings, in mm."""
    depth_mm = pipe.read(image) / pipe.config["units_per_mm"]
    return show_mm(depth_mm, span_of(depth_mm))


def span_of(depth_mm: np.ndarray) -> Bar:
    """Colour scale that spans all readings of an array in mm (0 is no reading)."""
    known = depth_mm[depth_mm > 0]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    return depth_bar(low, max(high, low + 1))


def show_mm(depth_mm: np.ndarray, bar: Bar) -> Image.Image:
    """Show depth [H, W] in mm (0 is no reading) in a given colour scale, with its bar."""
    return frame(paint(depth_mm, bar, depth_mm > 0), bar=bar)


def pack(names: list[str], depth: list[np.ndarray]) -> str:
    """Write depth images, uint16 [H, W], as 16-bit PNG into a ZIP, and return its path."""
    path = download_path("reconstructions.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for number, (name, one) in enumerate(zip(names, depth, strict=True)):
            png = BytesIO()
            Image.fromarray(one).save(png, "PNG")
            archive.writestr(f"{number:02d}_{name.rpartition('.')[0]}.png", png.getvalue())
    return str(path)


@on_gpu
def interpolate_depth(first: str, last: str, steps: int) -> tuple[Shown, str]:
    """Interpolate from one depth image to another along the line between their embeddings.

    Args:
        first: PNG or TIFF, 16-bit greyscale in the model's units.
        last: The same, of the same size.
        steps: Images including both ends, 2 to 9.

    Returns:
        The decoded images, all in one colour scale in mm; and an animated WebP of more frames, played forwards
        and backwards.
    """
    if first is None or last is None:
        raise refusal("Drop in two depth images.")
    pipe = pipeline("depth")
    ends = [open_upload(path, FORMATS) for path in (first, last)]
    for name, image in zip(("The first image", "The last image"), ends, strict=True):
        read_depth(pipe, name, image)
    if ends[0].size != ends[1].size:
        one, other = (f"{image.width} x {image.height}" for image in ends)
        raise refusal(f"The two images must be of one size, got {one} and {other}.")
    stride = math.ceil(max(ends[0].size) / (2 * SHOWN_PX))  # no larger than it is shown on the page
    with shown_to_visitor():
        size = ends[0].height // stride, ends[0].width // stride
        walk = pipe.interpolate(*ends, steps=BETWEEN * (steps - 1) + 1, size=size).depth
    depth_mm = np.stack(walk) / pipe.config["units_per_mm"]
    frames = [show_mm(one, span_of(depth_mm)) for one in depth_mm]
    strip = [
        (stored(one), f"{100 * number / (steps - 1):.0f} % of the way") for number, one in enumerate(frames[::BETWEEN])
    ]
    return strip, animation(frames)


def animation(frames: list[Image.Image]) -> str:
    """Write a lossless animated WebP that shows the frames forwards and backwards, and return its path."""
    path = download_path("from_one_to_the_other.webp")
    there_and_back = [*frames[1:], *frames[-2:0:-1]]
    frames[0].save(
        path, save_all=True, append_images=there_and_back, duration=FRAME_MS, loop=0, lossless=True, quality=0, method=0
    )
    return str(path)


def tab(pipe: Any) -> None:
    """Build the tab: files on the left, results on the right, filled with two simulated scenes."""
    origin = source("depth")
    assert origin is not None  # the pipeline was loaded from it
    with damage_as_sentence(origin.repo):
        span, drawn = pipe.config["depth_range_mm"], scenes(first=NUM_SCENES, count=2)
        shown, rows, alike, numbers, rebuilt, readable = encode_images(pipe, list(drawn))
    paths = [download_path(name) for name, _ in drawn]
    for path, (_, image) in zip(paths, drawn, strict=True):
        image.save(path)
    gr.Markdown(
        f"Depth images of {span['min']:g} to {span['max']:g} mm; 1 mm is {pipe.config['units_per_mm']:g} in the file, "
        "and all 16 bits are used. Grey pixels have no reading. The scenes below are simulated."
    )
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            files = several_files([str(path) for path in paths], SUFFIXES, "16-bit PNG or TIFF")
            button = gr.Button("Encode and reconstruct", variant="primary")
            npy = gr.DownloadButton("Embeddings (.npy)", value=numbers)
            archive = gr.DownloadButton("Reconstructions (16-bit PNG, ZIP)", value=rebuilt)
            ends = [
                gr.File(str(path), file_types=SUFFIXES, label=label, height=100)
                for path, label in zip(paths, ("First image", "Last image"), strict=True)
            ]
            steps = gr.Slider(2, 9, value=5, step=1, precision=0, label="Number of images")
            walk = gr.Button("Interpolate")
        with gr.Column(scale=2, min_width=300):
            compared = image_gallery(shown, "Original, reconstruction and error")
            pointed = gr.HTML(readable, js_on_load=READ_PIXELS, label="Values under the pointer", padding=True)
            table = gr.Dataframe(rows, headers=HEADINGS, interactive=False, column_widths=COLUMN_PX)
            near = image_gallery(alike, "Nearest to the first image")
            strip = image_gallery(None, "Interpolation")
            moving = gr.Image(
                label="Interpolation, animated", type="filepath", interactive=False, buttons=["download", "fullscreen"]
            )
    queue = model_queue()
    outputs = [compared, table, near, npy, archive, pointed]
    button.click(embed, files, outputs, api_name="embed", show_progress_on=compared, **queue)
    files.upload(embed, files, outputs, api_visibility="private", show_progress_on=compared, **queue)
    walk.click(interpolate_depth, [*ends, steps], [strip, moving], api_name="interpolate_depth", **queue)
