"""Errors that the user of a command can mend: a wrong flag, file or data set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """A flag, file or data set breaks a rule; the message names it, its value and the rule.

    The program prints the message alone. Any other exception is a fault of echoform and keeps its traceback.
    """


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder that the user named is not there, or lacks what it should hold."""


class DivergedError(UserError, FloatingPointError):
    """A training produced a number that is not finite."""


@contextmanager
def refused_by(what: str, kinds: tuple[type[Exception], ...] = (ValueError,)) -> Iterator[None]:
    """Turn errors that other code raises about an input from outside into a UserError; for narrow places.

    Args:
        what: The input, such as a file, and the rule: the start of the sentence.
        kinds: Classes of the errors that the input can cause.

    Raises:
        UserError: If one of them is raised inside the block; its message is the first line of theirs.
    """
    try:
        yield
    except UserError:
        raise
    except kinds as error:
        lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
        reason = lines[0][:300] if lines else type(error).__name__
        # Our own loading code names the input already.
        raise UserError(reason if reason.startswith(what) else f"{what}: {reason}") from error
