"""Signals that ask a process to end: SIGTERM (Kubernetes, `kill`) and SIGUSR1 (Slurm, before its time limit)."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

REPEATED_AFTER_S = 10
"""Seconds after a deferred signal from which a second one ends the process at once. Launchers may send both to the
process and to its group, which is no second wish."""

_STOP = [signal.SIGTERM, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else [])]
_Handler = Callable[[int, FrameType | None], Any]


class Stopped(SystemExit):
    """A signal ended this process; the exit status is 128 plus its number.

    Args:
        number: Number of the signal.
        told: Whether the user was told already.
    """

    def __init__(self, number: int, *, told: bool = False) -> None:
        super().__init__(128 + number)
        self.name, self.told = signal.Signals(number).name, told


class StopRequest:
    """Remembers a signal until a training has finished its optimizer step, instead of ending the process."""

    def __init__(self) -> None:
        self.number = 0
        """Number of the signal; 0 if there was none."""
        self._since_s = 0.0
        self._earlier: dict[int, Any] = {}

    def begin(self) -> None:
        """Defer the signals from now on; calling it again changes nothing."""
        if not self._earlier:
            self._earlier = _install(self._remember, _STOP)

    def end(self) -> None:
        """Let the signals do again what they did before `begin`."""
        _restore(self._earlier)
        self._earlier = {}

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.number and time.monotonic() - self._since_s > REPEATED_AFTER_S:
            self.end()
            signal.raise_signal(number)
        elif not self.number:
            self.number, self._since_s = number, time.monotonic()


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raise `Stopped` inside the block at a signal, so that temporary files are removed on the way out."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    earlier = _install(stop, _STOP)
    try:
        yield
    finally:
        _restore(earlier)


@contextmanager
def ended_by_signals(name: str) -> Iterator[None]:
    """End the process at a signal inside the block, which imports modules: nothing has to be cleaned up then.

    An exception instead could be taken for a failed import, or leave a module half imported.

    Args:
        name: Name of the command, for the message.
    """

    def end(number: int, frame: FrameType | None) -> None:
        interrupted = number == signal.SIGINT
        text = f"\n{name}: interrupted\n" if interrupted else f"{name}: stopped by {signal.Signals(number).name}\n"
        os.write(2, text.encode())
        os._exit(128 + number)

    earlier = _install(end, [signal.SIGINT, *_STOP])
    try:
        yield
    finally:
        _restore(earlier)


def _install(handler: _Handler, signals: list[signal.Signals]) -> dict[int, Any]:
    """Set the handler; what was set before. Nothing outside the main thread, where Python allows no handlers."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, handler) for number in signals}


def _restore(earlier: dict[int, Any]) -> None:
    for number, handler in earlier.items():
        # None: it was not set from Python.
        signal.signal(number, signal.SIG_DFL if handler is None else handler)
