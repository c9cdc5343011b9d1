"""Facts of a pushed data set turned into its card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub import DatasetCardData

from echoform_cards.facts import complete
from echoform_cards.rendering import render

TASKS = {
    "spectrogram": ["image-classification", "unconditional-image-generation"],
    "depth": ["image-feature-extraction"],
}
TAGS = {
    "spectrogram": ["echoform", "radar", "micro-doppler", "spectrogram", "gait"],
    "depth": ["echoform", "depth", "16-bit"],
}

REQUIRED = ("name", "kind", "images", "configs", "dataset_info")
OPTIONAL = (
    "repo",
    "license",
    "people",
    "classes",
    "conditions",
    "columns",
    "recordings",
    "recording_unknown",
    "formats",
)
GROUPS = {
    "image": ("height", "width", "colormap", "colormap_residual", "depth_min_units", "depth_max_units", "units_per_mm"),
    "axes": (),  # these travel with the data, whose owner may have written more than we know
    "split": ("how", "gap_windows", "seed"),
}
AXES = ("window_s", "hop_s", "doppler_min_hz", "doppler_max_hz", "db_min", "db_max", "carrier_hz")
_SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M", 10_000_000: "1M<n<10M"}


def render_dataset_card(facts: Mapping[str, Any]) -> str:
    """Markdown with a YAML block, as the README.md of a data set on the Hub.

    Args:
        facts: JSON-able. The first five must be there, everything else may be missing or None and is then not
            mentioned:

            - `name`: str, title of the data set.
            - `kind`: "spectrogram" or "depth".
            - `images`: {split on the Hub: count}, such as train, validation, test and left_out.
            - `configs` and `dataset_info`: what the Hub's metadata hold of a data set in parquet.
            - `repo`: str, the Hub id that the snippet loads; without it the snippet loads the folder of the card.
            - `license`: str, a licence identifier of the Hub.
            - `people`: "simulated" or "recorded", whose gait it is.
            - `classes`: {label: {split: count}}, labels in the order of their ids: users, or classes of depth images.
            - `conditions`: {column: {value: count}}, values in the order of their ids.
            - `columns`: list of str, further columns.
            - `recordings`, a count, and `recording_unknown`, how many images tell of none.
            - `formats`: {suffix of a file: count}.
            - `image`: `height`, `width` in pixels; of spectrograms `colormap` and `colormap_residual` (RGB units of
              0..255); of depth images `depth_min_units` and `depth_max_units`, the range of valid values, and
              `units_per_mm`.
            - `axes`: `window_s`, `hop_s`, `doppler_min_hz`, `doppler_max_hz`, `db_min`, `db_max`, `carrier_hz`, and any
              other number that came with the data.
            - `split`: `how`, one of "by recording", "contiguous with a gap", "as given"; `gap_windows`; `seed`.

    Raises:
        ValueError: If a fact that must be there is missing or empty, one is unknown, or `kind` or `people` has another
            value.
    """
    facts = complete("a data set's card", facts, required=REQUIRED, optional=OPTIONAL, groups=GROUPS)
    kind = facts["kind"]
    if kind not in TASKS:
        raise ValueError(f"kind of a data set must be {' or '.join(TASKS)}, got {kind!r}")
    total = sum(facts["images"].values())
    classified = kind == "depth" and facts["classes"]
    metadata = DatasetCardData(
        license=facts["license"],
        pretty_name=facts["name"],
        task_categories=[*TASKS[kind], *(["image-classification"] if classified else [])],
        size_categories=next((size for limit, size in _SIZES.items() if total < limit), "10M<n<100M"),
        tags=TAGS[kind],
        configs=facts["configs"],
        dataset_info=facts["dataset_info"],
    )
    axes = facts["axes"]
    shown = {
        "total": total,
        "axes": dict.fromkeys(AXES) | axes,
        "other_axes": {name: value for name, value in axes.items() if name not in AXES and value is not None},
        "conditions": facts["conditions"] or {},
    }
    return render("dataset_card.md.j2", metadata, facts | shown)
