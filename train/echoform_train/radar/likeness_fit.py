"""Fit of a simulation's settings to spectrograms: differences of statistics, over their spread, are made small."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.optimize import least_squares

from echoform_train.radar.image_statistics import STATISTICS, image_statistics
from echoform_train.radar.likeness import Likeness
from echoform_train.radar.receiver import shown_levels
from echoform_train.radar.recordings import Recording
from echoform_train.radar.simulated_walks import simulated_walks
from echoform_train.radar.simulation import cut_windows, record
from echoform_train.radar.simulation_config import DB_MAX, DB_MIN, SimulationConfig
from echoform_train.radar.view import View

Array = NDArray[np.float64]

RECORDING_S = 8.0
"""Length of the simulated walks, which begin and end as often as measured ones of some seconds do."""
_SIDE = 256
"""Side of the images whose statistics are compared; native cells become blocks of some pixels, as in the pictures."""
_SPREADS = ("lit_share", "torso_row", "torso_wave", "reach_above", "steps")
"""Statistics whose spread over the images is fitted as well as their mean."""
_LEAST_SPREAD = 0.02
_ROUNDS = 4


@dataclass(frozen=True)
class Knob:
    """One setting that is fitted."""

    low: float
    high: float
    get: Callable[[Likeness], float]
    set: Callable[[Likeness, float], Likeness]
    body: bool
    """It changes the samples, not only how they are drawn."""


def _of(part: str, name: str) -> tuple[Callable[[Likeness], float], Callable[[Likeness, float], Likeness]]:
    def get(like: Likeness) -> float:
        return float(getattr(getattr(like, part), name))

    def put(like: Likeness, value: float) -> Likeness:
        return replace(like, **{part: replace(getattr(like, part), **{name: value})})

    return get, put


KNOBS: dict[str, Knob] = {
    "shown_db": Knob(15, 70, *_of("receiver", "shown_db"), body=False),
    "cut_share": Knob(0, 0.5, *_of("receiver", "cut_share"), body=False),
    "centre_mps": Knob(-4, 4, *_of("view", "centre_mps"), body=False),
    "span_mps": Knob(1.0, 7.0, *_of("view", "span_mps"), body=False),
    "transform_ms": Knob(4, 60, *_of("view", "transform_ms"), body=False),
    "range_cell_m": Knob(0.04, 1.5, *_of("receiver", "range_cell_m"), body=True),
    "noise_db": Knob(-20, 40, *_of("receiver", "noise_db"), body=True),
    "specular_share": Knob(0.02, 0.98, *_of("surface", "specular_share"), body=True),
    "cloth_s": Knob(0.005, 0.5, *_of("surface", "cloth_s"), body=True),
    "torso_db": Knob(-10, 25, *_of("surface", "torso_db"), body=True),
    "feet_db": Knob(-20, 20, *_of("surface", "feet_db"), body=True),
}
"""Settings that are fitted, with their limits."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A fitted simulation, and how near it comes."""

    likeness: Likeness
    table: dict[str, tuple[float, float, float]]
    """By statistic: mean of the pictures, mean of the simulation, and their difference over the spread of the
    pictures."""
    images: NDArray[np.float32]
    """Simulated levels [M, 256, 256], for a look."""
    simulations: int
    """Simulations that the fit took."""


