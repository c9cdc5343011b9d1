"""The README of each top-level folder names every file in it, and no file that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from doc_pages import ROOT, load_script

LISTED = {
    "pipelines": ROOT / "pipelines" / "echoform",
    "hub_cards": ROOT / "hub_cards" / "echoform_cards",
    "space_app": ROOT / "space_app",
    "tests": ROOT / "tests",
    "benchmarks": ROOT / "benchmarks",
}
"""Where the files lie that the README of each folder lists."""


def code_names(readme: Path) -> set[str]:
    """File names in code type, such as `hub.py`."""
    return set(re.findall(r"`([\w/.]+\.(?:py|txt|j2))`", readme.read_text(encoding="utf-8")))


@pytest.mark.parametrize("folder", LISTED)
def test_readme_of_a_folder_names_every_module(folder: str):
    modules = {path.name for path in LISTED[folder].glob("*.py") if path.name != "__init__.py"}
    named = {Path(name).name for name in code_names(ROOT / folder / "README.md")}
    assert not modules - named


@pytest.mark.parametrize("folder", LISTED)
def test_every_file_that_the_readme_of_a_folder_names_exists(folder: str):
    existing = {path.name for path in (ROOT / folder).rglob("*") if path.is_file()}
    named = {Path(name).name for name in code_names(ROOT / folder / "README.md")}
    gone = named - existing
    # READMEs may also name modules of other folders.
    elsewhere = {path.name for path in (ROOT / "train").rglob("*.py")} | {path.name for path in ROOT.glob("docs/*.py")}
    assert not gone - elsewhere


def test_readme_of_the_laboratory_is_what_its_modules_say():
    script = load_script("train_readme")
    assert script.PAGE.read_text(encoding="utf-8") == script.document(), "run `make docs`"


def test_readme_of_the_laboratory_knows_every_room():
    script = load_script("train_readme")
    rooms = {path.name for path in script.PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert rooms == set(script.ROOMS)


def test_every_folder_of_the_tests_is_listed():
    readme = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert not [folder for folder in folders if f"| `{folder}` |" not in readme]


def test_files_that_the_table_of_constants_names_exist():
    table = (ROOT / "benchmarks" / "EXPERIMENTS.md").read_text(encoding="utf-8").partition("## Constants and where")[2]
    files = set(re.findall(r"`([\w/]+\.py)`", table))
    assert len(files) > 5
    assert not [name for name in files if not (ROOT / "train" / "echoform_train" / name).is_file()]
