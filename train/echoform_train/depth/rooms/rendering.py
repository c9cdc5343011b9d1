"""Render all images of all synthetic rooms, in the form that the loader of depth images reads, or as files."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from echoform import __version__
from echoform_train.depth.rooms.config import RoomsConfig
from echoform_train.depth.rooms.random_rooms import make_camera_path, make_room
from echoform_train.depth.rooms.ray_casting import cast_rays
from echoform_train.depth.rooms.sensor import simulate_sensor
from echoform_train.depth.sources import DepthFile
from echoform_train.engine.files import SETTINGS
from echoform_train.engine.json_files import write_json


def render_rooms(config: RoomsConfig, seed: int) -> list[DepthFile]:
    """Render all rooms as 16-bit PNG images in memory; equal settings and seeds give equal images.

    Each room has its own random generator, so that a larger number of rooms does not change the first ones.
    """
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        images_per_room = pool.map(lambda number: _render_room(config, seed, number), range(config.rooms))
        return [image for images in images_per_room for image in images]


def write_rooms(config: RoomsConfig, seed: int, folder: Path) -> int:
    """Write all images of `render_rooms` to an empty folder; returns their number.

    Their names are `room_0003_0017.png`, of which readers of depth folders take the number at the end for the frame and
    what stands before it for the recording, so that a split holds out whole rooms. settings.json holds what was made.
    """
    count = 0
    for name, images in groupby(render_rooms(config, seed), key=lambda image: image.recording):
        for frame, image in enumerate(images):
            (folder / f"{name}_{frame:04d}.png").write_bytes(image.read())
            count += 1
    write_json(folder / SETTINGS, {**asdict(config), "seed": seed, "version of echoform": __version__})
    return count


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
