"""Loading depth encoders from folders, Hub repositories and weight files, and saving them as one weight file."""

from __future__ import annotations

import inspect
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from echoform.depth_autoencoder import DepthAutoencoder, DepthEncoder
from echoform.loading import refusing_damage
from echoform.model_checks import check_weights
from echoform.pipeline_depth_autoencoder import DepthAutoencoderPipeline
from echoform.sources import find_file

SENSOR_FACTS = ("depth_range_mm", "units_per_mm", "invalid_values", "float_unit", "encoding", "resize_rule")
"""Settings of `DepthEncoder` that describe the sensor; a pipeline has them in its own config."""


def load_encoder(
    path: str | Path,
    like: Mapping[str, Any] | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> DepthEncoder:
    """Load the trained encoder of a folder, a Hub repository or a file; its config describes the sensor, if known.

    Args:
        path: Folder or repository of a depth pipeline, an autoencoder or an encoder; a `.safetensors` file of an
            autoencoder or an encoder; or a `.pth` file of tensors.
        like: Arguments of `DepthEncoder`, used for files that hold weights without an architecture.
        revision: Branch, tag or commit of the repository; None is main.
        token: Token of the Hub; None uses HF_TOKEN or what `hf auth login` stored.

    Returns:
        The encoder in float32, on the CPU, in `eval()` mode.

    Raises:
        FileNotFoundError: If there is neither such a path nor such a repository.
        ValueError: If it holds no depth encoder.
    """
    source = Path(path)
    with refusing_damage(path):
        if source.is_file():
            encoder = _from_file(source, like)
        elif source.suffix in (".safetensors", ".pth", ".pt") or (source.is_absolute() and not source.exists()):
            raise FileNotFoundError(f"{source} does not exist")
        else:
            encoder = _from_folder_or_hub(str(path), revision, token)
    return encoder.float().eval()


def load_encoder_of_sizes(path: str | Path, like: Mapping[str, Any], **hub: Any) -> DepthEncoder:
    """Call `load_encoder`, and check that the encoder has the `input_channels` and `latent_dim` of `like`.

    Raises:
        ValueError: If one of them differs.
    """
    loaded = load_encoder(path, like, **hub)
    for name in ("input_channels", "latent_dim"):
        if loaded.config[name] != like[name]:
            raise ValueError(f"{name} must be that of {path} ({loaded.config[name]}), got {like[name]}")
    return loaded


def encoder_settings(encoder: DepthEncoder) -> dict[str, Any]:
    """Arguments for a `DepthEncoder` of the same architecture, with the same description of the sensor."""
    return {name: value for name, value in encoder.config.items() if not name.startswith("_") and name != "auto_map"}


def save_encoder_file(encoder: DepthEncoder, path: Path) -> None:
    """Write an encoder as one safetensors file that `load_encoder` reads; its settings are in the header.

    Raises:
        ValueError: If the path does not end in .safetensors.
    """
    if path.suffix != ".safetensors":
        raise ValueError(f"the file must end in .safetensors, got {path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()}
    config = json.dumps(encoder_settings(encoder), sort_keys=True)
    save_file(tensors, path, metadata={"format": "pt", "config": config})


def _from_folder_or_hub(source: str, revision: str | None, token: str | None) -> DepthEncoder:
    hub: dict[str, Any] = {"revision": revision, "token": token}
    # Only the pipeline's config describes the sensor; the encoder gets a copy, because it is returned alone.
    if find_file(source, "model_index.json", **hub) is not None:
        pipeline = DepthAutoencoderPipeline.from_pretrained(source, **hub)
        encoder = pipeline.autoencoder.encoder
        encoder.register_to_config(**{name: pipeline.config[name] for name in SENSOR_FACTS})
        return encoder

    # A model alone names its class in config.json: diffusers as _class_name, transformers as model_type.
    config_file = find_file(source, "config.json", **hub)
    config = {} if config_file is None else json.loads(config_file.read_text(encoding="utf-8"))
    kind = config.get("_class_name") or config.get("model_type")
    if kind == "DepthEncoder":
        return DepthEncoder.from_pretrained(source, **hub)
    if kind == "DepthAutoencoder":
        return DepthAutoencoder.from_pretrained(source, **hub).encoder
    raise ValueError(
        f"{source} must hold a depth pipeline, autoencoder or encoder of diffusers, got {kind or 'no config'}"
    )


def _from_file(path: Path, like: Mapping[str, Any] | None) -> DepthEncoder:
    if path.suffix == ".safetensors":
        tensors, settings = _read_safetensors(path)
    elif path.suffix in (".pth", ".pt"):
        tensors, settings = _read_legacy(path), None
    else:
        raise ValueError(f"weights must be a .safetensors or a .pth file, got {path.name}")

    # Names may carry prefixes of DataParallel and of a whole autoencoder.
    tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    if any(name.startswith("decoder.") for name in tensors):
        tensors = {n.removeprefix("encoder."): v for n, v in tensors.items() if n.startswith("encoder.")}
    encoder = DepthEncoder(**((like or {}) if settings is None else settings))
    expected = encoder.state_dict()
    wrong = sorted(set(expected) ^ set(tensors)) or [n for n, v in expected.items() if v.shape != tensors[n].shape]
    if wrong:
        raise ValueError(
            f"{path} must hold the tensors of a depth encoder, it differs in {len(wrong)} ({wrong[0]} ...)"
        )
    encoder.load_state_dict(tensors)
    check_weights(encoder)
    return encoder


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Tensors, and the settings in the header or in the config.json beside the file; None if there are none."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- it is no mapping
            config = (file.metadata() or {}).get("config")
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or no safetensors file ({error})") from error
    if config is not None:
        return tensors, json.loads(config)
    config_file = find_file(path.parent, "config.json")
    if config_file is None:
        return tensors, None
    settings = inspect.signature(DepthEncoder.__init__).parameters
    return tensors, {name: value for name, value in json.loads(config_file.read_text()).items() if name in settings}


def _read_legacy(path: Path) -> dict[str, Tensor]:
    """Tensors of a pickled file; a file that holds code is refused."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise ValueError(
            f"{path} must hold nothing but tensors; it is broken or holds code, which is not run"
        ) from error
    for name in ("state_dict", "model_state_dict", "encoder_state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    named = content.items() if isinstance(content, dict) else ()
    tensors = {name: value for name, value in named if isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(f"{path} must hold tensors by name, got none")
    return tensors
