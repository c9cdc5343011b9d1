"""One more user for a trained classifier, in closed form: a row of its last layer and a centre for "nobody"."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from echoform.spectrogram_classifier import NOBODY, SpectrogramClassifier, SpectrogramClassifierConfig
from echoform.spectrogram_classifier import SpectrogramImageProcessor as Processor
from echoform_train.data.image_check import BadFileError, decode_image, read_file
from echoform_train.data.layout import IMAGES
from echoform_train.data.spectrograms import to_model
from echoform_train.data.walk import find_files
from echoform_train.engine.errors import MissingFileError, UserError, refused_by
from echoform_train.engine.files import FACTS, ONNX
from echoform_train.engine.json_files import read_json_object, write_json
from echoform_train.engine.names import composed
from echoform_train.engine.output_folders import new_folder
from echoform_train.publishing.card import write_card
from echoform_train.publishing.classifier_export import write_onnx
from echoform_train.publishing.families import load_installed
from echoform_train.publishing.model_folder import LOADING_ERRORS


@dataclass(frozen=True)
class AddedToClassifier:
    """How well the new user is named."""

    images: int
    named: float
    """Share of the images that are named right when the row is made without them, 0..1."""
    rejected: float
    """Share of them that is taken for nobody."""
    seconds: float

    def summary(self, user: str) -> str:
        """One line for the terminal."""
        return (
            f"{user}: {self.images} images; learned from a half, {100 * self.named:.0f} % of the other are named right "
            f"and {100 * self.rejected:.0f} % are taken for nobody, whose threshold is the old one"
        )


def add_to_classifier(folder: Path, data: Path, output_dir: Path, user: str) -> AddedToClassifier:
    """Write a classifier that knows one more user; the logits of all others stay as they are.

    Args:
        folder: A `SpectrogramClassifier` that answers "nobody".
        data: Folder of pictures of the user.
        output_dir: New folder.
        user: Name of the user.

    Raises:
        UserError: If the name is taken, the classifier has no answer "nobody", or a picture cannot be used.
    """
    started, user = time.monotonic(), composed(user)
    model: Any = load_installed(folder).eval()
    labels = [model.config.id2label[index] for index in range(len(model.config.id2label))]
    if user in {composed(label) for label in labels} | {NOBODY}:
        raise UserError(f"--name must be that of a new user, the classifier knows {user} already")
    if model.config.nobody_threshold is None:
        raise UserError(
            f'a user can be added to a classifier that answers "nobody", because that knows how users differ; the one '
            f"in {folder} was trained without"
        )
    with refused_by(f"{folder} must hold the image processor of a classifier", LOADING_ERRORS):
        processor = Processor.from_pretrained(folder)
    features = _features(model, _pixels(data, processor))
    wider = with_user(model, features.mean(0), user)
    named, rejected = _by_halves(model, features, user)
    with new_folder(output_dir, "--output-dir") as written:
        wider.save_pretrained(written)
        processor.save_pretrained(written)
        if (folder / ONNX).is_file():
            write_onnx(wider, written / ONNX, processor.height, processor.width)
        added = AddedToClassifier(len(features), named, rejected, time.monotonic() - started)
        if (folder / FACTS).is_file():
            write_json(written / FACTS, _facts(read_json_object(folder / FACTS), added, user))
            write_card(written)
    return added


@torch.no_grad()
def with_user(model: Any, centre: Tensor, user: str) -> SpectrogramClassifier:
    """A classifier with one more user, whose images have features around a centre, float [F].

    With one covariance for all users, the log-odds of two users are linear in the features (linear discriminant
    analysis, Fisher 1936). The trained rows are such rows times a factor, which is fitted to them; the new row is the
    mean of the trained ones plus its own discriminant times that factor.
    """
    head, centres = model.network.head, model.centres.double()
    precision = model.whitening.double() @ model.whitening.double().T
    weight, bias = head.weight.double(), head.bias.double()
    mean, offsets = centres.mean(0), centres - centres.mean(0)
    factor = ((weight - weight.mean(0)) * offsets).sum() / ((offsets @ precision) * offsets).sum()
    centre = centre.double()
    row = weight.mean(0) + factor * (precision @ (centre - mean))
    halves = ((centres @ precision) * centres).sum(1).mean() - centre @ precision @ centre
    config = model.config.to_dict()
    labels = [model.config.id2label[index] for index in range(model.config.num_users)]
    names = [*labels, user, NOBODY]
    config |= {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    wider: Any = SpectrogramClassifier(SpectrogramClassifierConfig.from_dict(config)).to(model.dtype).eval()
    state = model.state_dict()
    state["network.head.weight"] = torch.cat([head.weight, row[None].to(head.weight)])
    state["network.head.bias"] = torch.cat([head.bias, (bias.mean() + factor * halves / 2)[None].to(head.bias)])
    state["centres"] = torch.cat([model.centres, centre[None].to(model.centres)])
    wider.load_state_dict(state)
    return wider


@torch.no_grad()
def _by_halves(model: Any, features: Tensor, user: str) -> tuple[float, float]:
    """Share of the images that is named right, and taken for nobody, where the row comes from the other half."""
    if len(features) < 2:
        raise UserError("a classifier learns a user from at least 2 pictures, got 1")
    half = len(features) // 2
    answers = []
    for learned, held_out in ((features[:half], features[half:]), (features[half:], features[:half])):
        wider: Any = with_user(model, learned.mean(0), user)
        answers.append(wider.logits_of(held_out).argmax(1))
    answer, count = torch.cat(answers), model.config.num_users
    return float((answer == count).double().mean()), float((answer == count + 1).double().mean())


@torch.no_grad()
def _features(model: Any, pixels: Tensor) -> Tensor:
    return torch.cat([model.network.features(to_model(part).to(model.dtype)).float() for part in pixels.split(64)])


def _pixels(data: Path, processor: Processor) -> Tensor:
    if not data.is_dir():
        raise MissingFileError(f"DATA must be a folder of pictures of one person, there is no folder {data}")
    files = find_files(data, IMAGES.suffixes)
    if not files:
        raise UserError(f"DATA must be a folder of pictures ({', '.join(IMAGES.suffixes)}), {data} holds none")
    pixels = []
    for name, path in files.items():
        try:
            pixels.append(processor.pixels_of(decode_image(read_file(path, name), name)))
        except BadFileError as error:
            raise UserError(str(error)) from error
        except ValueError as error:
            raise UserError(f"{name}: {error}") from error
    return torch.from_numpy(np.stack(pixels))


def _facts(facts: dict[str, Any], added: AddedToClassifier, user: str) -> dict[str, Any]:
    """Facts of the classifier with the new user; its tables are those of the users that it was trained on."""
    data = facts.get("data", {})
    users = [*data.get("users", []), user]
    entry = {"user": user, "images": added.images, "named": added.named, "rejected": added.rejected}
    return facts | {"data": data | {"users": users}, "added_users": [*facts.get("added_users", []), entry]}
