"""Writes what a benchmark measured to benchmarks/results/, with its command, commit, versions, machine and date."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from tables import Table, markdown

from echoform_train.engine.json_files import write_json
from echoform_train.engine.provenance import provenance

CPUINFO = Path("/proc/cpuinfo")
INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
"""Extensions of x86 processors that decide how fast torch computes, as /proc/cpuinfo names them."""


def write_results(path: Path, facts: Mapping[str, Any], tables: Mapping[str, Table] | None = None) -> None:
    """Write what a run measured, and where it comes from.

    Args:
        path: JSON file to write.
        facts: All measured numbers.
        tables: By name, those that pages publish.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    where = {
        "origin": "written by the run",
        "date": datetime.now(timezone.utc).date().isoformat(),
        **provenance(),
        "machine": machine(),
    }
    write_json(path, {**where, **facts, "tables": tables or {}})


def print_tables(tables: Mapping[str, Table]) -> None:
    """Print tables in Markdown, as pages show them."""
    print("\n".join(markdown(table) for table in tables.values()))


def machine() -> dict[str, Any]:
    """Processor, cores, threads of torch, instruction sets, GPU and load of this machine.

    The load is that of all processes: timings mean something only where it is not above the number of threads.
    """
    lines = CPUINFO.read_text().splitlines() if CPUINFO.is_file() else []
    about = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = set(about.get("flags", "").split())
    return {
        "processor": about.get("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instruction_sets": [name for name in INSTRUCTION_SETS if name in flags],
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }
