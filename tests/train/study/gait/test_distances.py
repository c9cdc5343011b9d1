"""Distances of gait features are those of known distributions, beside the floor that real images reach."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from echoform_train.study.gait.distances import wasserstein


def test_wasserstein_distance_of_shifted_normals_is_their_shift():
    rng = np.random.default_rng(0)
    real = {"rhythm": rng.normal(0, 1, 4000), "heading": np.ones(4000)}
    made = {"rhythm": rng.normal(1.5, 1, 4000), "heading": np.ones(4000)}
    drift = wasserstein(real, made, [None] * 4000, seed=0)
    assert set(drift) == {"rhythm"}
    assert drift["rhythm"].distance == pytest.approx(1.5, abs=0.05)
    # The distance is the integral of |F1 - F2|, and F1 - F2 is normal of variance 2 F (1 - F) / n in large samples.
    at = np.linspace(-6, 6, 2001)
    spread = np.trapezoid(np.sqrt(norm.cdf(at) * norm.sf(at)), at)
    assert drift["rhythm"].floor == pytest.approx(np.sqrt(2 / np.pi) * np.sqrt(2 / 2000) * spread, rel=0.5)


def test_recordings_are_halved_whole():
    """Two recordings of one value each: the floor is the distance of the two values."""
    real = {"rhythm": np.repeat([0.0, 1.0], 10)}
    drift = wasserstein(real, {"rhythm": np.full(10, 0.5)}, ["a"] * 10 + ["b"] * 10, seed=0)
    assert drift["rhythm"] == pytest.approx((0.5, 1.0))


def test_one_recording_has_no_halves():
    with pytest.raises(ValueError, match=r"at least two recordings .* got 1 for 4"):
        wasserstein({"rhythm": np.zeros(4)}, {"rhythm": np.zeros(4)}, ["a"] * 4, seed=0)
