"""Pictures of simulated walks in memory, with what is true of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from scipy.constants import speed_of_light
from torch import Tensor

from echoform_train.data.colormap import to_index
from echoform_train.radar.simulated_walks import simulated_walks
from echoform_train.radar.simulation import cut_windows, record
from echoform_train.radar.simulation_config import DB_MAX, DB_MIN, SimulationConfig
from echoform_train.radar.spectrogram_images import paint


@dataclass(frozen=True, kw_only=True)
class Walks:
    """Windows of straight walks, towards and away, with and without a backpack."""

    pixels: dict[int, Tensor]
    """uint8 [N, 1, H, W] by the number of rows."""
    axes: dict[str, float]
    speed_mps: np.ndarray
    """Radial speed of the pelvis in each window, positive towards the radar, [N]."""
    cadence_hz: np.ndarray
    users: Tensor
    recordings: tuple[str, ...]
    directions: Tensor
    """0 for towards, 1 for away, int64 [N]."""


def simulate_walks(
    users: int,
    recordings: int,
    *sides: int,
    recording_s: float = 4.0,
    seed: int = 5,
    body: Literal["ellipsoids", "scatterers"] = "ellipsoids",
) -> Walks:
    """Walks of a few people at pictures of these sides; by default with the thin lines whose truth is exact."""
    config = SimulationConfig(
        output_dir=Path("nowhere"),
        users=users,
        recordings_per_user=recordings,
        recording_s=recording_s,
        conditions=("normal", "backpack"),
        seed=seed,
        body=body,
    )
    pixels: dict[int, list[np.ndarray]] = {side: [] for side in sides}
    rows: list[dict[str, Any]] = []
    for walk in simulated_walks(config.users, config.recordings_per_user, config.conditions, config.route):
        recording = record(config, walk)
        for start_s, _, image_db in cut_windows(config, recording):
            seen = recording.truth_between(start_s, start_s + config.window_s)
            rows.append(
                {
                    "speed": seen.body_doppler_hz * speed_of_light / config.radar.carrier_hz / 2,
                    "cadence": seen.cadence_hz,
                    "user": walk.user_number - 1,
                    "recording": f"{walk.user}_{walk.name}",
                    "direction": int(walk.direction == "away"),
                }
            )
            for side in sides:
                picture = np.asarray(paint(image_db, side, db_min=DB_MIN, db_max=DB_MAX))
                pixels[side].append(to_index(picture, "jet"))
    return Walks(
        pixels={side: torch.from_numpy(np.stack(images))[:, None] for side, images in pixels.items()},
        axes=config.axes,
        speed_mps=np.array([row["speed"] for row in rows]),
        cadence_hz=np.array([row["cadence"] for row in rows]),
        users=torch.tensor([row["user"] for row in rows]),
        recordings=tuple(row["recording"] for row in rows),
        directions=torch.tensor([row["direction"] for row in rows]),
    )
