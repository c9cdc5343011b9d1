"""Default places of the scores of an exported pipeline and of the split that they need."""

from __future__ import annotations

from pathlib import Path

from echoform_train.engine.files import SPLIT


def scoring_paths(pipeline: str, output: Path | None, split_file: Path | None) -> tuple[Path, Path]:
    """Folder for the scores and file of the split; by default both lie beside the pipeline's folder, where training
    put the split.

    Args:
        pipeline: Folder of the pipeline, or its id on the Hub.
        output: Folder for the scores; None is "scores" beside the pipeline.
        split_file: Split of the training; None is split.json beside the pipeline.

    Raises:
        FileNotFoundError: If `split_file` is None and no split lies beside the pipeline.
        ValueError: If `output` is None and the pipeline is no local folder.
    """
    folder = Path(pipeline)
    is_local = folder.is_dir()
    if output is None and not is_local:
        raise ValueError(f"--output says where the scores go and must be given, as {pipeline} is no local folder")
    beside = folder.parent / SPLIT
    if split_file is None and not (is_local and beside.is_file()):
        raise FileNotFoundError(
            f"no split of the training lies beside {pipeline}; --split-file must name it, or a new file where the data "
            "are others"
        )
    return output or folder.parent / "scores", split_file or beside
