"""Hostile sources and settings of `simulate --like`, and simulations that no radar makes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from hostile.corpus import Row
from hostile.inputs import spectrograms

Make = Callable[[Path], list[str]]


def _simulate(*flags: str) -> Make:
    return lambda folder: ["simulate", str(folder / "out"), "--users", "2", "--workers", "1", *flags]


def _like(make: Callable[[Path], Path], *flags: str) -> Make:
    return lambda folder: _simulate("--like", str(make(folder)), *flags)(folder)


def _settings(content: object) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / "like.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return make


def _likeness(**parts: object) -> Callable[[Path], Path]:
    whole = {"window_s": 3.0, "view": {}, "receiver": {}, "surface": {}, "population": {}}
    return _settings({"likeness": {**whole, **parts}})


def _photographs(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for user in ("ID_1", "ID_2"):
        (folder / "data" / user).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "data" / user / f"p{number}.png")
    return folder / "data"


ROWS = [
    Row("no folder", "simulate", _like(lambda f: f / "missing"), r"missing"),
    Row(
        "few pictures",
        "simulate",
        _like(lambda f: spectrograms(f / "data", images=8)),
        r"--like needs at least 20 images",
    ),
    Row("photographs", "simulate", _like(_photographs), r"--like needs spectrograms in the colours of a known map"),
    Row("with a body", "simulate", _like(_likeness(), "--body", "ellipsoids"), r"leave out settings of body"),
    Row("with a receiver", "simulate", _like(_likeness(), "--looks", "1"), r"leave out settings of receiver"),
    Row("with a route", "simulate", _like(_likeness(), "--route", "free"), r"--like must go without --joints, --mode"),
    Row("settings of a list", "simulate", _like(_settings([])), r"must be|must hold"),
    Row(
        "settings of nothing", "simulate", _like(_settings({})), r"must hold the settings that echoform simulate --like"
    ),
    Row("settings that are no JSON", "simulate", _like(_settings("{")), r"must be JSON"),
    Row("settings of NaN", "simulate", _like(_settings('{"likeness": {"window_s": NaN}}')), r"finite numbers"),
    Row(
        "view of an unknown setting", "simulate", _like(_likeness(view={"x": 1})), r"view in .* must be settings among"
    ),
    Row("view of text", "simulate", _like(_likeness(view={"span_mps": "wide"})), r"view in .* of the right type"),
    Row("view that folds", "simulate", _like(_likeness(view={"span_mps": 99})), r"--span-mps must be in"),
    Row("receiver of one look and a half", "simulate", _like(_likeness(receiver={"looks": 1.5})), r"--looks must be"),
    Row("people who fly", "simulate", _like(_likeness(population={"walking_speed_mps": 90})), r"--walking-speed-mps"),
    Row("window of no time", "simulate", _like(_likeness(window_s=0)), r"--?window[-_]s must be in"),
    Row(
        "route of a bird", "simulate", _like(_likeness(route="over the hills")), r"route in .* must be one of straight"
    ),
    Row("rows of one", "simulate", _simulate("--native-rows", "1"), r"--native-rows must be in"),
    Row("centre of an axis that follows", "simulate", _simulate("--centre-mps", "1"), r"--centre-mps must go with"),
    Row("transform beyond its rows", "simulate", _simulate("--native-rows", "20", "--transform-ms", "90"), r"at least"),
    Row("cut of everything", "simulate", _simulate("--cut-share", "1"), r"--cut-share must be in"),
    Row(
        "range cells in FMCW",
        "simulate",
        _simulate("--mode", "fmcw", "--range-cell-m", "0.3"),
        r"must go with --mode cw",
    ),
    Row("steps of a fly", "simulate", _simulate("--window-steps", "900"), r"--window-steps must be in"),
    Row("noise of NaN", "simulate", _simulate("--noise-db", "nan"), r"--noise-db must be"),
]
