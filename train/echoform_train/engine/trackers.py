"""The experiment tracker that a training reports to, besides its own log.jsonl: numbers, and sheets as images."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import ProjectConfiguration
from PIL import Image

from echoform_train.engine.errors import refused_by
from echoform_train.engine.extras import missing_package
from echoform_train.engine.files import LOGS

EXTRAS = ("tensorboard", "trackio", "wandb")
"""Trackers, each with an extra of its name in pyproject.toml."""


def tracker(report_to: str) -> str | None:
    """Name of the tracker for accelerate, or None to use none.

    Args:
        report_to: The flag --report-to: the name of a tracker, "none", or "auto" for tensorboard if it is installed.

    Raises:
        MissingPackageError: If the named tracker is not installed; accelerate alone would leave it out silently.
    """
    if report_to == "none":
        return None
    installed = {str(name.value) for name in get_available_trackers()}
    if report_to == "auto":
        return "tensorboard" if "tensorboard" in installed else None
    if report_to not in installed:
        requirement = f'"echoform[{report_to}]"' if report_to in EXTRAS else report_to
        raise missing_package(report_to, f"--report-to {report_to}", requirement)
    return report_to


def folders_of(output_dir: Path) -> ProjectConfiguration:
    """Folders for accelerate: what trackers write lies in OUTPUT_DIR/logs."""
    return ProjectConfiguration(project_dir=str(output_dir), logging_dir=str(output_dir / LOGS))


def start_trackers(accelerator: Accelerator, project: str, output_dir: Path, settings: Mapping[str, Any]) -> None:
    """Begin to report a run that is called like its output folder.

    Args:
        accelerator: With the trackers, made with `folders_of`.
        project: Kind of model, such as "ldm".
        output_dir: Output folder of the training.
        settings: Numbers and texts that the tracker shows of the run.

    Raises:
        UserError: If the tracker cannot begin, for example because nobody is logged in.
    """
    names = [str(getattr(name, "value", name)) for name in accelerator.log_with]
    name = output_dir.resolve().name
    own = {"wandb": {"name": name, "dir": str(output_dir / LOGS)}, "trackio": {"name": name}}
    if accelerator.is_main_process and names:
        (output_dir / LOGS).mkdir(parents=True, exist_ok=True)
    with refused_by(f"--report-to {' '.join(names)} cannot begin", _errors_of(names)):
        accelerator.init_trackers(project, config=dict(settings), init_kwargs={k: own[k] for k in names if k in own})


def log_image(accelerator: Accelerator, name: str, path: Path, seen: int) -> None:
    """Show an image file in every tracker.

    Args:
        accelerator: With the trackers.
        name: Name of the image, under which the tracker shows all its versions.
        path: The file.
        seen: Images seen by the training.
    """
    if not accelerator.trackers:
        return
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))  # [H, W, 3]
    for each in accelerator.trackers:
        if each.name == "tensorboard":
            each.log_images({name: pixels[None]}, step=seen, dataformats="NHWC")
        elif each.name == "wandb":
            each.log_images({name: [pixels]}, step=seen)
        elif each.name == "trackio":  # accelerate has no log_images for it
            each.log({name: import_module("trackio").Image(pixels)}, step=seen)


def _errors_of(names: list[str]) -> tuple[type[Exception], ...]:
    """What trackers raise where the user has to do something."""
    if "wandb" not in names:
        return (OSError,)
    return OSError, import_module("wandb").errors.Error
