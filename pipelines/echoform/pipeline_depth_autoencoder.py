"""The pipeline: uint16 depth images to embeddings and back, in millimetres."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline, ModelMixin
from diffusers.utils import BaseOutput, logging
from huggingface_hub import HfApi
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError
from PIL import Image
from torch import Tensor

OUTPUT_TYPES = ("np", "pil")

DepthImage = str | Path | Image.Image | np.ndarray | Tensor
Size = tuple[int, int]

logger = logging.get_logger(__name__)

_MAX_UNITS = 65535


@dataclass
class DepthAutoencoderPipelineOutput(BaseOutput):
    """Decoded depth images and, where they were made from images, how far they are from them."""

    depth: list[np.ndarray] | list[Image.Image]
    """Of each image uint16 [H, W] in the sensor's units (mode I;16 for `pil`), 0 where there is no reading."""

    valid: list[np.ndarray]
    """Of each image bool [H, W], whether the model says that there is a reading."""

    latents: Tensor
    """Embeddings, float32 [B, D]."""

    rmse_mm: list[float] | None = None
    """Root mean square error over the readings in range of each input, millimetres; NaN where it has none.

    Where the model denies a reading of the input, its depth counts all the same.
    """

    mae_mm: list[float] | None = None
    """Mean absolute error over the same pixels, millimetres."""

    validity_iou: list[float] | None = None
    """Pixels that are valid in both over those valid in either, 0..1; 1 where neither has any."""

    out_of_range: list[int] | None = None
    """Readings of each input outside `depth_range_mm`. The model cannot say them, so it got them as no reading."""


