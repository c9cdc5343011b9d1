"""Kill every command that writes 20 times at random moments; in the end it must have written the same bytes.

    python tests/sweep/main.py [--kills 20] [--seed 0] [NAME ...]

`make sweep` runs it. Each command is run once undisturbed. Then it is started, killed with SIGKILL at a random moment,
every second time inside the writing of a checkpoint or another folder, and started again to go on. A run that
reaches its end is compared with the undisturbed one, and another begins, until the kills are used up.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from sweep.jobs import JOBS, LAUNCHES, make_inputs
from sweep.same import differences

Job = Callable[[Path, Path], None]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", default=[*JOBS, *LAUNCHES])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    # Every process of torch on one core: the sweep measures nothing, and shares its machine.
    os.environ |= {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    failed = 0
    with tempfile.TemporaryDirectory(prefix="echoform-sweep-") as temporary:
        root = Path(temporary)
        run_to_end(lambda: make_inputs(root), root / "inputs.log")
        for name in args.names:
            started = time.monotonic()
            rng = random.Random(f"{args.seed} {name}")
            if name in JOBS:
                ends, wrong = sweep(JOBS[name], root, name, args.kills, rng)
            else:
                ends, wrong = LAUNCHES[name](root, root / name.replace(" ", "-"), args.kills, rng)
            failed += bool(wrong)
            took_s = time.monotonic() - started
            verdict = f"DIFFERS: {'; '.join(wrong[:3])}" if wrong else "same bytes"
            print(f"{name}: {args.kills} kills, {ends} ends, {verdict} ({took_s:.0f} s)", flush=True)
    return failed


def sweep(job: Job, root: Path, name: str, kills: int, rng: random.Random) -> tuple[int, list[str]]:
    """Kill a job again and again; how often it reached its end, and what differed then."""
    folder = root / name
    log = folder / "log.txt"
    folder.mkdir()
    started = time.monotonic()
    run_to_end(lambda: job(root, folder / "whole"), log)
    length_s = time.monotonic() - started
    ends, wrong, done = 0, [], 0
    out = folder / "killed"
    while True:
        process = start(lambda: job(root, out), log)
        # Once the kills are used up, the last run goes on to its end.
        if done < kills:
            kill_sometime(process, out, length_s, rng, inside=done % 2 == 1)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        if status == -signal.SIGKILL:
            done += 1
            continue
        if status != 0:
            return ends, [f"exit status {status}: {log.read_text()[-2000:]}"]
        ends += 1
        wrong += differences(folder / "whole", out)
        if done >= kills or wrong:
            return ends, wrong
        shutil.rmtree(out)


def kill_sometime(process: int, out: Path, length_s: float, rng: random.Random, *, inside: bool) -> None:
    """Send SIGKILL at a random moment, unless the process ends before."""
    until = time.monotonic() + rng.uniform(0.05, 0.7) * length_s
    after_s = rng.choice([0.0, 0.0005, 0.002, 0.01])
    while True:
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        if time.monotonic() > until and (not inside or time.monotonic() > until + length_s or is_writing(out)):
            time.sleep(after_s if inside else 0)
            os.kill(process, signal.SIGKILL)
            return
        time.sleep(0.0002)


def is_writing(out: Path) -> bool:
    """Whether a temporary file or folder lies in the output folder, or among its checkpoints."""
    return any(any(folder.glob(".*")) for folder in (out, out / "checkpoints") if folder.is_dir())


def start(job: Callable[[], None], log: Path) -> int:
    """Fork a process that does the job, so that it need not import everything again; its process id."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        job()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def run_to_end(job: Callable[[], None], log: Path) -> None:
    process = start(job, log)
    if os.waitpid(process, 0)[1] != 0:
        sys.exit(f"an undisturbed run failed:\n{log.read_text()[-3000:]}")


if __name__ == "__main__":
    sys.exit(main())
