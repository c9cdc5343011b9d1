"""Good exported models, small ones, which the makers of rows then spoil; each is made once and copied."""

from __future__ import annotations

import json
import shutil
import struct
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler, VQModel
from safetensors.torch import load_file, save_file

from echoform import DopplerUNet2DModel, VQLDMDopplerPipeline
from echoform_train.depth.search import embed_source, save_index
from echoform_train.publishing.fingerprint import write_fingerprint
from echoform_train.publishing.identity import model_identity
from hostile.inputs import depth_images
from tiny_conv import tiny_conv_pipeline
from tiny_depth import tiny_depth_pipeline

WEIGHTS = "diffusion_pytorch_model.safetensors"
USERS = ["ID_1", "ID_2"]
TRAINING: dict[str, Any] = {
    "command": "echoform train",
    "commit": "0123456789abcdef",
    "versions": {"torch": "2.0"},
    "machine": "8 cores",
    "seconds": 10.0,
    "images_seen": 100,
    "parameters": 1000,
}
SPECTROGRAMS: dict[str, Any] = {
    "source": "walkers",
    "resolution": 16,
    "channels": 1,
    "images": {"train": 16, "validation": 4, "test": 4},
    "split": "by recording",
    "split_sha256": "0" * 64,
    "images_sha256": "0" * 64,
    "colormap": "jet",
    "colormap_residual": 0.0,
    "users": USERS,
    "conditions": {},
}
DEPTH: dict[str, Any] = {
    "source": "shapes",
    "resolution": 32,
    "images": {"train": 16, "validation": 4, "test": 4},
    "split": "by recording",
    "split_sha256": "0" * 64,
    "images_sha256": "0" * 64,
    "depth_range_mm": {"min": 300.0, "max": 5000.0},
    "units_per_mm": 1.0,
    "invalid_values": {"0": "no reading"},
    "classes": ["ball", "box"],
    "share_with_reading": 0.9,
}
FIRST_STAGE: dict[str, Any] = {
    **TRAINING,
    "kind": "vq-vae",
    "preset": "cpu",
    "quantized": True,
    "latent_shape": [4, 8, 8],
    "validation": {"psnr": 20.0},
    "data": SPECTROGRAMS,
}


@cache
def made() -> Path:
    """A folder of pushed models: `doppler`, `conv`, `depth`, `stage` (the output of a first stage) and `index`."""
    home = Path(tempfile.mkdtemp(prefix="echoform-hostile-"))
    torch.manual_seed(0)
    vqvae = VQModel(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        latent_channels=4,
        vq_embed_dim=4,
        num_vq_embeddings=16,
        norm_num_groups=4,
    ).eval()
    unet = DopplerUNet2DModel(
        num_users=2,
        sample_size=8,
        block_out_channels=(16, 16),
        layers_per_block=1,
        attention_types=("window", "axial"),
        window_size=4,
        num_attention_heads=2,
        norm_num_groups=4,
        conditions={"direction": 2},
    ).eval()
    four = {str(channel): 1.0 for channel in range(4)}
    VQLDMDopplerPipeline(
        vqvae,
        unet,
        DPMSolverMultistepScheduler(prediction_type="v_prediction", timestep_spacing="trailing"),
        id2label={str(number): user for number, user in enumerate(USERS)},
        condition_labels={"direction": {"0": "away", "1": "towards"}},
        latent_mean=four,
        latent_std=four,
        axes={"window_s": 3.0, "doppler_min_hz": -250.0, "doppler_max_hz": 250.0, "db_min": -50.0, "db_max": 0.0},
        num_inference_steps=2,
    ).save_pretrained(home / "doppler")
    denoiser = {**TRAINING, "kind": "ldm", "preset": "cpu", "objective": "v-prediction", "data": SPECTROGRAMS}
    write_facts(home / "doppler", {**denoiser, "first_stage": FIRST_STAGE})
    vqvae.save_pretrained(home / "stage" / "vqvae")
    write_facts(home / "stage", FIRST_STAGE)
    pipeline = tiny_depth_pipeline()
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(home / "depth")
    write_facts(home / "depth", {**TRAINING, "kind": "depth-ae", "data": DEPTH})
    tiny_conv_pipeline().save_pretrained(home / "conv")
    for name in ("doppler", "depth", "conv"):
        write_fingerprint(home / name)
    dataset, _ = embed_source(str(depth_images(home / "shapes", 3)), pipeline)
    place, model = str(home / "depth"), model_identity(home / "depth")
    save_index(
        dataset, {"pipeline": place, "model": model, "source": "shapes", "distance": "euclidean"}, home / "index"
    )
    return home


def write_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def copied(name: str, folder: Path) -> Path:
    """A copy of a good model, to spoil."""
    return Path(shutil.copytree(made() / name, folder / name))


Spoil = Callable[[Path], object]


def edited(file: str, **values: Any) -> Spoil:
    """Other values in a JSON file."""

    def spoil(model: Path) -> None:
        content = json.loads((model / file).read_text())
        (model / file).write_text(json.dumps(content | values))

    return spoil


def written(file: str, content: bytes | str) -> Spoil:
    """Another content of a file."""
    return lambda model: (model / file).write_bytes(content if isinstance(content, bytes) else content.encode())


def tensors(file: str, change: Callable[[dict[str, torch.Tensor]], object]) -> Spoil:
    """Other tensors in a safetensors file."""

    def spoil(model: Path) -> None:
        found = load_file(model / file)
        change(found)
        save_file(found, model / file, metadata={"format": "pt"})

    return spoil


def header(text: str | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with any header."""
    content = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(content) if length is None else length) + content + data
