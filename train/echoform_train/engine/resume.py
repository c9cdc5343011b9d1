"""Which settings and inputs a resumed training must share with the one that it continues: all that change a number."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch

from echoform_train.engine.checkpoint import list_checkpoints
from echoform_train.engine.content import content_hash
from echoform_train.engine.errors import UserError
from echoform_train.engine.files import CHECKPOINTS, STATE
from echoform_train.engine.json_files import read_json_object
from echoform_train.engine.output_folders import differences
from echoform_train.engine.resolution import resolution_of

FREE = frozenset(
    {
        "output_dir",
        "resume_from_checkpoint",
        "push_to_hub",
        "private",
        "revision",
        "token",
        "license",
        "people",
        # Inputs may lie at another path now: their content is compared, see `data_content`.
        "data",
        "split_file",
        "resolution",
        "crop",
        "read",
        "values",
        "db_range",
        "first_row",
        "variable",
        "skip_bad_files",
        "first_stage",
        "initial_pipeline",
        "initial_model",
        "pipeline",
    }
)
"""Settings that are not compared, because none of them can change a number by itself."""
TOLD = frozenset(
    {
        "early_stopping_patience",
        "checkpointing_every",
        "checkpoints_total_limit",
        "logging_every",
        "report_to",
        "sample_every",
    }
)
"""Settings that a resumed run may change; it prints which of them did. The length is one of them where the learning
rate does not depend on it."""

_OF_NO_MODEL = frozenset(
    {"test", "left_out", "source", "split_file", "images_sha256", "skipped", "other_files", "native_size", "notes"}
    | {"colormap_residual", "other_sizes"}
)
"""Fields of loaded data that no training sees."""
_FLAGS = {"split": "--split-file", "reading": "--crop (reading)", "colormap": "--colormap", "train": "--data (train)"}
_FLAGS |= {"validation": "--data (validation)"}


def resume_settings(config: Any, inputs: Mapping[str, Any] | None = None, free: Collection[str] = ()) -> dict[str, Any]:
    """Everything that a resumed run is compared in, by flag, JSON-able.

    Args:
        config: Settings of a trainer: a dataclass, perhaps with others in it, among them `RunConfig`.
        inputs: What the run reads, by the flag that names it, as hashes or plain values; see `data_content`.
        free: Further settings of this trainer that cannot change a number.
    """
    flat = _flatten(asdict(config))
    kept = {f"--{name.replace('_', '-')}": value for name, value in flat.items() if name not in FREE | {*free}}
    # Through JSON, so that they compare equal to the settings in a checkpoint: paths as text, tuples as lists.
    return json.loads(json.dumps(kept | dict(inputs or {}), default=str))


def data_content(data: Any) -> dict[str, Any]:
    """Loaded data by the flags that chose them: plain values as they are, all else by a hash of its content.

    Args:
        data: A dataclass with `train` and `validation`, whose tensors hold the images as the model sees them.
    """
    values = {field.name: getattr(data, field.name) for field in fields(data) if field.name not in _OF_NO_MODEL}
    images = next(tensor for tensor in vars(data.train).values() if isinstance(tensor, torch.Tensor))
    size = resolution_of(*images.shape[-2:])
    return {"--resolution": size} | {
        _FLAGS.get(name, f"--data ({name})"): value
        if value is None or isinstance(value, str | int | float)
        else f"content {content_hash(value)}"
        for name, value in values.items()
    }


def compare_settings(earlier: Any, now: Mapping[str, Any], checkpoint: str) -> str:
    """Compare the settings in a checkpoint with those of the run that continues it.

    Args:
        earlier: Settings of the run that wrote the checkpoint.
        now: Settings of this run.
        checkpoint: Folder of the checkpoint, for the message.

    Returns:
        The settings that differ and may do so, each with both values; "" if there are none.

    Raises:
        UserError: If a setting differs that can change a number; the message names each with both values.
    """
    if not isinstance(earlier, dict) or set(earlier) != set(now):
        raise UserError(
            f"{checkpoint} was written by another version of echoform, which compared other settings; start a new run "
            "in another --output-dir"
        )
    told = {f"--{name.replace('_', '-')}" for name in TOLD}
    # Only a cosine depends on the length of the run.
    if now["--lr-scheduler"] != "cosine":
        told.add("--max-train-images")
    if changed := differences(_without(earlier, told), _without(now, told)):
        raise UserError(
            f"a run resumes with the settings and data that it began with: {changed}; to change them, start a new run "
            "in another --output-dir"
        )
    return differences(earlier, now)


def find_checkpoints(output_dir: Path, resume_from: str | None) -> list[Path]:
    """The checkpoints that a run may resume from, oldest first; empty to train from the start.

    Processes that torchrun starts again after a failure go on from what the same launch wrote, without the flag.

    Args:
        output_dir: Output folder of the training.
        resume_from: The flag --resume-from-checkpoint: "latest", the folder of a checkpoint, or None.

    Raises:
        UserError: If the output folder already holds a training and the flag is not given.
    """
    found = list_checkpoints(output_dir / CHECKPOINTS)
    if resume_from == "latest" or _is_restart_of(found):
        return found
    if resume_from is not None:
        return [Path(resume_from)]
    if found:
        raise UserError(
            f"{output_dir} holds a run of {found[-1].name}; continue it with --resume-from-checkpoint latest, or "
            "choose another --output-dir"
        )
    return []


def launch() -> str | None:
    """What torchrun calls the present launch, the same after it restarted its processes; None without torchrun."""
    return os.environ.get("TORCHELASTIC_RUN_ID")


def _is_restart_of(checkpoints: list[Path]) -> bool:
    """Whether torchrun restarted this process, and an earlier process of the same launch wrote a checkpoint."""
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) == 0:
        return False
    for folder in reversed(checkpoints):
        try:
            return read_json_object(folder / STATE).get("launch") == launch()
        except UserError:  # damaged: an older one may tell
            continue
    return False


def _flatten(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings on one level; flags have no prefixes, so that no name appears twice."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flatten(value) if isinstance(value, dict) else {name: value}
    return flat


def _without(settings: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in names}
