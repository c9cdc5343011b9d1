"""Reading of facts.json, which may come from somebody else, for cards and for the next training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar, cast

from echoform_train.data.facts import DepthFacts, SpectrogramFacts
from echoform_train.engine.errors import UserError
from echoform_train.engine.json_files import read_json_object
from echoform_train.engine.names import check_label, check_names
from echoform_train.engine.resolution import parse_resolution, sides_of
from echoform_train.publishing.cards.common import CardFacts
from echoform_train.publishing.records import check_record

Training = TypeVar("Training")
LARGEST_SIDE = 4096
"""Largest side of the images of a model, pixels."""
_NEWER = frozenset({"split_sha256", "images_sha256", "reading", "images_per_user"})
"""Entries that echoform 0.1.0 did not write yet."""
_OF_THE_CARD = frozenset({"source", "images", "split"})
"""Entries of the data of a depth model that its card needs; the others are in its config too."""


def read_training(path: Path, kind: type[Training], data: type[Any]) -> Training:
    """Read facts.json of a training.

    Args:
        path: The file.
        kind: TypedDict of the file.
        data: TypedDict of its entry "data".

    Raises:
        MissingFileError: If there is no such file.
        UserError: If an entry is missing or of another type, a name is not allowed, or a size is out of range.
    """
    return check_training(read_json_object(path), kind, data, str(path))


def check_training(facts: dict[str, Any], kind: type[Training], data: type[Any], where: str) -> Training:
    """Check the content of facts.json; the arguments and errors are those of `read_training`."""
    optional = DepthFacts.__required_keys__ - _OF_THE_CARD if data is DepthFacts else _NEWER
    check_record(facts, kind, where, optional)
    check_record(facts["data"], data, f"data in {where}", optional)
    if "card" in facts:
        check_record(facts["card"], CardFacts, f"card in {where}")
    given = facts["data"]
    check_label(given["source"], "source of the data", where)
    if "resolution" in given:
        _check_size(given["resolution"], data, where)
    if given.get("channels", 1) not in (1, 3):
        raise UserError(f"channels in {where} must be 1 or 3, got {given['channels']:.3g}")
    if "users" in given:
        check_names(given["users"], "user", where)
    for condition, labels in given.get("conditions", {}).items():
        check_names([condition], "condition", where)
        check_names(labels, f"value of {condition}", where)
    return cast(Training, facts)


def _check_size(resolution: int | str, data: type[Any], where: str) -> None:
    """Height and width are in range; only spectrograms may have two different ones."""
    if isinstance(resolution, str) and data is not SpectrogramFacts:
        raise UserError(f"resolution in {where} must be a whole number, got {resolution[:40]!r}")
    if isinstance(resolution, str) and parse_resolution(resolution) != resolution:
        raise UserError(f"resolution in {where} must be a text such as 64x128, got {resolution[:40]!r}")
    if any(side not in range(1, LARGEST_SIDE + 1) for side in sides_of(resolution)):
        shown = resolution if isinstance(resolution, str) else f"{resolution:.3g}"
        raise UserError(f"resolution in {where} must be in 1..{LARGEST_SIDE}, got {shown}")
