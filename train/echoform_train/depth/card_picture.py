"""The picture of a depth pipeline's card: synthetic rooms, their reconstructions, and the errors in millimetres."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from echoform.pipeline_depth_autoencoder import DepthAutoencoderPipeline
from echoform_train.depth.dataset import DepthData
from echoform_train.depth.reconstruction import reconstruct
from echoform_train.depth.rooms.config import ROOMS, RoomsConfig
from echoform_train.depth.rooms.rendering import render_rooms
from echoform_train.engine.files import SAMPLE_SHEET
from echoform_train.publishing.cards.common import CardFacts

SHOWN = 6
"""Number of images in the picture."""
_SEED = 20_000
"""Of rooms that no training has: their seeds count from 0."""


def write_picture(pipeline: DepthAutoencoderPipeline, data: DepthData, folder: Path) -> CardFacts:
    """Write samples.png: input, reconstruction with the RMSE of each, and error, with bars in millimetres.

    Held-out rooms are shown if the model was trained on synthetic rooms. For any other data, other synthetic rooms are,
    because a card is public and images of the data may not be.

    Args:
        pipeline: The exported pipeline.
        data: The data of its training.
        folder: Folder of the pipeline.

    Returns:
        What the card says of the picture.
    """
    from echoform_train.depth.figures import save_reconstructions  # matplotlib takes a moment to import

    scale, is_rooms = data.scale, data.source == ROOMS
    if is_rooms:
        images = data.test if len(data.test) else data.validation
        units = images.units[torch.linspace(0, len(images) - 1, min(SHOWN, len(images))).long()]
    else:
        units = _other_rooms(int(pipeline.autoencoder.config["sample_size"]), scale.units_per_mm)
    found = reconstruct(pipeline.autoencoder, units, scale)
    if not found.valid.any():
        return {}
    save_reconstructions(
        scale.to_mm(found.depth),
        found.valid,
        {"reconstruction": scale.to_mm(found.reconstructed)},
        found.valid_logit > 0,
        folder / SAMPLE_SHEET,
    )
    if is_rooms:
        return {"picture": "Synthetic rooms that were held out from training; black is no reading."}
    return {
        "picture": "No image of the training data is shown here: these are synthetic rooms, which the model never saw, "
        "so that its errors on images like those of its training are smaller. Black is no reading."
    }


def _other_rooms(side: int, units_per_mm: float) -> Tensor:
    """A view of each of some rooms, int32 [N, 1, side, side], sensor units of the model; 0 is no reading."""
    config = RoomsConfig(rooms=SHOWN, cameras_per_room=1, images_per_camera=1, resolution=side)
    views = [Image.open(io.BytesIO(each.read())) for each in render_rooms(config, _SEED)]
    mm = np.stack([np.asarray(view, dtype=np.float64) for view in views])
    return torch.from_numpy((mm * units_per_mm).round().astype(np.int32))[:, None]
