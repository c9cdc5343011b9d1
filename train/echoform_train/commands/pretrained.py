"""`echoform pretrained`: print the folder of weights that are shipped inside the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from echoform_train.engine.errors import MissingFileError


@dataclass(frozen=True, kw_only=True)
class Config:
    """Print the folder of trained weights that lie inside the package, for the flags of other commands."""

    name: tyro.conf.Positional[Literal["walkers", "rooms", "classifier"]]
    """walkers: spectrograms of simulated people. rooms: depth images to 768 numbers and back. classifier: tells which
    of these people walks."""


def main(config: Config) -> Path:
    """Print the folder and return it.

    Raises:
        FileNotFoundError: If echoform was installed without these weights.
    """
    from echoform.shipped import pretrained

    try:
        folder = pretrained(config.name)
    except FileNotFoundError as error:
        raise MissingFileError(str(error)) from error
    print(folder)
    return Path(folder)
