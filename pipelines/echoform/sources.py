"""Finding one file of a model in a local folder or a repository on the Hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HFValidationError, RepositoryNotFoundError


def find_file(source: str | Path, name: str, *, revision: str | None = None, token: str | None = None) -> Path | None:
    """Path of a file in a local folder or Hub repository; from the Hub it is downloaded to the cache.

    Args:
        source: Local folder, or repository id "user/name".
        name: Path of the file below the folder or repository.
        revision: Branch, tag or commit of the repository; None is main. A folder has none.
        token: Token of the Hub; None uses HF_TOKEN or what `hf auth login` stored.

    Returns:
        The path, or None if the folder or repository holds no such file.

    Raises:
        FileNotFoundError: If the source is neither a folder nor a repository that can be read.
    """
    if Path(source).is_dir():
        path = Path(source) / name
        return path if path.is_file() else None
    try:
        return Path(hf_hub_download(str(source), name, revision=revision, token=token))
    except EntryNotFoundError:
        return None
    except (HFValidationError, RepositoryNotFoundError) as error:
        raise FileNotFoundError(f"{source} is neither a folder nor a repository on the Hub that can be read") from error
