"""Saving the encoder of a depth autoencoder on its own, from an exported pipeline, a training or a weights file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast
from zipfile import ZIP_STORED, BadZipFile, ZipFile, is_zipfile

import torch
from huggingface_hub import ModelCardData
from torch import Tensor

from echoform.depth_autoencoder import DepthEncoder
from echoform.encoder_weights import SENSOR_FACTS, load_encoder
from echoform.hub_card import CARD
from echoform_train.data.facts import DepthFacts
from echoform_train.engine.atomic_files import write_text
from echoform_train.engine.checkpoint import list_checkpoints, load_checkpoint
from echoform_train.engine.ema import load_averages
from echoform_train.engine.errors import MissingFileError, UserError, refused_by
from echoform_train.engine.files import AUTOENCODER, CHECKPOINTS, FACTS, MODEL_CONFIG, MODEL_INDEX, PIPELINE, STATE
from echoform_train.engine.json_files import write_json
from echoform_train.engine.sources import HubId, resolve_source
from echoform_train.publishing.card import write_card
from echoform_train.publishing.cards.common import CardFacts, Training
from echoform_train.publishing.exported import class_name
from echoform_train.publishing.families import load_installed
from echoform_train.publishing.model_folder import LOADING_ERRORS, check_model
from echoform_train.publishing.snapshot import download_model
from echoform_train.publishing.training_facts import read_training
from echoform_train.publishing.weight_files import check_finite, read_header

PROBE_IMAGES = 4
_CLASSES = ("DepthAutoencoderPipeline", "DepthAutoencoder", "DepthEncoder")
_WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt")

_USE = {
    "diffusers": """import torch
from diffusers import AutoModel

encoder = AutoModel.from_pretrained(".", trust_remote_code=True).eval()
depth = torch.zeros(1, {channels}, {size}, {size})  # -1 is the near end of the range, 1 the far end
valid = torch.ones(1, 1, {size}, {size}, dtype=torch.bool)  # where there is a reading
embedding = encoder(depth, valid)""",
    "transformers": """import numpy as np
from PIL import Image
from transformers import pipeline

encode = pipeline("depth-feature-extraction", model=".", trust_remote_code=True)
embedding = encode(Image.fromarray(np.full(({size}, {size}), {middle}, np.uint16)))  # sensor units""",
    "onnx": """import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
units = np.full((1, {channels}, {size}, {size}), {middle}, np.uint16)  # whole sensor units, 0 is no reading
embedding, valid_share = session.run(["embedding", "valid_share"], {{"units": units}})
assert valid_share.min() > 0, "an image without a reading in range has no meaning\"""",
}
_AFTER_USE = {
    "diffusers": "`trust_remote_code` runs the code in this folder; read it first.\n",
    "transformers": """`AutoModel` and `AutoImageProcessor` load it as well: `model(**processor(image)).pooler_output`.
`pixel_values` may be the units as whole numbers (uint16), or what the image processor makes of them.
`trust_remote_code` runs the code in this folder; read it first.
""",
    "onnx": """`model.onnx` takes batches of any length of images of this size and runs no code of ours. Range, values
that are no reading and the sensor's units stand in its metadata and in `config.json`. Images of another size have to be
resized as in the training, by the rule `{resize_rule}`, which mixes no readings with holes: `echoform encode` and the
image processor of `--format transformers` do so.{encoding}
""",
}
_ENCODINGS = {
    "linear": "",
    "rotated": " Files of this sensor hold units whose 16 bits are rotated left by 3; `units` are those rotated back.",
    "disparity": " Files of this sensor hold disparities of a Kinect; `units` are the depths that they mean.",
}

Format = Literal["diffusers", "transformers", "onnx"]
"""The library that runs the saved encoder."""


