"""The tab "Vary": reconstruction and variations of a visitor's spectrogram, and interpolation between two people."""

from __future__ import annotations

import math
from typing import Any

import gradio as gr
import torch
from generate import Shown, labels, picture_gallery, sampler_controls, with_axes
from hardware import model_queue, on_gpu
from loading import pipeline
from pictures import frame, paint, signed_bar
from PIL import Image
from visitors import download_path, open_upload, refusal, told_to_the_visitor

FORMATS = ("PNG", "JPEG")
SUFFIXES = [".png", ".jpg", ".jpeg"]
MAX_VARIATIONS = 8
FAR_FROM_COLORS = 30.0
"""Largest mean distance to the model's colours, in RGB units, at which an image is accepted as a spectrogram."""


def read_spectrogram(pipe: Any, file: str | None) -> torch.Tensor:
    """Read an uploaded spectrogram into the model's range, float32 [1, C, H, W] in [-1, 1].

    Raises:
        gradio.Error: If the file is no image, or its size or colours are not those of the model.
    """
    if file is None:
        raise refusal("Drop in a spectrogram first.")
    picture = open_upload(file, FORMATS)
    factor, side = 2 ** (len(pipe.vqvae.config.block_out_channels) - 1), pipe.unet.config.sample_size
    rows, columns = (factor * one for one in ([side, side] if isinstance(side, int) else side))
    if picture.size != (columns, rows):
        raise refusal(
            f"The spectrogram must be {columns} x {rows} pixels without axes, as the model's are, "
            f"got {picture.width} x {picture.height}."
        )
    # Painting the values again shows how far the colours are from the model's colour map.
    with told_to_the_visitor():
        pixels = pipe.preprocess(picture, 1)
        painted = pipe.postprocess((pixels + 1) / 2, "pil")[0]
    if picture.mode == "RGB" and (far := distance(picture, painted)) > FAR_FROM_COLORS:
        raise refusal(
            f"This is no spectrogram in the model's colours: it is {far:.0f} of 255 away from them, more than "
            f"{FAR_FROM_COLORS:g}."
        )
    return pixels


def distance(a: Image.Image, b: Image.Image) -> float:
    """Mean distance of two images of one size, in RGB units of 0..255."""
    first, second = (torch.frombuffer(bytearray(one.convert("RGB").tobytes()), dtype=torch.uint8) for one in (a, b))
    return float((first.float() - second.float()).view(-1, 3).norm(dim=1).mean())


@on_gpu
def reconstruct(file: str) -> tuple[Shown, str]:
    """Send a spectrogram through the first stage and back, which shows what is lost before any diffusion.

    Args:
        file: PNG or JPEG of the model's size and colours, without axes.

    Returns:
        The image, its reconstruction and the difference, each with axes; and the error in words.
    """
    pipe = pipeline("doppler")
    return rebuild(pipe, read_spectrogram(pipe, file))


def rebuild(pipe: Any, pixels: torch.Tensor) -> tuple[Shown, str]:
    """Do what `reconstruct` does for a spectrogram in the model's range, float32 [1, C, H, W]."""
    with torch.no_grad():
        before, after = (pixels + 1) / 2, pipe.decode(pipe.encode(pixels)).cpu()
    error = (after - before).mean(1)[0]  # [H, W], RGB models: the mean of the colours
    rmse = float((after - before).square().mean().sqrt())
    shown = [
        (with_axes(pipe, pipe.postprocess(one, "pil")[0]), name)
        for one, name in ((before, "as it came"), (after, "reconstruction"))
    ]
    reach = max(0.01, float(error.abs().quantile(0.99)))
    bar = signed_bar(100 * reach, "%")
    shown.append((frame(paint(100 * error.numpy(), bar), bar=bar), "error in % of the scale"))
    words = f"Root mean square error {100 * rmse:.2f} % of the colour scale"
    axes = pipe.config["axes"] or {}
    if {"db_min", "db_max"} <= axes.keys():
        words += f", {rmse * (axes['db_max'] - axes['db_min']):.2f} dB"
    return shown, f"{words}; PSNR {-20 * math.log10(max(rmse, 1e-9)):.1f} dB."


