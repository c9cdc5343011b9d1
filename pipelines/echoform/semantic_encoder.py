"""The depth encoder as a part of other people's models: load, freeze, embed arrays, train on."""

from __future__ import annotations

import inspect
import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HFValidationError, RepositoryNotFoundError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from echoform.depth_autoencoder import DepthAutoencoder, DepthEncoder
from echoform.pipeline_depth_autoencoder import DepthAutoencoderPipeline, range_in_units, resize_depth

LAYERS: dict[str, tuple[str, ...]] = {
    "stem": ("stem",),
    "layer1": ("layer1",),
    "layer2": ("layer2",),
    "layer3": ("layer3",),
    "layer4": ("layer4", "up"),
    "head": ("norm_out", "head"),
}
"""What `freeze_layers` takes -> modules of `DepthEncoder`; together they are all of it."""

SENSOR_FACTS = ("depth_range_mm", "units_per_mm", "invalid_values")


class SemanticEncoder(nn.Module):
    """Embed depth images, as they are or as the trainable beginning of a larger network.

    `forward` is for training: dropout follows `train()` and `eval()`. `encode` is the same without dropout, so that
    one image has one embedding whatever the mode, the batch and the other images in it. Gradients flow through both.

    Example:
        >>> encoder = SemanticEncoder(pretrained_path="user/model")
        >>> encoder.freeze_layers(["stem", "layer1"])
        >>> classifier = nn.Sequential(encoder, nn.Linear(768, 10))

    Args:
        input_channels: 1, or 3.
        latent_dim: Numbers of the embedding.
        pretrained_path: What `load_pretrained_weights` takes; None starts from random weights.
        freeze_weights: Whether to call `freeze_parameters`.
        device: Where to; None is the CPU.

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
        self.encoder = DepthEncoder(**sizes) if pretrained_path is None else _load_of_sizes(pretrained_path, sizes)
        self._frozen: set[str] = set()
        self.to(device)
        if freeze_weights:
            self.freeze_parameters()

    def forward(self, depth: Tensor, valid: Tensor | None = None) -> Tensor:
        """Embeddings [B, latent_dim] for training; arguments as of `encode`."""
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
            valid: The same of [1, H, W], 1 or True where there is a reading; None if there is one everywhere.
            batch_size: Images at once. The memory that is needed grows with it; the results do not change.

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
            # Seen before the cast to the model's dtype, so that units are refused and not taken for model range.
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
            normalize: True: x is what the sensor gave, 16 bits or more of its units (uint16, int32; floating point is
                rounded, NaN is no reading), of any size. It is resized with its holes kept apart and scaled by
                `depth_range_mm`, `units_per_mm` and `invalid_values` of the encoder's config, the same for every
                image; no image is stretched to its own range. False: x is that already, floating point in [-1, 1] of
                the model's size; NaN is no reading.

        Returns:
            float32 [N, latent_dim]; N is 1 for one image.

        Raises:
            ValueError: If dtype or shape do not fit, or the config does not know the sensor that `normalize` needs.
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
        latents = []
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            depth, valid = self._from_units(batch) if normalize else _from_model_range(batch)
            latents.append(self.encode_batch(depth, valid, batch_size))
        return torch.cat(latents).numpy()

    def load_pretrained_weights(self, path: str | Path, revision: str | None = None, token: str | None = None) -> None:
        """Take over a trained encoder, its architecture included; what was frozen stays frozen.

        Args:
            path: A folder or Hub repository of a depth pipeline, an autoencoder or an encoder; a `.safetensors` file
                of an autoencoder or an encoder; or an older `.pth` file of tensors, whose architecture must be that
                of this encoder, because it does not say.
            revision: Branch, tag or commit of the repository.
            token: Of the Hub.

        Raises:
            FileNotFoundError: If there is neither such a path nor such a repository.
            ValueError: If it is no depth encoder, or has other channels or another embedding than this one.
        """
        parameter = next(self.encoder.parameters())
        loaded = _load_of_sizes(path, encoder_settings(self.encoder), revision=revision, token=token)
        self.encoder = loaded
        self.to(device=parameter.device, dtype=parameter.dtype)
        self._freeze(self._frozen)
        self.train(self.training)

    def freeze_parameters(self) -> None:
        """Keep all of the encoder as it is, also in training: no gradients, dropout and statistics as in `eval()`."""
        self._freeze(set(LAYERS))

    def freeze_layers(self, layers: Sequence[str]) -> None:
        """Keep some layers as they are, in addition to those that are frozen already; see `freeze_parameters`.

        Args:
            layers: Among stem, layer1, layer2, layer3, layer4, head.

        Raises:
            ValueError: If a name is none of these.
        """
        if isinstance(layers, str):
            raise ValueError(f"layers must be a list, such as [{layers!r}], got {layers!r}")
        if unknown := [name for name in layers if name not in LAYERS]:
            raise ValueError(f"layers must be among {', '.join(LAYERS)}, got {', '.join(map(str, unknown))}")
        self._freeze(set(layers))

    def train(self, mode: bool = True) -> SemanticEncoder:
        """As of any module, but that frozen layers stay as they are in `eval()`."""
        super().train(mode)
        for module in self._modules_of(self._frozen):
            module.eval()
        return self

    def save_encoder_weights(self, path: str | Path) -> None:
        """Write the encoder as one safetensors file that `load_pretrained_weights` reads; its config is in the header.

        Raises:
            ValueError: If the path does not end in .safetensors.
        """
        path = Path(path)
        if path.suffix != ".safetensors":
            raise ValueError(f"the file must end in .safetensors, got {path.name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.encoder.state_dict().items()}
        config = json.dumps(encoder_settings(self.encoder), sort_keys=True)
        save_file(tensors, path, metadata={"format": "pt", "config": config})

    def count_parameters(self, only_trainable: bool = False) -> int:
        """Numbers in all tensors that can be learned, or in those that are not frozen."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad or not only_trainable)

    def get_model_info(self) -> dict[str, Any]:
        """Sizes, counts, frozen layers, what is known of the sensor, device and dtype; all but None is plain JSON."""
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
        units = torch.from_numpy(np.nan_to_num(x.astype(np.float32), nan=0.0).round())
        if units.isinf().any() or units.min() < 0:
            raise ValueError(f"units must be finite and not negative, got {units.min().item()}..{units.max().item()}")
        config = self.encoder.config
        depth, valid = self.encoder.readings(units)  # also says so where the config does not know the sensor
        size = (config["sample_size"],) * 2
        if tuple(x.shape[2:]) == size:
            return depth, valid
        low, high = range_in_units(config["depth_range_mm"], config["units_per_mm"])
        for value in config["invalid_values"] or {}:
            units[units == float(value)] = 0
        units = torch.where((units >= low) & (units <= high), units, 0.0).flatten(0, 1)[:, None]
        return self.encoder.readings(resize_depth(units, size).round().reshape(*x.shape[:2], *size))


