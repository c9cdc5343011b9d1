"""Settings of a simulation that looks like a user's own spectrograms: what can be read from the pictures at once.

The rest, which no single statistic tells, is fitted in `likeness_fit`. Only numbers of the pictures enter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.constants import speed_of_light

from echoform_train.data.native_grid import FEWEST_CELLS, NativeGrid, native_grid
from echoform_train.engine.errors import UserError
from echoform_train.radar.image_statistics import FEWEST_STEPS, GRID, LIT, image_statistics
from echoform_train.radar.population import Population
from echoform_train.radar.receiver import Receiver
from echoform_train.radar.scatterers import Surface
from echoform_train.radar.simulation_config import SimulationConfig
from echoform_train.radar.view import View
from echoform_train.radar.walks import Route

Array = NDArray[np.float64]

FEWEST_IMAGES = 20
"""Fewest images from which settings are read."""
USUAL_STEPS_HZ = 1.8
"""Cadence of an adult at the usual speed, by which images of unknown length are scaled."""
_REACH_PER_SPEED = 2.3
"""Distance of the limbs' contour from the torso (95th percentile) over the walking speed, of simulated walkers."""
_ONE_DIRECTION = 0.85
"""People walk in one direction if this share of their images shows it."""
_USUAL_ROWS = 128
"""Native rows of larger images that were not enlarged in blocks: bins of the Doppler transforms of usual radars."""
_SLOW_SHARE = 0.8
_FEWEST_SLOW = 0.02
"""People begin and stop to walk if this share of the images shows less than _SLOW_SHARE of the usual speed."""
_TURN_RANGE = 1.3
_FEWEST_TURNS = 0.05
"""People turn if the torso line spans more than _TURN_RANGE walking speeds in this share of the images."""
_NO_STEPS = 0.05
"""A rhythm this near to the slowest that is searched for was not found."""
_FEWEST_BURSTS = 0.002
"""Share of whole columns below which they count as chance."""
_STEADY_STEPS = 0.08
"""Images are cut by steps if their number varies by less than this share while their native columns vary."""


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """Settings of a simulation in the manner of some pictures."""

    view: View = field(default_factory=View)
    receiver: Receiver = field(default_factory=Receiver)
    surface: Surface = field(default_factory=Surface)
    population: Population = field(default_factory=Population)
    route: Route = "straight"
    """hall if people turn within images."""
    window_s: float = 3.0

    def applied_to(self, config: SimulationConfig) -> SimulationConfig:
        """The same simulation in this manner."""
        return replace(
            config,
            body="scatterers",
            view=self.view,
            receiver=self.receiver,
            surface=self.surface,
            population=self.population,
            route=self.route,
            window_s=self.window_s,
            hop_s=min(config.hop_s, self.window_s),
        )

    def as_dict(self) -> dict[str, object]:
        """All settings by name, for a JSON file."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Spectrograms of walkers as numbers."""

    level: NDArray[np.float32]
    """Levels [N, H, W], shares of the colour scale in 0..1, row 0 the highest Doppler."""
    users: NDArray[np.int64]
    """User of each image, [N]."""
    axes: Mapping[str, float] | None
    """Contents of axes.json; None if unknown."""
    jpeg_quality: int | None
    """Quality of JPEG files; None for lossless ones."""
    window_s: float | None
    """Length of an image in seconds; None if unknown."""
    images_sha256: str = ""
    """Hash of the pictures' files."""


