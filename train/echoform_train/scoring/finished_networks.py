"""Networks of the trainings that a classifier consists of, kept until all are done, for a run that is interrupted."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from echoform_train.engine.checkpoint import PREFIX, list_checkpoints, load_checkpoint, save_checkpoint
from echoform_train.engine.errors import UserError
from echoform_train.engine.files import CHECKPOINTS
from echoform_train.engine.output_folders import differences, require_empty

_MOST = 1000
_GROUP = "network"


class FinishedNetworks:
    """Checkpoints in OUTPUT_DIR/checkpoints, one per finished training, by the images that were seen after it.

    Args:
        output_dir: Output folder, which is new or empty, or holds checkpoints of equal settings that are continued.
        settings: Everything that can change a number, see `resume_settings`.
        resume: "latest" goes on from the checkpoints, None begins.

    Raises:
        UserError: If the folder holds something else, checkpoints that are not to be continued, or checkpoints of
            other settings.
    """

    def __init__(self, output_dir: Path, settings: Mapping[str, Any], resume: Literal["latest"] | None) -> None:
        self._root, self._settings = output_dir / CHECKPOINTS, dict(settings)
        require_room(output_dir, resume)
        found = list_checkpoints(self._root)
        if not found:
            return
        changed = []
        for folder in found:
            try:
                earlier = load_checkpoint(folder).state.get("settings")
            except UserError as error:  # damaged: that network is trained again
                print(f"skipped a checkpoint: {error}")
                shutil.rmtree(folder)
                continue
            changed.append(differences(earlier if isinstance(earlier, dict) else {}, self._settings))
        if any(changed):
            raise UserError(
                f"a run resumes with the settings and data that it began with: {next(filter(None, changed))}; to "
                "change them, start a new run in another --output-dir"
            )
        print(f"resumed: {len(changed)} trainings are done already")

    def load(self, seen: int) -> dict[str, Tensor] | None:
        """Weights of the training that ended after so many images; None if it is not done."""
        folder = self._root / f"{PREFIX}{seen:09d}"
        return load_checkpoint(folder).tensors[_GROUP] if folder.is_dir() else None

    def save(self, seen: int, weights: Mapping[str, Tensor]) -> None:
        """Keep the weights of a training that ended after so many images."""
        self._root.mkdir(parents=True, exist_ok=True)
        kept = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
        save_checkpoint(self._root, seen, {_GROUP: kept}, {"settings": self._settings}, _MOST)

    def remove(self) -> None:
        """Remove all of them, when the classifier is written."""
        shutil.rmtree(self._root, ignore_errors=True)


def require_room(output_dir: Path, resume: Literal["latest"] | None) -> None:
    """Refuse an output folder that is neither new nor empty, nor holds only checkpoints to go on from.

    Raises:
        UserError: If it is refused.
    """
    if resume is None and list_checkpoints(output_dir / CHECKPOINTS):
        raise UserError(
            f"{output_dir} holds a training that was interrupted; continue it with --resume-from-checkpoint latest, or "
            "choose another --output-dir"
        )
    require_empty(output_dir, "--output-dir", but=(CHECKPOINTS,))
