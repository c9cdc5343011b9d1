"""Checks of folders and repositories before a model or pipeline is loaded from them; this file does not travel.

The classes that travel call it where echoform is installed. Everything that a config can make large is bounded here
before it is allocated, and what diffusers raises on damaged files becomes one sentence.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError

from echoform.code_files import plain_stem
from echoform.model_checks import check_name
from echoform.pipeline_vq_ldm_doppler import check_axes

MAX_CONFIG_BYTES = 4_000_000
"""Size of the largest JSON file that is read."""

MAX_NUMBER = 1_000_000
"""Largest number in the config of a component."""

MAX_TRAIN_STEPS = 100_000
"""Most training steps of a scheduler, which allocates some numbers for each."""

_CONFIGS = ("config.json", "scheduler_config.json")
_READ = ("*.json", "*/*.json", "*.safetensors", "*/*.safetensors")

# What diffusers, torch and safetensors raise on files that are damaged or do not fit together.
_DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    SafetensorError,
    TypeError,
)


@contextmanager
def refusing_damage(source: str | os.PathLike[str]) -> Iterator[None]:
    """Run the block that loads a folder or repository; its errors become a ValueError of one sentence that names it.

    A missing file stays an OSError, and so does what the network raises.

    Raises:
        ValueError: If the files are damaged, do not fit together or are larger than any of ours.
    """
    try:
        _check_files(Path(source))
        yield
    except (HfHubHTTPError, FileNotFoundError):
        raise
    except (*_DAMAGE, ValueError) as error:
        if str(source) in str(error):
            raise
        raise ValueError(f"{source} cannot be loaded: {_first_line(error)}") from error
    except OSError as error:
        # diffusers raises an OSError without number for what it cannot read, and for a file that is not there.
        if error.errno is not None or "no file named" in str(error) or not Path(source).is_dir():
            raise
        raise ValueError(f"{source} cannot be loaded: {_first_line(error)}") from error


def prepare_index(loaded: Any, source: str | os.PathLike[str], module: str) -> None:
    """Check model_index.json, and point it to the modules of our models that lie beside a pipeline's own.

    Args:
        loaded: What `load_config` of a pipeline returns; its index is changed in place.
        source: See `check_configs`.
        module: Full name of the module of the pipeline's class.

    Raises:
        ValueError: See `check_configs`.
    """
    check_configs(source, loaded)
    index = loaded[0] if isinstance(loaded, tuple) else loaded
    scheduler = Path(source) / "scheduler" / "scheduler_config.json"
    if "prediction_type" not in index and scheduler.is_file():  # of an earlier version
        index["prediction_type"] = _predicted_for(json.loads(scheduler.read_text(encoding="utf-8")))
    package, _, own = module.rpartition(".")
    # Installed modules have plain names, modules from an exported folder have names with a hash.
    installed = plain_stem(own) == own
    for name, entry in index.items():
        if isinstance(entry, list) and not name.startswith("_") and str(entry[0]).isidentifier():
            beside = f"{package}.{plain_stem(entry[0]) if installed else entry[0]}".lstrip(".")
            if find_spec(beside) is not None:
                import_module(beside)  # diffusers looks among the modules that are already imported
                entry[0] = beside


def _predicted_for(settings: Mapping[str, Any]) -> str | None:
    """What a saved scheduler of diffusers takes a U-Net to predict; None if it does not say."""
    is_flow = "FlowMatch" in str(settings.get("_class_name")) or settings.get("use_flow_sigmas")
    predicted = "flow_prediction" if is_flow else settings.get("prediction_type")
    return predicted if isinstance(predicted, str) else None


def check_configs(source: str | os.PathLike[str], index: Any) -> None:
    """Check model_index.json and the configs of its components before any of them is made.

    Args:
        source: Folder of a pipeline; anything else is left alone.
        index: Content of its model_index.json.

    Raises:
        ValueError: If a fact or setting is of the wrong type, out of bounds, or a name that no folder can have.
    """
    folder = Path(source)
    if not folder.is_dir() or not isinstance(index, dict):
        return
    _check_files(folder)
    for name, entry in index.items():
        if name.startswith("_"):
            continue
        if isinstance(entry, list):
            if len(entry) != 2 or not all(isinstance(one, str) and one for one in entry):
                raise ValueError(f"{name} of model_index.json must name a module and a class, got {entry!r:.80}")
            for config in _CONFIGS:
                if (path := folder / name / config).is_file():
                    _check_component(path)
        else:
            _check_fact(name, entry)
    _check_labels("id2label", index.get("id2label"))
    for name, labels in _mapping("condition_labels", index.get("condition_labels")).items():
        check_name("a condition", name)
        _check_labels(f"condition_labels of {name}", labels)
    check_axes(index.get("axes"))


def _check_files(folder: Path) -> None:
    """What is read must be a file, because a pipe would be waited for; and JSON must be small."""
    if not folder.is_dir():
        return
    for path in (found for pattern in _READ for found in folder.glob(pattern)):
        if not path.is_file():
            raise ValueError(f"{path} must be a file")
        if path.suffix == ".json" and path.stat().st_size > MAX_CONFIG_BYTES:
            raise ValueError(f"{path} must have at most {MAX_CONFIG_BYTES} bytes, got {path.stat().st_size}")


def _check_component(path: Path) -> None:
    """Numbers, lists and texts of a component's config must have the size of those that exist."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be JSON: {_first_line(error)}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} must hold settings by name, got {config!r:.80}")
    is_scheduler = path.name == "scheduler_config.json"
    for name, value in config.items():
        items = value if isinstance(value, list) else [value]
        if len(items) > (MAX_TRAIN_STEPS if is_scheduler else 64):
            raise ValueError(f"{name} in {path} must be shorter, got {len(items)} values")
        for item in items:
            # DPM-Solver clips at minus infinity, which is nowhere.
            if isinstance(item, (int, float)) and not abs(item) <= MAX_NUMBER and name != "lambda_min_clipped":
                raise ValueError(f"{name} in {path} must be at most {MAX_NUMBER}, got {item!r:.40}")
        if "layers" in name and any(isinstance(item, int) and item > 64 for item in items):
            raise ValueError(f"{name} in {path} must be at most 64, got {value!r:.40}")
    steps = config.get("num_train_timesteps", 1)
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= MAX_TRAIN_STEPS:
        raise ValueError(
            f"num_train_timesteps in {path} must be a whole number in 1..{MAX_TRAIN_STEPS}, got {steps!r:.40}"
        )


def _check_fact(name: str, value: Any) -> None:
    """Numbers must be finite, and texts must be short and printable, also in mappings."""
    if isinstance(value, dict):
        if len(value) > 100_000:
            raise ValueError(f"{name} must hold at most 100000 entries, got {len(value)}")
        for key, inner in value.items():
            _check_fact(f"{name}[{key!r:.80}]", inner)
    elif isinstance(value, list):
        raise ValueError(f"{name} must be no list, got {value!r:.80}")
    elif isinstance(value, str) and not (len(value) <= 2000 and value.isprintable()):
        raise ValueError(f"{name} must be at most 2000 printable characters, got {value!r:.80}")
    elif isinstance(value, (int, float)) and not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")


def _check_labels(what: str, labels: Any) -> None:
    for name in _mapping(what, labels).values():
        check_name(f"{what}: a name", name)


def _mapping(what: str, value: Any) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"{what} must be a mapping, got {value!r:.80}")
    return value or {}


def _first_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return f"{text[:300]} ..." if len(text) > 300 else text
