"""Pushing folders and models to the Hub in one commit, which leaves the branch unchanged if it fails."""

from __future__ import annotations

import json
import re
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import RevisionNotFoundError

from echoform.code_files import versions_of
from echoform.hub_card import CARD, card_of_model, merge_card
from echoform.hub_retry import Refused, retry

RepoType = Literal["model", "dataset"]

_AT_ROOT = ("model_index.json", CARD, "facts.json", "scores.json", "fingerprint.json")
_WEIGHTS = (".safetensors", ".safetensors.index.json")
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
_DATA = (".md", ".json", ".jsonl", ".parquet", ".png", ".tif", ".tiff")


class PushError(RuntimeError):
    """A push failed; the message says why, what is unchanged, and which command tries again.

    Args:
        message: The whole message.
        reason: The part of the message that says why.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class NotPushableError(PushError, ValueError):
    """A folder that must not be pushed, because somebody who loads it would get something else, or run code.

    Args:
        message: The whole message.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, message)


class _IsPublic(Refused):
    """A private push to a repository that is public already."""


def push_folder(
    folder: Path,
    repo_id: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    token: str | None = None,
    commit_message: str | None = None,
    create_pr: bool = False,
    repo_type: RepoType = "model",
    what_continues: str | None = None,
    attempts: int = 3,
    first_wait_s: float = 2.0,
) -> str:
    """Upload an exported folder in one commit; pushing the same content again makes no commit.

    `files_to_upload` lists what is uploaded. In a model's repository, only other versions of the pushed code are
    deleted; weights stay, because a repository may hold several variants. In a data set's repository, tables that the
    folder does not hold are deleted. A card that a person edited keeps its text: see `merge_card`. Temporary failures
    (a busy server, a lost connection, a commit by somebody else in between) are tried again after waits that double.

    Args:
        folder: What `save_pretrained` or a training wrote.
        repo_id: "user/name", or a name in the token's own namespace. A repository that does not exist is created.
        private: Whether a new repository is private; None follows the namespace's setting.
        revision: Branch to commit to, created from `main` if it does not exist; None is main.
        token: Token of the Hub; None uses HF_TOKEN or what `hf auth login` stored.
        commit_message: Title of the commit.
        create_pr: Open a pull request instead of committing.
        repo_type: Type of the repository. For "dataset", every table, image, JSON and Markdown file is uploaded.
        what_continues: End of the message of a `PushError`: what is unchanged, and how to try again. None stands for
            the `echoform push` command of this folder; for a data set, for "the same command tries again".
        attempts: Highest number of tries.
        first_wait_s: Seconds before the second try.

    Returns:
        URL of the commit or pull request, or of the latest commit if nothing had to change.

    Raises:
        FileNotFoundError: If the folder is no exported folder.
        NotPushableError: If it holds weights that are not safetensors, or its JSON is none.
        PushError: If the push failed; the branch is then as it was.
    """
    files = files_to_upload(folder) if repo_type == "model" else _files_of_data(folder)
    title = commit_message or f"Upload {folder.resolve().name} with echoform"
    target = _Target(HfApi(token=token), repo_id, private, revision, repo_type)

    def attempt() -> str:
        # A retry starts from the newest commit, because somebody else may have pushed meanwhile.
        full_id, head = target.open()
        contents: dict[str, Path | bytes] = {path.as_posix(): folder / path for path in files}
        if CARD in contents:
            contents[CARD] = _merged_card(target, folder / CARD, full_id, head)
        return target.commit(full_id, head, contents, title, create_pr)

    try:
        return retry(attempt, attempts, first_wait_s)
    except Refused as refused:
        # The message ends with what the user can do now.
        if what_continues is None and repo_type == "dataset":
            what_continues = "nothing there has changed, and the same command tries again"
        elif what_continues is None:
            command = retry_command(folder, repo_id, private=private, revision=revision, create_pr=create_pr)
            what_continues = f"{folder} is unchanged, and `{command}` tries again"
        raise PushError(f"nothing was pushed to {repo_id}: {refused}; {what_continues}", str(refused)) from refused


