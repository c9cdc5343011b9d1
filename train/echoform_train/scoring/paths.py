"""Default paths of the scores of an exported pipeline, and of the split that scoring needs."""

from __future__ import annotations

from pathlib import Path

from echoform_train.engine.errors import MissingFileError, UserError
from echoform_train.engine.files import SPLIT


def scoring_paths(
    pipeline: str, output: Path | None, split_file: Path | None, other_data: bool
) -> tuple[Path, Path | None]:
    """Folder for the scores, and file of the split; by default both are in the parent of the pipeline's folder.

    Args:
        pipeline: Folder of the pipeline, or its id on the Hub.
        output: Folder for the scores; None is `scores` beside the pipeline.
        split_file: Split of the training; None is `split.json` beside the pipeline, where training writes it.
        other_data: Whether the data are not those of the training; without `split_file` they get a new split.

    Raises:
        FileNotFoundError: If the split of the training is needed and does not lie beside the pipeline.
        ValueError: If `output` is None and the pipeline is no local folder.
    """
    folder = Path(pipeline)
    is_local = folder.is_dir()
    if output is None and not is_local:
        raise UserError(f"--output must name a folder for the scores, as {pipeline} is no local folder")
    if split_file is None and not other_data:
        split_file = folder.parent / SPLIT
        if not (is_local and split_file.exists()):
            raise MissingFileError(
                f"there is no {SPLIT} beside {pipeline}; --split-file must name the split of the training, or "
                "--other-data say that the data are not those of the training"
            )
    return output or folder.parent / "scores", split_file
