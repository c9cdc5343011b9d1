"""Radar returns of moving joints: cross-sections, the radar equation, echoes in continuous wave, and noise."""

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy.constants import Boltzmann, speed_of_light

from echoform_train.engine.errors import UserError
from echoform_train.radar.body import JOINT_INDEX, SEGMENTS

Array = NDArray[np.float64]
ScalarOrArray = float | NDArray[np.floating]
ComplexArray = NDArray[np.complex64]

JOINT_RATE_HZ = 256
"""Rate at which joints are computed. Ranges in between come from a cubic spline, whose error for a person at 1.7 m/s is
below 0.03 mm, a 130th of the wavelength at 77 GHz."""

_ROWS_AT_A_TIME = 32

UNAMBIGUOUS_SPEED_MPS = 8.0
"""Radial speed to either side that does not fold. The foot of a person who walks at 1.8 m/s reaches 6.3 m/s."""


@dataclass(frozen=True, kw_only=True)
class Radar:
    """A radar at a fixed position that samples its complex baseband once per pulse."""

    carrier_hz: float = 77e9
    height_m: float = 1.0
    """Height of the antenna above the floor."""
    transmit_power_w: float = 0.016
    """12 dBm, typical of single-chip radars of this band."""
    antenna_gain_db: float = 10.0
    """Gain of each of the two antennas."""
    noise_figure_db: float = 14.0
    phase_noise_rad: float = 0.02
    """Standard deviation of the phase between transmitter and echo, after range correlation."""
    phase_noise_s: float = 1e-3
    """Correlation time of that phase."""

    def __post_init__(self) -> None:
        if not 1e9 <= self.carrier_hz <= 1e12:
            raise UserError(f"carrier_hz must be between 1e9 and 1e12, got {self.carrier_hz}")

    @property
    def wavelength_m(self) -> float:
        """Wavelength of the carrier."""
        return speed_of_light / self.carrier_hz

    @property
    def pulse_rate_hz(self) -> int:
        """Samples per second that UNAMBIGUOUS_SPEED_MPS needs, rounded to a multiple of JOINT_RATE_HZ.

        8192 Hz at 77 GHz, 6400 Hz at 60 GHz, 2560 Hz at 24 GHz.
        """
        needed_hz = 2 * doppler_shift_hz(UNAMBIGUOUS_SPEED_MPS, self.wavelength_m)
        return JOINT_RATE_HZ * max(1, round(needed_hz / JOINT_RATE_HZ))


def doppler_shift_hz(radial_speed_mps: float, wavelength_m: float) -> float:
    """Two-way Doppler shift; positive when the target comes nearer."""
    return 2 * radial_speed_mps / wavelength_m


def ellipsoid_cross_section(
    a_m: ScalarOrArray, b_m: ScalarOrArray, c_m: ScalarOrArray, cos_theta: ScalarOrArray, phi: ScalarOrArray = 0.0
) -> Array:
    """Radar cross-section of an ellipsoid in square metres, for any shapes that broadcast.

    Args:
        a_m: Semi-axis along x.
        b_m: Semi-axis along y.
        c_m: Semi-axis along z.
        cos_theta: Cosine of the angle between z and the line of sight, in -1..1.
        phi: Angle of the line of sight about z, counted from x, radians; without effect if a_m == b_m.

    Source: Chen, The Micro-Doppler Effect in Radar (2011), ch. 4; geometrical optics, axes above the wavelength.
    """
    a2, b2, c2 = np.square(a_m), np.square(b_m), np.square(c_m)
    cos2 = np.square(cos_theta)
    denominator = (1 - cos2) * (a2 * np.cos(phi) ** 2 + b2 * np.sin(phi) ** 2) + c2 * cos2
    return np.pi * a2 * b2 * c2 / np.square(denominator)


def segment_returns(joints: Array, radar_position_m: Array, gain_db: Array) -> tuple[Array, Array]:
    """Range and cross-section of each body segment.

    Args:
        joints: Metres [T, J, 3] in the frame of the radar's position; J as in body.JOINTS.
        radar_position_m: [3].
        gain_db: Gain of each segment's echo over that of its bare ellipsoid, [S]; S as in body.SEGMENTS.

    Returns:
        Ranges in metres from the radar to the middle of each segment, and cross-sections in square metres, both [T, S].
    """
    start = joints[:, [JOINT_INDEX[segment.start] for segment in SEGMENTS]]
    end = joints[:, [JOINT_INDEX[segment.end] for segment in SEGMENTS]]
    across_m = np.array([segment.semi_axis_m for segment in SEGMENTS])
    sight = (start + end) / 2 - radar_position_m  # [T, S, 3]
    axis = end - start
    range_m = np.sqrt(np.einsum("tsd,tsd->ts", sight, sight))
    length_m = np.sqrt(np.einsum("tsd,tsd->ts", axis, axis))
    cos_theta = np.einsum("tsd,tsd->ts", sight, axis) / (range_m * length_m)
    section_m2 = ellipsoid_cross_section(across_m, across_m, length_m / 2, cos_theta)
    return range_m, section_m2 * 10 ** (np.asarray(gain_db) / 10)


