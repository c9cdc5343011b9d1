"""`echoform push`: upload an exported folder to the Hub in one commit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from echoform_train.engine.errors import UserError
from echoform_train.engine.licences import check_licence
from echoform_train.engine.sources import is_hub_id


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
    license: str | None = None
    """Licence in the card of the model, by its identifier on the Hub, such as cc-by-4.0. Default: the one that the
    training was given."""
    people: Literal["simulated", "recorded"] | None = None
    """Whether the people in the data are simulated or recorded, for the card. Default: what the training
    was given, else the same warning as for recorded people."""
    base_model: str | None = None
    """Id on the Hub of the model that this one was made from, for the card, where the training read it from a folder.
    Default: the id that the training read it from, if any."""
    token: str | None = None
    """Token of the Hub, which other users of this machine can see here. Default: HF_TOKEN, or the token that
    `hf auth login` stored, which they cannot see."""

    def __post_init__(self) -> None:
        check_licence(self.license)
        if self.base_model is not None and not is_hub_id(self.base_model):
            raise UserError(f"--base-model must be user/name on the Hub, got {self.base_model!r:.80}")


def main(config: Config) -> str:
    """Push, print the URL of the commit or pull request and return it.

    Raises:
        FileNotFoundError: If the folder holds no model.
        ValueError: If it holds weights that are not safetensors.
        PushError: If the push failed; the message says which command tries again.
    """
    from echoform_train.publishing.push import SaidOfModel, push

    url = push(
        config.folder,
        config.repo_id,
        private=config.private,
        revision=config.revision,
        token=config.token,
        commit_message=config.commit_message,
        create_pr=config.create_pr,
        said=SaidOfModel(license=config.license, people=config.people, base_model=config.base_model),
    )
    print(url)
    return url
