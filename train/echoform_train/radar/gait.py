"""Walking kinematics: joints in metres from a person, a speed and the phase of the gait cycle.

Phase 0 is the strike of the right foot; a cycle is two steps.

Source: Boulic, Magnenat-Thalmann, Thalmann, "A global human walking model with real-time kinematic personification",
The Visual Computer 6 (1990) 344-358.
"""

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from echoform_train.engine.errors import UserError
from echoform_train.radar.body import JOINT_INDEX, JOINTS
from echoform_train.radar.person import Person

Array = NDArray[np.float64]
Knots = tuple[tuple[float, float], ...]

AVERAGE_LEG_M = 0.491 * 1.75
"""Leg length for which the model's amplitudes of the trunk hold, metres; they scale with the leg."""


@dataclass(frozen=True)
class GaitTiming:
    """Duration and length of a gait cycle at one speed."""

    relative_speed: float
    """RV, speed in leg lengths per second."""
    cycle_s: float
    """Duration of a cycle, two steps."""
    stride_m: float
    """Distance walked in a cycle."""
    duty: float
    """Share of the cycle in which a foot is on the ground."""

    @property
    def cadence_hz(self) -> float:
        """Steps per second."""
        return 2 / self.cycle_s


def gait_timing(person: Person, speed_mps: float) -> GaitTiming:
    """Gait cycle of a person at a speed: its relative length is 1.346 sqrt(RV), divided by the cadence factor.

    Raises:
        ValueError: If the speed lies outside 0 < RV <= 3, where the model holds.
    """
    relative_speed = speed_mps / person.leg_m
    if not 0 < relative_speed <= 3:
        raise UserError(
            f"walking speed must lie above 0 and at most {3 * person.leg_m:.2f} m/s (3 leg lengths per second), "
            f"got {speed_mps}"
        )
    cycle_s = 1.346 / np.sqrt(relative_speed) / person.cadence_factor
    return GaitTiming(
        relative_speed=relative_speed,
        cycle_s=cycle_s,
        stride_m=speed_mps * cycle_s,
        duty=0.752 - 0.143 / cycle_s,
    )


def walking_joints(person: Person, speed_mps: float | Array, phase: Array, advance_m: Array) -> Array:
    """Joints of a person who walks along +x.

    Args:
        person: Body and gait.
        speed_mps: Speed that sets the joint angles: the mean speed, or the speed at each moment [T].
        phase: Cycles since a strike of the right foot, [T]; any real number.
        advance_m: Position of the body along x, metres [T].

    Returns:
        Joints in metres [T, J, 3]: x forward, y to the left, z up from the floor; J as in JOINTS.

    Raises:
        ValueError: If a speed lies outside the model, see gait_timing.
    """
    if isinstance(speed_mps, np.ndarray):
        pose = _pose_at_speeds(person, speed_mps, phase)
    else:
        pose = _pose(person, speed_mps, phase)
    pelvis = np.stack([advance_m + pose[_AHEAD], pose[_ASIDE], pose[_UP]], axis=-1)
    # The lean is the person's posture at the hips; the model's flexion bends the back half-way up.
    lean = np.full_like(phase, np.radians(person.lean_deg))
    upper_back = -_hanging(-lean - pose[_BEND])
    neck = pelvis + person.torso_m / 2 * (upper_back - _hanging(-lean))

    joints = np.empty((len(phase), len(JOINTS), 3))
    joints[:, JOINT_INDEX["pelvis"]] = pelvis
    joints[:, JOINT_INDEX["neck"]] = neck
    joints[:, JOINT_INDEX["head"]] = neck + person.head_m * upper_back
    # Limbs hang from hips and shoulders: each joint is its parent plus the bone between them.
    hips_turn, hips_roll, shoulders_turn = pose[_HIPS_TURN], pose[_HIPS_ROLL], pose[_SHOULDERS_TURN]
    for side, sign, limbs in (("right", -1.0, _RIGHT), ("left", 1.0, _LEFT)):
        thigh, shank, foot, upper_arm, forearm = pose[limbs]
        hip = pelvis + sign * person.half_hip_m * np.stack(
            [-np.sin(hips_turn), np.cos(hips_turn) * np.cos(hips_roll), np.sin(hips_roll)], axis=-1
        )
        shoulder = neck + sign * person.half_shoulder_m * np.stack(
            [np.sin(shoulders_turn), np.cos(shoulders_turn), np.zeros_like(phase)], axis=-1
        )
        knee = hip + person.thigh_m * _hanging(thigh)
        ankle = knee + person.shank_m * _hanging(shank)
        toe = ankle + person.foot_m * np.stack([np.cos(foot), np.zeros_like(foot), np.sin(foot)], axis=-1)
        elbow = shoulder + person.upper_arm_m * _hanging(upper_arm)
        hand = elbow + person.forearm_m * _hanging(forearm)
        points = {"shoulder": shoulder, "elbow": elbow, "hand": hand, "hip": hip, "knee": knee, "ankle": ankle}
        for name, position in {**points, "toe": toe}.items():
            joints[:, JOINT_INDEX[f"{side}_{name}"]] = position
    return joints


