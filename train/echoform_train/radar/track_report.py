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
from echoform_train.radar.track_check import TrackCheck, check_track

logger = logging.getLogger(__name__)

_MOST_TRIALS = 2


@dataclass
class TrackReporter:
    """Prints one line per recording, and warns of those that are read wrongly."""

    config: IqConfig
    window_s: float
    _trials: int = 0
    _advice: dict[str, str] = field(default_factory=dict)

    def report(self, name: str, path: Path, slow: SlowTime, grid: SpectrogramGrid) -> TrackCheck:
        """Print the track of a recording; if it contradicts physics, warn and name the flag that mends it."""
        check = check_track(slow, grid)
        tqdm.write(f"{name}: {check}")
        if check.is_wrong:
            logger.warning("%s is read wrongly: %s; %s", name, contradiction(check), self._mend(path, check))
        return check

    def _mend(self, path: Path, check: TrackCheck) -> str:
        """Which other flags make a recording agree with physics. Trials take time, so that few recordings have them."""
        symptom = f"{check.speeds_disagree} {check.power_grows}"
        if symptom not in self._advice or self._trials < _MOST_TRIALS:
            self._trials += 1
            self._advice[symptom] = self._try(path) or self._general(check)
        return self._advice[symptom]

    def _try(self, path: Path) -> str | None:
        for flags, config in alternatives(self.config):
            try:
                array, form = read_recording(path, config)
                cutoff_hz = doppler_shift_hz(config.clutter_mps, config.wavelength_m)
                slow = track_and_gate(array, form, clutter="none", cutoff_hz=cutoff_hz)
                check = check_track(slow, config.grid(self.window_s, slow.frame))
            except UserError:
                continue
            if not check.is_wrong and not check.exponent > 0:
                return f"with {flags} all agree ({check})"
        return None

    def _general(self, check: TrackCheck) -> str:
        ratio = check.speed_ratio
        if ratio > 1.2 and "frames" not in self.config.axes and not self.config.chirps:
            return (
                f"the range changes {ratio:.1f} times as fast as the Doppler says, as if bursts with idle time between "
                "them were laid end to end: --axes frames chirps samples with --frame-rate-hz keeps them apart"
            )
        return "check --axes, --iq-order, --bandwidth-hz, --carrier-ghz and --frame-rate-hz"


def contradiction(check: TrackCheck) -> str:
    """The law that a recording breaks."""
    if check.speeds_disagree:
        return f"its range and its Doppler give speeds that differ by {check.miss_mps:.2f} m/s"
    return f"received power grows with range (exponent {check.exponent:+.1f}, right is -4)"


def alternatives(config: IqConfig) -> Iterator[tuple[str, IqConfig]]:
    """Other ways to read the same recordings, each with its flags; the most common first."""
    order = config.iq_order or "iq"
    exchanged = "iq" if order == "qi" else "qi"
    if not config.real_samples and order != "iiqq":
        yield f"--iq-order {exchanged}", replace(config, iq_order=exchanged)
    if config.format == "dca1000":
        if config.lanes is not None:
            lanes = 2 if config.lanes == 4 else 4
            yield f"--lanes {lanes}", replace(config, lanes=lanes)
            yield f"--lanes {lanes} --iq-order {exchanged}", replace(config, lanes=lanes, iq_order=exchanged)
    elif order != "iiqq":
        yield "--iq-order iiqq", replace(config, iq_order="iiqq")
        yield "--iq-order iiqq --conjugate", replace(config, iq_order="iiqq", conjugate=not config.conjugate)
    else:
        yield "--iq-order iq", replace(config, iq_order="iq")
    if "samples" in config.axes:
        axes = ["ranges" if name == "samples" else name for name in config.axes]
        named = f"--axes {' '.join(axes)}"
        yield named, replace(config, axes=tuple(axes))
        yield f"{named} --conjugate", replace(config, axes=tuple(axes), conjugate=not config.conjugate)
    elif "ranges" in config.axes:
        axes = ["samples" if name == "ranges" else name for name in config.axes]
        yield "--conjugate", replace(config, conjugate=not config.conjugate)
        if config.bandwidth_hz is not None:
            yield f"--axes {' '.join(axes)}", replace(config, axes=tuple(axes))
    if config.bandwidth_hz is not None and "ranges" not in config.axes:
        falling = -config.bandwidth_hz
        yield f"--bandwidth-hz {falling:g} (falling chirps)", replace(config, bandwidth_hz=falling)
