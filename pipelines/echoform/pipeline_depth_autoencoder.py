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

# Where this file is saved, it holds the text of the file named here instead of the import (code_files.py).
from echoform.depth_units import (
    DepthImage,
    DepthImages,
    Size,
    as_list,
    decode_units,
    encode_units,
    resize_depth,
    resized_units,
    units_in_range,
    units_of,
)

# Where this file is saved, it holds the text of the file named here instead of the import (code_files.py).
from echoform.self_contained import SelfContainedPipeline

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