# Rows of a pose [17, T]: offsets of the pelvis from its mean course in metres, then angles in radians.
_AHEAD, _ASIDE, _UP, _HIPS_TURN, _HIPS_ROLL, _BEND, _SHOULDERS_TURN = range(7)
_RIGHT, _LEFT = slice(7, 12), slice(12, 17)  # thigh, shank, foot, upper arm, forearm
PLANTED_SHARE = 0.9
"""Share of that movement which reaches the pelvis: loaded knees and rolling heels, which the published model lacks,
take up the rest. The speed of the pelvis then varies by 14 % to either side, as measured."""
PLANTED_BEND = 0.35
"""Share of the published flexion of the back that is left with planted feet; the neck then moves as measured."""
LOADING = 0.12
"""Share of a cycle in which weight passes from one foot to the other: double support takes 10 to 14 %."""
_PLANTED_POINTS = 256
_SMOOTH_HARMONICS = 3
_SPEED_STEP = 0.1
"""Distance of the relative speeds between which poses are interpolated; poses change nearly linearly in between."""


def _pose(person: Person, speed_mps: float, phase: Array) -> Array:
    timing = gait_timing(person, speed_mps)
    pose = np.empty((17, len(phase)))
    pose[:_HIPS_TURN] = _pelvis(person, timing, phase)
    pose[_HIPS_TURN], pose[_HIPS_ROLL] = _pelvis_rotation(person, timing.relative_speed, phase)
    pose[_BEND], pose[_SHOULDERS_TURN] = _trunk_rotation(person, timing.relative_speed, phase)
    left_phase = phase - person.left_phase
    pose[_RIGHT][:3] = _leg(person, timing, phase, amplitude=1 + person.asymmetry)
    pose[_LEFT][:3] = _leg(person, timing, left_phase, amplitude=1 - person.asymmetry)
    pose[_RIGHT][3:] = _arm(timing.relative_speed, phase, person.right_arm_swing)
    pose[_LEFT][3:] = _arm(
        timing.relative_speed, left_phase, person.left_arm_swing, person.left_arm_raise_deg, person.left_elbow_deg
    )
    if person.planted:
        pose[_AHEAD] = planted_offset(person, timing, phase)
        pose[_BEND] *= PLANTED_BEND
    return pose


def _pose_at_speeds(person: Person, speed_mps: Array, phase: Array) -> Array:
    """Pose at the speed of each moment [T], interpolated between poses of constant speeds."""
    low, high = float(np.min(speed_mps)), float(np.max(speed_mps))
    steps = max(1, int(np.ceil((high - low) / person.leg_m / _SPEED_STEP)))
    position = (speed_mps - low) / max(high - low, 1e-9) * steps  # 0..steps
    pose = np.zeros((17, len(phase)))
    for step, grid_mps in enumerate(np.linspace(low, high, steps + 1)):
        weight = 1 - np.abs(position - step)
        near = weight > 0
        if near.any():
            pose[:, near] += weight[near] * _pose(person, float(grid_mps), phase[near])
    return pose


