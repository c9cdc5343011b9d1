"""Pipeline that turns images into feature maps and back, and decodes interpolated and random feature maps."""

from __future__ import annotations

import math
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ModelMixin
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from torch import Tensor

# Where this file is saved, it holds the text of the file named here instead of the import (code_files.py).
from echoform.self_contained import SelfContainedPipeline

OUTPUT_TYPES = ("pil", "np", "pt")

MAX_PIXELS = 4096 * 4096
"""Most pixels of an image."""

ImageInput = str | Path | Image.Image | np.ndarray | Tensor
ImageInputs = ImageInput | Sequence[ImageInput]
Generators = torch.Generator | list[torch.Generator] | None


@dataclass
class ConvAutoencoderPipelineOutput(BaseOutput):
    """Decoded images and the latents that they were decoded from."""

    images: list[Image.Image] | np.ndarray | Tensor
    """List of N for `pil`; float32 [N, H, W, C] in 0..1 for `np`, [N, C, H, W] for `pt`."""

    latents: Tensor
    """float32 [N, D, h, w]."""

    psnr_db: list[float] | None = None
    """PSNR of each reconstruction against its image as the model saw it, decibels for pixels in 0..1, unrounded."""

    seeds: list[int] | None = None
    """Seed of each random image; `sample` makes it again from a list with `torch.Generator().manual_seed(seed)`."""