def push_model(
    model: Any,
    repo_id: str,
    *,
    private: bool | None = None,
    create_pr: bool = False,
    revision: str | None = None,
    token: str | None = None,
    commit_message: str | None = None,
    subfolder: str | None = None,
    safe_serialization: bool = True,
    variant: str | None = None,
    max_shard_size: int | str | None = None,
) -> str:
    """Upload what `save_pretrained` of a model or pipeline writes, in one commit; the same content again makes none.

    The classes of echoform call it in `push_to_hub`. A card in the repository stays as it is; a repository without a
    card gets one, see `card_of_model`. Temporary failures are tried again, as in `push_folder`.

    Args:
        model: A model or pipeline with `save_pretrained`.
        repo_id: "user/name", or a name in the token's own namespace. A repository that does not exist is created.
        private: Whether a new repository is private; None follows the namespace's setting.
        create_pr: Open a pull request instead of committing.
        revision: Branch to commit to, created from `main` if it does not exist; None is main.
        token: Token of the Hub; None uses HF_TOKEN or what `hf auth login` stored.
        commit_message: Title of the commit.
        subfolder: Folder of the repository that gets the files; None is its root.
        safe_serialization: Must be True; the name is that of diffusers.
        variant: Infix of the weights' file names, such as "fp16".
        max_shard_size: Cut weights into files of at most this size, such as "5GB".

    Returns:
        URL of the commit or pull request, or of the latest commit if nothing had to change.

    Raises:
        ValueError: If weights should be pickled, or a push to a public repository should be private.
        PushError: If the push failed; the branch is then as it was.
    """
    target = _Target(HfApi(token=token), repo_id, private, revision, "model")
    title = commit_message or f"Upload {type(model).__name__}"
    # The card's code snippet must name the branch or variant, or it would load other weights.
    loading = {name: value for name, value in (("revision", revision), ("variant", variant)) if value}
    saving: dict[str, Any] = {"safe_serialization": safe_serialization, "variant": variant}
    saving |= {} if max_shard_size is None else {"max_shard_size": max_shard_size}

    # Saved once, outside the retries; every file that was saved is uploaded.
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model.save_pretrained(folder, **saving)
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]

        def attempt() -> str:
            full_id, head = target.open()
            contents: dict[str, Path | bytes] = {
                PurePosixPath(subfolder or "", path.relative_to(folder).as_posix()).as_posix(): path for path in files
            }
            # An existing card stays. The Hub reads the card from the root, so that a subfolder needs none.
            if subfolder is None and CARD not in _names_in(head):
                contents = card_of_model(model, full_id, loading, token) | contents
            return target.commit(full_id, head, contents, title, create_pr)

        try:
            return retry(attempt, attempts=3, first_wait_s=2.0)
        except _IsPublic as refused:
            raise ValueError(
                f"private needs a new repository or one that is private already, got {repo_id}"
            ) from refused
        except Refused as refused:
            raise PushError(
                f"nothing was pushed to {repo_id}: {refused}; nothing there has changed", str(refused)
            ) from refused


def check_access(
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    repo_type: RepoType = "model",
    attempts: int = 3,
    first_wait_s: float = 2.0,
) -> str:
    """Check before a long training that its result can be pushed; creates the repository if it does not exist.

    Args:
        repo_id: "user/name", or a name in the token's own namespace.
        private: Whether a new repository is private; None follows the namespace's setting.
        token: Token of the Hub; None uses HF_TOKEN or what `hf auth login` stored.
        repo_type: Model or data set.
        attempts: Highest number of tries.
        first_wait_s: Seconds before the second try.

    Returns:
        The full id of the repository, "user/name".

    Raises:
        PushError: If the token is missing, unknown or may not write there, or a public repository should be private.
    """
    api = HfApi(token=token)

    def attempt() -> str:
        # The token's user and organisations are the namespaces that it may write to.
        who = api.whoami()
        writable = {who["name"], *(organisation["name"] for organisation in who.get("orgs", []))}
        namespace = repo_id.partition("/")[0] if "/" in repo_id else who["name"]
        if namespace not in writable:
            raise Refused(f"the token is of {who['name']}, who cannot write under {namespace}/")
        if who.get("auth", {}).get("accessToken", {}).get("role") == "read":
            raise Refused("the token may only read; make one that may write")
        # Creating the repository finds all other problems, such as a name that the Hub does not allow.
        return _Target(api, repo_id, private, None, repo_type).create_if_missing()

    try:
        return retry(attempt, attempts, first_wait_s)
    except Refused as refused:
        raise PushError(f"nothing can be pushed to {repo_id}: {refused}", str(refused)) from refused


