"""`echoform push`: an exported folder to the Hub in one commit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from echoform_train.publishing.push import push


@dataclass(frozen=True, kw_only=True)
class Config:
    """Upload a model in one commit. Nothing half-written is ever seen; the same content again makes no commit."""

    folder: tyro.conf.Positional[Path]
    """Exported pipeline or depth encoder, or the output folder of a training (what it exported is pushed)."""
    repo_id: tyro.conf.Positional[str]
    """Repository, user/model; made where there is none."""
    private: bool = False
    """Make the repository private where it has to be made."""
    revision: str | None = None
    """Branch to commit to, made from main where there is none. Default: main."""
    create_pr: bool = False
    """Open a pull request instead of committing."""
    commit_message: str | None = None
    """Title of the commit."""
    token: str | None = None
    """Token of the Hub. Default: HF_TOKEN, or what `hf auth login` keeps; neither is visible to other users."""


def main(config: Config) -> None:
    """Push and print where to look."""
    print(
        push(
            config.folder,
            config.repo_id,
            private=config.private,
            revision=config.revision,
            token=config.token,
            commit_message=config.commit_message,
            create_pr=config.create_pr,
        )
    )
