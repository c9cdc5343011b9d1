"""Stages of a long study: each is skipped while its inputs stay as they were, and goes on where it was interrupted."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

import echoform
from echoform_train.data.spectrograms import Spectrograms
from echoform_train.report.page import duration

STATE = "stage.json"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage that is over."""

    name: str
    folder: Path
    """Where its files lie."""
    key: str
    """Hash of its inputs; a stage that builds on this one takes it among its own."""
    facts: dict[str, Any]
    """What making it returned."""
    seconds: float
    """Time that making it took, all attempts together."""
    cpu_seconds: float
    """Processor time of the same, processes that it started counted in."""
    skipped: bool
    """Whether it was found made."""


class Stages:
    """The stages of one study, a folder each below `root`.

    A stage is made again when the hash of its inputs has changed, or when one of its files is missing or has another
    size than when it was finished. While it has not, an interrupted stage gets its folder back as it left it.

    Args:
        root: Folder of the stages.
        total: How many there will be, for the lines that are printed. None in one process of several that make stages:
            it numbers none, and is silent about those that it finds made.
    """

    def __init__(self, root: Path, total: int | None) -> None:
        self.root, self.total = root, total
        self.done: list[Stage] = []

    def run(
        self,
        name: str,
        inputs: Mapping[str, Any],
        make: Callable[[Path], dict[str, Any]],
        *,
        output: Path | None = None,
    ) -> Stage:
        """Make a stage, or find it made, and print one line about it.

        Args:
            name: Of the stage and of its folder.
            inputs: JSON-able: the settings that it depends on, hashes of the content that it reads (`content_hash`)
                and the keys of the stages that it builds on. The version of echoform counts as one more.
            make: Gets the folder of the stage, which holds what an interrupted attempt left there, and returns
                JSON-able facts; "summary" among them is the line to print.
            output: A folder outside of `root` that the stage fills instead of its own.

        Raises:
            ValueError: If a folder to fill holds something that no stage made.
        """
        folder, state_file = self.root / name, self.root / name / STATE
        filled = output or folder
        state = _read_state(state_file)
        hashes = {key: _hash_of(value) for key, value in (dict(inputs) | {"version": echoform.__version__}).items()}
        key = _hash_of([name, hashes])
        where = name if self.total is None else f"[{len(self.done) + 1}/{self.total}] {name}"
        if state is None and filled.is_dir() and any(filled.iterdir()):
            raise ValueError(f"a stage must begin with an empty folder, {filled} holds what no earlier study made")
        if state is not None and state["key"] == key and state["finished"] and _is_whole(filled, state["files"]):
            stage = Stage(name=name, folder=filled, skipped=True, **_public(state))
            if self.total is not None:
                print(f"{where}: {stage.facts['summary']} (made before in {duration(stage.seconds)})", flush=True)
            self.done.append(stage)
            return stage
        if state is not None and (state["key"] != key or state["finished"]):
            print(f"{where} is made anew, {_reason(state, hashes)}", flush=True)
            shutil.rmtree(folder)
            shutil.rmtree(filled, ignore_errors=True)
            state = None
        elif state is not None:
            print(f"{where} goes on after {duration(state['seconds'])}", flush=True)
        else:
            print(f"{where} begins", flush=True)
        state = state or {"key": key, "hashes": hashes, "finished": False, "seconds": 0.0, "cpu_seconds": 0.0}
        folder.mkdir(parents=True, exist_ok=True)
        write_json(state_file, state)
        with _timed(state, state_file):
            facts = make(filled)
        state |= {"finished": True, "facts": facts, "files": _sizes(filled)}
        write_json(state_file, state)
        stage = Stage(name=name, folder=filled, skipped=False, **_public(state))
        print(f"{where}: {facts['summary']} ({duration(stage.seconds)})", flush=True)
        self.done.append(stage)
        return stage


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that the file is, at any moment, either as it was or whole."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write safetensors so that the file is, at any moment, either as it was or whole."""
    partial = path.with_name(f".{path.name}.partial")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial)
    partial.replace(path)


def content_hash(images: Spectrograms) -> str:
    """sha256, in hex, of everything that is known of the images, their pixels first."""
    digest = hashlib.sha256()
    tensors = {"pixels": images.pixels, "users": images.users, **dict(sorted(images.conditions.items()))}
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
    digest.update(json.dumps([images.files, images.recordings, images.starts_s]).encode())
    return digest.hexdigest()


def folder_hash(folder: Path) -> str:
    """sha256, in hex, of the names and bytes of the files of a folder, hidden ones and Markdown left out."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and path.suffix != ".md" and not any(part.startswith(".") for part in name.parts):
            digest.update(f"{name.as_posix()} {path.stat().st_size}\n".encode())
            with path.open("rb") as file:
                while part := file.read(1 << 20):
                    digest.update(part)
    return digest.hexdigest()


@contextmanager
def _timed(state: dict[str, Any], state_file: Path) -> Iterator[None]:
    """Add the time that the block takes to the state, also where it is interrupted."""
    wall_s, cpu_s = time.perf_counter(), _cpu_seconds()
    try:
        yield
    finally:
        state["seconds"] += time.perf_counter() - wall_s
        state["cpu_seconds"] += _cpu_seconds() - cpu_s
        write_json(state_file, state)


def _cpu_seconds() -> float:
    """Processor time of this process and of the children that it waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _read_state(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _public(state: dict[str, Any]) -> dict[str, Any]:
    return {name: state[name] for name in ("key", "facts", "seconds", "cpu_seconds")}


def _hash_of(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _sizes(folder: Path) -> dict[str, int]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != STATE and path.name[0] != "."]
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def _is_whole(folder: Path, sizes: dict[str, int]) -> bool:
    return all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in sizes.items())


def _reason(state: dict[str, Any], hashes: dict[str, str]) -> str:
    changed = sorted(name for name in {*hashes, *state["hashes"]} if hashes.get(name) != state["hashes"].get(name))
    return f"because of another {' and '.join(changed)}" if changed else "because a file of it is gone or changed"
