"""Write the card of an exported model from the facts of its training."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from echoform.hub import CARD, merge_card
from echoform_cards.augmentation import Augmentation
from echoform_cards.facts import People
from echoform_cards.model_card import Sampling
from echoform_train.engine.atomic_files import write_text
from echoform_train.engine.errors import MissingFileError, UserError, refused_by
from echoform_train.engine.files import FACTS, MODEL_INDEX, SAMPLE_SHEET, SAMPLES
from echoform_train.engine.json_files import write_json
from echoform_train.engine.output_folders import final_folder
from echoform_train.publishing.cards.common import CardFacts, ExportedModel, Training
from echoform_train.publishing.exported import class_name
from echoform_train.publishing.families import published_class
from echoform_train.publishing.identity import model_identity
from echoform_train.publishing.training_facts import read_training

logger = logging.getLogger(__name__)


def write_card(
    folder: Path,
    scores: Mapping[str, Mapping[str, Any]] | None = None,
    sampling: Sampling | None = None,
    people: People | None = None,
    repo: str | None = None,
    hub_dataset: str | None = None,
    license: str | None = None,
    augmentation: Augmentation | None = None,
    scores_of: str | None = None,
    base_model: str | None = None,
    spectra: str | None = None,
) -> None:
    """Write README.md of an exported model from the facts of its training and the arguments given here.

    The arguments, except for `repo`, are stored in facts.json of the folder, and later cards repeat them; scores that
    were stored for another model are left out with a warning. Text that a person wrote into an earlier card stays; only
    its metadata are renewed. If sheets of generated images lie beside a pipeline, the last one is copied to samples.png
    and shown in the card. Sheets of reconstructions are never copied, because they show images of the data.

    Args:
        folder: An exported pipeline, first stage (OUTPUT_DIR/vqvae) or depth encoder, with facts.json in it or beside
            it.
        scores: By metric, as `echoform score` measures them, each with members of `echoform_cards.facts.Score`.
        sampling: Settings that the scores were measured with.
        people: Whether the data were simulated or recorded; if unknown, the card warns as for recorded people.
        repo: Hub id that the card's snippet loads; None: the folder itself.
        hub_dataset: Hub id of the data; None: the Hub id that the training read, if it read from the Hub.
        license: Licence identifier of the Hub.
        augmentation: Result of an augmentation study.
        scores_of: Identity of the model that `scores` and `augmentation` were measured with, see `model_identity`;
            None: the folder as it is now.
        base_model: Hub id of the model that this one was made from; None: the one that its training knows, if any.
        spectra: File in the folder with a picture of the mean spectra, measured with `scores`.

    Raises:
        FileNotFoundError: If the folder holds no exported model, or there is no facts.json.
        ValueError: If the class of the model has no card, or the given scores are those of another model.
    """
    # The card combines the class of the model with the facts of its training.
    name = class_name(folder)
    facts_file = next((path for path in (folder / FACTS, folder.parent / FACTS) if path.is_file()), None)
    if facts_file is None:
        raise MissingFileError(f"{folder} holds no {FACTS}, from which the card is written")
    published = published_class(folder)
    render = published.card
    if render is None:
        raise UserError(f"there is no card for the class {name} of {folder}")
    training: Training = read_training(facts_file, published.training, published.data)

    identity = model_identity(folder)
    if scores_of not in (None, identity):
        raise UserError(f"scores of {folder} must be those of the model there, it was exchanged while it was scored")

    # Arguments given now replace those that an earlier call stored.
    given = {
        "scores": scores,
        "sampling": sampling,
        "people": people,
        "hub_dataset": hub_dataset,
        "license": license,
        "augmentation": augmentation,
        "base_model": base_model,
        "spectra": spectra,
        "scores_of": identity if scores or augmentation else None,
        "sample_sheet_after": _copy_sample_sheet(folder),
    }
    stored = _without_foreign_scores(training.get("card", {}), identity, folder)
    card = stored | {key: value for key, value in given.items() if value is not None}
    if card or "card" in training:
        write_json(folder / FACTS, training | {"card": card})

    # Text that a person wrote into an earlier card stays.
    with refused_by(f"{facts_file} must hold what the card of a {name} prints"):
        text = render(ExportedModel(folder, name, training, cast(CardFacts, card), repo))
    path = folder / CARD
    with refused_by(f"{path} must be a card, UTF-8 text"):
        existing = path.read_text(encoding="utf-8") if path.is_file() else ""
        merged = merge_card(text, existing)
    write_text(path, merged)


def _without_foreign_scores(card: Mapping[str, Any], identity: str, folder: Path) -> dict[str, Any]:
    """The stored facts of a card, without scores and augmentation if these were measured with another model."""
    foreign = {"scores", "augmentation"} & card.keys()
    if not foreign or card.get("scores_of") == identity:
        return dict(card)
    logger.warning(
        "the card of %s shows no scores: those in its %s were measured with another model; score it again",
        final_folder(folder),
        FACTS,
    )
    return {name: value for name, value in card.items() if name not in {*foreign, "scores_of", "spectra"}}


def _copy_sample_sheet(folder: Path) -> int | None:
    """Copy the last sheet of generated images beside a pipeline into it; the images seen by the training until then."""
    sheets = sorted((folder.parent / SAMPLES).glob("images-*.png"))
    if not sheets or not (folder / MODEL_INDEX).is_file():
        return None
    shutil.copyfile(sheets[-1], folder / SAMPLE_SHEET)
    return int(sheets[-1].stem.partition("-")[2])
