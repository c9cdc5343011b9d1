"""Licences of models and data, as the Hub names them."""

from __future__ import annotations

import re

from echoform_train.engine.errors import UserError

_IDENTIFIER = re.compile(r"[a-z0-9]+([.+-][a-z0-9]+)*\+?")


def check_licence(licence: str | None) -> None:
    """Check that a licence is written like the Hub's identifiers, because the Hub refuses a card with another one.

    Raises:
        UserError: If it is not.
    """
    if licence is not None and not _IDENTIFIER.fullmatch(licence):
        raise UserError(f"--license must be an identifier of the Hub, such as cc-by-4.0 or other, got {licence!r:.60}")
