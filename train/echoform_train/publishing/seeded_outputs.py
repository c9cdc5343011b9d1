"""What a pipeline or model makes from a fixed seed; imports nothing of ours, so that it runs where echoform is missing.

Run as a script in a fresh process, it makes that output as somebody who has diffusers but not echoform would:

python seeded_outputs.py LOADER SOURCE REVISION ARGUMENTS_JSON OUTPUT_JSON

where LOADER, such as diffusers.AutoModel, is the class that loads SOURCE, a repository or a folder.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import torch

HOMES = {
    "VQLDMDopplerPipeline": "echoform",
    "ConvAutoencoderPipeline": "echoform",
    "DepthAutoencoderPipeline": "echoform",
    "DepthAutoencoder": "echoform",
    "DepthEncoder": "echoform",
    "DepthEncoderModel": "echoform.transformers_depth_encoder",
    "VQModel": "diffusers",
    "AutoencoderKL": "diffusers",
}
_VALUES = 1024


def seeded_outputs(
    loaded: Any, *, seed: int, num_inference_steps: int, guidance_scale: float
) -> dict[str, list[float]]:
    """At most 1,024 numbers of each output of a pipeline or model, in float32 on the CPU.

    Of `VQLDMDopplerPipeline` the denoised latents and the image of the first user. The others know neither seed nor
    steps: of the depth pipeline the embedding and the reconstruction of a synthetic image, of a convolutional
    autoencoder the latents of another and what they make with the places of the maxima and without, of a depth model
    its embedding, of a first stage its latents and what it makes of them.
    """
    name = type(loaded).__name__  # two loads make two classes
    outputs: dict[str, Any]
    if name == "VQLDMDopplerPipeline":
        outputs = _spectrogram(loaded, seed, num_inference_steps, guidance_scale)
    elif name == "DepthAutoencoderPipeline":
        loaded.set_progress_bar_config(disable=True)
        made = loaded(synthetic_depth(loaded.config["depth_range_mm"], loaded.config["units_per_mm"]))
        outputs = {"embedding": made.latents, "depth": np.stack(made.depth)}
    elif name == "ConvAutoencoderPipeline":
        outputs = _convolutional(loaded)
    elif HOMES[name] == "diffusers":
        outputs = _first_stage(loaded)
    else:
        outputs = {"embedding": _embedding(loaded)}
    return {output: _few(np.asarray(values)) for output, values in outputs.items()}


def synthetic_depth(depth_range_mm: dict[str, float], units_per_mm: float, size: int = 128) -> np.ndarray:
    """A slope with a nearer box and a hole, uint16 [size, size] in the sensor's units, the same on every machine."""
    rows, columns = np.mgrid[:size, :size] / size
    share = 0.3 + 0.6 * (rows + columns) / 2
    share[size // 4 : size // 2, size // 3 : size // 2] = 0.15
    depth_mm = depth_range_mm["min"] + (depth_range_mm["max"] - depth_range_mm["min"]) * share
    depth = (depth_mm * units_per_mm).round().astype(np.uint16)
    depth[5 * size // 8 : 3 * size // 4, size // 8 : size // 4] = 0
    return depth


def _spectrogram(pipeline: Any, seed: int, num_inference_steps: int, guidance_scale: float) -> dict[str, Any]:
    last = {}

    def keep(_: object, step: int, timestep: object, values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        last.update(values)
        return values

    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(
        users=[0],
        generator=[torch.Generator().manual_seed(seed)],
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        output_type="np",
        callback_on_step_end=keep,
    ).images
    return {"latents": last["latents"], "image": images}


def _convolutional(pipeline: Any) -> dict[str, Any]:
    config = pipeline.autoencoder.config
    shape = (1, config.in_channels, config.sample_size, config.sample_size)
    # Noise: where a picture is flat, a rounding error would decide where its maxima stand.
    pixels = torch.from_numpy(np.random.default_rng(0).random(shape, dtype=np.float32))
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline(pixels, output_type="np")
    alone = pipeline.decode(made.latents, output_type="np").images
    return {"latents": made.latents, "image": made.images, "alone": alone}


@torch.no_grad()
def _embedding(model: Any) -> torch.Tensor:
    of_transformers = type(model).__name__ == "DepthEncoderModel"
    config = (model.encoder if of_transformers else model).config
    pixels, valid = _synthetic_pixels(config.input_channels, config.sample_size)
    model.eval()
    return model(depth=pixels, valid=valid).pooler_output if of_transformers else model.encode(pixels, valid)


@torch.no_grad()
def _first_stage(model: Any) -> dict[str, Any]:
    pixels, _ = _synthetic_pixels(model.config.in_channels, 64)
    encoded = model.eval().encode(pixels)
    latents = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mean
    return {"latents": latents, "image": model.decode(latents).sample}


def _synthetic_pixels(channels: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`synthetic_depth` in model range, [1, channels, size, size] in [-1, 1], and its readings, [1, 1, size, size]."""
    units = torch.from_numpy(synthetic_depth({"min": 0, "max": 1000}, 1, size).astype(np.float32))[None, None]
    valid = (units != 0).float()
    return ((units / 500 - 1) * valid).expand(1, channels, size, size), valid


def _few(values: np.ndarray) -> list[float]:
    flat = values.astype(np.float64).ravel()
    places = np.linspace(0, flat.size - 1, min(flat.size, _VALUES)).round().astype(int)
    return [float(f"{value:.6g}") for value in flat[places]]


def _main(loader: str, source: str, revision: str, arguments: str, output: str) -> None:
    run_path(str(Path(__file__).with_name("without_echoform.py")))["hide_our_packages"]()
    library, _, name = loader.partition(".")
    # Nothing of a stock model is code, and not every class takes the flag.
    trust = {} if name in HOMES else {"trust_remote_code": True}
    loaded = getattr(import_module(library), name).from_pretrained(
        source, revision=revision or None, use_safetensors=True, dtype=torch.float32, **trust
    )
    Path(output).write_text(json.dumps(seeded_outputs(loaded, **json.loads(arguments))))
    assert not any(name.partition(".")[0].startswith("echoform") for name in sys.modules)


if __name__ == "__main__":
    _main(*sys.argv[1:])
