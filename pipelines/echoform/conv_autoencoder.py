"""Images to feature maps and back: a VGG encoder and its mirror, of the SegNet family."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils import BaseOutput
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

# Where this file is saved, it holds the text of the file named here instead of the import (code_files.py).
from echoform.model_checks import check_limits, check_weights

BACKBONES: dict[str, dict[str, Any]] = {
    "vgg13": {"block_out_channels": (64, 128, 256, 512, 512), "layers_per_block": (2, 2, 2, 2, 2)},
    "vgg16": {"block_out_channels": (64, 128, 256, 512, 512), "layers_per_block": (2, 2, 3, 3, 3)},
}
"""Settings of `ConvAutoencoder` by name: `ConvAutoencoder(**BACKBONES["vgg13"])`. "vgg16" is the default."""

UPSAMPLINGS = ("unpool", "transpose")

LIMITS: dict[str, Sequence[float]] = {
    "sample_size": (1, 4096),
    "block_out_channels": [1, 4096],
    "layers_per_block": [1, 32],
}
"""Lowest and highest value of each number among the settings; see `check_limits`."""

ACTIVATIONS: dict[str, tuple[float, float]] = {
    "none": (-math.inf, math.inf),
    "sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
}
"""Smallest and largest value of each output activation."""

DATA_RANGES: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "unit": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "symmetric": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""How pixels in 0..1 become model range: (pixel - mean) / deviation per red, green and blue; grey takes their means."""

Indices = tuple[Tensor, ...]
"""Per max-pooling, finest first, the position of each maximum in its map; int64 [B, C, h, w]."""


@dataclass
class ConvEncoderOutput(BaseOutput):
    """Encoded images."""

    latents: Tensor
    """float [B, D, h, w]; the means if the model is variational."""

    log_variance: Tensor | None = None
    """float [B, D, h, w] if the model is variational."""

    indices: Indices | None = None
    """Positions of the maxima if the model unpools by them."""


@dataclass
class ConvDecoderOutput(BaseOutput):
    """Decoded images."""

    sample: Tensor
    """float [B, C, H, W], in the model's range; it may overshoot if there is no output activation."""


@dataclass
class ConvAutoencoderOutput(ConvDecoderOutput):
    """Decoded images and the latents that they were decoded from."""

    latents: Tensor
    """float [B, D, h, w]; the means if the model is variational."""

    log_variance: Tensor | None = None
    """float [B, D, h, w] if the model is variational."""


