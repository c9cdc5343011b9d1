"""The precision follows from what the CPU has, whatever else the machine is doing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from echoform_train.engine import precision


def has(monkeypatch, *, capability: str = "AVX512", avx512_bf16: bool = False, amx: bool = False) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)


def test_bf16_is_chosen_exactly_where_the_cpu_has_instructions_for_it(monkeypatch):
    for avx512_bf16, amx, expected in (
        (False, False, None),
        (True, False, torch.bfloat16),
        (False, True, torch.bfloat16),
        (True, True, torch.bfloat16),
    ):
        has(monkeypatch, avx512_bf16=avx512_bf16, amx=amx)
        assert precision.autocast_dtype("cpu") is expected


@pytest.mark.parametrize("capability", ["DEFAULT", "AVX2", "NO AVX", "SVE256"])
def test_bf16_is_not_chosen_where_torch_is_kept_from_avx512(capability, monkeypatch):
    has(monkeypatch, capability=capability, avx512_bf16=True, amx=True)
    assert precision.autocast_dtype("cpu") is None


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("AVX2", None),
        ("avx512_core", None),
        ("AVX512_CORE_VNNI", None),
        ("AVX512_CORE_BF16", torch.bfloat16),
        ("AVX512_CORE_AMX", torch.bfloat16),
        ("DEFAULT", torch.bfloat16),
        ("ALL", torch.bfloat16),
    ],
)
def test_bf16_is_not_chosen_where_onednn_is_kept_from_its_instructions(limit, expected, monkeypatch):
    has(monkeypatch, avx512_bf16=True)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert precision.autocast_dtype("cpu") is expected


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/cpuinfo")
def test_the_choice_is_that_of_the_flags_in_cpuinfo():
    flags = Path("/proc/cpuinfo").read_text().split()
    script = "from echoform_train.engine.precision import autocast_dtype; print(autocast_dtype('cpu'))"
    limits = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
    environment = {name: value for name, value in os.environ.items() if name not in limits}
    chosen = subprocess.check_output([sys.executable, "-c", script], env=environment, text=True).strip()
    expected = "avx512f" in flags and ("avx512_bf16" in flags or "amx_bf16" in flags)
    assert chosen == ("torch.bfloat16" if expected else "None")


def test_nothing_is_timed(monkeypatch):
    for clock in ("time", "perf_counter", "monotonic", "thread_time", "process_time"):
        monkeypatch.setattr(time, clock, lambda: pytest.fail("a clock was read"))
    precision.autocast_dtype("cpu")


def test_devices_other_than_cpu_and_cuda_stay_in_float32():
    assert precision.autocast_dtype("mps") is None