def create_semantic_encoder(
    pretrained_path: str | Path | None = None,
    input_channels: int | None = None,
    latent_dim: int | None = None,
    freeze_weights: bool = False,
    freeze_layers: Sequence[str] = (),
    device: torch.device | str | None = None,
) -> SemanticEncoder:
    """A `SemanticEncoder` whose sizes are those of what it was trained as.

    Args:
        pretrained_path: What `SemanticEncoder.load_pretrained_weights` takes; None starts from random weights.
        input_channels: None is what the pretrained encoder has, or 1.
        latent_dim: None is what the pretrained encoder has, or 768.
        freeze_weights: Freeze all of it.
        freeze_layers: Freeze these; see `SemanticEncoder.freeze_layers`.
        device: Where to; None is the CPU.

    Raises:
        ValueError: If the pretrained encoder has other sizes than asked for, or a layer is unknown.
    """
    sizes: dict[str, Any] = {"input_channels": input_channels or 1, "latent_dim": latent_dim or 768}
    if pretrained_path is not None:
        known = load_encoder(pretrained_path, like=sizes).config
        asked = {"input_channels": input_channels, "latent_dim": latent_dim}
        sizes = {name: known[name] if value is None else value for name, value in asked.items()}
    encoder = SemanticEncoder(**sizes, pretrained_path=pretrained_path, freeze_weights=freeze_weights, device=device)
    encoder.freeze_layers(freeze_layers)
    return encoder


