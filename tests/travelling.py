"""Every pipeline and every model that travels to the Hub, with tiny parts and random weights, and inputs for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from echoform import BlockDCT, ConvAutoencoder, ConvAutoencoderPipeline, DepthAutoencoder, DopplerUNet2DModel
from echoform.transformers_depth_encoder import DepthEncoderConfig, DepthEncoderModel
from tiny_depth import tiny_autoencoder, tiny_depth_pipeline
from tiny_doppler import tiny_kl, tiny_pipeline, tiny_unet


@dataclass(frozen=True)
class PipelineCase:
    """A pipeline, and a call of it."""

    make: Callable[[], Any]
    """The same weights each time."""

    inputs: Callable[[int], dict[str, Any]]
    """Arguments of a call for so many images, which begin with those for fewer."""

    images: Callable[[Any], list[np.ndarray]]
    """The images of an output, or of the first entry of a tuple, as float64."""

    tolerance: float = 1e-4
    """Largest difference of pixels between batch sizes."""


@dataclass(frozen=True)
class ModelCase:
    """A model, and arguments of its `forward`."""

    make: Callable[[], Any]
    inputs: Callable[[int], dict[str, Any]]
    """Arguments for a batch of so many, which begin with those for fewer."""

    first: tuple[str, ...]
    """Names of the first arguments of `forward`."""


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rand(batch: int, *shape: int) -> Tensor:
    return torch.stack([torch.rand(shape, generator=seeded(index)) for index in range(batch)])


def tiny_conv(**settings: Any) -> ConvAutoencoder:
    """16x16 RGB to 12 maps of 4x4."""
    torch.manual_seed(0)
    defaults: dict[str, Any] = {"sample_size": 16, "block_out_channels": (8, 12), "layers_per_block": (1, 2)}
    model = ConvAutoencoder(**(defaults | settings))
    with torch.no_grad():
        for _ in range(3):  # so that the statistics of batch norm are those of something
            model.train()(torch.rand(4, model.config["in_channels"], 16, 16))
    return model.eval()


def tiny_depth_model(**settings: Any) -> DepthAutoencoder:
    """32x32 to 16 numbers; layers that begin at zero have random weights, so that every layer matters."""
    model = tiny_autoencoder(**settings)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.05)
    return model


def _users(count: int) -> dict[str, Any]:
    return {
        "users": ["ID_1", "ID_10", "ID_2"][:count],
        "generator": [seeded(index) for index in range(count)],
        "conditions": {"direction": "away"},
        "num_inference_steps": 2,
        "output_type": "np",
    }


def _scenes(count: int) -> dict[str, Any]:
    rows, columns = np.mgrid[:32, :32] / 32
    images = [(500 + 900 * index + 2000 * rows + 300 * columns).astype(np.uint16) for index in range(count)]
    for image in images:
        image[8:16, 8:16] = 0
    return {"images": images}


def _pictures(count: int) -> dict[str, Any]:
    return {"images": list(rand(count, 3, 16, 16)), "output_type": "np"}


def _conv_pipeline(**settings: Any) -> ConvAutoencoderPipeline:
    facts: dict[str, Any] = {
        "latent_mean": {str(channel): 0.1 for channel in range(12)},
        "latent_std": {str(channel): 0.5 for channel in range(12)},
    }
    return _quiet(ConvAutoencoderPipeline(tiny_conv(**settings), **facts))


def _quiet(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _spectrogram_case(make: Callable[[], Any]) -> PipelineCase:
    return PipelineCase(make, _users, _stacked)


def _depth_case(**settings: Any) -> PipelineCase:
    # A pixel on the border of a hole may fall on either side in another batch, so that the test counts units.
    return PipelineCase(lambda: _quiet(tiny_depth_pipeline(tiny_depth_model(**settings))), _scenes, _stacked, 1.0)


def _conv_case(**settings: Any) -> PipelineCase:
    return PipelineCase(lambda: _conv_pipeline(**settings), _pictures, _stacked)


def _stacked(images: Any) -> list[np.ndarray]:
    return [np.asarray(image, dtype=np.float64) for image in images]


COSINE: dict[str, Any] = {"bottleneck": "cosine", "attention": (False, False, False, True)}

PIPELINES: dict[str, PipelineCase] = {
    "vq-ldm": _spectrogram_case(tiny_pipeline),
    "kl-ldm": _spectrogram_case(lambda: tiny_pipeline(vqvae=tiny_kl())),
    "pixel-diffusion": _spectrogram_case(lambda: tiny_pipeline(vqvae=BlockDCT(block_size=2, floor=-0.9))),
    "depth-map": _depth_case(),
    "depth-cosine": _depth_case(**COSINE),
    "conv-unpool": _conv_case(),
    "conv-transpose": _conv_case(upsampling="transpose"),
}


def _noisy(batch: int) -> dict[str, Any]:
    return {
        "sample": rand(batch, 4, 8, 8) - 0.5,
        "timestep": torch.arange(batch) * 100 + 50,
        "users": torch.arange(batch) % 3,
        "conditions": {"direction": torch.arange(batch) % 2},
    }


def _readings(batch: int) -> dict[str, Any]:
    return {"depth": 2 * rand(batch, 1, 32, 32) - 1, "valid": rand(batch, 1, 32, 32) > 0.2}


def _images(batch: int) -> dict[str, Any]:
    return {"images": rand(batch, 3, 16, 16)}


def _variational(batch: int) -> dict[str, Any]:
    return _images(batch) | {"noise": rand(batch, 4, 4, 4)}


def _transformers_encoder(**settings: Any) -> DepthEncoderModel:
    encoder = tiny_depth_model(**settings).encoder
    model = DepthEncoderModel(DepthEncoderConfig(encoder={k: v for k, v in encoder.config.items() if k[0] != "_"}))
    model.encoder.load_state_dict(encoder.state_dict())
    return model.eval()


def _unet(**settings: Any) -> DopplerUNet2DModel:
    return tiny_unet(**settings)


MODELS: dict[str, ModelCase] = {  # BlockDCT has no weights to train, store or cut: test_block_dct.py
    "unet": ModelCase(_unet, _noisy, ("sample", "timestep")),
    "unet-cross": ModelCase(lambda: _unet(conditioning="cross-attention"), _noisy, ("sample", "timestep")),
    "depth-map": ModelCase(tiny_depth_model, _readings, ("depth", "valid")),
    "depth-cosine": ModelCase(lambda: tiny_depth_model(**COSINE), _readings, ("depth", "valid")),
    "encoder-map": ModelCase(lambda: tiny_depth_model().encoder, _readings, ("depth", "valid")),
    "encoder-cosine": ModelCase(lambda: tiny_depth_model(**COSINE).encoder, _readings, ("depth", "valid")),
    "conv-unpool": ModelCase(tiny_conv, _images, ("images", "noise")),
    "conv-transpose": ModelCase(lambda: tiny_conv(upsampling="transpose"), _images, ("images", "noise")),
    "conv-latents": ModelCase(lambda: tiny_conv(latent_channels=4), _images, ("images", "noise")),
    "conv-variational": ModelCase(
        lambda: tiny_conv(latent_channels=4, variational=True, upsampling="transpose", batch_norm=False),
        _variational,
        ("images", "noise"),
    ),
    "transformers": ModelCase(_transformers_encoder, _readings, ("depth", "valid")),
}


def tensors_of(output: Any) -> list[Tensor]:
    """All tensors of a model's output, in order."""
    values = output.to_tuple() if hasattr(output, "to_tuple") else output
    return [values] if isinstance(values, Tensor) else list(values)


def run(model: nn.Module, inputs: dict[str, Any]) -> list[Tensor]:
    """Tensors of the model's output, without gradients."""
    with torch.no_grad():
        return tensors_of(model(**inputs))


def cast(inputs: Any, dtype: torch.dtype) -> Any:
    """Arguments with floating point tensors of another type."""
    if isinstance(inputs, dict):
        return {name: cast(value, dtype) for name, value in inputs.items()}
    return inputs.to(dtype) if isinstance(inputs, Tensor) and inputs.is_floating_point() else inputs
