"""Functions of a caller in Python that a training calls while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from echoform_train.engine.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Callbacks:
    """What a training calls, on its main process only. Where one raises an error, the training ends with it.

    An error of `on_validation` ends the training after a checkpoint was written, from which a resumed one goes on.
    """

    on_validation: Callable[[dict[str, float]], object] | None = None
    """Called after each validation with its scores by name and `images_seen`."""
    on_checkpoint: Callable[[Path], object] | None = None
    """Called after each checkpoint was written, with its folder."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if (value := getattr(self, field.name)) is not None and not callable(value):
                raise UserError(f"{field.name} must be a function of one argument, got a {type(value).__name__}")


NO_CALLBACKS = Callbacks()


class CallsOut:
    """The calls of one training, whose errors are kept until a checkpoint is written."""

    def __init__(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks
        self._scores: dict[str, float] | None = None
        self.error: BaseException | None = None
        """What a callback raised."""
        self.failed = ""
        """Name of that callback."""

    @property
    def any(self) -> bool:
        """Whether there is a callback at all."""
        return self._callbacks != NO_CALLBACKS

    @property
    def has_validation(self) -> bool:
        """Whether `on_validation` has to be called."""
        return self._scores is not None

    def note_validation(self, scores: Mapping[str, float]) -> None:
        """Keep the scores of a validation for `validated`."""
        if self._callbacks.on_validation is not None:
            self._scores = dict(scores)

    def validated(self, is_main: bool) -> None:
        """Call `on_validation` with the scores that were kept, on the main process."""
        scores, self._scores = self._scores, None
        if is_main:
            self._call("on_validation", scores)

    def checkpoint_written(self, folder: Path) -> None:
        """Call `on_checkpoint`, unless the checkpoint was written because of an error."""
        if self.error is None:
            self._call("on_checkpoint", folder)

    def _call(self, name: str, argument: Any) -> None:
        callback = getattr(self._callbacks, name)
        if callback is None:
            return
        try:
            callback(argument)
        except BaseException as error:  # raised again when the checkpoint is written
            self.error, self.failed = error, name
