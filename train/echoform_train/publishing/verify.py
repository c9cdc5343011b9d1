"""`echoform verify`: whether a repository of the Hub is safe, loads, and makes what it made when it was pushed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import httpx

from echoform_train.engine.files import FINGERPRINT
from echoform_train.publishing import seeded_outputs
from echoform_train.publishing.fingerprint import ARGUMENTS, TOLERANCE, deviation, loaded_files, sha256_of
from echoform_train.publishing.folder_check import Contents, check_folder, check_names, read_json
from echoform_train.publishing.released import known_releases


def verify(repo: str, home: Path, *, revision: str | None = None, token: str | None = None) -> str:
    """Download, check and run a repository.

    Args:
        repo: Id on the Hub, or an exported folder.
        home: Empty folder for everything that is downloaded or cached.
        revision: Branch, tag or commit.
        token: Of the Hub.

    Returns:
        What was checked, as one line.

    Raises:
        FileNotFoundError: If the repository, or something that it must hold, is missing.
        ValueError: If something in it is wrong; the message says what, and nothing of it was run unless it is that it
            does not load or makes something else.
    """
    if Path(repo).is_dir():
        if revision is not None:
            raise ValueError(f"a folder has no revisions, got {revision!r} for {repo}")
        folder, sha, source = Path(repo), None, str(Path(repo).resolve())
    else:
        folder, sha, source = *_download(repo, home, revision, token), repo
    names = _files_of(folder)
    try:
        contents = check_folder(folder, names, known_releases())
        facts = read_fingerprint(folder)
        made = _run_alone(contents.loader, source, sha, facts["arguments"], home, token)
        differences = _compare(facts, made)
    except (ValueError, FileNotFoundError) as error:
        raise type(error)(f"{repo}: {error}") from error
    return _told(repo, sha, len(names), contents, differences)


def read_fingerprint(folder: Path) -> dict[str, Any]:
    """fingerprint.json of a folder whose files are those that it was made with.

    Raises:
        ValueError: If it is none, or a file differs from when it was made.
    """
    facts = read_json(folder / FINGERPRINT)
    arguments, tolerance = facts.get("arguments"), facts.get("tolerance")
    if not isinstance(arguments, dict) or set(arguments) != set(ARGUMENTS):
        raise ValueError(f"arguments in {FINGERPRINT} must be {', '.join(ARGUMENTS)}, got {arguments}")
    steps = arguments["num_inference_steps"]
    if not (isinstance(steps, int) and 1 <= steps <= 100):
        raise ValueError(f"num_inference_steps in {FINGERPRINT} must be in 1..100, got {steps!r}")
    if not (isinstance(tolerance, float) and 0 < tolerance <= TOLERANCE):
        raise ValueError(f"tolerance in {FINGERPRINT} must be in (0, {TOLERANCE}], got {tolerance!r}")
    for key in ("outputs", "files"):
        if not (isinstance(facts.get(key), dict) and facts[key]):
            raise ValueError(f"{key} in {FINGERPRINT} must be a mapping that is not empty")
    there = loaded_files(folder)
    for path in sorted({*there, *facts["files"]}):
        if path not in there:
            raise FileNotFoundError(f"{path} is gone since the fingerprint was made")
        if path not in facts["files"]:
            raise ValueError(f"{path} was added after the fingerprint was made")
        if sha256_of(folder / path) != facts["files"][path]:
            raise ValueError(f"{path} was changed after the fingerprint was made")
    return facts


def _download(repo: str, home: Path, revision: str | None, token: str | None) -> tuple[Path, str]:
    """The whole repository, in an empty cache, and the commit that it is; nothing where a name alone is refused."""
    try:
        info: Any = HfApi(token=token).model_info(repo, revision=revision)
        try:
            check_names(sibling.rfilename for sibling in info.siblings)
        except ValueError as error:
            raise ValueError(f"{repo}: {error}") from error
        return Path(snapshot_download(repo, revision=info.sha, token=token, cache_dir=home / "hub")), info.sha
    except HFValidationError as error:
        raise FileNotFoundError(f"{repo} is neither a folder nor the id of a repository: {error}") from error
    except (httpx.HTTPError, OfflineModeIsEnabled) as error:
        raise FileNotFoundError(f"{_named(repo, revision)} could not be downloaded: {_reason(error)}") from error


def _named(repo: str, revision: str | None) -> str:
    return repo if revision is None else f"{repo} at {revision}"


def _reason(error: Exception) -> str:
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    if not isinstance(error, HfHubHTTPError):
        return f"the connection to the Hub failed ({type(error).__name__}: {error})"
    status = error.response.status_code
    if status in (401, 403, 404):
        return f"there is none, or the token may not read it (the Hub answered {status})"
    return f"the Hub answered {status}"


def _files_of(folder: Path) -> list[str]:
    paths = (path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())
    return sorted(path.as_posix() for path in paths if path.parts[0] not in (".git", ".cache"))


def _run_alone(
    loader: str, source: str, sha: str | None, arguments: dict[str, Any], home: Path, token: str | None
) -> dict[str, list[float]]:
    """What a fresh process without echoform makes, from the files that were checked: they lie in its cache."""
    output = home / "made.json"
    command = [
        sys.executable,
        "-I",
        seeded_outputs.__file__,
        loader,
        source,
        sha or "",
        json.dumps(arguments),
        str(output),
    ]
    caches = {"HF_HUB_CACHE": str(home / "hub"), "HF_MODULES_CACHE": str(home / "modules")}
    environment = os.environ | caches | ({} if token is None else {"HF_TOKEN": token})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
        raise ValueError(f"it does not load or run where echoform is not installed: {''.join(last)}")
    return json.loads(output.read_text())


def _compare(facts: dict[str, Any], made: dict[str, list[float]]) -> dict[str, float]:
    if set(made) != set(facts["outputs"]):
        raise ValueError(f"{FINGERPRINT} holds {sorted(facts['outputs'])}, but {sorted(made)} were made")
    differences = {name: deviation(values, made[name]) for name, values in facts["outputs"].items()}
    for name, difference in differences.items():
        if not difference <= facts["tolerance"]:  # NaN too
            raise ValueError(
                f"its output is not what it was when it was pushed: {name} differ by {difference:.2g} of their size, "
                f"rounding makes at most {facts['tolerance']:g}"
            )
    return differences


def _told(repo: str, sha: str | None, files: int, contents: Contents, differences: dict[str, float]) -> str:
    code = f"code of echoform {contents.release} ({', '.join(contents.code)})" if contents.code else "no code"
    return (
        f"{_named(repo, sha)}, {files} files, weights in safetensors ({len(contents.weights)}), {code}, same "
        f"output as when it was pushed (difference {max(differences.values()):.1g})"
    )
