"""Settings of TI radars from the files that describe a capture: `.cfg` of the mmWave demo, JSON of mmWave Studio."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from echoform_train.engine.errors import UserError
from echoform_train.engine.json_files import read_json_object

MAX_CONFIG_BYTES = 2**20
"""Largest size of a .cfg."""

Lanes = Literal[2, 4]


@dataclass(frozen=True, kw_only=True)
class ChirpConfig:
    """What a capture holds, and the frequencies of its chirps."""

    receivers: int
    """Receivers that are on."""
    transmitters: int
    """Chirps of one loop, each of another transmitter (or of another set of them)."""
    samples: int
    """Samples of a chirp and receiver."""
    loops: int
    """Times that the chirps of all transmitters are repeated in a frame."""
    frame_s: float
    """Time from the start of a frame to the next."""
    pulse_s: float
    """Time from a chirp to the next of the same transmitter."""
    carrier_hz: float
    """Middle of the sweep, while samples are taken."""
    bandwidth_hz: float
    """Swept while samples are taken; negative for falling chirps."""
    is_complex: bool = True
    """Whether samples are I and Q."""
    q_first: bool = False
    """Whether Q stands before I."""
    lanes: Lanes | None = None
    """Lanes of the LVDS link, which give the order of the samples; None if the file does not say."""

    def __post_init__(self) -> None:
        for name in ("receivers", "transmitters", "samples", "loops", "frame_s", "pulse_s", "carrier_hz"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise UserError(f"{name} must be above 0, it is {value:g}")
        if not (math.isfinite(self.bandwidth_hz) and self.bandwidth_hz != 0):
            raise UserError(f"the chirp must sweep a bandwidth, it sweeps {self.bandwidth_hz:g} Hz")

    def __str__(self) -> str:
        kind = "complex" if self.is_complex else "real"
        return (
            f"{self.transmitters} transmitters x {self.receivers} receivers, {self.samples} {kind} samples per chirp, "
            f"{self.loops} chirps per transmitter and frame, one every {1e3 * self.pulse_s:.4g} ms, a frame every "
            f"{1e3 * self.frame_s:.4g} ms, {self.carrier_hz / 1e9:.4g} GHz, {self.bandwidth_hz / 1e6:.4g} MHz"
        )


def read_chirp_config(path: Path) -> ChirpConfig:
    """Read a `.cfg` of TI's mmWave demo, or the JSON that mmWave Studio writes (`*.mmwave.json`).

    Raises:
        UserError: If the file is neither, or describes what a capture of plain frames cannot be; the message names the
            file.
    """
    try:
        if path.suffix.lower() == ".json":
            return _of_studio(read_json_object(path))
        return _of_demo(_commands(path))
    except UserError as error:
        text = str(error)
        raise UserError(text if str(path) in text else f"{path} cannot be used as --chirp-config: {text}") from error


def describes_chirps(path: Path) -> bool:
    """Whether a file is one of those that `read_chirp_config` reads, by its name and its first words."""
    if path.suffix.lower() == ".cfg":
        return True
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    with path.open("rb") as file:
        return b"mmWaveDevices" in file.read(2**16)


@dataclass(frozen=True)
class _Profile:
    """A chirp's sweep, in the units of TI."""

    start_ghz: float
    idle_us: float
    adc_start_us: float
    ramp_end_us: float
    slope_mhz_per_us: float
    samples: int
    rate_ksps: float


@dataclass(frozen=True)
class _Chirps:
    """Which chirps have a profile, and by how much they differ from it."""

    first: int
    last: int
    profile: int
    start_hz: float
    slope_khz_per_us: float
    idle_us: float
    adc_start_us: float


def _commands(path: Path) -> list[list[str]]:
    """Words of each line of a .cfg, without comments."""
    if not path.is_file():
        raise UserError("there is no such file")
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise UserError(f"a .cfg must have at most {MAX_CONFIG_BYTES} bytes, it has {path.stat().st_size}")
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    lines = (line.split("%")[0].split() for line in text.splitlines())
    return [words for words in lines if words]