class ConvAutoencoderPipeline(SelfContainedPipeline):
    """Encode images to feature maps, and decode feature maps: those of images, interpolated and random ones.

    Only a reconstruction of an image uses the positions of the maxima that the encoder found (see `ConvAutoencoder`).
    `decode`, `interpolate` and `sample` decode from latents alone.

    Example:
        >>> pipe = DiffusionPipeline.from_pretrained("user/model", trust_remote_code=True)
        >>> output = pipe(["a.png", "b.png"])
        >>> output.images[0], output.psnr_db[0], output.latents.shape
        >>> pipe.sample(4, generator=torch.Generator().manual_seed(0)).images

    Args:
        autoencoder: `ConvAutoencoder`.
        latent_mean: Mean of each latent channel over the training set, as {"0": 0.1, ...}. Random latents need it,
            except those of a variational model, which are standard normal.
        latent_std: Standard deviation of each latent channel.

    Raises:
        ValueError: If only one of the two statistics is given, or they do not fit the model.
    """

    model_cpu_offload_seq = "autoencoder"
    autoencoder: Any

    def __init__(
        self,
        autoencoder: ModelMixin,
        # diffusers takes arguments without a default for components.
        latent_mean: dict[str, float] | None = None,
        latent_std: dict[str, float] | None = None,
    ) -> None:
        super().__init__()
        with suppress(ModuleNotFoundError):  # without echoform it was loaded, which checks its weights
            import_module("echoform.checks").check_component("autoencoder", autoencoder)
        self.register_modules(autoencoder=autoencoder)
        self.register_to_config(latent_mean=latent_mean, latent_std=latent_std)
        self._check_facts()

    @torch.no_grad()
    def __call__(
        self, images: ImageInputs, batch_size: int = 16, output_type: str = "pil", return_dict: bool = True
    ) -> Any:
        """Encode and decode images.

        Args:
            images: One or a list: paths and PIL images of any size, grey or RGB, which are cropped to a square about
                their centre and resized; or arrays [H, W] or [H, W, C] and tensors [C, H, W], float in 0..1 and of the
                model's size, also with a first axis for N. Grey becomes RGB if the model has three channels.
            batch_size: Images at once. Memory grows with it; the results do not change.
            output_type: `pil`, `np` or `pt`.
            return_dict: False gives (images, latents).

        Returns:
            `ConvAutoencoderPipelineOutput` with reconstructions of the model's size and `psnr_db`.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If an image has transparency or 16 bits, or colour where the model is grey; if an array has
                another size or range; or if an argument is out of range.
        """
        _check_settings(batch_size, output_type)
        pixels = self.preprocess(images)
        decoded, latents = [], []
        with self.progress_bar(total=math.ceil(len(pixels) / batch_size)) as progress_bar:  # pyright: ignore[reportCallIssue]
            for batch in pixels.split(batch_size):
                with self._evaluating():
                    encoded = self.autoencoder.encode(self._to_model(batch))
                    made = self.autoencoder.decode(encoded.latents, encoded.indices).sample
                latents.append(encoded.latents.float().cpu())
                decoded.append(self._to_pixels(made))
                progress_bar.update()
        self.maybe_free_model_hooks()
        # PSNR is measured before rounding, against the images as the model saw them.
        reconstructions = torch.cat(decoded)
        errors = (reconstructions - pixels).square().flatten(1).mean(dim=1).tolist()
        psnr_db = [math.inf if error == 0 else -10 * math.log10(error) for error in errors]
        return self._output(reconstructions, torch.cat(latents), output_type, return_dict, psnr_db=psnr_db)

    def reconstruct(self, images: ImageInputs, **settings: Any) -> Any:
        """See `__call__`."""
        return self(images, **settings)

    @torch.no_grad()
    def encode(self, images: ImageInputs, batch_size: int = 16) -> Tensor:
        """Latents of images, float32 [N, D, h, w], the means of a variational model; see `__call__` for the images.

        The latents of an image depend neither on its batch nor on whether the model is in training mode.
        """
        _check_settings(batch_size)
        latents = []
        with self._evaluating():
            for batch in self.preprocess(images).split(batch_size):
                latents.append(self.autoencoder.encode(self._to_model(batch)).latents.float().cpu())
        self.maybe_free_model_hooks()
        return torch.cat(latents)

    @torch.no_grad()
    def decode(self, latents: Tensor, batch_size: int = 16, output_type: str = "pil", return_dict: bool = True) -> Any:
        """Images from latents alone: an unpooling decoder puts each value into the first corner of its square.

        Args:
            latents: float [N, D, h, w], such as `encode` gives.
            batch_size: Images at once.
            output_type: `pil`, `np` or `pt`.
            return_dict: False gives (images, latents).

        Returns:
            `ConvAutoencoderPipelineOutput` with images whose sides are those of the latents times 2^levels.

        Raises:
            ValueError: If latents have another shape or are not finite, or an argument is out of range.
        """
        _check_settings(batch_size, output_type)
        channels = self.autoencoder.latent_channels
        if latents.ndim != 4 or latents.shape[1] != channels or 0 in latents.shape:
            raise ValueError(f"latents must be [N, {channels}, h, w] with none of them 0, got {list(latents.shape)}")
        if not latents.isfinite().all():
            raise ValueError("latents must be finite, got NaN or inf")
        latents = latents.float().cpu()
        device, dtype = self._execution_device, self.autoencoder.dtype
        made = []
        with self._evaluating():
            for batch in latents.split(batch_size):
                made.append(self._to_pixels(self.autoencoder.decode(batch.to(device, dtype)).sample))
        self.maybe_free_model_hooks()
        return self._output(torch.cat(made), latents, output_type, return_dict)

    def interpolate(self, a: ImageInput, b: ImageInput, steps: int = 8, **settings: Any) -> Any:
        """Walk from image a to image b in `steps` equal steps along the line between their latents.

        Args:
            a: The first image; see `__call__`.
            b: The last image.
            steps: Images of the walk including both ends, at least 2.
            **settings: Arguments of `decode`.

        Returns:
            The same as `decode`. The ends are decoded from latents alone as well: with an unpooling model they are
            worse than the reconstructions of `__call__`.

        Raises:
            ValueError: If steps is less than 2.
        """
        if steps < 2:
            raise ValueError(f"steps must be at least 2, got {steps}")
        first, last = self.encode(a), self.encode(b)
        if len(first) != 1 or len(last) != 1:
            raise ValueError(f"a walk is between two images, got {len(first)} and {len(last)}")
        return self.decode(torch.lerp(first, last, torch.linspace(0, 1, steps)[:, None, None, None]), **settings)

    def sample(
        self,
        num_images: int = 1,
        generator: Generators = None,
        batch_size: int = 16,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> Any:
        """Images of random latents; see `prepare_latents`.

        Args:
            num_images: Number of images, N.
            generator: Seeds one generator per image, so that the batch size does not change the images; or a list of N.
                A new generator for a single image is the generator of that image.
            batch_size: Images at once.
            output_type: `pil`, `np` or `pt`.
            return_dict: False gives (images, latents).

        Returns:
            `ConvAutoencoderPipelineOutput` with `seeds`.

        Raises:
            ValueError: If the model is not variational and the pipeline has no latent statistics, or an argument is
                out of range.
        """
        if num_images < 1:
            raise ValueError(f"num_images must be at least 1, got {num_images}")
        generators = _per_image_generators(generator, num_images)
        output = self.decode(self.prepare_latents(generators), batch_size, output_type)
        output.seeds = [one.initial_seed() for one in generators]
        return output if return_dict else (output.images, output.latents)

    def prepare_latents(self, generators: list[torch.Generator]) -> Tensor:
        """Random latents, float32 [N, D, h, w], one generator per image.

        Latents of a variational model are standard normal. Other latents are normal with the mean and deviation of
        each channel over the training set; if they are the encoder's feature maps themselves, which are never negative,
        values below 0 become 0.

        Raises:
            ValueError: If the model is not variational and the pipeline has no latent statistics.
        """
        shape = (len(generators), *self.autoencoder.latent_shape)
        noise = randn_tensor(shape, generator=generators, dtype=torch.float32)
        config = self.autoencoder.config
        if config.variational:
            return noise
        if self.config["latent_mean"] is None:
            raise ValueError("random latents of a model that is not variational need latent_mean and latent_std")
        latents = noise * self._per_channel("latent_std") + self._per_channel("latent_mean")
        return latents if config.latent_channels is not None else latents.clamp(min=0)

    def preprocess(self, images: ImageInputs) -> Tensor:
        """Images as the model sees them, float32 [N, C, H, W] in 0..1; see `__call__`."""
        channels, side = self.autoencoder.config.in_channels, self.autoencoder.config.sample_size
        prepared = []
        for one in _as_list(images):
            pixels = _from_array(one) if isinstance(one, (np.ndarray, Tensor)) else _from_pil(one, side, channels)
            if pixels.shape[0] == 1 and channels == 3:
                pixels = pixels.expand(3, -1, -1)
            if tuple(pixels.shape) != (channels, side, side):
                raise ValueError(
                    f"images must be {(channels, side, side)} (channels, height, width), got {tuple(pixels.shape)}"
                )
            prepared.append(pixels)
        if not prepared:
            raise ValueError("images must hold at least one image, got none")
        return torch.stack(prepared)

    def postprocess(self, pixels: Tensor, output_type: str) -> list[Image.Image] | np.ndarray | Tensor:
        """Pixels in 0..1, float32 [N, C, H, W], in the form that `output_type` names."""
        if output_type == "pt":
            return pixels
        if output_type == "np":
            return pixels.permute(0, 2, 3, 1).numpy()
        stored = (255 * pixels).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()  # [N, H, W, C]
        return [Image.fromarray(one if one.shape[-1] == 3 else one[..., 0]) for one in stored]

    def _to_model(self, pixels: Tensor) -> Tensor:
        return self.autoencoder.from_unit(pixels).to(self._execution_device, self.autoencoder.dtype)

    def _to_pixels(self, decoded: Tensor) -> Tensor:
        if not decoded.isfinite().all():
            raise FloatingPointError(
                f"decoded images must be finite, the autoencoder made others in {self.autoencoder.dtype}"
            )
        return self.autoencoder.to_unit(decoded.float().cpu())

    def _output(self, pixels: Tensor, latents: Tensor, output_type: str, return_dict: bool, **facts: list[Any]) -> Any:
        images = self.postprocess(pixels, output_type)
        if not return_dict:
            return (images, latents)
        return ConvAutoencoderPipelineOutput(images=images, latents=latents, **facts)

    def _per_channel(self, fact: str) -> Tensor:
        values = self.config[fact]
        return torch.tensor([values[str(channel)] for channel in range(len(values))])[:, None, None]

    def _check_facts(self) -> None:
        mean, std = self.config["latent_mean"], self.config["latent_std"]
        if (mean is None) != (std is None):
            raise ValueError(f"latent_mean and latent_std must be given together, got {mean} and {std}")
        if mean is not None:
            check_statistics("latent_mean", mean, self.autoencoder.latent_channels)
            check_statistics("latent_std", std, self.autoencoder.latent_channels)
        if std is not None and min(std.values()) < 0:
            raise ValueError(f"latent_std must not be negative, got {std}")

    # Copied from echoform.pipeline_depth_autoencoder.DepthAutoencoderPipeline._evaluating
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


def cut_square(image: Image.Image, side: int) -> Image.Image:
    """The square about an image's centre, resized to `side` x `side` pixels by antialiased bicubic interpolation."""
    shorter = min(image.size)
    left, upper = (image.width - shorter) // 2, (image.height - shorter) // 2
    cut = image.crop((left, upper, left + shorter, upper + shorter))
    return cut.resize((side, side), Image.Resampling.BICUBIC)


def _as_list(images: ImageInputs) -> list[Any]:
    if isinstance(images, (str, Path, Image.Image)):
        return [images]
    if isinstance(images, (np.ndarray, Tensor)) and images.ndim != 4:
        return [images]
    return list(images)


def _from_pil(source: str | Path | Image.Image, side: int, channels: int) -> Tensor:
    """An image cropped to a square about its centre and resized, float32 [C, side, side] in 0..1."""
    if isinstance(source, (str, Path)):
        with opened_image(Path(source)) as opened:
            return _from_pil(opened, side, channels)
    if source.width * source.height > MAX_PIXELS:
        raise ValueError(f"an image must have at most {MAX_PIXELS:,} pixels, it has {source.width}x{source.height}")
    if "A" in source.getbands() or "transparency" in source.info:
        # matplotlib writes an alpha channel that is opaque everywhere.
        if source.convert("RGBA").getchannel("A").getextrema() != (255, 255):
            raise ValueError(f"images must have no transparency, got mode {source.mode}")
        source = source.convert("L" if source.mode in ("L", "LA") else "RGB")
    image = source.convert("RGB") if source.mode == "P" else source
    if image.mode not in ("L", "RGB"):
        raise ValueError(f"images must be RGB or 8-bit grey, got mode {image.mode}")
    if image.mode == "RGB" and channels == 1:
        raise ValueError("the model takes grey images (mode L), got mode RGB")
    return _from_array(np.array(cut_square(image, side)).astype(np.float32) / 255)


# Copied from echoform.depth_units.opened_image
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


# Copied from echoform.pipeline_vq_ldm_doppler._from_array
def _from_array(pixels: np.ndarray | Tensor) -> Tensor:
    if isinstance(pixels, np.ndarray):
        pixels = torch.from_numpy(pixels)
        pixels = pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)  # [C, H, W]
    if not pixels.is_floating_point() or pixels.min() < 0 or pixels.max() > 1:
        span = f"{pixels.min()}..{pixels.max()}"
        raise ValueError(f"arrays and tensors must be floating point in 0..1, got {pixels.dtype} in {span}")
    return pixels.float().cpu()


