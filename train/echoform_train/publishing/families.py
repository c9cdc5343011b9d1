"""The classes that echoform publishes: where each is imported from, its seeded outputs and its card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from echoform_train.data.facts import DataFacts, DepthFacts, ImageFacts, SpectrogramFacts
from echoform_train.engine.errors import UserError, refused_by
from echoform_train.publishing import seeded_outputs as outputs
from echoform_train.publishing.cards.added_user import AddedUserTraining, added_user_card
from echoform_train.publishing.cards.classifier import ClassifierTraining, classifier_card
from echoform_train.publishing.cards.common import ExportedModel, Training
from echoform_train.publishing.cards.conv import ConvTraining, conv_card
from echoform_train.publishing.cards.depth import depth_card
from echoform_train.publishing.cards.first_stage import FirstStageTraining, first_stage_card
from echoform_train.publishing.cards.spectrogram import DenoiserTraining, spectrogram_card
from echoform_train.publishing.exported import class_name
from echoform_train.publishing.model_folder import ADDED_USER, LOADING_ERRORS, ONNX_ENCODER, check_model


@dataclass(frozen=True)
class PublishedClass:
    """How one class is loaded, fingerprinted and described."""

    module: str
    """Module that the installed class is imported from."""
    outputs: outputs.MakeOutputs
    """Function of seeded_outputs.py that runs a loaded object of the class."""
    card: Callable[[ExportedModel], str] | None = None
    """Writes README.md; None if the class has no card."""
    training: type[Any] = Training
    """TypedDict of facts.json."""
    data: type[Any] = DataFacts
    """TypedDict of "data" in facts.json."""
    space_name: str | None = None
    """Name of the class in the flags and environment variables of the Space; None if the Space does not show it."""


_FIRST_STAGE = PublishedClass("diffusers", outputs.first_stage, first_stage_card, FirstStageTraining, SpectrogramFacts)
PUBLISHED = {
    "VQLDMDopplerPipeline": PublishedClass(
        "echoform", outputs.spectrogram_pipeline, spectrogram_card, DenoiserTraining, SpectrogramFacts, "doppler"
    ),
    # Loaded by its pipeline alone.
    ADDED_USER: PublishedClass("", outputs.loaded_user, added_user_card, AddedUserTraining, SpectrogramFacts),
    "VQModel": _FIRST_STAGE,
    "AutoencoderKL": _FIRST_STAGE,
    "DepthAutoencoderPipeline": PublishedClass(
        "echoform", outputs.depth_pipeline, depth_card, Training, DepthFacts, "depth"
    ),
    "DepthAutoencoder": PublishedClass("echoform", outputs.depth_model, None, Training, DepthFacts),
    "DepthEncoder": PublishedClass("echoform", outputs.depth_model, depth_card, Training, DepthFacts),
    "DepthEncoderModel": PublishedClass("echoform.transformers_depth_encoder", outputs.transformers_depth_encoder),
    ONNX_ENCODER: PublishedClass("echoform_train.publishing.onnx_encoder", outputs.onnx_depth_encoder),
    "SpectrogramClassifier": PublishedClass(
        "echoform.spectrogram_classifier",
        outputs.spectrogram_classifier,
        classifier_card,
        ClassifierTraining,
        SpectrogramFacts,
        "classifier",
    ),
    "ConvAutoencoderPipeline": PublishedClass("echoform", outputs.conv_pipeline, conv_card, ConvTraining, ImageFacts),
}
"""By class name. A new family adds its classes here, its card to cards/ and its outputs to seeded_outputs.py."""


def published_class(folder: Path) -> PublishedClass:
    """The row of PUBLISHED for the class that a folder was exported from.

    Raises:
        FileNotFoundError: If the folder holds neither model_index.json nor config.json.
        ValueError: If echoform does not publish the class.
    """
    name = class_name(folder)
    if name not in PUBLISHED:
        raise UserError(f"the class of {folder} must be among {', '.join(PUBLISHED)}, got {name!r}")
    return PUBLISHED[name]


def load_installed(folder: Path, **loading: Any) -> Any:
    """Load an exported folder with the installed class; the code in the folder is not run.

    Args:
        folder: An exported folder.
        loading: Arguments of `from_pretrained`.

    Raises:
        MissingFileError: If a file is missing: see `check_model`.
        UserError: If the folder is not whole, or the class refuses its settings.
    """
    module = import_module(published_class(folder).module)
    check_model(folder)
    with refused_by(f"{folder} cannot be loaded", LOADING_ERRORS):
        return getattr(module, class_name(folder)).from_pretrained(folder, **loading)