def load_encoder(
    path: str | Path,
    like: Mapping[str, Any] | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> DepthEncoder:
    """The trained encoder of a folder, a Hub repository or a file, with what is known of its sensor in its config.

    Args:
        path: See `SemanticEncoder.load_pretrained_weights`.
        like: Arguments of `DepthEncoder`, for files that do not tell theirs.
        revision: Branch, tag or commit of the repository.
        token: Of the Hub.

    Returns:
        float32, on the CPU, in `eval()`.

    Raises:
        FileNotFoundError: If there is neither such a path nor such a repository.
        ValueError: If it holds no depth encoder.
    """
    source = Path(path)
    if source.is_file():
        encoder = _from_file(source, like)
    elif source.suffix in (".safetensors", ".pth", ".pt") or (source.is_absolute() and not source.exists()):
        raise FileNotFoundError(f"{source} does not exist")
    else:
        encoder = _from_folder(str(path), revision, token)
    return encoder.float().eval()


def encoder_settings(encoder: DepthEncoder) -> dict[str, Any]:
    """What `DepthEncoder(**settings)` needs to be of the same architecture and know the same sensor."""
    return {name: value for name, value in encoder.config.items() if not name.startswith("_") and name != "auto_map"}


def _load_of_sizes(path: str | Path, like: Mapping[str, Any], **hub: Any) -> DepthEncoder:
    loaded = load_encoder(path, like, **hub)
    for name in ("input_channels", "latent_dim"):
        if loaded.config[name] != like[name]:
            raise ValueError(f"{name} must be that of {path} ({loaded.config[name]}), got {like[name]}")
    return loaded


def _from_folder(path: str, revision: str | None, token: str | None) -> DepthEncoder:
    hub: dict[str, Any] = {"revision": revision, "token": token}
    index = _json_of(path, "model_index.json", **hub)
    if index is not None:
        pipeline = DepthAutoencoderPipeline.from_pretrained(path, **hub)
        encoder = pipeline.autoencoder.encoder
        encoder.register_to_config(**{name: pipeline.config[name] for name in SENSOR_FACTS})
        return encoder
    config = _json_of(path, "config.json", **hub)
    kind = None if config is None else config.get("_class_name") or config.get("model_type")
    if kind == "DepthEncoder":
        return DepthEncoder.from_pretrained(path, **hub)
    if kind == "DepthAutoencoder":
        return DepthAutoencoder.from_pretrained(path, **hub).encoder
    raise ValueError(
        f"{path} must hold a depth pipeline, autoencoder or encoder of diffusers, got {kind or 'no config'}"
    )


def _json_of(path: str, name: str, **hub: Any) -> dict[str, Any] | None:
    """A JSON file of a folder or repository, or None if there is no such file in it."""
    if Path(path).is_dir():
        file = Path(path) / name
        return json.loads(file.read_text()) if file.exists() else None
    try:
        return json.loads(Path(hf_hub_download(path, name, **hub)).read_text())
    except EntryNotFoundError:
        return None
    except (HFValidationError, RepositoryNotFoundError) as error:
        raise FileNotFoundError(f"{path} is neither a path nor a repository on the Hub that can be read") from error


def _from_file(path: Path, like: Mapping[str, Any] | None) -> DepthEncoder:
    if path.suffix == ".safetensors":
        tensors, settings = _read_safetensors(path)
    elif path.suffix in (".pth", ".pt"):
        tensors, settings = _read_legacy(path), None
    else:
        raise ValueError(f"weights must be a .safetensors or a .pth file, got {path.name}")
    tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    if any(name.startswith("decoder.") for name in tensors):  # an autoencoder
        tensors = {n.removeprefix("encoder."): v for n, v in tensors.items() if n.startswith("encoder.")}
    encoder = DepthEncoder(**((like or {}) if settings is None else settings))
    expected = encoder.state_dict()
    wrong = sorted(set(expected) ^ set(tensors)) or [n for n, v in expected.items() if v.shape != tensors[n].shape]
    if wrong:
        raise ValueError(
            f"{path} must hold the tensors of a depth encoder, it differs in {len(wrong)} ({wrong[0]} ...)"
        )
    encoder.load_state_dict(tensors)
    return encoder


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- it is no mapping
            config = (file.metadata() or {}).get("config")
    except SafetensorError as error:
        raise ValueError(f"{path} is no whole safetensors file ({error})") from error
    if config is not None:
        return tensors, json.loads(config)
    beside = path.parent / "config.json"
    if not beside.exists():
        return tensors, None
    settings = inspect.signature(DepthEncoder.__init__).parameters
    return tensors, {name: value for name, value in json.loads(beside.read_text()).items() if name in settings}


def _read_legacy(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise ValueError(
            f"{path} must hold nothing but tensors; it is broken or holds code, which is not run"
        ) from error
    for name in ("state_dict", "model_state_dict", "encoder_state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    tensors = (
        {name: value for name, value in content.items() if isinstance(value, Tensor)}
        if isinstance(content, dict)
        else {}
    )
    if not tensors:
        raise ValueError(f"{path} must hold tensors by name, got none")
    return tensors


def _from_model_range(x: np.ndarray) -> tuple[Tensor, Tensor]:
    if x.dtype.kind != "f":
        raise ValueError(f"x must be floating point in [-1, 1] unless it is normalized here, got {x.dtype}")
    depth = torch.from_numpy(x.astype(np.float32))
    valid = ~depth.isnan().any(dim=1, keepdim=True)
    return torch.where(valid, depth, 0.0), valid