def retry_command(
    folder: Path,
    repo_id: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    **flags: str | None,
) -> str:
    """The command line that pushes a folder, with further flags that have a value; it holds no token."""
    words = ["echoform", "push", str(folder), repo_id]
    words += ["--private"] if private else []
    words += ["--revision", revision] if revision else []
    words += ["--create-pr"] if create_pr else []
    for name, value in flags.items():
        words += [f"--{name.replace('_', '-')}", value] if value else []
    return shlex.join(words)


def files_to_upload(folder: Path) -> list[Path]:
    """The files of an exported folder that are uploaded, as sorted paths below it.

    At the root: card, facts, scores, fingerprint and images. At the root and in the components that model_index.json
    names: configurations, safetensors, and the code that a configuration names. Not uploaded are checkpoints, logs,
    pickles, code of an earlier version that nothing names any more, and split.json, which names every file of the data
    and is published with the data.

    Raises:
        FileNotFoundError: If the folder holds neither model_index.json nor config.json.
        NotPushableError: If a model in it has weights, but none that are safetensors, or a configuration is no JSON.
    """
    index_file = folder / "model_index.json"
    if not index_file.is_file() and not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"{folder} holds neither model_index.json nor config.json; is it an exported pipeline or model?"
        )
    index = _read_object(index_file) if index_file.is_file() else {}
    components = [name for name, entry in index.items() if isinstance(entry, list) and not name.startswith("_")]
    found = []
    for part in [folder, *(folder / name for name in sorted(components) if (folder / name).is_dir())]:
        names = [path.name for path in part.iterdir() if path.is_file()]
        # Weights that exist only as a pickle would silently be missing from the repository.
        pickles = [name for name in names if name.endswith(_PICKLES)]
        if pickles and "config.json" in names and not any(name.endswith(_WEIGHTS) for name in names):
            raise NotPushableError(f"weights must be safetensors, got {part / pickles[0]}")
        entry = index.get("_class_name" if part == folder else part.name)
        code = _named_code(part, names, [entry[0]] if isinstance(entry, list) and entry else [])
        found += [part / name for name in names if name in code or _is_uploaded(name, part == folder)]
    return sorted(path.relative_to(folder) for path in found)


@dataclass(frozen=True)
class _Target:
    """Repository and branch that a push goes to."""

    api: HfApi
    repo_id: str
    private: bool | None
    revision: str | None
    repo_type: RepoType

    def create_if_missing(self) -> str:
        """Create the repository if it does not exist; return its full id."""
        made = self.api.create_repo(self.repo_id, private=self.private, exist_ok=True, repo_type=self.repo_type)
        if self.private:
            info: Any = self.api.repo_info(made.repo_id, repo_type=self.repo_type)
            if not info.private:
                raise _IsPublic(
                    f"{made.repo_id} is public already; make it private in its settings or choose another name"
                )
        return made.repo_id

    def open(self) -> tuple[str, Any]:
        """Create repository and branch if they do not exist; return the full id and facts of the last commit."""
        full_id = self.create_if_missing()
        try:
            return full_id, self.api.repo_info(full_id, revision=self.revision, repo_type=self.repo_type)
        except RevisionNotFoundError:
            self.api.create_branch(full_id, branch=str(self.revision), exist_ok=True, repo_type=self.repo_type)
            return full_id, self.api.repo_info(full_id, revision=self.revision, repo_type=self.repo_type)

    def commit(self, full_id: str, head: Any, contents: Mapping[str, Path | bytes], title: str, create_pr: bool) -> str:
        """Add files by path in the repository and delete those that they replace; return the URL."""
        operations: list[Any] = [CommitOperationAdd(path, content) for path, content in contents.items()]
        operations += [
            CommitOperationDelete(path) for path in _replaced(_names_in(head), list(contents), self.repo_type)
        ]
        try:
            commit = self.api.create_commit(
                full_id,
                operations,
                commit_message=title,
                revision=self.revision,
                create_pr=create_pr,
                parent_commit=head.sha,
                repo_type=self.repo_type,
            )
        except ValueError as error:  # the Hub checks a card's metadata before anything is uploaded
            raise Refused(" ".join(str(error).split())) from error
        return commit.pr_url or commit.commit_url


