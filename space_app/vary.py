"""The tabs "Vary", for an uploaded spectrogram, and "From one to another", which interpolates between two users."""

from __future__ import annotations

import math
from typing import Any

import gradio as gr
import torch
from generate import Shown, image_gallery, sampler_controls, sampling_of, with_axes
from hardware import model_queue, on_gpu
from loading import load, pipeline
from people import added, menu, seen_in_training, trained
from PIL import Image
from plots import paint, signed_bar
from visitors import download_path, open_upload, refusal, shown_to_visitor, stored

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
    image = open_upload(file, FORMATS)
    config, side = pipe.vqvae.config, pipe.unet.config.sample_size
    factor = config.get("block_size") or 2 ** (len(config.block_out_channels) - 1)
    rows, columns = (factor * one for one in ([side, side] if isinstance(side, int) else side))
    if image.size != (columns, rows):
        order = "" if columns == rows else " (width x height)"
        raise refusal(
            f"The spectrogram must be {columns} x {rows} pixels{order}, the size of the model, without axes, "
            f"got {image.width} x {image.height}."
        )
    # Painting the values again shows how far the colours are from the model's colour map.
    with shown_to_visitor():
        pixels = pipe.preprocess(image, 1)
        painted = pipe.postprocess((pixels + 1) / 2, "pil")[0]
    if image.mode in ("RGB", "RGBA") and (far := distance(image, painted)) > FAR_FROM_COLORS:
        raise refusal(
            f"This is not a spectrogram in the model's colours: its mean distance to them is {far:.0f} of 255, more "
            f"than {FAR_FROM_COLORS:g}."
        )
    return pixels


def distance(a: Image.Image, b: Image.Image) -> float:
    """Mean distance of two images of one size, in RGB units of 0..255."""
    first, second = (torch.frombuffer(bytearray(one.convert("RGB").tobytes()), dtype=torch.uint8) for one in (a, b))
    return float((first.float() - second.float()).view(-1, 3).norm(dim=1).mean())


@on_gpu
def reconstruct(file: str) -> tuple[Shown, str]:
    """Encode a spectrogram to latents and decode it again, which shows the details that latents do not keep.

    Args:
        file: PNG or JPEG of the model's size and colours, without axes.

    Returns:
        The image, its reconstruction and the difference, each with axes; and the error in words.
    """
    pipe = pipeline("doppler")
    return rebuild(pipe, read_spectrogram(pipe, file))


def rebuild(pipe: Any, pixels: torch.Tensor) -> tuple[Shown, str]:
    """Results of `reconstruct` for a spectrogram in the model's range, float32 [1, C, H, W]."""
    with torch.no_grad():
        before, after = (pixels + 1) / 2, pipe.decode(pipe.encode(pixels)).cpu()
    error = (after - before).mean(1)[0]  # [H, W], RGB models: the mean of the colours
    rmse = float((after - before).square().mean().sqrt())
    shown = [
        (stored(with_axes(pipe, pipe.postprocess(one, "pil")[0])), name)
        for one, name in ((before, "original"), (after, "reconstruction"))
    ]
    reach = max(0.01, float(error.abs().quantile(0.99)))
    bar = signed_bar(100 * reach, "error, % of the scale")
    shown.append((stored(with_axes(pipe, paint(100 * error.numpy(), bar), bar)), "error in % of the scale"))
    words = f"Root mean square error {100 * rmse:.2f} % of the colour scale"
    axes = pipe.config["axes"] or {}
    if {"db_min", "db_max"} <= axes.keys():
        words += f", {rmse * (axes['db_max'] - axes['db_min']):.2f} dB"
    return shown, f"{words}; PSNR {-20 * math.log10(max(rmse, 1e-9)):.1f} dB."


@on_gpu
def vary(
    file: str, user: str, num_images: int, strength: float, steps: int, guidance: float, seed: int
) -> tuple[Shown, str]:
    """Generate variations of a spectrogram for a chosen user.

    Args:
        file: PNG or JPEG of the model's size and colours, without axes.
        user: Label of the user.
        num_images: Number of variations, at most 8.
        strength: Distance from the uploaded image, above 0; at 1 that image has no influence.
        steps: Steps of the sampler.
        guidance: Strength of the guidance towards the user; 1 is none.
        seed: The same seed makes the same images.

    Returns:
        The variations with axes, and how many real images of the user the model saw in its training.
    """
    pipe = pipeline("doppler")
    pixels = read_spectrogram(pipe, file)
    with shown_to_visitor():
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
    shown = [(stored(with_axes(pipe, one)), f"{user}, seed {seed + number}") for number, one in enumerate(made.images)]
    return shown, seen_in_training([user])


