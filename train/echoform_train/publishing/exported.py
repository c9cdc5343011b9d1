"""Where an exported pipeline lies: in a folder, or on the Hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import snapshot_download

from echoform_train.data.hub import is_hub_id, parse_hub_id


def find_pipeline(source: str) -> Path:
    """Folder of an exported pipeline; one on the Hub is downloaded to the cache.

    Raises:
        FileNotFoundError: If there is no such folder, or no pipeline in it.
    """
    folder = Path(source)
    if not folder.is_dir():
        if not is_hub_id(source):
            raise FileNotFoundError(f"there is no folder {source}")
        repo, revision = parse_hub_id(source)
        folder = Path(snapshot_download(repo, revision=revision))
    if not (folder / "model_index.json").is_file():
        raise FileNotFoundError(f"{source} holds no model_index.json; is it an exported pipeline?")
    return folder
