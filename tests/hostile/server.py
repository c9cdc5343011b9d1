"""A process that has imported all commands once, and forks a process for each row: importing takes seconds.

Reads one request per line from stdin, JSON {"row", "words", "place"}, and answers each on stdout with JSON
{"status", "seconds", "mib", "killed"}. The folder `place` holds cwd, home and tmp, and gets stdout and stderr.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

from echoform_train import cli, commands
from hostile.corpus import MAX_MIB, MAX_SECONDS, Door, all_rows

ROOT = Path(__file__).parents[2]
_OURS = tuple(str(ROOT / folder) + os.sep for folder in ("pipelines", "train", "hub_cards", "space_app"))


def main() -> None:
    """Import everything, say so, and answer requests until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what imports print is no answer
    for module, _ in commands.VERBS.values():
        import_module(f"echoform_train.{module}")
    import_module("echoform.hub")
    import_module("tyro")
    rows = all_rows()
    gc.collect()
    gc.freeze()
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        place = Path(request["place"])
        pid = os.fork()
        if pid == 0:
            _child(rows[request["row"]].door, request["words"], place)
        print(json.dumps(_watch(pid)), file=answers, flush=True)


def _watch(pid: int) -> dict[str, Any]:
    """Wait for a child; kill it and its own children where it takes too long or too much."""
    start, killed, most_mib, pause_s = time.monotonic(), None, 0.0, 0.002
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            break
        most_mib = max(most_mib, _resident_mib(pid))
        if killed is None and time.monotonic() - start > MAX_SECONDS:
            killed = f"it took more than {MAX_SECONDS} s"
        if killed is None and most_mib > MAX_MIB:
            killed = f"it took more than {MAX_MIB} MiB"
        if killed:
            _kill_group(pid)
        time.sleep(pause_s)
        pause_s = min(0.02, pause_s * 1.2)
    _kill_group(pid)  # what it left running
    return {
        "status": os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - start,
        "mib": max(most_mib, usage.ru_maxrss / 1024),
        "killed": killed,
    }


def _resident_mib(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):  # it has ended, or the system has no /proc
        return 0.0
    return pages * resource.getpagesize() / 2**20


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _child(door: Door, words: list[str], place: Path) -> None:
    """Run one row in this process, and end it."""
    status = 1
    try:
        os.setsid()
        os.chdir(place / "cwd")
        os.environ |= {"HOME": str(place / "home"), "TMPDIR": str(place / "tmp"), "COLUMNS": "200"}
        tempfile.tempdir = None
        for descriptor, name in ((0, os.devnull), (1, place / "stdout"), (2, place / "stderr")):
            opened = os.open(name, os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(opened, descriptor)
        status = _enter(door, words)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _enter(door: Door, words: list[str]) -> int:
    """Call the program, or the function; its exit status."""
    try:
        if isinstance(door, str):
            cli.main(words)
        else:
            door(words)
    except SystemExit as exit_:
        if exit_.code is None or isinstance(exit_.code, int):
            return exit_.code or 0
        print(exit_.code, file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        if isinstance(door, str) or not _is_ours(error):
            raise
        print(error, file=sys.stderr)
        return 1
    return 0


def _is_ours(error: Exception) -> bool:
    """Whether a line of ours raised it, or the system, about a file that it names."""
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    return last.startswith(_OURS) or (isinstance(error, OSError) and error.filename is not None)


if __name__ == "__main__":
    main()