class DepthAutoencoderPipeline(DiffusionPipeline):
    """Turn depth images into embeddings and back, without losing millimetres to a scale of their own.

    One fixed scale maps depth to the model, so that an image's embedding depends on no other image. 0 is no reading:
    it is told to the model beside the depth and mixed with depth nowhere, resizing included. Images of any size are
    stretched to the model's square and come back at their own size.

    Example:
        >>> pipe = DiffusionPipeline.from_pretrained("user/model", trust_remote_code=True)
        >>> output = pipe(["a.png", "b.png"])
        >>> output.depth[0], output.rmse_mm[0], output.latents.shape
        >>> pipe.similarity("a.png", ["b.png", "c.png"])

    Args:
        autoencoder: `DepthAutoencoder` of one channel.
        depth_range_mm: Depth that the model can say, millimetres, as {"min": 300, "max": 5000}. Readings outside are
            given to the model as no reading, counted in the output and logged as a warning.
        units_per_mm: The sensor's units in a millimetre, greater than 0; 1 for Kinect and RealSense, 5 for TUM's files.
        invalid_values: Units that mean no reading, with their meaning, as {"0": "no reading", "65535": "too far"}; 0
            is always among them. Keys are strings because JSON has no others.

    Raises:
        ValueError: If a fact is missing or does not fit the model or 16 bits.
    """

    model_cpu_offload_seq = "autoencoder"
    autoencoder: Any

    def __init__(
        self,
        autoencoder: ModelMixin,
        # diffusers takes arguments without a default for components.
        depth_range_mm: dict[str, float] | None = None,
        units_per_mm: float = 1.0,
        invalid_values: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(autoencoder=autoencoder)
        self.register_to_config(
            depth_range_mm=depth_range_mm,
            units_per_mm=units_per_mm,
            invalid_values={"0": "no reading"} if invalid_values is None else invalid_values,
        )
        self._check_facts()

    @torch.no_grad()
    def __call__(
        self,
        images: DepthImage | Sequence[DepthImage],
        batch_size: int = 32,
        output_type: str = "np",
        return_dict: bool = True,
    ) -> Any:
        """Encode and decode images.

        Args:
            images: One image or a list, of any sizes: paths of PNG or TIFF files; PIL of mode I;16 (either byte
                order), I or F; arrays and tensors, [H, W] or [N, H, W] or [N, 1, H, W], of whole numbers of 16 bits
                or more or floating point of 32 or more. All in the sensor's units; floating point is rounded to
                whole units, and its NaN is no reading.
            batch_size: Images at once. The memory that is needed grows with it; the results do not change.
            output_type: `np` for uint16 arrays, `pil` for pictures of mode I;16.
            return_dict: False gives (depth, valid, latents).

        Returns:
            `DepthAutoencoderPipelineOutput` with everything in it.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If an image is no depth image (8 bits, colour, negative, infinite), or an argument is out of
                range.
        """
        _check_settings(batch_size, output_type)
        items = as_list(images)
        depth, valid, latents = [], [], []
        errors: list[_Errors] = []
        with self.progress_bar(total=math.ceil(len(items) / batch_size)) as progress_bar:  # pyright: ignore[reportCallIssue]
            for batch in _batches(items, batch_size):
                originals = [self.read(image) for image in batch]
                latents.append(self._encode(originals))
                decoded = self._decode(latents[-1], [original.shape for original in originals])
                for original, (said, anyway) in zip(originals, decoded, strict=True):
                    depth.append(said)
                    valid.append(said != 0)
                    errors.append(self._errors(original, said, anyway))
                progress_bar.update()
        self.maybe_free_model_hooks()
        self._warn_of_range(errors)
        return self._output(
            depth, valid, torch.cat(latents), output_type, return_dict,
            rmse_mm=[one.rmse_mm for one in errors],
            mae_mm=[one.mae_mm for one in errors],
            validity_iou=[one.validity_iou for one in errors],
            out_of_range=[one.out_of_range for one in errors],
        )  # fmt: skip

    def reconstruct(self, images: DepthImage | Sequence[DepthImage], **settings: Any) -> Any:
        """What `__call__` does."""
        return self(images, **settings)

    @torch.no_grad()
    def encode(self, images: DepthImage | Sequence[DepthImage], batch_size: int = 32) -> Tensor:
        """Embeddings of images, float32 [B, D]; see `__call__` for the images and for what is refused.

        The embedding of an image depends neither on its batch nor on a state of the model.
        """
        _check_settings(batch_size)
        items = as_list(images)
        latents, counted = [], []
        with self.progress_bar(total=math.ceil(len(items) / batch_size)) as progress_bar:  # pyright: ignore[reportCallIssue]
            for batch in _batches(items, batch_size):
                originals = [self.read(image) for image in batch]
                counted += [self._errors(original) for original in originals]
                latents.append(self._encode(originals))
                progress_bar.update()
        self.maybe_free_model_hooks()
        self._warn_of_range(counted)
        return torch.cat(latents)

    @torch.no_grad()
    def decode(
        self,
        latents: Tensor,
        size: Size | Sequence[Size] | None = None,
        batch_size: int = 32,
        output_type: str = "np",
        return_dict: bool = True,
    ) -> Any:
        """Depth images of embeddings.

        Args:
            latents: What `encode` gave, float [B, D].
            size: Height and width for all, or a list with one for each; None is the model's own size.
            batch_size: Images at once.
            output_type: As of `__call__`.
            return_dict: False gives (depth, valid, latents).

        Returns:
            `DepthAutoencoderPipelineOutput` without errors, because there is nothing to compare with.

        Raises:
            ValueError: If latents have another shape, or an argument is out of range.
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
        with self.progress_bar(total=math.ceil(len(latents) / batch_size)) as progress_bar:  # pyright: ignore[reportCallIssue]
            for batch in torch.arange(len(latents)).split(batch_size):
                of_batch = [sizes[place] for place in batch.tolist()]
                depth += [said for said, _ in self._decode(latents[batch], of_batch)]
                progress_bar.update()
        self.maybe_free_model_hooks()
        return self._output(depth, [one != 0 for one in depth], latents, output_type, return_dict)

    @torch.no_grad()
    def interpolate(
        self, a: DepthImage, b: DepthImage, steps: int = 8, size: Size | None = None, **settings: Any
    ) -> Any:
        """Walk from image a to image b in `steps` equal steps along the line between their embeddings.

        Args:
            a: The first image; see `__call__`.
            b: The last image.
            steps: Images of the walk with both ends, at least 2.
            size: Height and width of all; None is the size of both, which must then be of one size.
            **settings: As of `decode`.

        Returns:
            What `decode` gives.

        Raises:
            ValueError: If steps is less than 2, or the images differ in size and size is not given.
        """
        if steps < 2:
            raise ValueError(f"steps must be at least 2, got {steps}")
        first, last = self.read(_single(a)), self.read(_single(b))
        if size is None and first.shape != last.shape:
            raise ValueError(f"images must be of one size unless size is given, got {first.shape} and {last.shape}")
        ends = self.encode([first, last])
        share = torch.linspace(0, 1, steps)[:, None]
        return self.decode(torch.lerp(ends[:1], ends[1:], share), first.shape if size is None else size, **settings)

    def similarity(
        self, a: DepthImage | Sequence[DepthImage], b: DepthImage | Sequence[DepthImage], batch_size: int = 32
    ) -> Tensor:
        """Cosine of the angle between the embeddings of every image of a and every image of b.

        Args:
            a: One image or a list of A; see `__call__`.
            b: One image or a list of B.
            batch_size: Images at once.

        Returns:
            float32 [A, B] in [-1, 1]; 1 for the same direction. Only the order of such numbers means something: the
            embeddings are not centred, so that images which have nothing in common do not get 0.
        """
        rows, columns = (torch.nn.functional.normalize(self.encode(images, batch_size)) for images in (a, b))
        return (rows @ columns.T).clamp(-1, 1)

    def read(self, image: DepthImage) -> np.ndarray:
        """Whole units of one image, int64 [H, W], 0 where there is no reading; see `__call__` for what is refused."""
        units = units_of(image)
        for value in self.config["invalid_values"]:
            if int(value) != 0:
                units[units == int(value)] = 0
        return units

    def _encode(self, originals: list[np.ndarray]) -> Tensor:
        """Embeddings of unit images of any sizes, float32 [B, D] on the CPU."""
        resized = torch.cat([self._resize(self._in_range(original), self._model_size()) for original in originals])
        depth, valid = encode_units(resized, self.config["depth_range_mm"], self.config["units_per_mm"])
        device, dtype = self._execution_device, self.autoencoder.dtype
        with self._evaluating():
            latents = self.autoencoder.encode(depth.to(device, dtype), valid.to(device, dtype)).float().cpu()
        if not latents.isfinite().all():
            raise FloatingPointError(f"embeddings must be finite, the autoencoder made others in {dtype}")
        return latents

    def _decode(self, latents: Tensor, sizes: Sequence[tuple[int, ...]]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of each embedding uint16 [H, W] with 0 where there is no reading, and with the depth that stands there."""
        device, dtype = self._execution_device, self.autoencoder.dtype
        with self._evaluating():
            decoded = self.autoencoder.decode(latents.to(device, dtype))
        if not (decoded.depth.isfinite().all() and decoded.valid_logit.isfinite().all()):
            raise FloatingPointError(f"decoded depth must be finite, the autoencoder made others in {dtype}")
        facts = self.config["depth_range_mm"], self.config["units_per_mm"]
        units = decode_units(decoded.depth.float().cpu(), *facts)
        valid = (decoded.valid_logit.float().cpu() > 0).to(units)
        images = []
        for one, one_valid, size in zip(units, valid, sizes, strict=True):
            height, width = size
            said = resize_depth((one * one_valid)[None], (height, width))[0, 0]
            anyway = torch.where(said > 0, said, resize_depth(one[None], (height, width))[0, 0])
            images.append((_to_uint16(said), _to_uint16(anyway)))
        return images

    def _errors(
        self, original: np.ndarray, said: np.ndarray | None = None, anyway: np.ndarray | None = None
    ) -> _Errors:
        in_range = self._in_range(original) != 0
        out_of_range = int(((original != 0) & ~in_range).sum())
        if said is None or anyway is None:
            return _Errors(out_of_range, int((original != 0).sum()))
        error_mm = (anyway[in_range].astype(np.float64) - original[in_range]) / self.config["units_per_mm"]
        either = int((in_range | (said != 0)).sum())
        return _Errors(
            out_of_range=out_of_range,
            readings=int((original != 0).sum()),
            rmse_mm=math.sqrt(np.square(error_mm).mean()) if error_mm.size else math.nan,
            mae_mm=float(np.abs(error_mm).mean()) if error_mm.size else math.nan,
            validity_iou=int((in_range & (said != 0)).sum()) / either if either else 1.0,
        )

    def _in_range(self, units: np.ndarray) -> np.ndarray:
        low, high = range_in_units(self.config["depth_range_mm"], self.config["units_per_mm"])
        return np.where((units >= low) & (units <= high), units, 0)

    def _resize(self, units: np.ndarray, size: Size) -> Tensor:
        return resize_depth(torch.from_numpy(units).float()[None, None], size).round()

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """No dropout, whatever mode the model is in; it is left as it was."""
        training = [module for module in self.autoencoder.modules() if module.training]
        self.autoencoder.eval()
        try:
            yield
        finally:
            for module in training:
                module.training = True

    def _model_size(self) -> Size:
        size = self.autoencoder.config.sample_size
        return (size, size) if isinstance(size, int) else (size[0], size[1])

    def _sizes(self, size: Size | Sequence[Size] | None, count: int) -> list[Size]:
        if size is None:
            return [self._model_size()] * count
        sizes: list[Any] = [size] * count if isinstance(size[0], (int, np.integer)) else list(size)
        if len(sizes) != count:
            raise ValueError(f"size must be one height and width or one for each of {count} images, got {len(sizes)}")
        if bad := [one for one in sizes if len(one) != 2 or min(one) < 1]:
            raise ValueError(f"size must be a height and a width of at least 1 pixel, got {tuple(bad[0])}")
        return [(int(height), int(width)) for height, width in sizes]

    def _warn_of_range(self, errors: Sequence[_Errors]) -> None:
        outside, readings = (sum(getattr(one, name) for one in errors) for name in ("out_of_range", "readings"))
        if outside:
            span = self.config["depth_range_mm"]
            logger.warning(
                f"depth must be in {span['min']:g}..{span['max']:g} mm, {outside} of {readings} readings "
                f"({outside / readings:.1%}) are not; the model got them as no reading"
            )

    def _output(
        self,
        depth: list[np.ndarray],
        valid: list[np.ndarray],
        latents: Tensor,
        output_type: str,
        return_dict: bool,
        **errors: list[Any],
    ) -> Any:
        pictures = [Image.fromarray(one) for one in depth] if output_type == "pil" else depth
        if not return_dict:
            return (pictures, valid, latents)
        return DepthAutoencoderPipelineOutput(depth=pictures, valid=valid, latents=latents, **errors)

    # Copied from echoform.pipeline_vq_ldm_doppler.VQLDMDopplerPipeline.from_pretrained
    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> Any:
        """Load a folder or repository as `DiffusionPipeline.from_pretrained` does, but from safetensors alone.

        The classes are the installed ones, whatever code lies beside the weights, so that no trust is needed.

        Args:
            pretrained_model_name_or_path: Exported folder, or "user/model".
            **kwargs: As of diffusers: revision, variant, torch_dtype, cache_dir, token, components ...

        Raises:
            ValueError: If pickled weights are asked for.
            OSError: If there are no safetensors; what is pickled instead is not read.
        """
        if not kwargs.setdefault("use_safetensors", True):
            raise ValueError(f"use_safetensors must not be turned off, got {kwargs['use_safetensors']}")
        return super().from_pretrained(pretrained_model_name_or_path, **kwargs)

    # Copied from echoform.pipeline_vq_ldm_doppler.VQLDMDopplerPipeline.load_config
    @classmethod
    def load_config(cls, *args: Any, **kwargs: Any) -> Any:
        """Read model_index.json; see `_dict_from_json_file` for what becomes of the code that it names."""
        loaded = super().load_config(*args, **kwargs)
        index = loaded[0] if isinstance(loaded, tuple) else loaded
        package, _, own = cls.__module__.rpartition(".")
        for name, entry in index.items():
            if isinstance(entry, list) and not name.startswith("_") and str(entry[0]).isidentifier():
                # Beside the installed class models have their plain names, beside one that travelled the full ones.
                stem = plain_stem(entry[0]) if plain_stem(own) == own else entry[0]
                home = f"{package}.{stem}".lstrip(".")
                if find_spec(home) is not None:
                    import_module(home)  # diffusers looks for it among the modules that are already imported
                    entry[0] = home
        return loaded

    # Copied from echoform.pipeline_vq_ldm_doppler.VQLDMDopplerPipeline._dict_from_json_file
    @classmethod
    def _dict_from_json_file(cls, json_file: Any) -> dict[str, Any]:
        # Who calls `from_pretrained` of this very class wants this class and the models that lie beside it. The copies
        # of both in the repository need trust_remote_code, through `DiffusionPipeline.from_pretrained`.
        index = super()._dict_from_json_file(json_file)
        return index | {"_class_name": cls.__name__} if "_class_name" in index else index

    # Copied from echoform.pipeline_vq_ldm_doppler.VQLDMDopplerPipeline.save_config
    def save_config(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """Write model_index.json together with the code that it names, so that the folder loads without echoform."""
        folder = Path(save_directory)
        for component, module in {".": type(self).__module__, **self._modules_of_ours()}.items():
            copy_code(Path(str(sys.modules[module].__file__)), folder / component)
        for path in folder.glob("*/config.json"):
            config = json.loads(path.read_text(encoding="utf-8"))
            if config.pop("_name_or_path", None) is not None:  # a path of this machine
                path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        super().save_config(save_directory, *args, **kwargs)

    # Copied from echoform.pipeline_vq_ldm_doppler.VQLDMDopplerPipeline.save_pretrained
    def save_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        save_directory: Any,
        safe_serialization: bool = True,
        variant: str | None = None,
        max_shard_size: int | str | None = None,
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> None:
        """Write weights, configurations and code to a folder that loads without echoform.

        Args:
            save_directory: Folder, made if there is none.
            safe_serialization: Must be True; the name is that of diffusers.
            variant: Infix of the weights' file names, such as "fp16".
            max_shard_size: Cut weights into files of at most this size, such as "5GB".
            push_to_hub: Also push, to `repo_id` (default: the folder's name) and with what else `push_to_hub` takes.
            **kwargs: For `push_to_hub`.

        Raises:
            ValueError: If weights should be pickled.
        """
        if not safe_serialization:
            raise ValueError("weights are written as safetensors alone, got safe_serialization=False")
        super().save_pretrained(save_directory, variant=variant, max_shard_size=max_shard_size)
        if push_to_hub:
            kwargs.setdefault("repo_id", Path(save_directory).resolve().name)
            self.push_to_hub(variant=variant, max_shard_size=max_shard_size, **kwargs)

    # Copied from echoform.pipeline_vq_ldm_doppler.VQLDMDopplerPipeline.push_to_hub
    def push_to_hub(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        repo_id: str,
        *,
        commit_message: str | None = None,
        private: bool | None = None,
        token: str | None = None,
        create_pr: bool = False,
        revision: str | None = None,
        safe_serialization: bool = True,
        variant: str | None = None,
        max_shard_size: int | str | None = None,
    ) -> str:
        """Upload weights, configurations and code in one commit; the same content again makes none.

        Args:
            repo_id: "user/model", made if there is none.
            commit_message: Title of the commit.
            private: Whether a repository that is made here is private; None leaves it to the Hub.
            token: Of the Hub; None is HF_TOKEN or the one of `hf auth login`.
            create_pr: Open a pull request instead.
            revision: Branch, made from main if there is none; None is main.
            safe_serialization: As of `save_pretrained`, and so are variant and max_shard_size.
            variant: See there.
            max_shard_size: See there.

        Returns:
            URL of the commit or pull request. A card that the repository has stays as it is; where there is none, it
            gets that of the folder or repository that this was loaded from, or a few lines.

        Raises:
            ValueError: If weights should be pickled, or should be private in a repository that is public already.
            huggingface_hub.errors.HfHubHTTPError: If the Hub refuses; the repository is then as it was.
        """
        api = HfApi(token=token)
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if private and not api.model_info(repo_id).private:
            raise ValueError(f"private needs a new repository or one that is private already, got {repo_id}")
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, safe_serialization, variant, max_shard_size)
            if not api.file_exists(repo_id, "README.md", revision=revision):
                where = {"revision": revision, "variant": variant}
                self._write_card(Path(folder), repo_id, {key: name for key, name in where.items() if name}, api)
            commit = api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                delete_patterns=[
                    version for code in Path(folder).rglob("*.py") for version in versions_of(code.relative_to(folder))
                ],
                commit_message=commit_message or f"Upload {type(self).__name__}",
                create_pr=create_pr,
                revision=revision,
            )
        return commit.pr_url or commit.commit_url

    # Copied from echoform.pipeline_vq_ldm_doppler.VQLDMDopplerPipeline._write_card
    def _write_card(self, folder: Path, repo_id: str, where: dict[str, str], api: HfApi) -> None:
        source = self.config.get("_name_or_path")

        def from_source(name: str) -> Path | None:
            if source is None or Path(source).is_dir():
                path = None if source is None else Path(source) / name
                return path if path is not None and path.is_file() else None
            try:
                return Path(api.hf_hub_download(source, name))
            except (EntryNotFoundError, RepositoryNotFoundError):
                return None

        options = "".join(f', {key}="{name}"' for key, name in where.items())
        found = from_source("README.md")
        if found is not None:
            # Its snippet loads from here now, and the pictures that it shows come along.
            card = re.sub(
                rf'from_pretrained\("(?:\.|{re.escape(str(source))})"([^)\n]*\)).*',
                lambda call: f'from_pretrained("{repo_id}"{options}{call[1]}',
                found.read_text(encoding="utf-8"),
            )
            for name in re.findall(r"!\[[^\]]*\]\(<?(\w[\w./-]*)>?\)", card):
                picture = None if ".." in name else from_source(name)
                if picture is not None:
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(picture, folder / name)
        else:
            text = (
                f"\n# {repo_id.rpartition('/')[2]}\n\n"
                f"A `{type(self).__name__}` for diffusers, pushed by its `push_to_hub`; nothing is told here of its "
                "training.\n\n```python\nfrom diffusers import DiffusionPipeline\n\n"
                f'pipe = DiffusionPipeline.from_pretrained("{repo_id}"{options}, trust_remote_code=True)\n```\n'
            )
            printed = hashlib.sha256(text.strip().encode()).hexdigest()[:16]  # lets `echoform push` replace it
            card = f"---\nlibrary_name: diffusers\ntags:\n- echoform\nechoform_printed: {printed}\n---\n{text}"
        (folder / "README.md").write_text(card, encoding="utf-8")

    # Copied from echoform.pipeline_vq_ldm_doppler.VQLDMDopplerPipeline.to_json_string
    def to_json_string(self) -> str:
        """What model_index.json holds: our own classes as [stem of the file beside it, class]."""
        index = json.loads(super().to_json_string())
        index.pop("_name_or_path", None)  # a path of this machine
        index["_class_name"] = [_stem(type(self).__module__), type(self).__name__]
        for component, module in self._modules_of_ours().items():
            index[component][0] = _stem(module)
        return json.dumps(index, indent=2, sort_keys=True) + "\n"

    # Copied from echoform.pipeline_vq_ldm_doppler.VQLDMDopplerPipeline._modules_of_ours
    def _modules_of_ours(self) -> dict[str, str]:
        libraries = {component: self.config[component][0] for component in self.components}
        return {name: library for name, library in libraries.items() if library.partition(".")[0] != "diffusers"}

    def _check_facts(self) -> None:
        config = self.config
        channels = self.autoencoder.config.input_channels
        if channels != 1:
            raise ValueError(f"autoencoder must have one channel, because depth has one, got {channels}")
        range_in_units(config["depth_range_mm"], config["units_per_mm"])
        invalid = config["invalid_values"]
        if "0" not in invalid or not all(str(key).isdecimal() and int(key) <= _MAX_UNITS for key in invalid):
            raise ValueError(f"invalid_values must hold '0' and be units in 0..{_MAX_UNITS}, got {sorted(invalid)}")


