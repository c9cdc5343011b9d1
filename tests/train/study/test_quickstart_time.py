"""The time that `echoform quickstart` says it will take."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from echoform_train.commands import quickstart
from echoform_train.study.quickstart_box import Start
from echoform_train.study.quickstart_time import FIXED_S, VALIDATED, Speed, Work, measure, time_line

WORK = Work(recordings=80, first_stage=20_000, denoiser=24_000, generated=960, steps=8, judges=6, judge_images=12_000)
SPEED = Speed(
    recording_s=0.5,
    first_stage_s=0.01,
    denoiser_s=0.02,
    pass_s=0.001,
    decoding_s=0.002,
    judge_s=0.001,
    texture_s=0.002,
)


def test_the_time_is_that_of_each_step_times_their_number():
    trainings = 20_000 * 0.01 + 24_000 * 0.02
    judging = 6 * 12_000 * 0.001 + 4 * 6_400 * 0.002  # three pairs and the floor
    expected = FIXED_S + 80 * 0.5 + VALIDATED * trainings + 960 * (8 * 0.001 + 0.002) + judging
    assert SPEED.seconds(WORK) == pytest.approx(expected)


def test_the_line_names_the_cost_of_training_from_scratch():
    shorter = replace(WORK, first_stage=0, denoiser=0)
    assert time_line(SPEED, shorter, WORK).endswith("this takes about 4 minutes (with --from-scratch 17 minutes)")
    assert time_line(SPEED, WORK, None).endswith("this takes about 17 minutes")


def test_every_kind_of_work_is_timed_and_random_numbers_stay(tmp_path: Path):
    config = quickstart.Config(output_dir=tmp_path, resolution=32)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    simulation = replace(quickstart._simulation(config), recording_s=4.0, body="ellipsoids")
    vq_vae, ldm = quickstart._vq_vae(config, "data"), quickstart._ldm(config, "data", Start(None, ""))
    speed = measure(simulation, vq_vae, ldm, users=3)
    assert torch.equal(torch.rand(3), expected)
    assert min(vars(speed).values()) > 0
    pixels = measure(simulation, None, replace(ldm, first_stage="none"), users=3)
    assert pixels.first_stage_s == pixels.decoding_s == 0
