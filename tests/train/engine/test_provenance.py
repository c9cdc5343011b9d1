"""The state of the code is that of echoform's own checkout, never that of a repository around the environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import echoform
import echoform_train

SCRIPT = "import json; from echoform_train.engine.provenance import code_state; print(json.dumps(code_state()))"


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A repository of somebody, with one commit, and in it a folder of our packages that the commit does not hold."""
    git(tmp_path, "init", "-q")
    (tmp_path / "theirs.txt").write_text("theirs")
    git(tmp_path, "add", "theirs.txt")
    commit(tmp_path)
    folder = tmp_path / "lib" / "site-packages"
    for package in (echoform, echoform_train):
        source = Path(str(package.__file__)).parent
        shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=n@example.org", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def commit(folder: Path) -> str:
    git(folder, "commit", "-qm", "a commit")
    return git(folder, "rev-parse", "--short=12", "HEAD")


def state(packages: Path, **environment: str) -> dict[str, Any]:
    """What a process says that imports the packages from this folder."""
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | {"PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1"} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(result.stdout)


def test_an_environment_inside_a_repository_of_somebody_has_a_release_and_no_commit(packages):
    assert state(packages)["commit"] == f"release {echoform.__version__}"


def test_a_checkout_has_its_commit_and_a_plus_once_it_is_changed(packages):
    git(packages, "add", ".")
    head = commit(packages)
    clean = state(packages)
    assert clean["commit"] == head
    # A Python file that nobody added yet can change a number like any other.
    added = packages / "echoform_train" / "radar" / "added.py"
    added.write_text("")
    assert state(packages)["commit"] == f"{head}+"
    added.unlink()
    assert state(packages) == clean
    init = packages / "echoform" / "__init__.py"
    init.write_text(init.read_text() + "\n# changed\n")
    changed = state(packages)
    assert changed["commit"] == f"{head}+"
    assert changed["sources"] != clean["sources"]


def test_variables_of_git_name_no_other_repository(packages, tmp_path_factory):
    git(packages, "add", ".")
    head = commit(packages)
    other = tmp_path_factory.mktemp("other")
    git(other, "init", "-q")
    assert state(packages, GIT_DIR=str(other / ".git"))["commit"] == head


def test_a_checkout_that_git_cannot_read_does_not_pass_for_a_release(packages, tmp_path):
    git(packages, "add", ".")
    commit(packages)
    (tmp_path / ".git" / "HEAD").unlink()
    assert state(packages)["commit"] == "unknown commit"
