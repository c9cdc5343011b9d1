"""The precision is measured, once, and leaves no trace."""

from __future__ import annotations

import pytest
import torch

from echoform_train.engine import precision


@pytest.fixture(autouse=True)
def forget():
    precision.cpu_bf16_gain.cache_clear()
    yield
    precision.cpu_bf16_gain.cache_clear()


def test_bf16_is_chosen_exactly_where_it_wins_clearly(monkeypatch):
    for gain, expected in ((0.4, None), (1.1, None), (2.0, torch.bfloat16)):
        monkeypatch.setattr(precision, "cpu_bf16_gain", lambda gain=gain: gain)
        assert precision.autocast_dtype("cpu") is expected
    monkeypatch.undo()


def test_measuring_happens_once_and_leaves_randomness_and_threads_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    threads = torch.get_num_threads()
    gain = precision.cpu_bf16_gain()
    assert torch.equal(torch.rand(2), expected)
    assert torch.get_num_threads() == threads
    assert gain > 0
    assert precision.cpu_bf16_gain() == gain
    assert precision.cpu_bf16_gain.cache_info().misses == 1


def test_measuring_works_where_gradients_are_off():
    with torch.no_grad():
        assert precision.cpu_bf16_gain() > 0


def test_devices_that_are_not_measured_stay_in_float32():
    assert precision.autocast_dtype("mps") is None
