"""Fit of a simulation's settings to spectrograms: differences of statistics, over their spread, are made small."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.constants import speed_of_light
from scipy.optimize import least_squares

from echoform_train.radar.image_statistics import STATISTICS, image_statistics
from echoform_train.radar.likeness import Likeness
from echoform_train.radar.receiver import shown_levels
from echoform_train.radar.recordings import Recording
from echoform_train.radar.returns import doppler_shift_hz
from echoform_train.radar.simulated_walks import simulated_walks
from echoform_train.radar.simulation import cut_windows, record
from echoform_train.radar.simulation_config import DB_MAX, DB_MIN, LONGEST_RECORDING_S, SimulationConfig
from echoform_train.radar.view import View

Array = NDArray[np.float64]

_SIDE = 256
"""Side of the images whose statistics are compared; native cells become blocks of some pixels, as in the pictures."""
_SPREADS = ("lit_share", "torso_row", "torso_wave", "reach_above", "steps")
"""Statistics whose spread over the images is fitted as well as their mean."""
_LEAST_SPREAD = 0.02
_ROUNDS = 4
_LOOKS = (1, 2, 3, 6)


KNOBS: dict[str, tuple[str, float, float]] = {
    "shown_db": ("receiver", 15, 70),
    "cut_share": ("receiver", 0, 0.5),
    "range_cell_m": ("receiver", 0.04, 1.5),
    "noise_db": ("receiver", -20, 40),
    "centre_mps": ("view", -4, 4),
    "span_mps": ("view", 1.0, 7.0),
    "transform_ms": ("view", 4, 60),
    "specular_share": ("surface", 0.02, 0.98),
    "cloth_s": ("surface", 0.005, 0.5),
    "torso_db": ("surface", -10, 25),
    "feet_db": ("surface", -20, 20),
}
"""Settings that are fitted: the part of the simulation that has them, and their limits."""


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
    first: Likeness,
    found: Mapping[str, Array],
    base: SimulationConfig,
    *,
    known: Collection[str] = (),
    people: int = 6,
    rounds: int = _ROUNDS,
) -> Fit:
    """Change settings until statistics of simulated images agree with those of the pictures.

    The method of simulated moments by least squares; all simulations are of the same people and the same random
    numbers, so that only the settings differ.

    Args:
        first: Settings to begin with, see `read_likeness`.
        found: Statistics of the pictures.
        base: Carrier and mode of the simulation.
        known: Settings that keep their first value, see `known_settings`.
        people: Simulated people, one walk each.
        rounds: Steps of the fit; each simulates once per setting.

    Source: McFadden, Econometrica 57 (1989) 995-1026.
    """
    target, spread = _moments(found), _spread(found)
    # Axes that follow the walker have no centre; those of people who walk to and fro have it at 0.
    centred = first.view.doppler_axis == "body" or first.route == "hall"
    names = [name for name in KNOBS if name not in known and not (name == "centre_mps" and centred)]
    low, high = (np.array([KNOBS[name][end] for name in names]) for end in (1, 2))
    values = np.array([getattr(getattr(first, KNOBS[name][0]), name) for name in names])
    start = np.clip((values - low) / (high - low), 0.02, 0.98)
    simulator = _Simulator(base, people)

    def settings(place: Array) -> Likeness:
        chosen = dict(zip(names, (low + np.clip(place, 0, 1) * (high - low)).tolist(), strict=True))
        return _with(first, _possible(chosen, first.view))

    def apart(likeness: Likeness) -> Array:
        made = _moments(image_statistics(simulator.levels(likeness)))
        return np.nan_to_num((made - target) / spread, nan=5.0).clip(-8, 8)

    def misfit(place: Array) -> Array:
        return apart(settings(place))

    best = least_squares(misfit, start, bounds=(0, 1), diff_step=0.06, loss="soft_l1", max_nfev=rounds, x_scale=1.0).x
    # The number of looks is no continuous setting: each is tried with all others as fitted, which costs no new walks.
    fitted = settings(best)
    tried = [replace(fitted, receiver=replace(fitted.receiver, looks=looks)) for looks in _LOOKS]
    likeness = min(tried, key=lambda each: float(np.abs(apart(each)).sum()))
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
        # Walks are as long as in the simulation that is asked for: far walkers are fainter.
        config = likeness.applied_to(replace(self._base, recording_s=LONGEST_RECORDING_S, users=self._people))
        config = replace(config, recording_s=max(self._base.recording_s, min(config.shown_s, LONGEST_RECORDING_S)))
        drawn = replace(likeness.receiver, shown_db=None, cut_share=0.0, looks=1)
        key = (drawn, likeness.surface, likeness.population, likeness.route)
        if key not in self._recordings:
            walks = simulated_walks(self._people, 1, ("normal",), likeness.route, likeness.population)
            # Only the latest are kept: a walk takes some megabytes.
            self._recordings = {key: [record(config, walk) for walk in walks]}
        images = []
        enlarge = Image.Resampling.BICUBIC if likeness.receiver.interpolate else Image.Resampling.NEAREST
        for recording in self._recordings[key]:
            for _, _, image_db in cut_windows(config, recording):
                level = shown_levels(image_db, likeness.receiver, (DB_MIN, DB_MAX))[::-1]
                resized = Image.fromarray(level.astype(np.float32)).resize((_SIDE, _SIDE), enlarge)
                images.append(np.clip(np.asarray(resized), 0, 1))
        return np.stack(images)


def _with(likeness: Likeness, chosen: Mapping[str, float]) -> Likeness:
    """The same with these values of some knobs."""
    parts = {
        part: replace(getattr(likeness, part), **{name: chosen[name] for name in chosen if KNOBS[name][0] == part})
        for part in ("receiver", "view", "surface")
    }
    return replace(likeness, **parts)


def _possible(chosen: Mapping[str, float], view: View) -> dict[str, float]:
    """The same values with a transform that the rows can show, and an axis within the speeds that do not fold."""
    rows, span_mps = view.native_rows or 64, chosen.get("span_mps", view.span_mps)
    longest_ms = 1000 * rows / (2 * doppler_shift_hz(span_mps, speed_of_light / 77e9))
    possible = {**chosen, "transform_ms": min(chosen["transform_ms"], 0.99 * longest_ms)}
    if "centre_mps" in chosen:
        limit = 7.99 - span_mps
        possible["centre_mps"] = float(np.clip(chosen["centre_mps"], -limit, limit))
    return possible


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
