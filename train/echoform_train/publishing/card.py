"""From trained parts to the folder that travels: the pipeline, its facts and its card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Literal

from echoform.hub import CARD, merge_card
from echoform_cards.conv_card import render_conv_card
from echoform_cards.depth_card import render_depth_card
from echoform_cards.first_stage_card import render_first_stage_card
from echoform_cards.model_card import render_model_card
from echoform_train.data.hub import is_hub_id, parse_hub_id
from echoform_train.engine.files import FACTS, SAMPLE_SHEET, SAMPLES

_FIRST_STAGES = {"vq-vae": "VQ-VAE", "kl-vae": "KL-VAE"}


def write_card(
    folder: Path,
    scores: dict[str, Any] | None = None,
    sampling: dict[str, Any] | None = None,
    people: Literal["simulated", "recorded"] | None = None,
    repo: str | None = None,
    hub_dataset: str | None = None,
    license: str | None = None,
    augmentation: dict[str, Any] | None = None,
) -> None:
    """Write README.md of an exported model from its facts and from what is said here.

    What is said (but for `repo`) is kept in the facts of the folder, so that a later card says it again. Text that a
    person wrote into an earlier card stays, and only its metadata are renewed. Where sheets of generated pictures lie
    beside a pipeline, the last of them becomes samples.png and the card shows it; reconstructions never travel, because
    the data are in the picture.

    Args:
        folder: An exported pipeline, or a first stage (OUTPUT_DIR/vqvae) or depth encoder on its own, with facts.json
            in it or beside it.
        scores: By metric, as `echoform score` measures them.
        sampling: `num_inference_steps` and `guidance_scale` that the scores were measured with.
        people: Whether the data were simulated or recorded; where it is not known, the card warns as for recorded ones.
        repo: Hub id that the card's snippet loads; None: the folder itself.
        hub_dataset: Hub id of the data; None: that which the training read from the Hub, if it did.
        license: Licence identifier of the Hub.
        augmentation: What `echoform augment` found, as `echoform_cards.augmentation` takes it.

    Raises:
        FileNotFoundError: If the folder holds no exported model, or nothing tells of its training.
    """
    model_class = _class_in(folder)
    facts_file = next((path for path in (folder / FACTS, folder.parent / FACTS) if path.is_file()), None)
    if facts_file is None:
        raise FileNotFoundError(f"{folder} holds no {FACTS}, without which there is nothing to put on a card")
    facts = json.loads(facts_file.read_text())
    given = {
        "scores": scores,
        "sampling": sampling,
        "people": people,
        "hub_dataset": hub_dataset,
        "license": license,
        "augmentation": augmentation,
    }
    said = facts.get("card", {}) | {name: value for name, value in given.items() if value is not None}
    sheets = sorted((folder.parent / SAMPLES).glob("images-*.png"))
    if sheets and (folder / "model_index.json").is_file():
        shutil.copyfile(sheets[-1], folder / SAMPLE_SHEET)
        said["sample_sheet_after"] = int(sheets[-1].stem.partition("-")[2])
    if said:
        (folder / FACTS).write_text(json.dumps(facts | {"card": said}, indent=1))
    if model_class in ("DepthAutoencoderPipeline", "DepthEncoder"):
        card = render_depth_card(_depth_facts(folder, facts, said, repo))
    elif model_class == "ConvAutoencoderPipeline":
        card = render_conv_card(_conv_facts(folder, facts, said, repo))
    elif model_class in ("VQModel", "AutoencoderKL"):
        card = render_first_stage_card(_first_stage_facts(model_class, facts, said, repo))
    else:
        card = render_model_card(_spectrogram_facts(folder, facts, said, repo))
    path = folder / CARD
    existing = path.read_text(encoding="utf-8") if path.is_file() else ""
    path.write_text(merge_card(card, existing), encoding="utf-8")


def _class_in(folder: Path) -> str:
    for name in ("model_index.json", "config.json"):
        if (folder / name).is_file():
            entry = json.loads((folder / name).read_text())["_class_name"]
            return entry[-1] if isinstance(entry, list) else entry
    raise FileNotFoundError(f"{folder} holds neither model_index.json nor config.json; is it an exported model?")


def _spectrogram_facts(folder: Path, facts: dict[str, Any], said: dict[str, Any], repo: str | None) -> dict[str, Any]:
    data, first_stage = facts["data"], facts["first_stage"]
    index = json.loads((folder / "model_index.json").read_text())
    return {
        "name": f"Micro-Doppler spectrograms of {len(data['users'])} people",
        "repo": repo,
        "license": said.get("license"),
        "users": data["users"],
        "conditions": data["conditions"] or None,
        **_sheet_facts(folder, said),
        "image": _image_facts(data) | {"colormap_residual": data["colormap_residual"] if data["colormap"] else None},
        "axes": index["axes"],
        "data": _data_facts(data, said),
        "first_stage": _FIRST_STAGES[first_stage["kind"]],
        "stages": [_stage(_FIRST_STAGES[first_stage["kind"]], first_stage), *_denoiser_stages(facts)],
        "sampling": said.get("sampling"),
        "scores": _first_stage_scores(first_stage) | said.get("scores", {}),
        "augmentation": said.get("augmentation"),
    }


def _denoiser_stages(facts: dict[str, Any]) -> list[dict[str, Any]]:
    if "teacher" not in facts:
        return [_stage("Latent diffusion", facts)]
    return [*_denoiser_stages(facts["teacher"]), _stage(f"Distillation to {facts['distilled']['steps']} steps", facts)]


def _first_stage_facts(
    model_class: str, facts: dict[str, Any], said: dict[str, Any], repo: str | None
) -> dict[str, Any]:
    data = facts["data"]
    return {
        "name": f"First stage for micro-Doppler spectrograms of {data['resolution']} pixels",
        "model_class": model_class,
        "repo": repo,
        "license": said.get("license"),
        "latent_shape": facts.get("latent_shape"),
        "image": _image_facts(data),
        "data": _data_facts(data, said),
        "stages": [_stage("First stage", facts)],
        "scores": _first_stage_scores(facts),
    }


def _depth_facts(folder: Path, facts: dict[str, Any], said: dict[str, Any], repo: str | None) -> dict[str, Any]:
    index_file = folder / "model_index.json"
    index = json.loads(index_file.read_text()) if index_file.is_file() else facts["data"]
    home = folder / "autoencoder" if index_file.is_file() else folder
    model = json.loads((home / "config.json").read_text())
    return {
        "name": f"{model['latent_dim']} numbers from 16-bit depth images",
        "part": "autoencoder" if index_file.is_file() else "encoder",
        "latent_dim": model["latent_dim"],
        "repo": repo,
        "license": said.get("license"),
        "parameters": facts.get("parameters"),
        "depth_range_mm": index.get("depth_range_mm"),
        "units_per_mm": index.get("units_per_mm"),
        "invalid_values": index.get("invalid_values"),
        "sample_size": model["sample_size"],
        **_sheet_facts(folder, said),
        "data": _data_facts(facts["data"], said),
        "stages": [_stage("Depth autoencoder", facts)],
        "scores": said.get("scores"),
    }


def _conv_facts(folder: Path, facts: dict[str, Any], said: dict[str, Any], repo: str | None) -> dict[str, Any]:
    model = json.loads((folder / "autoencoder" / "config.json").read_text())
    size, kind = model["sample_size"], "Variational autoencoder" if model["variational"] else "Autoencoder"
    return {
        "name": f"{kind} of pictures of {size} pixels",
        "latent_shape": facts["latent_shape"],
        "repo": repo,
        "license": said.get("license"),
        "parameters": facts["parameters"],
        "backbone": facts["backbone"],
        "torchvision_weights": facts["torchvision_weights"],
        **{name: model[name] for name in ("upsampling", "output_activation", "data_range", "variational")},
        **_sheet_facts(folder, said),
        "image": {"height": size, "width": size, "channels": model["in_channels"]},
        "data": _data_facts(facts["data"], said),
        "stages": [_stage("Convolutional autoencoder", facts)],
        "scores": said.get("scores"),
    }


def _sheet_facts(folder: Path, said: dict[str, Any]) -> dict[str, Any]:
    if not (folder / SAMPLE_SHEET).is_file():
        return {}
    return {"sample_sheet": SAMPLE_SHEET, "sample_sheet_after": said.get("sample_sheet_after")}


def _image_facts(data: dict[str, Any]) -> dict[str, Any]:
    return {
        "height": data["resolution"],
        "width": data["resolution"],
        "channels": data["channels"],
        "colormap": data["colormap"],
    }


def _data_facts(data: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    source = data["source"]
    from_hub = is_hub_id(source) and not Path(source).exists()
    return {
        "name": source if from_hub else Path(source).name,
        "hub_id": said.get("hub_dataset") or (parse_hub_id(source)[0] if from_hub else None),
        "people": said.get("people"),
        "images": data["images"],
        "split": data["split"],
    }


def _stage(name: str, facts: dict[str, Any]) -> dict[str, Any]:
    known = ("command", "commit", "versions", "machine", "seconds", "images_seen", "parameters")
    return {"name": name, **{key: facts[key] for key in known}}


def _first_stage_scores(facts: dict[str, Any]) -> dict[str, Any]:
    names = {"psnr": "psnr_db", "codebook_use": "codebook_use", "perplexity": "codebook_perplexity"}
    return {names[name]: {"mean": value} for name, value in facts["validation"].items() if name in names}
