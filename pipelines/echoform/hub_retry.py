"""Trying requests to the Hub again if that may help, and the reason in one sentence if it does not."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import httpx

Result = TypeVar("Result")

_PASSING = (408, 412, 429, 500, 502, 503, 504)
"""HTTP status codes of failures that pass; 412 means that somebody else committed at the same time."""

logger = logging.getLogger(__name__)


class Refused(Exception):
    """The reason why a request failed, where trying again does not help."""


def retry(attempt: Callable[[], Result], attempts: int, first_wait_s: float) -> Result:
    """Call until it works, with waits that double after failures that may pass.

    Args:
        attempt: Requests to the Hub.
        attempts: Highest number of calls, at least 1.
        first_wait_s: Seconds before the second call.

    Returns:
        What the attempt returns.

    Raises:
        Refused: If the last call failed, or one failed for a reason that does not pass.
        ValueError: If attempts is less than 1.
    """
    for number in range(1, attempts + 1):
        try:
            return attempt()
        except (httpx.HTTPError, OfflineModeIsEnabled, RuntimeError) as error:
            # An upload that failed in a thread comes as a RuntimeError around its cause.
            cause = error.__cause__ if isinstance(error, RuntimeError) else error
            if not isinstance(cause, (httpx.HTTPError, OfflineModeIsEnabled)):
                raise
            reason = _reason(cause)
            if number == attempts or not _may_pass(cause):
                raise Refused(reason) from error
            wait_s = first_wait_s * 2 ** (number - 1)
            logger.warning("%s; trying again in %g s", reason, wait_s)
            time.sleep(wait_s)
    raise ValueError(f"attempts must be at least 1, got {attempts}")


def _may_pass(error: Exception) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in _PASSING
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
