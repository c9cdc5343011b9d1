"""Check that a repository of the Hub is safe, loads, and gives the outputs that it gave when it was pushed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from echoform_train.engine.errors import MissingFileError, UserError
from echoform_train.engine.files import FINGERPRINT, MODEL_CONFIG
from echoform_train.engine.json_files import read_json_object
from echoform_train.engine.limits import VERIFY_TIME_LIMIT_S
from echoform_train.engine.shown import ShownAsTable
from echoform_train.engine.sources import is_hub_id, parse_hub_id
from echoform_train.publishing import seeded_outputs
from echoform_train.publishing.exported import class_name
from echoform_train.publishing.families import published_class
from echoform_train.publishing.fingerprint import (
    ARGUMENTS,
    TOLERANCE,
    Fingerprint,
    deviation,
    loaded_files,
    sha256_of,
)
from echoform_train.publishing.folder_check import ONNX_LOADER, Contents, check_folder, check_names
from echoform_train.publishing.model_folder import ADDED_USER
from echoform_train.publishing.records import check_record
from echoform_train.publishing.released import known_releases
from echoform_train.publishing.snapshot import MOST_FILES, download_all


@dataclass(frozen=True, repr=False)
class Verification(ShownAsTable):
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

    def shown(self) -> Iterator[tuple[str, str]]:
        """Rows of the table that it prints."""
        yield from super().shown()
        yield "release", str(self.contents.release)
        yield "difference", f"{max(self.differences.values()):.1g}"

    def summary(self) -> str:
        """One line for the terminal."""
        contents = self.contents
        kind = "ONNX" if contents.loader == ONNX_LOADER else "safetensors"
        code = f"code of echoform {contents.release} ({', '.join(contents.code)})" if contents.code else "no code"
        return (
            f"{_with_revision(self.repo, self.commit)}, {self.files} files, weights in {kind} "
            f"({len(contents.weights)}), {code}, same output as when it was pushed "
            f"(difference {max(self.differences.values()):.1g})"
        )


def verify(
    repo: str,
    home: Path,
    *,
    revision: str | None = None,
    token: str | None = None,
    time_limit_s: float = VERIFY_TIME_LIMIT_S,
    base_model: str | None = None,
) -> Verification:
    """Download, check and run a repository. Its code runs only if it is the code of a released echoform.

    Args:
        repo: Id on the Hub, or an exported folder.
        home: Empty folder for everything that is downloaded or cached.
        revision: Branch, tag or commit.
        token: Token of the Hub.
        time_limit_s: Seconds that loading and running it may take.
        base_model: Of a user that was added to a pipeline: id or folder of the pipeline, which is verified as well;
            None is the one in its config.

    Raises:
        FileNotFoundError: If the repository, or something that it must hold, is missing.
        ValueError: If something in it is wrong or too large, it does not load in time, or it gives other outputs.
    """
    if time_limit_s <= 0:
        raise UserError(f"--time-limit-s must be greater than 0, got {time_limit_s:g}")
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
        place, user = (source, commit or ""), []
        if class_name(folder) == ADDED_USER:
            base = _verify_base(folder, base_model, home, token, time_limit_s)
            place = base.repo if base.commit else str(Path(base.repo).resolve()), base.commit or ""
            contents = replace(contents, code=base.contents.code, release=base.contents.release)
            user = [str(folder.resolve())]
        elif base_model is not None:
            raise UserError("--base-model is for a user that was added to a pipeline, this is a model of its own")
        arguments = [contents.loader, *place, make_outputs, json.dumps(fingerprint["arguments"])]
        differences = _compare(fingerprint, _run_without_echoform(arguments, home, token, time_limit_s, user))
    except UserError as error:
        raise type(error)(f"{repo}: {error}") from error
    return Verification(repo, commit, len(names), contents, differences)


def _verify_base(
    folder: Path, base_model: str | None, home: Path, token: str | None, time_limit_s: float
) -> Verification:
    """Verify the pipeline that a user was added to."""
    base = str(read_json_object(folder / MODEL_CONFIG)["base_model"]) if base_model is None else base_model
    if Path(base).is_dir() and base_model is not None:
        return verify(base, home, time_limit_s=time_limit_s)
    if not is_hub_id(base):
        raise MissingFileError(f"--base-model must name the folder or Hub id of its pipeline, there is no {base!r:.80}")
    hub_id = parse_hub_id(base)
    return verify(hub_id.repo, home, revision=hub_id.revision, token=token, time_limit_s=time_limit_s)


def read_fingerprint(folder: Path) -> Fingerprint:
    """Read fingerprint.json of a folder, and check that the files are those that it was made from.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If the fingerprint is malformed, or a file was changed or added.
    """
    facts = read_json_object(folder / FINGERPRINT)
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
    steps, seed = arguments["num_inference_steps"], arguments["seed"]
    if not (isinstance(seed, int) and 0 <= seed < 2**63):
        raise UserError(f"seed in {FINGERPRINT} must be a whole number from 0, got {seed!r:.40}")
    if not (isinstance(steps, int) and 1 <= steps <= 100):
        raise UserError(f"num_inference_steps in {FINGERPRINT} must be in 1..100, got {steps!r}")
    if not (isinstance(tolerance, float) and 0 < tolerance <= TOLERANCE):
        raise UserError(f"tolerance in {FINGERPRINT} must be in (0, {TOLERANCE}], got {tolerance!r}")
    for key in ("outputs", "files"):
        if not (isinstance(facts.get(key), dict) and facts[key]):
            raise UserError(f"{key} in {FINGERPRINT} must be a mapping that is not empty")
    check_record(facts["outputs"], dict[str, list[float]], f"outputs in {FINGERPRINT}")
    check_record(facts["files"], dict[str, str], f"files in {FINGERPRINT}")
    check_record(arguments, dict[str, float], f"arguments in {FINGERPRINT}")


def _download(repo: str, home: Path, revision: str | None, token: str | None) -> tuple[Path, str]:
    """Download a repository, if its size and the names of its files are allowed; return its folder and commit."""

    def check(names: Sequence[str]) -> None:
        try:
            check_names(names)
        except UserError as error:
            raise UserError(f"{repo}: {error}") from error

    return download_all(repo, home / "hub", check, revision, token)


def _with_revision(repo: str, revision: str | None) -> str:
    return repo if revision is None else f"{repo} at {revision}"


def _files_of(folder: Path) -> list[str]:
    """Paths of the files in a folder, which must be regular ones and no more than a repository may have."""
    names = []
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        if path.is_dir() or relative.parts[0] in (".git", ".cache"):
            continue
        if not path.is_file():
            raise UserError(f"{path} must be a regular file")
        names.append(relative.as_posix())
        if len(names) > MOST_FILES:
            raise UserError(f"{folder}: a model must have at most {MOST_FILES} files, it has more")
    return sorted(names)


def _run_without_echoform(
    arguments: list[str], home: Path, token: str | None, time_limit_s: float, user: Sequence[str] = ()
) -> dict[str, list[float]]:
    """Run seeded_outputs.py as a script; it loads the checked files, which lie in the cache in `home`."""
    output = home / "made.json"
    command = [sys.executable, "-I", seeded_outputs.__file__, *arguments, str(output), *user]
    caches = {"HF_HUB_CACHE": str(home / "hub"), "HF_MODULES_CACHE": str(home / "modules")}
    environment = os.environ | caches | ({} if token is None else {"HF_TOKEN": token})
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=time_limit_s
        )
    except subprocess.TimeoutExpired as expired:
        raise UserError(
            f"it does not load and run within {time_limit_s:g} s where echoform is not installed; --time-limit-s gives "
            "it longer"
        ) from expired
    if done.returncode != 0:
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
        raise UserError(f"it does not load or run where echoform is not installed: {''.join(last)}")
    return read_json_object(output)


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
