"""Files of measured recordings of every kind, each as one array with the meaning of its axes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from echoform_train.data.walk import walk
from echoform_train.engine.array_files import read_array
from echoform_train.engine.errors import UserError
from echoform_train.radar.chirp_config import ChirpConfig, describes_chirps, read_chirp_config
from echoform_train.radar.iq_config import IqConfig, flag_of
from echoform_train.radar.raw_files import CaptureLayout, read_capture, read_pairs
from echoform_train.radar.stored_samples import EVEN_SHARE, SampleFormat

RAW_SUFFIX = ".bin"

_NEAR = 1e-3  # share by which a flag and a file may differ as rounding


def read_recording(path: Path, config: IqConfig) -> tuple[NDArray[Any], SampleFormat]:
    """Read a recording.

    Args:
        path: A .npy, .npz, .mat, .h5 or .bin file.
        config: What it holds, with the settings of `with_chirp_config`.

    Returns:
        The samples as stored, and the meaning of their axes.

    Raises:
        UserError: If it cannot be read, or does not fit the settings. The message does not name the file.
    """
    if path.suffix.lower() != RAW_SUFFIX:
        if config.format != "auto":
            raise UserError(
                f"--format {config.format} is for {RAW_SUFFIX} files; of others --axes says what they hold, such as "
                "--axes frames chirps samples"
            )
        return read_array(path, config.mat_variable), config.sample_format()
    if config.format == "int16":
        lengths = {"samples": config.samples, "receivers": config.rx, "chirps": config.chirps}
        known = {name: length for name, length in lengths.items() if length is not None}
        axes = tuple(name for name in config.axes if name != "iq")
        return read_pairs(path, axes, known), replace(config, axes=(*axes, "iq")).sample_format()
    assert config.format == "dca1000"
    layout = _layout(config)
    channel = config.receiver if isinstance(config.receiver, int) else None
    array = read_capture(path, layout, channel)
    axes = layout.axes if channel is None else tuple(name for name in layout.axes if name != "receivers")
    receiver = "mean" if "receivers" in axes else None
    return array, replace(config, axes=axes, receiver=receiver).sample_format()


def with_chirp_config(config: IqConfig, source: Path) -> tuple[IqConfig, list[str]]:
    """The settings with what a file about the chirps adds, and lines that say what was found.

    Args:
        config: The settings as given.
        source: Folder of recordings, in which such a file is looked for with --format dca1000.

    Raises:
        UserError: If the file cannot be read or contradicts a flag, or settings are missing.
    """
    if config.chirp_config is None and config.format != "dca1000":
        return config, []
    path, chirps = _find(config, source)
    lines = []
    if chirps is not None:
        config = replace(_combined(config, chirps, path), chirp_config=path)
        lines.append(f"{path}: {chirps}")
    for name in ("pulse_rate_hz", "carrier_ghz"):
        if getattr(config, name) is None:
            raise UserError(f"--from-iq needs {flag_of(name)}, or --chirp-config")
    if config.format == "dca1000":
        layout = _layout(config)
        order = "I I Q Q" if layout.lanes == 2 else "I I I I Q Q Q Q"
        if config.iq_order == "qi":
            order = "Q Q I I" if layout.lanes == 2 else "Q Q Q Q I I I I"
        channels = f"power averaged over {layout.channels} channels" if layout.channels > 1 else "one channel"
        lines.append(
            f"{RAW_SUFFIX} files: {layout.lanes} lanes, {order if layout.is_complex else 'real samples'}, "
            + (channels if config.receiver in (None, "mean") else f"channel {config.receiver} of {layout.channels}")
        )
    # The check that waited for the file.
    if config.format == "dca1000":
        read_as = _layout(config).axes
        replace(config, axes=read_as, receiver="mean" if "receivers" in read_as else None).sample_format()
    else:
        config.sample_format()
    return config, lines


def _find(config: IqConfig, source: Path) -> tuple[Path | None, ChirpConfig | None]:
    """The file that describes the chirps, and what it says; None if there is none."""
    if config.chirp_config is not None:
        return config.chirp_config, read_chirp_config(config.chirp_config)
    if not source.is_dir():
        return None, None
    found = {path: read_chirp_config(path) for path in _config_files(source)}
    if len(set(found.values())) > 1:
        listed = ", ".join(str(path) for path in list(found)[:3])
        raise UserError(
            f"--chirp-config must name the file of these recordings, {listed} differ; prepare each by itself"
        )
    return next(iter(found.items()), (None, None))


def _config_files(source: Path) -> Iterator[Path]:
    return (path for path in walk(source) if describes_chirps(path))


def _combined(config: IqConfig, chirps: ChirpConfig, path: Path | None) -> IqConfig:
    """The settings with those of a file; a flag may say the same, and lanes and order of I and Q otherwise."""
    raw = config.axes == ("time",)
    if raw and config.format == "auto":
        config = replace(config, format="dca1000")
    has_frames = raw or "frames" in config.axes
    is_idle = chirps.loops * chirps.pulse_s < (1 - EVEN_SHARE) * chirps.frame_s
    if not has_frames and is_idle:
        raise UserError(
            f"--axes must name frames, {path} says that the {chirps.loops} chirps of a frame take "
            f"{1e3 * chirps.loops * chirps.pulse_s:.3g} ms of {1e3 * chirps.frame_s:.3g} ms"
        )
    known: dict[str, float | None] = {
        "pulse_rate_hz": 1 / chirps.pulse_s,
        "carrier_ghz": chirps.carrier_hz / 1e9,
        "bandwidth_hz": chirps.bandwidth_hz if config.range_bin_m is None else None,
        "frame_rate_hz": 1 / chirps.frame_s if has_frames else None,
    }
    if raw:
        known |= {
            "rx": chirps.receivers,
            "tx": chirps.transmitters,
            "samples": chirps.samples,
            "chirps": chirps.loops,
        }
    for name, value in known.items():
        given = getattr(config, name)
        if value is not None and given is not None and abs(given - value) > _NEAR * abs(value):
            raise UserError(f"{flag_of(name)} is {given:g}, but {path} says {value:g}; leave out one of them")
    changes: dict[str, Any] = {name: value for name, value in known.items() if value is not None}
    if raw:
        changes["lanes"] = config.lanes or chirps.lanes
        changes["real_samples"] = config.real_samples or not chirps.is_complex
        if config.iq_order is None and chirps.is_complex:
            changes["iq_order"] = "qi" if chirps.q_first else "iq"
    return replace(config, **changes)


def _layout(config: IqConfig) -> CaptureLayout:
    """Layout of a DCA1000 file.

    Raises:
        UserError: If a flag is missing.
    """
    for name, meaning in (
        ("rx", "the number of receivers that are on"),
        ("samples", "the samples of a chirp"),
        ("lanes", "2 for xWR16xx, 18xx and 68xx, 4 for xWR12xx, 14xx and 22xx"),
        ("bandwidth_hz", "hertz swept while they are taken"),
    ):
        if getattr(config, name) is None:
            raise UserError(f"--format dca1000 needs {flag_of(name)} ({meaning}), or --chirp-config")
    if (config.chirps is None) != (config.frame_rate_hz is None):
        raise UserError(
            "--chirps and --frame-rate-hz must be given together: chirps of a transmitter per frame, frames per second"
        )
    assert config.rx is not None and config.samples is not None and config.lanes is not None
    return CaptureLayout(
        receivers=config.rx,
        transmitters=config.tx or 1,
        samples=config.samples,
        lanes=config.lanes,
        chirps=config.chirps,
        is_complex=not config.real_samples,
    )