def received_power_w(radar: Radar, range_m: ScalarOrArray, section_m2: ScalarOrArray) -> Array:
    """Radar equation P_t G^2 lambda^2 sigma / ((4 pi)^3 R^4) in watts, for any shapes that broadcast."""
    gain = 10 ** (radar.antenna_gain_db / 10)
    constant = radar.transmit_power_w * gain**2 * radar.wavelength_m**2 / (4 * np.pi) ** 3
    return constant * section_m2 / np.power(range_m, 4)


def echoes(
    radar: Radar,
    range_m: Array,
    section_m2: Array,
    joint_rate_hz: float = JOINT_RATE_HZ,
    *,
    cell_share: Array | None = None,
) -> ComplexArray:
    """Coherent sum of the echoes of point scatterers, sum_i sqrt(P_i) exp(-j 4 pi R_i / lambda).

    Args:
        radar: Gives carrier, power and pulse rate.
        range_m: Ranges [T, S] in metres, sampled at `joint_rate_hz`.
        section_m2: Cross-sections [T, S] in square metres, sampled like the ranges.
        joint_rate_hz: A divisor of the radar's pulse rate.
        cell_share: Share of the power of each scatterer that falls into each of C range cells, [C, T, S].

    Returns:
        Samples in square roots of watts, complex64 [(T - 1) * pulse_rate / joint_rate], of the intervals between the T
        rows; [C, ...] with range cells.

    Raises:
        ValueError: If the pulse rate is no multiple of the joint rate.
    """
    per_row = radar.pulse_rate_hz / joint_rate_hz
    if per_row != int(per_row):
        raise UserError(f"joint_rate_hz must divide the pulse rate of {radar.pulse_rate_hz} Hz, got {joint_rate_hz}")
    step = (np.arange(int(per_row)) / per_row).astype(np.float32)  # [U], share of an interval
    rows = np.arange(len(range_m), dtype=np.float64)
    wavelengths = scipy.interpolate.CubicSpline(rows, -2 * range_m / radar.wavelength_m).c  # [4, T - 1, S]
    # Whole wavelengths are dropped in float64; what an interval adds to the rest is exact enough in float32.
    wavelengths[3] -= np.floor(wavelengths[3])
    cubics = (2 * np.pi * wavelengths).transpose(1, 2, 0).astype(np.float32)  # [T - 1, S, 4]
    powers = np.stack([step**3, step**2, step, np.ones_like(step)])
    power_w = received_power_w(radar, range_m, section_m2)
    amplitude = np.sqrt(power_w[None] if cell_share is None else power_w * cell_share).astype(np.float32)  # [C, T, S]
    # Amplitudes change evenly from row to row: their value at its start, and what they gain until its end.
    ends = np.concatenate([amplitude[:, :-1], np.diff(amplitude, axis=1)]).transpose(1, 0, 2)  # [T - 1, 2 C, S]
    cells = len(amplitude)
    samples = np.empty((cells, len(rows) - 1, len(step)), np.complex64)
    # Some rows at a time, so that the work stays in the cache.
    for start in range(0, len(rows) - 1, _ROWS_AT_A_TIME):
        part = slice(start, start + _ROWS_AT_A_TIME)
        angle = cubics[part] @ powers  # [R, S, U]
        for real, wave in ((samples.real, np.cos(angle)), (samples.imag, np.sin(angle))):
            sums = ends[part] @ wave  # [R, 2 C, U]
            real[:, part] = (sums[:, :cells] + sums[:, cells:] * step).transpose(1, 0, 2)
    samples = samples.reshape(cells, -1)
    return samples[0] if cell_share is None else samples


def thermal_noise(radar: Radar, samples: int, rng: np.random.Generator) -> ComplexArray:
    """Complex white noise of power k T B F, T = 290 K and B the pulse rate: square roots of watts, [samples]."""
    power_w = Boltzmann * 290 * radar.pulse_rate_hz * 10 ** (radar.noise_figure_db / 10)
    pairs = rng.standard_normal((samples, 2), dtype=np.float32) * np.float32(np.sqrt(power_w / 2))
    return pairs.view(np.complex64)[:, 0]


def phase_noise(radar: Radar, samples: int, rng: np.random.Generator) -> ComplexArray:
    """Factor exp(j phi), [samples]; phi is an Ornstein-Uhlenbeck process of the radar's deviation and correlation time.

    One oscillator drives transmitter and mixer, so that all echoes of a pulse share the factor.
    """
    decay = np.exp(-1 / (radar.pulse_rate_hz * radar.phase_noise_s))
    driven = rng.standard_normal(samples) * radar.phase_noise_rad
    driven[1:] *= np.sqrt(1 - decay**2)
    return np.exp(1j * np.asarray(scipy.signal.lfilter([1.0], [1.0, -decay], driven))).astype(np.complex64)
