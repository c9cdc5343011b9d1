"""The Space: published echoform pipelines in the browser, loaded with plain diffusers."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import hardware  # first, because its `spaces` must be imported before torch

# isort: split
import depth
import generate
import gradio as gr
import report
import vary
from loading import load, pipeline, source, variable
from visitors import DELETE_CACHE_S, MAX_FILE_BYTES

INTRODUCTION = """\
# echoform
Micro-Doppler radar spectrograms of a chosen *user*, one of the walking people that the model was trained on, generated
by a diffusion model; and 16-bit depth images, encoded to a few hundred numbers and decoded again. Every spectrogram
that is generated here is synthetic: no radar recorded it.
"""
CSS = """
.image-gallery .grid-container { grid-template-columns: repeat(auto-fill, minmax(min(15rem, 100%), 1fr)) }
.image-gallery .grid-wrap { height: auto; min-height: 0; max-height: none }
.image-gallery:has(> label) .grid-wrap { padding-top: 2.5rem }
.image-gallery .thumbnail-item.thumbnail-lg { display: flex; flex-direction: column; aspect-ratio: auto; height: auto }
.image-gallery .thumbnail-item.thumbnail-lg img { height: auto; min-height: 8rem }
.image-gallery .thumbnail-item.thumbnail-lg .caption-label { position: static; max-width: 100%; border: 0 }
.readable { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(15rem, 100%), 1fr)); gap: 1rem }
.report table { display: block; overflow-x: auto; border: 0; margin: 0 }
.report :is(td, th) { min-width: 5rem; padding: 0.4rem 0.6rem; overflow-wrap: normal; word-break: normal }
.report td:not(:first-child) { white-space: nowrap }
"""


def describe(pipe: Any) -> str:
    """One sentence on the axes of the spectrograms, with the units that the pipeline's config has."""
    time, doppler = "time runs from left to right", "Doppler frequency from bottom to top"
    axes = pipe.config["axes"] or {}
    if "window_s" in axes:
        time += f" over {axes['window_s']:g} s"
    if {"doppler_min_hz", "doppler_max_hz"} <= axes.keys():
        doppler += f", {axes['doppler_min_hz']:g} to {axes['doppler_max_hz']:g} Hz"
    origin = source("doppler")
    assert origin is not None  # the pipeline was loaded from it
    return f"Model `{origin.repo}`: {time}, {doppler}."


def doppler_tabs(pipe: Any) -> None:
    """The tabs "Generate", "Vary" and "Did it help?"; the first two show the same two examples."""
    examples = generate.draw_examples(pipe)
    with gr.Tab("Generate"):
        gr.Markdown(describe(pipe))
        generate.tab(pipe, examples)
    with gr.Tab("Vary"):
        vary.tab(pipe, [image for image, _ in examples])
    with gr.Tab("Did it help?"):
        report.tab()


def build() -> gr.Blocks:
    """Build the page for the configured pipelines; its examples are generated on the CPU.

    Raises:
        SystemExit: If no pipeline is configured.
    """
    doppler_pipe, depth_pipe = load("doppler"), load("depth")
    if doppler_pipe is None and depth_pipe is None:
        names = f"{variable('doppler')} or {variable('depth')}"
        raise SystemExit(f"{names} must name the pipeline to show, a Hub id or a folder")
    # For a missing pipeline, a tab names the environment variable that sets it.
    with gr.Blocks(title="echoform", delete_cache=DELETE_CACHE_S) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Tabs():
            if doppler_pipe is not None:
                doppler_tabs(doppler_pipe)
            with gr.Tab("Depth"):
                if depth_pipe is not None:
                    depth.tab(depth_pipe)
                else:
                    gr.Markdown(f"No depth pipeline is shown here; set `{variable('depth')}` to show one.")
            if doppler_pipe is None:
                with gr.Tab("Spectrograms"):
                    gr.Markdown(f"No spectrogram pipeline is shown here; set `{variable('doppler')}` to show one.")
    return page.queue(max_size=hardware.max_waiting())


def main() -> None:
    """Load the pipelines, generate the examples, and serve the page."""
    hardware.use_granted_cores()
    page = build()
    for kind in ("doppler", "depth"):
        if source(kind) is not None:
            pipeline(kind)  # moves it to the GPU before the first visitor comes
    page.launch(
        theme=gr.themes.Soft(font=["system-ui", "sans-serif"]),
        css=CSS,
        max_file_size=MAX_FILE_BYTES,
        mcp_server=find_spec("mcp") is not None,
    )


if __name__ == "__main__":
    main()
