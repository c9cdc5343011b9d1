"""Python in the documentation compiles, imports names that exist, and gives settings that exist."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import echoform_train
from doc_pages import PAGES, ROOT, blocks

OURS = ("echoform", "echoform_train", "echoform_cards")
PYTHON = ROOT / "docs" / "python.md"
WITH_PYTHON = [page for page in PAGES if blocks(page, "python")]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_name_that_is_imported_from_our_packages_exists(page: Path):
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] in OURS:
                module = import_module(str(node.module))
                assert not [alias.name for alias in node.names if not hasattr(module, alias.name)]


# Settings with which the examples of the page run in seconds.
_RUN = {"max_train_images": 96, "train_batch_size": 8, "lr_warmup_steps": 2, "validation_every": 48}
_VQ_VAE = {**_RUN, "block_out_channels": (8, 16, 16), "num_vq_embeddings": 16, "quantize_after": 32}
_LDM = {"block_out_channels": (16, 32), "attention_types": ("window", "axial"), "num_attention_heads": 4}
SMALL: dict[str, dict[str, Any]] = {
    "simulate": {"users": 2, "recordings_per_user": 8, "recording_s": 8.0, "resolution": 32, "workers": 1},
    "prepare": {},
    "train_vq_vae": _VQ_VAE,
    "train_kl_vae": {**_RUN, "block_out_channels": (8, 16, 16)},
    "train_ldm": {**_RUN, **_LDM, "window_size": 4},
    "generate": {"num_images": 16},
    "score_generated": {"judge_seeds": (0,), "judge_train_images": 640},
}


@pytest.fixture(scope="module")
def of_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the names of the page on Python stand for after its first three examples ran, in small sizes."""
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        for call, settings in SMALL.items():
            patch.setattr(echoform_train, call, partial(_called, getattr(echoform_train, call), settings))
        for block in blocks(PYTHON, "python")[:3]:
            exec(compile(block, str(PYTHON), "exec"), names)
        yield names


def _called(call: Callable[..., Any], small: dict[str, Any], *args: Any, **settings: Any) -> Any:
    return call(*args, **{**settings, **small})


def test_examples_of_the_page_on_python_train_generate_and_score(of_page: dict[str, Any]):
    assert len(of_page["images"]) == 4
    assert of_page["scores"]["scores"]["gan_test"]["mean"] >= 0
    written = json.loads((of_page["generated"].folder / "scores.json").read_text())
    assert {name: written[name] for name in of_page["scores"]} == of_page["scores"]
    ldm = of_page["ldm"]
    assert ldm.facts == json.loads((ldm.output_dir / "facts.json").read_text())
    assert repr(ldm).startswith("TrainingResult\n  loss") and "96 of 96 images seen" in repr(ldm)
    assert ldm.summary().startswith("best after 96 images: loss ")


def test_example_of_data_in_memory_knows_its_images_again(of_page: dict[str, Any]):
    people, folder = of_page["kl_vae"].facts["data"], of_page["vq_vae"].facts["data"]
    assert people["source"] == f"in memory (fingerprint {of_page['people']._fingerprint})"
    # The same windows of the same recordings are cut alike; names of files are not the same.
    assert people["images"] == folder["images"] and people["users"] == folder["users"] == ["ID_1", "ID_2"]
    assert people["images_sha256"] != folder["images_sha256"]


def test_example_of_callbacks_gets_every_validation(of_page: dict[str, Any], capsys: pytest.CaptureFixture[str]):
    history, again = of_page["history"], of_page["again"]
    assert [scores["images_seen"] for scores in history] == [48, 96]
    best = next(scores for scores in history if scores["images_seen"] == again.best_after)
    assert {name: best[name] for name in again.metrics} == again.metrics
    # The same settings and data give the same model, whoever listens.
    assert again.metrics == of_page["vq_vae"].metrics


def test_the_page_on_python_names_every_call_and_its_settings():
    page = PYTHON.read_text(encoding="utf-8")
    assert not [name for name in echoform_train.__all__ if f"`{name}" not in page]
