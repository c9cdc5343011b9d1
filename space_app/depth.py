"""The tab "Depth": embeddings and reconstructions of 16-bit depth images, nearest images, and interpolation."""

from __future__ import annotations

import math
import zipfile
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
from generate import Shown, image_gallery
from hardware import model_queue, on_gpu
from loading import damage_as_sentence, load, pipeline, source
from PIL import Image
from plots import SHOWN_PX, Bar, frame, paint
from probe import READ_PIXELS, depth_scale, error_scale, probes
from visitors import download_path, open_upload, open_uploads, refusal, several_files, shown_to_visitor, stored

FORMATS = ("PNG", "TIFF")
SUFFIXES = [".png", ".tif", ".tiff"]
NEAREST = 3
ROOMS = Path(__file__).with_name("rooms.png")
"""Simulated rooms of `echoform train depth-ae --data rooms`, one below the other: uint16 mm, 0 is no reading."""
ROOMS_MM = (300, 5000)
"""Range of the simulated sensor."""
NUM_EXAMPLES = 2
BETWEEN = 4
"""Frames of the animation per image of the strip."""
FRAME_MS = 100
HEADINGS = ["file", "RMSE in mm", "MAE in mm", "validity IoU", "out of range", "nearest image"]
COLUMN_PX: list[str | int] = [150, 110, 110, 120, 120, 150]


def as_file(units: np.ndarray, config: Any) -> Image.Image:
    """Units, uint16 [H, W], as an image that a pipeline of this config reads as them."""
    if config.get("encoding", "linear") == "linear":  # a pipeline of an earlier version has no encoding
        return Image.fromarray(units)
    # Whole numbers would be taken for encoded ones, floating point is not.
    mm_per = {"mm": 1, "cm": 10, "m": 1000}.get(config["float_unit"], 1 / config["units_per_mm"])
    return Image.fromarray((units / config["units_per_mm"] / mm_per).astype(np.float32))


