"""Render all images of all synthetic rooms, in the form that the loader of depth images reads."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from echoform_train.depth.rooms.config import RoomsConfig
from echoform_train.depth.rooms.random_rooms import make_camera_path, make_room
from echoform_train.depth.rooms.ray_casting import cast_rays
from echoform_train.depth.rooms.sensor import simulate_sensor
from echoform_train.depth.sources import DepthFile


def render_rooms(config: RoomsConfig, seed: int) -> list[DepthFile]:
    """Render all rooms as 16-bit PNG images in memory; equal settings and seeds give equal images.

    Each room has its own random generator, so that a larger number of rooms does not change the first ones.
    """
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        images_per_room = pool.map(lambda number: _render_room(config, seed, number), range(config.rooms))
        return [image for images in images_per_room for image in images]


def _render_room(config: RoomsConfig, seed: int, number: int) -> list[DepthFile]:
    rng = np.random.default_rng([seed, number])
    room = make_room(rng)
    recording = f"room_{number:04d}"
    images = []
    for path in range(config.cameras_per_room):
        for frame, camera in enumerate(make_camera_path(rng, room, config)):
            units = simulate_sensor(cast_rays(room, camera, config.resolution), config, rng)
            encoded = io.BytesIO()
            Image.fromarray(units).save(encoded, "PNG", compress_level=1)
            name = f"{recording}/camera_{path}_{frame:04d}.png"
            images.append(DepthFile(file=name, data=encoded.getvalue(), recording=recording))
    return images
