"""Writing a trained classifier of users as a folder that transformers loads, and as ONNX."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from echoform.spectrogram_classifier import (
    NOBODY,
    SpectrogramClassifier,
    SpectrogramClassifierConfig,
    SpectrogramImageProcessor,
)
from echoform.spectrogram_resnet import SpectrogramResNet
from echoform_train.data.colormap import MAX_RESIDUAL, lookup_table
from echoform_train.data.figure_frame import parse_crop
from echoform_train.data.number_files import ARRAY_SUFFIXES
from echoform_train.data.spectrograms import SpectrogramData
from echoform_train.engine.errors import UserError
from echoform_train.publishing.onnx_files import TOLERANCE, export_onnx, open_onnx


def make_classifier(
    network: SpectrogramResNet,
    users: Sequence[str],
    *,
    temperature: float,
    nobody: tuple[float, float, Tensor, Tensor] | None = None,
) -> SpectrogramClassifier:
    """A `SpectrogramClassifier` with the weights of a trained network, in eval mode on the CPU.

    Args:
        network: The trained network.
        users: Labels of its classes.
        temperature: `softmax_temperature` of `SpectrogramClassifierConfig`.
        nobody: Its `nobody_threshold`, `nobody_slope`, `centres` and `whitening`; None for no answer "nobody".

    Raises:
        UserError: If a user is called "nobody".
    """
    labels = [*users] if nobody is None else [*users, NOBODY]
    check_not_nobody(users)
    config = SpectrogramClassifierConfig(
        in_channels=network.body[0].in_channels,  # pyright: ignore[reportArgumentType]
        width=network.body[0].out_channels,  # pyright: ignore[reportArgumentType]
        num_features=network.head.in_features,
        softmax_temperature=temperature,
        nobody_threshold=None if nobody is None else nobody[0],
        nobody_slope=1.0 if nobody is None else nobody[1],
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
    )
    model = SpectrogramClassifier(config)
    model.network.load_state_dict({name: value.cpu() for name, value in network.state_dict().items()})
    if nobody is not None:
        model.centres.copy_(nobody[2])
        model.whitening.copy_(nobody[3])
    return model.eval()


def check_not_nobody(users: Iterable[str]) -> None:
    """Refuse users whose name is an answer of its own.

    Raises:
        UserError: If a user is called "nobody".
    """
    if NOBODY in users:
        raise UserError(f'no user of a classifier may be called "{NOBODY}", which is its answer for other people')


def check_pictures(data: SpectrogramData) -> None:
    """Refuse data that the image processor of a classifier could not read in the same way.

    Raises:
        UserError: If the files are arrays or pictures of 16 bits.
    """
    known = ("crop ", "first row lowest")
    others = [part for part in data.reading.split("; ") if part and not part.startswith(known)]
    if others or data.train.files[0].lower().endswith(ARRAY_SUFFIXES):
        raise UserError(
            f"a classifier reads pictures of 8 bits, as radar software writes them; the files of {data.source} are "
            "numbers, which `echoform simulate --save-db` and others keep beside such pictures"
        )


def make_processor(data: SpectrogramData) -> SpectrogramImageProcessor:
    """The image processor that reads a picture as the training data were read."""
    height, width = data.train.pixels.shape[-2:]
    parts = data.reading.split("; ")
    box = next((parse_crop(part.removeprefix("crop ")) for part in parts if part.startswith("crop ")), None)
    colors = None if data.colormap is None else lookup_table(data.colormap).astype(np.uint8).tobytes().hex()
    first = Path(data.source) / data.train.files[0]
    picture_size = None
    if box is not None and first.is_file():
        with Image.open(first) as opened:
            picture_size = [opened.height, opened.width]
    return SpectrogramImageProcessor(
        height=height,
        width=width,
        colormap=data.colormap,
        colors=colors,
        # Strongly compressed pictures are all far from their map.
        max_residual=max(MAX_RESIDUAL, 3 * data.colormap_residual),
        native_size=data.native_size,
        crop=box,
        picture_size=picture_size,
        lowest_first="first row lowest" in parts,
    )


class _Logits(nn.Module):
    def __init__(self, model: SpectrogramClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.model(pixel_values, return_dict=False)[0]


@torch.no_grad()
def write_onnx(model: SpectrogramClassifier, path: Path, height: int, width: int) -> float:
    """Write a classifier as one ONNX file: `pixel_values` float32 [batch, C, H, W] in [-1, 1] to `logits`.

    Returns:
        The largest difference of a probability from that of torch, over random images in onnxruntime.

    Raises:
        MissingPackageError: If the packages of the extra onnx are missing.
        RuntimeError: If the difference is larger than TOLERANCE.
    """
    generator = torch.Generator().manual_seed(0)
    channels = model.config.in_channels
    probe = 2 * torch.rand(8, channels, height, width, generator=generator) - 1
    labels = [model.config.id2label[index] for index in sorted(model.config.id2label)]  # pyright: ignore
    metadata = {
        "labels": json.dumps(labels),
        "input": f"pixel_values: float32 [batch, {channels}, {height}, {width}] in [-1, 1]",
        "outputs": f"logits: float32 [batch, {len(labels)}], of the labels in their order",
    }
    export_onnx(
        _Logits(model).eval(),
        probe[:2],
        path,
        input_name="pixel_values",
        output_names=["logits"],
        metadata=metadata,
        flag="--onnx",
    )
    session = open_onnx(path)
    found = torch.from_numpy(session.run(["logits"], {"pixel_values": probe.numpy()})[0])
    expected = model(probe).logits
    difference = float((found.softmax(1) - expected.softmax(1)).abs().max())
    if not difference <= TOLERANCE:
        raise RuntimeError(f"{path} must give the scores of torch within {TOLERANCE:g}, they differ by {difference:g}")
    return difference
