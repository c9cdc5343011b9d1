"""Where the scores of an exported pipeline go, and which split they need."""

from __future__ import annotations

from pathlib import Path

from echoform_train.engine.files import SPLIT


def scoring_paths(pipeline: str, output: Path | None, split_file: Path | None) -> tuple[Path, Path]:
    """Folder for the scores and the split, by default beside the folder of the pipeline, where its training left them.

    Raises:
        FileNotFoundError: If no split is named and none lies there.
        ValueError: If the pipeline is no folder and no place for the scores is named.
    """
    folder = Path(pipeline)
    local = folder.is_dir()
    if output is None and not local:
        raise ValueError(f"--output says where the scores go, {pipeline} is no folder to put them beside")
    beside = folder.parent / SPLIT
    if split_file is None and not (local and beside.is_file()):
        raise FileNotFoundError(
            f"no split of the training lies beside {pipeline}; --split-file names it, or a new file where the "
            "data are others"
        )
    return output or folder.parent / "scores", split_file or beside
