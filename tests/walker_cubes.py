"""Cubes of simulated walkers as an FMCW radar stores them, right and in wrong orders, and where the walkers were."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoform_train.radar.body import SEGMENTS
from echoform_train.radar.fmcw import Chirp, beat_cube, cube_noise
from echoform_train.radar.gait import gait_timing, walking_joints
from echoform_train.radar.person import Person
from echoform_train.radar.returns import JOINT_RATE_HZ, Radar, segment_returns
from echoform_train.radar.walks import Direction, place_walk

RADAR, CHIRP = Radar(), Chirp()
RATE_HZ = RADAR.pulse_rate_hz
SPEED_MPS = 1.3


@dataclass(frozen=True)
class Cube:
    """Beat signals of a walker who passes a wall, and where the walker was."""

    samples: NDArray[np.complex64]
    """[chirps, samples]."""
    from_m: float
    to_m: float


@cache
def walker_cube(direction: Direction = "towards", seconds: float = 4.0, seed: int = 0) -> Cube:
    """A person walks at 1.3 m/s along the line of sight, from or to some 4 m."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * JOINT_RATE_HZ) + 1) / JOINT_RATE_HZ
    phase = time_s / gait_timing(Person(), SPEED_MPS).cycle_s
    joints = walking_joints(Person(), SPEED_MPS, phase, SPEED_MPS * (time_s - seconds / 2))
    placed = place_walk(joints, direction, 0.0, middle_m=4 + SPEED_MPS * seconds / 2)
    range_m, section_m2 = segment_returns(placed, np.array([0, 0, RADAR.height_m]), np.zeros(len(SEGMENTS)))
    wall = np.ones((len(time_s), 1))
    cube = beat_cube(RADAR, CHIRP, np.hstack([range_m, 7.0 * wall]), np.hstack([section_m2, 0.5 * wall]))
    cube += cube_noise(RADAR, CHIRP, len(cube), rng)
    body_m = range_m.mean(axis=1)
    return Cube(cube, float(body_m[0]), float(body_m[-1]))


def counts(samples: NDArray[Any]) -> NDArray[np.int16]:
    """I and Q as a converter of 16 bits gives them, [..., 2]."""
    scaled = samples / np.abs(samples).max() * 2**13
    return np.rint(np.stack([scaled.real, scaled.imag], axis=-1)).astype(np.int16)


def two_lanes(iq: NDArray[np.int16]) -> bytes:
    """A DCA1000 file of an xWR18xx from [chirps, transmitters, receivers, samples, 2]: I I Q Q."""
    first, second = iq[..., 0::2, :], iq[..., 1::2, :]
    return np.stack([first[..., 0], second[..., 0], first[..., 1], second[..., 1]], -1).astype("<i2").tobytes()


def four_lanes(iq: NDArray[np.int16]) -> bytes:
    """A DCA1000 file of an xWR14xx from [chirps, transmitters, receivers, samples, 2]; lanes without receiver are 0."""
    chirps, transmitters, receivers, samples, _ = iq.shape
    words = np.zeros((chirps, transmitters, samples, 2, 4), "<i2")
    for receiver in range(receivers):
        words[..., receiver] = iq[:, :, receiver]
    return words.tobytes()


def demo_config(
    *, samples: int, transmitters: int, receivers: int, loops: int, pulse_us: float, frame_ms: float
) -> str:
    """A .cfg of TI's mmWave demo: 77 GHz, 30 MHz/us, 10 Msps."""
    chirp_us = pulse_us / transmitters
    lines = [
        "% Platform:xWR18xx",
        "sensorStop",
        "dfeDataOutputMode 1",
        f"channelCfg {2**receivers - 1} {2**transmitters - 1} 0",
        "adcCfg 2 1",
        "adcbufCfg -1 0 0 1 1",
        f"profileCfg 0 77 {chirp_us - 40:.6f} 6 40 0 0 30 1 {samples} 10000 0 0 30",
        *(f"chirpCfg {index} {index} 0 0 0 0 0 {1 << index}" for index in range(transmitters)),
        f"frameCfg 0 {transmitters - 1} {loops} 0 {frame_ms} 1 0",
        "lvdsStreamCfg -1 0 1 0",
        "sensorStart",
    ]
    return "\n".join(lines) + "\n"


def studio_config(
    *, samples: int, transmitters: int, receivers: int, loops: int, pulse_us: float, frame_ms: float
) -> str:
    """The same as mmWave Studio writes it."""
    chirps = [
        {
            "rlChirpCfg_t": {
                "chirpStartIdx": index,
                "chirpEndIdx": index,
                "profileId": 0,
                "startFreqVar_MHz": 0.0,
                "freqSlopeVar_KHz_usec": 0.0,
                "idleTimeVar_usec": 0.0,
                "adcStartTimeVar_usec": 0.0,
                "txEnable": hex(1 << index),
            }
        }
        for index in range(transmitters)
    ]
    profile = {
        "profileId": 0,
        "startFreqConst_GHz": 77.0,
        "idleTimeConst_usec": pulse_us / transmitters - 40,
        "adcStartTimeConst_usec": 6.0,
        "rampEndTime_usec": 40.0,
        "freqSlopeConst_MHz_usec": 30.0,
        "numAdcSamples": samples,
        "digOutSampleRate": 10000,
    }
    frame = {
        "chirpStartIdx": 0,
        "chirpEndIdx": transmitters - 1,
        "numLoops": loops,
        "numFrames": 0,
        "framePeriodicity_msec": frame_ms,
    }
    radio = {
        "rlChanCfg_t": {"rxChannelEn": hex(2**receivers - 1), "txChannelEn": hex(2**transmitters - 1), "cascading": 0},
        "rlAdcOutCfg_t": {"fmt": {"b2AdcBits": 2, "b2AdcOutFmt": 1}},
        "rlProfiles": [{"rlProfileCfg_t": profile}],
        "rlChirps": chirps,
        "rlFrameCfg_t": frame,
    }
    capture = {"rlDevDataFmtCfg_t": {"iqSwapSel": 0, "chInterleave": 1}, "rlDevLaneEnable_t": {"laneEn": "0x3"}}
    device = {"mmWaveDeviceId": 0, "rfConfig": radio, "rawDataCaptureConfig": capture}
    return json.dumps({"configGenerator": {"createdBy": "mmWaveStudio"}, "mmWaveDevices": [device]}, indent=2)


def wrongly_paired(samples: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """I I Q Q of two lanes, read as I Q I Q."""
    words = np.stack([samples.real[:, 0::2], samples.real[:, 1::2], samples.imag[:, 0::2], samples.imag[:, 1::2]], -1)
    pairs = np.ascontiguousarray(words.reshape(len(samples), -1, 2), np.float32)
    return pairs.view(np.complex64)[..., 0]


def save(folder: Path, array: NDArray[Any], users: int = 2) -> Path:
    """The same recording of several users."""
    for user in range(1, users + 1):
        (folder / f"ID_{user}").mkdir(parents=True)
        np.save(folder / f"ID_{user}" / "walk.npy", array)
    return folder
