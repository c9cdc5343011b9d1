"""Types of the facts that several cards take, and the check of the facts for one card."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import NoneType
from typing import Any, Literal, TypedDict, get_args, get_origin, get_type_hints, is_typeddict

People = Literal["simulated", "recorded"]
"""Whose gait is in the data: that of simulated or of recorded people."""


class Data(TypedDict, total=False):
    """The data that a model was trained on."""

    name: str
    hub_id: str | None
    """Id of the data set on the Hub."""
    people: People | None
    images: dict[str, int]
    """Number of images per side of the split."""
    split: str
    """How the images were split, such as "by recording"."""
    gap_windows: int
    """Images left out at each cut through a recording."""


class GalleryImage(TypedDict):
    """A generated image of a card, and what makes it again."""

    file: str
    """Its path inside the repository."""
    user: str
    seed: int
    num_inference_steps: int
    guidance_scale: float


class Stage(TypedDict, total=False):
    """One training."""

    name: str
    command: str | None
    commit: str | None
    versions: dict[str, str]
    """Version of each package."""
    machine: str
    seconds: float
    images_seen: int
    parameters: int
    """Number of parameters."""


class _Mean(TypedDict):
    mean: float
    """The measured value; shares are in 0..1."""


class Score(_Mean, total=False):
    """One measured score."""

    low: float | None
    """Lower end of the 95 % interval; an interval is printed if both ends are known."""
    high: float | None
    n: int | None
    """Number of values that the interval was computed over."""
    interval_over: str | None
    """What one of these values belongs to, in the plural, such as "seeds"."""
    floor: float | None
    """The same score of real images against other real images."""
    baselines: dict[str, float] | None
    """The same score of other methods, by name of the method."""


class Image(TypedDict, total=False):
    """The images that a model sees."""

    height: int
    """Pixels."""
    width: int
    channels: int
    """1 or 3."""


class IndexedImage(Image, total=False):
    """Images whose colours are indices into a colour map."""

    colormap: str | None
    """Name of the colour map; None for RGB."""
    reading: str | None
    """How files were read, if not as they are, such as "crop 40,38,250,171"."""


class Spectrogram(IndexedImage, total=False):
    """Spectrograms, and how well their colour map fits."""

    colormap_residual: float | None
    """Mean distance of the training images from the colour map, RGB units of 0..255."""


Axes = dict[str, float]
"""Numbers by name: those of AXES, which a card prints with their units, and any others that came with the data."""
AXES = ("window_s", "hop_s", "doppler_min_hz", "doppler_max_hz", "db_min", "db_max", "carrier_hz")


def complete(card: str, kind: type, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Check facts against the TypedDict of their card, and fill in every missing fact for the template.

    Args:
        card: What the facts are for, in words, such as "a model card".
        kind: TypedDict of the card. Its required facts must be there and not empty, all others may be missing or None.
        facts: The facts.

    Returns:
        Every fact of `kind`. A missing fact is None, a missing list or table of records is empty, and a missing record
        has all of its members as None.

    Raises:
        ValueError: If a required fact is missing or empty, a fact is unknown, `people` is none of People, or a score is
            not finite.
    """
    required = [name for name in get_type_hints(kind) if name in kind.__required_keys__]  # type: ignore[attr-defined]
    values = _fill("facts", card, kind, facts)
    for name in required:
        if not facts.get(name):
            raise ValueError(f"{card} needs {' and '.join(required)}, got {name}={facts.get(name)!r}")
    people = values.get("data", values).get("people")
    if people not in (None, *get_args(People)):
        raise ValueError(f"people of the data must be {' or '.join(get_args(People))}, got {people!r}")
    for name, score in values.get("scores", {}).items():
        _check_finite(name, score)
    return values


def with_all_axes(axes: Mapping[str, float]) -> tuple[dict[str, float | None], dict[str, float]]:
    """All axes, with None for each of AXES that is missing; and again those that are not in AXES, unless None."""
    others = {name: value for name, value in axes.items() if name not in AXES and value is not None}
    return dict.fromkeys(AXES) | dict(axes), others


def _fill(where: str, card: str, kind: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the missing facts of the TypedDict `kind`; raises ValueError if there is a fact that it does not hold."""
    hints = get_type_hints(kind)
    unknown = sorted(given.keys() - hints.keys())
    if unknown:
        raise ValueError(f"{where} of {card} may hold {', '.join(hints)}, got {', '.join(unknown)}")
    return {name: _fill_value(name, card, hint, given.get(name)) for name, hint in hints.items()}


def _fill_value(name: str, card: str, hint: Any, value: Any) -> Any:
    """A fact whose type is `hint`: a record, a list or table of records, or something plain."""
    if NoneType in get_args(hint):
        hint = next(kind for kind in get_args(hint) if kind is not NoneType)
    record = next((kind for kind in (hint, *get_args(hint)) if is_typeddict(kind)), None)
    if record is None:
        return value
    if get_origin(hint) is list:
        return [_fill(name, card, record, member) for member in value or []]
    if get_origin(hint) is dict:
        return {key: _fill(key, card, record, member) for key, member in (value or {}).items()}
    return _fill(name, card, record, value or {})


def _check_finite(name: str, score: Mapping[str, Any]) -> None:
    values = {key: score[key] for key in ("mean", "low", "high", "floor")}
    values |= {f"baseline {key}": value for key, value in (score["baselines"] or {}).items()}
    for key, value in values.items():
        if (value is None and key == "mean") or (value is not None and not math.isfinite(value)):
            raise ValueError(f"a score must be finite, got {name} {key}={value}")
