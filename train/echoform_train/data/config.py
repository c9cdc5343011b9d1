"""Flags that say which spectrograms to train on, and where a data set goes on the Hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from echoform_train.data.facts import SpectrogramFacts
from echoform_train.data.spectrograms import SpectrogramData, load_spectrograms


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which spectrograms to train on."""

    data: Annotated[str, tyro.conf.arg(aliases=["--dataset-name"])]
    """Folder of spectrograms, one folder a user, or the id of a data set on the Hub: user/name, user/name@revision."""
    split_file: Path | None = None
    """Split to use, written there when there is none yet. Default: OUTPUT_DIR/split.json, or the first stage's."""
    resolution: int | None = None
    """Height and width to resize to, in pixels. Default: the size of the images."""
    colormap: str = "auto"
    """Colour map of the pictures: auto detects it, none keeps RGB, or its name."""
    window_s: float | None = None
    """Seconds in one picture, so that no window of one side overlaps one of another. Default: axes.json of the data."""
    gap_windows: int = 2
    """Windows left out at each cut through a recording where their length is not known."""
    skip_bad_files: bool = False
    """List and skip files that cannot be used instead of stopping."""


@dataclass(frozen=True, kw_only=True)
class PublishConfig:
    """Where a data set that was looked at goes on the Hub."""

    push_to_hub: str | None = None
    """Data set on the Hub, user/name, to which the images go as they are, with the split and what is known of them, in
    one commit."""
    private: bool | None = None
    """Whether a new data set is seen by its owner alone. Default: as the account says."""
    revision: str | None = None
    """Branch of the Hub to push to. Default: main."""
    license: str | None = None
    """Licence of the data, as the Hub names it, such as cc-by-4.0."""

    def __post_init__(self) -> None:
        for name in ("private", "revision", "license"):
            if getattr(self, name) is not None and self.push_to_hub is None:
                raise ValueError(f"--{name} is for the Hub: it must go with --push-to-hub")


def load_data(config: DataConfig, split_file: Path, resolution: int | None, seed: int) -> SpectrogramData:
    """The spectrograms that the flags of a training script name, in the parts of `split_file`."""
    return load_spectrograms(
        config.data,
        split_file=split_file,
        resolution=resolution,
        colormap=config.colormap,
        window_s=config.window_s,
        gap_windows=config.gap_windows,
        skip_bad_files=config.skip_bad_files,
        seed=seed,
    )


def data_facts(data: SpectrogramData) -> SpectrogramFacts:
    """What later stages must share with this one, and what the model card says of the data."""
    return {
        "source": data.source,
        "resolution": data.train.pixels.shape[-1],
        "channels": data.train.pixels.shape[1],
        "colormap": data.colormap,
        "colormap_residual": data.colormap_residual,
        "users": [data.id2label[index] for index in sorted(data.id2label)],
        "conditions": {name: list(labels.values()) for name, labels in data.condition_labels.items()},
        "images": {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
        "split": data.split.method,
    }
