"""`echoform prepare`: show what a folder of spectrograms holds and how it is split, before anything trains."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from echoform_train.data.config import PublishConfig
from echoform_train.data.reading import ReadingConfig
from echoform_train.engine.errors import UserError
from echoform_train.engine.resolution import (
    PRESET_HALVING,
    OptionalResolution,
    sides_of,
)
from echoform_train.radar.iq_config import IqConfig

if TYPE_CHECKING:
    from echoform_train.data.spectrograms import SpectrogramData

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Config(PublishConfig):
    """Show what a folder of spectrograms holds: users, sizes, colour map, suspicious files and the split.

    With --from-iq the spectrograms are first computed from recordings of complex samples or FMCW cubes. With
    --push-to-hub they are pushed to the Hub as a data set.
    """

    data: tyro.conf.Positional[str]
    """Folder of spectrograms, one subfolder per user, or the id of a data set on the Hub; with --from-iq, folder of
    recordings."""
    split_file: Path | None = None
    """File of an existing split to use. Default: the split of a published data set, or a new one."""
    save_split: Path | None = None
    """File to write the split to, for --split-file of later commands; a file with another split is not overwritten."""
    resolution: OptionalResolution = None
    """Height and width to resize to, in pixels: 64, or 64x128 for height 64 (Doppler) and width 128 (time). Default:
    the size of the images, or their native grid if they were enlarged; with --from-iq, 256."""
    colormap: str = "auto"
    """Colour map of the images: auto detects it, none keeps RGB, or its name."""
    gap_windows: int = 2
    """Spectrograms left out at each cut through a recording if their length is unknown."""
    window_s: float | None = None
    """Length of a spectrogram, seconds. Default: window_s in axes.json, if there is one; with --from-iq, 3."""
    name_pattern: str | None = None
    """What the names of files tell, such as "{user}_{condition}_{recording}_Doppler{index}"; with {user}, the
    images need no folders of users."""
    skip_bad_files: bool = False
    """List and skip files that cannot be used instead of stopping."""
    reading: Annotated[ReadingConfig, tyro.conf.arg(name="")] = field(default_factory=ReadingConfig)
    seed: int = 0
    """Seed that draws the recordings of each side."""
    iq: Annotated[IqConfig, tyro.conf.arg(name="")] = field(default_factory=IqConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.iq.check()


def main(config: Config) -> SpectrogramData | None:
    """Load the images as a training does, print what was found and return it; with --push-to-hub, push the images.

    Returns:
        The images, or None where those of recordings (--from-iq) were written, but are too few to be split.

    Raises:
        FileNotFoundError: If there is no such source.
        ValueError: If it cannot be trained on, or --save-split names a file with another split; the message names the
            file and the rule.
        PushError: If the Hub refuses the push.
    """
    from echoform_train.data.description import describe
    from echoform_train.data.split_files import print_split

    if config.resolution is not None:
        PRESET_HALVING.check(*sides_of(config.resolution))
    measured = config.iq.from_iq
    if measured:
        config.reading.only_pictures("--from-iq")
        config = _compute_spectrograms(config)
    try:
        data = _load(config)
    except UserError as error:
        # The images of short recordings are of use beside others, even if they cannot be split by themselves.
        if not measured or config.split_file or config.save_split or config.push_to_hub:
            raise
        logger.warning("the spectrograms are complete, but cannot be trained on by themselves: %s", error)
        return None
    print("\n".join(describe(data)))
    print_split(data.split, config.split_file, config.save_split)
    if config.push_to_hub is not None:
        url = _publish(config, config.push_to_hub, measured)
        print(f"Pushed to {url}")
    return data


def _load(config: Config) -> SpectrogramData:
    from echoform_train.data.spectrograms import load_spectrograms

    return load_spectrograms(
        config.data,
        split_file=config.split_file,
        resolution=config.resolution,
        halving=PRESET_HALVING,
        native=True,
        colormap=config.colormap,
        gap_windows=config.gap_windows,
        window_s=config.window_s,
        hop_s=config.iq.hop_s,
        name_pattern=config.name_pattern,
        reading=config.reading,
        skip_bad_files=config.skip_bad_files,
        seed=config.seed,
    )


def _publish(config: Config, repo_id: str, measured: bool) -> str:
    """Read the source again and push it, because the loaded images may be resized and published ones must not be."""
    from echoform_train.data.publish import publish_dataset

    return publish_dataset(
        config.data,
        repo_id,
        split_file=config.split_file or config.save_split,
        people="recorded" if measured else None,
        private=config.private,
        revision=config.revision,
        license=config.license,
        resolution=config.resolution,
        colormap=config.colormap,
        window_s=config.window_s,
        hop_s=config.iq.hop_s,
        name_pattern=config.name_pattern,
        gap_windows=config.gap_windows,
        reading=config.reading,
        skip_bad_files=config.skip_bad_files,
        seed=config.seed,
    )


def _compute_spectrograms(config: Config) -> Config:
    """Compute spectrograms from recordings; return the flags changed to read the folder of spectrograms."""
    from echoform_train.radar.iq_recordings import prepare_recordings

    assert config.iq.output_dir is not None
    written = prepare_recordings(
        Path(config.data),
        config.iq,
        window_s=3.0 if config.window_s is None else config.window_s,
        resolution=256 if config.resolution is None else config.resolution,
        skip_bad_files=config.skip_bad_files,
    )
    print(f"Wrote {written} spectrograms to {config.iq.output_dir}")
    return replace(config, data=str(config.iq.output_dir), resolution=None, window_s=None, iq=IqConfig())
