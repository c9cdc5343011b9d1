"""Outputs of exported pipelines and models from a fixed seed, for fingerprints.

This file imports nothing of echoform and also runs as a script, in a fresh process that has diffusers but not echoform:

python seeded_outputs.py LOADER SOURCE REVISION MAKE ARGUMENTS_JSON OUTPUT_JSON [USER]

LOADER is the class that loads SOURCE, a repository or a folder, such as diffusers.AutoModel. MAKE is the name of the
function below that runs the loaded pipeline or model. USER is the folder of a user that the pipeline loads on top.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch

_VALUES = 1024
# Only these run code that lies in the source.
_LOADERS_OF_CODE = ("DiffusionPipeline", "AutoModel", "AutoModelForImageClassification")


class Sampling(NamedTuple):
    """How images are drawn; used by the spectrogram pipeline alone."""

    seed: int
    num_inference_steps: int
    guidance_scale: float


MakeOutputs = Callable[[Any, Sampling], dict[str, Any]]
"""Runs a loaded pipeline or model and returns its outputs, arrays or tensors of any shape, by name."""


def seeded_outputs(loaded: Any, make: MakeOutputs, **sampling: Any) -> dict[str, list[float]]:
    """At most 1,024 numbers of each output of a pipeline or model, computed in float32 on the CPU.

    Args:
        loaded: The pipeline or model.
        make: Function of this file that runs it.
        sampling: Members of `Sampling`.
    """
    return {name: _thin_out(np.asarray(values)) for name, values in make(loaded, Sampling(**sampling)).items()}


def spectrogram_pipeline(pipeline: Any, sampling: Sampling, user: int = 0) -> dict[str, Any]:
    """Denoised latents and image of the first user, or of the one with another class id."""
    last = {}

    def keep_last(_: object, step: int, timestep: object, values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        last.update(values)
        return values

    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(
        users=[user],
        generator=[torch.Generator().manual_seed(sampling.seed)],
        num_inference_steps=sampling.num_inference_steps,
        guidance_scale=sampling.guidance_scale,
        output_type="np",
        callback_on_step_end=keep_last,
    ).images
    return {"latents": last["latents"], "image": images}


def loaded_user(pipeline: Any, sampling: Sampling) -> dict[str, Any]:
    """Denoised latents and image of the user that a spectrogram pipeline loaded last."""
    return spectrogram_pipeline(pipeline, sampling, max(map(int, pipeline.id2label)))


@torch.no_grad()
def first_stage(model: Any, _: Sampling) -> dict[str, Any]:
    """Latents of a synthetic image, and the image that they decode to."""
    pixels, _valid = _synthetic_pixels(model.config.in_channels, 64)
    encoded = model.eval().encode(pixels)
    latents = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mean
    return {"latents": latents, "image": model.decode(latents).sample}


def depth_pipeline(pipeline: Any, _: Sampling) -> dict[str, Any]:
    """Embedding and reconstruction of a synthetic depth image."""
    pipeline.set_progress_bar_config(disable=True)
    depth = synthetic_depth(pipeline.config["depth_range_mm"], pipeline.config["units_per_mm"])
    # Whole numbers of such a pipeline are no units, floating point is; one of an earlier version has no encoding.
    if pipeline.config.get("encoding", "linear") != "linear":
        mm_per = {"mm": 1, "cm": 10, "m": 1000}.get(pipeline.config["float_unit"], 1 / pipeline.config["units_per_mm"])
        depth = depth / pipeline.config["units_per_mm"] / mm_per
    result = pipeline(depth)
    return {"embedding": result.latents, "depth": np.stack(result.depth)}


@torch.no_grad()
def depth_model(model: Any, _: Sampling) -> dict[str, Any]:
    """Embedding of a synthetic depth image by a model of diffusers."""
    pixels, valid = _synthetic_pixels(model.config.input_channels, model.config.sample_size)
    return {"embedding": model.eval().encode(pixels, valid)}


@torch.no_grad()
def transformers_depth_encoder(model: Any, _: Sampling) -> dict[str, Any]:
    """Embedding of a synthetic depth image by a model of transformers."""
    config = model.encoder.config
    pixels, valid = _synthetic_pixels(config.input_channels, config.sample_size)
    return {"embedding": model.eval()(depth=pixels, valid=valid).pooler_output}


def onnx_depth_encoder(model: Any, _: Sampling) -> dict[str, Any]:
    """Embedding of a synthetic depth image by onnxruntime."""
    config = model.config
    depth = synthetic_depth(config["depth_range_mm"], config["units_per_mm"], config["sample_size"])
    units = np.broadcast_to(depth, (1, config["input_channels"], *depth.shape))
    return {"embedding": model.session.run(["embedding"], {"units": np.ascontiguousarray(units)})[0]}


@torch.no_grad()
def spectrogram_classifier(model: Any, _: Sampling) -> dict[str, Any]:
    """Logits of four synthetic spectrograms."""
    images = np.random.default_rng(0).uniform(-1, 1, (4, model.config.in_channels, 64, 64)).astype(np.float32)
    return {"logits": model.eval()(torch.from_numpy(images)).logits}


def conv_pipeline(pipeline: Any, _: Sampling) -> dict[str, Any]:
    """Latents of a noise image, and two images decoded from them: with the positions of the maxima and without."""
    config = pipeline.autoencoder.config
    shape = (1, config.in_channels, config.sample_size, config.sample_size)
    # Noise has clear maxima; in a flat image a rounding error would decide where the maximum is.
    pixels = torch.from_numpy(np.random.default_rng(0).random(shape, dtype=np.float32))
    pipeline.set_progress_bar_config(disable=True)
    result = pipeline(pixels, output_type="np")
    decoded_alone = pipeline.decode(result.latents, output_type="np").images
    return {"latents": result.latents, "image": result.images, "alone": decoded_alone}


def synthetic_depth(depth_range_mm: dict[str, float], units_per_mm: float, size: int = 128) -> np.ndarray:
    """A slope with a nearer box and a hole, uint16 [size, size] in the sensor's units, the same on every machine."""
    rows, columns = np.mgrid[:size, :size] / size
    share = 0.3 + 0.6 * (rows + columns) / 2
    share[size // 4 : size // 2, size // 3 : size // 2] = 0.15
    depth_mm = depth_range_mm["min"] + (depth_range_mm["max"] - depth_range_mm["min"]) * share
    depth = (depth_mm * units_per_mm).round().astype(np.uint16)
    depth[5 * size // 8 : 3 * size // 4, size // 8 : size // 4] = 0
    return depth


def _synthetic_pixels(channels: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`synthetic_depth` in model range, [1, channels, size, size] in [-1, 1], and its mask, 1 where it is not 0."""
    units = torch.from_numpy(synthetic_depth({"min": 0, "max": 1000}, 1, size).astype(np.float32))[None, None]
    valid = (units != 0).float()  # [1, 1, size, size]
    return ((units / 500 - 1) * valid).expand(1, channels, size, size), valid


def _thin_out(values: np.ndarray) -> list[float]:
    """At most _VALUES of the values, evenly spread, with six digits."""
    flat = values.astype(np.float64).ravel()
    indices = np.linspace(0, flat.size - 1, min(flat.size, _VALUES)).round().astype(int)
    return [float(f"{value:.6g}") for value in flat[indices]]


def _open_onnx(library: str, source: str, revision: str) -> Any:
    """The session and the config of an encoder for onnxruntime."""
    from huggingface_hub import snapshot_download

    folder = Path(source if Path(source).is_dir() else snapshot_download(source, revision=revision or None))
    session = import_module(library).InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    return SimpleNamespace(config=json.loads((folder / "config.json").read_text()), session=session)


def _main(loader: str, source: str, revision: str, make: str, arguments: str, output: str, user: str = "") -> None:
    run_path(str(Path(__file__).with_name("without_echoform.py")))["hide_our_packages"]()
    library, _, name = loader.partition(".")
    if library == "onnxruntime":
        loaded = _open_onnx(library, source, revision)
        Path(output).write_text(json.dumps(seeded_outputs(loaded, globals()[make], **json.loads(arguments))))
        return
    # A stock model has no code, and not every class takes the flag.
    trust = {"trust_remote_code": True} if name in _LOADERS_OF_CODE else {}
    loaded = getattr(import_module(library), name).from_pretrained(
        source, revision=revision or None, use_safetensors=True, dtype=torch.float32, **trust
    )
    if user:
        loaded.load_user(user)
    Path(output).write_text(json.dumps(seeded_outputs(loaded, globals()[make], **json.loads(arguments))))
    assert not any(name.partition(".")[0].startswith("echoform") for name in sys.modules)


if __name__ == "__main__":
    _main(*sys.argv[1:])