@cache
def rooms() -> tuple[tuple[str, Image.Image], ...]:
    """Names and images of simulated rooms in the loaded model's units: two examples, then those to search among."""
    config = load("depth").config
    low_mm, high_mm = range_mm(config)
    scale, shift_mm = 1.0, 0.0
    if not is_shown_unscaled(config):
        scale = (high_mm - low_mm) / (ROOMS_MM[1] - ROOMS_MM[0])
        shift_mm = low_mm - scale * ROOMS_MM[0]
    with Image.open(ROOMS) as strip:
        stored_mm = np.asarray(strip).astype(float)
    images = []
    for room_mm in np.split(stored_mm, len(stored_mm) // stored_mm.shape[1]):
        units = ((scale * room_mm + shift_mm).clip(low_mm, high_mm) * config["units_per_mm"]).round()
        images.append(as_file(np.where(room_mm > 0, units, 0).astype(np.uint16), config))
    ending = "png" if config.get("encoding", "linear") == "linear" else "tif"
    return tuple((f"room_{number}.{ending}", image) for number, image in enumerate(images))


def range_mm(config: Any) -> tuple[float, float]:
    """Smallest and largest depth of a model that a 16-bit image of its units can hold, mm."""
    span = config["depth_range_mm"]
    return float(span["min"]), float(min(span["max"], 65535 / config["units_per_mm"]))


def is_shown_unscaled(config: Any) -> bool:
    """Whether the simulated rooms lie in the range of a model as they are."""
    low_mm, high_mm = range_mm(config)
    return low_mm <= ROOMS_MM[0] and high_mm >= ROOMS_MM[1]


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
    bar = depth_scale(before_mm)
    difference, error_mm, both = error_scale(before_mm, after_mm)
    after = frame(paint(after_mm, bar, after_mm > 0), bar=bar, title="reconstruction")
    error = frame(paint(error_mm, difference, both), bar=difference, title="reconstruction - input")
    return [
        (stored(frame(paint(before_mm, bar, before_mm > 0), bar=bar, title="input")), name),
        (stored(after), "reconstruction"),
        (stored(error), f"RMSE {rmse_mm:.1f} mm"),
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
        one, among the others and simulated rooms; embeddings, float32 [N, D], as .npy; the reconstructions as 16-bit
        PNG in a ZIP; and the images as HTML, where pointing at a pixel shows its depth and error.
    """
    return encode_images(pipeline("depth"), open_uploads(files, FORMATS))


def encode_images(
    pipe: Any, images: list[tuple[str, Image.Image]]
) -> tuple[Shown, list[list[Any]], Shown, str, str, str]:
    """Results of `embed` for opened images with their names."""
    before = [read_depth(pipe, name, image) for name, image in images]
    others = rooms()[NUM_EXAMPLES:]
    with shown_to_visitor():
        output = pipe([image for _, image in images], batch_size=4)
        around = pipe.encode([image for _, image in others])
    # Nearest images are searched among the other images and the simulated rooms.
    cosines, indices = nearest(output.latents, torch.cat([output.latents, around]))
    gallery = [*images, *others]
    after = [one / pipe.config["units_per_mm"] for one in output.depth]
    shown, rows, words = [], [], []
    for number, (name, _) in enumerate(images):
        shown += comparison(name, before[number], after[number], output.rmse_mm[number])
        errors = [round(float(one[number]), 3) for one in (output.rmse_mm, output.mae_mm, output.validity_iou)]
        rows.append([name, *errors, output.out_of_range[number], gallery[int(indices[number, 0])][0]])
        words.append(f"RMSE {errors[0]:.1f} mm, MAE {errors[1]:.1f} mm")
    path = download_path("embeddings.npy")
    np.save(path, output.latents.numpy())
    names = [name for name, _ in images]
    readable = probes(zip(names, before, after, words, strict=True))
    alike = similar(pipe, before[0], [gallery[int(index)] for index in indices[0]], cosines[0].tolist())
    return shown, rows, alike, str(path), pack(names, output.depth), readable


def similar(pipe: Any, first_mm: np.ndarray, others: list[tuple[str, Image.Image]], cosines: list[float]) -> Shown:
    """Depth images that are like a first one, each with its cosine, all in one colour scale with that one."""
    depth_mm = [pipe.read(image) / pipe.config["units_per_mm"] for _, image in others]
    bar = depth_scale(first_mm, *depth_mm)
    return [
        (stored(show_mm(one, bar)), f"{name}, cosine {cosine:.4f}")
        for (name, _), one, cosine in zip(others, depth_mm, cosines, strict=True)
    ]


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
    return walk_between(pipe, ends[0], ends[1], steps)


def walk_between(pipe: Any, first: Image.Image, last: Image.Image, steps: int) -> tuple[Shown, str]:
    """Results of `interpolate_depth` for two images of one size."""
    stride = math.ceil(max(first.size) / SHOWN_PX)  # no larger than it is shown on the page
    with shown_to_visitor():
        size = first.height // stride, first.width // stride
        walk = pipe.interpolate(first, last, steps=BETWEEN * (steps - 1) + 1, size=size).depth
    depth_mm = [one / pipe.config["units_per_mm"] for one in walk]
    bar = depth_scale(*depth_mm)
    frames = [show_mm(one, bar) for one in depth_mm]
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


def preview(file: str | None) -> str | None:
    """The chosen depth image in colours; None where no file is chosen."""
    if file is None:
        return None
    depth_mm = read_depth(load("depth"), "The image", open_upload(file, FORMATS))
    return stored(show_mm(depth_mm, depth_scale(depth_mm)))


def tab(pipe: Any) -> None:
    """Build the tab, filled with two simulated rooms."""
    origin = source("depth")
    assert origin is not None  # the pipeline was loaded from it
    with damage_as_sentence(origin.repo):
        span, drawn = pipe.config["depth_range_mm"], list(rooms()[:NUM_EXAMPLES])
        encoded = encode_images(pipe, drawn)
        walk = walk_between(pipe, drawn[0][1], drawn[1][1], 5)
    paths = [str(download_path(name)) for name, _ in drawn]
    for path, (_, image) in zip(paths, drawn, strict=True):
        image.save(path)
    scaled = "" if is_shown_unscaled(pipe.config) else " and scaled to this range"
    gr.Markdown(
        f"Depth images of {span['min']:g} to {span['max']:g} mm; 1 mm is {pipe.config['units_per_mm']:g} in the file, "
        f"and all 16 bits are used. Grey pixels have no reading. The rooms below are simulated{scaled}."
    )
    with gr.Tabs():
        with gr.Tab("Encode"):
            encode_tab(paths, encoded)
        with gr.Tab("Between two images"):
            between_tab(paths, walk)


def encode_tab(paths: list[str], results: tuple[Shown, list[list[Any]], Shown, str, str, str]) -> None:
    """Files on the left; images, reconstructions and numbers on the right."""
    shown, rows, alike, numbers, rebuilt, readable = results
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            files = several_files(paths, SUFFIXES, "16-bit PNG or TIFF")
            button = gr.Button("Encode and reconstruct", variant="primary")
            with gr.Row():
                npy = gr.DownloadButton("Embeddings (.npy)", value=numbers, min_width=120)
                archive = gr.DownloadButton("Reconstructions (16-bit PNG, ZIP)", value=rebuilt, min_width=120)
        with gr.Column(scale=2, min_width=300):
            pointed = gr.HTML(readable, js_on_load=READ_PIXELS, label="Values under the pointer", padding=False)
            table = gr.Dataframe(rows, headers=HEADINGS, interactive=False, column_widths=COLUMN_PX, label="Errors")
            near = image_gallery(alike, "Nearest to the first image", is_strip=True)
            with gr.Accordion("The same images with scales, to enlarge and download", open=False):
                compared = image_gallery(shown, "Input, reconstruction and error")
    queue = model_queue()
    outputs = [compared, table, near, npy, archive, pointed]
    button.click(embed, files, outputs, api_name="embed", show_progress_on=pointed, **queue)
    files.upload(embed, files, outputs, api_visibility="private", show_progress_on=pointed, **queue)


def between_tab(paths: list[str], results: tuple[Shown, str]) -> None:
    """Two images on the left, those between them on the right."""
    strip_value, moving_path = results
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            ends = [
                gr.File(path, file_types=SUFFIXES, label=label, height=100)
                for path, label in zip(paths, ("First image", "Last image"), strict=True)
            ]
            with gr.Row():
                previews = [
                    gr.Image(
                        preview(path),
                        type="filepath",
                        interactive=False,
                        label=label,
                        buttons=[],
                        min_width=120,
                        elem_classes="picture",
                    )
                    for path, label in zip(paths, ("First image", "Last image"), strict=True)
                ]
            steps = gr.Slider(2, 9, value=5, step=1, precision=0, label="Number of images")
            button = gr.Button("Interpolate", variant="primary")
        with gr.Column(scale=2, min_width=300):
            strip = image_gallery(strip_value, "Interpolation", is_strip=True)
            moving = gr.Image(
                moving_path,
                type="filepath",
                interactive=False,
                label="Interpolation, animated",
                buttons=["download", "fullscreen"],
                elem_classes=["picture", "moving"],
            )
    queue = model_queue()
    for end, shown in zip(ends, previews, strict=True):
        end.change(preview, end, shown, api_visibility="private", show_progress="hidden", **queue)
    button.click(
        interpolate_depth,
        [*ends, steps],
        [strip, moving],
        api_name="interpolate_depth",
        show_progress_on=strip,
        **queue,
    )
