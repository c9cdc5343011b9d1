"""What is said of each recording with ranges: its track, and which flag mends one that contradicts physics."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from tqdm import tqdm

from echoform_train.engine.errors import UserError
from echoform_train.radar.iq_config import IqConfig
from echoform_train.radar.recording_files import read_recording
from echoform_train.radar.returns import doppler_shift_hz
from echoform_train.radar.slow_time import SlowTime, track_and_gate
from echoform_train.radar.spectrogram_images import SpectrogramGrid
from echoform_train.radar.track_check import LARGEST_MISS_MPS, RIGHT_EXPONENT, TrackCheck, check_track

logger = logging.getLogger(__name__)

_MOST_TRIALS = 2
_LARGEST_DISTANCE = 2.5  # of an exponent from the right one, where another way to read is called right


@dataclass
class TrackReporter:
    """Prints one line per recording, and warns of those that are read wrongly."""

    config: IqConfig
    window_s: float
    _trials: int = 0
    _advice: dict[str, str] = field(default_factory=dict)
    _wrong: dict[str, list[str]] = field(default_factory=dict)
    _total: int = 0

    def report(self, name: str, path: Path, slow: SlowTime, grid: SpectrogramGrid) -> TrackCheck:
        """Print the track of a recording; if it contradicts physics, look for the flag that mends it."""
        check = check_track(slow, grid)
        self._total += 1
        tqdm.write(f"{name}: {check}")
        if check.is_wrong:
            self._wrong.setdefault(self._mend(path, check), []).append(f"{name} ({contradiction(check)})")
        return check

    def warn(self) -> None:
        """Warn of all recordings that contradict physics, in one sentence for those that the same flag mends."""
        for advice, names in self._wrong.items():
            others = f" and {len(names) - 1} more of {self._total} recordings" if len(names) > 1 else ""
            logger.warning("read wrongly: %s%s; %s", names[0], others, advice)

    def _mend(self, path: Path, check: TrackCheck) -> str:
        """Which other flags make a recording agree with physics. Trials take time, so that few recordings have them."""
        symptom = f"{check.speeds_disagree} {check.power_is_impossible}"
        if symptom not in self._advice or self._trials < _MOST_TRIALS:
            self._trials += 1
            self._advice[symptom] = self._try(path) or self._general(check)
        return self._advice[symptom]

    def _try(self, path: Path) -> str | None:
        """The flags with which a recording agrees best with physics, if any do."""
        agreeing: list[tuple[float, str]] = []
        for flags, config in alternatives(self.config):
            try:
                array, form = read_recording(path, config)
                cutoff_hz = doppler_shift_hz(config.clutter_mps, config.wavelength_m)
                slow = track_and_gate(array, form, clutter="none", cutoff_hz=cutoff_hz)
                check = check_track(slow, config.grid(self.window_s, slow.frame))
            except UserError:
                continue
            if not check.is_wrong and abs(check.exponent - RIGHT_EXPONENT) < _LARGEST_DISTANCE:
                agreeing.append((abs(check.exponent - RIGHT_EXPONENT) + check.miss_mps / LARGEST_MISS_MPS, flags))
        return f"with {min(agreeing)[1]} they agree" if agreeing else None

    def _general(self, check: TrackCheck) -> str:
        ratio = check.speed_ratio
        if ratio > 1.2 and "frames" not in self.config.axes and not self.config.chirps:
            flags = "--chirps" if self.config.format == "dca1000" else "--axes frames chirps samples"
            return (
                f"their range changes {ratio:.1f} times as fast as their Doppler says, as if bursts with idle time "
                f"between them were laid end to end; {flags} with --frame-rate-hz keeps them apart"
            )
        return "check --axes, --iq-order, --bandwidth-hz, --carrier-ghz and --frame-rate-hz"


def contradiction(check: TrackCheck) -> str:
    """The law that a recording breaks."""
    if check.speeds_disagree:
        return f"speeds by range and by Doppler differ by {check.miss_mps:.2f} m/s"
    verb = "grows" if check.exponent > 0 else "falls too fast"
    return f"power {verb} with range, exponent {check.exponent:+.1f} instead of {RIGHT_EXPONENT:g}"


def alternatives(config: IqConfig) -> Iterator[tuple[str, IqConfig]]:
    """Other ways to read the same recordings, each with its flags; the most common first."""
    order = config.iq_order or "iq"
    exchanged = "iq" if order == "qi" else "qi"
    if config.conjugate:
        yield "--no-conjugate", replace(config, conjugate=False)
    elif "ranges" in config.axes:
        yield "--conjugate", replace(config, conjugate=True)
    elif order != "iiqq":
        yield f"--iq-order {exchanged}", replace(config, iq_order=exchanged)
    if config.format == "dca1000" and config.lanes is not None:
        lanes = 2 if config.lanes == 4 else 4
        yield f"--lanes {lanes}", replace(config, lanes=lanes)
        yield f"--lanes {lanes} --iq-order {exchanged}", replace(config, lanes=lanes, iq_order=exchanged)
    elif order == "iiqq":
        yield "--iq-order iq", replace(config, iq_order="iq")
    else:
        yield "--iq-order iiqq", replace(config, iq_order="iiqq")
        yield "--iq-order iiqq --conjugate", replace(config, iq_order="iiqq", conjugate=True)
    if "samples" in config.axes:
        axes = ["ranges" if name == "samples" else name for name in config.axes]
        named = f"--axes {' '.join(axes)}"
        yield named, replace(config, axes=tuple(axes), conjugate=False)
        yield f"{named} --conjugate", replace(config, axes=tuple(axes), conjugate=True)
    if "ranges" in config.axes and config.bandwidth_hz is not None:
        axes = ["samples" if name == "ranges" else name for name in config.axes]
        yield f"--axes {' '.join(axes)}", replace(config, axes=tuple(axes))
    elif config.bandwidth_hz is not None:
        falling = -config.bandwidth_hz
        yield f"--bandwidth-hz {falling:g} (falling chirps)", replace(config, bandwidth_hz=falling)
