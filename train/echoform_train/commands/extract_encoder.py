"""`echoform extract-encoder`: save the encoder of a trained depth autoencoder on its own, as safetensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import tyro

from echoform_train.engine.licences import check_licence
from echoform_train.engine.output_folders import new_folder, require_empty

if TYPE_CHECKING:
    from echoform.depth_autoencoder import DepthEncoder


@dataclass(frozen=True, kw_only=True)
class Config:
    """Save the encoder of a depth autoencoder so that it can be loaded on its own, with or without echoform."""

    source: tyro.conf.Positional[str]
    """Exported pipeline or encoder (a folder, or user/model on the Hub), output folder or checkpoint of `echoform train
    depth-ae`, .safetensors file, or older .pth file of tensors with the default architecture."""
    output_dir: Path
    """Folder for the encoder; must be new or empty."""
    format: Literal["diffusers", "transformers", "onnx"] = "diffusers"
    """Library that runs the encoder; transformers also gets an image processor and a pipeline. onnx: one file for
    onnxruntime, from whole sensor units to embeddings."""
    license: str | None = None
    """Licence in the card of the model, by its identifier on the Hub, such as cc-by-4.0. Default: that of
    the source, if its card names one."""
    people: Literal["simulated", "recorded"] | None = None
    """Whether the people in the data are simulated or recorded, for the card. Default: what the card of
    the source says."""
    verify: bool = True
    """Load the saved encoder and check that its embeddings equal those of the source bit by bit; onnx is always
    checked, within 1e-4."""
    revision: str | None = None
    """Branch, tag or commit of a repository."""
    token: str | None = None
    """Token of the Hub. Default: HF_TOKEN, or the token of `hf auth login`."""

    def __post_init__(self) -> None:
        check_licence(self.license)


def main(config: Config) -> DepthEncoder:
    """Extract the encoder, save it to `config.output_dir`, check it, and return it in float32 and evaluation mode.

    Raises:
        FileNotFoundError: If there is no such source.
        ValueError: If the source holds no depth encoder, or the output folder is not empty.
        RuntimeError: If the embeddings of the saved encoder differ from those of the source.
    """
    from echoform_train.depth.encoder_export import check_saved_encoder, find_encoder, save_encoder
    from echoform_train.publishing.cards.common import CardFacts, hub_id_of_source

    require_empty(config.output_dir, "--output-dir")
    encoder, facts = find_encoder(config.source, revision=config.revision, token=config.token)
    given = {"license": config.license, "people": config.people, **hub_id_of_source(config.source)}
    said = cast(CardFacts, {name: value for name, value in given.items() if value is not None})
    # The folder appears only after the check.
    with new_folder(config.output_dir, "--output-dir") as partial:
        save_encoder(encoder, facts, partial, config.format, said)
        if config.verify and config.format != "onnx":
            check_saved_encoder(encoder, partial, config.format)
    parameters = sum(p.numel() for p in encoder.parameters())
    exactly = "; its embeddings are bit-equal to those of the source" if config.verify else ""
    agreement = "; onnxruntime gives the embeddings of torch within 1e-4" if config.format == "onnx" else exactly
    print(
        f"{config.output_dir} holds an encoder of {parameters / 1e6:.1f} M parameters: "
        f"{encoder.config['sample_size']} pixels square -> {encoder.config['latent_dim']} numbers" + agreement
    )
    return encoder