def _is_uploaded(name: str, at_root: bool) -> bool:
    if name.endswith((*_WEIGHTS, "config.json")):
        return True
    return at_root and (name in _AT_ROOT or name.endswith((".png", ".onnx")))


def _named_code(part: Path, names: Sequence[str], stems: Sequence[str]) -> set[str]:
    """Names of the code files in a folder that its configurations or `stems` name, and of those that they import."""
    waiting = [str(stem) for stem in stems]
    for name in names:
        if name.endswith("config.json"):
            config = _read_object(part / name)
            tables = [config.get("auto_map") or {}, config.get("custom_pipelines") or {}]
            if not all(isinstance(table, dict) for table in tables):
                raise NotPushableError(f"auto_map and custom_pipelines in {part / name} must be mappings")
            references = [*tables[0].values(), *(task["impl"] for task in tables[1].values() if "impl" in task)]
            # A reference is "file.Class", or a list of those.
            nested = [one if isinstance(one, list) else [one] for one in references]
            waiting += [str(one).partition(".")[0] for several in nested for one in several]
    found: set[str] = set()
    while waiting:
        name = f"{waiting.pop()}.py"
        if name in names and name not in found:
            found.add(name)
            waiting += re.findall(r"^\s*from \.(\w+) import", (part / name).read_text(encoding="utf-8"), re.MULTILINE)
    return found


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise NotPushableError(f"{path} must be JSON: {error}") from error
    if not isinstance(content, dict):
        raise NotPushableError(f"{path} must hold a JSON object, got {type(content).__name__}")
    return content


def _files_of_data(folder: Path) -> list[Path]:
    found = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.suffix in _DATA]
    if not found:
        raise FileNotFoundError(f"{folder} holds nothing of a data set: no {', '.join(_DATA)}")
    return sorted(path for path in found if not any(part.startswith(".") for part in path.parts))


def _names_in(head: Any) -> list[str]:
    """Paths of all files of the commit that `head` describes."""
    return [sibling.rfilename for sibling in head.siblings or []]


def _replaced(existing: Sequence[str], pushed: Sequence[str], repo_type: str) -> list[str]:
    """Files of a repository that a push deletes: other versions of its code, or tables of an earlier data set."""
    patterns = ["*.parquet"]
    if repo_type == "model":
        patterns = [pattern for path in pushed if path.endswith(".py") for pattern in versions_of(PurePosixPath(path))]
    old = [path for path in existing if any(fnmatchcase(path, pattern) for pattern in patterns)]
    return [path for path in old if path not in pushed]


def _merged_card(target: _Target, card: Path, full_id: str, head: Any) -> bytes:
    stored = b""
    if CARD in _names_in(head):
        with tempfile.TemporaryDirectory() as temporary:
            path = target.api.hf_hub_download(
                full_id, CARD, revision=head.sha, repo_type=target.repo_type, local_dir=temporary
            )
            stored = Path(path).read_bytes()
    try:
        return merge_card(card.read_text(encoding="utf-8"), stored.decode()).encode()
    except ValueError as error:
        raise Refused(f"{CARD} here and in the repository must be UTF-8 with YAML: {error}") from error
