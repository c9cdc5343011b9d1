"""Writes what a benchmark measured to benchmarks/results/, with its command, commit, versions, machine and date."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from tables import Table, markdown

from echoform_train.engine.json_files import write_json
from echoform_train.engine.provenance import provenance

CPUINFO = Path("/proc/cpuinfo")
INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
"""Extensions of x86 processors that decide how fast torch computes, as /proc/cpuinfo names them."""


class Settings(Protocol):
    """Settings of a benchmark, a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def output(self) -> Path:
        """JSON file to write."""
        ...


def write_results(config: Settings, facts: Mapping[str, Any], tables: Mapping[str, Table] | None = None) -> None:
    """Write what a run measured to `config.output`, with its settings and where it comes from.

    Args:
        config: Settings of the run; of paths only the names are written, because files are public.
        facts: All measured numbers.
        tables: By name, those that pages publish.
    """
    config.output.parent.mkdir(parents=True, exist_ok=True)
    where = {
        "origin": "written by the run",
        "date": datetime.now(timezone.utc).date().isoformat(),
        **provenance(),
        "machine": machine(),
        "settings": {key: plain(value) for key, value in asdict(config).items() if key != "output"},
    }
    write_json(config.output, {**where, **facts, "tables": tables or {}})


def plain(value: Any) -> Any:
    """A setting as JSON."""
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    is_path = isinstance(value, Path) or (isinstance(value, str) and Path(value).is_absolute())
    return Path(value).name if is_path else value


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
