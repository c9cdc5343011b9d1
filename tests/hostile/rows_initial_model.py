"""Models from which the training of a first stage cannot start."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from hostile.corpus import Row
from hostile.inputs import spectrograms
from hostile.models import WEIGHTS, edited, made, tensors, written

FLAGS = ["--block-out-channels", "8", "8", "--max-train-images", "16", "--report-to", "none"]
CODES = ["--num-vq-embeddings", "16", "--quantize-after", "8"]
CONFIG = "vqvae/config.json"


def _row(
    name: str,
    expected: str,
    *flags: str,
    spoil: Callable[[Path], object] | None = None,
    model: str = "stage",
    place: str = "",
    verb: str = "vq-vae",
) -> Row:
    """A training that starts from a copy of the good model `model`, which `spoil` is applied to, or from `place`."""

    def make(folder: Path) -> list[str]:
        data = spectrograms(folder / "data")
        copy = Path(shutil.copytree(made() / model, folder / model))
        if spoil is not None:
            spoil(copy)
        words = ["train", verb, "--data", str(data), "--output-dir", str(folder / "out"), *FLAGS]
        return [*words, *(CODES if verb == "vq-vae" else []), "--initial-model", str(copy / place), *flags]

    return Row(name, f"train {verb}", make, expected)


def _not_finite(state: dict[str, torch.Tensor]) -> None:
    state["quantize.embedding.weight"][0, 0] = float("nan")


ROWS = [
    _row("no folder", "there is no folder .*nowhere", place="nowhere"),
    _row("a folder without a model", "holds no first stage", spoil=lambda copy: shutil.rmtree(copy / "vqvae")),
    _row("a depth pipeline", "holds no first stage", model="depth"),
    _row(
        "the denoiser of a pipeline", "must hold VQModel weights, .* DopplerUNet2DModel", model="doppler", place="unet"
    ),
    _row("a VQ-VAE for a KL-VAE", "must hold AutoencoderKL weights, .* VQModel", verb="kl-vae"),
    _row("more levels", "--block-out-channels .* must be as in --initial-model", "--n-layers", "3"),
    _row("other widths", "has 8 8, the new model has 8 16", "--block-out-channels", "8", "16"),
    _row("another codebook", "--num-vq-embeddings must be as in", "--num-vq-embeddings", "32"),
    _row("RGB for one channel", "takes 1, the data have 3", "--colormap", "none"),
    _row("another colour map", "that of .* is jet, that of the data viridis", "--colormap", "viridis"),
    _row("a colour map of a pipeline", "that of .* none, that of the data jet", model="doppler"),
    _row("a class of somebody", "must hold VQModel weights", spoil=edited(CONFIG, _class_name="Os")),
    _row("a class that is no text", "must name its class", spoil=edited(CONFIG, _class_name=7)),
    _row("a billion channels", "block_out_channels", spoil=edited(CONFIG, block_out_channels=[10**9, 10**9])),
    _row("a config that is no JSON", "config.json", spoil=written(CONFIG, "{")),
    _row("facts that are no JSON", "facts.json", spoil=written("facts.json", "[" * 10**5)),
    _row("weights of no bytes", "truncated or no safetensors", spoil=written(f"vqvae/{WEIGHTS}", b"")),
    _row("weights that are not finite", "must be finite", spoil=tensors(f"vqvae/{WEIGHTS}", _not_finite)),
    _row("a file", "is a file", place="facts.json"),
]
