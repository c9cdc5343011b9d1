"""A body of many scatterers: points on the visible side of each segment, whose echoes interfere to speckle.

The sixteen ellipsoids of `returns` reflect like polished metal: each is one point, and a limb is one thin line. Skin
and clothes reflect from everywhere. Here a share of each segment's cross-section stays in its one specular point;
the rest is spread over points along the segment. Points of one segment move at different speeds, so that a swinging
limb fills the Doppler between its two ends, and cloth that moves changes their phases within tens of milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from echoform_train.engine.errors import UserError
from echoform_train.radar.body import JOINT_INDEX, SEGMENTS
from echoform_train.radar.returns import JOINT_RATE_HZ, Array, Radar, segment_returns

POINTS = {
    "head": 4,
    "torso": 14,
    "shoulder": 4,
    "upper_arm": 6,
    "forearm": 6,
    "hip": 6,
    "thigh": 12,
    "shank": 12,
    "foot": 8,
}
"""Points per segment. The lower leg sweeps 4 m/s, some 30 Doppler bins; 20 points of thigh and shank and the width of
the transform's main lobe leave no gaps in it."""

_EDGE_M = 0.03
"""Width of the transition from visible to hidden at the edge of the torso; about a Fresnel zone at 77 GHz and 3 m."""


@dataclass(frozen=True, kw_only=True)
class Surface:
    """How much of each segment's echo is diffuse, and how fast the surface changes."""

    specular_share: float = 0.3
    """Share of a segment's cross-section that stays in its one specular point, 0..1; 1 gives the sixteen ellipsoids."""
    cloth_s: float = 0.04
    """Correlation time of a point's echo, seconds: folds of cloth move by a quarter of a wavelength (1 mm at 77 GHz)
    within tens of milliseconds."""
    torso_db: float = 0.0
    """Gain of the torso over its ellipsoid, decibels: a chest in stiff clothes reflects like a plate."""
    feet_db: float = 0.0
    """Gain of feet and lower legs over their ellipsoids, decibels."""
    hidden_db: float = 20.0
    """Loss of a point that the torso hides, decibels."""

    def __post_init__(self) -> None:
        if not 0 <= self.specular_share <= 1:
            raise UserError(f"--specular-share must be in 0..1, got {self.specular_share}")
        if not self.cloth_s > 0:
            raise UserError(f"--cloth-s must be above 0, got {self.cloth_s}")
        for name in ("torso_db", "feet_db"):
            if not -30 <= getattr(self, name) <= 30:
                raise UserError(f"--{name.replace('_', '-')} must be in -30..30, got {getattr(self, name)}")
        if self.hidden_db < 0:
            raise UserError(f"--hidden-db must not be negative, got {self.hidden_db}")


def surface_gain_db(gain_db: Array, surface: Surface) -> Array:
    """Gains of all segments [S] with those of a surface added."""
    legs = {"torso": surface.torso_db, "foot": surface.feet_db, "shank": surface.feet_db}
    return gain_db + [legs.get(each.name.removeprefix("right_").removeprefix("left_"), 0.0) for each in SEGMENTS]


@dataclass(frozen=True, kw_only=True)
class Points:
    """The diffuse points of a moving body, P in all."""

    range_m: Array
    """Distance from the radar, [T, P]."""
    section_m2: Array
    """Cross-section in square metres, [T, P]."""
    segment: np.ndarray
    """Index of the segment of each point, [P]."""


