"""Provenance of a number: command, commit, versions and machine, for cards, reports and benchmark tables."""

from __future__ import annotations

import platform
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import echoform


def provenance() -> dict[str, Any]:
    """Command, commit, versions and machine of this process, JSON-able."""
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *map(_without_folder, _without_tokens(sys.argv[1:]))]),
        "commit": _commit(),
        "versions": {
            "echoform": echoform.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "diffusers", "accelerate")},
        },
        "machine": machine(),
    }


def machine() -> str:
    """The GPU or processor that trains, for example `2 x NVIDIA H100` or `4 cores of AMD EPYC`."""
    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    threads = torch.get_num_threads()
    return f"{threads} core{'s' if threads > 1 else ''} of {_processor()}"


def _without_folder(argument: str) -> str:
    """The argument with an absolute path shortened to its last part: cards are public, folders of a machine are not."""
    flag, sign, value = argument.rpartition("=")
    return f"{flag}{sign}{Path(value).name}" if Path(value).is_absolute() else argument


def _without_tokens(arguments: list[str]) -> list[str]:
    """The arguments without Hub tokens: cards and facts are public."""
    kept: list[str] = []
    secret_follows = False
    for argument in arguments:
        is_flag = re.match(r"--(\w+-)*token(=|$)", argument.replace("_", "-"))
        if not secret_follows and not is_flag:
            kept.append(argument)
        secret_follows = is_flag is not None and "=" not in argument
    return kept


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """Commit of the checkout that runs, with a + if files were changed; None outside a checkout."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