def planted_offset(person: Person, timing: GaitTiming, phase: Array) -> Array:
    """Offset of the pelvis along x from its mean course that keeps the foot on the ground in place, metres [T].

    In double support both feet count, each by a weight that rises over the first LOADING of a cycle and falls over the
    last. Feet of the published model step a little too far or too short for the speed; they slide by the difference,
    evenly over the step.
    """
    grid = np.arange(_PLANTED_POINTS) / _PLANTED_POINTS
    turn, _ = _pelvis_rotation(person, timing.relative_speed, grid)
    backwards, weights = np.zeros_like(grid), np.zeros_like(grid)
    for sign, start, amplitude in ((-1, 0.0, 1 + person.asymmetry), (1, person.left_phase, 1 - person.asymmetry)):
        thigh, shank, foot = _leg(person, timing, grid - start, amplitude)
        ankle = -sign * person.half_hip_m * np.sin(turn)
        ankle += person.thigh_m * np.sin(thigh) + person.shank_m * np.sin(shank)
        middle = ankle + person.foot_m / 2 * np.cos(foot)
        # Metres per cycle at which the foot moves relative to the pelvis.
        rate = (np.roll(middle, -1) - np.roll(middle, 1)) * _PLANTED_POINTS / 2
        since = (grid - start) % 1
        weight = np.clip(np.minimum(since, timing.duty - since) / LOADING, 1e-3, 1)
        backwards += weight * rate
        weights += weight
    advance = -backwards / weights
    # Only what differs from the mean is an offset; its sum over a cycle is 0.
    # Trunks are heavy and move smoothly: the fundamental of the step remains.
    waves = np.fft.rfft(advance / advance.mean() - 1)
    waves[_SMOOTH_HARMONICS + 1 :] = 0
    rate = np.fft.irfft(waves, _PLANTED_POINTS)
    offset = PLANTED_SHARE * np.cumsum(rate) * timing.stride_m / _PLANTED_POINTS
    return np.interp(phase, grid, offset - offset.mean(), period=1)


def _pelvis(person: Person, timing: GaitTiming, phase: Array) -> tuple[Array, Array, Array]:
    speed = timing.relative_speed
    vertical = 0.015 * speed
    lateral = -0.032 if speed > 0.5 else -0.128 * speed**2 + 0.128 * speed
    fore_aft = -0.021 if speed > 0.5 else -0.084 * speed**2 + 0.084 * speed
    size = person.torso_sway * person.leg_m / AVERAGE_LEG_M
    stand_m = person.leg_m + person.ankle_height_m
    return (
        size * fore_aft * _sine(2 * phase + 2 * (0.625 - timing.duty)),
        size * lateral * _sine(phase - 0.1),
        stand_m + size * (-vertical + vertical * _sine(2 * phase - 0.35)),
    )


def _pelvis_rotation(person: Person, speed: float, phase: Array) -> tuple[Array, Array]:
    """Turn about z (left hip back) and roll about x (left hip up), radians."""
    # With this sign the speeds of foot and knee are those that the model's authors published.
    turn_deg = -4 * speed * np.cos(2 * np.pi * phase)
    t = phase % 1
    falls = 1 - np.cos(2 * np.pi * 10 / 3 * (t % 0.5))  # within 15 % of the cycle the swinging side is down
    rises = 1 + np.cos(2 * np.pi * 10 / 7 * (t % 0.5 - 0.15))
    roll_deg = 1.66 * speed * np.where(t % 0.5 < 0.15, falls, rises) * np.where(t < 0.5, -1, 1)
    return np.radians(person.torso_sway * turn_deg), np.radians(person.torso_sway * roll_deg)


def _trunk_rotation(person: Person, speed: float, phase: Array) -> tuple[Array, Array]:
    """Forward bend of the back and turn about z (right shoulder back at the right foot's strike), radians."""
    bend = 2 if speed > 0.5 else -8 * speed**2 + 8 * speed
    bend_deg = -bend + bend * _sine(2 * phase - 0.1)
    turn_deg = periodic_curve(
        ((0.1, 4 / 3 * speed), (0.4, -1.5 * speed), (0.6, -4 / 3 * speed), (0.9, 1.5 * speed)), phase
    )
    return np.radians(person.torso_sway * bend_deg), np.radians(person.torso_sway * turn_deg)


