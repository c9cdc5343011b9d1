"""What gpu.py has measured so far: one record per part, in a file that is written after each."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from functools import lru_cache
from importlib.metadata import packages_distributions
from typing import Any

import torch
from gpu_config import Config, Part
from gpu_tables import gpu_tables
from record import machine, plain, write_results

from echoform_train.engine.json_files import read_json_object, write_json
from echoform_train.engine.provenance import provenance

UNMEASURED = "not measured: no GPU was at hand"
"""Origin of a file without records."""


class Ledger:
    """Records by name of the part, read from `config.output` if a run wrote it before."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.records: dict[str, dict[str, Any]] = {}
        if config.output.is_file():
            self.records = read_json_object(config.output).get("parts", {})

    def missing(self, parts: Sequence[Part]) -> list[Part]:
        """Parts without a record, in their order: also those whose folder is gone and is needed by one of these."""
        chosen: dict[str, Part] = {}
        # A part comes after those that it needs, so that the last ones are decided first.
        for part in reversed(parts):
            is_used = any(part.name in one.needs for one in chosen.values())
            is_gone = part.makes is not None and not part.makes.exists()
            if not self._has(part) or (is_used and is_gone):
                chosen[part.name] = part
        return [part for part in parts if part.name in chosen]

    def add(self, part: Part, facts: dict[str, Any], seconds: float) -> None:
        """Keep what a part measured, with its commit and settings, and write the file."""
        where = provenance()
        self.records[part.name] = {
            **facts,
            "seconds": seconds,
            "date": datetime.now(timezone.utc).date().isoformat(),
            "commit": where["commit"],
            "sources": where["sources"],
            "versions": where["versions"],
            "device": device_name(self.config),
            "settings": self._settings(part),
        }
        self.write()

    def write(self) -> None:
        """Write the file, which tells of each table what was not measured."""
        tables = gpu_tables(self.records, self.config)
        if not self.records:
            self.config.output.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.config.output, {"origin": UNMEASURED, "commit": None, "parts": {}, "tables": tables})
            return
        about = {"parts": self.records, "gpu_memory_gib": memory_gib(), "imports": imported_packages()}
        write_results(self.config, about, tables)

    def _has(self, part: Part) -> bool:
        record = self.records.get(part.name)
        if record is None or "error" in record:
            return False
        return record["settings"] == self._settings(part) and record["device"] == device_name(self.config)

    def _settings(self, part: Part) -> dict[str, Any]:
        every = asdict(self.config)
        return {name: plain(every[name]) for name in part.settings}


def device_name(config: Config) -> str:
    """The GPU, or the processor with --device cpu."""
    return torch.cuda.get_device_name() if config.device == "cuda" else machine()["processor"]


def memory_gib() -> float | None:
    """Memory of the GPU in GiB, if there is one."""
    return torch.cuda.get_device_properties(0).total_memory / 2**30 if torch.cuda.is_available() else None


def imported_packages() -> list[str]:
    """Distributions that the process has imported, apart from our own and the standard library."""
    owners = _owners()
    modules = {name.partition(".")[0] for name in sys.modules}
    return sorted({owner for name in modules for owner in owners.get(name, ()) if owner != "echoform"})


@lru_cache(maxsize=1)
def _owners() -> Mapping[str, list[str]]:
    return packages_distributions()
