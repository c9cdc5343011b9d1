"""Timing for benchmarks: calls take turns, so that other work on the machine slows all of them alike."""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

Maker = Callable[[], Callable[[], Any]]
"""Builds a model and its inputs, and returns the call to be timed."""

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


def measure(makers: Mapping[str, Maker], repeats: int) -> dict[str, dict[str, Any]]:
    """Build each call, call it once as warm-up, then time all of them in turns.

    Args:
        makers: By name.
        repeats: Timings of each.

    Returns:
        By name: medians `wall_s` (wall clock) and `cpu_s` (processor time of all threads), `wall_s_each` with every
        timing, `gflop` of the convolutions, matrix products and attentions of one call, and `peak_mib`, the memory that
        building and the first call needed in addition to what was in use (on a GPU what torch allocated; None where
        the system does not report it).
    """
    calls: dict[str, Callable[[], Any]] = {}
    results: dict[str, dict[str, Any]] = {}
    # The first call of each warms up caches, and is the one whose memory and operations are counted.
    for name, make in makers.items():
        before = _reset_peak()
        calls[name] = make()
        counter = FlopCounterMode(display=False)
        with counter:
            calls[name]()
        peak = _peak()
        mib = None if peak is None or before is None else (peak - before) / 2**20
        results[name] = {"gflop": counter.get_total_flops() / 1e9, "peak_mib": mib}
    # Medians, because a single timing may have caught other work of the machine.
    for name, each in in_turns(calls, repeats).items():
        results[name] |= {
            "wall_s": statistics.median(wall_s for wall_s, _ in each),
            "cpu_s": statistics.median(cpu_s for _, cpu_s in each),
            "wall_s_each": [wall_s for wall_s, _ in each],
        }
    return results


def in_turns(calls: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Wall-clock and processor seconds, (wall_s, cpu_s), of each call in each of `repeats` rounds."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            _synchronize()
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            call()
            _synchronize()
            seconds[name].append((time.perf_counter() - wall_s, time.process_time() - cpu_s))
    return seconds


def gemm_gflop_per_s(dtype: torch.dtype, repeats: int = 5) -> float:
    """Speed of a square matrix product on this machine, in 1e9 operations per second, from the fastest repeat.

    On a CPU processor time is used, divided by the number of threads, because other processes do not lengthen it.
    """
    device, side = ("cuda", 8192) if torch.cuda.is_available() else ("cpu", 2048)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = {"product": lambda: a @ b}
    in_turns(product, 1)
    each = in_turns(product, repeats)["product"]
    fastest_s = min(wall_s if device == "cuda" else cpu_s / torch.get_num_threads() for wall_s, cpu_s in each)
    return 2 * side**3 / fastest_s / 1e9


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _reset_peak() -> int | None:
    """Reset the peak of memory, and return the bytes in use now; None where the system does not report them."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    if not _CLEAR_REFS.exists():
        return None
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)  # else memory that earlier calls freed would be reused without showing in the peak
    _CLEAR_REFS.write_text("5")
    return _status_bytes("VmRSS")


def _peak() -> int | None:
    """Peak of memory since `_reset_peak`, in bytes."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return _status_bytes("VmHWM") if _STATUS.exists() else None


def _status_bytes(name: str) -> int:
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return 1024 * int(lines[name].split()[0])
