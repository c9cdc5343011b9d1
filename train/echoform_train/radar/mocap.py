"""Motion captures: conversion of their joints to those of the simulated body, and the radar samples of their walks."""

import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any, Literal
from zipfile import BadZipFile, ZipFile, is_zipfile

import numpy as np
import scipy
from numpy.typing import NDArray

from echoform_train.engine.errors import UserError
from echoform_train.radar.body import JOINT_INDEX, JOINTS, SEGMENTS
from echoform_train.radar.recordings import Measurement, Motion, Recording, record
from echoform_train.radar.returns import JOINT_RATE_HZ
from echoform_train.radar.walks import NEAREST_M, Direction, heading_of, place_walk

Array = NDArray[np.float64]
UpAxis = Literal["auto", "x", "y", "z"]

FILE_NAME = re.compile(r".+_[^_]+\.npz")
"""<subject>_<trial>.npz."""

MAX_BYTES = 64 * 2**20
"""Largest size of the arrays of a file: ten minutes of 31 joints at 120 Hz."""
LARGEST_M = 1000.0
"""Largest coordinate of a joint."""

LOW_PASS_HZ = 20.0
"""Faster motion of markers is measurement noise; the swing of a foot is slower."""

# What numpy and zipfile raise on broken files.
_READ_ERRORS = (
    ValueError,
    LookupError,
    OSError,
    EOFError,
    TypeError,
    SyntaxError,
    RuntimeError,
    MemoryError,
    TokenError,
    BadZipFile,
    struct.error,
    zlib.error,
)

CMU_NAMES = {
    "neck": "lowerneck",
    "head": "head",
    **{
        f"{side}_{name}": f"{side[0]}{cmu}"
        for side in ("right", "left")
        for name, cmu in {
            "shoulder": "clavicle",
            "elbow": "humerus",
            "hand": "wrist",
            "hip": "hipjoint",
            "knee": "femur",
            "ankle": "tibia",
            "toe": "toes",
        }.items()
    },
}
"""Bone of the skeleton of CMU's motion captures that ends in each of our joints; the pelvis is between the hips."""


@dataclass(frozen=True, kw_only=True)
class Capture:
    """One trial of a motion capture."""

    joints: Array
    """Metres [T, J, 3], in the frame of the studio."""
    names: tuple[str, ...]
    """Names of the joints, [J]."""
    fps: float
    """Moments per second."""


