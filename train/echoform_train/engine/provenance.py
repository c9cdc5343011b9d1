"""Provenance of a number: command, commit, versions and machine, for cards, reports and benchmark tables."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypedDict

import torch

import echoform

NO_COMMIT = "unknown commit"
"""Commit of a checkout that git gives no answer about."""


class CodeState(TypedDict):
    """State of the code that measured a number."""

    commit: str
    """Commit, with a + if files were changed; "release X" outside a checkout; or NO_COMMIT."""
    sources: str
    """First 12 digits of the sha256 of the Python files of our packages."""


def provenance() -> dict[str, Any]:
    """Command, commit, versions and machine of this process, JSON-able."""
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *map(_without_folder, _without_tokens(sys.argv[1:]))]),
        **code_state(),
        "versions": {
            "echoform": echoform.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "diffusers", "accelerate")},
        },
        "machine": machine(),
    }


def code_name(state: Mapping[str, Any]) -> str:
    """The state of the code in words, from `code_state` or `provenance`: "commit 0123456789ab"."""
    name = state["commit"] if " " in state["commit"] else f"commit {state['commit']}"
    # A commit alone tells which code ran; a changed checkout and a release do not.
    is_exact = " " not in state["commit"] and not state["commit"].endswith("+")
    return name if is_exact else f"{name} (sources {state['sources']})"


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


@lru_cache(maxsize=1)
def code_state() -> CodeState:
    """The code that this process runs: its commit or release, and a hash of its source files."""
    return {"commit": _commit(), "sources": _sources_hash()}


def _commit() -> str:
    """The commit if this file is tracked by a checkout, with a + if it was changed; else the release.

    The repository around an environment is not a checkout of echoform, even if the environment lies in it.
    """
    here = Path(__file__)
    tracked = _git("ls-files", "--error-unmatch", here.name)
    if tracked is not None and tracked.returncode == 0:
        head = _git("rev-parse", "--short=12", "HEAD")
        # Before its first commit a repository has no HEAD.
        if head is not None and head.returncode == 0:
            return head.stdout.strip() + ("+" if _is_changed() else "")
        return NO_COMMIT
    # git answers 1 for a file that it does not track; without any answer, a checkout must not pass for a release.
    is_untracked = tracked is not None and tracked.returncode == 1
    if not is_untracked and any((folder / ".git").exists() for folder in here.parents):
        return NO_COMMIT
    return f"release {echoform.__version__}"


def _is_changed() -> bool:
    """Whether a tracked file differs from HEAD, or a package of ours holds a Python file that is not tracked."""
    changed = _git("status", "--porcelain", "--untracked-files=no")
    untracked = [_git("ls-files", "--others", "--", f"{package}/*.py") for package in _packages()]
    return any(answer is None or answer.returncode != 0 or answer.stdout.strip() for answer in [changed, *untracked])


def _git(*arguments: str) -> subprocess.CompletedProcess[str] | None:
    """Answer of git in the folder of this file; None if git is not installed."""
    # Variables such as GIT_DIR, which hooks set, would name another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    except FileNotFoundError:
        return None


def _packages() -> list[Path]:
    """Folders of the packages whose code can change a number."""
    return [Path(echoform.__file__).parent, Path(__file__).parents[1]]


def _sources_hash() -> str:
    """First 12 digits of the sha256 of names and bytes of the Python files of our packages."""
    digest = hashlib.sha256()
    for package in _packages():
        for path in sorted(package.rglob("*.py")):
            digest.update(f"{package.name}/{path.relative_to(package).as_posix()} {path.stat().st_size}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
