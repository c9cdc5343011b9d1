"""A tiny pipeline of real parts: 16x16 images of three users, 8x8 latents, random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, VQModel
from matplotlib import colormaps
from safetensors.torch import save_file

from echoform import DopplerUNet2DModel, VQLDMDopplerPipeline

JET = (np.asarray(colormaps["jet"](range(256)))[:, :3] * 255).round().astype(np.uint8)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
LAYERS = ("middle.0.attention.to_qkv", "up_levels.0.0.resnet.time_emb_proj")
"""Layers that an added user of `user_folder` changes."""


def tiny_unet(**settings: Any) -> DopplerUNet2DModel:
    torch.manual_seed(0)
    defaults: dict[str, Any] = {
        "num_users": 3,
        "sample_size": 8,
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "attention_types": ("window", "axial"),
        "window_size": 4,
        "num_attention_heads": 4,
        "norm_num_groups": 4,
        "conditions": {"direction": 2, "condition": 3},
    }
    return DopplerUNet2DModel(**(defaults | settings)).eval()


def tiny_vqvae(channels: int = 1) -> VQModel:
    torch.manual_seed(1)
    return VQModel(
        in_channels=channels,
        out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        latent_channels=4,
        vq_embed_dim=4,
        num_vq_embeddings=16,
        norm_num_groups=4,
    ).eval()


def tiny_kl() -> AutoencoderKL:
    torch.manual_seed(1)
    settings: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "block_out_channels": (8, 8),
    }
    return AutoencoderKL(in_channels=1, out_channels=1, norm_num_groups=4, **settings).eval()


def tiny_pipeline(**settings: Any) -> VQLDMDopplerPipeline:
    channels = settings.pop("channels", 1)
    defaults: dict[str, Any] = {
        "vqvae": tiny_vqvae(channels),
        "unet": tiny_unet(),
        "scheduler": DPMSolverMultistepScheduler(prediction_type="v_prediction", timestep_spacing="trailing"),
        "id2label": {"0": "ID_1", "1": "ID_2", "2": "ID_10"},
        "condition_labels": {
            "direction": {"0": "away", "1": "towards"},
            "condition": {"0": "normal", "1": "backpack", "2": "bag"},
        },
        "latent_mean": {"0": 0.1, "1": -0.2, "2": 0.3, "3": 0.0},
        "latent_std": {"0": 0.5, "1": 1.5, "2": 1.0, "3": 2.0},
        "colormap": {"name": "jet", "rgb_hex": JET.tobytes().hex()} if channels == 1 else None,
        "axes": {"window_s": 3.0, "db_min": -50.0, "db_max": 0.0},
    }
    pipeline = VQLDMDopplerPipeline(**(defaults | settings))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def user_folder(folder: Path, pipeline: VQLDMDopplerPipeline, user: str = "ID_32", **changes: Any) -> Path:
    """What `echoform add-user` writes, with random numbers."""
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(len(str(user)))
    tensors = {"embedding": torch.randn(pipeline.unet.user_embedding.embedding_dim, generator=generator)}
    for name in LAYERS:
        layer = pipeline.unet.get_submodule(name)
        tensors[f"{name}.down"] = torch.randn(2, layer.in_features, generator=generator)
        tensors[f"{name}.up"] = torch.randn(layer.out_features, 2, generator=generator) / 4
    base = {str(dtype): pipeline.base_hash(dtype) for dtype in DTYPES}
    facts = {"user": user, "base_model": "walkers", "base": base, "axes": pipeline.config["axes"]}
    (folder / "config.json").write_text(json.dumps(facts | changes))
    save_file(tensors, folder / "user.safetensors")
    return folder
