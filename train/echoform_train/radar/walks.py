"""Continuous recordings of a person who walks past a radar: what differs from one walk to the next, and its samples."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from echoform_train.radar.body import SEGMENTS, Person, carrying
from echoform_train.radar.gait import gait_timing, walking_joints
from echoform_train.radar.returns import (
    JOINT_RATE_HZ,
    Radar,
    doppler_shift_hz,
    echoes,
    phase_noise,
    received_power_w,
    segment_returns,
    thermal_noise,
)

Array = NDArray[np.float64]
Direction = Literal["towards", "away"]

NEAREST_M = 4.0
"""Closest that the straight walk comes to the radar, if it were heading straight at it."""


@dataclass(frozen=True, kw_only=True)
class Walk:
    """One straight walk of one person."""

    person: Person
    """The person on this day: traits with this walk's variation, and what they carry."""
    condition: str = "normal"
    direction: Direction = "towards"
    speed_mps: float = 1.3
    speed_variation: float = 0.02
    """Deviation of the speed within the walk, as a share; it changes over seconds, and the cadence with it."""
    aspect_deg: float = 0.0
    """Angle between the walk and the line of sight in the middle of the walk."""
    start_phase: float = 0.0
    """Cycles since the right foot's strike."""
    clutter_db: float = -30.0
    """Return of what stands still, decibels over one square metre at the walker's mean range."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Samples of one walk, and what is true about it."""

    iq: NDArray[np.complex64]
    """Complex samples [T], range-compensated: amplitude 1 is one square metre at the body's range."""
    pulse_rate_hz: int
    body_doppler_hz: float
    """Mean Doppler shift of the pelvis, of which a tracker would know."""
    speed_mps: float
    cadence_hz: float
    """Mean steps a second."""
    walk: Walk


def draw_walk(person: Person, condition: str, direction: Direction, rng: np.random.Generator) -> Walk:
    """A walk with the variation that one person shows from one walk to the next.

    Raises:
        ValueError: If the condition is unknown.
    """

    def near_one(deviation: float) -> float:
        return float(np.exp(rng.normal(0.0, deviation)))

    arm_swing = near_one(0.12)
    gain_db = np.asarray(person.gain_db) + rng.normal(0.0, 1.1, len(SEGMENTS))
    today = replace(
        person,
        cadence_factor=person.cadence_factor * near_one(0.014),
        right_arm_swing=person.right_arm_swing * arm_swing,
        left_arm_swing=person.left_arm_swing * arm_swing,
        hip_amplitude=person.hip_amplitude * near_one(0.02),
        knee_amplitude=person.knee_amplitude * near_one(0.02),
        lean_deg=person.lean_deg + float(rng.normal(0.0, 1.0)),
        gain_db=tuple(gain_db.tolist()),
    )
    return Walk(
        person=carrying(today, condition),
        condition=condition,
        direction=direction,
        speed_mps=float(np.clip(person.speed_mps * near_one(0.045), 0.9, 1.7)),
        aspect_deg=float(rng.uniform(-10, 10)),
        start_phase=float(rng.uniform()),
        clutter_db=float(rng.uniform(-36, -26)),
    )


def record_walk(walk: Walk, radar: Radar, duration_s: float, rng: np.random.Generator) -> Recording:
    """What the radar samples in `duration_s` of the walk, with clutter, phase noise and thermal noise.

    Distance compensation multiplies the amplitude by the body's range squared, so a walker keeps one level and the
    noise floor grows with range, as behind the range-gain control of a real receiver.

    Raises:
        ValueError: If the speed lies outside the walking model.
    """
    steps = int(np.ceil(duration_s * JOINT_RATE_HZ)) + 1
    speed_mps = walk.speed_mps * (1 + walk.speed_variation * _slow_noise(steps, rng))
    timing = gait_timing(walk.person, walk.speed_mps)
    # The stride goes with the square root of the speed, and so does the cadence.
    cycles_hz = np.sqrt(speed_mps / walk.speed_mps) / timing.cycle_s
    phase = walk.start_phase + _running_sum(cycles_hz) / JOINT_RATE_HZ
    advance_m = _running_sum(speed_mps) / JOINT_RATE_HZ
    joints = walking_joints(walk.person, walk.speed_mps, phase, advance_m - advance_m[-1] / 2)
    placed = place_walk(joints, walk.direction, walk.aspect_deg, middle_m=NEAREST_M + advance_m[-1] / 2)

    position_m = np.array([0.0, 0.0, radar.height_m])
    range_m, section_m2 = segment_returns(placed, position_m, np.asarray(walk.person.gain_db))
    body_m = np.linalg.norm(placed[:, 0] - position_m, axis=-1)
    received = echoes(radar, range_m, section_m2)
    clutter_w = received_power_w(radar, float(body_m.mean()), 10 ** (walk.clutter_db / 10))
    received += np.complex64(np.sqrt(clutter_w) * np.exp(2j * np.pi * rng.uniform()))
    received *= phase_noise(radar, len(received), rng)
    received += thermal_noise(radar, len(received), rng)
    per_step = radar.pulse_rate_hz // JOINT_RATE_HZ
    # One square metre at the body's range becomes amplitude 1.
    unit = 1 / np.sqrt(received_power_w(radar, body_m, np.ones_like(body_m)))
    received *= np.interp(np.arange(len(received)) / per_step, np.arange(steps), unit).astype(np.float32)
    closing_mps = (body_m[0] - body_m[-1]) * JOINT_RATE_HZ / (steps - 1)
    return Recording(
        iq=received,
        pulse_rate_hz=radar.pulse_rate_hz,
        body_doppler_hz=doppler_shift_hz(float(closing_mps), radar.wavelength_m),
        speed_mps=float(speed_mps.mean()),
        cadence_hz=float(2 * cycles_hz.mean()),
        walk=walk,
    )


def place_walk(joints: Array, direction: Direction, aspect_deg: float, middle_m: float) -> Array:
    """Turn and move joints that walk along +x about the origin so that they pass `middle_m` before the radar.

    Args:
        joints: Metres [T, J, 3].
        direction: Towards the radar or away from it.
        aspect_deg: Angle between the walk and the line of sight where the walk crosses it.
        middle_m: Distance of that crossing from the radar, along x.

    Returns:
        Metres [T, J, 3] in a frame whose origin is the floor below the radar.
    """
    heading = np.radians(aspect_deg) + (np.pi if direction == "towards" else 0.0)
    ahead = np.array([np.cos(heading), np.sin(heading), 0.0])
    left = np.array([-np.sin(heading), np.cos(heading), 0.0])
    rotation = np.stack([ahead, left, [0.0, 0.0, 1.0]])
    return joints @ rotation + np.array([middle_m, 0.0, 0.0])


def _slow_noise(steps: int, rng: np.random.Generator) -> Array:
    """Unit-deviation sum of slow sines of random phase, periods of 3 to 15 s, [steps]."""
    time_s = np.arange(steps) / JOINT_RATE_HZ
    periods_s = rng.uniform(3, 15, 4)
    offsets = rng.uniform(0, 1, 4)
    return np.sin(2 * np.pi * (time_s[:, None] / periods_s + offsets)).sum(axis=1) / np.sqrt(2)


def _running_sum(rate: Array) -> Array:
    """Trapezoidal integral in steps, starting at 0."""
    return np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2)])
