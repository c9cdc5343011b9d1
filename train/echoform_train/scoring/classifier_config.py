"""Settings of the training of a classifier of users."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from echoform_train.data.config import DataConfig
from echoform_train.engine.errors import UserError
from echoform_train.engine.licences import check_licence
from echoform_train.engine.limits import Length, LimitedSettings, Limits, Seed

Augmentations = Literal["auto", "time roll", "time roll, gain and noise", "time roll and SpecAugment"]


@dataclass(frozen=True, kw_only=True)
class Config(LimitedSettings):
    """Train a classifier that tells from a spectrogram who walks, or that it is nobody whom it knows."""

    data: tyro.conf.OmitArgPrefixes[DataConfig]
    output_dir: Path
    """Folder for the classifier, its card and its facts; must be new or empty, or hold an interrupted training."""
    seed: Seed = 0
    """Seed of weights, order, augmentation, and of the people who are left out."""
    max_train_images: Length = 16_000
    """Length of each training in images seen."""
    train_batch_size: Annotated[int, Limits(2, 65_536)] = 16
    """Images per optimizer step."""
    augmentation: Augmentations = "auto"
    """Classical augmentation of the training images. auto: a short training with each, and the one that is best on
    validation images."""
    false_accept_rate: Annotated[float, Limits(0, 1, above_low=True, below_high=True)] = 0.05
    """Share of images of unknown people that may be taken for one of the users; the threshold for "nobody" is set so.
    It is measured by leaving each of the users out of one further training."""
    nobody: bool = True
    """--no-nobody trains a classifier that always names a user."""
    onnx: bool = False
    """Also write model.onnx, one file for onnxruntime on a server or in a browser."""
    license: str | None = None
    """Licence in the card of the model, by its identifier on the Hub, such as cc-by-4.0. Default: the card
    says that none is named."""
    people: Literal["simulated", "recorded"] | None = None
    """Whether the people in the data are simulated or recorded, for the card. Default: the card carries the
    same warning as for recorded people."""
    resume_from_checkpoint: Literal["latest"] | None = None
    """Go on with an interrupted training: those of its networks that are done are kept. Default: train from the
    start."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto: the GPU, if there is one."""
    push_to_hub: str | None = None
    """Hub repository, user/name, to push the classifier to when the training is over; checked before it begins."""
    private: bool = False
    """Make that repository private if it is created."""
    revision: str | None = None
    """Branch to push to. Default: main."""
    token: str | None = None
    """Hub token. Default: HF_TOKEN, or the token of `hf auth login`, which other users of the machine cannot see."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("private", "revision", "token"):
            if getattr(self, name) and self.push_to_hub is None:
                raise UserError(f"--{name} is for the Hub: it must go with --push-to-hub")
        check_licence(self.license)