def _of_demo(commands: Sequence[Sequence[str]]) -> ChirpConfig:
    """Settings of the mmWave demo's command line."""
    by_name: dict[str, list[Sequence[str]]] = {}
    for words in commands:
        by_name.setdefault(words[0], []).append(words[1:])
    for name in ("channelCfg", "profileCfg", "chirpCfg", "frameCfg"):
        if name == "frameCfg" and "advFrameCfg" in by_name:
            raise UserError("it sets advanced frames (advFrameCfg), a capture must have one kind of frame (frameCfg)")
        if name not in by_name:
            raise UserError(
                f"a .cfg must have the line {name}, this one has {', '.join(sorted(by_name)[:8]) or 'no lines'}"
            )
    profiles = {
        int(_number(line, 0, "profileCfg")): _Profile(
            *(_number(line, index, "profileCfg") for index in (1, 2, 3, 4, 7)),
            samples=int(_number(line, 9, "profileCfg")),
            rate_ksps=_number(line, 10, "profileCfg"),
        )
        for line in by_name["profileCfg"]
    }
    chirps = [
        _Chirps(
            *(int(_number(line, index, "chirpCfg")) for index in (0, 1, 2)),
            start_hz=_number(line, 3, "chirpCfg"),
            slope_khz_per_us=_number(line, 4, "chirpCfg"),
            idle_us=_number(line, 5, "chirpCfg"),
            adc_start_us=_number(line, 6, "chirpCfg"),
        )
        for line in by_name["chirpCfg"]
    ]
    frame = by_name["frameCfg"][-1]
    first, last, loops = (int(_number(frame, index, "frameCfg")) for index in (0, 1, 2))
    adc = by_name.get("adcCfg", [["2", "1"]])[-1]
    buffer = by_name.get("adcbufCfg", [])
    # Lines of the newer demo begin with a subframe: -1 0 1 1 1; those of the older one do not.
    words = buffer[-1] if buffer else []
    words = words[1:] if len(words) >= 5 else words
    if "lvdsStreamCfg" in by_name:
        stream = by_name["lvdsStreamCfg"][-1]
        if int(_number(stream, 1, "lvdsStreamCfg")) != 0:
            raise UserError("it streams headers (HSI) between the samples, lvdsStreamCfg must say 0 for them")
        if int(_number(stream, 2, "lvdsStreamCfg")) > 1:
            raise UserError("it streams other data beside the samples, the format of lvdsStreamCfg must be 1")
    out_format = int(_number(adc, 1, "adcCfg"))
    interleaved = len(words) > 2 and int(_number(words, 2, "adcbufCfg")) == 0
    return _combined(
        profiles=profiles,
        chirps=chirps,
        first_chirp=first,
        last_chirp=last,
        loops=loops,
        frame_ms=_number(frame, 4, "frameCfg"),
        receiver_mask=int(_number(by_name["channelCfg"][-1], 0, "channelCfg")),
        is_complex=out_format != 0,
        q_first=len(words) > 1 and int(_number(words, 1, "adcbufCfg")) == 1,
        # Only devices with four lanes store the receivers of a sample side by side.
        lanes=4 if interleaved else 2 if words else None,
    )


def _number(words: Sequence[str], index: int, line: str) -> float:
    if index >= len(words):
        raise UserError(f"the line {line} must have a value {index + 1}, it has {len(words)}")
    try:
        value = float(words[index])
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or abs(value) > 1e12:
        raise UserError(f"value {index + 1} of the line {line} must be a number, it is {words[index][:40]!r}")
    return value


def _of_studio(content: Mapping[str, Any]) -> ChirpConfig:
    """Settings of a mmWave Studio JSON, of its first device."""
    device = _first(content, "mmWaveDevices")
    radio = _object(device, "rfConfig")
    profiles = {}
    for entry in _list(radio, "rlProfiles"):
        held = _object(entry, "rlProfileCfg_t")
        profiles[int(_value(held, "profileId"))] = _Profile(
            _value(held, "startFreqConst_GHz"),
            _value(held, "idleTimeConst_usec"),
            _value(held, "adcStartTimeConst_usec"),
            _value(held, "rampEndTime_usec"),
            _value(held, "freqSlopeConst_MHz_usec"),
            samples=int(_value(held, "numAdcSamples")),
            rate_ksps=_value(held, "digOutSampleRate"),
        )
    chirps = []
    for entry in _list(radio, "rlChirps"):
        held = _object(entry, "rlChirpCfg_t")
        chirps.append(
            _Chirps(
                *(int(_value(held, name)) for name in ("chirpStartIdx", "chirpEndIdx", "profileId")),
                start_hz=1e6 * _value(held, "startFreqVar_MHz", 0.0),
                slope_khz_per_us=_value(held, "freqSlopeVar_KHz_usec", 0.0),
                idle_us=_value(held, "idleTimeVar_usec", 0.0),
                adc_start_us=_value(held, "adcStartTimeVar_usec", 0.0),
            )
        )
    frame = _object(radio, "rlFrameCfg_t")
    out = _object(radio, "rlAdcOutCfg_t").get("fmt", {})
    capture = device.get("rawDataCaptureConfig", {})
    order = capture.get("rlDevDataFmtCfg_t", {}) if isinstance(capture, Mapping) else {}
    lanes = capture.get("rlDevLaneEnable_t", {}) if isinstance(capture, Mapping) else {}
    count = int(_value(lanes, "laneEn", 0.0)).bit_count() if isinstance(lanes, Mapping) else 0
    return _combined(
        profiles=profiles,
        chirps=chirps,
        first_chirp=int(_value(frame, "chirpStartIdx")),
        last_chirp=int(_value(frame, "chirpEndIdx")),
        loops=int(_value(frame, "numLoops")),
        frame_ms=_value(frame, "framePeriodicity_msec"),
        receiver_mask=int(_value(_object(radio, "rlChanCfg_t"), "rxChannelEn")),
        is_complex=not isinstance(out, Mapping) or int(_value(out, "b2AdcOutFmt", 1.0)) != 0,
        q_first=isinstance(order, Mapping) and int(_value(order, "iqSwapSel", 0.0)) == 1,
        lanes=2 if count == 2 else 4 if count == 4 else None,
    )


