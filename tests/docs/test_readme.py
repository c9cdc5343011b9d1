"""The README is short, its code runs after a quickstart, and its numbers are those of the benchmarks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UniPCMultistepScheduler, VQModel
from matplotlib import colormaps
from PIL import Image

from doc_pages import ROOT, blocks
from echoform import DopplerUNet2DModel, VQLDMDopplerPipeline

README = ROOT / "README.md"
USERS = 8


def tiny_pipeline() -> VQLDMDopplerPipeline:
    """What a quickstart exports, with random weights: eight users, 16x16 pixels, two directions."""
    torch.manual_seed(0)
    blocks_of_two: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "block_out_channels": (8, 8),
    }
    vqvae = VQModel(in_channels=1, out_channels=1, norm_num_groups=4, num_vq_embeddings=16, **blocks_of_two)
    unet = DopplerUNet2DModel(
        num_users=USERS,
        sample_size=8,
        in_channels=3,
        out_channels=3,
        block_out_channels=(16, 32),
        layers_per_block=1,
        attention_types=("window", "axial"),
        window_size=4,
        num_attention_heads=4,
        norm_num_groups=4,
        conditions={"direction": 2},
    )
    jet = (np.asarray(colormaps["jet"](range(256)))[:, :3] * 255).round().astype(np.uint8)
    return VQLDMDopplerPipeline(
        vqvae.eval(),
        unet.eval(),
        UniPCMultistepScheduler(prediction_type="v_prediction", timestep_spacing="trailing"),
        id2label={str(index): f"ID_{index + 1}" for index in range(USERS)},
        condition_labels={"direction": {"0": "away", "1": "towards"}},
        latent_mean={str(channel): 0.0 for channel in range(3)},
        latent_std={str(channel): 1.0 for channel in range(3)},
        colormap={"name": "jet", "rgb_hex": jet.tobytes().hex()},
        axes={"window_s": 3.0, "db_min": -38.0, "db_max": -4.0},
    )


def test_readme_has_at_most_120_lines():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 120


def test_code_of_the_readme_runs_after_a_quickstart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tiny_pipeline().save_pretrained(tmp_path / "quickstart" / "ldm" / "pipeline")
    monkeypatch.chdir(tmp_path)
    (code,) = blocks(README, "python")
    names: dict[str, Any] = {}
    exec(compile(code, str(README), "exec"), names)
    with Image.open("walker.png") as walker:
        assert walker.size == (16, 16)
    assert len(names["walks"]) == 4
    assert names["decibels"].shape == (1, 16, 16)
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
