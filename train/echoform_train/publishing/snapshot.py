"""Download of a whole repository of a model from the Hub, whose size is known and bounded before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError

from echoform_train.engine.errors import UserError
from echoform_train.engine.hub_errors import HUB_ERRORS, readable_from_hub

MOST_FILES = 1000
"""Most files of a repository or folder of a model."""
MOST_BYTES = 32 * 2**30
"""Most bytes of all of them together."""
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def download_model(repo: str, revision: str | None = None, token: str | None = None) -> Path:
    """Folder of a repository in the cache of the Hub, without pickled weights; downloaded where it is not there yet.

    Where the Hub cannot be reached, what was downloaded earlier is taken.

    Args:
        repo: Id on the Hub, user/name.
        revision: Branch, tag or commit; None is main.
        token: Token of the Hub; None is HF_TOKEN or the one that `hf auth login` stored.

    Raises:
        MissingFileError: If there is no such repository or revision, or it cannot be read.
        UserError: If it has too many files or bytes.
    """
    with readable_from_hub(repo, revision):
        try:
            info: Any = HfApi(token=token).model_info(repo, revision=revision, files_metadata=True)
        except HUB_ERRORS as error:
            if isinstance(error, HfHubHTTPError | ValueError):
                raise
            return Path(snapshot_download(repo, revision=revision, local_files_only=True))
        check_size(repo, info.siblings)
        return Path(snapshot_download(repo, revision=info.sha, token=token, ignore_patterns=list(_PICKLES)))


def download_all(
    repo: str, cache: Path, check_names: Callable[[Sequence[str]], None], revision: str | None, token: str | None
) -> tuple[Path, str]:
    """Download every file of a repository, if their names are allowed.

    Args:
        repo: Id on the Hub.
        cache: Folder for the download.
        check_names: Called with the paths of all files before any is downloaded; raises a UserError to refuse.
        revision: Branch, tag or commit.
        token: Token of the Hub.

    Returns:
        The folder, and the commit.

    Raises:
        MissingFileError: As `download_model`.
        UserError: As `download_model`, and what `check_names` raises.
    """
    with readable_from_hub(repo, revision):
        info: Any = HfApi(token=token).model_info(repo, revision=revision, files_metadata=True)
        check_size(repo, info.siblings)
        check_names([sibling.rfilename for sibling in info.siblings])
        return Path(snapshot_download(repo, revision=info.sha, token=token, cache_dir=cache)), info.sha


def check_size(repo: str, files: Sequence[Any]) -> None:
    """Check the number of files of a repository, and the bytes that the Hub says they have.

    Raises:
        UserError: If there are more than MOST_FILES, or they have more than MOST_BYTES together.
    """
    if len(files) > MOST_FILES:
        raise UserError(f"{repo}: a model must have at most {MOST_FILES} files, it has {len(files)}")
    total = sum(file.size or 0 for file in files)
    if total > MOST_BYTES:
        raise UserError(f"{repo}: a model must have at most {MOST_BYTES // 2**30} GiB, it has {total / 2**30:.0f} GiB")
