"""Walks of a person in front of a radar: their random variation, motion and samples."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from echoform_train.radar.body import SEGMENTS
from echoform_train.radar.gait import gait_timing, walking_joints
from echoform_train.radar.loads import Load
from echoform_train.radar.person import Person, carrying
from echoform_train.radar.recordings import Measurement, Motion, Recording, record
from echoform_train.radar.returns import JOINT_RATE_HZ
from echoform_train.radar.routes import bend, distance_along, draw_path

Array = NDArray[np.float64]
Direction = Literal["towards", "away", "free", "hall"]
"""Direction of a straight walk; "free" and "hall" are routes with turns, which have no single direction."""
Route = Literal["straight", "free", "hall"]
"""straight: towards the radar or away from it. free: through random way points. hall: to and fro before the radar."""

_STANDING_SHARE = 0.05
"""Share of the walking speed at which a person counts as standing; the walking model holds above 0 only."""
NEAREST_M = 4.0
"""Smallest distance of a straight walk from the radar, if it leads exactly towards it."""


@dataclass(frozen=True, kw_only=True)
class Walk:
    """One walk of one person."""

    person: Person
    """The person with the variation of this walk and with the load."""
    condition: str = "normal"
    direction: Direction = "towards"
    speed_mps: float = 1.3
    """Speed on a straight line; turns slow the walker down."""
    speed_variation: float = 0.02
    """Relative standard deviation of the speed within the walk. It varies over seconds, and the cadence with it."""
    start_and_stop: bool = False
    """The walk begins and ends at a standstill."""
    aspect_deg: float = 0.0
    """Angle between a straight walk and the line of sight in the middle of the walk."""
    start_phase: float = 0.0
    """Phase at the start: cycles since a strike of the right foot."""
    clutter_db: float = -30.0
    """Cross-section of the stationary clutter at the walker's mean range, decibels over one square metre."""

    @property
    def route(self) -> Route:
        """Kind of route."""
        return route_of(self.direction)


def route_of(direction: Direction) -> Route:
    """Kind of route of a direction."""
    return "straight" if direction in ("towards", "away") else direction


def draw_walk(person: Person, condition: str, direction: Direction, rng: np.random.Generator) -> Walk:
    """Draw a walk, with the variation that a person shows from one walk to the next.

    Args:
        person: The person without a load.
        condition: One of loads.CONDITIONS.
        direction: Direction of the walk.
        rng: Draws the variation.

    Raises:
        ValueError: If the condition is unknown.
    """

    def near_one(deviation: float) -> float:
        return float(np.exp(rng.normal(0.0, deviation)))

    arm_swing = near_one(0.1)
    gain_db = np.asarray(person.gain_db) + rng.normal(0.0, 0.8, len(SEGMENTS))
    # The variation of the load is drawn last, so that the same walk with and without a load differs by the load alone.
    varied = replace(
        person,
        cadence_factor=person.cadence_factor * near_one(0.012),
        right_arm_swing=person.right_arm_swing * arm_swing,
        left_arm_swing=person.left_arm_swing * arm_swing,
        hip_amplitude=person.hip_amplitude * near_one(0.015),
        knee_amplitude=person.knee_amplitude * near_one(0.015),
        torso_sway=person.torso_sway * near_one(0.03),
        lean_deg=person.lean_deg + float(rng.normal(0.0, 1.0)),
        gain_db=tuple(gain_db.tolist()),
    )
    speed_factor = near_one(0.04)
    walk = Walk(
        person=varied,
        condition=condition,
        direction=direction,
        aspect_deg=float(rng.uniform(-10, 10)),
        start_phase=float(rng.uniform()),
        clutter_db=float(rng.uniform(-36, -26)),
    )
    if condition != "normal":
        loads = {**person.loads, condition: _varied_load(person.loads[condition], rng)}
        varied = carrying(replace(varied, loads=loads), condition)
    return replace(walk, person=varied, speed_mps=_limited(varied.speed_mps * speed_factor, person))


def _limited(speed_mps: float, person: Person) -> float:
    """A speed within 0.9..1.7 m/s; of people who prefer to walk slower or faster, within limits that follow them."""
    low, high = min(0.9, 0.9 * person.speed_mps), max(1.7, 1.09 * person.speed_mps)
    return float(np.clip(speed_mps, low, high))


def record_walk(walk: Walk, measurement: Measurement, duration_s: float, rng: np.random.Generator) -> Recording:
    """Samples of `duration_s` seconds of a walk, see `recordings.record`.

    Raises:
        ValueError: If the speed lies outside the walking model, and as `recordings.record` does.
    """
    return record_motion(walk, walk_motion(walk, duration_s, rng), measurement, rng)


def record_motion(walk: Walk, motion: Motion, measurement: Measurement, rng: np.random.Generator) -> Recording:
    """Samples of a motion with the traits of its walk, see `recordings.record`."""
    person = walk.person
    return record(
        motion,
        np.asarray(person.gain_db),
        measurement,
        rng,
        back_gain_db=person.back_gain_db,
        clutter_db=walk.clutter_db,
    )