@dataclass(frozen=True)
class _Errors:
    """What is told of one image."""

    out_of_range: int
    readings: int
    rmse_mm: float = math.nan
    mae_mm: float = math.nan
    validity_iou: float = math.nan


def range_in_units(depth_range_mm: Mapping[str, float] | None, units_per_mm: float) -> tuple[int, int]:
    """First and last whole unit of a range of depth, both at least 1.

    Args:
        depth_range_mm: {"min": ..., "max": ...}, millimetres.
        units_per_mm: The sensor's units in a millimetre.

    Raises:
        ValueError: If the range is not 0 <= min < max, or holds fewer than two values of 16 bits.
    """
    if not (math.isfinite(units_per_mm) and units_per_mm > 0):
        raise ValueError(f"units_per_mm must be greater than 0, got {units_per_mm}")
    if depth_range_mm is None or set(depth_range_mm) != {"min", "max"}:
        raise ValueError(f"depth_range_mm must hold min and max, got {depth_range_mm}")
    low_mm, high_mm = depth_range_mm["min"], depth_range_mm["max"]
    if not 0 <= low_mm < high_mm < math.inf:
        raise ValueError(f"depth_range_mm must be 0 <= min < max, got {low_mm}..{high_mm}")
    # 0.1 mm is no binary number: what is off by that alone is a whole unit.
    low, high = math.ceil(low_mm * units_per_mm - 1e-6), math.floor(high_mm * units_per_mm + 1e-6)
    low = max(low, 1)
    if not low < high <= _MAX_UNITS:
        raise ValueError(
            f"depth_range_mm must span at least two of the units 1..{_MAX_UNITS}, got {low_mm}..{high_mm} mm of "
            f"{units_per_mm:g} units each"
        )
    return low, high


