"""Parts of gpu.py: speed of the depth autoencoder, and its training on synthetic rooms."""

from __future__ import annotations

import io
import statistics
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_config import DEPTH_SPEED, DEPTH_TRAINING, Config, Part
from gpu_generation import timings
from gpu_training import timed_training
from PIL import Image
from torch import Tensor

from echoform import DepthAutoencoder
from echoform.depth_sizes import SIZES
from echoform_train.data.split import Split
from echoform_train.depth.config import DepthDataConfig
from echoform_train.depth.dataset import DepthData, DepthImages
from echoform_train.depth.rooms.config import ROOMS, RoomsConfig
from echoform_train.depth.rooms.rendering import render_rooms
from echoform_train.depth.sensors import Reading
from echoform_train.depth.sources import DepthFile
from echoform_train.depth.statistics import DepthStatistics
from echoform_train.engine.training_result import TrainingResult
from echoform_train.trainers import depth_ae as train_depth_ae


def depth_parts(config: Config) -> list[Part]:
    """Speed, then training."""
    sizes = ("device", "depth_resolution")
    return [
        Part(
            name=DEPTH_SPEED,
            run=partial(speed, config),
            usual_s=30,
            settings=(*sizes, "depth_batch_sizes", "repeats"),
        ),
        Part(
            name=DEPTH_TRAINING,
            run=partial(training, config),
            usual_s=config.depth_s + 40,
            settings=(*sizes, "depth_rooms", "depth_images", "depth_s", "trial_steps"),
        ),
    ]


@torch.no_grad()
def speed(config: Config) -> dict[str, Any]:
    """Images per second of encoder and decoder, by size, batch size and precision."""
    calls: dict[str, dict[str, float]] = {}
    side = config.depth_resolution
    for size, settings in SIZES.items():
        model = DepthAutoencoder(sample_size=side, **settings).to(config.device).eval()  # pyright: ignore
        for batch_size in config.depth_batch_sizes:
            depth = torch.rand(batch_size, 1, side, side, device=config.device) * 2 - 1
            valid = (torch.rand_like(depth) > 0.1).float()
            for precision in ("float32", "bfloat16"):
                with torch.autocast(config.device, torch.bfloat16, enabled=precision == "bfloat16"):
                    calls[f"{size} {batch_size} {precision}"] = _both_ways(model, depth, valid, config)
    return {"calls": calls}


def _both_ways(model: DepthAutoencoder, depth: Tensor, valid: Tensor, config: Config) -> dict[str, float]:
    latents = model.encode(depth, valid)
    encode_s = statistics.median(timings(lambda: model.encode(depth, valid), config))
    decode_s = statistics.median(timings(lambda: model.decode(latents), config))
    return {"encode_images_per_s": len(depth) / encode_s, "decode_images_per_s": len(depth) / decode_s}


def training(config: Config) -> dict[str, Any]:
    """Train the small autoencoder on rooms, without LPIPS."""
    preset, data = train_depth_ae.PRESETS["small"], rooms(config)
    preset = replace(preset, weights=replace(preset.weights, lpips_weight=0.0))

    def train(images: int, output_dir: Path, validations: int) -> TrainingResult:
        run = replace(
            preset.run,
            output_dir=output_dir,
            max_train_images=images,
            validation_every=max(preset.run.train_batch_size, images // validations),
            checkpointing_every=images,
            early_stopping_patience=0,
            report_to="none",
        )
        depth_data = DepthDataConfig(data=ROOMS, resolution=config.depth_resolution)
        return train_depth_ae.train(replace(preset, data=depth_data, run=run, sample_every=images), data)

    folder = config.work_dir / "depth"
    return timed_training(train, preset, folder, config.trial_steps, config.depth_s, config.depth_images)


def rooms(config: Config) -> DepthData:
    """Synthetic rooms in memory; a tenth of the rooms validates, a fifth is left for tests."""
    settings = RoomsConfig(rooms=config.depth_rooms, resolution=config.depth_resolution)
    files = render_rooms(settings, seed=0)
    names = list(dict.fromkeys(file.recording for file in files))
    testing, validating = max(1, len(names) // 5), max(1, len(names) // 10)
    chosen = {
        "test": names[:testing],
        "validation": names[testing : testing + validating],
        "train": names[testing + validating :],
    }
    sides = {side: _stacked([file for file in files if file.recording in own]) for side, own in chosen.items()}
    statistics_of_files = DepthStatistics()
    for images in sides.values():
        statistics_of_files.add(images.units.numpy())
    return DepthData(
        **sides,
        left_out=_stacked([]),
        split=Split(
            **{side: images.files for side, images in sides.items()},
            left_out=(),
            method="by recording",
            gap_windows=0,
            seed=0,
        ),
        split_file=None,
        images_sha256="",
        id2label={},
        depth_range_mm=settings.depth_range_mm,
        reading=Reading(),
        statistics=statistics_of_files,
        out_of_range=0,
        source=ROOMS,
        image_column=None,
        mat_variable=None,
        skipped=(),
    )


def _stacked(files: list[DepthFile]) -> DepthImages:
    encoded = [file.data for file in files if isinstance(file.data, bytes)]
    images = [np.asarray(Image.open(io.BytesIO(one))).astype(np.uint16) for one in encoded]
    units = np.stack(images)[:, None] if images else np.zeros((0, 1, 1, 1), np.uint16)
    return DepthImages(
        units=torch.from_numpy(units),
        labels=None,
        files=tuple(file.file for file in files),
        recordings=tuple(file.recording for file in files),
    )
