"""Free routes: a smooth path with turns in the field before a radar, and a walk bent along it."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from echoform_train.radar.body import JOINT_INDEX, JOINTS

Array = NDArray[np.float64]

FIELD_M = ((4.0, 11.0), (-3.0, 3.0))
"""Where way points lie: ahead of the radar, and to its sides. Turns reach up to two metres beyond."""
NEAREST_GOAL_M = 3.0
"""Way points follow one another at no less than this distance."""
ARRIVED_M = 1.0
"""A way point counts as reached within this distance."""
TIGHTEST_M = (0.8, 1.2)
"""Smallest radius of turns, drawn for each path from this range."""
SETTLING_M = 0.35
"""Way in which the curvature follows what the next way point asks for."""
STEP_M = 0.05
"""Distance of the points between which paths are splines."""
MARGIN_M = 1.5
"""A path goes on beyond its start and its end, because feet and hands do."""
EASY_RADIUS_M = 2.0
"""Turns wider than this hardly slow a walker down."""

_PARENTS = {
    "neck": "pelvis",
    "head": "neck",
    "shoulder": "neck",
    "elbow": "shoulder",
    "hand": "elbow",
    "hip": "pelvis",
    "knee": "hip",
    "ankle": "knee",
    "toe": "ankle",
}


@dataclass(frozen=True)
class Path:
    """A line on the floor by the way along it, in the frame of the radar."""

    way_m: Array
    """Way from the start, ascending [N]; negative before it."""
    place_m: Array
    """x and y, [N, 2]."""
    heading_rad: Array
    """Direction from the x axis, to the left, without jumps, [N]."""
    curvature_per_m: Array
    """Change of the heading a metre, [N]."""


def draw_path(length_m: float, rng: np.random.Generator) -> Path:
    """A path of this length through way points drawn in the field, each approached in pure pursuit.

    Pure pursuit (Coulter 1992) steers by the curvature 2 sin(e) / d, e the angle and d the distance to the way point;
    here it has a smallest radius, and the curvature follows with a lag.

    Raises:
        ValueError: If the length is not positive.
    """
    if not length_m > 0:
        raise ValueError(f"length_m must be positive, got {length_m}")
    (nearest, farthest), (right, left) = FIELD_M
    x, y = float(rng.uniform(nearest, farthest)), float(rng.uniform(right, left))
    sharpest = 1 / float(rng.uniform(*TIGHTEST_M))
    goal_x, goal_y = _next_goal(x, y, rng)
    heading, curvature = math.atan2(goal_y - y, goal_x - x), 0.0
    rows = []
    for _ in range(math.ceil((length_m + 2 * MARGIN_M) / STEP_M) + 1):
        rows.append((x, y, heading, curvature))
        distance = math.hypot(goal_x - x, goal_y - y)
        if distance < ARRIVED_M:
            goal_x, goal_y = _next_goal(x, y, rng)
            distance = math.hypot(goal_x - x, goal_y - y)
        error = (math.atan2(goal_y - y, goal_x - x) - heading + math.pi) % (2 * math.pi) - math.pi
        wanted = math.copysign(sharpest, error) if abs(error) > math.pi / 2 else 2 * math.sin(error) / distance
        curvature += (min(max(wanted, -sharpest), sharpest) - curvature) * STEP_M / SETTLING_M
        middle = heading + curvature * STEP_M / 2
        x, y, heading = x + STEP_M * math.cos(middle), y + STEP_M * math.sin(middle), heading + curvature * STEP_M
    table = np.array(rows)
    return Path(
        way_m=np.arange(len(table), dtype=np.float64) * STEP_M - MARGIN_M,
        place_m=table[:, :2],
        heading_rad=table[:, 2],
        curvature_per_m=table[:, 3],
    )


def slowing(curvature_per_m: Array) -> Array:
    """Share of the speed that a walker keeps in a turn, 0..1 [N].

    In turns the speed goes with the cube root of the radius (Vieilledent et al., Neuroscience Letters 305 (2001)
    65-69); turns much wider than EASY_RADIUS_M cost nothing.
    """
    return (1 + np.square(curvature_per_m * EASY_RADIUS_M)) ** (-1 / 6)


def way_in_time(path: Path, speed_mps: Array, rate_hz: float) -> tuple[Array, Array]:
    """Way along a path and speed, each [T], of a walker who would have these speeds [T] on a straight line.

    Raises:
        ValueError: If the path is too short.
    """
    wanted_m = np.concatenate([[0.0], np.cumsum((speed_mps[1:] + speed_mps[:-1]) / 2 / rate_hz)])
    inner = (path.way_m >= 0) & (path.way_m <= path.way_m[-1] - MARGIN_M)
    way_m = path.way_m[inner]
    # Straight metres that a metre of the path costs; the speed of the moment is then that of the straight walk.
    cost = 1 / slowing(path.curvature_per_m[inner])
    straight_m = np.concatenate([[0.0], np.cumsum((cost[1:] + cost[:-1]) / 2 * np.diff(way_m))])
    if straight_m[-1] < wanted_m[-1]:
        raise ValueError(f"the path must be as long as the walk, {straight_m[-1]:.2f} m are not {wanted_m[-1]:.2f} m")
    way = CubicSpline(straight_m, way_m)
    return way(wanted_m), speed_mps * way(wanted_m, 1)


def bend(joints: Array, path: Path) -> Array:
    """Bend a straight walk along a path.

    What lies s ahead of the origin comes to lie beside the point s of the path, so that a planted foot stays planted
    and the outer limbs of a turn have the longer way; bones then get back their length.

    Args:
        joints: Metres [T, J, 3] of a walk along +x, with x the way along the path; J as in body.JOINTS.
        path: Where to walk.

    Returns:
        Metres [T, J, 3] in the frame of the radar.
    """
    line = CubicSpline(path.way_m, np.column_stack([path.place_m, path.heading_rad]))(joints[..., 0])  # [T, J, 3]
    x, y, heading = line[..., 0], line[..., 1], line[..., 2]
    aside = joints[..., 1]
    bent = np.stack([x - aside * np.sin(heading), y + aside * np.cos(heading), joints[..., 2]], axis=-1)
    placed = bent.copy()
    for name in JOINTS[1:]:
        child, parent = JOINT_INDEX[name], JOINT_INDEX[_parent(name)]
        bone = bent[:, child] - bent[:, parent]
        length_m = np.linalg.norm(joints[:, child] - joints[:, parent], axis=-1)
        placed[:, child] = placed[:, parent] + bone * (length_m / np.linalg.norm(bone, axis=-1))[:, None]
    return placed


def _parent(name: str) -> str:
    side, _, part = name.rpartition("_")
    parent = _PARENTS[part]
    return parent if parent in JOINT_INDEX else f"{side}_{parent}"


def _next_goal(x: float, y: float, rng: np.random.Generator) -> tuple[float, float]:
    (nearest, farthest), (right, left) = FIELD_M
    while True:
        goal_x, goal_y = float(rng.uniform(nearest, farthest)), float(rng.uniform(right, left))
        if math.hypot(goal_x - x, goal_y - y) >= NEAREST_GOAL_M:
            return goal_x, goal_y
