import math

import pytest
from diffusers.optimization import get_cosine_schedule_with_warmup
from torch import nn, optim

from echoform_train.schedules import learning_rate_at


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
