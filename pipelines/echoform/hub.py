"""The way to the Hub: an exported folder becomes one commit of a repository, or the repository stays as it was."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
import shlex
import tempfile
import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import yaml
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RevisionNotFoundError
from huggingface_hub.utils import httpx

from echoform.code_files import versions_of

CARD = "README.md"
PRINTED = "echoform_printed"
"""Key of a card's metadata: hash of the text below them as it was printed, by which a person's edit is seen."""

_AT_ROOT = ("model_index.json", CARD, "facts.json", "scores.json", "fingerprint.json")
_WEIGHTS = (".safetensors", ".safetensors.index.json")
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
_DATA = (".md", ".json", ".jsonl", ".parquet", ".png", ".tif", ".tiff")

_PASSING = (408, 412, 429, 500, 502, 503, 504)  # 412: somebody else committed meanwhile

logger = logging.getLogger(__name__)


class PushError(RuntimeError):
    """A push that did not happen; one sentence says why, what is safe, and which command continues.

    Args:
        message: The sentence.
        reason: Its part that says why.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class _Refused(Exception):
    """Why trying again would not help."""


def push_folder(
    folder: Path,
    repo_id: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    token: str | None = None,
    commit_message: str | None = None,
    create_pr: bool = False,
    repo_type: Literal["model", "dataset"] = "model",
    what_continues: str | None = None,
    attempts: int = 3,
    first_wait_s: float = 2.0,
) -> str:
    """Upload an exported folder in one commit; the same content again makes none.

    What travels is listed at `travelling_files`. From a model's repository nothing is deleted but other versions of the
    code that is pushed, so that a variant can stand beside the other weights; from a data set the tables that the
    folder does not hold are. A card that a person edited keeps their text: see `merge_card`. What may pass (a busy
    server, a lost connection, somebody else's commit in between) is tried again after waits that double.

    Args:
        folder: What `save_pretrained` or a training wrote.
        repo_id: "user/name", or a name in the namespace of the token; made where it does not exist.
        private: Whether a repository that has to be made is private. Default: as the namespace has it.
        revision: Branch to commit to, made from `main` where it does not exist.
        token: Default: HF_TOKEN, or what `hf auth login` keeps.
        commit_message: Title of the commit.
        create_pr: Open a pull request instead of committing.
        repo_type: Of a data set every table, picture and Markdown file of the folder travels.
        what_continues: End of the sentence of a `PushError`. Default: that the folder is whole, and the command line
            that pushes it; of a data set, that the same command tries again.
        attempts: How often to try at most.
        first_wait_s: Seconds before the second attempt.

    Returns:
        The URL of the commit or pull request; of the latest commit where nothing had to change.

    Raises:
        FileNotFoundError: If the folder is no exported one.
        ValueError: If it holds weights that are not safetensors, or the name of the repository cannot be one.
        PushError: If the push failed; the branch is then as it was.
    """
    files = travelling_files(folder) if repo_type == "model" else _files_of_data(folder)
    title = commit_message or f"Upload {folder.resolve().name} with echoform"
    api = HfApi(token=token)

    def attempt() -> str:
        full_id = _ready_repository(api, repo_id, private, repo_type)
        head = _head(api, full_id, revision, repo_type)
        operations: list[Any] = [
            CommitOperationAdd(path.as_posix(), folder / path) for path in files if path != Path(CARD)
        ]
        if Path(CARD) in files:
            operations.append(CommitOperationAdd(CARD, _merged_card(api, folder, full_id, head, repo_type)))
        there = [sibling.rfilename for sibling in head.siblings or []]
        operations += [CommitOperationDelete(path) for path in _replaced(there, files, repo_type)]
        try:
            commit = api.create_commit(
                full_id,
                operations,
                commit_message=title,
                revision=revision,
                create_pr=create_pr,
                parent_commit=head.sha,
                repo_type=repo_type,
            )
        except ValueError as error:  # the Hub checks a card's metadata before anything is uploaded
            raise _Refused(" ".join(str(error).split())) from error
        return commit.pr_url or commit.commit_url

    try:
        return _insist(attempt, attempts, first_wait_s)
    except _Refused as refused:
        if what_continues is None and repo_type == "dataset":
            what_continues = "nothing there has changed, and the same command tries again"
        elif what_continues is None:
            command = retry_command(folder, repo_id, private=private, revision=revision, create_pr=create_pr)
            what_continues = f"{folder} is whole, and `{command}` tries again"
        raise PushError(f"nothing was pushed to {repo_id}: {refused}; {what_continues}", str(refused)) from refused


