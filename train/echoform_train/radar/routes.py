"""Routes with turns: smooth paths in front of a radar, free or to and fro, and walks that follow them."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from echoform_train.engine.errors import UserError
from echoform_train.radar.body import JOINT_INDEX, JOINTS

Array = NDArray[np.float64]

FIELD_M = ((4.0, 11.0), (-3.0, 3.0))
"""Area of the way points, metres ahead of the radar and to its sides. Turns reach up to 2 m beyond."""
NEAREST_GOAL_M = 3.0
"""Smallest distance between successive way points."""
ARRIVED_M = 1.0
"""Distance at which a way point counts as reached."""
TIGHTEST_M = (0.8, 1.2)
"""Range from which the smallest radius of turns is drawn for each path."""
SETTLING_M = 0.35
"""Distance over which the curvature of the path approaches the one that leads to the next way point."""
STEP_M = 0.05
"""Distance between the points of a path, which is a spline through them."""
HALL_M = (2.5, 10.0)
"""Range from which the lengths of a walk to and fro before the radar are drawn: nearest and farthest turn, metres."""
HALL_SPREAD_M = 0.4
"""Deviation of the turning points of a walk to and fro from its line, metres."""
TURN_ON_THE_SPOT_M = (0.3, 0.5)
"""Range of the smallest radius of the turns of a walk to and fro."""
MARGIN_M = 1.5
"""Length by which a path extends beyond its start and its end, as feet and hands reach beyond the body."""
EASY_RADIUS_M = 2.0
"""Turns of a larger radius than this hardly slow a walker down."""

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
    """A line on the floor in the frame of the radar, as a function of the distance along it."""

    distance_m: Array
    """Distance along the path from its start, ascending [N]; negative before the start."""
    position_m: Array
    """x and y, [N, 2]."""
    heading_rad: Array
    """Direction, counted from the x axis to the left and without jumps of 2 pi, [N]."""
    curvature_per_m: Array
    """Change of the heading per metre, [N]."""


def draw_path(length_m: float, rng: np.random.Generator, *, hall: bool = False) -> Path:
    """Draw a path of this length through way points, each approached by pure pursuit.

    The way points are random, or with `hall` in turn near the radar and far from it: a walk to and fro.

    Pure pursuit (Coulter 1992) steers with the curvature 2 sin(e) / d, with e the angle and d the distance to the way
    point. Here turns have a smallest radius, and the curvature follows with a lag.

    Raises:
        ValueError: If the length is not positive.
    """
    if not length_m > 0:
        raise UserError(f"length_m must be positive, got {length_m}")
    next_goal = _hall_goals(rng) if hall else lambda x, y: _next_goal(x, y, rng)
    if hall:
        x, y = next_goal(0.0, 0.0)
    else:
        (nearest, farthest), (right, left) = FIELD_M
        x, y = float(rng.uniform(nearest, farthest)), float(rng.uniform(right, left))
    sharpest = 1 / float(rng.uniform(*(TURN_ON_THE_SPOT_M if hall else TIGHTEST_M)))
    goal_x, goal_y = next_goal(x, y)
    heading, curvature = math.atan2(goal_y - y, goal_x - x), 0.0
    rows = []
    for _ in range(math.ceil((length_m + 2 * MARGIN_M) / STEP_M) + 1):
        rows.append((x, y, heading, curvature))
        distance = math.hypot(goal_x - x, goal_y - y)
        if distance < ARRIVED_M:
            goal_x, goal_y = next_goal(x, y)
            distance = math.hypot(goal_x - x, goal_y - y)
        # Steer to the way point, as sharply as allowed if it lies behind; the curvature follows with a lag.
        error = (math.atan2(goal_y - y, goal_x - x) - heading + math.pi) % (2 * math.pi) - math.pi
        wanted = math.copysign(sharpest, error) if abs(error) > math.pi / 2 else 2 * math.sin(error) / distance
        curvature += (min(max(wanted, -sharpest), sharpest) - curvature) * STEP_M / SETTLING_M
        middle = heading + curvature * STEP_M / 2
        x, y, heading = x + STEP_M * math.cos(middle), y + STEP_M * math.sin(middle), heading + curvature * STEP_M
    table = np.array(rows)
    return Path(
        distance_m=np.arange(len(table), dtype=np.float64) * STEP_M - MARGIN_M,
        position_m=table[:, :2],
        heading_rad=table[:, 2],
        curvature_per_m=table[:, 3],
    )


def turn_speed_share(curvature_per_m: Array) -> Array:
    """Share of the speed that a walker keeps in turns of a curvature, 0..1, [N].

    In turns the speed is proportional to the cube root of the radius; turns much wider than EASY_RADIUS_M keep it.

    Source: Vieilledent et al., Neuroscience Letters 305 (2001) 65-69.
    """
    return (1 + np.square(curvature_per_m * EASY_RADIUS_M)) ** (-1 / 6)


def distance_along(path: Path, speed_mps: Array, rate_hz: float) -> tuple[Array, Array]:
    """Distance along a path and speed at each moment, each [T], of a walker who slows down in turns.

    Args:
        path: Path of the walker.
        speed_mps: Speeds that the walker would have on a straight line, [T].
        rate_hz: Moments per second.

    Raises:
        ValueError: If the path is too short.
    """
    wanted_m = np.concatenate([[0.0], np.cumsum((speed_mps[1:] + speed_mps[:-1]) / 2 / rate_hz)])
    inner = (path.distance_m >= 0) & (path.distance_m <= path.distance_m[-1] - MARGIN_M)
    distance_m = path.distance_m[inner]
    # A metre of a turn costs as much time as this many metres straight on.
    cost = 1 / turn_speed_share(path.curvature_per_m[inner])
    straight_m = np.concatenate([[0.0], np.cumsum((cost[1:] + cost[:-1]) / 2 * np.diff(distance_m))])
    if straight_m[-1] < wanted_m[-1]:
        raise UserError(f"the path must be as long as the walk of {wanted_m[-1]:.2f} m, got {straight_m[-1]:.2f} m")
    way = scipy.interpolate.CubicSpline(straight_m, distance_m)
    return way(wanted_m), speed_mps * way(wanted_m, 1)


def bend(joints: Array, path: Path) -> Array:
    """Bend a straight walk along a path.

    A joint at distance x ahead and y aside of the straight walk is placed y beside the point at distance x of the path.
    A foot on the ground therefore stays where it is, and the outer limbs of a turn have the longer way. Bones, which
    this stretches, are then set back to their lengths.

    Args:
        joints: Metres [T, J, 3] of a walk along +x, with x the distance along the path; J as in body.JOINTS.
        path: The path.

    Returns:
        Metres [T, J, 3] in the frame of the radar.
    """
    line = scipy.interpolate.CubicSpline(path.distance_m, np.column_stack([path.position_m, path.heading_rad]))(
        joints[..., 0]
    )  # [T, J, 3]
    x, y, heading = line[..., 0], line[..., 1], line[..., 2]
    aside = joints[..., 1]
    bent = np.stack([x - aside * np.sin(heading), y + aside * np.cos(heading), joints[..., 2]], axis=-1)
    # From the pelvis outwards, each bone keeps its new direction and gets its old length.
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


def _hall_goals(rng: np.random.Generator) -> Callable[[float, float], tuple[float, float]]:
    """Turning points of a walk to and fro, in turn near the radar and far from it; the first is drawn."""
    nearest, farthest = HALL_M
    length_m = float(rng.uniform(0.6, 1.0)) * (farthest - nearest)
    ends = (nearest, nearest + length_m)
    turn = int(rng.integers(2))

    def next_goal(x: float, y: float) -> tuple[float, float]:
        nonlocal turn
        turn = 1 - turn
        return ends[turn], float(rng.normal(0.0, HALL_SPREAD_M))

    return next_goal


def _next_goal(x: float, y: float, rng: np.random.Generator) -> tuple[float, float]:
    (nearest, farthest), (right, left) = FIELD_M
    while True:
        goal_x, goal_y = float(rng.uniform(nearest, farthest)), float(rng.uniform(right, left))
        if math.hypot(goal_x - x, goal_y - y) >= NEAREST_GOAL_M:
            return goal_x, goal_y
