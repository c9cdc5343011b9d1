"""Errors that the user of a command can mend: a wrong flag, file or data set."""

from __future__ import annotations


class UserError(ValueError):
    """A flag, file or data set breaks a rule; the message names it, its value and the rule.

    The program prints the message alone. Any other exception is a fault of echoform and keeps its traceback.
    """


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder that the user named is not there, or lacks what it should hold."""


class DivergedError(UserError, FloatingPointError):
    """A training produced a number that is not finite."""
