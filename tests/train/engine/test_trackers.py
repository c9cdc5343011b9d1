from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from accelerate import Accelerator
from PIL import Image

from echoform_train.engine import trackers
from echoform_train.engine.trackers import folders_of, log_image, start_trackers, tracker


def test_a_missing_tracker_is_one_sentence_that_names_its_extra(monkeypatch):
    monkeypatch.setattr(trackers, "get_available_trackers", list)
    assert tracker("auto") is None and tracker("none") is None
    for name in trackers.EXTRAS:
        expected = f'--report-to {name} needs the package {name}, which is not installed; .* "echoform.{name}."'
        with pytest.raises(ValueError, match=expected):
            tracker(name)


def report(name: str, folder: Path) -> Path:
    """Report two numbers and an image; returns the image."""
    output_dir = folder / "runs" / "mine"
    output_dir.mkdir(parents=True)
    accelerator = Accelerator(cpu=True, log_with=name, project_config=folders_of(output_dir))
    start_trackers(accelerator, "ldm", output_dir, {"preset": "cpu", "seed": 0})
    accelerator.log({"train/loss": 0.75}, step=16)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(output_dir / "sheet.png")
    log_image(accelerator, "samples", output_dir / "sheet.png", 16)
    accelerator.log({"train/loss": 0.5}, step=32)
    accelerator.end_training()
    return output_dir / "sheet.png"


def same_pixels(path: Path, other: Path) -> bool:
    with Image.open(path) as one, Image.open(other) as two:
        return np.array_equal(np.array(one.convert("RGB")), np.array(two.convert("RGB")))


@pytest.mark.filterwarnings("ignore")  # of a package that we do not write
def test_wandb_gets_numbers_and_sheets_without_a_network(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    sheet = report("wandb", tmp_path)
    wandb.teardown()  # its own process has written everything
    (image,) = (sheet.parent / "logs").rglob("samples_16_*.png")
    assert same_pixels(image, sheet)
    (record,) = (sheet.parent / "logs").rglob("*.wandb")
    assert b"train/loss" in record.read_bytes()


@pytest.mark.filterwarnings("ignore")  # of a package that we do not write
def test_nobody_logged_in_at_wandb_is_one_sentence(tmp_path, monkeypatch):
    pytest.importorskip("wandb").teardown()  # it remembers the mode of an earlier run
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(ValueError, match=r"--report-to wandb cannot begin: No API key"):
        report("wandb", tmp_path)


@pytest.mark.filterwarnings("ignore")  # of a package that we do not write
def test_trackio_gets_numbers_and_sheets_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when trackio is imported
    pytest.importorskip("trackio")
    sheet = report("trackio", tmp_path)
    (image,) = (tmp_path / "trackio").rglob("*.png")
    assert same_pixels(image, sheet)
    with sqlite3.connect(tmp_path / "trackio" / "ldm.db") as database:
        rows = database.execute("SELECT run_name, step, metrics FROM metrics ORDER BY step").fetchall()
    assert {(row[0], row[1]) for row in rows} == {("mine", 16), ("mine", 32)}
    assert any("0.75" in str(row[2]) for row in rows)
