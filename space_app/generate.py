"""The tab "Generate": spectrograms of chosen users, and Python code that generates the same ones."""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import gradio as gr
import numpy as np
import torch
from hardware import model_queue, on_gpu
from loading import loading_lines, pipeline, source
from people import added, adding_lines, first_users, labels, menu, seen_images, seen_in_training
from PIL import Image
from plots import Axis, Bar, frame
from visitors import download_path, refusal, shown_to_visitor, stored

MAX_IMAGES = 16
LAST_SEED = 2**32 - 1
SPEED_OF_LIGHT_MPS = 299_792_458.0
Shown = list[tuple[str, str]]
"""Paths of images, each with its caption."""


def condition_choices(pipe: Any) -> list[str]:
    """All values of all conditions of a pipeline, each as "name=value"."""
    conditions = pipe.config["condition_labels"] or {}
    return [f"{name}={value}" for name, values in conditions.items() for value in labels(values)]


def parse_conditions(chosen: list[str]) -> dict[str, str]:
    """Turn ["name=value", ...] into {name: value}.

    Raises:
        ValueError: If one condition has two values.
    """
    pairs = [choice.split("=", 1) for choice in chosen]
    conditions = dict(pairs)
    if len(conditions) < len(pairs):
        raise ValueError(f"an image must have at most one value per condition, got {', '.join(chosen)}")
    return conditions


def with_axes(pipe: Any, image: Image.Image, bar: Bar | None = None) -> Image.Image:
    """Frame a spectrogram with axes in seconds, hertz, m/s and decibels, where the pipeline's config has them.

    Args:
        pipe: A spectrogram pipeline.
        image: RGB, of the pipeline, or with `bar` of another colour scale.
        bar: The other colour scale.
    """
    axes, colormap = pipe.config["axes"] or {}, pipe.config["colormap"]
    x = Axis(0, axes["window_s"], "time, s") if "window_s" in axes else Axis(0, 1, "time", has_numbers=False)
    y, right = Axis(0, 1, "Doppler", has_numbers=False), None
    if {"doppler_min_hz", "doppler_max_hz"} <= axes.keys():
        y = Axis(axes["doppler_min_hz"], axes["doppler_max_hz"], "Doppler, Hz")
        if axes.get("carrier_hz", 0) > 0:
            # A target at v m/s shifts the carrier by 2 v f / c.
            mps_per_hz = SPEED_OF_LIGHT_MPS / (2 * axes["carrier_hz"])
            right = Axis(y.low * mps_per_hz, y.high * mps_per_hz, "m/s")
    if bar is None and colormap is not None:
        level = Axis(0, 1, "level")
        if {"db_min", "db_max"} <= axes.keys():
            level = Axis(axes["db_min"], axes["db_max"], "echo strength, dB")
        bar = Bar(level, np.frombuffer(bytes.fromhex(colormap["rgb_hex"]), np.uint8).reshape(256, 3))
    return frame(image, x, y, bar, right)


def snippet(
    users: list[str], conditions: dict[str, str], num_images_per_user: int, steps: int, guidance: float, seed: int
) -> str:
    """Python code that makes the same images outside the Space."""
    seeds = f"range({seed}, {seed + len(users) * num_images_per_user})"
    arguments = [
        f"users={json.dumps(users, ensure_ascii=False)}",
        f"num_images_per_user={num_images_per_user}",
        f"conditions={json.dumps(conditions, ensure_ascii=False)}" if conditions else "",
        f"num_inference_steps={steps}",
        f"guidance_scale={guidance}",
        f"generator=[torch.Generator().manual_seed(seed) for seed in {seeds}]",
        "batch_size=1",
    ]
    call = "".join(f"    {argument},\n" for argument in arguments if argument)
    return f"import torch\n{loading_lines('doppler')}{adding_lines(users)}images = pipe(\n{call}).images\n"


