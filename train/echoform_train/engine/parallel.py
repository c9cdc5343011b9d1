"""Work that does not wait for other work, in processes side by side."""

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


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def side_by_side(jobs: Sequence[Callable[[], object]], workers: int) -> None:
    """Call all jobs, so many at a time, each in a process of its own that computes on one core.

    Networks as small as ours gain little from a second core (1.3 times, measured), two trainings side by side gain
    twice. A job's progress bar stands on the line of its process. The processes end with this one, however it ends.

    Args:
        jobs: Picklable, such as `functools.partial`s of functions of a module; what they return is dropped.
        workers: Processes at most.

    Raises:
        Exception: What a job raised first; those that have not begun are left out, and those that have are waited for.
    """
    if not jobs:
        return
    workers = min(workers, len(jobs))
    # Spawned, not forked: a forked child of a process that has started threads can hang.
    context = multiprocessing.get_context("spawn")
    lines = context.Queue()
    for line in range(workers):
        lines.put(line)
    begin = (lines, context.RLock())
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=begin) as pool:
        # Pickled here, tensors travel as bytes; the pool would put them into shared memory, which can be small.
        futures = [pool.submit(_call, pickle.dumps(job)) for job in jobs]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _begin(lines: Queue[int], writing: RLock) -> None:
    """Make a new process ready: one core, a line for its bars, and an end together with its parent."""
    import torch  # whoever only counts cores goes without
    from tqdm import tqdm

    torch.set_num_threads(1)
    tqdm.set_lock(writing)
    tqdm.__init__ = partialmethod(tqdm.__init__, position=lines.get(), leave=False)  # type: ignore[method-assign]
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _call(job: bytes) -> None:
    pickle.loads(job)()
