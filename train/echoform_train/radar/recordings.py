"""Recordings: the samples that a radar takes of a moving body, and the ground truth of any time span of them."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from echoform_train.engine.errors import UserError
from echoform_train.radar.body import JOINT_INDEX, SEGMENT_INDEX
from echoform_train.radar.fmcw import Chirp, fmcw_returns
from echoform_train.radar.receiver import Receiver, add_bursts, cell_shares
from echoform_train.radar.returns import (
    JOINT_RATE_HZ,
    ComplexArray,
    Radar,
    doppler_shift_hz,
    echoes,
    phase_noise,
    received_power_w,
    segment_returns,
    thermal_noise,
)
from echoform_train.radar.scatterers import Surface, scattered_returns, surface_gain_db

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Motion:
    """A walking body in the frame of a radar, at T moments that are 1 / JOINT_RATE_HZ apart."""

    joints: Array
    """Metres [T, J, 3], J as in body.JOINTS; the origin is the floor below the radar, x points ahead of it, z up."""
    travelled_m: Array
    """Distance walked since the start, [T]."""
    steps: Array
    """Number of steps since the start, with fractions, [T]."""
    heading_rad: Array
    """Direction of the walk, counted from the x axis to the left and without jumps of 2 pi, [T]."""

    def __post_init__(self) -> None:
        length = len(self.joints)
        if length < 2:
            raise UserError(f"a motion must have at least 2 moments, got {length}")
        for name in ("travelled_m", "steps", "heading_rad"):
            if getattr(self, name).shape != (length,):
                raise UserError(f"{name} must have one value for each of {length} moments")

    @property
    def from_behind(self) -> Array:
        """Share of the view from behind: 0 where the person walks straight towards the radar, 1 straight away, [T]."""
        body = self.joints[:, JOINT_INDEX["pelvis"], :2]
        ahead = np.stack([np.cos(self.heading_rad), np.sin(self.heading_rad)], axis=-1)
        return (1 + np.einsum("td,td->t", body, ahead) / np.linalg.norm(body, axis=-1)) / 2


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """How a moving body becomes samples."""

    radar: Radar
    """At the origin, `radar.height_m` above the floor."""
    chirp: Chirp | None = None
    """Sweep of the FMCW mode, whose samples are those of the range bins around the body; None is continuous wave."""
    surface: Surface | None = None
    """Surface of the body of many scatterers; None is the body of sixteen ellipsoids."""
    receiver: Receiver = field(default_factory=Receiver)
    """Second path, compensation of the range, and bursts."""


@dataclass(frozen=True, kw_only=True)
class GroundTruth:
    """True values of a time span of a recording."""

    speed_mps: float
    """Mean speed along the route."""
    cadence_hz: float
    """Mean number of steps per second."""
    body_doppler_hz: float
    """Mean Doppler shift of the pelvis, as a tracker would measure it."""
    heading_deg: float
    """Angle between walk and line of sight in the middle of the span: 0 is towards the radar, 180 away from it."""
    turn_deg: float
    """Sum of all turns, degrees; left and right turns both count as positive."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Samples of one walk, and the motion behind them."""

    iq: NDArray[np.complex64]
    """Complex samples at the pulse rate, [N], or [C, N] of C range cells; range-compensated: amplitude 1 is one square
    metre at the body."""
    radar: Radar
    motion: Motion
    body_m: Array
    """Distance of the pelvis from the radar, [T]."""

    @property
    def pulse_rate_hz(self) -> int:
        """Samples per second."""
        return self.radar.pulse_rate_hz

    @property
    def duration_s(self) -> float:
        """From the first moment of the motion to the last."""
        return (len(self.body_m) - 1) / JOINT_RATE_HZ

    @property
    def truth(self) -> GroundTruth:
        """Ground truth of the whole recording."""
        return self.truth_between(0.0, self.duration_s)

    def truth_between(self, start_s: float, stop_s: float) -> GroundTruth:
        """Ground truth of the seconds from `start_s` to `stop_s`.

        Raises:
            ValueError: If they lie outside of the recording, or less than a moment of the motion apart.
        """
        start, stop = round(start_s * JOINT_RATE_HZ), round(stop_s * JOINT_RATE_HZ)
        if not 0 <= start < stop < len(self.body_m):
            raise UserError(
                f"0 <= start_s < stop_s <= {self.duration_s:.3f} must hold, got {start_s:.3f} and {stop_s:.3f}"
            )
        seconds = (stop - start) / JOINT_RATE_HZ
        motion = self.motion
        closing_mps = (self.body_m[start] - self.body_m[stop]) / seconds
        away = motion.from_behind[(start + stop) // 2]
        return GroundTruth(
            speed_mps=float(motion.travelled_m[stop] - motion.travelled_m[start]) / seconds,
            cadence_hz=float(motion.steps[stop] - motion.steps[start]) / seconds,
            body_doppler_hz=doppler_shift_hz(float(closing_mps), self.radar.wavelength_m),
            heading_deg=float(np.degrees(np.arccos(np.clip(1 - 2 * away, -1, 1)))),
            turn_deg=float(np.degrees(np.abs(np.diff(motion.heading_rad[start : stop + 1])).sum())),
        )


def record(
    motion: Motion,
    gain_db: Array,
    measurement: Measurement,
    rng: np.random.Generator,
    *,
    back_gain_db: float = 0.0,
    clutter_db: float = -30.0,
) -> Recording:
    """Samples that a radar takes of a motion, with clutter, phase noise and thermal noise.

    Range compensation multiplies the amplitude by the squared range of the body. A walker then keeps one level and the
    noise floor grows with range, as behind the range-gain control of a real receiver.

    Args:
        motion: The body.
        gain_db: Gain of each segment's echo over that of its bare ellipsoid, [S], S as in body.SEGMENTS.
        measurement: Radar, sweep, surface of the body, and receiver.
        rng: Draws the points of the surface, the phase of the clutter, and the noise.
        back_gain_db: Gain of the torso's echo from straight behind over that from the front.
        clutter_db: Cross-section of the stationary clutter at the walker's mean range, decibels over one square metre.

    Raises:
        ValueError: In the FMCW mode, if the walk reaches the range at which ranges fold.
    """
    radar, chirp = measurement.radar, measurement.chirp
    range_m, section_m2 = _body_returns(motion, gain_db, measurement, rng, back_gain_db)
    body_m = np.linalg.norm(motion.joints[:, JOINT_INDEX["pelvis"]] - _antenna_m(radar), axis=-1)
    clutter_m2 = 10 ** ((clutter_db + measurement.receiver.clutter_gain_db) / 10)
    if chirp is None:
        cell_m = measurement.receiver.range_cell_m
        share = cell_shares(range_m, body_m, cell_m) if cell_m else None
        received = _continuous_wave(radar, range_m, section_m2, share, float(body_m.mean()), clutter_m2, rng)
    else:
        # Clutter is one more scatterer; its range is random within a wavelength, and so is its phase.
        still = np.full((len(body_m), 1), body_m.mean() + rng.uniform(0, radar.wavelength_m))
        scene_m, scene_m2 = np.hstack([range_m, still]), np.hstack([section_m2, np.full_like(still, clutter_m2)])
        received, _ = fmcw_returns(radar, chirp, scene_m, scene_m2, rng)
    if measurement.receiver.bursts_per_minute:
        add_bursts(received, radar.pulse_rate_hz, measurement.receiver, rng)
    if measurement.receiver.remove_clutter:
        received = received - received.mean(axis=-1, keepdims=True)
    # One square metre at the body's range, or at its mean range, becomes amplitude 1.
    reference_m = body_m if measurement.receiver.range_gain else np.full_like(body_m, body_m.mean())
    unit = 1 / np.sqrt(received_power_w(radar, reference_m, np.ones_like(body_m)))
    per_moment = radar.pulse_rate_hz // JOINT_RATE_HZ
    received *= np.interp(np.arange(received.shape[-1]) / per_moment, np.arange(len(body_m)), unit).astype(np.float32)
    return Recording(iq=received, radar=radar, motion=motion, body_m=body_m)


def _body_returns(
    motion: Motion, gain_db: Array, measurement: Measurement, rng: np.random.Generator, back_gain_db: float
) -> tuple[Array, Array]:
    """Ranges and cross-sections of all scatterers of the body, [T, S], with those of the second path behind them."""
    radar, surface, gains = measurement.radar, measurement.surface, np.asarray(gain_db)
    if surface is not None:
        gains = surface_gain_db(gains, surface)
    range_m, section_m2 = segment_returns(motion.joints, _antenna_m(radar), gains)
    segment = np.arange(section_m2.shape[1])
    if surface is not None:
        # Each segment keeps a part of its echo in its specular point and spreads the rest over its surface.
        points = scattered_returns(motion.joints, radar, gains, surface, rng)
        range_m = np.hstack([range_m, points.range_m])
        section_m2 = np.hstack([section_m2 * surface.specular_share, points.section_m2])
        segment = np.concatenate([segment, points.segment])
    if back_gain_db:
        is_torso = segment == SEGMENT_INDEX["torso"]
        section_m2[:, is_torso] *= (10 ** (back_gain_db * motion.from_behind / 10))[:, None]
    if measurement.receiver.second_path_db is None:
        return range_m, section_m2
    # Out directly and back by way of the floor, and the reverse: two equal paths, whose amplitudes add up.
    below_m = _antenna_m(radar) * [1, 1, -1]
    mirrored_m, _ = segment_returns(motion.joints, below_m, gains)
    detour_m = (mirrored_m - segment_returns(motion.joints, _antenna_m(radar), gains)[0])[:, segment] / 2
    loss = 4 * 10 ** (measurement.receiver.second_path_db / 10)
    return np.hstack([range_m, range_m + detour_m]), np.hstack([section_m2, section_m2 * loss])


def _antenna_m(radar: Radar) -> Array:
    return np.array([0.0, 0.0, radar.height_m])


def _continuous_wave(
    radar: Radar,
    range_m: Array,
    section_m2: Array,
    cell_share: Array | None,
    mean_m: float,
    clutter_m2: float,
    rng: np.random.Generator,
) -> ComplexArray:
    received = echoes(radar, range_m, section_m2, cell_share=cell_share)
    samples = received.shape[-1]
    clutter_w = received_power_w(radar, mean_m, clutter_m2)
    # Clutter falls into one range cell, the body's; noise is in all of them.
    body_cell = received if received.ndim == 1 else received[len(received) // 2]
    body_cell += np.complex64(np.sqrt(clutter_w) * np.exp(2j * np.pi * rng.uniform()))
    received *= phase_noise(radar, samples, rng)
    received += thermal_noise(radar, received.size, rng).reshape(received.shape)
    return received
