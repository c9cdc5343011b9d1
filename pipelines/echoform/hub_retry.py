"""Retries of requests to the Hub, and the reason of a failure in one sentence."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import httpx

Result = TypeVar("Result")

_TEMPORARY = (408, 412, 429, 500, 502, 503, 504)
"""HTTP status codes of temporary failures; 412 means that somebody else committed at the same time."""

logger = logging.getLogger(__name__)


class Refused(Exception):
    """A request failed and is not tried again; the message is the reason."""


def retry(attempt: Callable[[], Result], attempts: int, first_wait_s: float) -> Result:
    """Call a function again after temporary failures, with waits that double.

    Args:
        attempt: Function that sends requests to the Hub.
        attempts: Highest number of calls, at least 1.
        first_wait_s: Seconds before the second call.

    Returns:
        What the attempt returns.

    Raises:
        Refused: If the last call failed, or a failure is not temporary.
        ValueError: If attempts is less than 1.
    """
    for number in range(1, attempts + 1):
        try:
            return attempt()
        except HFValidationError as error:
            raise Refused(f"the Hub allows no such name ({str(error).splitlines()[0]})") from error
        except (httpx.HTTPError, OfflineModeIsEnabled, RuntimeError) as error:
            # An upload that failed in a thread raises a RuntimeError with the error of the Hub as its cause.
            cause = error.__cause__ if isinstance(error, RuntimeError) else error
            if not isinstance(cause, (httpx.HTTPError, OfflineModeIsEnabled)):
                raise
            reason = _reason(cause)
            if number == attempts or not _is_temporary(cause):
                raise Refused(reason) from error
            wait_s = first_wait_s * 2 ** (number - 1)
            logger.warning("%s; trying again in %g s", reason, wait_s)
            time.sleep(wait_s)
    raise ValueError(f"attempts must be at least 1, got {attempts}")


def _is_temporary(error: Exception) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in _TEMPORARY
    return isinstance(error, httpx.HTTPError)


def _reason(error: Exception) -> str:
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    if not isinstance(error, HfHubHTTPError):
        return f"the connection to the Hub failed ({type(error).__name__}: {error})"
    status, request = error.response.status_code, error.response.request
    answer = error.server_message or error.response.reason_phrase
    reasons = {
        401: f"the Hub does not accept the token ({answer}), log in with `hf auth login` or set HF_TOKEN",
        403: f"the token may not write there ({answer})",
        404: f"the Hub knows no such repository or revision ({answer})",
        412: "somebody else kept committing at the same time",
        413: f"the Hub has no room for it ({answer})",
        507: f"the Hub has no room for it ({answer})",
    }
    return reasons.get(status, f"the Hub answered {status} ({answer}) to {request.method} {request.url.path}")
