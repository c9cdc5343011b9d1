"""The pipeline: new micro-Doppler spectrograms of a chosen person, by diffusion in the latents of an autoencoder."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, ModelMixin, PNDMScheduler, SchedulerMixin, VQModel
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from huggingface_hub import HfApi
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError
from PIL import Image
from torch import Tensor

OUTPUT_TYPES = ("pil", "np", "pt", "db")
CPU_DECODED_PIXELS = 65_536
"""Pixels that a CPU decodes at once: feature maps of more leave its caches, the sooner the more else it does."""

Label = str | int
Picture = Image.Image | np.ndarray | Tensor


@dataclass
class VQLDMDopplerPipelineOutput(BaseOutput):
    """Generated spectrograms, `num_images_per_user` of the first user, then of the second, and so on."""

    images: list[Image.Image] | np.ndarray | Tensor
    """List of N for `pil`; float32 [N, H, W, C] for `np`, [N, C, H, W] for `pt`, [N, H, W] for `db`."""

    users: list[str] | None
    """Label of each image's user; None where the caller gave embeddings."""

    seeds: list[int]
    """`torch.Generator().manual_seed(seed)` in a list makes that one image again."""


class VQLDMDopplerPipeline(DiffusionPipeline):
    """Generate spectrograms of the people it was trained on.

    A U-Net denoises standardised latents, the first stage decodes them to one scalar channel (or RGB), and the pipeline
    paints the scalar with the colours of the training images. H is frequency (row 0 is the highest Doppler), W is time.

    Example:
        >>> pipe = DiffusionPipeline.from_pretrained("user/model", trust_remote_code=True)
        >>> images = pipe(users=["ID_3", 7], num_images_per_user=4, generator=torch.Generator().manual_seed(0)).images

    Args:
        vqvae: First stage, [B, C, H, W] in [-1, 1] to latents and back: a `VQModel`, or an `AutoencoderKL`, which as in
            diffusers' `LDMTextToImagePipeline` goes by the same name.
        unet: `DopplerUNet2DModel`, or a model that is called as it is.
        scheduler: Any of diffusers whose `step` needs no more than prediction, time step and sample.
        id2label: Class id -> name of every user, as {"0": "ID_1", ...}; keys are strings because JSON has no others.
        condition_labels: The same for each further condition, as {"direction": {"0": "away", "1": "towards"}}.
        latent_mean: Mean of each latent channel over the training set, as {"0": 0.1, ...}.
        latent_std: Standard deviation of each, greater than 0.
        colormap: How to paint a one-channel image, as {"name": "jet", "rgb_hex": 256 colours of six hex digits};
            None where images are grey or RGB.
        axes: What rows, columns and values stand for, such as `window_s`, `doppler_min_hz`, `doppler_max_hz`, `db_min`
            and `db_max` (decibels of index 0 and 255).
        num_inference_steps: Steps of a call that does not say how many; a distilled U-Net was made for so many.
        guidance_scale: Guidance of a call that does not say; 1 where the U-Net has it built in.

    Raises:
        ValueError: If a fact is missing or does not fit the models.
    """

    model_cpu_offload_seq = "unet->vqvae"
    _callback_tensor_inputs = ("latents",)
    vqvae: Any
    unet: Any
    scheduler: Any

    def __init__(
        self,
        vqvae: VQModel | AutoencoderKL,
        unet: ModelMixin,
        scheduler: SchedulerMixin,
        # diffusers takes arguments without a default for components.
        id2label: dict[str, str] | None = None,
        condition_labels: dict[str, dict[str, str]] | None = None,
        latent_mean: dict[str, float] | None = None,
        latent_std: dict[str, float] | None = None,
        colormap: dict[str, str] | None = None,
        axes: dict[str, float] | None = None,
        num_inference_steps: int = 8,
        guidance_scale: float = 1.5,
    ) -> None:
        super().__init__()
        self.register_modules(vqvae=vqvae, unet=unet, scheduler=scheduler)
        if "clip_sample" not in self.scheduler.config and self.scheduler.has_compatibles:
            # Standardised latents reach beyond [-1, 1]. DDIM and DDPM clip there unless told otherwise, so that a swap
            # with `from_config` must find it told.
            self.scheduler.register_to_config(clip_sample=False)
        self.register_to_config(
            id2label=id2label,
            condition_labels=condition_labels,
            latent_mean=latent_mean,
            latent_std=latent_std,
            colormap=colormap,
            axes=axes,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
        )
        self._check_facts()

    @torch.no_grad()
    def __call__(
        self,
        users: Sequence[Label] | None = None,
        num_images_per_user: int = 1,
        conditions: Mapping[str, Label | Sequence[Label]] | None = None,
        guidance_scale: float | None = None,
        num_inference_steps: int | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        image: Picture | Sequence[Picture] | None = None,
        strength: float = 0.6,
        user_embeds: Tensor | None = None,
        batch_size: int = 16,
        output_type: str = "pil",
        callback_on_step_end: Callable[[VQLDMDopplerPipeline, int, Tensor, dict[str, Tensor]], dict[str, Tensor]]
        | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        return_dict: bool = True,
    ) -> Any:
        """Generate N = len(users) * num_images_per_user spectrograms.

        Args:
            users: Whom to generate: names, or class ids (keys of `id2label`) as int.
            num_images_per_user: Images of each.
            conditions: By name one label for all, or one for each user. What is left out is up to the model.
            guidance_scale: Pull towards the asked user and conditions; 1 is none and half the work. Above 3 the images
                of a user become alike (Ho and Salimans 2022, arXiv:2207.12598). None: as the pipeline was made for.
            num_inference_steps: Steps of the scheduler. None: as the pipeline was made for.
            generator: Seeds one generator an image, so that the batch size does not change the images; or a list of N.
            image: Make variations of this picture instead: one for all, or one for each user. PIL as the pipeline
                paints it (or grey levels), array [H, W] or [H, W, C] or tensor [C, H, W] in 0..1.
            strength: How far variations go from `image`, in (0, 1]; 1 forgets it.
            user_embeds: In place of `users`, rows of the U-Net's `embed_users` or mixes of them, float [U, D].
            batch_size: Images at once. The memory that is needed grows with it; the results do not change.
            output_type: `pil` paints; `np` and `pt` are unpainted scalars (or RGB) in 0..1; `db` is in decibels.
            callback_on_step_end: Called as (pipeline, step, timestep, {"latents": [B, C, h, w]}) after each step of
                each batch; gives back the dict, changed or not.
            callback_on_step_end_tensor_inputs: What the callback is shown; there is only `latents`.
            return_dict: False gives (images,).

        Returns:
            `VQLDMDopplerPipelineOutput`: images, and the user and seed of each.

        Raises:
            ValueError: If a user or condition is unknown, with those that are known; or an argument is out of range.
        """
        if guidance_scale is None:
            guidance_scale = float(self.config["guidance_scale"])
        if num_inference_steps is None:
            num_inference_steps = int(self.config["num_inference_steps"])
        self.check_inputs(
            users, num_images_per_user, guidance_scale, num_inference_steps, image, strength, user_embeds, batch_size,
            output_type, callback_on_step_end_tensor_inputs,
        )  # fmt: skip
        device = self._execution_device

        # 1. Who, in which conditions, from which noise
        user_ids = None if users is None else [_class_id(user, self.config["id2label"], "users") for user in users]
        if user_ids is not None:
            user_embeds = self.unet.embed_users(torch.tensor(user_ids, device=device))
        assert user_embeds is not None  # check_inputs saw to it
        num_users = len(user_embeds)
        condition_ids = self._condition_ids(conditions or {}, num_users, device)
        generators = _one_generator_an_image(generator, num_users * num_images_per_user)
        pictures = None if image is None else self.preprocess(image, num_users)

        # 2. Denoise and decode in batches
        pixels = []
        strength = 1.0 if image is None else strength
        batches = torch.arange(num_users * num_images_per_user).split(batch_size)
        steps = len(self.set_timesteps(num_inference_steps, strength, device))
        with self.progress_bar(total=len(batches) * steps) as progress_bar:  # pyright: ignore[reportCallIssue]
            for batch in batches:
                rows = batch // num_images_per_user  # of the users
                timesteps = self.set_timesteps(num_inference_steps, strength, device)
                batch_generators = [generators[index] for index in batch.tolist()]
                start = None if pictures is None else self.encode(pictures[rows])
                latents = self.denoise(
                    self.prepare_latents(batch_generators, timesteps, start, device),
                    timesteps,
                    user_embeds[rows.to(user_embeds.device)],
                    {name: values[rows.to(device)] for name, values in condition_ids.items()},
                    guidance_scale,
                    batch_generators,
                    callback_on_step_end,
                    progress_bar,
                )
                pixels.append(self.decode(latents).cpu())
        self.maybe_free_model_hooks()

        # 3. Paint
        images = self.postprocess(torch.cat(pixels), output_type)
        if not return_dict:
            return (images,)
        names = None
        if user_ids is not None:
            names = [self.config["id2label"][str(i)] for i in user_ids for _ in range(num_images_per_user)]
        return VQLDMDopplerPipelineOutput(images=images, users=names, seeds=[g.initial_seed() for g in generators])

    @torch.no_grad()
    def interpolate(
        self,
        user_a: Label,
        user_b: Label,
        num_images: int = 8,
        generator: torch.Generator | None = None,
        **settings: Any,
    ) -> Any:
        """Walk from one user to another in `num_images` equal turns, from the same noise.

        Args:
            user_a: Name or class id of the first image's user.
            user_b: The same for the last image.
            num_images: At least 2.
            generator: Seeds the one noise.
            **settings: As of `__call__`: conditions, guidance_scale, num_inference_steps, image, output_type ...

        Returns:
            What `__call__` gives.

        Raises:
            ValueError: If a user is unknown, with those that are known.
        """
        if num_images < 2:
            raise ValueError(f"num_images must be at least 2, got {num_images}")
        ids = [_class_id(user, self.config["id2label"], "users") for user in (user_a, user_b)]
        first, last = self.unet.embed_users(torch.tensor(ids, device=self._execution_device))
        seed = _one_generator_an_image(generator, 1)[0].initial_seed()
        return self(
            user_embeds=spherical_mix(first, last, torch.linspace(0, 1, num_images, device=first.device)),
            generator=[torch.Generator().manual_seed(seed) for _ in range(num_images)],
            **settings,
        )

    def check_inputs(
        self,
        users: Sequence[Label] | None,
        num_images_per_user: int,
        guidance_scale: float,
        num_inference_steps: int,
        image: Picture | Sequence[Picture] | None,
        strength: float,
        user_embeds: Tensor | None,
        batch_size: int,
        output_type: str,
        callback_on_step_end_tensor_inputs: Sequence[str],
    ) -> None:
        """Refuse what `__call__` cannot do; see there."""
        if (users is None) == (user_embeds is None):
            raise ValueError("exactly one of users and user_embeds must be given")
        if isinstance(users, (str, int)):
            raise ValueError(f"users must be a list, such as [{users!r}], got {users!r}")
        if users is not None and not users:
            raise ValueError("users must name at least one user, got none")
        for name, value in (
            ("num_images_per_user", num_images_per_user),
            ("num_inference_steps", num_inference_steps),
            ("batch_size", batch_size),
        ):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if guidance_scale < 0:
            raise ValueError(f"guidance_scale must not be negative, got {guidance_scale}")
        if not 0 < strength <= 1:
            raise ValueError(f"strength must be in (0, 1], got {strength}")
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"output_type must be among {', '.join(OUTPUT_TYPES)}, got {output_type!r}")
        if output_type == "db":
            self._check_decibels_are_known()
        if unknown := set(callback_on_step_end_tensor_inputs) - set(self._callback_tensor_inputs):
            raise ValueError(
                f"callback_on_step_end_tensor_inputs must be among {self._callback_tensor_inputs}, got {unknown}"
            )
        if self.scheduler.config.get("clip_sample"):
            raise ValueError(
                "the scheduler must not clip, because latents reach beyond [-1, 1]; "
                "make it with from_config(pipe.scheduler.config) or clip_sample=False"
            )
        if image is not None and isinstance(self.scheduler, PNDMScheduler):
            # Its warm-up is tied to the first steps: started later, it ends short of the image.
            raise ValueError(
                "variations need a scheduler that can start in the middle, such as DDIM, got PNDMScheduler"
            )

    def set_timesteps(self, num_inference_steps: int, strength: float, device: torch.device) -> Tensor:
        """Reset the scheduler and get the time steps that are left when the first 1 - strength of them are skipped."""
        self.scheduler.set_timesteps(num_inference_steps, device=device)
        skipped = num_inference_steps - max(1, round(num_inference_steps * strength))
        begin = skipped * self.scheduler.order
        if hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(begin)
        return self.scheduler.timesteps[begin:]

    def prepare_latents(
        self, generators: list[torch.Generator], timesteps: Tensor, start: Tensor | None, device: torch.device
    ) -> Tensor:
        """Noise, or `start` [B, C, h, w] noised to the first of `timesteps`; float32, one generator an image."""
        shape = (len(generators), self.unet.config.in_channels, *_sides(self.unet))
        noise = randn_tensor(shape, generator=generators, device=device, dtype=torch.float32)
        if start is None:
            return noise * getattr(self.scheduler, "init_noise_sigma", 1.0)  # flow matching has none: it starts at 1
        first = timesteps[:1].expand(len(generators))
        if hasattr(self.scheduler, "scale_noise"):
            return self.scheduler.scale_noise(start, first, noise)
        return self.scheduler.add_noise(start, noise, first)

    def denoise(
        self,
        latents: Tensor,
        timesteps: Tensor,
        user_embeds: Tensor,
        conditions: dict[str, Tensor],
        guidance_scale: float,
        generators: list[torch.Generator],
        callback_on_step_end: Callable[..., dict[str, Tensor]] | None,
        progress_bar: Any,
    ) -> Tensor:
        """Take noisy latents [B, C, h, w] of users [B, D] through all time steps; float32 in and out."""
        guided = guidance_scale != 1
        if guided:
            nobody = torch.full((len(latents),), self.unet.null_user, device=latents.device)
            user_embeds = torch.cat([user_embeds, self.unet.embed_users(nobody).to(user_embeds)])
            conditions = {
                name: torch.cat([values, torch.full_like(values, self.unet.null_conditions[name])])
                for name, values in conditions.items()
            }
        stochastic = "generator" in inspect.signature(self.scheduler.step).parameters
        for index, timestep in enumerate(timesteps):
            model_input = torch.cat([latents, latents]) if guided else latents
            if hasattr(self.scheduler, "scale_model_input"):
                model_input = self.scheduler.scale_model_input(model_input, timestep)
            prediction = self.unet(
                model_input.to(self.unet.dtype),
                timestep,
                user_embeds=user_embeds,
                conditions=conditions,
                return_dict=False,
            )[0].to(latents)
            if guided:
                asked, anyone = prediction.chunk(2)
                prediction = anyone + guidance_scale * (asked - anyone)
            latents = self.scheduler.step(
                prediction, timestep, latents, return_dict=False, **({"generator": generators} if stochastic else {})
            )[0]
            if callback_on_step_end is not None:
                latents = callback_on_step_end(self, index, timestep, {"latents": latents}).get("latents", latents)
            progress_bar.update()
        return latents

    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures in [-1, 1], float32 [B, C, H, W], to standardised latents, float32 [B, D, h, w]."""
        device = self._execution_device
        encoded = self.vqvae.encode(pictures.to(device, self.vqvae.dtype))
        # Before quantisation, or the mean: one picture always has the same latents.
        latents = (encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mode()).float()
        return (latents - self._per_channel("latent_mean", latents)) / self._per_channel("latent_std", latents)

    def decode(self, latents: Tensor) -> Tensor:
        """Standardised latents, float32 [B, D, h, w], to pictures in 0..1, float32 [B, C, H, W]."""
        latents = latents * self._per_channel("latent_std", latents) + self._per_channel("latent_mean", latents)
        pixels = latents[0, 0].numel() * self._downsampling**2
        at_once = len(latents) if latents.device.type != "cpu" else max(1, CPU_DECODED_PIXELS // pixels)
        parts = latents.to(self.vqvae.dtype).split(at_once)
        decoded = torch.cat([self.vqvae.decode(part).sample for part in parts]).float()
        return ((decoded + 1) / 2).clamp(0, 1)

    def preprocess(self, image: Picture | Sequence[Picture], num_users: int) -> Tensor:
        """One picture for all users, or one for each, as float32 [num_users, C, H, W] in [-1, 1]; see `__call__`."""
        images = list(image) if isinstance(image, Sequence) else [image] * num_users
        if len(images) != num_users:
            raise ValueError(f"image must be one picture or one for each of {num_users} users, got {len(images)}")
        channels = self.vqvae.config.in_channels
        expected = (channels, *(self._downsampling * side for side in _sides(self.unet)))
        pictures = []
        for one in images:
            pixels = self._from_pil(one) if isinstance(one, Image.Image) else _from_array(one)
            if tuple(pixels.shape) != expected:
                raise ValueError(f"images must be {expected} (channels, height, width), got {tuple(pixels.shape)}")
            pictures.append(2 * pixels - 1)
        return torch.stack(pictures)

    def postprocess(self, pixels: Tensor, output_type: str) -> list[Image.Image] | np.ndarray | Tensor:
        """Pictures in 0..1, float32 [N, C, H, W], to what `output_type` asks for."""
        if output_type == "pt":
            return pixels
        if output_type == "np":
            return pixels.permute(0, 2, 3, 1).numpy()
        if output_type == "db":
            axes = self.config["axes"]
            return (axes["db_min"] + (axes["db_max"] - axes["db_min"]) * pixels[:, 0]).numpy()
        index = (255 * pixels).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()  # [N, H, W, C]
        if index.shape[-1] == 1:
            index = index[..., 0]
            index = index if self.config["colormap"] is None else self._colour_table()[index]
        return [Image.fromarray(picture) for picture in index]

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

    @classmethod
    def _dict_from_json_file(cls, json_file: Any) -> dict[str, Any]:
        # Who calls `from_pretrained` of this very class wants this class and the models that lie beside it. The copies
        # of both in the repository need trust_remote_code, through `DiffusionPipeline.from_pretrained`.
        index = super()._dict_from_json_file(json_file)
        return index | {"_class_name": cls.__name__} if "_class_name" in index else index

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

    def to_json_string(self) -> str:
        """What model_index.json holds: our own classes as [stem of the file beside it, class]."""
        index = json.loads(super().to_json_string())
        index.pop("_name_or_path", None)  # a path of this machine
        index["_class_name"] = [_stem(type(self).__module__), type(self).__name__]
        for component, module in self._modules_of_ours().items():
            index[component][0] = _stem(module)
        return json.dumps(index, indent=2, sort_keys=True) + "\n"

    def _modules_of_ours(self) -> dict[str, str]:
        libraries = {component: self.config[component][0] for component in self.components}
        return {name: library for name, library in libraries.items() if library.partition(".")[0] != "diffusers"}

    def _condition_ids(
        self, conditions: Mapping[str, Label | Sequence[Label]], num_users: int, device: torch.device
    ) -> dict[str, Tensor]:
        known = self.config["condition_labels"] or {}
        if unknown := [name for name in conditions if name not in known]:
            raise ValueError(f"conditions must be among {', '.join(sorted(known)) or 'none'}, got {', '.join(unknown)}")
        ids = {}
        for name, asked in conditions.items():
            labels = [asked] * num_users if isinstance(asked, (str, int)) else list(asked)
            if len(labels) != num_users:
                raise ValueError(f"{name} must be one label or one for each of {num_users} users, got {len(labels)}")
            ids[name] = torch.tensor([_class_id(label, known[name], name) for label in labels], device=device)
        return ids

    @property
    def _downsampling(self) -> int:
        """Pixels a latent pixel, in height and in width."""
        return 2 ** (len(self.vqvae.config.block_out_channels) - 1)

    def _per_channel(self, fact: str, like: Tensor) -> Tensor:
        values = self.config[fact]
        return torch.tensor([values[str(channel)] for channel in range(len(values))]).to(like)[:, None, None]

    def _colour_table(self) -> np.ndarray:
        return np.frombuffer(bytes.fromhex(self.config["colormap"]["rgb_hex"]), np.uint8).reshape(256, 3)

    def _from_pil(self, image: Image.Image) -> Tensor:
        scalar = self.vqvae.config.in_channels == 1
        modes = ("L", "RGB") if scalar and self.config["colormap"] else ("L",) if scalar else ("RGB",)
        if image.mode not in modes:
            raise ValueError(f"pictures must be of mode {' or '.join(modes)}, got {image.mode}")
        pixels = torch.from_numpy(np.array(image)).float()
        if image.mode == "RGB" and scalar:
            # The colour table's nearest entry is the index that was painted.
            distances = torch.cdist(pixels.flatten(0, 1), torch.from_numpy(self._colour_table().copy()).float())
            pixels = distances.argmin(dim=-1).float().unflatten(0, pixels.shape[:2])
        pixels = pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)  # [C, H, W]
        return pixels / 255

    def _check_decibels_are_known(self) -> None:
        if missing := {"db_min", "db_max"} - set(self.config["axes"] or {}):
            raise ValueError(
                f"output_type 'db' needs axes that hold db_min and db_max, got axes without {sorted(missing)}"
            )
        if self.vqvae.config.out_channels != 1:
            raise ValueError(
                f"output_type 'db' needs a one-channel model, got {self.vqvae.config.out_channels} channels"
            )

    def _check_facts(self) -> None:
        config, unet, vqvae = self.config, self.unet.config, self.vqvae.config
        _check_labels("id2label", config["id2label"], unet.num_users)
        labels, expected = config["condition_labels"] or {}, unet.conditions or {}
        if set(labels) != set(expected):
            raise ValueError(
                f"condition_labels must name the U-Net's conditions {sorted(expected)}, got {sorted(labels)}"
            )
        for name, count in expected.items():
            _check_labels(f"condition_labels[{name!r}]", labels[name], count)
        for fact in ("latent_mean", "latent_std"):
            if set(config[fact] or {}) != {str(channel) for channel in range(unet.in_channels)}:
                raise ValueError(
                    f"{fact} must hold one number for each of {unet.in_channels} channels, got {config[fact]}"
                )
        if min(config["latent_std"].values()) <= 0:
            raise ValueError(f"latent_std must be greater than 0, got {config['latent_std']}")
        if config["colormap"] is not None:
            if vqvae.out_channels != 1:
                raise ValueError(
                    f"a colormap paints one-channel images, got a first stage of {vqvae.out_channels} channels"
                )
            if len(bytes.fromhex(config["colormap"]["rgb_hex"])) != 768:
                raise ValueError(
                    f"rgb_hex must hold 256 colours of six hex digits, got {len(config['colormap']['rgb_hex'])} digits"
                )


def spherical_mix(first: Tensor, last: Tensor, share: Tensor) -> Tensor:
    """Mix two embeddings [D] by `share` [N] in 0..1 along the arc between them, float [N, D].

    A straight line would pass nearer to the origin than any embedding the model has seen.

    Source: Shoemake 1985, "Animating rotation with quaternion curves".
    """
    a, b = first.float(), last.float()
    angle = torch.arccos(torch.nn.functional.cosine_similarity(a, b, dim=0).clamp(-1, 1))
    if angle.sin() < 1e-4:  # as good as parallel: the arc is the line
        return torch.lerp(a, b, share[:, None].float()).to(first)
    weights = torch.stack([(1 - share) * angle, share * angle], dim=1).sin() / angle.sin()  # [N, 2]
    return (weights @ torch.stack([a, b])).to(first)


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


def _class_id(label: Label, id2label: Mapping[str, str], what: str) -> int:
    ids = {name: int(key) for key, name in id2label.items()}
    if isinstance(label, str) and label in ids:
        return ids[label]
    if isinstance(label, int) and label in ids.values():
        return label
    known = ", ".join(sorted(ids, key=ids.__getitem__))
    raise ValueError(f"{what} must be among {known} (or their ids 0..{len(ids) - 1}), got {label!r}")


def _check_labels(fact: str, labels: Mapping[str, str] | None, count: int) -> None:
    if set(labels or {}) != {str(index) for index in range(count)}:
        raise ValueError(f"{fact} must name the ids '0'..'{count - 1}', got {labels}")
    if labels is not None and len(set(labels.values())) != count:
        raise ValueError(f"{fact} must hold {count} different names, got {labels}")


def _sides(unet: Any) -> tuple[int, int]:
    size = unet.config.sample_size
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _from_array(pixels: np.ndarray | Tensor) -> Tensor:
    if isinstance(pixels, np.ndarray):
        pixels = torch.from_numpy(pixels)
        pixels = pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)  # [C, H, W]
    if not pixels.is_floating_point() or pixels.min() < 0 or pixels.max() > 1:
        span = f"{pixels.min()}..{pixels.max()}"
        raise ValueError(f"arrays and tensors must be floating point in 0..1, got {pixels.dtype} in {span}")
    return pixels.float().cpu()


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