def encode_units(
    units: Tensor, depth_range_mm: Mapping[str, float], units_per_mm: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Map depth in the sensor's units to model range, the same for every image.

    Args:
        units: [..., H, W], any number type that holds 16 bits; 0 means no reading.
        depth_range_mm: {"min": ..., "max": ...}, millimetres; become -1 and +1.
        units_per_mm: The sensor's units in a millimetre.

    Returns:
        Depth, float32 [..., H, W] in [-1, 1], 0 where there is no reading; and whether there is one, bool [..., H, W].
        A reading outside the range counts as none.

    Raises:
        ValueError: If the range is none, see `range_in_units`.
    """
    low, high = range_in_units(depth_range_mm, units_per_mm)
    units = units.to(torch.float32)
    valid = (units >= low) & (units <= high)
    depth = (units - low) * (2 / (high - low)) - 1
    return torch.where(valid, depth, 0.0), valid


def decode_units(
    depth: Tensor, depth_range_mm: Mapping[str, float], units_per_mm: float = 1.0, valid: Tensor | None = None
) -> Tensor:
    """Map model range back to the sensor's units.

    Args:
        depth: Float of any shape; what lies beyond [-1, 1] becomes the end of the range.
        depth_range_mm: As `encode_units` had it.
        units_per_mm: The sensor's units in a millimetre.
        valid: Where there is a reading, bool of the same shape; None is everywhere.

    Returns:
        float32 of the same shape, not rounded, within the range; 0 where there is no reading. What `encode_units` made
        of a whole unit comes back within 0.02 units.

    Raises:
        ValueError: If the range is none, see `range_in_units`.
    """
    low, high = range_in_units(depth_range_mm, units_per_mm)
    units = low + (depth.to(torch.float32).clamp(-1, 1) + 1) * ((high - low) / 2)
    return units if valid is None else torch.where(valid.to(torch.bool), units, 0.0)


def resize_depth(units: Tensor, size: Size) -> Tensor:
    """Resize depth images so that no reading is mixed with "no reading".

    Along each axis the mean over the area where it gets smaller, linear interpolation where it gets larger, both over
    readings alone (normalised convolution: Knutsson and Westin 1993). A pixel has a reading where readings have at
    least half of the weight.

    Args:
        units: [B, 1, H, W], any number type; 0 means no reading.
        size: Height and width to make.

    Returns:
        float32 [B, 1, *size], not rounded; 0 where there is no reading. The same size comes back unchanged.

    Raises:
        ValueError: If a side is less than 1.
    """
    if min(size) < 1 or min(units.shape[-2:]) < 1:
        raise ValueError(f"sides must be at least 1 pixel, got {tuple(units.shape[-2:])} to {tuple(size)}")
    units = units.to(torch.float32)
    if tuple(units.shape[-2:]) == tuple(size):
        return units
    rows, columns = (
        _resize_weights(before, after).to(units.device) for before, after in zip(units.shape[-2:], size, strict=True)
    )
    total, weight = (rows @ one @ columns.T for one in (units, (units != 0).to(units)))
    return torch.where(weight > 0.5 - 1e-5, total / weight.clamp(min=0.25), 0.0)


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
    """Pixels of a depth image of PIL, without any conversion of their values.

    Returns:
        [H, W]: uint16 of mode I;16 (of either byte order), int32 of mode I, float32 of mode F.

    Raises:
        ValueError: If it holds several images, colour, transparency or fewer than 16 bits; the message is the rule
            and what it is.
    """
    frames = getattr(image, "n_frames", 1)
    if frames != 1:
        raise ValueError(f"a file must hold one depth image, it holds {frames}")
    if image.format not in (None, "PNG", "TIFF"):
        # PIL stretches 12-bit PGM to 16 bits without a word.
        raise ValueError(f"a file of depth must be PNG or TIFF, it is {image.format}")
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        # 16-bit RGB opens as mode RGB; either way there are three numbers where depth has one.
        colour = len(image.getbands()) > 1 or image.mode == "P"
        why = "depth has one number a pixel" if colour else "8 bits hold no millimetres: 255 values for metres of depth"
        raise ValueError(f"depth must be 16-bit greyscale, it is of mode {image.mode}; {why}")
    pixels = np.array(image)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def units_of(image: DepthImage) -> np.ndarray:
    """Whole units, int64 [H, W], of anything that `__call__` takes as one image."""
    if isinstance(image, (str, Path)):
        try:
            with Image.open(image) as opened:
                return _whole_units(units_of_image(opened))
        except FileNotFoundError:
            raise
        except (OSError, EOFError, SyntaxError, struct.error) as error:  # what PIL raises on broken files
            raise ValueError(f"{image}: cannot be decoded, it is truncated or no image ({error})") from error
        except ValueError as error:
            raise ValueError(f"{image}: {error}") from error
    if isinstance(image, Image.Image):
        return _whole_units(units_of_image(image))
    if isinstance(image, Tensor):
        if image.dtype == torch.bfloat16:  # numpy has none
            image = image.half()
        image = image.detach().cpu().numpy()
    return _whole_units(np.asarray(image))


def _whole_units(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim != 2 or 0 in pixels.shape:
        raise ValueError(f"a depth image must be [H, W] with at least one pixel, got {list(pixels.shape)}")
    if pixels.dtype.kind not in "iuf" or pixels.dtype.itemsize < 2:
        raise ValueError(
            f"depth must have at least 16 bits, got {pixels.dtype}; 8 bits hold no millimetres: 255 values for metres"
        )
    if pixels.dtype == np.float16:
        raise ValueError(
            "depth in floating point must have at least 32 bits, got 16: beyond 2048 units those skip some"
        )
    if pixels.dtype.kind == "f":
        if np.isinf(pixels).any():
            raise ValueError("depth must be finite, or NaN where there is no reading, got inf")
        pixels = np.nan_to_num(pixels, nan=0.0).round()
    if pixels.min() < 0:
        raise ValueError(f"depth must not be negative, got {pixels.min()}; is it uint16 that was read as int16?")
    return pixels.astype(np.int64)


def as_list(images: DepthImage | Sequence[DepthImage]) -> list[Any]:
    """One entry an image; files are not opened yet."""
    if isinstance(images, (str, Path, Image.Image)):
        return [images]
    if not isinstance(images, (np.ndarray, Tensor)):
        items = [_single(image) for image in images]
        if not items:
            raise ValueError("images must hold at least one image, got none")
        return items
    shape = tuple(images.shape)
    if len(shape) == 2:
        return [images]
    if len(shape) == 4 and shape[1] == 1:
        images = images[:, 0]
    elif len(shape) != 3 or (shape[2] == 1 and min(shape[:2]) > 1):
        raise ValueError(f"images must be [H, W], [N, H, W] or [N, 1, H, W], got {list(shape)}")
    if len(images) == 0:
        raise ValueError("images must hold at least one image, got none")
    return list(images)


def _single(image: Any) -> Any:
    """An entry of a list, where arrays may be [1, H, W] too."""
    if isinstance(image, (np.ndarray, Tensor)) and image.ndim == 3 and image.shape[0] == 1:
        return image[0]
    return image


def _batches(items: list[Any], batch_size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), batch_size):
        yield items[start : start + batch_size]


def _to_uint16(units: Tensor) -> np.ndarray:
    return units.round().to(torch.int32).numpy().astype(np.uint16)


def _check_settings(batch_size: int, output_type: str = "np") -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if output_type not in OUTPUT_TYPES:
        raise ValueError(f"output_type must be among {', '.join(OUTPUT_TYPES)}, got {output_type!r}")


# Copied from echoform.pipeline_vq_ldm_doppler._stem
def _stem(module: str) -> str:
    file = getattr(sys.modules[module], "__file__", None)
    return module if file is None else travelling_stem(Path(file))  # a class of an interactive session has no file


# Copied from echoform.code_files.plain_stem
def plain_stem(stem: str) -> str:
    """Name of a code file, without its suffix and without the hash that `travelling_stem` gives it."""
    return re.sub(r"_[0-9a-f]{8}\Z", "", stem)


# Copied from echoform.code_files.travelling_stem
def travelling_stem(code: Path) -> str:
    """Name under which a code file travels: its own and 8 hexadecimal digits of the sha256 of its content.

    diffusers keeps one module a name, for all repositories that a process loads: under one name the version that comes
    second would take the place of the first, in pipelines that are at work and in what they save.
    """
    return f"{plain_stem(code.stem)}_{hashlib.sha256(code.read_bytes()).hexdigest()[:8]}"


# Copied from echoform.code_files.versions_of
def versions_of(code: PurePath) -> list[str]:
    """Patterns of the names that the versions of a code file have or had: without a hash, and with any."""
    stem = plain_stem(code.stem)
    return [code.with_name(f"{name}.py").as_posix() for name in (stem, f"{stem}_{'[0-9a-f]' * 8}")]


# Copied from echoform.code_files.copy_code
def copy_code(code: Path, folder: Path) -> None:
    """Copy a code file to a folder under its travelling name, in place of the versions of it that lie there."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / f"{travelling_stem(code)}.py"
    if not (copy.exists() and copy.samefile(code)):
        shutil.copyfile(code, copy)
    for pattern in versions_of(PurePath(code.name)):
        for version in folder.glob(pattern):
            if version != copy and not version.samefile(code):
                version.unlink()