def read_likeness(measured: Measured) -> tuple[Likeness, dict[str, Array]]:
    """First settings, read from the pictures: grid, axis, speeds, directions, levels and compression.

    Where the pictures' axes are unknown, people are taken to walk as adults do: the cadence then tells the seconds, and
    the distance of the swinging feet from the torso tells the metres per second.

    Returns:
        The settings, and the statistics of all images.

    Raises:
        ValueError: If there are too few images, or they show no walkers.
    """
    if len(measured.level) < FEWEST_IMAGES:
        raise UserError(f"--like needs at least {FEWEST_IMAGES} images, got {len(measured.level)}")
    found = image_statistics(measured.level)
    towards = found["reach_above"] > found["reach_below"]
    if not np.isfinite(found["torso_row"]).any():
        raise UserError("--like needs spectrograms of walkers, these images show no torso line")
    steps, window_s = _time(measured, found)
    view = _view(measured, found, towards, steps)
    lit = measured.level[measured.level > LIT]
    return (
        Likeness(
            view=view,
            window_s=window_s,
            population=_population(measured, found, towards, view),
            route=_route(found, view),
            receiver=Receiver(
                looks=1,
                shown_db=40.0,
                cut_share=round(float(np.quantile(lit, 0.02)), 3) if lit.size else 0.0,
                floor_level=_floor_level(measured.level),
                bursts_per_minute=_bursts_per_minute(found, window_s),
                range_cell_m=0.3,
                range_gain=False,
                interpolate=_smooth(measured),
                jpeg_quality=measured.jpeg_quality,
            ),
            surface=Surface(torso_db=6.0),
        ),
        found,
    )


def known_settings(measured: Measured) -> frozenset[str]:
    """Which settings the axes of the pictures tell, so that they are not fitted: span_mps and centre_mps, or none."""
    needed = {"doppler_min_hz", "doppler_max_hz", "carrier_hz"}
    return frozenset({"span_mps", "centre_mps"} if needed <= set(measured.axes or {}) else ())


def _time(measured: Measured, found: Mapping[str, Array]) -> tuple[float | None, float]:
    """Steps to which images are cut, None if they are cut by time; and their length in seconds."""
    steps = float(np.nanmedian(found["steps"]))
    if measured.window_s is None and not steps > FEWEST_STEPS + _NO_STEPS:
        raise UserError(
            "--like needs axes.json with window_s where images show no rhythm of steps that would tell their length: "
            "echoform prepare --window-s writes it"
        )
    steady = found["rhythm"] > 0.5
    spread = float(np.subtract(*np.nanquantile(found["steps"][steady], [0.75, 0.25]))) if steady.any() else np.inf
    by_steps = spread < _STEADY_STEPS * steps
    if measured.window_s is not None:
        return None, measured.window_s
    return (round(steps, 2) if by_steps else None), round(steps / USUAL_STEPS_HZ, 3)


