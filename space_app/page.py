"""A page of gradio that checks what visitors send to its functions, and answers every mistake with a sentence."""

from __future__ import annotations

import inspect
import math
from typing import Any

import gradio as gr
from addresses import download
from disk import Disk
from door import log_refusal, refusals
from gradio.exceptions import InvalidPathError
from gradio_client.utils import is_http_url_like
from pydantic import ValidationError
from visitors import MAX_FILES, refusal

MAX_LABEL = 300
MAX_CHOSEN = 64
SHOWN_CHOICES = 20
FAULT = "The app failed at this request. That is a fault of the app, not yours; its log says where."


class Page(gr.Blocks):
    """Blocks of gradio whose functions get values of the right type, or are not called.

    Args:
        disk: Where visitors' files lie.
        settings: Arguments of gradio.Blocks.
    """

    def __init__(self, disk: Disk, **settings: Any) -> None:
        super().__init__(**settings)
        self.disk = disk

    async def process_api(self, block_fn: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Call a function; a refusal is one line in the log, and a fault of the app keeps its traceback there."""
        name = getattr(block_fn, "api_name", None) or block_fn
        try:
            return await super().process_api(block_fn, *args, **kwargs)
        except gr.Error as error:
            error.print_exception = False
            log_refusal(str(name), error.message)
            if (told := refusals.get()) is not None:
                told.append(error.message)
            raise
        except Exception as error:
            raise gr.Error(FAULT) from error

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """Turn what a visitor sent into arguments of a function.

        Raises:
            gradio.Error: If there are too few or too many values, or one has a wrong type or lies outside its range.
        """
        names = argument_names(block_fn)
        if len(inputs) != len(names):
            raise refusal(f"{block_fn.api_name} takes {', '.join(names) or 'no values'}, got {len(inputs)} values.")
        for name, component, value in zip(names, block_fn.inputs, inputs, strict=True):
            check_value(name, component, value)
        try:
            inputs = [await with_downloads(value, self.disk) for value in inputs]
            return await super().preprocess_data(block_fn, inputs, *args, **kwargs)
        except gr.Error as error:
            raise refusal(error.message) from error
        except (InvalidPathError, ValidationError) as error:
            raise refusal("A file must be uploaded to /gradio_api/upload first, and be named as it answers.") from error


def argument_names(block_fn: Any) -> list[str]:
    """Names of the values that a function of a page takes, which are those of its first arguments."""
    return list(inspect.signature(block_fn.fn).parameters)[: len(block_fn.inputs)]


def endpoints(page: gr.Blocks) -> dict[str, list[str]]:
    """The names of all public endpoints of a page, each with the names of its values."""
    public = (function for function in page.fns.values() if function.api_visibility == "public")
    return {str(function.api_name): argument_names(function) for function in public}


def check_value(name: str, component: Any, value: Any) -> None:
    """Refuse a value that does not fit to its component.

    Args:
        name: Name of the argument.
        component: Slider, Number, Dropdown or File.
        value: What a visitor sent, parsed from JSON.

    Raises:
        gradio.Error: If it does not fit.
    """
    if isinstance(component, gr.Slider | gr.Number):
        check_number(name, component, value)
    elif isinstance(component, gr.Dropdown):
        check_choice(name, component, value)
    else:
        check_files(name, component, value)


def check_number(name: str, component: Any, value: Any) -> None:
    """Refuse what is no finite number in the range of a component, or not whole where it must be.

    Raises:
        gradio.Error: If so.
    """
    kind = "whole number" if component.precision == 0 else "number"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or (isinstance(value, float) and not math.isfinite(value)):
        raise refusal(f"{name} must be a {kind}, got {shown(value)}.")
    if not component.minimum <= value <= component.maximum:
        raise refusal(f"{name} must be in {component.minimum} to {component.maximum}, got {shown(value)}.")
    if component.precision == 0 and value != int(value):
        raise refusal(f"{name} must be a whole number, got {shown(value)}.")


def check_choice(name: str, component: Any, value: Any) -> None:
    """Refuse what is not among the choices of a component.

    Raises:
        gradio.Error: If so.
    """
    choices = [choice for _, choice in component.choices]
    chosen = value if component.multiselect else [value]
    if not isinstance(chosen, list) or len(chosen) > MAX_CHOSEN:
        raise refusal(f"{name} must be a list of at most {MAX_CHOSEN} texts, got {shown(value)}.")
    for one in chosen:
        if not isinstance(one, str) or one not in choices:
            among = ", ".join(choices[:SHOWN_CHOICES]) + (", ..." if len(choices) > SHOWN_CHOICES else "")
            raise refusal(f"{name}: {shown(one)} is none of {among}.")


def check_files(name: str, component: Any, value: Any) -> None:
    """Refuse what does not describe files, as /gradio_api/upload and an agent describe them; None is no file.

    Raises:
        gradio.Error: If so.
    """
    if value is None:
        return
    several = component.file_count == "multiple"
    files = value if several else [value]
    if not isinstance(files, list):
        raise refusal(f"{name} must be a list of files, got {shown(value)}.")
    if len(files) > MAX_FILES:
        raise refusal(f"At most {MAX_FILES} files at once, got {len(files)}.")
    for one in files:
        path = one.get("path") if isinstance(one, dict) else None
        if not isinstance(path, str) or not path or "\0" in path:
            raise refusal(f'{name} must be {"files" if several else "a file"} like {{"path": ...}}, got {shown(one)}.')


def shown(value: Any) -> str:
    """A value as text that fits into a sentence."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


async def with_downloads(value: Any, disk: Disk) -> Any:
    """Download the addresses among the files of an argument."""
    if isinstance(value, list):
        return [await with_downloads(one, disk) for one in value]
    if isinstance(value, dict) and is_http_url_like(value["path"]):
        return {**value, "path": await download(value["path"], disk), "url": None}
    return value
