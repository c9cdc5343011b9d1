"""Flags that name the spectrograms to train on, and flags for publishing a data set on the Hub."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from echoform_train.data.facts import SpectrogramFacts
from echoform_train.data.reading import ReadingConfig
from echoform_train.engine.errors import UserError
from echoform_train.engine.licences import check_licence
from echoform_train.engine.resolution import Halving, OptionalResolution, resolution_of

if TYPE_CHECKING:
    from echoform_train.data.spectrograms import SpectrogramData


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which spectrograms to read, and how to split them."""

    data: Annotated[str, tyro.conf.arg(aliases=["--dataset-name"])]
    """Folder of spectrograms, one subfolder per user, or the id of a data set on the Hub: user/name or
    user/name@revision."""
    split_file: Path | None = None
    """File of an existing split to use. Default: OUTPUT_DIR/split.json if there is one, else the split of a published
    data set or a new one; for a denoiser, the split of its first stage. Each training writes OUTPUT_DIR/split.json."""
    resolution: OptionalResolution = None
    """Height and width to resize to, in pixels: 64, or 64x128 for height 64 (Doppler) and width 128 (time). Default:
    the size of the images, or their native grid if they were enlarged."""
    colormap: str = "auto"
    """Colour map of the images: auto detects it, none keeps RGB, or its name."""
    window_s: float | None = None
    """Length of a spectrogram in seconds, so that the split can avoid overlaps. Default: window_s in axes.json of the
    data."""
    hop_s: float | None = None
    """Seconds from the start of a spectrogram to that of the next one, where names count; needs --window-s. Default:
    found from names and pixels."""
    name_pattern: str | None = None
    """What the names of files tell, such as "{user}_{condition}_{recording}_Doppler{index}"; with {user}, the
    images need no folders of users."""
    gap_windows: int = 2
    """Spectrograms left out at each cut through a recording if their length is unknown."""
    skip_bad_files: bool = False
    """List and skip files that cannot be used instead of stopping."""
    reading: Annotated[ReadingConfig, tyro.conf.arg(name="")] = field(default_factory=ReadingConfig)


@dataclass(frozen=True, kw_only=True)
class PublishConfig:
    """Whether and how a data set is published on the Hub."""

    push_to_hub: str | None = None
    """Data set on the Hub, user/name, to which the unchanged images, the split and a card are pushed in one commit."""
    private: bool | None = None
    """Whether a new data set is private. Default: the setting of the account."""
    revision: str | None = None
    """Branch of the Hub to push to. Default: main."""
    license: str | None = None
    """Licence of the data, by its identifier on the Hub, such as cc-by-4.0."""

    def __post_init__(self) -> None:
        for name in ("private", "revision", "license"):
            if getattr(self, name) is not None and self.push_to_hub is None:
                raise UserError(f"--{name} is for the Hub: it must go with --push-to-hub")
        check_licence(self.license)


def load_data(config: DataConfig, seed: int, *, halving: Halving | None = None) -> SpectrogramData:
    """Load the spectrograms that the flags of a command name.

    Args:
        config: The flags.
        seed: Seed for choosing the recordings of each side.
        halving: See `load_spectrograms`.

    Raises:
        FileNotFoundError: See `load_spectrograms`.
        ValueError: See `load_spectrograms`.
    """
    from echoform_train.data.spectrograms import load_spectrograms  # imports torch, which takes seconds

    data = load_spectrograms(
        config.data,
        split_file=config.split_file,
        resolution=config.resolution,
        halving=halving,
        native=True,
        colormap=config.colormap,
        window_s=config.window_s,
        hop_s=config.hop_s,
        name_pattern=config.name_pattern,
        gap_windows=config.gap_windows,
        reading=config.reading,
        skip_bad_files=config.skip_bad_files,
        seed=seed,
    )
    for note in data.notes:
        print(note)
    return data


def data_facts(data: SpectrogramData) -> SpectrogramFacts:
    """Facts of the data for facts.json: the model card prints them, and later stages are compared with them."""
    return {
        "source": data.source,
        "resolution": resolution_of(*data.train.pixels.shape[-2:]),
        "channels": data.train.pixels.shape[1],
        "colormap": data.colormap,
        "colormap_residual": data.colormap_residual,
        "reading": data.reading,
        "users": [data.id2label[index] for index in sorted(data.id2label)],
        "conditions": {name: list(labels.values()) for name, labels in data.condition_labels.items()},
        "images_per_user": {
            name: int((data.train.users == user).sum()) for user, name in sorted(data.id2label.items())
        },
        "images": {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
        "split": data.split.method,
        "split_sha256": data.split.sha256,
        "images_sha256": data.images_sha256,
    }
