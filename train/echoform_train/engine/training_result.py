"""The result of one training, which every trainer's `main` returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """Folders of a finished training, and the scores of its best model on held-out data."""

    output_dir: Path
    """Output folder of the training: log, checkpoints, sample sheets, facts.json."""
    exported: Path
    """Folder that later commands take and a push uploads: the pipeline, or the output folder of a first stage."""
    validation: dict[str, float]
    """Scores of the exported model on held-out data, by name (for example psnr, loss)."""
    best_after: int
    """Images seen when the exported model was validated."""
    images_seen: int
    """Images seen in the whole training."""
    seconds: float
    """Duration of the training, including the time before a resume."""
    facts: dict[str, Any]
    """Content of facts.json: settings, data, versions and scores, from which the model card is written."""

    def summary(self) -> str:
        """One line for the terminal: images seen until the best validation, its scores, and the exported folder."""
        scores = ", ".join(f"{name} {value:.4g}" for name, value in self.validation.items())
        return f"best after {self.best_after} images: {scores}; model in {self.exported}"
