"""How long a training will take, computed by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from echoform_train.engine import run as run_module
from echoform_train.engine.config import RunConfig
from echoform_train.engine.optimizers import build_optimizer
from echoform_train.engine.run import Run
from echoform_train.engine.time_left import TimeLeft, duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 second"),
        (40.4, "40 seconds"),
        (89, "89 seconds"),
        (90, "2 minutes"),
        (14 * 60, "14 minutes"),
        (3600, "60 minutes"),
        (3.2 * 3600, "3.2 hours"),
    ],
)
def test_durations_are_told_in_the_largest_unit_that_still_says_something(seconds: float, words: str):
    assert duration(seconds) == words


def test_estimate_is_the_pace_after_the_first_step_times_the_steps_that_remain():
    left = TimeLeft(total_steps=1000, images_per_step=16)
    # The first step took 30 s, as caches were cold; each later one takes 2 s.
    assert [left.after_step(step, 30.0 + 2.0 * (step - 1)) for step in (1, 2, 3)] == [None] * 3
    line = left.after_step(4, 36.0)
    assert line is not None
    assert line.startswith("2 s per step of 16 images, 8 images per second: about 34 minutes to go")  # 996 steps of 2 s
    # It is told once.
    assert [left.after_step(step, 30.0 + 2.0 * (step - 1)) for step in range(5, 100)] == [None] * 95


def test_fast_steps_are_measured_for_five_seconds():
    left = TimeLeft(total_steps=100_000, images_per_step=4)
    lines = [left.after_step(step, 0.01 * step) for step in range(1, 600)]
    told = [number for number, line in enumerate(lines, start=1) if line]
    assert told == [501]


def test_a_training_that_is_over_soon_tells_nothing():
    left = TimeLeft(total_steps=20, images_per_step=4)
    assert [left.after_step(step, 0.1 * step) for step in range(1, 21)] == [None] * 20


def test_estimate_is_told_again_after_a_validation_that_makes_it_much_longer():
    left = TimeLeft(total_steps=1000, images_per_step=16)
    for step in range(1, 101):
        left.after_step(step, 2.0 * step)
    left.note_validation()
    # The validation took 198 s: 99 steps and it took 99 * 2 + 2 + 198 = 398 s, 3.98 s per step.
    line = left.after_step(101, 2.0 * 101 + 198.0)
    assert line is not None
    assert line.startswith("3.98 s per step of 16 images")
    assert line.endswith("about 60 minutes to go, validations included")  # 899 steps of 3.98 s


def test_estimate_is_not_told_again_after_a_short_validation():
    left = TimeLeft(total_steps=1000, images_per_step=16)
    for step in range(1, 101):
        left.after_step(step, 2.0 * step)
    left.note_validation()
    assert left.after_step(101, 2.0 * 101 + 10.0) is None


def test_estimate_of_a_resumed_training_counts_only_the_steps_of_this_process():
    left = TimeLeft(total_steps=1000, images_per_step=16)
    lines = [left.after_step(step, 2.0 * (step - 900)) for step in range(901, 905)]
    assert lines[-1] is not None
    assert "about 3 minutes to go" not in lines[-1]  # 96 steps of 2 s are 192 s
    assert "about 4 minutes to go" in lines[-1]


def test_training_prints_its_estimate_on_one_line(tmp_path, capsys, monkeypatch: pytest.MonkeyPatch):
    config = RunConfig(output_dir=tmp_path / "run", max_train_images=4000, train_batch_size=4, report_to="none")
    run = Run(config, num_images=8, settings={})
    model = nn.Linear(1, 1)
    model, optimizer = run.accelerator.prepare(model, build_optimizer(config, model))
    clock = iter(range(0, 10_000, 3))  # a step takes 3 s
    monkeypatch.setattr(run_module.time, "perf_counter", lambda: float(next(clock)))
    for _ in range(10):
        for _ in run.draws():
            run.descend(model(torch.ones(1, 1)).sum(), optimizer, model)
        run.advance()
    lines = [line for line in capsys.readouterr().out.splitlines() if "to go" in line]
    assert len(lines) == 1
    # 1000 steps, 4 of which are taken: 996 * 3 s = 2988 s.
    assert lines[0] == "run: 3 s per step of 4 images, 1.33 images per second: about 50 minutes to go, plus validations"
