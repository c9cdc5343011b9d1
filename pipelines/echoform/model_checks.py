"""Checks of settings, names and weights that a model makes by itself, also where echoform is not installed.

The text of this file stands in the saved copy of a model's file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from unicodedata import normalize

from torch import nn


def check_name(what: str, name: Any) -> None:
    """Raise ValueError unless a name is text that people can read and that a folder of images can have."""
    if not isinstance(name, str):
        raise ValueError(f"{what} must be text, got {name!r:.80}")
    if not name.strip() or not name.isprintable() or len(name.encode()) > 100:
        raise ValueError(f"{what} must be 1 to 100 printable characters, got {name!r:.80}")
    if set(name) & {"/", "\\"} or name.lower() in (".", "..", "metadata.jsonl"):
        raise ValueError(f"{what} must be a name that a folder of images can have, got {name!r}")


def check_names(fact: str, labels: Any, count: int) -> None:
    """Raise ValueError unless a fact gives the ids '0'..'count - 1' names that differ, also in one Unicode form."""
    if not isinstance(labels, dict) or set(labels) != {str(index) for index in range(count)}:
        raise ValueError(f"{fact} must name the ids '0'..'{count - 1}', got {labels!r:.80}")
    for name in labels.values():
        check_name(f"{fact}: a name", name)
    if len({normalize("NFC", name) for name in labels.values()}) < count:
        raise ValueError(f"{fact} must hold {count} different names, got {labels!r:.80}")


def check_limits(settings: Mapping[str, Any], limits: Mapping[str, Sequence[float]]) -> None:
    """Raise ValueError unless every setting that `limits` names is a number from its lowest to its highest value.

    Limits that are whole are for whole numbers, and limits in a list are for lists of 1 to 16 numbers.
    """
    for name, (low, high) in limits.items():
        value, several = settings[name], isinstance(limits[name], list)
        items: Any = value if several else [value]
        whole, kind = ("whole ", int) if isinstance(low, int) else ("", (int, float))
        counted = isinstance(items, (list, tuple)) and 1 <= len(items) <= 16
        if not counted or not all(isinstance(n, kind) and not isinstance(n, bool) and low <= n <= high for n in items):
            what = f"1 to 16 {whole}numbers" if several else f"a {whole}number"
            raise ValueError(f"{name} must be {what} in {low}..{high}, got {value!r:.80}")


def check_weights(model: nn.Module) -> None:
    """Raise ValueError if weights of a model are missing, NaN or infinite; reads each of them once."""
    offloaded = any(hasattr(module, "_hf_hook") for module in model.modules())
    for name, value in model.state_dict().items():
        if value.is_meta and not offloaded:
            raise ValueError(f"weights of {type(model).__name__} must be complete, {name} is missing")
        # One byte per number has no isfinite.
        if not value.is_meta and not (value.float() if value.element_size() == 1 else value).isfinite().all():
            raise ValueError(f"weights of {type(model).__name__} must be finite, {name} holds NaN or inf")
