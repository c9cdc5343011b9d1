"""Independent jobs in parallel processes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partialmethod
from multiprocessing.queues import Queue
from multiprocessing.synchronize import RLock

from echoform_train.engine.stopping import Stopped, stopped_by_signals


def usable_cores() -> int:
    """Number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_in_processes(jobs: Sequence[Callable[[], object]], workers: int) -> None:
    """Call all jobs in parallel processes, each of which computes on one core.

    Small networks gain little from a second core, so that two trainings in parallel finish sooner than one after the
    other on two cores. The progress bars of each process have a line of their own. The processes end when this one
    does, even if it is killed.

    Args:
        jobs: Picklable functions, such as `functools.partial` of a function of a module; results are dropped.
        workers: Largest number of processes.

    Raises:
        Exception: The first error of a job. Jobs that have started are waited for, the others are not started.
        Stopped: If a signal asks this process to end; the jobs get it too.
    """
    if not jobs:
        return
    workers = min(workers, len(jobs))
    # Spawn, not fork: a forked child of a process with threads can hang.
    context = multiprocessing.get_context("spawn")
    # Each process takes one line of the terminal for its progress bars.
    lines = context.Queue()
    for line in range(workers):
        lines.put(line)
    begin = (lines, context.RLock())
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=begin) as pool:
        # Pickled here, because the pool itself would send tensors through shared memory, which can be too small.
        futures = [pool.submit(_call, pickle.dumps(job)) for job in jobs]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException as error:
            # A signal to this process alone is for its jobs too: they end, and remove their temporary files.
            if not isinstance(error, Exception):
                for process in list((pool._processes or {}).values()):
                    process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _begin(lines: Queue[int], writing: RLock) -> None:
    """Prepare a new process: one core, a line for its progress bars, and a thread that ends it with its parent."""
    import torch  # slow to import, and not needed to count cores
    from tqdm import tqdm

    torch.set_num_threads(1)
    tqdm.set_lock(writing)
    tqdm.__init__ = partialmethod(tqdm.__init__, position=lines.get(), leave=False)  # type: ignore[method-assign]
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _call(job: bytes) -> None:
    try:
        with stopped_by_signals():
            pickle.loads(job)()
    except Stopped as stopped:
        # The pool would take it for the result of this job, and call the next one.
        os._exit(int(str(stopped.code)))