def walk_motion(walk: Walk, duration_s: float, rng: np.random.Generator) -> Motion:
    """Motion of a walker for `duration_s` seconds: the speed varies at random, and a route that is not straight too.

    Raises:
        ValueError: If the speed lies outside the walking model.
    """
    moments = int(np.ceil(duration_s * JOINT_RATE_HZ)) + 1
    straight_mps = walk.speed_mps * (1 + walk.speed_variation * _slow_noise(moments, rng))
    if walk.start_and_stop:
        straight_mps = straight_mps * _start_and_stop(moments, rng)
    if walk.route == "straight":
        phase = _phase(walk, straight_mps)
        distance_m = _running_sum(straight_mps) / JOINT_RATE_HZ
        # A straight walk keeps nearly one speed, so its joint angles are those of the mean speed, unless it stops.
        pose_mps = straight_mps if walk.start_and_stop else walk.speed_mps
        joints = walking_joints(walk.person, pose_mps, phase, distance_m - distance_m[-1] / 2)
        heading_rad = heading_of(walk.direction, walk.aspect_deg)
        placed = place_walk(joints, walk.direction, walk.aspect_deg, middle_m=NEAREST_M + distance_m[-1] / 2)
        return Motion(
            joints=placed,
            travelled_m=distance_m,
            steps=2 * (phase - phase[0]),
            heading_rad=np.full(moments, heading_rad),
        )
    # On a route with turns the speed changes so much in turns that joint angles follow it.
    path = draw_path(float(straight_mps.sum()) / JOINT_RATE_HZ, rng, hall=walk.direction == "hall")
    distance_m, speed_mps = distance_along(path, straight_mps, JOINT_RATE_HZ)
    phase = _phase(walk, speed_mps)
    joints = walking_joints(walk.person, speed_mps, phase, distance_m)
    return Motion(
        joints=bend(joints, path),
        travelled_m=distance_m,
        steps=2 * (phase - phase[0]),
        heading_rad=np.interp(distance_m, path.distance_m, path.heading_rad),
    )


def place_walk(joints: Array, direction: Direction, aspect_deg: float, middle_m: float) -> Array:
    """Turn and move a walk along +x about the origin so that its middle lies `middle_m` in front of the radar.

    Args:
        joints: Metres [T, J, 3].
        direction: "towards" the radar or "away" from it.
        aspect_deg: Angle between the walk and the line of sight where the walk crosses it.
        middle_m: Distance of that crossing from the radar, along x.

    Returns:
        Metres [T, J, 3] in a frame whose origin is the floor below the radar.
    """
    heading = heading_of(direction, aspect_deg)
    ahead = np.array([np.cos(heading), np.sin(heading), 0.0])
    left = np.array([-np.sin(heading), np.cos(heading), 0.0])
    rotation = np.stack([ahead, left, [0.0, 0.0, 1.0]])
    return joints @ rotation + np.array([middle_m, 0.0, 0.0])


def heading_of(direction: Direction, aspect_deg: float) -> float:
    """Direction of a straight walk from the radar's x axis, radians."""
    return np.radians(aspect_deg) + (np.pi if direction == "towards" else 0.0)


def _varied_load(load: Load, rng: np.random.Generator) -> Load:
    """The response to a load with the variation from one walk to the next: its content, how it hangs or is held."""

    def near(value: float, deviation: float) -> float:
        return value * float(np.exp(rng.normal(0.0, deviation)))

    return replace(
        load,
        lean_deg=near(load.lean_deg, 0.2),
        cadence_factor=near(load.cadence_factor, 0.004),
        right_arm_swing=near(load.right_arm_swing, 0.08),
        left_arm_swing=near(load.left_arm_swing, 0.08),
        left_arm_raise_deg=near(load.left_arm_raise_deg, 0.2),
        left_elbow_deg=None if load.left_elbow_deg is None else load.left_elbow_deg + float(rng.normal(0.0, 5.0)),
        torso_sway=near(load.torso_sway, 0.03),
        gain_db=tuple((name, added_db + float(rng.normal(0.0, 0.5))) for name, added_db in load.gain_db),
        back_gain_db=near(load.back_gain_db, 0.25),
    )


def _phase(walk: Walk, speed_mps: Array) -> Array:
    """Cycles since a strike of the right foot, [T]; stride and cadence are proportional to the root of the speed."""
    timing = gait_timing(walk.person, walk.speed_mps)
    cycles_hz = np.sqrt(speed_mps / walk.speed_mps) / timing.cycle_s
    return walk.start_phase + _running_sum(cycles_hz) / JOINT_RATE_HZ


def _start_and_stop(moments: int, rng: np.random.Generator) -> Array:
    """Share of the speed at each moment of a walk that begins and ends at a standstill, above 0, [T].

    Walkers reach their speed within a few steps, and stop as fast; here within 1.0 to 1.6 s.
    """
    time_s = np.arange(moments) / JOINT_RATE_HZ
    begin_s, end_s = rng.uniform(1.0, 1.6, 2)
    since, left = np.clip(time_s / begin_s, 0, 1), np.clip((time_s[-1] - time_s) / end_s, 0, 1)
    share = np.minimum(since, left)
    return np.maximum(share * share * (3 - 2 * share), _STANDING_SHARE)


def _slow_noise(steps: int, rng: np.random.Generator) -> Array:
    """Sum of four sines of random phase and periods of 3 to 15 s, with unit standard deviation, [steps]."""
    time_s = np.arange(steps) / JOINT_RATE_HZ
    periods_s = rng.uniform(3, 15, 4)
    offsets = rng.uniform(0, 1, 4)
    return np.sin(2 * np.pi * (time_s[:, None] / periods_s + offsets)).sum(axis=1) / np.sqrt(2)


def _running_sum(rate: Array) -> Array:
    """Trapezoidal integral over samples 1 apart, starting at 0."""
    return np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2)])