def fit_likeness(
    first: Likeness, found: Mapping[str, Array], base: SimulationConfig, *, people: int = 8, rounds: int = _ROUNDS
) -> Fit:
    """Change settings until statistics of simulated images agree with those of the pictures.

    The method of simulated moments by least squares; all simulations are of the same people and the same random
    numbers, so that only the settings differ.

    Args:
        first: Settings to begin with, see `read_likeness`.
        found: Statistics of the pictures.
        base: Carrier and mode of the simulation.
        people: Simulated people, one walk each.
        rounds: Steps of the fit; each simulates once per setting.

    Source: McFadden, Econometrica 57 (1989) 995-1026.
    """
    target, spread = _moments(found), _spread(found)
    # Axes that follow the walker have no centre.
    names = [name for name in KNOBS if name != "centre_mps" or first.view.doppler_axis == "fixed"]
    knobs = [KNOBS[name] for name in names]
    low, high = (np.array([getattr(knob, end) for knob in knobs]) for end in ("low", "high"))
    start = np.clip((np.array([knob.get(first) for knob in knobs]) - low) / (high - low), 0.02, 0.98)
    simulator = _Simulator(base, people)

    def settings(place: Array) -> Likeness:
        likeness = first
        for knob, value in zip(knobs, low + np.clip(place, 0, 1) * (high - low), strict=True):
            likeness = knob.set(likeness, float(value))
        return replace(likeness, view=_whole(likeness.view))

    def misfit(place: Array) -> Array:
        made = _moments(image_statistics(simulator.levels(settings(place))))
        return np.nan_to_num((made - target) / spread, nan=5.0).clip(-8, 8)

    best = least_squares(misfit, start, bounds=(0, 1), diff_step=0.06, loss="soft_l1", max_nfev=rounds, x_scale=1.0).x
    likeness = settings(best)
    images = simulator.levels(likeness)
    made = image_statistics(images)
    table = {
        name: (
            float(np.nanmean(found[name])),
            float(np.nanmean(made[name])),
            float((np.nanmean(made[name]) - np.nanmean(found[name])) / _one_spread(found[name])),
        )
        for name in STATISTICS
    }
    return Fit(likeness=likeness, table=table, images=images, simulations=simulator.count)


class _Simulator:
    """Simulated levels for settings; recordings are kept while only their drawing changes."""

    def __init__(self, base: SimulationConfig, people: int) -> None:
        self._base = base
        self._people = people
        self._recordings: dict[tuple[object, ...], list[Recording]] = {}
        self.count = 0

    def levels(self, likeness: Likeness) -> NDArray[np.float32]:
        """Levels [M, 256, 256] of images of all people."""
        self.count += 1
        config = likeness.applied_to(replace(self._base, recording_s=RECORDING_S, users=self._people))
        drawn = replace(likeness.receiver, shown_db=None, cut_share=0.0, looks=1)
        key = (drawn, likeness.surface, likeness.population)
        if key not in self._recordings:
            walks = simulated_walks(self._people, 1, ("normal",), "straight", likeness.population)
            # Only the latest are kept: a walk takes some megabytes.
            self._recordings = {key: [record(config, walk) for walk in walks]}
        images = []
        for recording in self._recordings[key]:
            for _, _, image_db in cut_windows(config, recording):
                level = shown_levels(image_db, likeness.receiver, (DB_MIN, DB_MAX))[::-1]
                resized = Image.fromarray(level.astype(np.float32)).resize((_SIDE, _SIDE), Image.Resampling.NEAREST)
                images.append(np.asarray(resized))
        return np.stack(images)


def _whole(view: View) -> View:
    """The same with a transform that its rows can show, and a centre within the speeds that do not fold."""
    rows = view.native_rows or 64
    longest_ms = 1000 * rows / (2 * 2 * view.span_mps * 77e9 / 299_792_458.0)
    limit = max(0.0, 7.99 - view.span_mps)
    return replace(
        view,
        transform_ms=min(view.transform_ms or longest_ms, 0.99 * longest_ms),
        centre_mps=float(np.clip(view.centre_mps, -limit, limit)),
    )


def _moments(found: Mapping[str, Array]) -> Array:
    """Means of all statistics and spreads of some, [M]."""
    means = [np.nanmean(found[name]) for name in STATISTICS]
    return np.array(means + [np.nanstd(found[name]) for name in _SPREADS])


def _spread(found: Mapping[str, Array]) -> Array:
    """Spread of each moment over the images, by which differences count, [M]."""
    spreads = {name: _one_spread(found[name]) for name in STATISTICS}
    return np.array([*spreads.values(), *(spreads[name] for name in _SPREADS)])


def _one_spread(values: Array) -> float:
    return max(float(np.nanstd(values)), _LEAST_SPREAD * max(abs(float(np.nanmean(values))), 0.1))