def check_access(
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    repo_type: Literal["model", "dataset"] = "model",
    attempts: int = 3,
    first_wait_s: float = 2.0,
) -> str:
    """Make sure before hours of work that its result can be pushed; makes the repository where there is none.

    Args:
        repo_id: As of `push_folder`, and so are the others.
        private: See there.
        token: See there.
        repo_type: See there.
        attempts: See there.
        first_wait_s: See there.

    Returns:
        The full id of the repository, "user/name".

    Raises:
        PushError: If the token is missing, unknown or may not write there, or a public repository was to be private.
    """
    api = HfApi(token=token)

    def attempt() -> str:
        who = api.whoami()
        own = {who["name"], *(organisation["name"] for organisation in who.get("orgs", []))}
        namespace = repo_id.partition("/")[0] if "/" in repo_id else who["name"]
        if namespace not in own:
            raise _Refused(f"the token is of {who['name']}, who cannot write under {namespace}/")
        if who.get("auth", {}).get("accessToken", {}).get("role") == "read":
            raise _Refused("the token may only read; make one that may write")
        return _ready_repository(api, repo_id, private, repo_type)

    try:
        return _insist(attempt, attempts, first_wait_s)
    except _Refused as refused:
        raise PushError(f"nothing can be pushed to {repo_id}: {refused}", str(refused)) from refused


def retry_command(
    folder: Path,
    repo_id: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
) -> str:
    """The command line that pushes a folder; it holds no token."""
    words = ["echoform", "push", str(folder), repo_id]
    words += ["--private"] if private else []
    words += ["--revision", revision] if revision else []
    words += ["--create-pr"] if create_pr else []
    return shlex.join(words)


def travelling_files(folder: Path) -> list[Path]:
    """What of an exported folder goes to the Hub, as sorted paths below it.

    At the root: the card, facts, scores, fingerprint and pictures. At the root and in the components that
    model_index.json names: configurations, safetensors and code. Checkpoints, logs, the split (it names every file of
    the data, which publish it themselves) and pickles stay.

    Raises:
        FileNotFoundError: If the folder holds neither model_index.json nor config.json.
        ValueError: If a model in it has weights, but none that are safetensors.
    """
    index_file = folder / "model_index.json"
    if not index_file.is_file() and not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"{folder} holds neither model_index.json nor config.json; is it an exported pipeline or model?"
        )
    index = json.loads(index_file.read_text()) if index_file.is_file() else {}
    components = [name for name, entry in index.items() if isinstance(entry, list) and not name.startswith("_")]
    found = []
    for place in [folder, *(folder / name for name in sorted(components) if (folder / name).is_dir())]:
        names = [path.name for path in place.iterdir() if path.is_file()]
        pickles = [name for name in names if name.endswith(_PICKLES)]
        if pickles and "config.json" in names and not any(name.endswith(_WEIGHTS) for name in names):
            raise ValueError(f"weights travel as safetensors only, got {place / pickles[0]}")
        at_root = place == folder
        found += [place / name for name in names if _travels(name, at_root)]
    return sorted(path.relative_to(folder) for path in found)


def merge_card(new: str, existing: str) -> str:
    """The card to push where a repository may already have one.

    A card carries the hash of the text that was printed below its metadata. Where an existing text has another hash,
    or none, a person wrote it and it stays; else the new text takes its place. Of the metadata, the keys of the new
    card are renewed, its tags are added, and all else that stands there stays.

    Args:
        new: The card as printed, Markdown with a YAML block.
        existing: The card in the repository; empty where there is none.

    Returns:
        The merged card. Merging the same card into it again changes nothing.

    Raises:
        ValueError: If a YAML block is no mapping.
    """
    metadata, text = _split(new)
    old_metadata, old_text = _split(existing)
    printed_by_us = old_metadata.get(PRINTED) == _hash(old_text)
    keep_text = bool(old_text.strip()) and not printed_by_us and _hash(old_text) != _hash(text)

    merged = old_metadata | metadata
    if PRINTED in old_metadata and "model-index" not in metadata:
        merged.pop("model-index", None)  # numbers of the weights that this push replaces
    if tags := old_metadata.get("tags"):
        merged["tags"] = [*tags, *(tag for tag in metadata.get("tags", []) if tag not in tags)]
    if not keep_text:
        merged[PRINTED] = _hash(text)
    elif merged == old_metadata:
        return existing
    block = yaml.safe_dump(merged, sort_keys=False, allow_unicode=True, width=math.inf)
    return f"---\n{block}---\n{old_text if keep_text else text}"


