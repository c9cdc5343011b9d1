"""Each hostile input is answered with one sentence, quickly, in little memory, and leaves no trace; see corpus.py."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hostile.corpus import MAX_CHARACTERS, MAX_LINES, MAX_MIB, Row, all_rows

ROWS = all_rows()
_TESTS = Path(__file__).parents[1]


class Server:
    """The process that forks one for each row, see server.py."""

    def __init__(self, errors: Path) -> None:
        environment = os.environ | {
            "PYTHONPATH": str(_TESTS),
            "ACCELERATE_USE_CPU": "true",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "TERM": "dumb",
            # A port that refuses connections: other tests may have started a Hub at the usual one.
            "HF_ENDPOINT": "http://127.0.0.1:9",
        }
        environment.pop("ECHOFORM_TRACEBACK", None)
        self._errors = errors
        with errors.open("w") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "hostile.server"],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
            )
        self._line()

    def run(self, key: str, words: list[str], place: Path) -> dict[str, Any]:
        """Run a row; its exit status, seconds, memory and why it was killed."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"row": key, "words": words, "place": str(place)}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._line())

    def close(self) -> None:
        """End the process."""
        with self._process:
            self._process.kill()

    def _line(self) -> str:
        """The next line of the process; it has none where it ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.close()
            pytest.fail(f"the server ended: {self._errors.read_text()[-3000:]}")
        return line


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("hostile") / "server.txt")
    yield server
    server.close()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where the input lies: some folders deep, so that what climbs out of it is still seen."""
    folder = tmp_path / "outside" / "below" / "row"
    folder.mkdir(parents=True)
    yield folder
    # Also what is unreadable, or nested deeper than Python removes.
    subprocess.run(["chmod", "-R", "u+rwX", str(tmp_path)], check=True)
    subprocess.run(["rm", "-rf", str(tmp_path / "outside")], check=True)


@pytest.mark.parametrize("key", ROWS)
def test_hostile_input_gets_one_sentence(key: str, server: Server, folder: Path, tmp_path: Path) -> None:
    for name in ("cwd", "home", "tmp"):
        (tmp_path / name).mkdir()
    words = ROWS[key].make(folder)
    before = _contents(tmp_path, folder)

    outcome = server.run(key, words, tmp_path)
    written = {name: (tmp_path / name).read_text(encoding="utf-8", errors="replace") for name in ("stdout", "stderr")}

    after = _contents(tmp_path, folder)
    _check(ROWS[key], words, outcome, **written)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    assert not changed, f"written outside of the row's folder: {changed}"


def test_the_corpus_is_large_and_comes_in_at_many_doors() -> None:
    assert len(ROWS) >= 300
    doors = {row.door if isinstance(row.door, str) else "python" for row in ROWS.values()}
    assert {"prepare", "prepare-depth", "simulate", "encode", "augment", "quickstart", "python"} <= doors


def _check(row: Row, words: list[str], outcome: dict[str, Any], stdout: str, stderr: str) -> None:
    if isinstance(row.door, str):
        assert words[: len(row.door.split())] == row.door.split(), "the words must begin with those of the door"
    tail = stderr[-3000:]
    assert outcome["killed"] is None, f"{outcome['killed']}; {tail}"
    assert outcome["mib"] <= MAX_MIB, f"it took {outcome['mib']:.0f} MiB; {tail}"
    assert "Traceback" not in stderr, tail
    assert outcome["status"] in ({0} if row.accepted else {1, 2}), (
        f"exit status {outcome['status']}; {stdout[-500:]} {tail}"
    )
    assert re.search(row.expected, stdout if row.accepted else stderr), f"no {row.expected!r} in {stdout[-500:]} {tail}"
    # A flag that the parser refuses is answered in a box with a hint.
    most = MAX_LINES if outcome["status"] < 2 else 12
    lines = [line for line in stderr.splitlines() if not line.startswith("skipped ")]
    assert len(lines) <= most and sum(map(len, lines)) <= MAX_CHARACTERS, f"no short sentence: {tail}"


def _contents(parent: Path, folder: Path) -> dict[str, str]:
    """Kind and content of everything below `parent` but the row's folder and what it wrote to stdout and stderr."""
    found = {}
    for top, folders, files in os.walk(parent):
        if Path(top) == folder:
            folders.clear()
            continue
        for name in [*folders, *files]:
            path = Path(top, name)
            if path not in (parent / "stdout", parent / "stderr"):
                is_file = path.is_file() and not path.is_symlink()
                digest = hashlib.sha256(path.read_bytes()).hexdigest() if is_file else ""
                found[path.relative_to(parent).as_posix()] = f"{path.lstat().st_mode:o} {digest}"
    return found
