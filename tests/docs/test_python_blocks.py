"""Python in the documentation compiles, imports names that exist, and gives settings that exist."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
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


def test_first_example_of_the_page_on_python_gives_each_call_settings_that_it_takes(monkeypatch: pytest.MonkeyPatch):
    results: dict[str, tuple[str, Any]] = {
        "simulate": ("SimulateConfig", Path("walkers")),
        "train_vq_vae": ("VQVAEConfig", SimpleNamespace(output_dir=Path("vq"))),
        "train_ldm": ("LDMConfig", SimpleNamespace(exported=Path("ldm/pipeline"), summary=lambda: "trained")),
        "generate": ("GenerateConfig", SimpleNamespace(folder=Path("generated"))),
        "score_generated": ("ScoreGeneratedConfig", {"scores": {"gan_test": {"mean": 1.0}}}),
    }
    called = []

    def stand_in(name: str) -> Any:
        settings, result = results[name]

        def call(config: object) -> object:
            assert isinstance(config, getattr(echoform_train, settings))
            called.append(name)
            return result

        return call

    for name in results:
        monkeypatch.setattr(echoform_train, name, stand_in(name), raising=False)
    exec(compile(blocks(PYTHON, "python")[0], str(PYTHON), "exec"), {})
    assert called == list(results)


def test_the_page_on_python_names_every_call_and_its_settings():
    page = PYTHON.read_text(encoding="utf-8")
    assert not [name for name in echoform_train.__all__ if f"`{name}" not in page]
