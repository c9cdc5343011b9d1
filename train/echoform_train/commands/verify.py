"""`echoform verify`: check that a repository is safe, loads, and gives the outputs that it gave when it was pushed."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from echoform_train.engine.limits import VERIFY_TIME_LIMIT_S

if TYPE_CHECKING:
    from echoform_train.publishing.verify import Verification


@dataclass(frozen=True, kw_only=True)
class Config:
    """Check a repository; its code is run only if it is the code of a released echoform."""

    repo: Annotated[str, tyro.conf.Positional]
    """Id on the Hub, or an exported folder."""
    revision: str | None = None
    """Branch, tag or commit. Default: main."""
    token: str | None = None
    """Token of the Hub. Default: HF_TOKEN, or the token that `hf auth login` stored."""
    base_model: str | None = None
    """Of a user that `echoform add-user` learned: Hub id or folder of its pipeline. Default: the one that it names."""
    time_limit_s: float = VERIFY_TIME_LIMIT_S
    """Seconds that loading and running it may take."""


def main(config: Config) -> Verification:
    """Check a repository, print one line that says what was checked, and return it.

    Raises:
        FileNotFoundError: If the repository, or something that it must hold, is missing.
        ValueError: If something in it is wrong, it does not load in time, or it gives other outputs.
    """
    from echoform_train.publishing.verify import verify

    with tempfile.TemporaryDirectory(prefix="echoform-verify-") as home:
        verification = verify(
            config.repo,
            Path(home),
            revision=config.revision,
            token=config.token,
            time_limit_s=config.time_limit_s,
            base_model=config.base_model,
        )
    print(f"verified: {verification.summary()}")
    return verification
