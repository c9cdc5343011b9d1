"""Check that a repository of the Hub is safe, loads, and gives the outputs that it gave when it was pushed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import httpx

from echoform_train.engine.errors import MissingFileError, UserError
from echoform_train.engine.files import FINGERPRINT
from echoform_train.publishing import seeded_outputs
from echoform_train.publishing.families import published_class
from echoform_train.publishing.fingerprint import (
    ARGUMENTS,
    TOLERANCE,
    Fingerprint,
    deviation,
    loaded_files,
    sha256_of,
)
from echoform_train.publishing.folder_check import Contents, check_folder, check_names, read_json
from echoform_train.publishing.released import known_releases


@dataclass(frozen=True)
class Verification:
    """Facts about a repository or folder that passed every check."""

    repo: str
    """Hub id or folder."""
    commit: str | None
    """Commit of the repository; None for a folder."""
    files: int
    """Number of files."""
    contents: Contents
    differences: dict[str, float]
    """Deviation of each seeded output from that in the fingerprint."""

    def summary(self) -> str:
        """One line for the terminal."""
        contents = self.contents
        code = f"code of echoform {contents.release} ({', '.join(contents.code)})" if contents.code else "no code"
        return (
            f"{_with_revision(self.repo, self.commit)}, {self.files} files, weights in safetensors "
            f"({len(contents.weights)}), {code}, same output as when it was pushed "
            f"(difference {max(self.differences.values()):.1g})"
        )


def verify(repo: str, home: Path, *, revision: str | None = None, token: str | None = None) -> Verification:
    """Download, check and run a repository. Its code runs only if it is the code of a released echoform.

    Args:
        repo: Id on the Hub, or an exported folder.
        home: Empty folder for everything that is downloaded or cached.
        revision: Branch, tag or commit.
        token: Token of the Hub.

    Raises:
        FileNotFoundError: If the repository, or something that it must hold, is missing.
        ValueError: If something in it is wrong, it does not load, or it gives other outputs.
    """
    if Path(repo).is_dir():
        if revision is not None:
            raise UserError(f"a folder has no revisions, got {revision!r} for {repo}")
        folder, commit, source = Path(repo), None, str(Path(repo).resolve())
    else:
        folder, commit, source = *_download(repo, home, revision, token), repo
    names = _files_of(folder)
    try:
        # All reading checks come before anything of the repository runs.
        contents = check_folder(folder, names, known_releases())
        fingerprint = read_fingerprint(folder)
        make_outputs = published_class(folder).outputs.__name__
        arguments = [contents.loader, source, commit or "", make_outputs, json.dumps(fingerprint["arguments"])]
        differences = _compare(fingerprint, _run_without_echoform(arguments, home, token))
    except UserError as error:
        raise type(error)(f"{repo}: {error}") from error
    return Verification(repo, commit, len(names), contents, differences)


def read_fingerprint(folder: Path) -> Fingerprint:
    """Read fingerprint.json of a folder, and check that the files are those that it was made from.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If the fingerprint is malformed, or a file was changed or added.
    """
    facts = read_json(folder / FINGERPRINT)
    _check_fingerprint(facts)
    present = loaded_files(folder)
    for path in sorted({*present, *facts["files"]}):
        if path not in present:
            raise MissingFileError(f"{path} was removed after the fingerprint was made")
        if path not in facts["files"]:
            raise UserError(f"{path} was added after the fingerprint was made")
        if sha256_of(folder / path) != facts["files"][path]:
            raise UserError(f"{path} was changed after the fingerprint was made")
    return cast(Fingerprint, facts)


def _check_fingerprint(facts: dict[str, Any]) -> None:
    arguments, tolerance = facts.get("arguments"), facts.get("tolerance")
    if not isinstance(arguments, dict) or set(arguments) != set(ARGUMENTS):
        raise UserError(f"arguments in {FINGERPRINT} must be {', '.join(ARGUMENTS)}, got {arguments}")
    steps = arguments["num_inference_steps"]
    if not (isinstance(steps, int) and 1 <= steps <= 100):
        raise UserError(f"num_inference_steps in {FINGERPRINT} must be in 1..100, got {steps!r}")
    if not (isinstance(tolerance, float) and 0 < tolerance <= TOLERANCE):
        raise UserError(f"tolerance in {FINGERPRINT} must be in (0, {TOLERANCE}], got {tolerance!r}")
    for key in ("outputs", "files"):
        if not (isinstance(facts.get(key), dict) and facts[key]):
            raise UserError(f"{key} in {FINGERPRINT} must be a mapping that is not empty")


def _download(repo: str, home: Path, revision: str | None, token: str | None) -> tuple[Path, str]:
    """Download a repository, if the names of its files are allowed, to an empty cache; return its folder and commit."""
    try:
        info: Any = HfApi(token=token).model_info(repo, revision=revision)
        try:
            check_names(sibling.rfilename for sibling in info.siblings)
        except UserError as error:
            raise UserError(f"{repo}: {error}") from error
        return Path(snapshot_download(repo, revision=info.sha, token=token, cache_dir=home / "hub")), info.sha
    except HFValidationError as error:
        raise MissingFileError(f"{repo} is neither a folder nor the id of a repository: {error}") from error
    except (httpx.HTTPError, OfflineModeIsEnabled) as error:
        where = _with_revision(repo, revision)
        raise MissingFileError(f"{where} could not be downloaded: {_reason(error)}") from error


def _with_revision(repo: str, revision: str | None) -> str:
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


def _run_without_echoform(arguments: list[str], home: Path, token: str | None) -> dict[str, list[float]]:
    """Run seeded_outputs.py as a script; it loads the checked files, which lie in the cache in `home`."""
    output = home / "made.json"
    command = [sys.executable, "-I", seeded_outputs.__file__, *arguments, str(output)]
    caches = {"HF_HUB_CACHE": str(home / "hub"), "HF_MODULES_CACHE": str(home / "modules")}
    environment = os.environ | caches | ({} if token is None else {"HF_TOKEN": token})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
        raise UserError(f"it does not load or run where echoform is not installed: {''.join(last)}")
    return json.loads(output.read_text())


def _compare(fingerprint: Fingerprint, made: dict[str, list[float]]) -> dict[str, float]:
    """Deviation of each output; raises ValueError if one is larger than rounding makes it."""
    stored = fingerprint["outputs"]
    if set(made) != set(stored):
        raise UserError(f"{FINGERPRINT} holds {sorted(stored)}, but {sorted(made)} were made")
    differences = {name: deviation(values, made[name]) for name, values in stored.items()}
    for name, difference in differences.items():
        if not difference <= fingerprint["tolerance"]:  # NaN too
            raise UserError(
                f"its output is not what it was when it was pushed: {name} differ by {difference:.2g} of their size, "
                f"rounding makes at most {fingerprint['tolerance']:g}"
            )
    return differences
