"""The end of the app: a signal ends it at once, with one sentence and the exit status that shells expect."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

at_end: list[Callable[[], None]] = []
"""Called before the app ends by a signal."""


def end_on_signals() -> None:
    """End on SIGTERM, SIGINT and SIGHUP with status 128 + number: 143, 130 and 129."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    print(f"echoform space: ended by {signal.Signals(number).name}", file=sys.stderr, flush=True)
    for call in at_end:
        call()
    # Threads that still generate an image would hold up an ordinary exit.
    os._exit(128 + number)