def _combined(
    *,
    profiles: Mapping[int, _Profile],
    chirps: Sequence[_Chirps],
    first_chirp: int,
    last_chirp: int,
    loops: int,
    frame_ms: float,
    receiver_mask: int,
    is_complex: bool,
    q_first: bool,
    lanes: Lanes | None,
) -> ChirpConfig:
    """The settings of all chirps of a loop together."""
    if not 0 <= first_chirp <= last_chirp < 512:
        raise UserError(f"a frame must hold chirps within 0..511, it holds {first_chirp}..{last_chirp}")
    sweeps, pulse_us = set(), 0.0
    for index in range(first_chirp, last_chirp + 1):
        found = [chirp for chirp in chirps if chirp.first <= index <= chirp.last]
        if not found or found[-1].profile not in profiles:
            raise UserError(f"chirp {index} of the frame must have a chirpCfg and its profile, it has none")
        profile, chirp = profiles[found[-1].profile], found[-1]
        pulse_us += profile.idle_us + chirp.idle_us + profile.ramp_end_us
        slope = profile.slope_mhz_per_us + chirp.slope_khz_per_us / 1000
        begin_us = profile.adc_start_us + chirp.adc_start_us
        start_ghz = profile.start_ghz + chirp.start_hz / 1e9
        sweeps.add((start_ghz, begin_us, slope, profile.samples, profile.rate_ksps))
    if len(sweeps) > 1:
        raise UserError("all chirps of a frame must have the same sweep, they differ")
    start_ghz, begin_us, slope, samples, rate_ksps = sweeps.pop()
    if not rate_ksps > 0:
        raise UserError(f"the sampling rate must be above 0, it is {rate_ksps:g} ksps")
    sampled_us = 1e3 * samples / rate_ksps
    return ChirpConfig(
        receivers=(receiver_mask & 0xFFFF).bit_count(),
        transmitters=last_chirp - first_chirp + 1,
        samples=samples,
        loops=loops,
        frame_s=frame_ms / 1e3,
        pulse_s=pulse_us / 1e6,
        carrier_hz=1e9 * start_ghz + 1e6 * slope * (begin_us + sampled_us / 2),
        bandwidth_hz=1e6 * slope * sampled_us,
        is_complex=is_complex,
        q_first=q_first,
        lanes=lanes,
    )


def _object(held: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = held.get(name)
    if not isinstance(value, Mapping):
        raise _missing(f"the object {name}", held)
    return value


def _list(held: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    value = held.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(entry, Mapping) for entry in value):
        raise _missing(f"the list {name}", held)
    return value


def _missing(what: str, held: Mapping[str, Any]) -> UserError:
    names = ", ".join(map(str, held))[:100] or "nothing"
    return UserError(f"a mmWave Studio JSON must have {what}, this one has {names}")


def _first(held: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return _list(held, name)[0]


def _value(held: Mapping[str, Any], name: str, default: float | None = None) -> float:
    """A number, which mmWave Studio also writes as text in hexadecimal."""
    value = held.get(name, default)
    if isinstance(value, str):
        try:
            value = float(int(value, 16)) if value.lower().startswith("0x") else float(value)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e12:
        raise UserError(f"{name} must be a number, it is {held.get(name)!r}"[:200])
    return float(value)
