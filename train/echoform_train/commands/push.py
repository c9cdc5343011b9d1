"""`echoform push`: upload an exported folder to the Hub in one commit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True, kw_only=True)
class Config:
    """Upload a model to the Hub in one commit; pushing the same content again makes no commit."""

    folder: tyro.conf.Positional[Path]
    """Exported pipeline or model, or the output folder of a training, whose exported model is pushed."""
    repo_id: tyro.conf.Positional[str]
    """Repository, user/model; created if it does not exist."""
    private: bool = False
    """Make the repository private if it is created."""
    revision: str | None = None
    """Branch to commit to, created from main if it does not exist. Default: main."""
    create_pr: bool = False
    """Open a pull request instead of committing."""
    commit_message: str | None = None
    """Title of the commit."""
    token: str | None = None
    """Token of the Hub, which other users of this machine can see here. Default: HF_TOKEN, or the token that
    `hf auth login` stored, which they cannot see."""


def main(config: Config) -> str:
    """Push, print the URL of the commit or pull request and return it.

    Raises:
        FileNotFoundError: If the folder holds no model.
        ValueError: If it holds weights that are not safetensors.
        PushError: If the push failed; the message says which command tries again.
    """
    from echoform_train.publishing.push import push

    url = push(
        config.folder,
        config.repo_id,
        private=config.private,
        revision=config.revision,
        token=config.token,
        commit_message=config.commit_message,
        create_pr=config.create_pr,
    )
    print(url)
    return url
