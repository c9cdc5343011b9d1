"""Optional packages, which the extras of echoform install, and the error if one is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from echoform_train.engine.errors import UserError


class MissingPackageError(UserError, ImportError):
    """A package that an extra installs is needed and missing; the message says how to install it."""


@contextmanager
def needs_extra(extra: str, purpose: str) -> Iterator[None]:
    """Import packages of an extra inside the block.

    Args:
        extra: Name of the extra in pyproject.toml.
        purpose: What needs the package, as the subject of a sentence, for example "the perceptual loss".

    Raises:
        MissingPackageError: If the package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise missing_package(str(error.name), purpose, f'"echoform[{extra}]"') from error


def missing_package(package: str, purpose: str, requirement: str) -> MissingPackageError:
    """The error that names a missing package, what needs it, and the command that installs it."""
    return MissingPackageError(
        f"{purpose} needs the package {package}, which is not installed; install it with: pip install {requirement}"
    )
