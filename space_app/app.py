"""The Space: spectrograms of chosen people from a published pipeline, made in the browser."""

from __future__ import annotations

import json
import os
from functools import cache
from typing import Any

import gradio as gr
import torch
from diffusers import DiffusionPipeline
from PIL.Image import Image

REPO_VARIABLE = "ECHOFORM_DOPPLER_REPO"
MAX_IMAGES = 16  # one batch of the pipeline: a request stays short and the progress bar runs once
MAX_WAITING = 20
INTRODUCTION = """\
# echoform
Micro-Doppler radar spectrograms of a chosen person, drawn by a diffusion model. Every picture is made up: it is no
record of anything that a person did.
"""
CSS = """
#pictures img { image-rendering: pixelated }
#pictures .grid-container { grid-template-columns: repeat(auto-fill, minmax(min(11rem, 45%), 1fr)) }
"""


def repo() -> str:
    """Hub id or local folder of the pipeline, from the environment."""
    name = os.environ.get(REPO_VARIABLE)
    if not name:
        raise SystemExit(f"{REPO_VARIABLE} must name the pipeline, a Hub id or a folder")
    return name


@cache
def load_pipeline() -> Any:
    """The pipeline, loaded once and on the GPU where there is one; its class comes with its repository."""
    pipe = DiffusionPipeline.from_pretrained(repo(), trust_remote_code=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe.to("cuda" if torch.cuda.is_available() else "cpu")


def labels(names: dict[str, str]) -> list[str]:
    """Labels in the order of their class ids; the keys are ids as JSON writes them."""
    return [names[index] for index in sorted(names, key=int)]


def condition_choices(pipe: Any) -> list[str]:
    """Every value of every condition as "name=value"."""
    conditions = pipe.config["condition_labels"] or {}
    return [f"{name}={value}" for name, values in conditions.items() for value in labels(values)]


def parse_conditions(chosen: list[str]) -> dict[str, str]:
    """Turn ["name=value", ...] into {name: value}.

    Raises:
        ValueError: If one condition is asked for twice.
    """
    pairs = [choice.split("=", 1) for choice in chosen]
    conditions = dict(pairs)
    if len(conditions) < len(pairs):
        raise ValueError(f"a picture has one value of each condition, got {', '.join(chosen)}")
    return conditions


def snippet(
    users: list[str], conditions: dict[str, str], num_images_per_user: int, steps: int, guidance: float, seed: int
) -> str:
    """Python that makes the same pictures outside the Space."""
    arguments = [
        f"users={json.dumps(users, ensure_ascii=False)}",
        f"num_images_per_user={num_images_per_user}",
        f"conditions={json.dumps(conditions, ensure_ascii=False)}" if conditions else "",
        f"num_inference_steps={steps}",
        f"guidance_scale={guidance}",
        f"generator=torch.Generator().manual_seed({seed})",
    ]
    call = "".join(f"    {argument},\n" for argument in arguments if argument)
    return (
        "import torch\n"
        "from diffusers import DiffusionPipeline\n\n"
        f"pipe = DiffusionPipeline.from_pretrained({json.dumps(repo())}, trust_remote_code=True)\n"
        f"images = pipe(\n{call}).images\n"
    )


def generate(
    users: list[str],
    num_images_per_user: int,
    conditions: list[str],
    steps: int,
    guidance: float,
    seed: int,
    progress: gr.Progress = gr.Progress(),  # noqa: B008  gradio finds it by its default
) -> tuple[list[tuple[Image, str]], str]:
    """Make spectrograms of chosen people.

    Args:
        users: Labels of the people, one or more.
        num_images_per_user: Pictures of each person; at most 16 pictures in all.
        conditions: Values such as "condition=backpack", at most one of each condition; what is not named is left open.
        steps: Steps of the sampler; more are slower and not much better beyond 8.
        guidance: How strongly the pictures follow the person; 1 is the plain model, beyond 3 diversity is lost.
        seed: The same seed makes the same pictures.

    Returns:
        Pictures, each with the label of its person, and the Python that reproduces them.
    """
    if not users:
        raise gr.Error("Choose at least one person.")
    if len(users) * num_images_per_user > MAX_IMAGES:
        raise gr.Error(f"At most {MAX_IMAGES} pictures at once, got {len(users) * num_images_per_user}.")
    pipe = load_pipeline()

    def report(_pipe: Any, step: int, _timestep: int, tensors: dict) -> dict:
        progress((step + 1, steps), unit="steps")
        return tensors

    try:
        values = parse_conditions(conditions)
        made = pipe(
            users=users,
            num_images_per_user=num_images_per_user,
            conditions=values or None,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=torch.Generator().manual_seed(seed),
            batch_size=MAX_IMAGES,
            callback_on_step_end=report,
        )
    except ValueError as error:
        raise gr.Error(str(error)) from error
    pictures = list(zip(made.images, made.users, strict=True))
    return pictures, snippet(users, values, num_images_per_user, steps, guidance, seed)


def describe(pipe: Any) -> str:
    """What the pictures show, with units as far as the model knows its axes."""
    time, doppler = "time runs from left to right", "Doppler frequency from bottom to top"
    axes = pipe.config["axes"] or {}
    if "window_s" in axes:
        time += f" over {axes['window_s']:g} s"
    if {"doppler_min_hz", "doppler_max_hz"} <= axes.keys():
        doppler += f", {axes['doppler_min_hz']:g} to {axes['doppler_max_hz']:g} Hz"
    return f"Model `{repo()}`: {time}, {doppler}."


def build(pipe: Any) -> gr.Blocks:
    """The page for one loaded pipeline."""
    people, choices = labels(pipe.config["id2label"]), condition_choices(pipe)
    with gr.Blocks(title="echoform") as page:
        gr.Markdown(INTRODUCTION)
        gr.Markdown(describe(pipe))
        with gr.Tab("Generate"), gr.Row():
            with gr.Column(scale=1, min_width=300):
                users = gr.Dropdown(people, value=people[:1], multiselect=True, label="People")
                count = gr.Slider(1, MAX_IMAGES, value=4, step=1, precision=0, label="Pictures of each")
                conditions = gr.Dropdown(
                    choices, value=[], multiselect=True, label="Conditions (none: any)", visible=bool(choices)
                )
                steps = gr.Slider(2, 50, value=8, step=1, precision=0, label="Steps")
                guidance = gr.Slider(1.0, 3.0, value=1.5, step=0.1, label="Guidance")
                seed = gr.Number(value=0, precision=0, minimum=0, maximum=2**32 - 1, label="Seed")
                button = gr.Button("Generate", variant="primary")
            with gr.Column(scale=2, min_width=300):
                pictures = gr.Gallery(
                    format="png",
                    object_fit="contain",
                    label="Generated spectrograms",
                    show_label=False,
                    elem_id="pictures",
                )
                code = gr.Code(language="python", label="The same pictures in Python", interactive=False)
        button.click(
            generate,
            [users, count, conditions, steps, guidance, seed],
            [pictures, code],
            show_progress_on=pictures,
            api_name="generate",
            concurrency_limit=1,
        )
    return page.queue(max_size=MAX_WAITING)


def main() -> None:
    """Load the pipeline and serve the page."""
    build(load_pipeline()).launch(theme=gr.themes.Soft(font=["system-ui", "sans-serif"]), css=CSS)


if __name__ == "__main__":
    main()