def _travels(name: str, at_root: bool) -> bool:
    if name.endswith((*_WEIGHTS, "config.json", ".py")):
        return True
    return at_root and (name in _AT_ROOT or name.endswith(".png"))


def _files_of_data(folder: Path) -> list[Path]:
    found = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.suffix in _DATA]
    if not found:
        raise FileNotFoundError(f"{folder} holds nothing of a data set: no {', '.join(_DATA)}")
    return sorted(path for path in found if not any(part.startswith(".") for part in path.parts))


def _replaced(there: Sequence[str], files: Sequence[Path], repo_type: str) -> list[str]:
    """What of a repository a push deletes: tables of the data before, or other versions of the code that is pushed."""
    patterns = ["*.parquet"]
    if repo_type == "model":
        patterns = [pattern for path in files if path.suffix == ".py" for pattern in versions_of(path)]
    old = [path for path in there if any(fnmatchcase(path, pattern) for pattern in patterns)]
    return [path for path in old if Path(path) not in files]


def _ready_repository(api: HfApi, repo_id: str, private: bool | None, repo_type: str) -> str:
    """The full id of the repository, made where there is none."""
    full_id = api.create_repo(repo_id, private=private, exist_ok=True, repo_type=repo_type).repo_id
    if private:
        info: Any = api.repo_info(full_id, repo_type=repo_type)
        if not info.private:
            raise _Refused(f"{full_id} is public already; make it private in its settings or choose another name")
    return full_id


def _head(api: HfApi, repo_id: str, revision: str | None, repo_type: str) -> Any:
    """Information on the latest commit of a branch, made from `main` where there is none."""
    try:
        return api.repo_info(repo_id, revision=revision, repo_type=repo_type)
    except RevisionNotFoundError:
        api.create_branch(repo_id, branch=str(revision), exist_ok=True, repo_type=repo_type)
        return api.repo_info(repo_id, revision=revision, repo_type=repo_type)


def _merged_card(api: HfApi, folder: Path, repo_id: str, head: Any, repo_type: str) -> bytes:
    existing = ""
    if any(sibling.rfilename == CARD for sibling in head.siblings or []):
        with tempfile.TemporaryDirectory() as temporary:
            path = api.hf_hub_download(repo_id, CARD, revision=head.sha, repo_type=repo_type, local_dir=temporary)
            existing = Path(path).read_bytes().decode()
    try:
        return merge_card((folder / CARD).read_text(encoding="utf-8"), existing).encode()
    except ValueError as error:
        raise _Refused(str(error)) from error


def _insist(attempt: Callable[[], str], attempts: int, first_wait_s: float) -> str:
    """Try, and try again where that may help; raises `_Refused` with the reason where it does not."""
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
                raise _Refused(reason) from error
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
    said = error.server_message or error.response.reason_phrase
    reasons = {
        401: f"the Hub does not accept the token ({said}), log in with `hf auth login` or set HF_TOKEN",
        403: f"the token may not write there ({said})",
        404: f"the Hub knows no such repository or revision ({said})",
        412: "somebody else kept committing at the same time",
        413: f"the Hub has no room for it ({said})",
        507: f"the Hub has no room for it ({said})",
    }
    return reasons.get(status, f"the Hub answered {status} ({said}) to {request.method} {request.url.path}")


def _split(card: str) -> tuple[dict[str, Any], str]:
    """Metadata and text of a card."""
    card = card.replace("\r\n", "\n")
    block = re.match(r"---[ \t]*\n(.*?)^---[ \t]*$\n?", card, re.DOTALL | re.MULTILINE)
    if block is None:
        return {}, card
    try:
        metadata = yaml.safe_load(block[1]) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"the metadata of {CARD} must be YAML, got {' '.join(str(error).split())}") from error
    if not isinstance(metadata, dict):
        raise ValueError(f"the metadata of {CARD} must be a YAML mapping, got {type(metadata).__name__}")
    return metadata, card[block.end() :]


def _hash(text: str) -> str:
    """Of a card's text; blank lines around it do not count."""
    return hashlib.sha256(text.strip().encode()).hexdigest()[:16]
