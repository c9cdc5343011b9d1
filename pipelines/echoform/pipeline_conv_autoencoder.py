"""The pipeline: pictures to feature maps and back, walks between them, and pictures of random ones."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline, ModelMixin
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from huggingface_hub import HfApi
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError
from PIL import Image
from torch import Tensor

OUTPUT_TYPES = ("pil", "np", "pt")

Picture = str | Path | Image.Image | np.ndarray | Tensor


@dataclass
class ConvAutoencoderPipelineOutput(BaseOutput):
    """Decoded pictures and what they were decoded from."""

    images: list[Image.Image] | np.ndarray | Tensor
    """List of N for `pil`; float32 [N, H, W, C] in 0..1 for `np`, [N, C, H, W] for `pt`."""

    latents: Tensor
    """float32 [N, D, h, w]."""

    psnr_db: list[float] | None = None
    """Of each reconstruction against its picture as the model saw it, decibels of the range 0..1; before rounding."""

    seeds: list[int] | None = None
    """`torch.Generator().manual_seed(seed)` in a list makes that one random picture again."""


class ConvAutoencoderPipeline(DiffusionPipeline):
    """Encode pictures to feature maps, and decode those, their mixtures and random ones.

    Only a reconstruction of a picture knows where its maxima stood (see `ConvAutoencoder`). `decode`, `interpolate` and
    `sample` decode from latents alone, and so show what the decoder knows by itself.

    Example:
        >>> pipe = DiffusionPipeline.from_pretrained("user/model", trust_remote_code=True)
        >>> output = pipe(["a.png", "b.png"])
        >>> output.images[0], output.psnr_db[0], output.latents.shape
        >>> pipe.sample(4, generator=torch.Generator().manual_seed(0)).images

    Args:
        autoencoder: `ConvAutoencoder`.
        latent_mean: Mean of each latent channel over the training set, as {"0": 0.1, ...}; what random latents need,
            but of a variational model, whose latents are standard normal.
        latent_std: Standard deviation of each.

    Raises:
        ValueError: If only one of the two is given, or they do not fit the model.
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
        self.register_modules(autoencoder=autoencoder)
        self.register_to_config(latent_mean=latent_mean, latent_std=latent_std)
        self._check_facts()

    @torch.no_grad()
    def __call__(
        self,
        images: Picture | Sequence[Picture],
        batch_size: int = 16,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> Any:
        """Encode and decode pictures.

        Args:
            images: One or a list: paths and PIL, of any size, grey or RGB, which are cut to a square about their centre
                and resized; arrays [H, W] or [H, W, C], tensors [C, H, W], float in 0..1 and of the model's size, or
                with an axis for N before these. Grey becomes RGB where the model has three channels.
            batch_size: Pictures at once. The memory that is needed grows with it; the results do not change.
            output_type: `pil`, `np` or `pt`.
            return_dict: False gives (images, latents).

        Returns:
            `ConvAutoencoderPipelineOutput` with reconstructions of the model's size and `psnr_db`.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If a picture has transparency or 16 bits, is colour where the model is grey, or an array has
                another size or range; or an argument is out of range.
        """
        _check_settings(batch_size, output_type)
        pixels = self.preprocess(images)
        made, latents = [], []
        with self.progress_bar(total=math.ceil(len(pixels) / batch_size)) as progress_bar:  # pyright: ignore[reportCallIssue]
            for batch in pixels.split(batch_size):
                with self._evaluating():
                    encoded = self.autoencoder.encode(self._to_model(batch))
                    decoded = self.autoencoder.decode(encoded.latents, encoded.indices).sample
                latents.append(encoded.latents.float().cpu())
                made.append(self._to_pixels(decoded))
                progress_bar.update()
        self.maybe_free_model_hooks()
        reconstructions = torch.cat(made)
        errors = (reconstructions - pixels).square().flatten(1).mean(dim=1).tolist()
        psnr_db = [math.inf if error == 0 else -10 * math.log10(error) for error in errors]
        return self._output(reconstructions, torch.cat(latents), output_type, return_dict, psnr_db=psnr_db)

    def reconstruct(self, images: Picture | Sequence[Picture], **settings: Any) -> Any:
        """What `__call__` does."""
        return self(images, **settings)

    @torch.no_grad()
    def encode(self, images: Picture | Sequence[Picture], batch_size: int = 16) -> Tensor:
        """Latents of pictures, float32 [N, D, h, w], the means of a variational model; see `__call__`.

        The latents of a picture depend neither on its batch nor on a state of the model.
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
        """Pictures of latents alone: an unpooling decoder puts each value into the first corner of its square.

        Args:
            latents: float [N, D, h, w], such as `encode` gives.
            batch_size: Pictures at once.
            output_type: As of `__call__`.
            return_dict: False gives (images, latents).

        Returns:
            `ConvAutoencoderPipelineOutput` of images of h and w times 2 to the number of levels.

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

    def interpolate(self, a: Picture, b: Picture, steps: int = 8, **settings: Any) -> Any:
        """Walk from picture a to picture b in `steps` equal steps along the line between their latents.

        Args:
            a: The first picture; see `__call__`.
            b: The last picture.
            steps: Pictures of the walk with both ends, at least 2.
            **settings: As of `decode`.

        Returns:
            What `decode` gives. The ends, too, are decoded from latents alone: where the model unpools, they are
            less than the reconstructions of `__call__`.

        Raises:
            ValueError: If steps is less than 2.
        """
        if steps < 2:
            raise ValueError(f"steps must be at least 2, got {steps}")
        first, last = self.encode(a), self.encode(b)
        if len(first) != 1 or len(last) != 1:
            raise ValueError(f"a walk is between two pictures, got {len(first)} and {len(last)}")
        return self.decode(torch.lerp(first, last, torch.linspace(0, 1, steps)[:, None, None, None]), **settings)

    def sample(
        self,
        num_images: int = 1,
        generator: torch.Generator | list[torch.Generator] | None = None,
        batch_size: int = 16,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> Any:
        """Pictures of random latents; see `prepare_latents`.

        Args:
            num_images: How many, N.
            generator: Seeds one generator a picture, so that the batch size does not change them; or a list of N.
            batch_size: Pictures at once.
            output_type: As of `__call__`.
            return_dict: False gives (images, latents).

        Returns:
            `ConvAutoencoderPipelineOutput` with `seeds`.

        Raises:
            ValueError: If the model is not variational and the pipeline has no latent statistics, or an argument is
                out of range.
        """
        if num_images < 1:
            raise ValueError(f"num_images must be at least 1, got {num_images}")
        generators = _one_generator_an_image(generator, num_images)
        output = self.decode(self.prepare_latents(generators), batch_size, output_type)
        output.seeds = [one.initial_seed() for one in generators]
        return output if return_dict else (output.images, output.latents)

    def prepare_latents(self, generators: list[torch.Generator]) -> Tensor:
        """Random latents, float32 [N, D, h, w], one generator an image.

        Those of a variational model are standard normal. Those of another are normal with the mean and deviation of
        each channel over the training set; where they are the encoder's feature maps themselves, which are never
        negative, what falls below 0 is 0.

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

    def preprocess(self, images: Picture | Sequence[Picture]) -> Tensor:
        """Pictures as the model sees them, float32 [N, C, H, W] in 0..1; see `__call__`."""
        channels, side = self.autoencoder.config.in_channels, self.autoencoder.config.sample_size
        pictures = []
        for one in _as_list(images):
            pixels = _from_array(one) if isinstance(one, (np.ndarray, Tensor)) else _from_picture(one, side, channels)
            if pixels.shape[0] == 1 and channels == 3:
                pixels = pixels.expand(3, -1, -1)
            if tuple(pixels.shape) != (channels, side, side):
                raise ValueError(
                    f"images must be {(channels, side, side)} (channels, height, width), got {tuple(pixels.shape)}"
                )
            pictures.append(pixels)
        if not pictures:
            raise ValueError("images must hold at least one picture, got none")
        return torch.stack(pictures)

    def postprocess(self, pixels: Tensor, output_type: str) -> list[Image.Image] | np.ndarray | Tensor:
        """Pixels in 0..1, float32 [N, C, H, W], to what `output_type` asks for."""
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
                f"decoded pictures must be finite, the autoencoder made others in {self.autoencoder.dtype}"
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
        channels = self.autoencoder.latent_channels
        for fact in ("latent_mean", "latent_std"):
            values = self.config[fact]
            if values is not None and set(values) != {str(channel) for channel in range(channels)}:
                raise ValueError(f"{fact} must hold one number for each of {channels} channels, got {values}")
        if std is not None and min(std.values()) < 0:
            raise ValueError(f"latent_std must not be negative, got {std}")

    # Copied from echoform.pipeline_depth_autoencoder.DepthAutoencoderPipeline._evaluating
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


def cut_square(picture: Image.Image, side: int) -> Image.Image:
    """The square about a picture's centre, resized to `side` pixels a side by antialiased bicubic interpolation."""
    shorter = min(picture.size)
    left, upper = (picture.width - shorter) // 2, (picture.height - shorter) // 2
    cut = picture.crop((left, upper, left + shorter, upper + shorter))
    return cut.resize((side, side), Image.Resampling.BICUBIC)


def _as_list(images: Picture | Sequence[Picture]) -> list[Any]:
    if isinstance(images, (str, Path, Image.Image)):
        return [images]
    if isinstance(images, (np.ndarray, Tensor)):
        if images.ndim == 4:
            return list(images)
        return [images]
    return list(images)


def _from_picture(source: str | Path | Image.Image, side: int, channels: int) -> Tensor:
    """A picture cut to a square about its centre and resized, float32 [C, side, side] in 0..1."""
    if isinstance(source, (str, Path)):
        try:
            with Image.open(source) as opened:
                opened.load()
                return _from_picture(opened, side, channels)
        except FileNotFoundError:
            raise
        except OSError as error:  # what PIL raises on broken files
            raise ValueError(f"{source}: cannot be decoded, it is truncated or no picture ({error})") from error
    if "A" in source.getbands() or "transparency" in source.info:
        raise ValueError(f"pictures must have no transparency, got mode {source.mode}")
    picture = source.convert("RGB") if source.mode == "P" else source
    if picture.mode not in ("L", "RGB"):
        raise ValueError(f"pictures must be RGB or 8-bit grey, got mode {picture.mode}")
    if picture.mode == "RGB" and channels == 1:
        raise ValueError("the model is of grey pictures (mode L), got mode RGB")
    return _from_array(np.array(cut_square(picture, side)).astype(np.float32) / 255)


# Copied from echoform.pipeline_vq_ldm_doppler._from_array
def _from_array(pixels: np.ndarray | Tensor) -> Tensor:
    if isinstance(pixels, np.ndarray):
        pixels = torch.from_numpy(pixels)
        pixels = pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)  # [C, H, W]
    if not pixels.is_floating_point() or pixels.min() < 0 or pixels.max() > 1:
        span = f"{pixels.min()}..{pixels.max()}"
        raise ValueError(f"arrays and tensors must be floating point in 0..1, got {pixels.dtype} in {span}")
    return pixels.float().cpu()


# Copied from echoform.pipeline_vq_ldm_doppler._one_generator_an_image
def _one_generator_an_image(
    generator: torch.Generator | list[torch.Generator] | None, count: int
) -> list[torch.Generator]:
    if isinstance(generator, list):
        if len(generator) != count:
            raise ValueError(f"a list of generators must hold one for each of {count} images, got {len(generator)}")
        return generator
    device = "cpu" if generator is None else generator.device
    seeds = torch.randint(2**53, (count,), generator=generator, device=device)  # whole numbers that JSON readers keep
    return [torch.Generator().manual_seed(seed) for seed in seeds.tolist()]


def _check_settings(batch_size: int, output_type: str = "pil") -> None:
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
