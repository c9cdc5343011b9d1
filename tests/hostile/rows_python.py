"""Hostile settings and data sets in memory, at the Python calls."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict, Features, Image, Value
from PIL import Image as Picture

import echoform_train
from hostile.corpus import Row


def picture(value: int, size: int = 32) -> bytes:
    stored = io.BytesIO()
    Picture.fromarray(np.full((size, size), value, np.uint8)).save(stored, "PNG")
    return stored.getvalue()


def people(**columns: list[Any]) -> Dataset:
    """Two users with eight images each; columns may take the place of others."""
    rows: dict[str, Any] = {
        "image": [{"bytes": picture(10 * number), "path": None} for number in range(16)],
        "user": [f"ID_{1 + number // 8}" for number in range(16)],
        **columns,
    }
    texts = {name: Value("string") for name in rows if name != "image"}
    return Dataset.from_dict(rows, features=Features({"image": Image(), **texts}))


def replaced(name: str, value: Any) -> Dataset:
    values = [*people()[name]] if name == "user" else [*people().cast_column("image", Image(decode=False))["image"]]
    return people(**{name: [value, *values[1:]]})


DATA: dict[str, Callable[[], Any]] = {
    "a user that is a path": lambda: replaced("user", "../../evil"),
    "a user of no letters": lambda: replaced("user", ""),
    "an image of no bytes": lambda: replaced("image", {"bytes": b"", "path": None}),
    "an image that is a page": lambda: replaced("image", {"bytes": b"<html>", "path": None}),
    "an image that is elsewhere": lambda: replaced("image", {"bytes": None, "path": "/no/such/file.png"}),
    "no image": lambda: replaced("image", None),
    "a file outside": lambda: people(file=[f"../{number}.png" for number in range(16)]),
    "no rows": lambda: people().select([]),
    "one user": lambda: people(user=["ID_1"] * 16),
    "users that differ in case": lambda: people(user=["a"] * 8 + ["A"] * 8),
    "splits of other names": lambda: DatasetDict({"one": people(), "two": people()}),
    "a condition with a dot": lambda: people(**{"a.b": ["x"] * 8 + ["y"] * 8}),
    "numbers in place of images": lambda: Dataset.from_dict({"image": [[1, 2]], "user": ["ID_1"]}),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "a length of 10^400": {"max_train_images": 10**400},
    "a rate that is no number": {"learning_rate": float("nan")},
    "an object for a number": {"train_batch_size": object()},
    "a callback that cannot be called": {"on_validation": "print"},
    "a name with a thousand letters": {"x" * 1000: 1},
    "a folder with a zero": {"data": "a\0b"},
    "a file for a folder": {"data": __file__},
}


def prepare(words: list[str]) -> object:
    return echoform_train.prepare(DATA[words[0]]())


def train(words: list[str]) -> object:
    settings = {"data": words[1], "output_dir": Path(words[1]) / "out", **SETTINGS[words[0]]}
    return echoform_train.train_vq_vae(**settings)


def named(name: str) -> Callable[[Path], list[str]]:
    return lambda folder: [name, str(folder)]


SAID = {
    "a user that is a path": r"user .*\.\./\.\./evil",
    "a user of no letters": "user",
    "an image of no bytes": "the file is empty|cannot be decoded",
    "an image that is a page": "cannot be decoded",
    "an image that is elsewhere": "must be a regular file",
    "no image": "must have an image and a user",
    "a file outside": r"file .*\.\./",
    "no rows": "must hold images, in memory .* holds none",
    "one user": "images of at least 2 users",
    "users that differ in case": "users must not differ only in case",
    "splits of other names": "splits must be train, validation and test",
    "a condition with a dot": "must not hold a dot",
    "numbers in place of images": "must have an image column",
    "a length of 10^400": "max_train_images must be a whole number in",
    "a rate that is no number": r"learning_rate must be in \(0, 100\]",
    "an object for a number": "train_batch_size must be a whole number, got a object",
    "a callback that cannot be called": "on_validation must be a function",
    "a name with a thousand letters": "there is no setting x{80}$",
    "a folder with a zero": "null|no folder|a source",
    "a file for a folder": "is a file",
}
ROWS = [
    *(Row(name, prepare, named(name), SAID[name]) for name in DATA),
    *(Row(name, train, named(name), SAID[name]) for name in SETTINGS),
]
