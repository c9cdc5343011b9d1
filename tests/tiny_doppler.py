"""A tiny pipeline of real parts: 16x16 images of three users, 8x8 latents, random weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, VQModel
from matplotlib import colormaps

from echoform import DopplerUNet2DModel, VQLDMDopplerPipeline

JET = (np.asarray(colormaps["jet"](range(256)))[:, :3] * 255).round().astype(np.uint8)


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
