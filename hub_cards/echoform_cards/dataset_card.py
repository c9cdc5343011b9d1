"""The card of a data set of spectrograms or depth images on the Hub."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from huggingface_hub import DatasetCardData

from echoform_cards.facts import Axes, People, complete, with_all_axes
from echoform_cards.rendering import render

TASKS = {
    "spectrogram": ["image-classification", "unconditional-image-generation"],
    "depth": ["image-feature-extraction"],
}
TAGS = {
    "spectrogram": ["echoform", "radar", "micro-doppler", "spectrogram", "gait"],
    "depth": ["echoform", "depth", "16-bit"],
}
_SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M", 10_000_000: "1M<n<10M"}


class HubMetadata(TypedDict):
    """The entries about parquet files in the metadata of a card; `datasets` writes and reads them."""

    configs: list[dict[str, Any]]
    dataset_info: dict[str, Any]


class _Images(TypedDict):
    images: dict[str, int]
    """Number of images per split on the Hub: train, validation, test and left_out."""


class Table(_Images, total=False):
    """The counts that a card prints."""

    classes: dict[str, dict[str, int]] | None
    """Number of images per split, by label of a user or class, in the order of their ids."""
    conditions: dict[str, dict[str, int]] | None
    """Number of images of each value, by condition, in the order of their ids."""
    columns: list[str] | None
    """Names of further columns."""
    recordings: int | None
    """Number of known recordings."""
    recording_unknown: int | None
    """Number of images whose recording is unknown."""
    formats: dict[str, int] | None
    """Number of files by suffix."""


class StoredImage(TypedDict, total=False):
    """The image files of a data set."""

    height: int | None
    """Pixels."""
    width: int | None
    colormap: str | None
    """Colour map of spectrograms."""
    reading: str | None
    """What `--crop` and other flags of reading took from the files, such as "crop 40,38,250,171"."""
    colormap_residual: float | None
    """Mean distance of spectrograms from the colour map, RGB units of 0..255."""
    depth_min_units: int | None
    """Smallest valid value of depth images."""
    depth_max_units: int | None
    units_per_mm: float | None
    """The sensor's units per millimetre."""


class SplitFacts(TypedDict, total=False):
    """How a data set was split."""

    how: Literal["by recording", "contiguous with a gap", "as given"] | None
    gap_windows: int | None
    """Images left out at each cut through a recording."""
    seed: int | None


class _NameAndKind(TypedDict):
    name: str
    """Title of the data set."""
    kind: Literal["spectrogram", "depth"]


class DatasetFacts(_NameAndKind, Table, HubMetadata, total=False):
    """Facts of a data set; those that are missing or None are not mentioned in the card."""

    repo: str | None
    """Hub id that the snippet loads; without it the snippet loads the folder of the card."""
    license: str | None
    """Licence identifier of the Hub, such as "cc-by-4.0"."""
    people: People | None
    image: StoredImage
    axes: Axes
    split: SplitFacts


def render_dataset_card(facts: DatasetFacts) -> str:
    """Write the README.md of a data set on the Hub: Markdown with a YAML block.

    Raises:
        ValueError: If a required fact is missing or empty, or a fact is unknown or has a value that is not allowed.
    """
    values = complete("a data set's card", DatasetFacts, facts)
    kind = values["kind"]
    if kind not in TASKS:
        raise ValueError(f"kind of a data set must be {' or '.join(TASKS)}, got {kind!r}")
    total = sum(values["images"].values())
    has_classes = kind == "depth" and values["classes"]
    metadata = DatasetCardData(
        license=values["license"],
        pretty_name=values["name"],
        task_categories=[*TASKS[kind], *(["image-classification"] if has_classes else [])],
        size_categories=next((size for limit, size in _SIZES.items() if total < limit), "10M<n<100M"),
        tags=TAGS[kind],
        configs=values["configs"],
        dataset_info=values["dataset_info"],
    )
    axes, other_axes = with_all_axes(values["axes"] or {})
    shown = {"total": total, "axes": axes, "other_axes": other_axes, "conditions": values["conditions"] or {}}
    return render("dataset_card.md.j2", metadata, values | shown)