def _view(measured: Measured, found: Mapping[str, Array], towards: NDArray[np.bool_], steps: float | None) -> View:
    """Doppler axis and native grid."""
    size = measured.level.shape[1:]
    grid = _seen_grid(measured)
    axes = measured.axes or {}
    columns = [native_grid(image[None]).columns for image in measured.level[:: max(1, len(measured.level) // 40)]]
    # Each image may have its own number of columns; one image alone is misread now and then, the median is not.
    known = [number for number in columns if number is not None and FEWEST_CELLS < number < size[1] / 2]
    per_row = _rows_per_mps(measured, found)
    span_mps = min(GRID / 2 / per_row, 7.9)
    torso = float(np.nanmedian(found["torso_row"]))
    # The torso of people who come nearer lies above 0 Hz by their speed.
    speed = Population().walking_speed_mps
    both = 0.5 - _ONE_DIRECTION / 2 < towards.mean() < 0.5 + _ONE_DIRECTION / 2
    follows = abs(torso - (GRID - 1) / 2) < 2 and float(np.nanstd(found["torso_row"])) < 2
    sign = 1 if towards.mean() > 0.5 else -1
    zero_row = (GRID - 1) / 2 if both else torso + sign * speed * per_row
    centre_mps = (zero_row - (GRID - 1) / 2) / per_row
    if "centre_mps" in known_settings(measured):
        middle_hz = (axes["doppler_min_hz"] + axes["doppler_max_hz"]) / 2
        centre_mps = middle_hz * speed_of_light / axes["carrier_hz"] / 2
    limit = max(0.0, 8 - span_mps)
    found_rows = grid.rows if grid.rows is not None and grid.rows > FEWEST_CELLS else min(size[0], _USUAL_ROWS)
    rows = min(round(axes.get("native_bins", found_rows)), 512)
    seen_columns = round(float(np.median(known))) if 2 * len(known) > len(columns) else min(size[1], GRID)
    return View(
        doppler_axis="body" if follows else "fixed",
        centre_mps=0.0 if follows else float(np.clip(centre_mps, -limit, limit)),
        span_mps=span_mps,
        native_rows=rows,
        native_columns=round(axes.get("native_columns", seen_columns)),
        window_steps=steps,
        transform_ms=_longest_transform_ms(rows, span_mps),
    )


def _seen_grid(measured: Measured) -> NativeGrid:
    """Native grid as it shows in the pixels of some images."""
    return native_grid(measured.level[:: max(1, len(measured.level) // 60)])


def _smooth(measured: Measured) -> bool:
    """Whether images were enlarged smoothly: their axes tell a coarser grid, and the pixels do not show its cells."""
    bins = (measured.axes or {}).get("native_bins")
    seen = _seen_grid(measured).rows
    return bins is not None and bins < measured.level.shape[1] and (seen is None or abs(seen - bins) > 1)


def _zero_row(view: View) -> float:
    """Row of 0 Hz on the statistics' grid."""
    return (GRID - 1) / 2 + view.centre_mps * GRID / (2 * view.span_mps)


def _longest_transform_ms(rows: int, span_mps: float) -> float:
    """Length of a transform whose bins at 77 GHz are as wide as the native rows, ms."""
    bin_hz = 2 * (2 * span_mps / rows) * 77e9 / speed_of_light
    return 1000 / bin_hz


def _rows_per_mps(measured: Measured, found: Mapping[str, Array]) -> float:
    """Rows of the statistics' grid per metre per second, from the axes or else from the swing of the feet."""
    axes = measured.axes or {}
    span_hz = axes.get("doppler_max_hz", 0.0) - axes.get("doppler_min_hz", 0.0)
    if span_hz > 0 and "carrier_hz" in axes:
        return GRID / (span_hz * speed_of_light / axes["carrier_hz"] / 2)
    reach = np.nanmedian(np.maximum(found["reach_above"], found["reach_below"]))
    return max(float(reach) / (_REACH_PER_SPEED * Population().walking_speed_mps), GRID / 15.8)


def _population(measured: Measured, found: Mapping[str, Array], towards: NDArray[np.bool_], view: View) -> Population:
    """Speeds and directions of the walkers."""
    per_row = GRID / (2 * view.span_mps)
    means = [float(np.nanmedian(found["torso_row"][measured.users == user])) for user in np.unique(measured.users)]
    spread = float(np.std(means)) / per_row if view.doppler_axis == "fixed" and len(means) > 2 else None
    share = float(towards.mean())
    directions: dict[str, object] = {}
    if share > _ONE_DIRECTION:
        directions = {"directions": ("towards",)}
    elif share < 1 - _ONE_DIRECTION:
        directions = {"directions": ("away",)}
    # Images of people who begin or stop to walk have a torso line far nearer to 0 Hz than most.
    slow = 0.0
    if view.doppler_axis == "fixed":
        apart = np.abs(found["torso_row"] - _zero_row(view))
        slow = float(np.mean(apart < _SLOW_SHARE * np.nanmedian(apart)))
    usual = Population(start_and_stop=slow > _FEWEST_SLOW)
    return replace(usual, speed_spread_mps=usual.speed_spread_mps if spread is None else min(spread, 0.4), **directions)


def _bursts_per_minute(found: Mapping[str, Array], window_s: float) -> float:
    """Bursts that raise as many whole columns as the pictures show; each raises about one."""
    share = float(np.mean(found["full_columns"]))
    return round(min(60 * share * GRID / window_s, 600.0), 1) if share > _FEWEST_BURSTS else 0.0


def _route(found: Mapping[str, Array], view: View) -> Route:
    """To and fro if the torso line passes from coming nearer to walking away within images, straight otherwise."""
    speed_rows = Population().walking_speed_mps * GRID / (2 * view.span_mps)
    return "hall" if np.mean(found["torso_range"] > _TURN_RANGE * speed_rows) > _FEWEST_TURNS else "straight"


def _floor_level(level: NDArray[np.float32]) -> float:
    """Level of the cells that show nothing; 0 if all cells show something."""
    dark = level[level <= LIT]
    return round(float(np.median(dark)), 4) if dark.size else 0.0
