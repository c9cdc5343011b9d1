"""`echoform verify`: whether a repository of the Hub loads, is safe, and makes what it made when it was pushed."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from echoform_train.publishing.verify import verify


@dataclass(frozen=True, kw_only=True)
class Config:
    """Check a repository, and run its code only once that is known to be ours."""

    repo: Annotated[str, tyro.conf.Positional]
    """Id on the Hub, or an exported folder."""
    revision: str | None = None
    """Branch, tag or commit. Default: main."""
    token: str | None = None
    """Token of the Hub. Default: HF_TOKEN, or what `hf auth login` keeps."""


def main(config: Config) -> None:
    """Print one line that says what was checked, or raise with one that says what is wrong."""
    with tempfile.TemporaryDirectory(prefix="echoform-verify-") as home:
        print(f"verified: {verify(config.repo, Path(home), revision=config.revision, token=config.token)}")