def archive(images: list[Image.Image], rows: list[dict[str, Any]], code: str) -> str:
    """Write a ZIP with the plain images (without axes), metadata.jsonl and the code, and return its path."""
    path = download_path("spectrograms.zip")
    with zipfile.ZipFile(path, "w") as pack:
        for image, row in zip(images, rows, strict=True):
            png = BytesIO()
            image.save(png, "PNG")
            pack.writestr(row["file_name"], png.getvalue())
        pack.writestr("metadata.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        pack.writestr("again.py", code)
    return str(path)


def draw(
    pipe: Any,
    users: list[str],
    conditions: dict[str, str],
    steps: int,
    guidance: float,
    seed: int,
    on_step: Callable[[int, int], None],
) -> Iterator[tuple[Image.Image, dict[str, Any]]]:
    """Generate one image per entry of `users`, each with its row of metadata. Image k has the seed `seed` + k."""
    origin = source("doppler")
    assert origin is not None  # the pipeline was loaded from it
    seen, later = seen_images(), added()
    # One call per image, so that each can be shown as soon as it is finished.
    for number, user in enumerate(users):

        def after_step(_pipe: Any, step: int, _timestep: int, tensors: dict, number: int = number) -> dict:
            on_step(number, step)
            return tensors

        made = pipe(
            users=[user],
            conditions=conditions or None,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=[torch.Generator().manual_seed(seed + number)],
            batch_size=1,
            callback_on_step_end=after_step,
        )
        # The metadata are enough to generate this image again.
        row = {
            "file_name": f"{number:02d}.png",
            "user": user,
            **conditions,
            "seed": seed + number,
            "num_inference_steps": steps,
            "guidance_scale": guidance,
            "repo": origin.repo,
            "revision": origin.revision,
            "generated": True,
            "real_images_in_training": seen.get(user),
        }
        if user in later:
            row["user_file"] = later[user].reference
        yield made.images[0], row


@on_gpu
def generate(
    users: list[str],
    num_images_per_user: int,
    conditions: list[str],
    steps: int,
    guidance: float,
    seed: int,
    progress: gr.Progress = gr.Progress(),  # noqa: B008  gradio finds it by its default
) -> Iterator[tuple[Shown, str | None, str, str]]:
    """Generate spectrograms of chosen users; each image is shown as soon as it is finished.

    Args:
        users: Labels of the users, one or more.
        num_images_per_user: Images per user; at most 16 images in all.
        conditions: Values such as "condition=backpack", at most one per condition; the model chooses the others.
        steps: Steps of the sampler; more than 8 take longer and improve images little.
        guidance: Strength of the guidance towards the user; 1 is none, more than 3 loses diversity.
        seed: The same seed makes the same images.

    Returns:
        Images with axes, a ZIP with the plain images and their metadata, Python code that generates them again, and how
        many real images of each user the model saw in its training.
    """
    if not users:
        raise refusal("Choose at least one user.")
    total = len(users) * num_images_per_user
    if total > MAX_IMAGES:
        raise refusal(f"At most {MAX_IMAGES} images at once, got {total}.")
    # After each image the gallery is sent again; the ZIP comes with the last one.
    with shown_to_visitor():
        values = parse_conditions(conditions)
        code, seen = snippet(users, values, num_images_per_user, steps, guidance, seed), seen_in_training(users)
        pipe, shown, images, rows = pipeline("doppler"), [], [], []
        everyone = [user for user in users for _ in range(num_images_per_user)]

        def report(number: int, step: int) -> None:
            progress((number * steps + step + 1, total * steps), unit="steps")

        for image, row in draw(pipe, everyone, values, steps, guidance, seed, report):
            images.append(image)
            rows.append(row)
            shown.append((stored(with_axes(pipe, image)), caption(row)))
            yield shown, None, code, seen
        yield shown, archive(images, rows, code), code, seen


def caption(row: dict[str, Any]) -> str:
    """Caption of an image."""
    return f"{row['user']}, seed {row['seed']}"


def random_seed() -> int:
    """A random seed."""
    return random.randint(0, LAST_SEED)


def draw_examples(pipe: Any) -> list[tuple[Image.Image, dict[str, Any]]]:
    """Generate one image of each of the first users, so that the page is never empty."""
    return list(draw(pipe, first_users(pipe), {}, *sampling_of(pipe), 0, lambda number, step: None))


def sampling_of(pipe: Any) -> tuple[int, float]:
    """Steps and guidance from a pipeline's config."""
    return pipe.config.get("num_inference_steps", 8), pipe.config.get("guidance_scale", 1.5)


def sampler_controls(pipe: Any) -> tuple[gr.Slider, gr.Slider, gr.Number]:
    """Controls that several tabs share: steps, guidance, and the seed with a button for a random seed."""
    usual_steps, usual_guidance = sampling_of(pipe)
    steps = gr.Slider(1, 50, value=usual_steps, step=1, precision=0, label="Steps")
    guidance = gr.Slider(1.0, max(3.0, usual_guidance), value=usual_guidance, step=0.1, label="Guidance")
    with gr.Row(equal_height=True):
        seed = gr.Number(value=0, precision=0, minimum=0, maximum=LAST_SEED, label="Seed", min_width=120)
        roll = gr.Button("Random seed", min_width=120, elem_classes="dice")
    roll.click(random_seed, outputs=seed, api_visibility="private", queue=False, show_progress="hidden")
    return steps, guidance, seed


def image_gallery(value: Shown | None, label: str, *, is_strip: bool = False, visible: bool = True) -> gr.Gallery:
    """A gallery of images side by side, as many as fit; in a strip, all in one row."""
    return gr.Gallery(
        value,
        format="png",
        object_fit="contain",
        label=label,
        elem_classes=["image-gallery", *(["strip"] if is_strip else [])],
        buttons=["download", "fullscreen"],
        visible=visible,
    )


def tab(pipe: Any, examples: list[tuple[Image.Image, dict[str, Any]]]) -> None:
    """Build the tab: controls on the left, images on the right; on a phone, images are below the controls."""
    people, choices = first_users(pipe), condition_choices(pipe)
    again = snippet(people, {}, 1, *sampling_of(pipe), 0)
    images, rows = [image for image, _ in examples], [row for _, row in examples]
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            users = gr.Dropdown(menu(pipe), value=people, multiselect=True, label="Users")
            count = gr.Slider(1, MAX_IMAGES, value=1, step=1, precision=0, label="Images per user")
            conditions = gr.Dropdown(
                choices, value=[], multiselect=True, label="Conditions (none: any)", visible=bool(choices)
            )
            steps, guidance, seed = sampler_controls(pipe)
            button = gr.Button("Generate", variant="primary")
        with gr.Column(scale=2, min_width=300):
            shown = [(stored(with_axes(pipe, image)), caption(row)) for image, row in examples]
            gallery = image_gallery(shown, "Generated images")
            seen = gr.Markdown(seen_in_training(people), label="Real images seen in training")
            pack = gr.DownloadButton("Download images and metadata (ZIP)", value=archive(images, rows, again))
            code = gr.Code(again, language="python", label="The same images in Python", interactive=False)
    button.click(
        generate,
        [users, count, conditions, steps, guidance, seed],
        [gallery, pack, code, seen],
        show_progress_on=gallery,
        api_name="generate",
        **model_queue(),
    )
