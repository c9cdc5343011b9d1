"""What the cards of all families have in common: the exported model, and its data, trainings and scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, cast

from echoform_cards.augmentation import Augmentation
from echoform_cards.facts import Data, GalleryImage, People, Score, Stage
from echoform_cards.model_card import Sampling
from echoform_train.data.facts import DataFacts
from echoform_train.engine.errors import UserError
from echoform_train.engine.files import SAMPLE_SHEET
from echoform_train.engine.sources import is_hub_id, parse_hub_id


class CardFacts(TypedDict, total=False):
    """Facts of a card that do not come from the training; `write_card` stores them in facts.json under "card"."""

    scores: dict[str, Score]
    spectra: str
    """Picture of the mean spectra of real and of generated images, measured with the scores."""
    scores_of: str
    """Identity of the model that scores and augmentation were measured with, see `model_identity`."""
    sampling: Sampling
    people: People
    hub_dataset: str
    license: str
    augmentation: Augmentation
    base_model: str
    """Hub id of the model that this one was made from."""
    sample_sheet_after: int
    """Images seen by the training when the sample sheet was made."""
    picture: str
    """What the picture in the card shows, if it is no sample sheet of the training."""
    gallery: list[GalleryImage]


class Training(TypedDict):
    """Content of facts.json that every card needs; families add their own."""

    data: DataFacts
    command: str | None
    commit: str | None
    versions: dict[str, str]
    """Version of each package."""
    machine: str
    seconds: float
    images_seen: int
    parameters: int


class OfBaseModel(TypedDict, total=False):
    """Entry of facts.json of a model that was made from another one on the Hub."""

    base_model: str
    """Its Hub id."""


def hub_id_of_source(source: str | Path) -> OfBaseModel:
    """The entry for a model that was made from `source`: empty for a folder, whose id on the Hub is not known."""
    text = str(source)
    return {"base_model": parse_hub_id(text).repo} if is_hub_id(text) and not Path(text).exists() else {}


@dataclass(frozen=True)
class ExportedModel:
    """An exported model with all facts that its card can print."""

    folder: Path
    class_name: str
    training: Training
    card: CardFacts
    repo: str | None
    """Hub id that the snippet of the card loads; None: the folder itself."""


class SheetFacts(TypedDict, total=False):
    """The sheet of images that a card shows; empty if there is none."""

    sample_sheet: str
    sample_sheet_after: int | None
    picture: str | None


def sheet_of(model: ExportedModel) -> SheetFacts:
    """The sheet of images in the folder of a model."""
    if not (model.folder / SAMPLE_SHEET).is_file():
        return {}
    return {
        "sample_sheet": SAMPLE_SHEET,
        "sample_sheet_after": model.card.get("sample_sheet_after"),
        "picture": model.card.get("picture"),
    }


def base_model_of(model: ExportedModel) -> str | None:
    """Hub id of the model that a model was made from; None if there is none.

    Raises:
        UserError: If it is no Hub id.
    """
    found = model.card.get("base_model") or cast(OfBaseModel, model.training).get("base_model")
    if found is not None and not (isinstance(found, str) and is_hub_id(found)):
        raise UserError(f"the base model of a card must be user/name on the Hub, got {found!r:.80}")
    return found


def data_of(model: ExportedModel) -> Data:
    """The data that a model was trained on; a local folder is mentioned by its name alone.

    Raises:
        UserError: If the Hub id of the data is none.
    """
    data = model.training["data"]
    source = data["source"]
    if (hub_id := model.card.get("hub_dataset")) and not is_hub_id(hub_id):
        raise UserError(f"the data of a card must be user/name on the Hub, got {hub_id!r:.80}")
    from_hub = is_hub_id(source) and not Path(source).exists()
    return {
        "name": source if from_hub else Path(source).name,
        "hub_id": model.card.get("hub_dataset") or (parse_hub_id(source).repo if from_hub else None),
        "people": model.card.get("people"),
        "images": data["images"],
        "split": data["split"],
    }


def stage_of(name: str, training: Training) -> Stage:
    """One training as a section of a card."""
    return {
        "name": name,
        "command": training["command"],
        "commit": training["commit"],
        "versions": training["versions"],
        "machine": training["machine"],
        "seconds": training["seconds"],
        "images_seen": training["images_seen"],
        "parameters": training["parameters"],
    }