@on_gpu
def vary(file: str, user: str, num_images: int, strength: float, steps: int, guidance: float, seed: int) -> Shown:
    """Make variations of a spectrogram, as a chosen person would have walked it.

    Args:
        file: PNG or JPEG of the model's size and colours, without axes.
        user: Label of the person.
        num_images: Variations, at most 8.
        strength: How far they go from the image, above 0; 1 forgets it.
        steps: Steps of the sampler.
        guidance: How strongly they follow the person; 1 is the plain model.
        seed: The same seed makes the same images.

    Returns:
        The variations with axes.
    """
    pipe = pipeline("doppler")
    pixels = read_spectrogram(pipe, file)
    with told_to_the_visitor():
        made = pipe(
            users=[user],
            num_images_per_user=num_images,
            image=(pixels[0] + 1) / 2,
            strength=strength,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=[torch.Generator().manual_seed(seed + number) for number in range(num_images)],
            batch_size=1,
        )
    return [(with_axes(pipe, one), f"{user}, seed {seed + number}") for number, one in enumerate(made.images)]


@on_gpu
def interpolate(user_a: str, user_b: str, num_images: int, steps: int, guidance: float, seed: int) -> Shown:
    """Interpolate from one person to another in equal steps, from the same noise.

    Args:
        user_a: Label of the person in the first image.
        user_b: Label of the person in the last image.
        num_images: Images including both ends, 2 to 8.
        steps: Steps of the sampler.
        guidance: How strongly they follow the people; 1 is the plain model.
        seed: Seed of that noise.

    Returns:
        The images with axes.
    """
    pipe = pipeline("doppler")
    with told_to_the_visitor():
        made = pipe.interpolate(
            user_a,
            user_b,
            num_images=num_images,
            generator=torch.Generator().manual_seed(seed),
            num_inference_steps=steps,
            guidance_scale=guidance,
            batch_size=1,
        )
    return [
        (with_axes(pipe, one), f"{100 * number / (num_images - 1):.0f} % {user_b}")
        for number, one in enumerate(made.images)
    ]


def tab(pipe: Any, examples: list[Image.Image]) -> None:
    """Build the tab: a spectrogram on the left with a second person below, results on the right."""
    people, path = labels(pipe.config["id2label"]), download_path("example.png")
    examples[0].save(path)
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            file = gr.File(str(path), file_types=SUFFIXES, label="PNG or JPEG without axes", height=120)
            user = gr.Dropdown(people, value=people[-1], label="Person")
            strength = gr.Slider(0.05, 1.0, value=0.6, step=0.05, label="Strength (1 forgets the picture)")
            count = gr.Slider(1, MAX_VARIATIONS, value=3, step=1, precision=0, label="Pictures")
            steps, guidance, seed = sampler_controls(pipe)
            look = gr.Button("Reconstruct")
            make = gr.Button("Make variations", variant="primary")
            other = gr.Dropdown(people, value=people[0], label="From this person to the one above")
            walk = gr.Button("Interpolate the two people")
        with gr.Column(scale=2, min_width=300):
            shown, words = rebuild(pipe, pipe.preprocess(examples[0], 1))
            rebuilt = picture_gallery(shown, "Through the first stage")
            error_text = gr.Markdown(words)
            made = picture_gallery(None, "Varied, or from one to the other")
    queue = model_queue()
    look.click(reconstruct, file, [rebuilt, error_text], api_name="reconstruct", **queue)
    file.upload(reconstruct, file, [rebuilt, error_text], api_visibility="private", **queue)
    make.click(vary, [file, user, count, strength, steps, guidance, seed], made, api_name="vary", **queue)
    walk.click(
        interpolate,
        [other, user, count, steps, guidance, seed],
        made,
        api_name="interpolate",
        **queue,
    )