def scattered_returns(
    joints: Array, radar: Radar, gain_db: Array, surface: Surface, rng: np.random.Generator
) -> Points:
    """Range and cross-section of the diffuse points of all segments.

    The mean cross-sections of the points of a segment add up to 1 - specular_share of the segment's own, apart from
    what the torso hides. Each point's echo is complex Gaussian (one look has exponential power) and correlated over
    `surface.cloth_s`; its phase appears as a displacement along the line of sight, so that the result is a set of
    scatterers like any other.

    Args:
        joints: Metres [T, J, 3] in a frame whose origin is the floor below the radar; T moments 1 / JOINT_RATE_HZ
            apart, J as in body.JOINTS.
        radar: Gives the height of the antenna and the wavelength.
        gain_db: Gain of each segment's echo over that of its bare ellipsoid, [S], S as in body.SEGMENTS.
        surface: Diffuse share, cloth and occlusion.
        rng: Draws positions and echoes of the points: a recording's texture is no trait of a person.

    Returns:
        The points.
    """
    position_m = np.array([0.0, 0.0, radar.height_m])
    segment, along, depth_m = _draw_points(rng)
    start = joints[:, [JOINT_INDEX[each.start] for each in SEGMENTS]]
    end = joints[:, [JOINT_INDEX[each.end] for each in SEGMENTS]]
    point = start[:, segment] + (end - start)[:, segment] * along[:, None]  # [T, P, 3]
    range_m = np.linalg.norm(point - position_m, axis=-1) - depth_m

    # The echo of a segment follows its aspect, as the ellipsoid's does, and is shared by its points.
    _, section_m2 = segment_returns(joints, position_m, gain_db)
    points = np.bincount(segment, minlength=len(SEGMENTS))
    share = (1 - surface.specular_share) / points[segment]
    visible = _visible(point, joints, position_m, segment, surface.hidden_db)
    echo = _cloth(len(joints), len(segment), surface.cloth_s, rng)
    displaced_m = np.unwrap(np.angle(echo), axis=0) * radar.wavelength_m / (4 * np.pi)
    return Points(
        range_m=range_m + displaced_m,
        section_m2=section_m2[:, segment] * share * visible * np.abs(echo) ** 2,
        segment=segment,
    )


def _draw_points(rng: np.random.Generator) -> tuple[np.ndarray, Array, Array]:
    """Segment of each point [P], its place along it, 0..1 [P], and its distance before the axis in metres [P]."""
    counts = [POINTS[each.name.removeprefix("right_").removeprefix("left_")] for each in SEGMENTS]
    segment = np.repeat(np.arange(len(SEGMENTS)), counts)
    # Evenly spread along the segment, each at random within its stretch; at random around the visible half.
    along = np.concatenate([(np.arange(count) + rng.uniform(0, 1, count)) / count for count in counts])
    around = np.arcsin(rng.uniform(-1, 1, len(segment)))
    radius_m = np.array([each.semi_axis_m for each in SEGMENTS])[segment]
    return segment, along, radius_m * np.cos(around)


def _cloth(moments: int, points: int, correlation_s: float, rng: np.random.Generator) -> np.ndarray:
    """Complex Gaussian processes of unit mean power and exponential correlation, complex128 [T, P]."""
    decay = np.exp(-1 / (JOINT_RATE_HZ * correlation_s))
    white = rng.standard_normal((moments, points, 2)).view(np.complex128)[..., 0] / np.sqrt(2)
    white[1:] *= np.sqrt(1 - decay**2)
    return np.asarray(scipy.signal.lfilter([1.0], [1.0, -decay], white, axis=0))


def _visible(point: Array, joints: Array, position_m: Array, segment: np.ndarray, hidden_db: float) -> Array:
    """Share of the power of each point that passes the torso, [T, P]: 1, or a loss of `hidden_db` behind it."""
    torso = next(index for index, each in enumerate(SEGMENTS) if each.name == "torso")
    radius_m = SEGMENTS[torso].semi_axis_m
    pelvis, neck = joints[:, JOINT_INDEX["pelvis"]], joints[:, JOINT_INDEX["neck"]]
    sight = (pelvis + neck) / 2 - position_m
    sight /= np.linalg.norm(sight, axis=-1, keepdims=True)
    side = np.cross(sight, np.array([0.0, 0.0, 1.0]))
    # Distances of the points from the torso's axis: along the sight, to the side, and above its lower end.
    apart = point - pelvis[:, None]
    height = np.clip(apart[..., 2] / (neck - pelvis)[:, None, 2], 0, 1)
    axis = (neck - pelvis)[:, None] * height[..., None]
    behind_m = np.einsum("tpd,td->tp", apart - axis, sight) - radius_m
    beside_m = radius_m - np.abs(np.einsum("tpd,td->tp", apart - axis, side))
    inside_m = np.minimum(apart[..., 2], (neck - pelvis)[:, None, 2] - apart[..., 2])
    hidden = np.clip(np.minimum(np.minimum(behind_m, beside_m), inside_m) / _EDGE_M, 0, 1)
    hidden[:, segment == torso] = 0
    return 10 ** (-hidden_db * hidden / 10)