def read_capture(path: Path) -> Capture:
    """Read a .npz file that holds `joints` [T, J, 3] in metres, `names` [J] and `fps`.

    Raises:
        ValueError: If the file holds something else; the message names it.
    """
    held = _read_npz(path)
    missing = [name for name in ("joints", "names", "fps") if name not in held]
    if missing:
        raise UserError(f"{path} must hold joints, names and fps, it lacks {', '.join(missing)}")
    if held["fps"].size != 1 or held["fps"].dtype.kind not in "iuf":
        raise UserError(f"fps of {path} must be one number, it is {held['fps'].dtype} {list(held['fps'].shape)}")
    if held["names"].ndim != 1 or held["names"].dtype.kind not in "US" or held["joints"].dtype.kind not in "iuf":
        raise UserError(f"{path} must hold numbers as joints, and one list of texts as names")
    joints = np.asarray(held["joints"], np.float64)
    names = tuple(str(name) for name in held["names"])
    fps = float(held["fps"].item())
    if joints.ndim != 3 or joints.shape[1:] != (len(names), 3):
        raise UserError(f"joints of {path} must be [T, {len(names)}, 3] as it names {len(names)}, got {joints.shape}")
    if not np.isfinite(joints).all() or not (np.abs(joints) <= LARGEST_M).all():
        raise UserError(f"joints of {path} must be finite numbers of metres, within {LARGEST_M:g} of 0")
    if not 30 <= fps <= 1000:
        raise UserError(f"fps of {path} must be in 30..1000 to hold a gait, got {fps}")
    return Capture(joints=joints, names=names, fps=fps)


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays joints, names and fps of an .npz file, those that it holds."""
    # A pipe of this name would be waited for without end.
    if not path.is_file() or not is_zipfile(path):
        raise UserError(f"{path} must be an .npz file, as numpy.savez writes it")
    try:
        with ZipFile(path) as archive:
            unfolded = sum(entry.file_size for entry in archive.infolist())
        if unfolded > MAX_BYTES:
            raise UserError(
                f"{path} must unfold to at most {MAX_BYTES // 2**20} MiB, it unfolds to {unfolded / 2**20:.0f}"
            )
        with np.load(path, allow_pickle=False) as held:
            # numpy gives a member that is no array as bytes.
            return {name: np.asarray(held[name]) for name in ("joints", "names", "fps") if name in held}
    except UserError:
        raise
    except _READ_ERRORS as error:
        raise UserError(f"{path} cannot be read as an .npz file of plain arrays ({str(error)[:200]})") from error


def capture_seconds(capture: Capture) -> float:
    """Seconds from the first moment to the last."""
    return (len(capture.joints) - 1) / capture.fps


def body_joints(capture: Capture, up: UpAxis = "auto") -> Array:
    """Joints of the simulated body, JOINT_RATE_HZ times per second, from those of CMU's skeleton.

    Motion above LOW_PASS_HZ is filtered out, forwards and backwards, and moments in between are cubic splines.

    Args:
        capture: With the names of CMU's skeleton.
        up: Axis that points up; "auto" takes the one along which the head is above the feet.

    Returns:
        Metres [T, J, 3], J as in body.JOINTS: z is up from the lowest toe, x and y are those of the studio's floor.

    Raises:
        ValueError: If joints are missing, the axis is not clear, or the head lies below the feet.
    """
    missing = [name for name in CMU_NAMES.values() if name not in capture.names]
    if missing:
        raise UserError(f"a motion capture must name the joints of CMU's skeleton, {', '.join(missing)} are missing")
    positions = {name: capture.joints[:, capture.names.index(cmu)] for name, cmu in CMU_NAMES.items()}
    positions["pelvis"] = (positions["right_hip"] + positions["left_hip"]) / 2
    joints = np.stack([positions[name] for name in JOINTS], axis=1)
    # Axes are rotated cyclically, as a swap of two would mirror the body.
    joints = np.roll(joints, 2 - _up_axis(joints, up), axis=-1)
    joints[..., 2] -= joints[..., 2].min()
    if capture.fps > 2 * LOW_PASS_HZ and len(joints) > 30:
        sections = scipy.signal.butter(2, LOW_PASS_HZ, fs=capture.fps, output="sos")
        joints = scipy.signal.sosfiltfilt(sections, joints, axis=0)
    moments = int((len(joints) - 1) / capture.fps * JOINT_RATE_HZ + 1e-9) + 1
    curves = scipy.interpolate.CubicSpline(np.arange(len(joints)) / capture.fps, joints)
    return curves(np.arange(moments) / JOINT_RATE_HZ)


def turn_to_x(joints: Array) -> Array:
    """Turn and move a walk so that it leads along +x, with its middle at the origin.

    Args:
        joints: Metres [T, J, 3], z up; J as in body.JOINTS.

    Raises:
        ValueError: If the walk is not straight: its end is less than 0.5 m from its start, or less than nine tenths of
            the distance walked.
    """
    pelvis = joints[:, JOINT_INDEX["pelvis"], :2]
    way = pelvis[-1] - pelvis[0]
    length_m = float(np.linalg.norm(way))
    if length_m < 0.5:
        raise UserError(f"a captured walk must end 0.5 m or more from its start, got {length_m:.2f} m")
    corners = pelvis[np.append(np.arange(0, len(pelvis) - 1, JOINT_RATE_HZ // 2), len(pelvis) - 1)]  # every half second
    walked_m = float(np.linalg.norm(np.diff(corners, axis=0), axis=1).sum())
    if length_m < 0.9 * walked_m:
        raise UserError(
            f"a captured walk must go straight, it ends {length_m:.2f} m from its start after {walked_m:.2f} m"
        )
    cos, sin = way / length_m
    turned = joints - np.append((pelvis[0] + pelvis[-1]) / 2, 0.0)
    turned[..., :2] = turned[..., :2] @ np.array([[cos, -sin], [sin, cos]])
    return turned


def cadence_hz(joints: Array) -> float:
    """Mean steps per second of a walk along x, joints [T, J, 3], from the moments at which the ankles pass each other.

    Raises:
        ValueError: If they pass fewer than three times.
    """
    apart_m = joints[:, JOINT_INDEX["right_ankle"], 0] - joints[:, JOINT_INDEX["left_ankle"], 0]
    before = np.flatnonzero(np.signbit(apart_m[1:]) != np.signbit(apart_m[:-1]))
    if len(before) < 3:
        raise UserError(f"the ankles must pass each other at least 3 times to show a cadence, got {len(before)}")
    passes = before + apart_m[before] / (apart_m[before] - apart_m[before + 1])
    # Left and right steps differ in length, so only whole cycles are counted.
    cycles = (len(passes) - 1) // 2
    return 2 * cycles * JOINT_RATE_HZ / float(passes[2 * cycles] - passes[0])


def record_capture(
    joints: Array,
    direction: Direction,
    aspect_deg: float,
    measurement: Measurement,
    rng: np.random.Generator,
) -> Recording:
    """Samples of a captured walk, with the echoes of bare ellipsoids.

    Args:
        joints: Metres [T, J, 3] of a walk along +x about the origin, as `turn_to_x` gives.
        direction: "towards" the radar or "away" from it; the nearer end is about 4 m away.
        aspect_deg: Angle between walk and line of sight in the middle.
        measurement: How the body becomes samples.
        rng: Draws clutter and noise.

    Raises:
        ValueError: See cadence_hz and recordings.record.
    """
    distance_m = joints[:, JOINT_INDEX["pelvis"], 0] - joints[0, JOINT_INDEX["pelvis"], 0]
    placed = place_walk(joints, direction, aspect_deg, middle_m=NEAREST_M + float(distance_m[-1]) / 2)
    moments = np.arange(len(joints))
    motion = Motion(
        joints=placed,
        travelled_m=distance_m,
        steps=moments * cadence_hz(joints) / JOINT_RATE_HZ,
        heading_rad=np.full(len(joints), heading_of(direction, aspect_deg)),
    )
    clutter_db = float(rng.uniform(-36, -26))
    return record(motion, np.zeros(len(SEGMENTS)), measurement, rng, clutter_db=clutter_db)


def _up_axis(joints: Array, up: UpAxis) -> int:
    feet = (joints[:, JOINT_INDEX["right_toe"]] + joints[:, JOINT_INDEX["left_toe"]]) / 2
    stand = (joints[:, JOINT_INDEX["head"]] - feet).mean(axis=0)
    axis = int(np.abs(stand).argmax()) if up == "auto" else "xyz".index(up)
    if stand[axis] < 0.9 * np.linalg.norm(stand):
        raise UserError(
            f"the head must stand above the feet along the axis that points up ({up}), "
            f"it lies {stand[axis]:.2f} m along it and {np.linalg.norm(stand):.2f} m away"
        )
    return axis
