"""The depth encoder as a part of other networks: loading, freezing layers, embedding arrays, and training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from echoform.depth_autoencoder import DepthEncoder
from echoform.depth_units import as_list, decoded_units, resized_units, units_in_range
from echoform.encoder_weights import (
    SENSOR_FACTS,
    encoder_settings,
    load_encoder,
    load_encoder_of_sizes,
    save_encoder_file,
)

LAYERS: dict[str, tuple[str, ...]] = {
    "stem": ("stem",),
    "layer1": ("layer1",),
    "layer2": ("layer2",),
    "layer3": ("layer3",),
    "layer4": ("layer4", "up"),
    "head": ("norm_out", "head"),
}
"""Names that `freeze_layers` takes -> modules of `DepthEncoder`; together they are the whole encoder."""


class SemanticEncoder(nn.Module):
    """Embed depth images, on its own or as the trainable beginning of a larger network.

    `forward` is for training: dropout follows `train()` and `eval()`. `encode` never applies dropout, so that an
    image has the same embedding in every mode and batch. Gradients flow through both.

    Example:
        >>> encoder = SemanticEncoder(pretrained_path="user/model")
        >>> encoder.freeze_layers(["stem", "layer1"])
        >>> classifier = nn.Sequential(encoder, nn.Linear(768, 10))

    Args:
        input_channels: 1, or 3.
        latent_dim: Numbers of the embedding.
        pretrained_path: Source for `load_pretrained_weights`; None starts from random weights.
        freeze_weights: Whether to call `freeze_parameters`.
        device: Device of the weights; None is the CPU.

    Raises:
        ValueError: If the pretrained encoder has other channels or another embedding.
    """

    def __init__(
        self,
        input_channels: int = 1,
        latent_dim: int = 768,
        pretrained_path: str | Path | None = None,
        freeze_weights: bool = False,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        sizes: dict[str, Any] = {"input_channels": input_channels, "latent_dim": latent_dim}
        if pretrained_path is None:
            self.encoder = DepthEncoder(**sizes)
        else:
            self.encoder = load_encoder_of_sizes(pretrained_path, sizes)
        self._frozen: set[str] = set()
        self.to(device)
        if freeze_weights:
            self.freeze_parameters()

    def forward(self, depth: Tensor, valid: Tensor | None = None) -> Tensor:
        """Embeddings, float [B, latent_dim], for training; arguments as in `encode`."""
        return self.encoder(depth, valid)

    def encode(self, depth: Tensor, valid: Tensor | None = None) -> Tensor:
        """Embed images in model range, without dropout; gradients flow.

        Args:
            depth: float [B, input_channels, H, W] in [-1, 1], or one image [input_channels, H, W].
            valid: [B, 1, H, W] or [1, H, W], 1 or True where there is a reading; None if there is one everywhere.

        Returns:
            float [B, latent_dim]; B is 1 for one image.

        Raises:
            ValueError: If dtype or shapes do not fit the model.
        """
        depth = depth[None] if depth.ndim == 3 else depth
        valid = valid[None] if valid is not None and valid.ndim == 3 else valid
        training = {module for module in self.encoder.modules() if module.training}
        self.encoder.eval()
        try:
            return self.encoder.encode(depth, valid)
        finally:
            for module in training:
                module.training = True

    @torch.no_grad()
    def encode_batch(
        self, depth: Tensor | Sequence[Tensor], valid: Tensor | Sequence[Tensor] | None = None, batch_size: int = 32
    ) -> Tensor:
        """Embed any number of images, `batch_size` at once, without gradients.

        Args:
            depth: float [N, input_channels, H, W] in [-1, 1], or a sequence of [input_channels, H, W].
            valid: [N, 1, H, W] or a sequence of [1, H, W], 1 or True where there is a reading; None if there is one
                everywhere.
            batch_size: Images at once. Memory grows with it; the results do not change.

        Returns:
            float32 [N, latent_dim] on the CPU.

        Raises:
            ValueError: If dtype or shapes do not fit the model, or there is no image.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if len(depth) == 0:
            raise ValueError("depth must hold at least one image, got none")
        if valid is not None and len(valid) != len(depth):
            raise ValueError(f"valid must hold as many images as depth ({len(depth)}), got {len(valid)}")
        parameter = next(self.encoder.parameters())
        latents = []
        for start in range(0, len(depth), batch_size):
            rows = slice(start, start + batch_size)
            # Checked before the cast to floating point, after which sensor units would look like model range.
            images = [torch.stack(list(one[rows])) for one in (depth, valid) if one is not None]
            if not images[0].is_floating_point():
                raise ValueError(f"depth must be floating point in [-1, 1], got {images[0].dtype}")
            latents.append(self.encode(*(one.to(parameter) for one in images)).float().cpu())
        return torch.cat(latents)

    def encode_numpy(self, x: np.ndarray, batch_size: int = 32, normalize: bool = True) -> np.ndarray:
        """Embed arrays, without gradients.

        Args:
            x: One image [H, W], images [N, H, W], or images [N, input_channels, H, W].
            batch_size: Images at once.
            normalize: True: x is as the sensor stores it (uint16, int32; floating point is rounded and loses at most
                1 %, NaN is no reading), of any size. It is resized without mixing readings and holes, and mapped to
                model range with the sensor description in the encoder's config, in the same way for all images. False:
                x is in model range already, floating point in [-1, 1], and of the model's size; NaN is no reading.

        Returns:
            float32 [N, latent_dim]; N is 1 for one image.

        Raises:
            ValueError: If dtype or shape do not fit, or `normalize` is set and the config does not describe the sensor,
                or no reading of an image is in its range.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        channels = self.encoder.config["input_channels"]
        images = x[None, None] if x.ndim == 2 else x[:, None] if x.ndim == 3 else x
        if images.ndim != 4 or images.shape[1] != channels:
            shapes = "[H, W], [N, H, W] or [N, 1, H, W]" if channels == 1 else f"[N, {channels}, H, W]"
            raise ValueError(f"x must be {shapes}, got {list(x.shape)}")
        if len(images) == 0:
            raise ValueError("x must hold at least one image, got none")
        if x.ndim == 3:
            as_list(x)  # raises if the last axis is one of colours
        latents = []
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            depth, valid = self._from_units(batch) if normalize else _from_model_range(batch)
            latents.append(self.encode_batch(depth, valid, batch_size))
        return torch.cat(latents).numpy()

    def load_pretrained_weights(self, path: str | Path, revision: str | None = None, token: str | None = None) -> None:
        """Replace the encoder by a trained one, including its architecture; frozen layers stay frozen.

        Args:
            path: A folder or Hub repository of a depth pipeline, an autoencoder or an encoder; a `.safetensors` file
                of an autoencoder or an encoder; or an older `.pth` file of tensors, which holds no architecture and
                must fit this encoder.
            revision: Branch, tag or commit of the repository; None is main.
            token: Token of the Hub; None uses HF_TOKEN or what `hf auth login` stored.

        Raises:
            FileNotFoundError: If there is neither such a path nor such a repository.
            ValueError: If it is no depth encoder, or has other channels or another embedding than this one.
        """
        parameter = next(self.encoder.parameters())
        settings = encoder_settings(self.encoder)
        self.encoder = load_encoder_of_sizes(path, settings, revision=revision, token=token)
        self.to(device=parameter.device, dtype=parameter.dtype)
        self._freeze(self._frozen)
        self.train(self.training)

    def freeze_parameters(self) -> None:
        """Freeze the whole encoder, in training too: no gradients, no dropout, and statistics as in `eval()`."""
        self._freeze(set(LAYERS))

    def freeze_layers(self, layers: Sequence[str]) -> None:
        """Freeze some layers in addition to those that are frozen already; see `freeze_parameters`.

        Args:
            layers: Among stem, layer1, layer2, layer3, layer4, head.

        Raises:
            ValueError: If a name is not among them.
        """
        if isinstance(layers, str):
            raise ValueError(f"layers must be a list, such as [{layers!r}], got {layers!r}")
        if unknown := [name for name in layers if name not in LAYERS]:
            raise ValueError(f"layers must be among {', '.join(LAYERS)}, got {', '.join(map(str, unknown))}")
        self._freeze(set(layers))

    def train(self, mode: bool = True) -> SemanticEncoder:
        """Set the mode as in any module, except that frozen layers stay in `eval()`."""
        super().train(mode)
        for module in self._modules_of(self._frozen):
            module.eval()
        return self

    def save_encoder_weights(self, path: str | Path) -> None:
        """Write the encoder as one safetensors file that `load_pretrained_weights` reads; its config is in the header.

        Raises:
            ValueError: If the path does not end in .safetensors.
        """
        save_encoder_file(self.encoder, Path(path))

    def count_parameters(self, only_trainable: bool = False) -> int:
        """Number of parameters, or of those that are not frozen."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad or not only_trainable)

    def get_model_info(self) -> dict[str, Any]:
        """Sizes, counts, frozen layers, facts of the sensor, device and dtype, as plain JSON values."""
        config, parameter = self.encoder.config, next(self.encoder.parameters())
        names = ("input_channels", "latent_dim", "sample_size", "block_out_channels", "layers_per_block", *SENSOR_FACTS)
        return {name: config[name] for name in names} | {
            "parameters": self.count_parameters(),
            "trainable_parameters": self.count_parameters(only_trainable=True),
            "frozen_layers": [name for name in LAYERS if name in self._frozen],
            "device": str(parameter.device),
            "dtype": str(parameter.dtype).removeprefix("torch."),
        }

    def _modules_of(self, layers: set[str]) -> list[nn.Module]:
        modules = [getattr(self.encoder, name) for layer in layers for name in LAYERS[layer]]
        return [module for module in modules if module is not None]

    def _freeze(self, layers: set[str]) -> None:
        self._frozen = self._frozen | layers
        for module in self._modules_of(layers):
            module.requires_grad_(False).eval()

    def _from_units(self, x: np.ndarray) -> tuple[Tensor, Tensor]:
        if x.dtype.kind not in "iuf" or x.dtype.itemsize < 2:
            raise ValueError(f"x must have at least 16 bits to be in the sensor's units, got {x.dtype}")
        config = self.encoder.config
        self.encoder.readings(torch.zeros(1, x.shape[1], 1, 1))  # raises if the config does not describe the sensor
        size, resized = (config["sample_size"],) * 2, []
        for channel in x.reshape(-1, *x.shape[2:]):
            units = decoded_units(channel, config)
            for value in config["invalid_values"] or {}:
                units[units == int(value)] = 0
            resized.append(resized_units(units_in_range(units, config), size, config))
        return self.encoder.readings(torch.cat(resized).reshape(*x.shape[:2], *size))


