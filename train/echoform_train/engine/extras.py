"""Optional packages: which extra of echoform installs them, and the error where one is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class MissingPackageError(ImportError):
    """An optional package is needed and not installed; the message says how to install it."""


@contextmanager
def needs_extra(extra: str, purpose: str) -> Iterator[None]:
    """Import optional packages inside the block.

    Args:
        extra: Name of the extra in pyproject.toml that installs them.
        purpose: What needs them, the subject of the error's sentence, such as "--report-to tensorboard".

    Raises:
        MissingPackageError: If one of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingPackageError(missing_package(str(error.name), purpose, f'"echoform[{extra}]"')) from error


def missing_package(package: str, purpose: str, requirement: str) -> str:
    """The sentence that names a missing package and the command that installs it."""
    return f"{purpose} needs the package {package}, which is not installed; install it with: pip install {requirement}"
