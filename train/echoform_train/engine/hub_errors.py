"""Errors of the Hub and of the way to it, as one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)
from huggingface_hub.utils import httpx

from echoform_train.engine.errors import MissingFileError

HUB_ERRORS = (httpx.HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, HFValidationError)
"""What a request to the Hub raises: its own answers, a lost connection, no network, an id that is not allowed."""


@contextmanager
def readable_from_hub(repo: str, revision: str | None = None) -> Iterator[None]:
    """Say in one sentence why something could not be read from the Hub.

    Args:
        repo: Id of the repository.
        revision: Branch, tag or commit; None is main.

    Raises:
        MissingFileError: If the Hub refuses, cannot be reached, knows no such repository or does not allow its name.
    """
    try:
        yield
    except HFValidationError as error:
        reason = str(error).splitlines()[0]
        raise MissingFileError(f"{repo} is neither a folder nor the id of a repository: {reason}") from error
    except HUB_ERRORS as error:
        where = repo if revision is None else f"{repo} at {revision}"
        raise MissingFileError(f"{where} could not be downloaded: {hub_reason(error)}") from error


def hub_reason(error: Exception) -> str:
    """Why a request to the Hub failed, from one of HUB_ERRORS or another error of its library."""
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    if isinstance(error, ValueError):
        return " ".join(str(error).split())[:300]
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403, 404):
            return f"there is none, or the token may not read it (the Hub answered {status})"
        return f"the Hub answered {status}"
    if isinstance(error, LocalEntryNotFoundError):
        return "the Hub cannot be reached, and it was not downloaded before"
    first = str(error).splitlines()[0] if str(error) else ""
    return f"the connection to the Hub failed ({type(error).__name__}: {first})"