class ConvAutoencoder(ModelMixin, ConfigMixin):
    """Images to feature maps at 1/32 of the side and back, by the layers of VGG and their mirror.

    Each level of the encoder is 3x3 convolutions (with or without batch norm, and ReLU) and a 2x2 max-pooling; the
    decoder doubles the map and applies as many convolutions. Doubling is either max-unpooling, which puts each value
    where the encoder found the maximum, or a transposed convolution, which uses only the latents.

    The positions of the maxima go to the decoder beside the latents. Decoded from latents alone, an unpooling decoder
    puts each value into the first (upper left) corner of its 2x2 square.

    Source: VGG, Simonyan and Zisserman 2015 (arXiv:1409.1556), configurations B and D; SegNet, Badrinarayanan et al.
    2017 (arXiv:1511.00561), section 3; the variational option, Kingma and Welling 2014 (arXiv:1312.6114).

    Example:
        >>> model = ConvAutoencoder(**BACKBONES["vgg13"], upsampling="transpose")
        >>> reconstruction = model(model.from_unit(pixels)).sample

    Args:
        sample_size: Side of the square images, in pixels; divisible by 2 to the number of levels.
        in_channels: 1 for grey, 3 for RGB.
        block_out_channels: Width of each level, finest first.
        layers_per_block: Convolutions of each level.
        batch_norm: Whether batch norm follows each convolution except the last.
        upsampling: "unpool" by the indices of the maxima, or "transpose".
        output_activation: "none", "sigmoid" or "tanh".
        data_range: Range of images in and out, among `DATA_RANGES`.
        latent_channels: Channels of the latents, made by 1x1 convolutions. None leaves the last level's maps as they
            are; a variational model always has the convolutions, and then as many channels as the last level.
        variational: Whether the latents are a normal distribution that training pulls towards the standard one.

    Raises:
        ValueError: If sizes and widths do not fit together, or the output activation does not cover the data range.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules = ()  # every layer may run on a device of its own

    @register_to_config
    def __init__(
        self,
        *,
        sample_size: int = 224,
        in_channels: int = 3,
        block_out_channels: tuple[int, ...] = (64, 128, 256, 512, 512),
        layers_per_block: tuple[int, ...] = (2, 2, 3, 3, 3),
        batch_norm: bool = True,
        upsampling: str = "unpool",
        output_activation: str = "none",
        data_range: str = "unit",
        latent_channels: int | None = None,
        variational: bool = False,
    ) -> None:
        super().__init__()
        _check_shape(self.config)
        check_activation(output_activation, data_range)
        self.gradient_checkpointing = False
        widths = (in_channels, *block_out_channels)
        deepest = block_out_channels[-1]
        self.latent_channels = deepest if latent_channels is None else latent_channels
        # Level k of the encoder is module k, finest first.
        levels = list(zip(pairwise(widths), layers_per_block, strict=True))
        self.encoder = nn.ModuleList(
            [_convolutions((before, *(width,) * layers), batch_norm) for (before, width), layers in levels]
        )
        # A variational model has a mean and a variance per latent channel.
        self.to_latents, self.from_latents = nn.Identity(), nn.Identity()
        if latent_channels is not None or variational:
            numbers = 2 * self.latent_channels if variational else self.latent_channels
            self.to_latents = nn.Conv2d(deepest, numbers, kernel_size=1)
            self.from_latents = nn.Conv2d(self.latent_channels, deepest, kernel_size=1)
        # Level k of the decoder is module k of both lists; the very last convolution is `conv_out`.
        self.doubling = nn.ModuleList(
            [_doubling(width, upsampling) for width in block_out_channels]  # [B, C, h, w] to [B, C, 2h, 2w]
        )
        self.decoder = nn.ModuleList(
            [
                _convolutions((*(width,) * layers, *((before,) if level else ())), batch_norm)
                for level, ((before, width), layers) in enumerate(levels)
            ]
        )
        self.conv_out = nn.Conv2d(block_out_channels[0], in_channels, kernel_size=3, padding=1)
        self._initialise(upsampling)

    # Copied from echoform.unet_doppler.DopplerUNet2DModel.from_pretrained
    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> Any:
        """Load all weights, as diffusers does; raises ValueError if any is missing, unknown, NaN or infinite."""
        if kwargs.get("use_safetensors") is False:
            raise ValueError("use_safetensors must not be turned off, got False")
        with_info = kwargs.pop("output_loading_info", False)
        kwargs |= {"use_safetensors": True, "output_loading_info": True}
        try:
            checks: Any = import_module("echoform.loading").refusing_damage
        except ModuleNotFoundError:  # what travels works without echoform
            checks = nullcontext
        with checks(pretrained_model_name_or_path):
            model, info = loaded = cast(Any, super().from_pretrained(pretrained_model_name_or_path, **kwargs))
        if bad := sorted({*info["missing_keys"], *info["unexpected_keys"]}):
            raise ValueError(f"{cls.__name__} must get its own weights, {len(bad)} are missing or unknown: {bad[0]}")
        check_weights(model)
        return loaded if with_info else model

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image's latents."""
        side = self.config["sample_size"] >> len(self.config["block_out_channels"])
        return self.latent_channels, side, side

    @apply_forward_hook
    def encode(self, images: Tensor) -> ConvEncoderOutput:
        """Feature maps of images, and the positions of their maxima.

        Args:
            images: float [B, in_channels, H, W] in the model's range; H and W divisible by 2 to the number of levels.

        Raises:
            ValueError: If the shape does not fit the model.
        """
        factor = 2 ** len(self.encoder)
        channels = self.config["in_channels"]
        if images.ndim != 4 or images.shape[1] != channels or any(side % factor for side in images.shape[2:]):
            raise ValueError(
                f"images must be [B, {channels}, H, W] with H and W divisible by {factor}, got {list(images.shape)}"
            )
        # Every level keeps the positions of its maxima, with which the decoder can unpool.
        features, indices = images, []
        for convolutions in self.encoder:
            features = _run(self, convolutions, features)
            features, positions = F.max_pool2d(features, kernel_size=2, return_indices=True)  # [B, C, h/2, w/2]
            indices.append(positions)
        kept = tuple(indices) if self.config["upsampling"] == "unpool" else None
        latents = self.to_latents(features)
        if not self.config["variational"]:
            return ConvEncoderOutput(latents=latents, indices=kept)
        # The limits keep the variance finite and above 0 in float32.
        mean, log_variance = latents.chunk(2, dim=1)
        return ConvEncoderOutput(latents=mean, log_variance=log_variance.clamp(-30, 20), indices=kept)

    @apply_forward_hook
    def decode(self, latents: Tensor, indices: Sequence[Tensor] | None = None) -> ConvDecoderOutput:
        """Images of latents.

        Args:
            latents: float [B, D, h, w].
            indices: Positions of the maxima from `encode`. None decodes from the latents alone: an unpooling decoder
                then puts each value into the upper left corner of its square.

        Raises:
            ValueError: If the shapes do not fit the model, or indices are given to one that does not unpool.
        """
        if latents.ndim != 4 or latents.shape[1] != self.latent_channels:
            raise ValueError(f"latents must be [B, {self.latent_channels}, h, w], got {list(latents.shape)}")
        levels = len(self.decoder)
        if indices is not None and self.config["upsampling"] != "unpool":
            raise ValueError(f"indices are for upsampling 'unpool', got them for {self.config['upsampling']!r}")
        if indices is not None and len(indices) != levels:
            raise ValueError(f"indices must be one tensor for each of {levels} levels, got {len(indices)}")
        # Through the levels in reverse, each doubled by the upsampling of the config.
        features = self.from_latents(latents)
        for level in reversed(range(levels)):
            if self.config["upsampling"] == "unpool":
                features = unpool(features, None if indices is None else indices[level])
            else:
                features = self.doubling[level](features)
            features = _run(self, self.decoder[level], features)
        images = self.conv_out(features)
        activation = {"none": nn.Identity(), "sigmoid": nn.Sigmoid(), "tanh": nn.Tanh()}
        return ConvDecoderOutput(sample=activation[self.config["output_activation"]](images))

    def forward(
        self, images: Tensor, noise: Tensor | None = None, return_dict: bool = True
    ) -> ConvAutoencoderOutput | tuple[Tensor, ...]:
        """Encode and decode, with the positions of the maxima if the model unpools.

        Args:
            images: float [B, in_channels, H, W], see `encode`.
            noise: Standard normal, of the shape of the latents, with which a variational model decodes a sample; None
                decodes the mean.
            return_dict: False gives a tuple: the images, the latents, and the log variance of a variational model.

        Raises:
            ValueError: If the shapes do not fit the model, or noise is given to a model that is not variational.
        """
        encoded = self.encode(images)
        latents = encoded.latents
        if noise is not None:
            if encoded.log_variance is None:
                raise ValueError("noise is for a variational model, this one is not variational")
            # The reparameterisation of Kingma and Welling 2014, section 2.4.
            latents = latents + (0.5 * encoded.log_variance).exp() * noise
        sample = self.decode(latents, encoded.indices).sample
        output = ConvAutoencoderOutput(sample=sample, latents=encoded.latents, log_variance=encoded.log_variance)
        return output if return_dict else output.to_tuple()

    def from_unit(self, pixels: Tensor) -> Tensor:
        """Pixels in 0..1, float [..., C, H, W], to the model's range."""
        mean, deviation = self._range(pixels)
        return (pixels - mean) / deviation

    def to_unit(self, images: Tensor) -> Tensor:
        """The model's range, float [..., C, H, W], to pixels, clamped to 0..1."""
        mean, deviation = self._range(images)
        return (images * deviation + mean).clamp(0, 1)

    def _range(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean, deviation = channel_range(self.config["data_range"], self.config["in_channels"])
        return torch.tensor(mean).to(like)[:, None, None], torch.tensor(deviation).to(like)[:, None, None]

    def _initialise(self, upsampling: str) -> None:
        """He initialisation (He et al. 2015, arXiv:1502.01852), with which plain stacks of 26 convolutions train."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                linear = module in (self.conv_out, self.to_latents, self.from_latents)
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear" if linear else "relu")
                nn.init.zeros_(module.bias)  # pyright: ignore[reportArgumentType]
            elif isinstance(module, nn.ConvTranspose2d):  # linear, and one kernel weight per input and output pixel
                nn.init.normal_(module.weight, std=module.in_channels**-0.5)
                nn.init.zeros_(module.bias)  # pyright: ignore[reportArgumentType]
        if upsampling == "unpool":
            # Three of four values are zero after unpooling: doubled weights keep the variance.
            for level, convolutions in enumerate(self.decoder):
                first = next((m for m in convolutions.modules() if isinstance(m, nn.Conv2d)), None)
                assert first is not None or level == 0
                with torch.no_grad():
                    (self.conv_out if first is None else first).weight.mul_(2)
        # Begin near the middle of the data range, whatever the activation.
        with torch.no_grad():
            self.conv_out.weight.mul_(0.1)
            if self.config["output_activation"] == "none":
                mean, deviation = channel_range(self.config["data_range"], self.config["in_channels"])
                middle = [(0.5 - m) / d for m, d in zip(mean, deviation, strict=True)]
                nn.init.zeros_(self.conv_out.bias).add_(torch.tensor(middle))  # pyright: ignore[reportArgumentType]


def unpool(features: Tensor, indices: Tensor | None) -> Tensor:
    """Double a map: each value goes to the position of its maximum, zeros elsewhere.

    Args:
        features: float [B, C, h, w].
        indices: int64 [B, C, h, w] of `torch.nn.functional.max_pool2d`; None is the upper left corner of each square.

    Returns:
        float [B, C, 2h, 2w].
    """
    batch, channels, height, width = features.shape
    doubled = features.new_zeros(batch, channels, 2 * height, 2 * width)
    if indices is None:
        doubled[..., ::2, ::2] = features
        return doubled
    # No max_unpool2d, which torch refuses under use_deterministic_algorithms.
    return doubled.flatten(2).scatter(2, indices.flatten(2), features.flatten(2)).view_as(doubled)


def channel_range(data_range: str, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each of 1 or 3 channels, with which pixels in 0..1 become model range."""
    mean, deviation = DATA_RANGES[data_range]
    return (mean, deviation) if channels == 3 else ((sum(mean) / 3,), (sum(deviation) / 3,))


def check_activation(output_activation: str, data_range: str) -> None:
    """Check that the range of an output activation is exactly that of the data, or unlimited.

    Raises:
        ValueError: With the reason, or if a name is unknown.
    """
    if output_activation not in tuple(ACTIVATIONS):
        raise ValueError(f"output_activation must be among {', '.join(ACTIVATIONS)}, got {output_activation!r:.80}")
    if data_range not in tuple(DATA_RANGES):
        raise ValueError(f"data_range must be among {', '.join(DATA_RANGES)}, got {data_range!r:.80}")
    mean, deviation = DATA_RANGES[data_range]
    low = min((0 - m) / d for m, d in zip(mean, deviation, strict=True))
    high = max((1 - m) / d for m, d in zip(mean, deviation, strict=True))
    least, most = ACTIVATIONS[output_activation]
    if math.isinf(most) or (abs(low - least) < 1e-6 and abs(high - most) < 1e-6):
        return
    beyond = low < least or high > most
    lost = "it could not produce all pixels" if beyond else "some of its outputs would be no pixels"
    raise ValueError(
        f"output activation {output_activation} makes {least:g}..{most:g}, but data of range {data_range} hold "
        f"{low:.3g}..{high:.3g}: {lost}; none fits every range"
    )


def _convolutions(widths: Sequence[int], batch_norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers.append(nn.Conv2d(before, after, kernel_size=3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(after))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def _doubling(width: int, upsampling: str) -> nn.Module:
    return nn.ConvTranspose2d(width, width, kernel_size=2, stride=2) if upsampling == "transpose" else nn.Identity()


def _run(model: Any, convolutions: nn.Module, features: Tensor) -> Tensor:
    if torch.is_grad_enabled() and model.gradient_checkpointing:
        return model._gradient_checkpointing_func(_RecomputedOnce(convolutions), features)
    return convolutions(features)


class _RecomputedOnce:
    """Convolutions under gradient checkpointing, whose second run leaves the statistics of batch norm alone."""

    def __init__(self, convolutions: nn.Module) -> None:
        self.convolutions = convolutions
        self.runs = 0

    def __call__(self, features: Tensor) -> Tensor:
        self.runs += 1
        return self.convolutions(features) if self.runs == 1 else self._with_frozen_statistics(features)

    def _with_frozen_statistics(self, features: Tensor) -> Tensor:
        norms = [module for module in self.convolutions.modules() if isinstance(module, nn.BatchNorm2d)]
        before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
        for norm in norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None
        try:
            return self.convolutions(features)
        finally:
            for norm, (momentum, seen) in zip(norms, before, strict=True):
                norm.momentum, norm.num_batches_tracked = momentum, seen


def _check_shape(config: Mapping[str, Any]) -> None:
    widths, layers = config["block_out_channels"], config["layers_per_block"]
    check_limits(config, LIMITS if config["latent_channels"] is None else {**LIMITS, "latent_channels": (1, 4096)})
    if config["in_channels"] not in (1, 3):
        raise ValueError(f"in_channels must be 1 or 3, got {config['in_channels']!r:.80}")
    if len(widths) != len(layers):
        raise ValueError(
            "block_out_channels and layers_per_block must hold one number for each level, "
            f"got {tuple(widths)} and {tuple(layers)}"
        )
    factor = 2 ** len(widths)
    if config["sample_size"] < factor or config["sample_size"] % factor:
        raise ValueError(f"sample_size must be a multiple of {factor}, got {config['sample_size']}")
    if config["upsampling"] not in UPSAMPLINGS:
        raise ValueError(f"upsampling must be among {', '.join(UPSAMPLINGS)}, got {config['upsampling']!r:.80}")
    for name in ("batch_norm", "variational"):
        if not isinstance(config[name], bool):
            raise ValueError(f"{name} must be true or false, got {config[name]!r:.80}")