# Copied from echoform.pipeline_vq_ldm_doppler._per_image_generators
def _per_image_generators(generator: Generators, count: int) -> list[torch.Generator]:
    if isinstance(generator, list):
        if len(generator) != count:
            raise ValueError(f"a list of generators must hold one for each of {count} images, got {len(generator)}")
        return generator
    device = "cpu" if generator is None else generator.device
    # The seed of a new generator is that of its single image; drawing from it makes the next call another one.
    seed = 0 if generator is None else generator.initial_seed()
    start = torch.Generator(device).manual_seed(seed).get_state()
    is_new = generator is not None and count == 1 and generator.get_state().equal(start)
    seeds = torch.randint(2**53, (count,), generator=generator, device=device)  # whole numbers that JSON readers keep
    return [torch.Generator().manual_seed(one) for one in ([seed] if is_new else seeds.tolist())]


def _check_settings(batch_size: int, output_type: str = "pil") -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if output_type not in OUTPUT_TYPES:
        raise ValueError(f"output_type must be among {', '.join(OUTPUT_TYPES)}, got {output_type!r}")


# Copied from echoform.pipeline_vq_ldm_doppler.check_statistics
def check_statistics(fact: str, values: Any, channels: int) -> None:
    """Raise ValueError unless a fact holds a finite number for every channel."""
    if not isinstance(values, dict) or set(values) != {str(channel) for channel in range(channels)}:
        raise ValueError(f"{fact} must hold one number for each of {channels} channels, got {values!r:.80}")
    if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in values.values()):
        raise ValueError(f"{fact} must be finite, got {values!r:.80}")
