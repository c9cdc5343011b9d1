"""A fault of the app is told apart from a mistake of a visitor."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # gradio leaves a loop open


def divide(number: float) -> float:
    return 1 / number


@pytest.fixture
def page(module: Any, tmp_path: Path) -> Iterator[Any]:
    """A page with one function that fails at 0."""
    with module("page").Page(module("disk").Disk(tmp_path)) as page:
        number, answer = gr.Number(minimum=0, maximum=9), gr.Number()
        gr.Button().click(divide, number, answer)
    yield page
    gc.collect()  # the loop, while its warning is ignored


def test_a_fault_of_the_app_keeps_its_traceback_and_gets_a_sentence(page: Any):
    with pytest.raises(gr.Error, match="a fault of the app, not yours") as told:
        asyncio.run(page.process_api(page.fns[0], [0]))
    assert told.value.print_exception and isinstance(told.value.__cause__, ZeroDivisionError)


def test_a_mistake_of_a_visitor_has_no_traceback_and_one_line(page: Any, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(gr.Error, match="number must be in 0 to 9, got 10") as told:
        asyncio.run(page.process_api(page.fns[0], [10]))
    assert not told.value.print_exception
    assert capsys.readouterr().err == "refused divide: number must be in 0 to 9, got 10.\n"
