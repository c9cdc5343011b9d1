"""Pipeline that turns uint16 depth images into embeddings and back, in millimetres."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from diffusers import ModelMixin
from diffusers.utils import BaseOutput, logging
from PIL import Image
from torch import Tensor

# Text of depth_units.py of echoform:

import math
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

DepthImage = str | Path | Image.Image | np.ndarray | Tensor
DepthImages = DepthImage | Sequence[DepthImage]
DepthRange = Mapping[str, float]
Size = tuple[int, int]

MAX_UNITS = 65535  # largest of 16 bits
MAX_PIXELS = 4096 * 4096  # most of an image
MM_PER = {"mm": 1, "cm": 10, "m": 1000}
ENCODINGS = {"linear": 2**63 - 1, "rotated": MAX_UNITS, "disparity": 2047}  # largest numbers, see `decoded_units`
RESIZE_RULES = {"half": 0.5 - 1e-5, "any": 0.0, "nearest": None}  # weight that readings exceed, see `resize_depth`


def range_in_units(depth_range_mm: Mapping[str, float] | None, units_per_mm: float | None) -> tuple[int, int]:
    """First and last whole unit, both at least 1, of a range {"min": ..., "max": ...} in millimetres.

    Raises ValueError if the range is not 0 <= min < max, or holds fewer than two values of 16 bits.
    """
    if not isinstance(units_per_mm, (int, float)) or not 0 < units_per_mm < math.inf:
        raise ValueError(f"units_per_mm must be greater than 0, got {units_per_mm!r:.80}")
    if not isinstance(depth_range_mm, Mapping) or set(depth_range_mm) != {"min", "max"}:
        raise ValueError(f"depth_range_mm must hold min and max, got {depth_range_mm!r:.80}")
    if not all(isinstance(value, (int, float)) for value in depth_range_mm.values()):
        raise ValueError(f"depth_range_mm must hold numbers, got {depth_range_mm!r:.80}")
    low_mm, high_mm = depth_range_mm["min"], depth_range_mm["max"]
    if not 0 <= low_mm < high_mm < math.inf:
        raise ValueError(f"depth_range_mm must be 0 <= min < max, got {low_mm}..{high_mm}")
    low, high = units_between(low_mm, high_mm, units_per_mm)
    if not low < high <= MAX_UNITS:
        span = f"{low_mm}..{high_mm} mm of {units_per_mm:g} units each"
        raise ValueError(f"depth_range_mm must span at least two of the units 1..{MAX_UNITS}, got {span}")
    return low, high


def units_between(low_mm: float, high_mm: float, units_per_mm: float) -> tuple[int, int]:
    """First and last whole unit of a range, at least 1; the tolerance makes products such as 10 * 0.1 mm whole."""
    return max(math.ceil(low_mm * units_per_mm - 1e-6), 1), math.floor(high_mm * units_per_mm + 1e-6)


def encode_units(units: Tensor, depth_range_mm: DepthRange, units_per_mm: float = 1.0) -> tuple[Tensor, Tensor]:
    """Map depth in the sensor's units to model range, in which `depth_range_mm` becomes -1 and +1, for every image.

    Takes units [..., H, W] of any number type that holds 16 bits; 0 means no reading. Returns depth, float32 of the
    same shape in [-1, 1], and whether there is a reading, bool; one outside the range counts as none, and depth is 0
    there. See `range_in_units` for errors.
    """
    low, high = range_in_units(depth_range_mm, units_per_mm)
    units = units.to(torch.float32)
    valid = (units >= low) & (units <= high)
    depth = (units - low) * (2 / (high - low)) - 1
    return torch.where(valid, depth, 0.0), valid


def decode_units(
    depth: Tensor, depth_range_mm: DepthRange, units_per_mm: float = 1.0, valid: Tensor | None = None
) -> Tensor:
    """Map model range back to the sensor's units: the inverse of `encode_units`, within 0.02 units.

    Takes depth of any shape, of which values beyond [-1, 1] become the ends of the range, and whether there is a
    reading, bool of the same shape; None is everywhere. Returns float32, not rounded, 0 where there is no reading.
    """
    low, high = range_in_units(depth_range_mm, units_per_mm)
    units = low + (depth.to(torch.float32).clamp(-1, 1) + 1) * ((high - low) / 2)
    return units if valid is None else torch.where(valid.to(torch.bool), units, 0.0)


def units_in_range(units: np.ndarray, facts: Mapping[str, Any]) -> np.ndarray:
    """Units with 0 in place of readings outside the range; raises ValueError if there are readings, but none inside."""
    low, high = range_in_units(facts["depth_range_mm"], facts["units_per_mm"])
    inside = np.where((units >= low) & (units <= high), units, 0)
    if units.any() and not inside.any():
        span, found = "{min:g}..{max:g} mm".format(**facts["depth_range_mm"]), units[units != 0] / facts["units_per_mm"]
        raise ValueError(
            f"depth must have readings in {span}, they are {found.min():g}..{found.max():g} mm; which unit?"
        )
    return inside


def resized_units(units: np.ndarray, size: Size, facts: Mapping[str, Any]) -> Tensor:
    """Units [H, W] as whole float32 [1, 1, *size]; raises ValueError if the resize rule leaves no reading of some."""
    resized = resize_depth(torch.from_numpy(units).float()[None, None], size, facts["resize_rule"]).round()
    if units.any() and not resized.any():
        what = f"{(units != 0).mean():.2%} of the pixels have one, and in {size} none"
        raise ValueError(f"depth has too few readings for resize_rule {facts['resize_rule']!r}: {what}")
    return resized


def resize_depth(units: Tensor, size: Size, rule: str = "half") -> Tensor:
    """Resize depth images so that no reading is mixed with "no reading", which is 0.

    Along each axis the mean over the area where it gets smaller, linear interpolation where it gets larger, both over
    readings alone (normalised convolution: Knutsson and Westin 1993). By the rule "half" a pixel has a reading where
    readings have at least half of the weight, by "any" where they have some, which keeps sparse ones. By "nearest" it
    is the pixel at its centre, so that nothing is averaged.

    Takes units [B, 1, H, W] of any number type, and a height and width of at least 1. Returns float32 [B, 1, *size],
    not rounded; the same size comes back unchanged.
    """
    if min(size) < 1 or min(units.shape[-2:]) < 1:
        raise ValueError(f"sides must be at least 1 pixel, got {tuple(units.shape[-2:])} to {tuple(size)}")
    units = units.to(torch.float32)
    if tuple(units.shape[-2:]) == tuple(size):
        return units
    sides, least = list(zip(units.shape[-2:], size, strict=True)), RESIZE_RULES[rule]
    if least is None:
        rows, columns = (((torch.arange(after) + 0.5) * before / after).long() for before, after in sides)
        return units[..., rows[:, None], columns]
    rows, columns = (_resize_weights(*side).to(units.device) for side in sides)
    total, weight = (rows @ one @ columns.T for one in (units, (units != 0).to(units)))
    return torch.where(weight > least, total / weight.clamp(min=1e-12), 0.0)


@lru_cache(maxsize=512)
def _resize_weights(before: int, after: int) -> Tensor:
    """Share of each old pixel in each new one along one axis, float32 [after, before]; rows sum to 1."""
    new, old = torch.arange(after, dtype=torch.float64)[:, None], torch.arange(before, dtype=torch.float64)[None]
    scale = before / after
    if scale > 1:
        overlap = torch.minimum((new + 1) * scale, old + 1) - torch.maximum(new * scale, old)
        return (overlap.clamp(min=0) / scale).float()
    centre = ((new + 0.5) * scale - 0.5).clamp(0, before - 1)
    return (1 - (centre - old).abs()).clamp(min=0).float()


def units_of_image(image: Image.Image) -> np.ndarray:
    """Pixels [H, W] of a PIL depth image as they are: uint16 for mode I;16, int32 for I, float32 for F.

    Raises ValueError if it holds several images, more than MAX_PIXELS, colour or fewer than 16 bits.
    """
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"an image must have at most {MAX_PIXELS:,} pixels, it has {image.width}x{image.height}")
    with suppress(EOFError):  # of going to a second image; counting all could take minutes
        image.seek(1)
        raise ValueError("a file must hold one depth image, it holds several")
    if image.format not in (None, "PNG", "TIFF"):  # PIL stretches 12-bit PGM to 16 bits without a word
        raise ValueError(f"a file of depth must be PNG or TIFF, it is {image.format}")
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        colour = len(image.getbands()) > 1 or image.mode == "P"
        why = "depth has one number per pixel" if colour else "8 bits hold no millimetres: 255 values for metres"
        raise ValueError(f"depth must be 16-bit greyscale, it is of mode {image.mode}; {why}")
    return (pixels := np.array(image)).astype(pixels.dtype.newbyteorder("="), copy=False)


def units_of(image: DepthImage, facts: Mapping[str, Any]) -> np.ndarray:
    """Whole units, int64 [H, W], of anything that `DepthAutoencoderPipeline` takes as one image."""
    if isinstance(image, (str, Path)):
        with opened_image(Path(image)) as opened:
            return units_of(opened, facts)
    if isinstance(image, Image.Image):
        image = units_of_image(image)
    if isinstance(image, Tensor):  # numpy has no bfloat16, and half precision is refused as well
        image = (image.half() if image.dtype == torch.bfloat16 else image).detach().cpu().numpy()
    return decoded_units(np.asarray(image), facts)


@contextmanager
def opened_image(path: Path) -> Iterator[Image.Image]:
    """Open an image file; what PIL raises on a broken one becomes a ValueError that names it."""
    # Most decoders of PIL do not check what they read, and a pipe would be waited for without end.
    builtin = (OSError, EOFError, SyntaxError, TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError)
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: it must be a regular file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PIL warns of what is an error here, or makes no difference
            with Image.open(path) as opened:
                yield opened
    except FileNotFoundError:
        raise
    except (*builtin, MemoryError, struct.error, zlib.error, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: cannot be decoded, it is truncated or no image ({error})") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def decoded_units(pixels: np.ndarray, facts: Mapping[str, Any]) -> np.ndarray:
    """Whole units, int64 [H, W], of stored numbers [H, W] or [1, H, W]; 0 is no reading.

    Floating point is in `float_unit` (None: in units), and may lose at most 1 % of a reading by rounding. Whole numbers
    are units ("linear"), units whose 16 bits are rotated left by 3 ("rotated": SUN RGB-D), or 11-bit disparities of
    Kinect v1 ("disparity": 2047 is no reading; Burrus' formula, openkinect.org/wiki/Imaging_Information).
    """
    pixels = pixels[0] if pixels.ndim == 3 and pixels.shape[0] == 1 else pixels
    if pixels.ndim != 2 or 0 in pixels.shape:
        raise ValueError(f"a depth image must be [H, W] with at least one pixel, got {list(pixels.shape)}")
    if pixels.dtype.kind not in "iuf" or pixels.dtype.itemsize < 2:
        raise ValueError(f"depth must have at least 16 bits, got {pixels.dtype}; 8 bits hold no millimetres")
    per_mm, unit = facts["units_per_mm"], facts["float_unit"]
    if pixels.dtype == np.float16 and unit is None:
        raise ValueError("depth in floating point must have at least 32 bits, got 16, which skip units beyond 2048")
    if np.isinf(pixels).any():
        raise ValueError("depth must be finite, or NaN where there is no reading, got inf")
    if (pixels < 0).any():
        raise ValueError(f"depth must not be negative, got {pixels.min()}; is it uint16 that was read as int16?")
    if pixels.dtype.kind == "f":
        exact = np.nan_to_num(pixels.astype(np.float64), nan=0.0) * (1 if unit is None else per_mm * MM_PER[unit])
        whole = exact.round()
        if (lost := np.abs(whole - exact) > 0.01 * exact).any():
            what = f"{exact[lost][0]:g} would be {whole[lost][0]:g} units of {1 / per_mm:g} mm"
            raise ValueError(f"floating-point depth must lose at most 1 % by rounding, {what}; is it in metres?")
        return np.minimum(whole, 2**40).astype(np.int64)
    whole, encoding = pixels.astype(np.int64), facts["encoding"]
    if whole.max() > ENCODINGS[encoding]:
        raise ValueError(f"depth of the encoding {encoding} must be in 0..{ENCODINGS[encoding]}, got {whole.max()}")
    if encoding == "rotated":
        whole = (whole >> 3 | whole << 13) & MAX_UNITS
    elif encoding == "disparity":
        units = 1000 * per_mm / np.maximum(3.3309495161 - 0.0030711016 * whole, 1e-9)
        whole = np.where((whole > 0) & (units <= MAX_UNITS), units, 0).round().astype(np.int64)
    return whole


def as_list(images: DepthImages) -> list[Any]:
    """One entry per image; files are not opened yet."""
    if isinstance(images, (str, Path, Image.Image)):
        return [images]
    if isinstance(images, (np.ndarray, Tensor)):
        shape = list(images.shape)
        if len(shape) == 2:
            return [images]
        channels_last = len(shape) == 3 and shape[2] in (1, 3, 4) and min(shape[:2]) >= max(2, shape[2])
        if channels_last or not (len(shape) == 3 or (len(shape) == 4 and shape[1] == 1)):
            raise ValueError(f"images must be [H, W], [N, H, W] or [N, 1, H, W], got {shape}; is the last axis colour?")
    items = list(images)
    if not items:
        raise ValueError("images must hold at least one image, got none")
    return items

# Text of pipeline_depth_autoencoder.py of echoform:

# Text of self_contained.py of echoform:

import hashlib
import json
import re
import sys
from contextlib import nullcontext, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline


class SelfContainedPipeline(DiffusionPipeline):
    """A pipeline whose folder holds its own code, so that it loads where echoform is not installed."""

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load only safetensors, with the classes of the modules beside this one, so that no code has to be trusted."""
        if not kwargs.setdefault("use_safetensors", True):
            raise ValueError(f"use_safetensors must not be turned off, got {kwargs['use_safetensors']}")
        try:
            checks: Any = import_module("echoform.loading").refusing_damage
        except ModuleNotFoundError:  # what travels works without echoform
            checks = nullcontext
        with checks(args[0] if args else kwargs["pretrained_model_name_or_path"]):
            return super().from_pretrained(*args, **kwargs)

    @classmethod
    def _dict_from_json_file(cls, json_file: Any) -> dict[str, Any]:
        # diffusers takes a list [file, class] as a request to run the code in that file.
        index = super()._dict_from_json_file(json_file)
        return index | {"_class_name": cls.__name__} if "_class_name" in index else index

    @classmethod
    def load_config(cls, *args: Any, **kwargs: Any) -> Any:
        """Read model_index.json; where echoform is installed, check it and point it to the modules beside this one."""
        loaded = super().load_config(*args, **kwargs)
        with suppress(ModuleNotFoundError):  # what travels works without echoform
            import_module("echoform.loading").prepare_index(loaded, args[0], cls.__module__)
        return loaded

    def save_config(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """Write model_index.json together with the code files of our classes that it names."""
        super().save_config(save_directory, *args, **kwargs)
        folder = Path(save_directory)
        files = (folder / self.config_name, *folder.glob("*/config.json"))
        contents = {path: json.loads(path.read_text(encoding="utf-8")) for path in files}
        index = contents[folder / self.config_name]
        index["_class_name"] = [type(self).__module__, type(self).__name__]
        for name in ("_class_name", *self.components):
            if index[name][0].partition(".")[0] != "diffusers":
                code = Path(str(sys.modules[index[name][0]].__file__))
                content = code.read_bytes()
                with suppress(ModuleNotFoundError):  # without echoform, code is in one file already
                    content = import_module("echoform.code_files").content_in_one(code)
                index[name][0] = copy_code(code, folder if name == "_class_name" else folder / name, content)
        for path, content in contents.items():
            content.pop("_name_or_path", None)  # a path of this machine
            path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def save_pretrained(self, save_directory: Any, **settings: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Write a folder that loads without echoform; settings are those of diffusers and of `push_to_hub`."""
        if not settings.pop("safe_serialization", True):
            raise ValueError("weights are written as safetensors alone, got safe_serialization=False")
        push = settings.pop("push_to_hub", False)
        super().save_pretrained(save_directory, **settings)
        if push:
            self.push_to_hub(**({"repo_id": Path(save_directory).resolve().name} | settings))

    def push_to_hub(self, repo_id: str, **settings: Any) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Upload in one commit, by `echoform.hub.push_model` (see its arguments) or, without echoform, by diffusers."""
        try:
            hub = import_module("echoform.hub")
        except ModuleNotFoundError:
            return super().push_to_hub(repo_id, **settings)
        return hub.push_model(self, repo_id, **settings)


# Copied from echoform.code_files.copy_code
def copy_code(code: Path, folder: Path, content: bytes | None = None) -> str:
    """Copy a code file to a folder in place of its other versions; returns its new name, which ends in a hash."""
    folder.mkdir(parents=True, exist_ok=True)
    content, plain = content or code.read_bytes(), re.sub(r"_[0-9a-f]{8}\Z", "", code.stem)
    for other in folder.glob(f"{plain}*.py"):
        if re.fullmatch(f"{plain}(_[0-9a-f]{{8}})?", other.stem) and not other.samefile(code):
            other.unlink()
    name = f"{plain}_{hashlib.sha256(content).hexdigest()[:8]}"
    (folder / f"{name}.py").write_bytes(content)
    return name

# Text of pipeline_depth_autoencoder.py of echoform:

OUTPUT_TYPES = ("np", "pil")

Sizes = Size | Sequence[Size] | None

logger = logging.get_logger(__name__)


@dataclass
class DepthAutoencoderPipelineOutput(BaseOutput):
    """Decoded depth images, and their errors if they were made from images."""

    depth: list[np.ndarray] | list[Image.Image]
    """Per image uint16 [H, W] in the sensor's units (mode I;16 for `pil`), 0 where there is no reading."""
    valid: list[np.ndarray]
    """Per image bool [H, W], whether the model reports a reading."""
    latents: Tensor
    """Embeddings, float32 [B, D]."""
    rmse_mm: list[float] | None = None
    """Root mean square error of decoded depth over each input's in-range readings, reported or not; NaN if none."""
    mae_mm: list[float] | None = None
    """Mean absolute error over the same pixels, millimetres."""
    validity_iou: list[float] | None = None
    """Pixels that are valid in input and output over those valid in either, 0..1; 1 if neither has any."""
    out_of_range: list[int] | None = None
    """Readings of each input outside `depth_range_mm`; the model gets them as "no reading"."""


class DepthAutoencoderPipeline(SelfContainedPipeline):
    """Turn depth images into embeddings and back, on one fixed scale that gives millimetres back.

    The scale is the same for all images, so that an image's embedding depends on no other image. 0 means no reading:
    the model gets the positions of readings beside the depth, and 0 is never averaged with depth, even in resizing.
    Images of any size are stretched to the model's square and come back at their own size.

    Example:
        >>> pipe = DiffusionPipeline.from_pretrained("user/model", trust_remote_code=True)
        >>> output = pipe(["a.png", "b.png"])
        >>> output.depth[0], output.rmse_mm[0], output.latents.shape

    Args:
        autoencoder: `DepthAutoencoder` of one channel.
        depth_range_mm: Depth that the model can represent, millimetres, as {"min": 300, "max": 5000}. Readings outside
            are given to the model as no reading, counted in the output and logged as a warning.
        units_per_mm: The sensor's units per millimetre, above 0: 1 for files in millimetres, 4 for RealSense L515.
        invalid_values: Units that mean no reading, with their meaning, as {"0": "no reading", "65535": "too far"}; 0
            is always among them. Keys are strings because JSON has no others.
        float_unit: Unit of floating-point images, "m", "cm" or "mm"; None is the sensor's units.
        encoding: How whole numbers stand for units, see `decoded_units`.
        resize_rule: Which resized pixels have a reading, see `resize_depth`.
    Raises ValueError if a fact is missing or does not fit the model or 16 bits.
    """

    model_cpu_offload_seq = "autoencoder"
    autoencoder: Any

    # diffusers takes arguments without a default for components.
    def __init__(
        self, autoencoder: ModelMixin, depth_range_mm: dict[str, float] | None = None, units_per_mm: float = 1.0,
        invalid_values: dict[str, str] | None = None, float_unit: str | None = None, encoding: str = "linear",
        resize_rule: str = "half",
    ) -> None:  # fmt: skip
        super().__init__()
        facts: dict[str, Any] = {"depth_range_mm": depth_range_mm, "units_per_mm": units_per_mm}
        facts |= {"invalid_values": {"0": "no reading"} if invalid_values is None else invalid_values}
        facts |= {"float_unit": float_unit, "encoding": encoding, "resize_rule": resize_rule}
        with suppress(ModuleNotFoundError):  # without echoform nobody builds pipelines, and loading checks weights
            checks: Any = import_module("echoform.checks")
            checks.check_depth_parts(autoencoder, facts)
        self.register_modules(autoencoder=autoencoder)
        self.register_to_config(**facts)

    @torch.no_grad()
    def __call__(
        self, images: DepthImages, batch_size: int = 32, output_type: str = "np", return_dict: bool = True
    ) -> Any:
        """Encode and decode images.

        Args:
            images: One image or a list, of any sizes: paths of PNG or TIFF files; PIL of mode I;16 (either byte
                order), I or F; arrays and tensors, [H, W] or [N, H, W] or [N, 1, H, W], of whole numbers of 16 bits
                or more or floating point of 32 or more. All in the sensor's units unless `float_unit` or `encoding`
                is set; floating point is rounded to whole units, and NaN is no reading.
            batch_size: Images at once. Memory grows with it; the results do not change.
            output_type: `np` for uint16 arrays, `pil` for images of mode I;16.
            return_dict: False gives (depth, valid, latents).

        Returns `DepthAutoencoderPipelineOutput` with all fields. Raises FileNotFoundError if there is no such file, and
        ValueError if an image is no depth image (8 bits, colour, negative, infinite), has readings but none in range,
        or loses more than 1 % of a reading by rounding; or if an argument is wrong.
        """
        _check_settings(batch_size, output_type)
        depth, latents, errors = [], [], []
        for in_range, outside, embedded in self._encoded(images, batch_size):
            decoded = self._decode(embedded, [one.shape for one in in_range])
            depth += [reported for reported, _ in decoded]
            # Errors are measured on readings in range; readings outside are only counted.
            rows = zip(in_range, decoded, outside, strict=True)
            errors += [(*self._errors(target, *made), count) for target, made, count in rows]
            latents.append(embedded)
        names = ("rmse_mm", "mae_mm", "validity_iou", "out_of_range")
        facts = {name: list(values) for name, values in zip(names, zip(*errors, strict=True), strict=True)}
        return self._output(depth, torch.cat(latents), output_type, return_dict, **facts)

    reconstruct = __call__

    @torch.no_grad()
    def encode(self, images: DepthImages, batch_size: int = 32) -> Tensor:
        """Embeddings of images, float32 [B, D], which depend on neither batch nor mode; arguments as in `__call__`."""
        _check_settings(batch_size)
        return torch.cat([latents for _, _, latents in self._encoded(images, batch_size)])

    @torch.no_grad()
    def decode(
        self, latents: Tensor, size: Sizes = None, batch_size: int = 32,
        output_type: str = "np", return_dict: bool = True,
    ) -> Any:  # fmt: skip
        """Depth images of embeddings.

        Args:
            latents: What `encode` gave, float [B, D].
            size: Height and width of all images, or a list with one pair per image; None is the model's own size.
            batch_size, output_type, return_dict: As in `__call__`.

        Returns `DepthAutoencoderPipelineOutput` without errors; raises ValueError if latents or an argument are wrong.
        """
        _check_settings(batch_size, output_type)
        width = self.autoencoder.config.latent_dim
        if latents.ndim != 2 or latents.shape[1] != width or len(latents) == 0:
            raise ValueError(f"latents must be [B, {width}] with B at least 1, got {list(latents.shape)}")
        if not latents.isfinite().all():
            raise ValueError("latents must be finite, got NaN or inf")
        sizes = self._sizes(size, len(latents))
        latents = latents.float().cpu()
        depth = []
        for indices in self._batches(list(range(len(latents))), batch_size):
            decoded = self._decode(latents[indices], [sizes[index] for index in indices])
            depth += [reported for reported, _ in decoded]
        return self._output(depth, latents, output_type, return_dict)

    @torch.no_grad()
    def interpolate(
        self, a: DepthImage, b: DepthImage, steps: int = 8, size: Size | None = None, **settings: Any
    ) -> Any:
        """Walk from image a to image b in `steps` (at least 2) equal steps along the line between their embeddings.

        `size` is that of all images; None is that of a and b, which then must agree. `settings` are those of `decode`.
        """
        if steps < 2:
            raise ValueError(f"steps must be at least 2, got {steps}")
        first, last = self.read(a), self.read(b)
        if size is None and first.shape != last.shape:
            raise ValueError(f"images must be of one size unless size is given, got {first.shape} and {last.shape}")
        ends = self.encode([a, b])
        share = torch.linspace(0, 1, steps)[:, None]
        return self.decode(torch.lerp(ends[:1], ends[1:], share), first.shape if size is None else size, **settings)

    def similarity(self, a: DepthImages, b: DepthImages, batch_size: int = 32) -> Tensor:
        """Cosine of the angle between the embeddings of every image of a and every image of b, float32 [A, B].

        Each of a and b is one image or a list. Only the order of the numbers has a meaning: embeddings are not centred.
        """
        rows, columns = (torch.nn.functional.normalize(self.encode(images, batch_size)) for images in (a, b))
        return (rows @ columns.T).clamp(-1, 1)

    def read(self, image: DepthImage) -> np.ndarray:
        """Whole units of one image, int64 [H, W], 0 where there is no reading; see `__call__` for what is refused."""
        units = units_of(image, self.config)
        for value in self.config["invalid_values"]:
            units[units == int(value)] = 0
        return units

    def _batches(self, items: list[Any], batch_size: int) -> Iterator[list[Any]]:
        total = math.ceil(len(items) / batch_size)
        with self.progress_bar(total=total) as progress_bar:  # pyright: ignore[reportCallIssue]
            for start in range(0, len(items), batch_size):
                yield items[start : start + batch_size]
                progress_bar.update()
        self.maybe_free_model_hooks()

    def _encoded(self, images: DepthImages, batch_size: int) -> Iterator[tuple[list[np.ndarray], list[int], Tensor]]:
        """Per batch: units of images without readings out of range, the number of these, and embeddings."""
        readings, total_outside = 0, 0
        for batch in self._batches(as_list(images), batch_size):
            originals = [self.read(image) for image in batch]
            in_range = [units_in_range(original, self.config) for original in originals]
            outside = [int((a != b).sum()) for a, b in zip(originals, in_range, strict=True)]
            readings += sum(int((original != 0).sum()) for original in originals)
            total_outside += sum(outside)
            yield in_range, outside, self._encode(in_range)
        if total_outside:
            span, share = self.config["depth_range_mm"], f"{total_outside} of {readings} readings"
            logger.warning(f"depth must be in {span['min']:g}..{span['max']:g} mm, {share} "
                           f"({total_outside / readings:.1%}) are not; the model got them as no reading")  # fmt: skip

    def _encode(self, units: list[np.ndarray]) -> Tensor:
        """Embeddings of unit images of any sizes whose readings are in range, float32 [B, D] on the CPU."""
        side = self.autoencoder.config.sample_size
        resized = torch.cat([resized_units(one, (side, side), self.config) for one in units])
        depth, valid = encode_units(resized, self.config["depth_range_mm"], self.config["units_per_mm"])
        device, dtype = self._execution_device, self.autoencoder.dtype
        with self._evaluating():
            latents = self.autoencoder.encode(depth.to(device, dtype), valid.to(device, dtype)).float().cpu()
        if not latents.isfinite().all():
            raise FloatingPointError(f"embeddings must be finite, the autoencoder made others in {dtype}")
        return latents

    def _decode(self, latents: Tensor, sizes: Sequence[tuple[int, ...]]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Two uint16 [H, W] per embedding: depth with 0 where no reading is reported, and depth of every pixel."""
        dtype = self.autoencoder.dtype
        with self._evaluating():
            decoded = self.autoencoder.decode(latents.to(self._execution_device, dtype))
        if not (decoded.depth.isfinite().all() and decoded.valid_logit.isfinite().all()):
            raise FloatingPointError(f"decoded depth must be finite, the autoencoder made others in {dtype}")
        units = decode_units(decoded.depth.cpu(), self.config["depth_range_mm"], self.config["units_per_mm"])
        valid = (decoded.valid_logit.float().cpu() > 0).to(units)
        images = []
        for one, one_valid, (height, width) in zip(units, valid, sizes, strict=True):
            # Resized with its holes, then without, so that an error can be measured inside the holes too.
            reported = resize_depth((one * one_valid)[None], (height, width))[0, 0]
            with_fallback_depth = torch.where(reported > 0, reported, resize_depth(one[None], (height, width))[0, 0])
            images.append((_to_uint16(reported), _to_uint16(with_fallback_depth)))
        return images

    def _errors(self, in_range: np.ndarray, reported: np.ndarray, whole: np.ndarray) -> tuple[float, float, float]:
        """RMSE and MAE in millimetres and the IoU of validity, of an input whose readings are all in range."""
        valid = in_range != 0
        error_mm = (whole[valid].astype(np.float64) - in_range[valid]) / self.config["units_per_mm"]
        either = int((valid | (reported != 0)).sum())
        rmse_mm = math.sqrt(np.square(error_mm).mean()) if error_mm.size else math.nan
        mae_mm = float(np.abs(error_mm).mean()) if error_mm.size else math.nan
        validity_iou = int((valid & (reported != 0)).sum()) / either if either else 1.0
        return rmse_mm, mae_mm, validity_iou

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Run the block with the model in evaluation mode, then restore the mode of each module."""
        training = [module for module in self.autoencoder.modules() if module.training]
        self.autoencoder.eval()
        try:
            yield
        finally:
            for module in training:
                module.training = True

    def _sizes(self, size: Sizes, count: int) -> list[Size]:
        size = (self.autoencoder.config.sample_size,) * 2 if size is None else size
        sizes: list[Any] = [size] * count if isinstance(size[0], (int, np.integer)) else list(size)
        if len(sizes) != count:
            raise ValueError(f"size must be one height and width or one for each of {count} images, got {len(sizes)}")
        if bad := [one for one in sizes if len(one) != 2 or min(one) < 1]:
            raise ValueError(f"size must be a height and a width of at least 1 pixel, got {tuple(bad[0])}")
        return [(int(height), int(width)) for height, width in sizes]

    def _output(self, depth: list[Any], latents: Tensor, output_type: str, return_dict: bool, **errors: Any) -> Any:
        images = [Image.fromarray(one) for one in depth] if output_type == "pil" else depth
        valid = [one != 0 for one in depth]
        if not return_dict:
            return (images, valid, latents)
        return DepthAutoencoderPipelineOutput(depth=images, valid=valid, latents=latents, **errors)


def _to_uint16(units: Tensor) -> np.ndarray:
    return units.round().to(torch.int32).numpy().astype(np.uint16)


def _check_settings(batch_size: int, output_type: str = "np") -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if output_type not in OUTPUT_TYPES:
        raise ValueError(f"output_type must be among {', '.join(OUTPUT_TYPES)}, got {output_type!r}")
