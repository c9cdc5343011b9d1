"""The result of one training, which every trainer's `main` returns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from echoform_train.engine.errors import MissingFileError
from echoform_train.engine.files import FIRST_STAGE, MODEL_CONFIG, MODEL_INDEX
from echoform_train.engine.json_files import read_json_object
from echoform_train.engine.shown import ShownAsTable


@dataclass(frozen=True, kw_only=True, repr=False)
class TrainingResult(ShownAsTable):
    """Folders of a finished training, and the scores of its best model on held-out data."""

    output_dir: Path
    """Output folder of the training: log, checkpoints, sample sheets, facts.json."""
    exported: Path
    """Folder that later commands take and a push uploads: the pipeline, or the output folder of a first stage."""
    metrics: dict[str, float]
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
        scores = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        return f"best after {self.best_after} images: {scores}; model in {self.exported}"

    def load(self) -> Any:
        """Load the exported model.

        Returns:
            The pipeline of a diffusion model or an autoencoder, the `VQModel` or `AutoencoderKL` of a first stage, or
            transformers' pipeline of a classifier, which takes pictures.
        """
        if (self.exported / MODEL_INDEX).is_file():
            import echoform  # its classes import torch, which takes seconds

            # [file, class] as in every exported folder.
            name = read_json_object(self.exported / MODEL_INDEX)["_class_name"][1]
            return getattr(echoform, name).from_pretrained(self.exported)
        if (self.exported / FIRST_STAGE / MODEL_CONFIG).is_file():
            import diffusers

            name = read_json_object(self.exported / FIRST_STAGE / MODEL_CONFIG)["_class_name"]
            return getattr(diffusers, name).from_pretrained(self.exported / FIRST_STAGE)
        if (self.exported / MODEL_CONFIG).is_file():
            from transformers import pipeline

            from echoform.spectrogram_classifier import SpectrogramClassifier, SpectrogramImageProcessor

            return pipeline(
                "image-classification",
                model=SpectrogramClassifier.from_pretrained(self.exported),
                image_processor=SpectrogramImageProcessor.from_pretrained(self.exported),
            )
        raise MissingFileError(f"{self.exported} holds no model any more")

    def shown(self) -> Iterator[tuple[str, str]]:
        """Rows of the table that it prints."""
        yield from ((name, f"{value:.4g}") for name, value in self.metrics.items())
        yield "best after", f"{self.best_after:,} of {self.images_seen:,} images seen"
        yield "duration", f"{self.seconds:.0f} s"
        yield "output_dir", str(self.output_dir)
        yield "exported", str(self.exported)
