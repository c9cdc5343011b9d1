"""`echoform extract-encoder`: the encoder of a trained depth autoencoder, saved on its own as safetensors."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from torch import Tensor

from echoform.depth_autoencoder import DepthAutoencoder, DepthEncoder
from echoform.semantic_encoder import SENSOR_FACTS, load_encoder
from echoform_train.engine.checkpoint import list_checkpoints, load_checkpoint
from echoform_train.engine.ema import load_averages
from echoform_train.engine.files import AUTOENCODER, CHECKPOINTS, FACTS, PIPELINE, STATE
from echoform_train.publishing.card import write_card

PROBES = 4


@dataclass(frozen=True, kw_only=True)
class Config:
    """Save the encoder of a depth autoencoder so that it loads on its own, here or where echoform is not installed."""

    source: tyro.conf.Positional[str]
    """Exported pipeline or encoder (a folder, or user/model on the Hub), the output folder or a checkpoint of `echoform
    train depth-ae`, a .safetensors file, or an older .pth file of tensors with the default architecture."""
    output: Path
    """Folder for the encoder; must be new or empty."""
    format: Literal["diffusers", "transformers"] = "diffusers"
    """Which AutoModel loads it: that of diffusers, or that of transformers with its processor and pipeline task."""
    verify: bool = True
    """Load what was saved and compare its embeddings with those of the source, bit by bit."""
    revision: str | None = None
    """Branch, tag or commit of a repository."""
    token: str | None = None
    """Token of the Hub. Default: HF_TOKEN, or what `hf auth login` keeps."""


def main(config: Config) -> None:
    """Extract, save, compare and say what there is now."""
    encoder = extract(config)
    print(
        f"{config.output} holds an encoder of {sum(p.numel() for p in encoder.parameters()) / 1e6:.1f} M parameters: "
        f"{encoder.config['sample_size']} pixels square -> {encoder.config['latent_dim']} numbers"
        + ("; its embeddings are bit-equal to those of the source" if config.verify else "")
    )


def extract(config: Config) -> DepthEncoder:
    """Write the encoder to `config.output` and return it, in `eval()` and float32.

    Raises:
        FileNotFoundError: If there is no such source.
        ValueError: If the source holds no depth encoder, or the output folder holds something already.
        RuntimeError: If what was saved does not give the embeddings of the source.
    """
    if config.output.exists() and (not config.output.is_dir() or any(config.output.iterdir())):
        raise ValueError(f"--output must be a new or an empty folder, {config.output} holds something already")
    encoder, facts = _find(config)
    config.output.mkdir(parents=True, exist_ok=True)
    if config.format == "transformers":
        from echoform.transformers_depth_encoder import save_for_transformers  # slow to import, and few need it

        save_for_transformers(encoder, config.output)
    else:
        encoder.save_pretrained(config.output)
        if facts is not None:
            (config.output / FACTS).write_text(json.dumps(facts, indent=1))
            write_card(config.output)
    if config.verify:
        _verify(encoder, config.output, config.format)
    return encoder


def _find(config: Config) -> tuple[DepthEncoder, dict[str, Any] | None]:
    """The encoder of a source, and the facts of its training where they are known."""
    folder = Path(config.source)
    if (folder / STATE).is_file():
        return _from_checkpoint(folder)
    if (folder / PIPELINE / "model_index.json").is_file():
        folder = folder / PIPELINE
    elif list_checkpoints(folder / CHECKPOINTS):
        raise FileNotFoundError(
            f"{folder} holds a training that is not finished; name one of its checkpoints, such as "
            f"{list_checkpoints(folder / CHECKPOINTS)[-1]}"
        )
    source = str(folder) if folder.exists() else config.source
    encoder = load_encoder(source, revision=config.revision, token=config.token)
    return encoder, _facts_of(source, config)


def _from_checkpoint(folder: Path) -> tuple[DepthEncoder, dict[str, Any]]:
    """The averaged weights of a checkpoint; its architecture stands beside the best model of the run so far."""
    output_dir = folder.parent.parent
    if not (output_dir / AUTOENCODER / "config.json").is_file():
        raise FileNotFoundError(
            f"{output_dir / AUTOENCODER} holds no config.json, which the first validation of a run writes; is {folder} "
            "a checkpoint of `echoform train depth-ae`?"
        )
    model = DepthAutoencoder.from_pretrained(output_dir / AUTOENCODER)
    tensors, _ = load_checkpoint(folder)
    model.load_state_dict(tensors["autoencoder"])
    load_averages(model, tensors["ema"])
    facts = json.loads((output_dir / FACTS).read_text())
    model.encoder.register_to_config(**{name: facts["data"][name] for name in SENSOR_FACTS})
    return model.encoder.float().eval(), facts


def _facts_of(source: str, config: Config) -> dict[str, Any] | None:
    folder = Path(source)
    if folder.is_file():
        return None
    if folder.is_dir():
        path = folder / FACTS
        return json.loads(path.read_text()) if path.is_file() else None
    try:
        return json.loads(
            Path(hf_hub_download(source, FACTS, revision=config.revision, token=config.token)).read_text()
        )
    except EntryNotFoundError:
        return None


@torch.no_grad()
def _verify(encoder: DepthEncoder, folder: Path, kind: str) -> None:
    depth, valid = _probes(encoder)
    expected = encoder(depth, valid)
    loaded = _loader(kind)(folder)
    found = loaded(depth, valid)
    if not torch.equal(expected, found):
        raise RuntimeError(
            f"{folder} must give the embeddings of its source bit by bit, "
            f"the largest difference is {(expected - found).abs().max().item():.3g}"
        )


def _loader(kind: str) -> Callable[[Path], Callable[[Tensor, Tensor], Tensor]]:
    if kind == "diffusers":
        return lambda folder: DepthEncoder.from_pretrained(folder).eval()
    from transformers import AutoModel

    def load(folder: Path) -> Callable[[Tensor, Tensor], Tensor]:
        model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
        return lambda depth, valid: model(depth=depth, valid=valid).pooler_output

    return load


def _probes(encoder: DepthEncoder) -> tuple[Tensor, Tensor]:
    """Random images with holes, the same ones each time."""
    generator = torch.Generator().manual_seed(0)
    channels, size = encoder.config["input_channels"], encoder.config["sample_size"]
    depth = 2 * torch.rand(PROBES, channels, size, size, generator=generator) - 1
    valid = torch.rand(PROBES, 1, size, size, generator=generator) < 0.9
    return torch.where(valid, depth, 0.0), valid
