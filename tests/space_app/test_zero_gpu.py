"""ZeroGPU lends a GPU to functions that `spaces.GPU` wraps; what they take and give crosses to another process."""

from __future__ import annotations

import functools
import inspect
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from gradio_client.exceptions import AppError
from PIL import Image

SPACE = Path(__file__).parents[2] / "space_app"
LENT = {
    "generate.generate",
    "vary.reconstruct",
    "vary.vary",
    "vary.interpolate",
    "depth.embed",
    "depth.interpolate_depth",
    "who.classify",
}


def across(value: Any) -> Any:
    """What arrives of a value in another process."""
    return pickle.loads(pickle.dumps(value))


@pytest.fixture
def lent(
    monkeypatch: pytest.MonkeyPatch, doppler_folder: Path, depth_folder: Path, classifier_folder: Path
) -> dict[str, Callable[..., Any]]:
    """What the app gives to a stand-in for `spaces`, by name; its arguments and results are pickled on the way."""
    functions: dict[str, Callable[..., Any]] = {}

    def lend(function: Callable[..., Any]) -> Callable[..., Any]:
        functions[f"{function.__module__}.{function.__qualname__}"] = function

        @functools.wraps(function)
        def stream(*arguments: Any) -> Iterator[Any]:
            for value in function(*across(arguments)):
                yield across(value)

        @functools.wraps(function)
        def answer(*arguments: Any) -> Any:
            return across(function(*across(arguments)))

        return stream if inspect.isgeneratorfunction(function) else answer

    spaces = ModuleType("spaces")
    spaces.__dict__["GPU"] = lend
    monkeypatch.setitem(sys.modules, "spaces", spaces)
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setenv("ECHOFORM_DOPPLER_REPO", str(doppler_folder))
    monkeypatch.setenv("ECHOFORM_DEPTH_REPO", str(depth_folder))
    monkeypatch.setenv("ECHOFORM_CLASSIFIER_REPO", str(classifier_folder))
    return functions


def test_every_function_that_uses_a_model_is_lent_a_gpu_and_can_be_named_from_another_process(
    module: Any, lent: dict[str, Callable[..., Any]]
):
    module("app")
    assert set(lent) == LENT  # a name with <locals> in it could not be found there
    assert module("hardware").model_queue()["concurrency_limit"] > 1


def test_what_the_functions_take_and_give_arrives_in_another_process(
    module: Any, lent: dict[str, Callable[..., Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    room, drawn = str(tmp_path / "room.png"), str(tmp_path / "drawn.png")
    Image.fromarray(np.full((32, 32), 1000, np.uint16)).save(room)
    *_, (shown, *_) = module("generate").generate(["ID_1"], 1, [], 2, 1.5, 0)
    assert [caption for _, caption in shown] == ["ID_1, seed 0"]
    Image.new("RGB", (16, 16), (0, 0, 128)).save(drawn)
    assert module("vary").reconstruct(drawn)[1].startswith("Root mean square error")
    assert len(module("vary").vary(drawn, "ID_2", 1, 0.5, 2, 1.5, 0)[0]) == 1
    assert len(module("vary").interpolate("ID_1", "ID_2", 2, 2, 1.5, 0)[0]) == 2
    assert module("depth").embed([room])[1][0][0] == "room.png"
    assert len(module("depth").interpolate_depth(room, room, 2)[0]) == 2
    with pytest.raises(AppError, match="Drop in at least one file"):
        module("depth").embed([])
    told = across(module("visitors").refusal("Too <large>."))
    assert told.message == "Too &lt;large&gt;." and not told.print_exception


def test_spaces_is_imported_before_torch(tmp_path: Path):
    (tmp_path / "spaces.py").write_text("import sys; sys.exit(int('torch' in sys.modules))\n")
    done = subprocess.run(
        [sys.executable, "-c", "import app; raise SystemExit(2)"],
        cwd=SPACE,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 0


def test_without_spaces_a_function_stays_as_it_is_and_one_request_is_served_at_a_time(
    module: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "spaces", None)
    hardware = module("hardware")
    assert hardware.on_gpu(across) is across
    assert hardware.model_queue() == {"concurrency_limit": 1, "concurrency_id": "model"}
