"""The README is short, its code runs after the install, and its numbers are those of the benchmarks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from doc_pages import ROOT, blocks

README = ROOT / "README.md"


def test_readme_has_at_most_120_lines():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 120


def test_code_of_the_readme_runs_after_the_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (code,) = blocks(README, "python")
    names: dict[str, Any] = {}
    exec(compile(code, str(README), "exec"), names)
    with Image.open("walker.png") as walker:
        assert walker.size == (64, 64)
    assert len(names["walks"]) == 4
    assert names["decibels"].shape == (1, 64, 64)
    assert names["decibels"].dtype == np.float32
    assert len(names["between"]) == 8


def test_every_measured_number_of_the_readme_is_in_the_benchmarks():
    found = README.read_text(encoding="utf-8").partition("## What we found")[2].partition("\n## ")[0]
    measured = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    numbers = set(re.findall(r"\d+\.\d+", found))
    assert len(numbers) > 10
    assert not [number for number in numbers if number not in measured]


def test_image_of_the_readme_is_under_a_megabyte():
    (name,) = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README.read_text(encoding="utf-8"))
    assert (ROOT / name).stat().st_size < 2**20
