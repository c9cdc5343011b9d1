"""Parallel jobs: all are done, an error is raised, and no process outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
import torch

from echoform_train.engine.parallel import run_in_processes

SCRIPT = """
import os, sys, time
from functools import partial
from pathlib import Path
from echoform_train.engine.parallel import run_in_processes

def hang(folder):
    (folder / "pid").write_text(str(os.getpid()))
    time.sleep(120)

if __name__ == "__main__":
    run_in_processes([partial(hang, Path(sys.argv[1]))], 2)
"""


def test_every_job_is_done_on_one_core_in_another_process_and_tensors_arrive_whole(tmp_path):
    # A new process can only call functions of a module that it can import.
    (tmp_path / "jobs.py").write_text(
        "import os, torch\n"
        "def write(folder, numbers):\n"
        "    text = f'{os.getpid()} {torch.get_num_threads()} {int(numbers.sum())}'\n"
        "    (folder / str(int(numbers[0]))).write_text(text)\n"
        "def fail(folder, numbers):\n"
        "    raise ValueError('numbers must be others')\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        import jobs  # type: ignore[import-not-found]

        run_in_processes([partial(jobs.write, tmp_path, torch.arange(k, k + 1_000)) for k in range(4)], workers=2)
        with pytest.raises(ValueError, match="numbers must be others"):
            run_in_processes([partial(jobs.fail, tmp_path, torch.arange(3))], workers=2)
    finally:
        sys.path.remove(str(tmp_path))
    written = [(tmp_path / str(k)).read_text().split() for k in range(4)]
    assert [int(total) for _, _, total in written] == [sum(range(k, k + 1_000)) for k in range(4)]
    assert {threads for _, threads, _ in written} == {"1"}
    processes = {int(pid) for pid, _, _ in written}
    assert len(processes) <= 2 and os.getpid() not in processes


def test_no_process_outlives_its_parent_even_if_that_is_killed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path)])
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert parent.poll() is None
        time.sleep(0.05)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 20
    while _runs(int((tmp_path / "pid").read_text())):
        assert time.monotonic() < deadline, "the process goes on without its parent"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    """Whether a process is there and has not ended: a zombie has."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return shown.strip() not in ("", "Z", "Zl")
