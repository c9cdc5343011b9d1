import math

import pytest
import torch
from diffusers.optimization import get_cosine_schedule_with_warmup
from torch import nn, optim

from echoform_train.engine.schedules import Plateau, learning_rate_at


def test_the_rate_follows_the_cosine_schedule_of_diffusers_one_step_ahead():
    # diffusers starts its warm-up at a rate of 0; ours gives the first step its share, so step k here is k + 1 there.
    parameter = nn.Parameter(nn.Linear(1, 1).weight.detach())
    optimizer = optim.SGD([parameter], lr=0.3)
    theirs = get_cosine_schedule_with_warmup(optimizer, num_warmup_steps=10, num_training_steps=110)
    rates = []
    for _ in range(110):
        rates.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    ours = [learning_rate_at(k, peak=0.3, warmup_steps=10, total_steps=110, shape="cosine") for k in range(110)]
    assert ours[:10] == pytest.approx(rates[1:11])
    assert ours[10:] == pytest.approx(rates[10:])


def test_the_peak_is_reached_and_the_end_is_zero():
    rates = [learning_rate_at(k, peak=1e-3, warmup_steps=7, total_steps=100, shape="cosine") for k in range(101)]
    assert max(rates) == pytest.approx(1e-3)
    assert math.isclose(rates[100], 0.0, abs_tol=1e-12)


def test_a_warm_up_longer_than_the_run_is_refused():
    with pytest.raises(ValueError, match="10 optimizer steps, got 11"):
        learning_rate_at(0, peak=1.0, warmup_steps=11, total_steps=10, shape="cosine")


def test_the_staircase_is_that_of_torch():
    optimizer = optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.4)
    theirs = optim.lr_scheduler.StepLR(optimizer, step_size=30, gamma=0.3)
    for step in range(100):
        ours = learning_rate_at(step, peak=0.4, warmup_steps=0, total_steps=100, shape="step", decay=0.3, step_every=30)
        assert ours == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


def test_the_drops_on_plateaus_are_those_of_torch():
    scores = [5.0, 4.0, 4.1, 4.2, 4.3, 3.0, 3.1, 3.2, 3.3, 3.4, 3.5, 3.6, 2.9, 3.0]
    optimizer = optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.4)
    # torch drops the rate when more validations than its patience pass, ours when as many do.
    theirs = optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2, threshold=0.0)
    ours, best = Plateau(patience=3), math.inf
    for score in scores:
        theirs.step(score)
        ours.add_validation(score < best)
        best = min(best, score)
        rate = learning_rate_at(
            50, peak=0.4, warmup_steps=0, total_steps=100, shape="plateau", decay=0.5, plateaus=ours.drops
        )
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"])
    assert ours.drops == 3


@pytest.mark.parametrize("shape", ["cosine", "constant", "step", "plateau"])
def test_every_schedule_warms_up_in_the_same_optimizer_steps(shape):
    rates = [
        learning_rate_at(k, peak=1.0, warmup_steps=4, total_steps=100, shape=shape, step_every=50) for k in range(5)
    ]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


def test_a_plateau_of_no_length_is_refused():
    with pytest.raises(ValueError, match="at least 1 validation long, got 0"):
        Plateau(patience=0)