def _leg(person: Person, timing: GaitTiming, phase: Array, amplitude: float) -> tuple[Array, Array, Array]:
    """Thigh and shank from straight down, foot from level, radians."""
    hip_knots, knee_knots, ankle_knots = leg_knots(timing.relative_speed, timing.duty)
    # Quicker steps at one speed are shorter ones, so the hip sweeps less.
    hip_amplitude = amplitude * person.hip_amplitude / person.cadence_factor
    thigh = np.radians(hip_amplitude * periodic_curve(hip_knots, phase))
    shank = thigh - np.radians(amplitude * person.knee_amplitude * periodic_curve(knee_knots, phase))
    return thigh, shank, shank + np.radians(periodic_curve(ankle_knots, phase))


def _arm(
    speed: float, phase: Array, swing: float, raise_deg: float = 0.0, elbow_deg: float | None = None
) -> tuple[Array, Array]:
    """Upper arm and forearm from straight down, radians."""
    sweep_deg = swing * 9.88 * speed
    upper = np.radians(raise_deg + 3 - sweep_deg / 2 - sweep_deg * np.cos(2 * np.pi * phase))
    if elbow_deg is not None:
        return upper, upper + np.radians(elbow_deg)
    flexion_deg = periodic_curve(elbow_knots(speed), phase)
    middle_deg = sum(angle for _, angle in elbow_knots(speed)[:2]) / 2
    return upper, upper + np.radians(middle_deg + swing * (flexion_deg - middle_deg))


def leg_knots(speed: float, duty: float) -> tuple[Knots, Knots, Knots]:
    """Knots (phase, degrees) of the flexion of hip, knee and ankle at a relative speed and duty."""
    if speed < 0.5:
        return (
            ((-0.1, 50 * speed), (0.5, -30 * speed)),
            ((0.17, 3), (0.4, 3), (0.75, 140 * speed), (1, 3)),
            ((0, -3), (0.08, -30 * speed - 3), (0.5, 22 * speed - 3), (duty, -34 * speed - 3), (0.85, -3)),
        )
    if speed < 1.3:
        return (
            ((-0.1, 25), (0.5, -15)),
            ((0.17, 3), (0.4, 3), (0.75, 70), (1, 3)),
            ((0, -3), (0.08, -18), (0.5, 8), (duty, -20), (0.85, -3)),
        )
    k = (speed - 1.3) / 1.7
    return (
        ((0.2 * k - 0.1, 5 * k + 25), (0.5, -15), (0.9, 6 * k + 25)),
        ((0.17 - 0.05 * k, 3 + 22 * k), (0.4, 3), (0.75 - 0.05 * k, 70 - 5 * k), (1 - 0.03 * k, 3 + 3 * k)),
        ((0, 5 * k - 3), (0.08, 4 * k - 18), (0.5 - 0.1 * k, 8 - 3 * k), (duty, -20 - 8 * k), (0.85, 5 * k - 3)),
    )


def elbow_knots(speed: float) -> Knots:
    """Knots (phase, degrees) of the flexion of the elbow at a relative speed."""
    if speed < 0.5:
        return ((0.05, 6 * speed + 3), (0.5, 34 * speed + 3), (0.9, 10 * speed + 3))
    if speed < 1.3:
        q = (speed - 0.5) / 0.8
        return ((0.05, 8 * q + 6), (0.5 + 0.01 * q, 24 * q + 20), (0.9, 9 * q + 8))
    k = (speed - 1.3) / 1.7
    return ((0.05, 14 - 6 * k), (0.51 + 0.04 * k, 44 + 26 * k), (0.9 - 0.1 * k, 17 - 6 * k))


def periodic_curve(knots: Knots, phase: Array) -> Array:
    """Shape-preserving cubic of period 1 through (phase, value) knots, evaluated at any phases [T]."""
    inside = {round(at % 1, 9): value for at, value in knots}
    at = np.array(sorted(inside))
    values = np.array([inside[position] for position in at])
    curve = scipy.interpolate.PchipInterpolator(np.concatenate([at - 1, at, at + 1, at + 2]), np.tile(values, 4))
    return curve(phase % 1)


def _hanging(angle: Array) -> Array:
    """Unit vector of a limb that hangs down at 0 and swings forward, [T, 3]."""
    return np.stack([np.sin(angle), np.zeros_like(angle), -np.cos(angle)], axis=-1)


def _sine(cycles: Array) -> Array:
    return np.sin(2 * np.pi * cycles)
