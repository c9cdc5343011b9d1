"""The Space: published echoform pipelines in the browser, loaded with plain diffusers."""

from __future__ import annotations

import re
import sys
import warnings
from importlib.util import find_spec
from typing import Any

import ending

if __name__ == "__main__":
    ending.end_on_signals()  # before the imports, which take seconds

import hardware  # first of these, because its `spaces` must be imported before torch

# isort: split
import depth
import generate
import gradio as gr
import people
import probe
import report
import vary
import who
from disk import DELETE_CACHE_S, Disk
from door import Door, log_refusal
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from loading import KINDS, CannotBeShownError, damage_as_sentence, load, pipeline, source, variable
from page import Page, endpoints
from PIL import Image
from starlette.middleware import Middleware
from visitors import MAX_FILE_BYTES

INTRODUCTION = """\
# echoform
Micro-Doppler radar spectrograms of a chosen *user*, one of the walking people that the model was trained on, generated
by a diffusion model; and 16-bit depth images, encoded to a few hundred numbers and decoded again. Every spectrogram
that is generated here is synthetic: no radar recorded it.
"""
CSS = """
.image-gallery .grid-container { grid-template-columns: repeat(auto-fill, minmax(min(18rem, 100%), 1fr)) }
.image-gallery .grid-wrap { height: auto; min-height: 0; max-height: none }
.image-gallery:has(> label) .grid-wrap { padding-top: 2.5rem }
.image-gallery .thumbnail-item.thumbnail-lg { display: flex; flex-direction: column; aspect-ratio: auto; height: auto }
.image-gallery .thumbnail-item.thumbnail-lg img { height: auto; min-height: 8rem }
.image-gallery .thumbnail-item.thumbnail-lg .caption-label { position: static; max-width: 100%; border: 0 }
.image-gallery:has(.preview) .grid-wrap { min-height: min(36rem, 80vh) }
.image-gallery .preview .media-button { padding-top: 2.5rem; box-sizing: border-box }
.strip .grid-container { grid-template-columns: none; grid-auto-flow: column; grid-auto-columns: minmax(13rem, 1fr);
  overflow-x: auto }
:is(input, [role="listbox"]):focus-visible { outline: 2px solid var(--color-accent) !important; outline-offset: 2px }
.moving img { max-width: 34rem }
.picture .image-container { padding-top: 2.5rem }
.dice { flex-wrap: nowrap }
.dice::before { content: ""; width: 1.1em; height: 1.1em; margin-right: 0.4em; background: currentColor;
  mask: url('data:image/svg+xml,<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24">\
<rect x="3" y="3" width="18" height="18" rx="4" fill="none" stroke="black" stroke-width="2"/>\
<circle cx="8" cy="8" r="2"/><circle cx="16" cy="8" r="2"/><circle cx="12" cy="12" r="2"/>\
<circle cx="8" cy="16" r="2"/><circle cx="16" cy="16" r="2"/></svg>') no-repeat center / contain }
.report table { display: block; overflow-x: auto; border: 0; margin: 0 }
.report :is(td, th) { min-width: 5rem; padding: 0.4rem 0.6rem; overflow-wrap: normal; word-break: normal }
.report td:not(:first-child):not(:last-child) { white-space: nowrap }
.report :is(td, th):last-child:nth-child(n + 5) { min-width: 14rem }
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
    later = f" Added users: {', '.join(people.added())}." if people.added() else ""
    return f"Model `{origin.repo}`: {time}, {doppler}.{later}"


def doppler_tabs(pipe: Any) -> list[tuple[Image.Image, dict[str, Any]]]:
    """The tabs of a spectrogram pipeline; returns the examples that the first two show."""
    origin = source("doppler")
    assert origin is not None  # the pipeline was loaded from it
    with damage_as_sentence(origin.repo):
        report.measured_results("doppler")
        people.seen_images()
        examples = generate.draw_examples(pipe)
    with gr.Tab("Generate"):
        gr.Markdown(describe(pipe))
        generate.tab(pipe, examples)
    with gr.Tab("Vary"):
        vary.vary_tab(pipe, examples[0][0])
    if len(pipe.config["id2label"]) > 1:
        with gr.Tab("From one to another"):
            vary.between_tab(pipe)
    with gr.Tab(report.title("doppler")):
        report.tab()
    return examples


def build(disk: Disk) -> Page:
    """Build the page for the configured pipelines; its examples are generated on the CPU.

    Args:
        disk: Where visitors' files will lie.

    Raises:
        CannotBeShownError: If no pipeline is configured, or one cannot be loaded or used.
    """
    doppler_pipe, depth_pipe, classifier = (load(kind) for kind in KINDS)
    if doppler_pipe is None and depth_pipe is None and classifier is None:
        names = f"{variable('doppler')} or {variable('depth')} or {variable('classifier')}"
        raise CannotBeShownError(f"{names} must name the model to show, a Hub id or a folder")
    people.added()
    examples = []
    # For a missing pipeline, a tab names the environment variable that sets it.
    with Page(disk, title="echoform", delete_cache=DELETE_CACHE_S) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Tabs():
            if doppler_pipe is not None:
                examples = doppler_tabs(doppler_pipe)
            if classifier is not None:
                with gr.Tab("Who walks?"):
                    who.tab(classifier, [(example_name(row), image) for image, row in examples])
            with gr.Tab("Depth"):
                if depth_pipe is not None:
                    depth.tab(depth_pipe)
                else:
                    gr.Markdown(f"No depth pipeline is shown here; set `{variable('depth')}` to show one.")
            if doppler_pipe is None:
                with gr.Tab("Spectrograms"):
                    gr.Markdown(f"No spectrogram pipeline is shown here; set `{variable('doppler')}` to show one.")
    # Without the queue, requests would use a model side by side.
    page.queue(max_size=hardware.max_waiting(), api_open=False)
    # gradio keeps the answers for 2,000 visitors who never fetch them.
    page._queue.pending_messages_per_session.max_size = 2 * hardware.max_waiting() + 10
    return page


def example_name(row: dict[str, Any]) -> str:
    """File name of a generated example, which tells the user that it was asked for; other signs become "_"."""
    return re.sub(r"[^\w-]", "_", f"{row['user']}_seed_{row['seed']}")[:100] + ".png"


def serve(page: Page, disk: Disk) -> None:
    """Serve the page until the process ends."""
    disk.keep_present_files()
    disk.guard()
    page.launch(
        theme=gr.themes.Soft(font=["system-ui", "sans-serif"]),
        css=CSS + probe.CSS + who.CSS,
        max_file_size=MAX_FILE_BYTES,
        mcp_server=find_spec("mcp") is not None,
        # Sessions hold copies of results, and nothing that is missed if it is forgotten.
        state_session_capacity=20,
        run_history=False,
        # One process, so that every request passes the door.
        ssr_mode=False,
        num_workers=0,
        app_kwargs={
            "middleware": [Middleware(Door, endpoints(page), len(page.fns), disk)],
            "exception_handlers": {RequestValidationError: explain},
        },
    )


def explain(request: Any, error: Any) -> JSONResponse:
    """Answer a request whose JSON has a wrong type with one sentence."""
    first = error.errors()[0]
    sentence = f"{'.'.join(str(one) for one in first['loc'][1:]) or 'The request'}: {first['msg']}."
    log_refusal(request.url.path, sentence)
    return JSONResponse({"error": sentence, "detail": sentence}, status_code=422)


def main() -> None:
    """Load the pipelines, generate the examples, and serve the page."""
    hardware.use_granted_cores()
    warnings.filterwarnings("ignore", module="PIL")  # about visitors' files, which are refused in a sentence
    disk = Disk()
    ending.at_end.append(disk.remove)
    try:
        page = build(disk)
        for kind in KINDS:
            if source(kind) is not None:
                pipeline(kind)  # moves it to the GPU before the first visitor comes
        serve(page, disk)
    except CannotBeShownError as error:
        sys.exit(f"echoform space: {error}")
    finally:
        disk.remove()


if __name__ == "__main__":
    main()
