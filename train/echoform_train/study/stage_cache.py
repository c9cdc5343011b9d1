"""Cache of the stages of a study: a stage with unchanged inputs is skipped, and an interrupted one is continued."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypedDict, TypeVar

import echoform
from echoform_train.engine.errors import UserError
from echoform_train.engine.json_files import read_json_object, write_json
from echoform_train.report.page import duration

STATE = "stage.json"


class StageFacts(TypedDict):
    """JSON-able results of a stage; every stage adds its own keys."""

    summary: str
    """One line on the result, to print."""


FactsT = TypeVar("FactsT", bound=StageFacts)
MadeT = TypeVar("MadeT", bound=StageFacts, covariant=True)


class Stage(Protocol[MadeT]):
    """One step of a study."""

    @property
    def name(self) -> str:
        """Name of the stage and of its folder."""
        ...

    def inputs(self) -> dict[str, Any]:
        """Everything that the result depends on, JSON-able; the key of a changed input is printed.

        Settings are given as values, images by their `content_hash`, and other stages by their `key`.
        """
        ...

    def make(self, folder: Path) -> MadeT:
        """Fill the folder, which may hold files of an interrupted attempt, and return facts."""
        ...


@dataclass(frozen=True, kw_only=True)
class FinishedStage(Generic[FactsT]):
    """A finished stage."""

    name: str
    folder: Path
    """Folder of its files."""
    key: str
    """Hash of its inputs; stages that depend on this stage have the key among their inputs."""
    facts: FactsT
    seconds: float
    """Wall-clock time of all attempts together."""
    cpu_seconds: float
    """Processor time of all attempts together, including child processes."""
    skipped: bool
    """Whether it was already finished before this run."""


@dataclass
class _State:
    """Content of stage.json."""

    key: str
    hashes: dict[str, str]
    """Hash of each input."""
    finished: bool = False
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    facts: Any = None
    """Facts of a finished stage."""
    files: dict[str, int] = field(default_factory=dict)
    """Sizes of the files of a finished stage, bytes."""


class StageCache:
    """The stages of one study, each in a folder below `root`.

    A stage is made again if the hash of its inputs has changed, or if one of its files is missing or has another size
    than when it was finished. An interrupted stage with unchanged inputs continues with the files in its folder.

    Args:
        root: Folder of the stages.
        total: Number of stages, for the printed lines. None in a parallel process, which prints no numbers, and nothing
            about stages that were finished before.
    """

    def __init__(self, root: Path, total: int | None) -> None:
        self.root, self.total = root, total
        self.done: list[FinishedStage[Any]] = []

    def run(self, stage: Stage[FactsT], *, output: Path | None = None) -> FinishedStage[FactsT]:
        """Make a stage, or read the facts of a stage that was made before, and print one line about it.

        Args:
            stage: The stage. The version of echoform is added to its inputs.
            output: Folder outside of `root` that the stage fills instead of its own.

        Raises:
            ValueError: If a folder to fill holds files that no stage made.
        """
        own_folder = self.root / stage.name
        folder = output or own_folder
        # Each input has its own hash, so that a changed input can be named.
        inputs = {**stage.inputs(), "version": echoform.__version__}
        hashes = {name: _hash_of(value) for name, value in inputs.items()}
        key = _hash_of([stage.name, hashes])
        state = _read_state(own_folder / STATE)
        if state is None and folder.is_dir() and any(folder.iterdir()):
            raise UserError(f"a stage must begin with an empty folder, {folder} holds files that no study made")

        # Read a finished stage with the same key, continue an interrupted one, and make any other from the beginning.
        label = stage.name if self.total is None else f"[{len(self.done) + 1}/{self.total}] {stage.name}"
        skipped = state is not None and _is_valid(state, key, folder)
        if state is None or not skipped:
            state = _continue_or_begin(state, key, hashes, {own_folder, folder}, label)
            _make(stage, folder, state, own_folder / STATE)
        finished = FinishedStage(
            name=stage.name,
            folder=folder,
            key=key,
            facts=state.facts,
            seconds=state.seconds,
            cpu_seconds=state.cpu_seconds,
            skipped=skipped,
        )
        if not skipped or self.total is not None:
            taken = f"{'made before in ' if skipped else ''}{duration(finished.seconds)}"
            print(f"{label}: {finished.facts['summary']} ({taken})", flush=True)
        self.done.append(finished)
        return finished


def _is_valid(state: _State, key: str, folder: Path) -> bool:
    """Whether the stage was finished with these inputs, and all its files exist unchanged."""
    files = {folder / name: size for name, size in state.files.items()}
    is_whole = all(path.is_file() and path.stat().st_size == size for path, size in files.items())
    return state.key == key and state.finished and is_whole


def _continue_or_begin(
    state: _State | None, key: str, hashes: dict[str, str], folders: set[Path], label: str
) -> _State:
    """State of an interrupted attempt with the same inputs, or a new one; the folders of other attempts are removed."""
    if state is not None and state.key == key and not state.finished:
        print(f"{label} goes on after {duration(state.seconds)}", flush=True)
        return state
    if state is None:
        print(f"{label} begins", flush=True)
    else:
        print(f"{label} is made anew, {_reason(state, hashes)}", flush=True)
        for folder in folders:
            if folder.is_dir():
                shutil.rmtree(folder)
    return _State(key, hashes)


def _reason(state: _State, hashes: dict[str, str]) -> str:
    changed = sorted(name for name in {*hashes, *state.hashes} if hashes.get(name) != state.hashes.get(name))
    return f"because of changed inputs: {', '.join(changed)}" if changed else "because a file of it is gone or changed"


def _make(stage: Stage[StageFacts], folder: Path, state: _State, state_file: Path) -> None:
    """Make the stage; write its state before and after."""
    state_file.parent.mkdir(parents=True, exist_ok=True)
    write_json(state_file, asdict(state))
    with _timed(state, state_file):
        facts = stage.make(folder)
    state.finished, state.facts, state.files = True, facts, _sizes(folder)
    write_json(state_file, asdict(state))


@contextmanager
def _timed(state: _State, state_file: Path) -> Iterator[None]:
    """Add the time that the block takes to the state, even if it is interrupted."""
    wall_s, cpu_s = time.perf_counter(), _cpu_seconds()
    try:
        yield
    finally:
        state.seconds += time.perf_counter() - wall_s
        state.cpu_seconds += _cpu_seconds() - cpu_s
        write_json(state_file, asdict(state))


def _cpu_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _read_state(path: Path) -> _State | None:
    return _State(**read_json_object(path)) if path.is_file() else None


def _hash_of(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _sizes(folder: Path) -> dict[str, int]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != STATE and path.name[0] != "."]
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