def find_encoder(
    source: str, *, revision: str | None = None, token: str | None = None
) -> tuple[DepthEncoder, dict[str, Any] | None]:
    """Load the encoder that a source contains.

    Args:
        source: Exported pipeline or encoder (a folder, or user/model on the Hub), output folder or checkpoint of
            `echoform train depth-ae`, .safetensors file, or .pth file of tensors with the default architecture.
        revision: Branch, tag or commit of a repository.
        token: Token of the Hub.

    Returns:
        The encoder in float32 and evaluation mode, and the facts of its training; None if they are unknown.

    Raises:
        FileNotFoundError: If there is no such source, or it is a training that is not finished.
        UserError: If the source contains no depth encoder, or one that is not whole.
    """
    # Output folders and checkpoints of a training are handled here, all other sources by `load_encoder`.
    folder = Path(source)
    if (folder / STATE).is_file():
        return _from_checkpoint(folder)
    if (folder / PIPELINE / MODEL_INDEX).is_file():
        folder = folder / PIPELINE
    elif checkpoints := list_checkpoints(folder / CHECKPOINTS):
        raise MissingFileError(
            f"{folder} holds a training that is not finished; name one of its checkpoints, such as {checkpoints[-1]}"
        )
    if folder.is_file() or folder.suffix in _WEIGHT_SUFFIXES:
        return _from_file(folder), None
    place = resolve_source(folder if folder.is_dir() else source)
    if isinstance(place, HubId):
        place = download_model(place.repo, place.revision or revision, token)
    if (name := class_name(place)) not in _CLASSES:
        raise UserError(f"{source} must hold a depth pipeline, autoencoder or encoder of diffusers, got {name}")
    facts = read_training(place / FACTS, Training, DepthFacts) if (place / FACTS).exists() else None
    check_model(place)
    with refused_by(f"{source} must hold a depth encoder", LOADING_ERRORS):
        return load_encoder(place), cast(dict[str, Any] | None, facts)


def save_encoder(
    encoder: DepthEncoder, facts: dict[str, Any] | None, folder: Path, format: Format, said: CardFacts | None = None
) -> None:
    """Write an encoder and its README.md to a folder; for diffusers the facts of the training too, if known.

    Args:
        encoder: The encoder.
        facts: Facts of the training.
        folder: Created if it does not exist.
        format: Library whose AutoModel loads it.
        said: What the card says beyond what the training knows.
    """
    said = {} if said is None else said
    folder.mkdir(parents=True, exist_ok=True)
    if format == "transformers":
        from echoform.transformers_depth_encoder import save_for_transformers  # transformers is slow to import

        with refused_by("--format transformers"):
            save_for_transformers(encoder, folder)
    elif format == "onnx":
        from echoform_train.publishing.onnx_encoder import write_onnx_encoder  # torch.onnx is slow to import

        write_onnx_encoder(encoder, folder)
    else:
        encoder.save_pretrained(folder)
    if facts is None or format != "diffusers":
        known: Any = {} if facts is None else facts.get("card", {})
        write_text(folder / CARD, _readme(encoder, format, known | said))
    else:
        # Scores of a pipeline are not those of its encoder alone.
        card = {name: value for name, value in facts.get("card", {}).items() if name not in ("scores", "scores_of")}
        write_json(folder / FACTS, facts | {"card": card | said})
        write_card(folder)


@torch.no_grad()
def check_saved_encoder(encoder: DepthEncoder, folder: Path, format: Format) -> None:
    """Load a saved encoder of torch and compare its embeddings of random images with those of the original.

    Raises:
        RuntimeError: If they are not equal bit for bit.
    """
    depth, valid = _probe_images(encoder)
    expected, found = encoder(depth, valid), _embed_with_saved(folder, format, depth, valid)
    if not torch.equal(expected, found):
        raise RuntimeError(
            f"embeddings of the encoder saved to {folder} must equal those of the source bit by bit, "
            f"the largest difference is {(expected - found).abs().max().item():.3g}"
        )


