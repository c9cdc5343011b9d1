"""Cache of the stages of a study: a stage with unchanged inputs is skipped, and an interrupted one is continued."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Generic, Protocol, TypedDict, TypeVar

import echoform
from echoform_train.engine.errors import UserError
from echoform_train.engine.hashes import json_hash
from echoform_train.engine.json_files import read_json_object, write_json
from echoform_train.engine.output_folders import differences, record_of
from echoform_train.engine.provenance import code_name, code_state, provenance
from echoform_train.report.page import duration
from echoform_train.study.stage_files import clear_folder, hash_files, is_unchanged

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
    made_by: list[dict[str, Any]]
    """Provenance of its attempts, oldest first; several if the code or the machine changed in between."""


@dataclass
class _State:
    """Content of stage.json."""

    key: str
    inputs: dict[str, Any]
    """Record of the inputs, see `record_of`."""
    finished: bool = False
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    facts: Any = None
    """Facts of a finished stage."""
    files: dict[str, str] = field(default_factory=dict)
    """sha256 of the files that the stage wrote, by path."""
    made_by: list[dict[str, Any]] = field(default_factory=list)
    """See `FinishedStage`."""


class StageCache:
    """The stages of one study, each in a folder below `root`.

    A stage is made again if its inputs have changed, or if one of its files is missing or has another content than
    when it was finished. An interrupted stage with unchanged inputs continues with the files in its folder. Files that
    the stage did not write are never removed.

    A stage that another state of the code has made is kept, and keeps the provenance of that code.

    Args:
        root: Folder of the stages.
        total: Number of stages, for the printed lines. None in a parallel process, which prints no numbers, and nothing
            about stages that were finished before.
    """

    def __init__(self, root: Path, total: int | None) -> None:
        self.root, self.total = root, total
        self.done: list[FinishedStage[Any]] = []

    def run(
        self, stage: Stage[FactsT], *, output: Path | None = None, changing: Collection[str] = ()
    ) -> FinishedStage[FactsT]:
        """Make a stage, or read the facts of a stage that was made before, and print one line about it.

        Args:
            stage: The stage. The version of echoform is added to its inputs.
            output: Folder outside of `root` that the stage fills instead of its own.
            changing: Names of files that may change when the stage is finished, such as the card of a model.

        Raises:
            ValueError: If a folder to fill holds files that no stage made.
        """
        own_folder = self.root / stage.name
        folder = output or own_folder
        inputs = record_of({**stage.inputs(), "version": echoform.__version__})
        key = json_hash([stage.name, inputs])
        state = _read_state(own_folder / STATE)
        if state is None and folder.is_dir() and any(folder.iterdir()):
            raise UserError(f"a stage must begin with an empty folder, {folder} holds files that no study made")

        # Read a finished stage with the same key, continue an interrupted one, and make any other from the beginning.
        label = stage.name if self.total is None else f"[{len(self.done) + 1}/{self.total}] {stage.name}"
        skipped = (
            state is not None and state.key == key and state.finished and is_unchanged(folder, state.files, changing)
        )
        if state is None or not skipped:
            state = _continue_or_begin(state, key, inputs, (folder, own_folder), label)
            _make(stage, folder, state, own_folder / STATE)
        finished = FinishedStage(
            name=stage.name,
            folder=folder,
            key=key,
            facts=state.facts,
            seconds=state.seconds,
            cpu_seconds=state.cpu_seconds,
            skipped=skipped,
            made_by=state.made_by,
        )
        if not skipped or self.total is not None:
            print(f"{label}: {finished.facts['summary']} ({_how_made(finished)})", flush=True)
        self.done.append(finished)
        return finished

    def record_files(self, stage: FinishedStage[Any]) -> None:
        """Count the files in the folder of a stage as written by it, after the caller has changed some of them."""
        path = self.root / stage.name / STATE
        write_json(path, read_json_object(path) | {"files": hash_files(stage.folder, except_for=(STATE,))})


def codes_of(stages: Sequence[FinishedStage[Any]]) -> list[str]:
    """The states of the code that made these stages, in words, each once."""
    return list(dict.fromkeys(code_name(attempt) for stage in stages for attempt in stage.made_by))


def note_on_codes(stages: Sequence[FinishedStage[Any]]) -> str | None:
    """A sentence for a report whose numbers were not all measured by the code that writes it; else None."""
    codes = codes_of(stages)
    now = code_name(code_state())
    if codes == [now]:
        return None
    by_code = "; ".join(
        f"{code}: {', '.join(stage.name for stage in stages if code in codes_of([stage]))}" for code in codes
    )
    return f"Not all numbers were measured by the code that wrote this report ({now}), but by {by_code}."


def _how_made(stage: FinishedStage[Any]) -> str:
    if not stage.skipped:
        return duration(stage.seconds)
    codes = codes_of([stage])
    by_others = "" if codes == [code_name(code_state())] else f" by other code, {', '.join(codes)}"
    return f"made before in {duration(stage.seconds)}{by_others}"


def _continue_or_begin(
    state: _State | None, key: str, inputs: dict[str, Any], folders: tuple[Path, Path], label: str
) -> _State:
    """State of an interrupted attempt with the same inputs, or a new one, for which the folders are cleared.

    Args:
        state: State of the last attempt; None if there was none.
        key: Key of the stage now.
        inputs: Its inputs now.
        folders: Folder to fill, and folder of the state; usually the same.
        label: Name of the stage, to print.
    """
    if state is not None and state.key == key and not state.finished:
        print(f"{label} goes on after {duration(state.seconds)}", flush=True)
        return state
    if state is None:
        print(f"{label} begins", flush=True)
        return _State(key, inputs)
    print(f"{label} is made anew, {_reason(state, inputs)}", flush=True)
    # The state goes last, so that an interruption in between is noticed by the next run.
    for folder in dict.fromkeys(folders):
        files = state.files if folder == folders[0] else {}
        if aside := clear_folder(folder, files, ours=(STATE,)):
            print(f"{label}: files in {folder} that are not as a stage wrote them are now in {aside}", flush=True)
    (folders[1] / STATE).unlink()
    return _State(key, inputs)


def _reason(state: _State, inputs: Mapping[str, Any]) -> str:
    changed = differences(state.inputs, inputs)
    return f"because of changed inputs: {changed}" if changed else "because a file of it is gone or changed"


def _make(stage: Stage[StageFacts], folder: Path, state: _State, state_file: Path) -> None:
    """Make the stage; write its state before and after."""
    state_file.parent.mkdir(parents=True, exist_ok=True)
    now = provenance()
    same = ("commit", "sources", "versions", "machine")
    if not any(all(attempt.get(name) == now[name] for name in same) for attempt in state.made_by):
        state.made_by.append(now)
    write_json(state_file, asdict(state))
    with _recorded(state, folder, state_file):
        facts = stage.make(folder)
        state.finished, state.facts = True, facts


@contextmanager
def _recorded(state: _State, folder: Path, state_file: Path) -> Iterator[None]:
    """Add time and files of the block to the state, even if it is interrupted, and write it."""
    wall_s, cpu_s = time.perf_counter(), _cpu_seconds()
    try:
        yield
    finally:
        state.seconds += time.perf_counter() - wall_s
        state.cpu_seconds += _cpu_seconds() - cpu_s
        state.files = hash_files(folder, except_for=(STATE,))
        write_json(state_file, asdict(state))


def _cpu_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _read_state(path: Path) -> _State | None:
    """The state of a stage; that of another version of echoform has no inputs and no files."""
    if not path.is_file():
        return None
    found = read_json_object(path)
    return _State(**found) if found.keys() == {each.name for each in fields(_State)} else _State("", {})
