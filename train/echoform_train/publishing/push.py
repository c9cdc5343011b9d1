"""`echoform push`: an exported folder to the Hub in one commit, with a card and a fingerprint of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from echoform.hub import CARD, check_access, push_folder, retry_command, travelling_files
from echoform_train.engine.config import RunConfig
from echoform_train.engine.files import FACTS, FIRST_STAGE, PIPELINE
from echoform_train.publishing.card import write_card
from echoform_train.publishing.fingerprint import write_fingerprint


def push(
    folder: Path,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    token: str | None = None,
    commit_message: str | None = None,
    create_pr: bool = False,
) -> str:
    """Push a model with a card that names the repository and with a fresh fingerprint; the folder stays as it is.

    Args:
        folder: An exported pipeline (model_index.json), a model on its own (config.json), the output folder of a first
            stage (its VQModel is pushed, to the root of the repository) or of another training (its pipeline is).
        repo_id: As of `echoform.hub.push_folder`, and so are the others.
        private: See there.
        revision: See there.
        token: See there.
        commit_message: See there.
        create_pr: See there.

    Returns:
        The URL of the commit or pull request; of the latest commit where nothing had to change.

    Raises:
        FileNotFoundError: If the folder holds no model.
        ValueError: If it holds weights that are not safetensors.
        PushError: If the push failed; the sentence says what continues.
    """
    model = find_model(folder)
    asked_private = True if private else None  # else as the namespace has it
    if "/" not in repo_id:
        repo_id = check_access(repo_id, private=asked_private, token=token)
    command = retry_command(folder, repo_id, private=private, revision=revision, create_pr=create_pr)
    with TemporaryDirectory(prefix="echoform-push-") as temporary:
        staged = Path(temporary) / model.name
        stage(model, staged, repo_id)
        return push_folder(
            staged,
            repo_id,
            private=asked_private,
            revision=revision,
            token=token,
            commit_message=commit_message or f"Upload {folder.resolve().name} with echoform",
            create_pr=create_pr,
            what_continues=f"{folder} is whole, and `{command}` tries again",
        )


def find_model(folder: Path) -> Path:
    """The folder of the model that `echoform push FOLDER` means.

    Raises:
        FileNotFoundError: If there is none.
    """
    if (folder / "model_index.json").is_file() or (folder / "config.json").is_file():
        return folder
    if (folder / PIPELINE / "model_index.json").is_file():
        return folder / PIPELINE
    if (folder / FIRST_STAGE / "config.json").is_file() and (folder / FACTS).is_file():
        return folder / FIRST_STAGE
    raise FileNotFoundError(
        f"{folder} holds no model: neither model_index.json nor config.json, nor {PIPELINE}/, "
        f"nor {FIRST_STAGE}/ and {FACTS}"
    )


def stage(model: Path, staged: Path, repo_id: str) -> None:
    """Copy what travels of a model to `staged`, and write the card of the repository and the fingerprint there."""
    for path in travelling_files(model):
        (staged / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(model / path, staged / path)
    if model.name == FIRST_STAGE and not (staged / FACTS).exists():
        shutil.copyfile(model.parent / FACTS, staged / FACTS)
    if (staged / FACTS).is_file():
        facts = json.loads((staged / FACTS).read_text())
        (staged / FACTS).write_text(json.dumps(_without_folders(facts), indent=1))
        write_card(staged, repo=repo_id)
    elif not (staged / CARD).is_file():
        print(f"{model} holds no {FACTS}: nothing is known of its training, so that no card is written")
    write_fingerprint(staged)


def check_before_training(config: RunConfig) -> None:
    """Notice before a training that its end could not be pushed.

    Raises:
        PushError: If the token is missing, unknown or may not write there.
    """
    if config.push_to_hub:
        check_access(_repo_id(config), private=config.hub_private_repo or None, token=config.hub_token)


def push_after_training(config: RunConfig, folder: Path) -> None:
    """Push what a training made where its settings ask for that; called on the main process, when all is saved.

    Raises:
        PushError: If the push failed; the sentence says what continues.
    """
    if config.push_to_hub:
        url = push(
            folder,
            _repo_id(config),
            private=config.hub_private_repo,
            revision=config.hub_revision,
            token=config.hub_token,
        )
        print(f"pushed: {url}")


def _without_folders(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts whose data are named, not placed: where they lie on this machine is nobody's business."""
    kept = {name: _without_folders(value) if isinstance(value, dict) else value for name, value in facts.items()}
    if isinstance(source := kept.get("source"), str) and Path(source).is_absolute():
        kept["source"] = Path(source).name
    return kept


def _repo_id(config: RunConfig) -> str:
    return config.hub_model_id or config.output_dir.resolve().name