def _readme(encoder: DepthEncoder, format: Format, said: CardFacts) -> str:
    """What the folder holds and how it is loaded, where no card is made from the facts of a training."""
    config = encoder.config
    size, channels = config["sample_size"], config["input_channels"]
    known = config.get("depth_range_mm") and config.get("units_per_mm")
    sensor = (
        f"It was trained on readings of {config['depth_range_mm']['min']:g} to {config['depth_range_mm']['max']:g} mm, "
        f"{config['units_per_mm']:g} sensor {'unit' if config['units_per_mm'] == 1 else 'units'} per millimetre. "
        if known
        else "Its folder does not say which sensor it was trained for. "
    )
    middle = round(sum(config["depth_range_mm"].values()) / 2 * config["units_per_mm"]) if known else 1500
    use = _USE[format].format(size=size, channels=channels, middle=middle)
    encoding = _ENCODINGS[config["encoding"]]
    after = _AFTER_USE[format].format(resize_rule=config["resize_rule"], encoding=encoding)
    metadata = ModelCardData(
        library_name=format,
        pipeline_tag="image-feature-extraction",
        tags=["depth"],
        license=said.get("license"),
        base_model=said.get("base_model"),
    )
    people = {
        "recorded": "The training data show real people: use it only within what they agreed to.\n\n",
        "simulated": "The training data show no real person.\n\n",
        None: "",
    }[said.get("people")]
    return f"""---
{metadata}
---

# Depth encoder

Turns a depth image of {size}x{size} pixels into {config["latent_dim"]} numbers, to search, compare and build on.
{sensor}A reading of 0 is no reading.
It is the encoder of a depth autoencoder of echoform, saved on its own; the decoder is not here.

```python
{use}
```

{people}{after}"""


def _from_file(path: Path) -> DepthEncoder:
    """The encoder in a file of weights; the file is checked before it is read."""
    if path.suffix not in _WEIGHT_SUFFIXES:
        raise UserError(f"weights must be a file of {', '.join(_WEIGHT_SUFFIXES)}, got {path}")
    if path.suffix == ".safetensors":
        read_header(path)
        check_finite(path)
    elif not path.is_file():
        raise MissingFileError(f"there is no file {path}")
    elif is_zipfile(path):
        # Torch stores tensors as they are; packed ones could unfold to any size.
        with refused_by(f"{path} must be a file of torch", (BadZipFile, OSError)), ZipFile(path) as archive:
            if any(entry.compress_type != ZIP_STORED for entry in archive.infolist()):
                raise UserError(f"{path} must be a file as torch writes it, whose tensors are not compressed")
    with refused_by(f"{path} must hold a depth encoder", LOADING_ERRORS):
        encoder = load_encoder(path)
    if not all(bool(torch.isfinite(value).all()) for value in encoder.state_dict().values()):
        raise UserError(f"weights must be finite numbers, {path} holds NaN or infinite ones")
    return encoder


def _from_checkpoint(folder: Path) -> tuple[DepthEncoder, dict[str, Any]]:
    """The averaged weights of a checkpoint, in the architecture of the best model of the same run."""
    output_dir = folder.parent.parent
    if not (output_dir / AUTOENCODER / MODEL_CONFIG).is_file():
        raise MissingFileError(
            f"{output_dir / AUTOENCODER} holds no {MODEL_CONFIG}, which the first validation of a run writes; is "
            f"{folder} a checkpoint of `echoform train depth-ae`?"
        )
    facts = cast(dict[str, Any], read_training(output_dir / FACTS, Training, DepthFacts))
    tensors = load_checkpoint(folder).tensors
    model = load_installed(output_dir / AUTOENCODER)
    # The raw weights are loaded first, because the averaged weights include no buffers.
    with refused_by(f"{folder} must hold a depth autoencoder and its averages", LOADING_ERRORS):
        model.load_state_dict(tensors["autoencoder"])
        load_averages(model, tensors["ema"])
        model.encoder.register_to_config(**{name: facts["data"][name] for name in SENSOR_FACTS})
    return model.encoder.float().eval(), facts


def _embed_with_saved(folder: Path, format: Format, depth: Tensor, valid: Tensor) -> Tensor:
    if format == "diffusers":
        return DepthEncoder.from_pretrained(folder).eval()(depth, valid)
    from transformers import AutoModel  # slow to import

    model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
    return model(depth=depth, valid=valid).pooler_output


def _probe_images(encoder: DepthEncoder) -> tuple[Tensor, Tensor]:
    """Random depth float32 [4, C, H, W] in model range with holes, and its validity; the same at each call."""
    generator = torch.Generator().manual_seed(0)
    channels, size = encoder.config["input_channels"], encoder.config["sample_size"]
    depth = 2 * torch.rand(PROBE_IMAGES, channels, size, size, generator=generator) - 1
    valid = torch.rand(PROBE_IMAGES, 1, size, size, generator=generator) < 0.9
    return torch.where(valid, depth, 0.0), valid