@on_gpu
def interpolate(user_a: str, user_b: str, num_images: int, steps: int, guidance: float, seed: int) -> tuple[Shown, str]:
    """Interpolate from one user to another in equal steps, from the same noise.

    Args:
        user_a: Label of the user in the first image.
        user_b: Label of the user in the last image.
        num_images: Number of images including both ends, 2 to 8.
        steps: Steps of the sampler.
        guidance: Strength of the guidance towards the users; 1 is none.
        seed: Seed of the noise.

    Returns:
        The images with axes, and how many real images of both users the model saw in its training.
    """
    return between(pipeline("doppler"), user_a, user_b, num_images, steps, guidance, seed)


def between(
    pipe: Any, user_a: str, user_b: str, num_images: int, steps: int, guidance: float, seed: int
) -> tuple[Shown, str]:
    """Results of `interpolate` for a pipeline."""
    with shown_to_visitor():
        made = pipe.interpolate(
            user_a,
            user_b,
            num_images=num_images,
            generator=torch.Generator().manual_seed(seed),
            num_inference_steps=steps,
            guidance_scale=guidance,
            batch_size=1,
        )
    shown = [
        (stored(with_axes(pipe, one)), f"{100 * number / (num_images - 1):.0f} % {user_b}")
        for number, one in enumerate(made.images)
    ]
    return shown, seen_in_training([user_a, user_b])


def preview(file: str | None) -> str | None:
    """The chosen spectrogram with axes, before anything is made of it; None where no file is chosen."""
    if file is None:
        return None
    pipe = load("doppler")
    return stored(with_axes(pipe, pipe.postprocess((read_spectrogram(pipe, file) + 1) / 2, "pil")[0]))


def show_results() -> tuple[Any, Any]:
    """Make room for results that were not there yet."""
    return gr.update(visible=True), gr.update(visible=True)


def vary_tab(pipe: Any, example: Image.Image) -> None:
    """Build the tab "Vary": a spectrogram and controls on the left, results on the right."""
    path = download_path("example.png")
    example.save(path)
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            file = gr.File(str(path), file_types=SUFFIXES, label="PNG or JPEG without axes", height=120)
            shown_file = gr.Image(
                stored(with_axes(pipe, example)),
                type="filepath",
                interactive=False,
                label="Chosen image",
                buttons=[],
                elem_classes="picture",
            )
            user = gr.Dropdown(menu(pipe), value=trained(pipe)[-1], label="User")
            strength = gr.Slider(
                0.05, 1.0, value=0.6, step=0.05, label="Strength (1: the spectrogram has no influence)"
            )
            count = gr.Slider(1, MAX_VARIATIONS, value=3, step=1, precision=0, label="Images")
            steps, guidance, seed = sampler_controls(pipe)
            make = gr.Button("Make variations", variant="primary")
            look = gr.Button("Reconstruct")
        with gr.Column(scale=2, min_width=300):
            shown, words = rebuild(pipe, pipe.preprocess(example, 1))
            rebuilt = image_gallery(shown, "Reconstruction from latents")
            error_text = gr.Markdown(words, label="Error in words")
            made = image_gallery(None, "Variations", visible=False)
            seen = gr.Markdown(visible=False, label="Real images seen in training")
    queue = model_queue()
    look.click(reconstruct, file, [rebuilt, error_text], api_name="reconstruct", **queue)
    file.upload(reconstruct, file, [rebuilt, error_text], api_visibility="private", **queue)
    file.change(preview, file, shown_file, api_visibility="private", show_progress="hidden", **queue)
    make.click(show_results, outputs=[made, seen], api_visibility="private", queue=False, show_progress="hidden")
    inputs = [file, user, count, strength, steps, guidance, seed]
    make.click(vary, inputs, [made, seen], show_progress_on=made, api_name="vary", **queue)


def between_tab(pipe: Any) -> None:
    """Build the tab "From one to another": two users on the left, the images between them on the right."""
    people = trained(pipe)
    first, last = people[0], people[min(1, len(people) - 1)]
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            user_a = gr.Dropdown(people, value=first, label="First user")
            user_b = gr.Dropdown(people, value=last, label="Last user")
            count = gr.Slider(2, MAX_VARIATIONS, value=3, step=1, precision=0, label="Images with both ends")
            steps, guidance, seed = sampler_controls(pipe)
            if added():
                gr.Markdown(f"Users that were added ({', '.join(added())}) have no images between them and others.")
            walk = gr.Button("Interpolate between the two users", variant="primary")
        with gr.Column(scale=2, min_width=300):
            shown, words = between(pipe, first, last, 3, *sampling_of(pipe), 0)
            made = image_gallery(shown, "From the first user to the last")
            seen = gr.Markdown(words, label="Real images seen in training")
    inputs = [user_a, user_b, count, steps, guidance, seed]
    walk.click(interpolate, inputs, [made, seen], show_progress_on=made, api_name="interpolate", **model_queue())