def create_semantic_encoder(
    pretrained_path: str | Path | None = None,
    input_channels: int | None = None,
    latent_dim: int | None = None,
    freeze_weights: bool = False,
    freeze_layers: Sequence[str] = (),
    device: torch.device | str | None = None,
) -> SemanticEncoder:
    """A `SemanticEncoder` with the sizes of the pretrained encoder.

    Args:
        pretrained_path: Source for `SemanticEncoder.load_pretrained_weights`; None starts from random weights.
        input_channels: None takes the pretrained encoder's, or 1.
        latent_dim: None takes the pretrained encoder's, or 768.
        freeze_weights: Freeze the whole encoder.
        freeze_layers: Layers to freeze; see `SemanticEncoder.freeze_layers`.
        device: Device of the weights; None is the CPU.

    Raises:
        ValueError: If the pretrained encoder has other sizes than those given, or a layer is unknown.
    """
    sizes: dict[str, Any] = {"input_channels": input_channels or 1, "latent_dim": latent_dim or 768}
    if pretrained_path is not None:
        known = load_encoder(pretrained_path, like=sizes).config
        given = {"input_channels": input_channels, "latent_dim": latent_dim}
        sizes = {name: known[name] if value is None else value for name, value in given.items()}
    encoder = SemanticEncoder(**sizes, pretrained_path=pretrained_path, freeze_weights=freeze_weights, device=device)
    encoder.freeze_layers(freeze_layers)
    return encoder


def _from_model_range(x: np.ndarray) -> tuple[Tensor, Tensor]:
    if x.dtype.kind != "f":
        raise ValueError(f"x must be floating point in [-1, 1] unless it is normalized here, got {x.dtype}")
    depth = torch.from_numpy(x.astype(np.float32))
    valid = ~depth.isnan().any(dim=1, keepdim=True)
    return torch.where(valid, depth, 0.0), valid
