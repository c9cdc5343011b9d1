"""Start of the training of a first stage with the weights of a finished one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from echoform_train.data.config import data_facts
from echoform_train.data.spectrograms import SpectrogramData
from echoform_train.engine.content import content_hash, public_config
from echoform_train.engine.errors import MissingFileError, UserError
from echoform_train.engine.files import FACTS, FIRST_STAGE, MODEL_CONFIG, MODEL_INDEX, PIPELINE
from echoform_train.engine.json_files import read_json_object
from echoform_train.engine.sources import resolve_source
from echoform_train.latent_diffusion.first_stage import FirstStageModel
from echoform_train.publishing.cards.common import OfBaseModel, hub_id_of_source
from echoform_train.publishing.exported import class_name
from echoform_train.publishing.families import load_installed
from echoform_train.publishing.snapshot import download_model

_FLAGS = {
    "block_out_channels": "--block-out-channels (with --n-layers)",
    "layers_per_block": "--layers-per-block",
    "latent_channels": "--latent-channels",
    "vq_embed_dim": "--vq-embed-dim",
    "num_vq_embeddings": "--num-vq-embeddings",
    "mid_block_add_attention": "--mid-block-attention",
}
"""Flag that decides each part of the architecture."""
_OF_NO_WEIGHT = {"sample_size", "scaling_factor", "shift_factor", "latents_mean", "latents_std", "force_upcast"}
"""Settings of a config that change nothing in the network that is trained here."""


@dataclass(frozen=True)
class InitialModel:
    """A finished first stage, and what is known of the images that it was trained on."""

    source: str
    """As it was named: a folder or an id on the Hub."""
    model: FirstStageModel
    quantized: bool
    """Whether its codebook was in use."""
    known: Mapping[str, Any]
    """colormap, resolution, reading and axes of its images, as far as its folder tells."""

    def content(self) -> str:
        """What a resumed training compares."""
        return f"content {content_hash([self.model, self.quantized])}"


def load_initial_model(source: str, model_class: type[FirstStageModel]) -> InitialModel:
    """Load a first stage: of a finished training, of an exported pipeline, or alone, from a folder or the Hub.

    Args:
        source: Output folder of a training of a first or second stage, an exported pipeline, the folder of the first
            stage in one of them, or `user/name` or `user/name@revision` on the Hub.
        model_class: Class that the training needs.

    Raises:
        MissingFileError: If there is no such folder or repository, or no first stage in it.
        UserError: If it is of another class, or not whole.
    """
    location = resolve_source(source)
    given = location if isinstance(location, Path) else download_model(location.repo, location.revision)
    folder, facts_files = _find(given, source)
    if (found := class_name(folder)) != model_class.__name__:
        raise UserError(
            f"--initial-model must hold {model_class.__name__} weights, {folder} holds {_shown(found)} ones"
        )
    facts = next((read_json_object(path) for path in facts_files if path.is_file()), {})
    stage = facts["first_stage"] if isinstance(facts.get("first_stage"), dict) else facts
    data = stage.get("data")
    known = {name: data[name] for name in ("colormap", "resolution") if name in data} if isinstance(data, dict) else {}
    # The config of a pipeline tells it too, also where there are no facts.
    for home in (given, folder.parent):
        if (home / MODEL_INDEX).is_file():
            index = read_json_object(home / MODEL_INDEX)
            painted = index.get("colormap")
            known |= {"colormap": painted.get("name") if isinstance(painted, dict) else None, "axes": index.get("axes")}
            break
    model = cast(FirstStageModel, load_installed(folder, use_safetensors=True))
    return InitialModel(source, model, stage.get("quantized") is not False, known)


def _find(given: Path, source: str) -> tuple[Path, list[Path]]:
    """Folder of the first stage, and the files that may hold the facts of its training."""
    if (given / MODEL_CONFIG).is_file():  # the first stage itself
        beside = [given.parent / FACTS] if given.name == FIRST_STAGE else []
        return given, [given / FACTS, *beside]
    for home in (given, given / PIPELINE):
        if (home / FIRST_STAGE / MODEL_CONFIG).is_file():
            return home / FIRST_STAGE, [home / FACTS]
    raise MissingFileError(
        f"{source} holds no first stage: neither {MODEL_CONFIG} nor {FIRST_STAGE}/{MODEL_CONFIG}; --initial-model must "
        "name the output of a training, an exported pipeline, or the folder of a first stage"
    )


def check_initial_model(initial: InitialModel, model: FirstStageModel, data: SpectrogramData) -> None:
    """Check that the weights of a finished first stage can be right for a new one.

    Args:
        initial: The finished one.
        model: One of the architecture that the flags describe.
        data: The images of the training.

    Raises:
        UserError: If the channels of the images, their colour map or the architecture differ.
    """
    # 1. The images must have the channels that the network sees, and each channel must mean the same.
    facts = data_facts(data)
    channels = initial.model.config["in_channels"]
    if channels != facts["channels"]:
        raise UserError(
            f"--initial-model must take images of as many channels as the data have, {initial.source} takes "
            f"{channels}, the data have {facts['channels']} (--colormap)"
        )
    colormap = initial.known.get("colormap", facts["colormap"])
    if colormap != facts["colormap"]:
        raise UserError(
            f"--initial-model must have been trained on images of the same colour map, that of {initial.source} is "
            f"{_shown(colormap or 'none')}, that of the data {facts['colormap'] or 'none'} (--colormap)"
        )
    # 2. The network must be the one that the flags describe.
    theirs, ours = public_config(initial.model), public_config(model)
    for name in [*_FLAGS, *sorted(ours.keys() - _FLAGS.keys() - _OF_NO_WEIGHT)]:
        if name in ours and _as_list(theirs.get(name)) != _as_list(ours[name]):
            raise UserError(
                f"{_FLAGS.get(name, name)} must be as in --initial-model: {initial.source} has "
                f"{_shown(theirs.get(name))}, the new model has {_shown(ours[name])}"
            )


def start_from(initial: InitialModel, model: FirstStageModel, data: SpectrogramData) -> str:
    """Give a new first stage the weights of a finished one.

    Args:
        initial: The finished one.
        model: The new one, see `check_initial_model`; changed in place.
        data: The images of the training.

    Returns:
        One line for the terminal: what it starts from, and in what the images differ from those that it knows. Other
        sizes and axes only make the start less good, so that they are told and not refused.
    """
    model.load_state_dict(initial.model.state_dict())
    now = {"resolution": data_facts(data)["resolution"], "axes": data.axes}
    notes = [
        f"{name} {_shown(initial.known[name])} there, {_shown(now[name])} here"
        for name in now
        if initial.known.get(name) is not None and now[name] is not None and initial.known[name] != now[name]
    ]
    if "colormap" not in initial.known:
        notes.append("it does not tell the colour map of its images")
    return f"Starts from the first stage of {initial.source}" + (f" ({'; '.join(notes)})" if notes else "")


def base_model_of(initial: InitialModel | None) -> OfBaseModel:
    """The entry of facts.json for a first stage that started from `initial`: empty unless it came from the Hub."""
    return {} if initial is None else hub_id_of_source(initial.source)


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    """A value from a file, short and on one line."""
    if isinstance(value, dict):
        text = ", ".join(f"{name} {each}" for name, each in value.items())
    else:
        text = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text[:200] if text.isprintable() else repr(text)[:200]
