"""`echoform space`: show models in a browser, served by this machine or by a Space of the Hub."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from echoform.shipped import pretrained, shipped
from echoform_train.engine.errors import MissingFileError, UserError
from echoform_train.engine.extras import missing_package
from echoform_train.engine.licences import check_licence
from echoform_train.engine.sources import HubId, resolve_source

if TYPE_CHECKING:
    from huggingface_hub import HfApi

PINNED = "models.json"
"""File beside the app: {kind: {"repo": Hub id, "revision": commit}, "users": [the same of each added user]}; used if
the environment names no model."""
USERS_VARIABLE = "ECHOFORM_USER_FILES"
"""Environment variable that names added users for the app: a JSON list."""
KINDS = ("doppler", "depth", "classifier")
"""Kinds of models that a Space shows; each has two flags and two environment variables."""
SHIPPED = {"doppler": "walkers", "depth": "rooms", "classifier": "classifier"}
"""Name of the shipped model of each kind."""
APP_FOLDERS = (Path(__file__).parents[3] / "space_app", Path(__file__).parents[1] / "space_app")
"""Where the app may lie: in the source of echoform, or inside an installed wheel."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Show models in a browser: served by this machine, or with --push by a Space of the Hub.

    Where no model is named, it serves those that are shipped inside the package.
    """

    doppler: str | None = None
    """Spectrogram pipeline: Hub id or exported folder. Default: the variable ECHOFORM_DOPPLER_REPO, if it is set."""
    doppler_revision: str | None = None
    """Commit, branch or tag of --doppler. Default: main. --push pins the Space to the commit that this names then."""
    user_file: tuple[str, ...] = ()
    """Users that `echoform add-user` learned for --doppler: folders, user/name or user/name@revision on the Hub. --push
    takes those on the Hub alone. Default: the variable ECHOFORM_USER_FILES, a JSON list, if it is set."""
    depth: str | None = None
    """Depth pipeline: Hub id or exported folder. Default: the variable ECHOFORM_DEPTH_REPO, if it is set."""
    depth_revision: str | None = None
    """Commit, branch or tag of --depth. Default: main."""
    classifier: str | None = None
    """Classifier of the users of spectrograms: Hub id, or output folder of `echoform train classifier`. Default: the
    variable ECHOFORM_CLASSIFIER_REPO, if it is set."""
    classifier_revision: str | None = None
    """Commit, branch or tag of --classifier. Default: main."""
    port: int = 7860
    """Port on this machine."""
    push: str | None = None
    """Create or update this Space, user/space, instead of serving here. The models must be on the Hub."""
    license: str | None = None
    """Licence of the Space in its README, by its identifier on the Hub. Default: apache-2.0, that of the app."""
    people: Literal["simulated", "recorded"] | None = None
    """Whether the people whom the models know are simulated or recorded, for the README of the Space. Default: it
    says nothing of them."""
    private: bool = False
    """Make the Space private if it is created."""
    token: str | None = None
    """Token of the Hub, which other users of this machine can see here. Default: HF_TOKEN, or the token that
    `hf auth login` stored, which they cannot see."""


def main(config: Config) -> str | None:
    """Serve until the process ends, or push the Space, print its URL and return it.

    Raises:
        ValueError: If no pipeline is named and none is shipped, or one cannot be shown.
        MissingPackageError: If gradio is not installed.
        FileNotFoundError: If echoform was installed without the app.
        PushError: If the Hub refuses the push.
    """
    models = named_models(config)
    users = named_users(config)
    if users and "doppler" not in models:
        raise UserError(f"--user-file must go with --doppler, the pipeline that {users[0]} was learned for")
    check_licence(config.license)
    if config.push is None and (config.license or config.people):
        raise UserError("--license and --people are for the README of a Space: they must go with --push")
    if config.push is None:
        serve(models, config.port, users)
        return None
    url = push_space(
        models,
        config.push,
        users=users,
        private=config.private,
        token=config.token,
        license=config.license,
        people=config.people,
    )
    print(url)
    return url


def named_models(config: Config) -> dict[str, tuple[str, str | None]]:
    """Repository (or folder) and revision of each kind that the flags or the environment name.

    If they name none, the models that are shipped inside the package are served here; what is pushed must be on the
    Hub.

    Raises:
        ValueError: If there are none.
    """
    named: dict[str, tuple[str, str | None]] = {}
    for kind in KINDS:
        repo, revision = getattr(config, kind), getattr(config, f"{kind}_revision")
        if repo is None:
            repo = os.environ.get(f"ECHOFORM_{kind.upper()}_REPO")
            revision = revision or os.environ.get(f"ECHOFORM_{kind.upper()}_REVISION")
        if repo:
            named[kind] = (repo, revision or None)
        elif revision:
            raise UserError(f"--{kind}-revision must go with --{kind}, got {revision}")
    if not named and config.push is None:
        named = {kind: (pretrained(name), None) for kind, name in SHIPPED.items() if name in shipped()}
        if named:
            print(f"Models that are shipped with echoform: {', '.join(SHIPPED[kind] for kind in named)}")
    if not named:
        what = "an id on the Hub" if config.push else "a Hub id or a folder"
        raise UserError(f"a Space needs a model: name one with --doppler, --depth or --classifier, {what}")
    return named


def named_users(config: Config) -> list[str]:
    """Added users that the flag or the environment names.

    Raises:
        UserError: If the environment holds no list of texts.
    """
    if config.user_file or not (given := os.environ.get(USERS_VARIABLE)):
        return list(config.user_file)
    try:
        named = json.loads(given)
    except (ValueError, RecursionError):
        named = None
    if not isinstance(named, list) or not all(isinstance(one, str) and one for one in named):
        raise UserError(f'{USERS_VARIABLE} must be a JSON list such as ["user/name"], got {given:.200}')
    return named


def serve(models: dict[str, tuple[str, str | None]], port: int, users: Sequence[str] = ()) -> None:
    """Become the app, as the Hub runs it: this process goes on as the app's, so that a signal ends its server.

    Args:
        models: {kind of KINDS: (Hub id or folder, revision or None)}.
        port: Port on this machine.
        users: Added users: folders, a file in one, user/name or user/name@revision.

    Raises:
        UserError: If the port cannot be used, or a folder cannot be shown.
        MissingPackageError: If gradio is not installed.
        FileNotFoundError: If echoform was installed without the app.
    """
    # In the app, a missing package would only show as a traceback.
    if find_spec("gradio") is None:
        raise missing_package("gradio", "the Space", '"echoform[space]"')
    environment = {name: value for name, value in os.environ.items() if name not in _model_variables()}
    for kind, (repo, revision) in models.items():
        environment[f"ECHOFORM_{kind.upper()}_REPO"] = repo
        environment[f"ECHOFORM_{kind.upper()}_REVISION"] = revision or ""
    environment["GRADIO_SERVER_PORT"] = str(port)
    check_port(port)
    for kind, (repo, _) in models.items():
        _check_folder(kind, repo)
    environment[USERS_VARIABLE] = json.dumps([_checked_user(user) for user in users])
    app = space_files()[0].parent / "app.py"
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, str(app)], environment)


def check_port(port: int) -> None:
    """Check that this machine can serve at a port; gradio would take another one.

    Raises:
        UserError: If the port does not exist, is taken, or needs other rights.
    """
    if not 1 <= port <= 65535:
        raise UserError(f"--port must be in 1..65535, got {port}")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"), port))
        except OSError as error:
            raise UserError(f"--port {port} cannot be used: {error.strerror}") from error


def space_files() -> list[Path]:
    """Files of a Space: the app, its modules, its example images, requirements and README.

    Raises:
        FileNotFoundError: If echoform was installed without them.
    """
    folder = next((folder for folder in APP_FOLDERS if (folder / "app.py").is_file()), None)
    if folder is None:
        raise MissingFileError(f"neither {APP_FOLDERS[0]} nor {APP_FOLDERS[1]} holds app.py; install echoform again")
    return sorted(path for path in folder.iterdir() if path.suffix in (".py", ".txt", ".md", ".png"))


def push_space(
    models: dict[str, tuple[str, str | None]],
    repo_id: str,
    *,
    users: Sequence[str] = (),
    private: bool = False,
    token: str | None = None,
    license: str | None = None,
    people: Literal["simulated", "recorded"] | None = None,
) -> str:
    """Create or update a Space in one commit; pushing the same content again makes no commit.

    The front matter names the models and the data sets of their cards, and models.json pins each model to the commit
    that its revision names now. If a person edited the README, its text stays.

    Args:
        models: {kind of KINDS: (Hub id, revision or None)}.
        repo_id: "user/space"; created if it does not exist.
        users: Hub ids of users that were added to the spectrogram model, user/name or user/name@revision.
        private: Whether a new Space is private; otherwise the default of the namespace holds.
        token: Token of the Hub; None is HF_TOKEN or the one that `hf auth login` stored.
        license: Licence identifier of the Hub; None is that of the app.
        people: Whether the people whom the models know are simulated or recorded.

    Returns:
        The URL of the Space.

    Raises:
        ValueError: If a model or an added user is a folder, or is not on the Hub, or a user does not fit the model.
        PushError: If the Hub refuses the push; the Space is then as it was.
    """
    from huggingface_hub import HfApi

    from echoform.hub import CARD, PushError, merge_card
    from echoform_cards.space_card import update_space_readme
    from echoform_train.engine.hub_errors import HUB_ERRORS, hub_reason

    api = HfApi(token=token)
    found = {kind: _model_info(api, repo, revision) for kind, (repo, revision) in models.items()}
    # A Space that follows a branch would change whenever somebody pushes to it.
    pinned: dict[str, Any] = {kind: {"repo": info.id, "revision": info.sha} for kind, info in found.items()}
    added = [_model_info(api, *_hub_id(user)) for user in users]
    if added:
        pinned["users"] = [{"repo": info.id, "revision": info.sha} for info in added]
        _check_users_fit(pinned["doppler"], pinned["users"], token)
    shown = [*found.values(), *added]
    datasets = sorted({name for info in shown for name in _datasets(info)})
    try:
        space_id = api.create_repo(
            repo_id, repo_type="space", space_sdk="gradio", private=True if private else None, exist_ok=True
        ).repo_id
        # Everything is written to one folder first, so that one upload makes one commit.
        with TemporaryDirectory(prefix="echoform-space-") as temporary:
            staged = Path(temporary)
            for path in space_files():
                shutil.copyfile(path, staged / path.name)
            (staged / PINNED).write_text(json.dumps(pinned, indent=1) + "\n")
            readme = (staged / CARD).read_text(encoding="utf-8")
            names = [info.id for info in shown]
            card = update_space_readme(readme, models=names, datasets=datasets, license=license, people=people)
            (staged / CARD).write_text(merge_card(card, _existing_readme(api, space_id)), encoding="utf-8")
            api.upload_folder(
                repo_id=space_id, repo_type="space", folder_path=staged, commit_message="Update the Space with echoform"
            )
    except (*HUB_ERRORS, ValueError) as error:
        reason = getattr(error, "server_message", None) or hub_reason(error)
        raise PushError(
            f"nothing was pushed to {repo_id}: {reason}; it is unchanged, and the same command tries again", reason
        ) from error
    return f"{api.endpoint}/spaces/{space_id}"


def _check_folder(kind: str, repo: str) -> None:
    """Check that a source is a Hub id, or the folder of a model of its kind that can be loaded."""
    from echoform_train.engine.files import FACTS
    from echoform_train.engine.json_files import read_json_object
    from echoform_train.publishing.exported import class_name
    from echoform_train.publishing.families import PUBLISHED
    from echoform_train.publishing.model_folder import check_model

    location = resolve_source(repo)
    if isinstance(location, Path):
        what = "classifier of spectrograms" if kind == "classifier" else "pipeline of that kind"
        name = class_name(location)
        if name not in PUBLISHED or PUBLISHED[name].space_name != kind:
            raise UserError(f"--{kind} must be a {what}, {repo} holds a {name:.80}")
        check_model(location)
        if kind == "classifier" and not (location / "preprocessor_config.json").is_file():
            raise MissingFileError(f"{location} holds no preprocessor_config.json, which tells how pictures are read")
        if (location / FACTS).exists():
            read_json_object(location / FACTS)


def _checked_user(user: str) -> str:
    """An added user as the app reads it: a folder of this machine is checked, an id on the Hub passes."""
    from echoform_train.publishing.model_folder import check_added_user

    path = Path(user)
    place = path.parent if path.is_file() else resolve_source(user)
    if isinstance(place, HubId):
        return user
    check_added_user(place)
    return str(place)


def _hub_id(user: str) -> HubId:
    place = Path(user) if Path(user).is_file() else resolve_source(user)
    if not isinstance(place, HubId):
        raise UserError(f"a Space loads from the Hub, got the folder {user}; `echoform push` puts it there first")
    return place


def _check_users_fit(model: Mapping[str, str], users: Sequence[Mapping[str, str]], token: str | None) -> None:
    """Load the users into the pipeline, so that no Space is pushed that could not start.

    Raises:
        UserError: If one does not fit it, or two have one name.
    """
    from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
    from echoform_train.publishing.added_user import load_added_users
    from echoform_train.publishing.exported import find_pipeline

    folder = find_pipeline(f"{model['repo']}@{model['revision']}", VQLDMDopplerPipeline, token)
    pipeline = VQLDMDopplerPipeline.from_pretrained(folder, use_safetensors=True)
    load_added_users(pipeline, [f"{user['repo']}@{user['revision']}" for user in users], token=token)


def _model_variables() -> set[str]:
    return {f"ECHOFORM_{kind.upper()}_{what}" for kind in KINDS for what in ("REPO", "REVISION")}


def _model_info(api: HfApi, repo: str, revision: str | None) -> Any:
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    from echoform_train.engine.hub_errors import HUB_ERRORS, hub_reason

    if not isinstance(resolve_source(repo), HubId):
        raise UserError(f"a Space loads from the Hub, got the folder {repo}; `echoform push` puts it there first")
    try:
        return api.model_info(repo, revision=revision)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        at = f" at {revision}" if revision else ""
        raise UserError(f"a Space needs models that are on the Hub, got {repo}{at}, which is not there") from error
    except HUB_ERRORS as error:
        raise UserError(f"nothing could be read of {repo}: {hub_reason(error)}") from error


def _datasets(info: Any) -> list[str]:
    named = getattr(info.card_data, "datasets", None) or []
    return [named] if isinstance(named, str) else list(named)


def _existing_readme(api: HfApi, space_id: str) -> str:
    from echoform.hub import CARD

    if not api.file_exists(space_id, CARD, repo_type="space"):
        return ""
    with TemporaryDirectory() as temporary:
        path = api.hf_hub_download(space_id, CARD, repo_type="space", local_dir=temporary)
        return Path(path).read_text(encoding="utf-8")
