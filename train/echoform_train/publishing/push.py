"""Push an exported folder to the Hub in one commit, with a card and a fingerprint."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from echoform.hub import CARD, check_access, push_folder, retry_command
from echoform_cards.facts import People
from echoform_train.engine.errors import UserError
from echoform_train.engine.files import FACTS, FIRST_STAGE
from echoform_train.engine.json_files import read_json_object, write_json
from echoform_train.engine.run import Run
from echoform_train.engine.sources import is_hub_id
from echoform_train.engine.training_result import TrainingResult
from echoform_train.publishing.added_user import base_of, name_base
from echoform_train.publishing.card import write_card
from echoform_train.publishing.copy_model import copy_model
from echoform_train.publishing.exported import class_name, find_model
from echoform_train.publishing.fingerprint import write_fingerprint
from echoform_train.publishing.model_folder import ADDED_USER, check_model
from echoform_train.publishing.verify import read_fingerprint


@dataclass(frozen=True, kw_only=True)
class SaidOfModel:
    """What its card says of a model beyond what its training knows; see `write_card`."""

    license: str | None = None
    people: People | None = None
    base_model: str | None = None


def push(
    folder: Path,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    token: str | None = None,
    commit_message: str | None = None,
    create_pr: bool = False,
    said: SaidOfModel = SaidOfModel(),
) -> str:
    """Push a model with a card that names the repository and with a new fingerprint; the folder stays as it is.

    Args:
        folder: An exported pipeline or model, or the output folder of a training. For a first stage, its model is
            pushed to the root of the repository; for any other training, its pipeline.
        repo_id: `user/name`, or a name in the namespace of the token; created if it does not exist.
        private: Whether a new repository is private; otherwise the default of the namespace holds.
        revision: Branch to commit to, created from `main` if it does not exist; None is main.
        token: Token of the Hub; None is HF_TOKEN or the one that `hf auth login` stored.
        commit_message: Title of the commit.
        create_pr: Open a pull request instead of committing.
        said: What the card says beyond what the training knows.

    Returns:
        URL of the commit or pull request, or of the latest commit if nothing had to change.

    Raises:
        FileNotFoundError: If the folder holds no model.
        UserError: If the model cannot be loaded: see `check_model`.
        PushError: If the push failed; the message says which command tries again.
    """
    model = find_model(folder)
    # What is not whole is refused before anything is made on the Hub.
    check_model(model)
    make_private = True if private else None  # None: the default of the namespace
    places = (model, model.parent) if model.name == FIRST_STAGE else (model,)
    if said != SaidOfModel() and not any((place / FACTS).is_file() for place in places):
        raise UserError(
            f"--license, --people and --base-model are for a card; {folder} holds no {FACTS} to write one from"
        )
    # The card's code snippet needs the full id.
    if "/" not in repo_id:
        repo_id = check_access(repo_id, private=make_private, token=token)
    # Card and fingerprint for the repository are written to a copy, so that the user's folder stays unchanged.
    command = retry_command(
        folder,
        repo_id,
        private=private,
        revision=revision,
        create_pr=create_pr,
        commit_message=commit_message,
        license=said.license,
        people=said.people,
        base_model=said.base_model,
    )
    with TemporaryDirectory(prefix="echoform-push-") as temporary:
        staged = Path(temporary) / model.name
        copy_for_push(model, staged, repo_id, said)
        return push_folder(
            staged,
            repo_id,
            private=make_private,
            revision=revision,
            token=token,
            commit_message=commit_message or f"Upload {folder.resolve().name} with echoform",
            create_pr=create_pr,
            what_continues=f"{folder} is unchanged, and `{command}` tries again",
        )


def copy_for_push(model: Path, staged: Path, repo_id: str, said: SaidOfModel = SaidOfModel()) -> None:
    """Copy the files of a model that are pushed to `staged`, and write card and fingerprint there."""
    copy_model(model, staged)
    if model.name == FIRST_STAGE and not (staged / FACTS).exists():
        shutil.copyfile(model.parent / FACTS, staged / FACTS)
    if is_user := class_name(staged) == ADDED_USER:
        read_fingerprint(staged)  # made with the pipeline when the user was learned
        if said.base_model is not None:
            name_base(staged, said.base_model)
        elif not is_hub_id(base := base_of(staged)):
            print(
                f"the card names the folder {base}, which nobody else has: --base-model names its pipeline on the Hub"
            )
    if (staged / FACTS).is_file():
        facts = read_json_object(staged / FACTS)
        write_json(staged / FACTS, _without_folders(facts))
        write_card(staged, repo=repo_id, license=said.license, people=said.people, base_model=said.base_model)
    elif not (staged / CARD).is_file():
        print(f"{model} holds no {FACTS}: no card is written, because nothing is known of its training")
    if not is_user:
        write_fingerprint(staged)


class PushSettings(Protocol):
    """The settings of a training that say whether and how its result is pushed."""

    @property
    def push_to_hub(self) -> str | None:
        """Repository to push to; None: nothing is pushed."""
        ...

    @property
    def private(self) -> bool:
        """Whether a new repository is private."""
        ...

    @property
    def revision(self) -> str | None:
        """Branch; None is main."""
        ...

    @property
    def token(self) -> str | None:
        """Token of the Hub."""
        ...

    @property
    def license(self) -> str | None:
        """Licence in the card."""
        ...

    @property
    def people(self) -> People | None:
        """Whether the people are simulated or recorded, for the card."""
        ...


def check_push_asked_for(config: PushSettings) -> None:
    """Make sure before a training that its result can be pushed, if the settings ask for that.

    Raises:
        PushError: If the token is missing, unknown or may not write there.
    """
    if config.push_to_hub is not None:
        check_access(config.push_to_hub, private=config.private or None, token=config.token)


def push_if_asked_for(config: PushSettings, exported: Path) -> None:
    """Push the exported folder of a training, and print where it is, if the settings ask for that.

    Raises:
        PushError: If the push failed; the message says which command tries again.
    """
    if config.push_to_hub is not None:
        url = push(
            exported,
            config.push_to_hub,
            private=config.private,
            revision=config.revision,
            token=config.token,
            said=SaidOfModel(license=config.license, people=config.people),
        )
        print(f"pushed: {url}")


def check_before_training(run: Run) -> None:
    """`check_push_asked_for` on the main process."""
    if run.is_main:
        check_push_asked_for(run.config)


def push_after_training(run: Run, result: TrainingResult) -> None:
    """Print the summary of a training, then `push_if_asked_for` on the main process."""
    run.accelerator.print(result.summary())
    if run.is_main:
        push_if_asked_for(run.config, result.exported)


def _without_folders(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts with folders of this machine replaced by their names, because facts.json is public on the Hub."""
    kept = {name: _without_folders(value) if isinstance(value, dict) else value for name, value in facts.items()}
    if isinstance(source := kept.get("source"), str) and Path(source).is_absolute():
        kept["source"] = Path(source).name
    return kept
