"""People of a population walk at its speeds, and those of the default one are unchanged."""

import numpy as np
import pytest

from echoform_train.radar.person import draw_person
from echoform_train.radar.population import Population


def test_speeds_have_the_mean_and_spread_that_were_asked_for():
    people = [draw_person(np.random.default_rng(seed)) for seed in range(300)]
    slow = Population(walking_speed_mps=0.9, speed_spread_mps=0.2)
    speeds = [slow.of_this(person).speed_mps for person in people]
    assert np.mean(speeds) == pytest.approx(0.9, abs=0.04)
    assert np.std(speeds) == pytest.approx(0.2, rel=0.15)
    assert all(Population().of_this(person) == person for person in people)


@pytest.mark.parametrize("settings", [{"walking_speed_mps": 5}, {"speed_spread_mps": -1}, {"directions": ()}])
def test_populations_that_do_not_walk_are_refused(settings):
    with pytest.raises(ValueError, match="--"):
        Population(**settings)
