"""Pipeline that generates micro-Doppler spectrograms of chosen users, by diffusion in the latents of an autoencoder."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any
from unicodedata import normalize

import numpy as np
import torch
from diffusers import ModelMixin, PNDMScheduler, SchedulerMixin
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from torch import Tensor

# Text of loaded_users.py of echoform:

import hashlib
import json
from pathlib import Path
from typing import Any
from unicodedata import normalize

import torch
from diffusers import DiffusionPipeline
from huggingface_hub import hf_hub_download
from safetensors.torch import load_file
from torch import Tensor

USER_FILES = ("config.json", "user.safetensors")
"""What `echoform add-user` writes for one more user."""


class LoadedUsersMixin(DiffusionPipeline):
    """The part of `VQLDMDopplerPipeline` that loads users which `echoform add-user` learned for it."""

    unet: Any
    vqvae: Any
    _loaded: dict[int, tuple[str, dict[str, Tensor]]]
    """By class id: name and tensors of each loaded user."""

    @property
    def id2label(self) -> dict[str, str]:
        """Class id -> name of every user: those of the training, and those of `load_user`."""
        return {**self.config["id2label"], **{str(index): name for index, (name, _) in self._loaded.items()}}

    def load_user(self, source: str | Path, *, revision: str | None = None, token: str | None = None) -> str:
        """Add a user that `echoform add-user` learned for this pipeline; images of all others stay as they are.

        Args:
            source: Folder that it wrote, a file in it, or `user/name` on the Hub; no code is run.
            revision: Branch, tag or commit on the Hub.
            token: Token of the Hub; None is HF_TOKEN or the stored one.

        Returns:
            Name of the user, for calls. More users can be loaded at the same time.

        Raises:
            ValueError: If the user was learned for another pipeline or for other axes, or the name is taken.
        """
        folder = Path(source).parent if Path(source).is_file() else Path(source)
        paths = [
            folder / name if folder.is_dir() else hf_hub_download(str(source), name, revision=revision, token=token)
            for name in USER_FILES
        ]
        facts = json.loads(Path(paths[0]).read_text(encoding="utf-8"))
        if not isinstance(facts, dict) or not {"user", "base", "base_model", "axes"} <= facts.keys():
            raise ValueError(f"{source} must hold a user that `echoform add-user` learned, its config.json has no base")
        name, own, dtype = facts["user"], self.config["axes"], self.unet.dtype
        if not isinstance(facts["base"], dict) or facts["base"].get(str(dtype)) != self.base_hash(dtype):
            raise ValueError(f"{source} was learned for {facts['base_model']!s:.200}, this is another pipeline")
        if facts["axes"] != own:
            raise ValueError(f"{source} was learned with axes {facts['axes']!s:.200}, this pipeline has {own}")
        self.unet.check_user(name, tensors := load_file(paths[1]))
        if normalize("NFC", name) in {normalize("NFC", known) for known in self.id2label.values()}:
            raise ValueError(f"users must have different names, this pipeline has a {name} already")
        self._loaded[max(map(int, self.id2label)) + 1] = name, tensors
        return name

    def save_pretrained(self, save_directory: Any, **settings: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """As for every pipeline; raises ValueError while users are loaded, because they are not saved with it."""
        if loaded := ", ".join(name for name, _ in self._loaded.values()):
            raise ValueError(f"loaded users are not saved with a pipeline, unload_user must come first for {loaded}")
        super().save_pretrained(save_directory, **settings)

    def unload_user(self, name: str) -> None:
        """Remove a user of `load_user`, by name; raises ValueError if there is none of that name."""
        loaded = {normalize("NFC", user): index for index, (user, _) in self._loaded.items()}
        if normalize("NFC", name) not in loaded:
            raise ValueError(f"only loaded users can be unloaded, {', '.join(loaded) or 'none'}, got {name!r}")
        del self._loaded[loaded[normalize("NFC", name)]]

    def base_hash(self, dtype: torch.dtype) -> str:
        """Hash of all that a user is learned for: weights, as numbers of a type, and how latents are standardised."""
        facts = {name: self.config[name] for name in ("latent_mean", "latent_std", "prediction_type")}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        for name, value in (*self.unet.state_dict().items(), *self.vqvae.state_dict().items()):
            value = value.to(dtype if value.is_floating_point() else value.dtype).cpu().contiguous()
            digest.update(name.encode() + value.reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def _embed_users(self, user_ids: list[int], device: torch.device) -> Tensor:
        """Embeddings [U, D] of users of the training and of `load_user`."""
        known = [self.unet.null_user if index in self._loaded else index for index in user_ids]
        embeds = self.unet.embed_users(torch.tensor(known, device=device))
        for row, index in enumerate(user_ids):
            if index in self._loaded:
                embeds[row] = self._loaded[index][1]["embedding"].to(embeds)
        return embeds

# Text of pipeline_vq_ldm_doppler.py of echoform:

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

# Text of pipeline_vq_ldm_doppler.py of echoform:

OUTPUT_TYPES = ("pil", "np", "pt", "db", "latent")
CPU_DECODED_PIXELS = 65_536
"""Pixels that a CPU decodes at once; feature maps of more pixels do not fit into its caches and slow it down."""

Label = str | int
ImageInput = Image.Image | np.ndarray | Tensor
Generators = torch.Generator | list[torch.Generator] | None
StepCallback = Callable[[Any, int, Tensor, dict[str, Tensor]], dict[str, Tensor]]


@dataclass
class VQLDMDopplerPipelineOutput(BaseOutput):
    """Generated spectrograms, `num_images_per_user` of the first user, then of the second, and so on."""

    images: list[Image.Image] | np.ndarray | Tensor
    """List of N for `pil`; float32 [N, H, W, C] for `np`, [N, C, H, W] for `pt` and `latent`, [N, H, W] for `db`."""

    users: list[str] | None
    """Label of each image's user; None if the caller gave embeddings."""

    seeds: list[int]
    """Seed of each image; a call for this image alone makes it again with `torch.Generator().manual_seed(seed)`."""


class VQLDMDopplerPipeline(LoadedUsersMixin, SelfContainedPipeline):
    """Generate spectrograms of the users it was trained on.

    A U-Net denoises standardised latents, the first stage decodes them to one scalar channel (or RGB), and the pipeline
    paints the scalar with the colours of the training images. H is frequency (row 0 is the highest Doppler), W is time.

    Example:
        >>> pipe = DiffusionPipeline.from_pretrained("user/model", trust_remote_code=True)
        >>> images = pipe(users=["ID_3", 7], num_images_per_user=4, generator=torch.Generator().manual_seed(0)).images

    Args:
        vqvae: First stage, from [B, C, H, W] in [-1, 1] to latents and back: a `VQModel`, an `AutoencoderKL`, or a
            `BlockDCT`, which makes the U-Net one of pixels. The name is that of diffusers' `LDMTextToImagePipeline`.
        unet: `DopplerUNet2DModel`, or a model with the same `forward` and public methods.
        scheduler: Any scheduler of diffusers whose `step` needs only prediction, time step and sample.
        id2label: Class id -> name of every user, as {"0": "ID_1", ...}; keys are strings because JSON has no others.
        condition_labels: The same for each further condition, as {"direction": {"0": "away", "1": "towards"}}.
        latent_mean: Mean of each latent channel over the training set, as {"0": 0.1, ...}.
        latent_std: What each latent channel is divided by, its standard deviation or near it, greater than 0.
        colormap: How to paint a one-channel image, as {"name": "jet", "rgb_hex": 256 colours of six hex digits};
            None if images are grey or RGB.
        axes: What rows, columns and values stand for, such as `window_s`, `doppler_min_hz`, `doppler_max_hz`, `db_min`
            and `db_max` (decibels of index 0 and 255).
        num_inference_steps: Default steps of a call; a distilled U-Net was trained for exactly so many.
        guidance_scale: Default guidance of a call; 1 if guidance is built into the U-Net.
        prediction_type: What the U-Net was trained to predict, see `predicted_for`; None is what `scheduler` is for.

    Raises:
        ValueError: If a fact is missing or does not fit the models.
    """

    model_cpu_offload_seq = "unet->vqvae"
    _exclude_from_cpu_offload = ("vqvae",)  # layer by layer; VQModel reads its codebook outside of the layer's call
    _callback_tensor_inputs = ("latents",)
    _guidance_scale = 1.0
    _num_timesteps = 0
    vqvae: Any
    unet: Any
    scheduler: Any

    def __init__(
        # diffusers takes arguments without a default for components.
        self, vqvae: ModelMixin, unet: ModelMixin, scheduler: SchedulerMixin,
        id2label: dict[str, str] | None = None, condition_labels: dict[str, dict[str, str]] | None = None,
        latent_mean: dict[str, float] | None = None, latent_std: dict[str, float] | None = None,
        colormap: dict[str, str] | None = None, axes: dict[str, float] | None = None,
        num_inference_steps: int = 8, guidance_scale: float = 1.5, prediction_type: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        components = {"vqvae": vqvae, "unet": unet, "scheduler": scheduler}
        if missing := [name for name, component in components.items() if component is None]:
            raise ValueError(f"{missing[0]} must be given, got None")
        for model in (vqvae, unet):
            unet.check_weights(model)
        self.register_modules(**components)
        self._loaded = {}
        if "clip_sample" not in self.scheduler.config and self.scheduler.has_compatibles:
            # Standardised latents reach beyond [-1, 1]. DDIM and DDPM clip there by default, so that a scheduler made
            # with `from_config` must find the setting.
            self.scheduler.register_to_config(clip_sample=False)
        self.register_to_config(
            id2label=id2label, condition_labels=condition_labels, latent_mean=latent_mean, latent_std=latent_std,
            colormap=colormap, axes=axes, num_inference_steps=num_inference_steps, guidance_scale=guidance_scale,
            prediction_type=prediction_type or predicted_for(scheduler),
        )  # fmt: skip
        self._check_facts()

    @torch.no_grad()
    def __call__(
        self, users: Sequence[Label] | None = None, num_images_per_user: int = 1,
        conditions: Mapping[str, Label | Sequence[Label]] | None = None,
        guidance_scale: float | None = None, num_inference_steps: int | None = None,
        generator: Generators = None,
        image: ImageInput | Sequence[ImageInput] | None = None, strength: float = 0.6,
        user_embeds: Tensor | None = None, batch_size: int = 16, output_type: str = "pil",
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",), return_dict: bool = True,
    ) -> Any:  # fmt: skip
        """Generate N = len(users) * num_images_per_user spectrograms.

        Args:
            users: Users to generate, those of `load_user` too: names, or class ids (keys of `id2label`) as int.
            num_images_per_user: Images of each user.
            conditions: By name one label for all users, or one per user. A missing condition gets its null class.
            guidance_scale: Strength of classifier-free guidance; 1 is none and halves the work. Above 3 a user's images
                become alike (Ho and Salimans 2022, arXiv:2207.12598). None is the pipeline's default.
            num_inference_steps: Steps of the scheduler. None is the pipeline's default.
            generator: Seeds one generator per image, so that the batch size does not change the images; or a list of N.
                A new generator for a single image is the generator of that image.
            image: Make variations of this image instead: one for all users, or one per user. PIL as the pipeline
                paints it (or grey levels), array [H, W] or [H, W, C] or tensor [C, H, W] in 0..1.
            strength: How far variations go from `image`, in (0, 1]; 1 keeps nothing of it.
            user_embeds: In place of `users`, rows of the U-Net's `embed_users` or mixes of them, float [U, D].
            batch_size: Images at once. Memory grows with it; the results do not change.
            output_type: `pil` paints; `np` and `pt` are unpainted scalars (or RGB) in 0..1; `db` is in decibels;
                `latent` is not decoded.
            callback_on_step_end: Called as (pipeline, step, timestep, {"latents": [B, C, h, w]}) after each step of
                each batch; returns the dict, changed or not. It may set `pipeline._guidance_scale`; 1 ends guidance.
            callback_on_step_end_tensor_inputs: What the callback is given; there is only `latents`.
            return_dict: False gives (images,).

        Returns:
            `VQLDMDopplerPipelineOutput`: images, and the user and seed of each.

        Raises:
            ValueError: If a user or condition is unknown, with those that are known; or an argument is out of range.
        """
        guidance = self.config["guidance_scale"] if guidance_scale is None else guidance_scale
        steps = self.config["num_inference_steps"] if num_inference_steps is None else num_inference_steps
        self._check_steps(steps)
        for name, count in (("num_images_per_user", num_images_per_user), ("batch_size", batch_size)):
            if not isinstance(count, int) or count < 1:
                raise ValueError(f"{name} must be at least 1, got {count!r}")
        self.check_inputs(users, user_embeds, guidance, image, strength, output_type)
        if unknown := set(callback_on_step_end_tensor_inputs) - set(self._callback_tensor_inputs):
            raise ValueError(f"callback_on_step_end_tensor_inputs may name only latents, got {unknown}")
        device = self._execution_device

        # 1. Labels become class ids and embeddings, and every image gets a generator of its own.
        user_ids = None
        if users is not None:
            user_ids = [_class_id(user, self.id2label, "users") for user in users]
            user_embeds = self._embed_users(user_ids, device)
        assert user_embeds is not None  # check_inputs raises if both are None
        num_users = len(user_embeds)
        loaded = [self._loaded[index][1] if index in self._loaded else {} for index in user_ids or [-1] * num_users]
        condition_ids = self._condition_ids(conditions or {}, num_users, device)
        generators = _per_image_generators(generator, num_users * num_images_per_user)
        sources = None if image is None else self.preprocess(image, num_users)

        # 2. Batches are denoised and decoded one after another.
        pixels = []
        strength = 1.0 if image is None else strength
        batches = torch.arange(num_users * num_images_per_user).split(batch_size)
        total = len(batches) * len(self.set_timesteps(steps, strength, device))
        with self.progress_bar(total=total) as progress_bar:  # pyright: ignore[reportCallIssue]
            for batch in batches:
                rows = batch // num_images_per_user  # index of each image's user
                timesteps = self.set_timesteps(steps, strength, device)
                batch_generators = [generators[index] for index in batch.tolist()]
                start = None if sources is None else self.encode(sources[rows])
                noisy = self.prepare_latents(batch_generators, timesteps, start, device)
                embeds = user_embeds[rows.to(user_embeds.device)]
                batch_ids = {name: ids[rows.to(device)] for name, ids in condition_ids.items()}
                with self.unet.adapted([loaded[row] for row in rows.tolist()]) if any(loaded) else nullcontext():
                    latents = self.denoise(
                        noisy, timesteps, embeds, batch_ids, guidance, batch_generators,
                        callback_on_step_end, progress_bar, callback_on_step_end_tensor_inputs,
                    )  # fmt: skip
                pixels.append((latents if output_type == "latent" else self.decode(latents)).cpu())
        self.maybe_free_model_hooks()

        # 3. Pixels take the form that `output_type` names.
        images = self.postprocess(torch.cat(pixels), output_type)
        if not return_dict:
            return (images,)
        names = None
        if user_ids is not None:
            names = [self.id2label[str(i)] for i in user_ids for _ in range(num_images_per_user)]
        return VQLDMDopplerPipelineOutput(images=images, users=names, seeds=[g.initial_seed() for g in generators])

    def __repr__(self) -> str:
        return re.sub('"[0-9a-fA-F]{1536}"', '"256 colours"', super().__repr__())

    @property
    def guidance_scale(self) -> float:
        """Guidance of the next step of the call that runs, or ran last."""
        return self._guidance_scale

    @property
    def num_timesteps(self) -> int:
        """Steps per batch of the call that runs, or ran last."""
        return self._num_timesteps

    @torch.no_grad()
    def interpolate(
        self, user_a: Label, user_b: Label, num_images: int = 8, generator: torch.Generator | None = None,
        **settings: Any,
    ) -> Any:  # fmt: skip
        """Images from the same noise for `num_images` embeddings, evenly spaced on the arc between two users.

        The first image is of `user_a`, the last of `user_b`, each a name or class id; `generator` seeds their noise.
        `settings` are arguments of `__call__`, which documents what is returned and raised.
        """
        if num_images < 2:
            raise ValueError(f"num_images must be at least 2, got {num_images}")
        ids = [_class_id(user, self.config["id2label"], "users") for user in (user_a, user_b)]
        first, last = self.unet.embed_users(torch.tensor(ids, device=self._execution_device))
        seed = _per_image_generators(generator, 1)[0].initial_seed()
        return self(
            user_embeds=self.unet.mix_users(first, last, torch.linspace(0, 1, num_images, device=first.device)),
            generator=[torch.Generator().manual_seed(seed) for _ in range(num_images)],
            **settings,
        )

    def check_inputs(
        self, users: Sequence[Label] | None, user_embeds: Tensor | None, guidance_scale: float,
        image: ImageInput | Sequence[ImageInput] | None, strength: float, output_type: str,
    ) -> None:  # fmt: skip
        """Raise ValueError for arguments of `__call__` that are out of range and schedulers that cannot be used."""
        if (users is None) == (user_embeds is None):
            raise ValueError("exactly one of users and user_embeds must be given")
        if isinstance(users, (str, int)):
            raise ValueError(f"users must be a list, such as [{users!r}], got {users!r}")
        if users is not None and not users:
            raise ValueError("users must name at least one user, got none")
        _check_guidance(guidance_scale)
        if not 0 < strength <= 1:
            raise ValueError(f"strength must be in (0, 1], got {strength}")
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"output_type must be among {', '.join(OUTPUT_TYPES)}, got {output_type!r}")
        if output_type == "db" and (missing := {"db_min", "db_max"} - set(self.config["axes"] or {})):
            raise ValueError(f"output_type 'db' needs axes with db_min and db_max, got axes without {sorted(missing)}")
        if output_type == "db" and (channels := self.vqvae.config.out_channels) != 1:
            raise ValueError(f"output_type 'db' needs a one-channel model, got {channels} channels")
        # Both clip at -1 and 1, which latents exceed.
        if self.scheduler.config.get("clip_sample") or self.scheduler.config.get("thresholding"):
            raise ValueError("the scheduler must not clip: make it with from_config(pipe.scheduler.config)")
        self._check_scheduler()
        if image is not None and isinstance(self.scheduler, PNDMScheduler):
            # PNDM counts its warm-up from the first time step; started later, it stops before the last one.
            raise ValueError("variations need a scheduler that can start in the middle, such as DDIM, got PNDM")

    def set_timesteps(self, num_inference_steps: int, strength: float, device: torch.device) -> Tensor:
        """Reset the scheduler and return its time steps without the first 1 - strength of them."""
        self.scheduler.set_timesteps(num_inference_steps, device=device)
        skipped = num_inference_steps - max(1, round(num_inference_steps * strength))
        begin = skipped * self.scheduler.order
        if hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(begin)
        return self.scheduler.timesteps[begin:]

    def prepare_latents(
        self, generators: list[torch.Generator], timesteps: Tensor, start: Tensor | None, device: torch.device
    ) -> Tensor:
        """Noise, or `start` [B, C, h, w] noised to the first of `timesteps`; float32, one generator per image."""
        shape = (len(generators), self.unet.config.in_channels, *_sides(self.unet))
        noise = randn_tensor(shape, generator=generators, device=device, dtype=torch.float32)
        if start is None:
            return noise * getattr(self.scheduler, "init_noise_sigma", 1.0)  # flow matching has none and starts at 1
        first = timesteps[:1].expand(len(generators))
        if hasattr(self.scheduler, "scale_noise"):
            return self.scheduler.scale_noise(start, first, noise)
        return self.scheduler.add_noise(start, noise, first)

    def denoise(
        self, latents: Tensor, timesteps: Tensor, user_embeds: Tensor, conditions: dict[str, Tensor],
        guidance_scale: float, generators: list[torch.Generator], callback_on_step_end: StepCallback | None,
        progress_bar: Any, tensor_inputs: Sequence[str] = ("latents",),
    ) -> Tensor:  # fmt: skip
        """Take noisy latents [B, C, h, w] of users [B, D] through all time steps; float32 in and out."""
        # Some schedulers draw noise in every step and take generators for it.
        stochastic = "generator" in inspect.signature(self.scheduler.step).parameters
        step_settings = {"generator": generators} if stochastic else {}
        # Set for every batch, because a callback may have changed it.
        self._guidance_scale, self._num_timesteps = guidance_scale, len(timesteps)
        for index, timestep in enumerate(timesteps):
            # Guidance runs the U-Net on a second half of the batch, without user and conditions. A callback may end it.
            guided = self.guidance_scale != 1
            embeds, ids = self.unet.with_null_classes(user_embeds, conditions) if guided else (user_embeds, conditions)
            model_input = torch.cat([latents, latents]) if guided else latents
            if hasattr(self.scheduler, "scale_model_input"):
                model_input = self.scheduler.scale_model_input(model_input, timestep)
            model_input = model_input.to(self.unet.dtype)
            labels = {"user_embeds": embeds, "conditions": ids}
            prediction = self.unet(model_input, timestep, **labels, return_dict=False)[0].to(latents)
            if guided:
                conditional, unconditional = prediction.chunk(2)
                prediction = unconditional + self.guidance_scale * (conditional - unconditional)
            latents = self.scheduler.step(prediction, timestep, latents, return_dict=False, **step_settings)[0]
            if callback_on_step_end is not None:
                given = {"latents": latents} if "latents" in tensor_inputs else {}
                changed = callback_on_step_end(self, index, timestep, given)
                if not isinstance(changed, dict):
                    raise ValueError(f"callback_on_step_end must return its dict of tensors, got {changed!r:.80}")
                latents = changed.get("latents", latents)
            progress_bar.update()
        return latents

    def encode(self, images: Tensor) -> Tensor:
        """Images in [-1, 1], float32 [B, C, H, W], to standardised latents, float32 [B, D, h, w]."""
        encoded = self.vqvae.encode(images.to(self._execution_device, self.vqvae.dtype))
        # Before quantisation, or the mean, so that an image always has the same latents.
        latents = (encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mode()).float()
        return (latents - self._per_channel("latent_mean", latents)) / self._per_channel("latent_std", latents)

    def decode(self, latents: Tensor) -> Tensor:
        """Standardised latents, float32 [B, D, h, w], to images in 0..1, float32 [B, C, H, W]."""
        latents = latents * self._per_channel("latent_std", latents) + self._per_channel("latent_mean", latents)
        pixels = latents[0, 0].numel() * self._downsampling**2
        at_once = len(latents) if latents.device.type != "cpu" else max(1, CPU_DECODED_PIXELS // pixels)
        parts = latents.to(self.vqvae.dtype).split(at_once)
        decoded = torch.cat([self.vqvae.decode(part).sample for part in parts]).float()
        return ((decoded + 1) / 2).clamp(0, 1)

    def preprocess(self, image: ImageInput | Sequence[ImageInput], num_users: int) -> Tensor:
        """One image for all users, or one per user, as float32 [num_users, C, H, W] in [-1, 1]; see `__call__`."""
        images = list(image) if isinstance(image, Sequence) else [image] * num_users
        if len(images) != num_users:
            raise ValueError(f"image must be one image or one for each of {num_users} users, got {len(images)}")
        expected = (self.vqvae.config.in_channels, *(self._downsampling * side for side in _sides(self.unet)))
        scaled = []
        for one in images:
            pixels = self._from_pil(one) if isinstance(one, Image.Image) else _from_array(one)
            if tuple(pixels.shape) != expected:
                raise ValueError(f"images must be {expected} (channels, height, width), got {tuple(pixels.shape)}")
            scaled.append(2 * pixels - 1)
        return torch.stack(scaled)

    def postprocess(self, pixels: Tensor, output_type: str) -> list[Image.Image] | np.ndarray | Tensor:
        """Images in 0..1, float32 [N, C, H, W], in the form that `output_type` names; see `__call__`."""
        if output_type in ("pt", "latent"):
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
        return [Image.fromarray(one) for one in index]

    def _condition_ids(
        self, conditions: Mapping[str, Label | Sequence[Label]], num_users: int, device: torch.device
    ) -> dict[str, Tensor]:
        """Class id of each user's value, int64 [num_users], by condition."""
        known = self.config["condition_labels"] or {}
        if unknown := [name for name in conditions if name not in known]:
            raise ValueError(f"conditions must be among {', '.join(sorted(known)) or 'none'}, got {', '.join(unknown)}")
        ids = {}
        for name, given in conditions.items():
            labels = [given] * num_users if isinstance(given, (str, int)) else list(given)
            if len(labels) != num_users:
                raise ValueError(f"{name} must be one label or one for each of {num_users} users, got {len(labels)}")
            ids[name] = torch.tensor([_class_id(label, known[name], name) for label in labels], device=device)
        return ids

    @property
    def _downsampling(self) -> int:
        """Pixels per latent pixel, in height and in width."""
        config = self.vqvae.config
        return config.get("block_size") or 2 ** (len(config.block_out_channels) - 1)

    def _per_channel(self, fact: str, like: Tensor) -> Tensor:
        values = self.config[fact]
        return torch.tensor([values[str(channel)] for channel in range(len(values))]).to(like)[:, None, None]

    def _colour_table(self) -> np.ndarray:
        return np.frombuffer(bytes.fromhex(self.config["colormap"]["rgb_hex"]), np.uint8).reshape(256, 3)

    def _from_pil(self, image: Image.Image) -> Tensor:
        """Pixels in 0..1, float32 [C, H, W]; painted colours become the scalar that they stand for."""
        scalar = self.vqvae.config.in_channels == 1
        modes = ("L", "RGB") if scalar and self.config["colormap"] else ("L",) if scalar else ("RGB",)
        if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
            image = image.convert("RGB")
        if image.mode not in modes:
            raise ValueError(f"images must be of mode {' or '.join(modes)}, got {image.mode}")
        pixels = torch.from_numpy(np.array(image)).float()
        if image.mode == "RGB" and scalar:
            pixels = torch.cdist(pixels, torch.tensor(self._colour_table())[None].float()).argmin(dim=-1).float()
        return (pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)) / 255  # [C, H, W]

    def _check_facts(self) -> None:
        config, channels = self.config, self.unet.config.in_channels
        with suppress(ModuleNotFoundError):  # without echoform nobody builds pipelines
            checks: Any = import_module("echoform.checks")
            checks.check_colormap(config["colormap"], self.vqvae.config.out_channels)
        self.unet.check_class_names(config["id2label"], config["condition_labels"])
        check_axes(config["axes"])
        self._check_scheduler()
        # Statistics standardise every latent channel.
        if self.vqvae.config.latent_channels != channels:
            both = f"{self.vqvae.config.latent_channels} and {channels}"
            raise ValueError(f"the latents of vqvae and unet must have as many channels, got {both}")
        check_statistics("latent_mean", config["latent_mean"], channels)
        check_statistics("latent_std", config["latent_std"], channels)
        if min(config["latent_std"].values()) <= 0:
            raise ValueError(f"latent_std must be greater than 0, got {config['latent_std']}")
        self._check_steps(config["num_inference_steps"])
        _check_guidance(config["guidance_scale"])

    def _check_scheduler(self) -> None:
        given, trained = predicted_for(self.scheduler), self.config["prediction_type"]
        if given != trained:
            rule = f"the scheduler must be for {trained}, as the U-Net was trained: make it with from_config"
            raise ValueError(f"{rule}(pipe.scheduler.config), got one for {given}")

    def _check_steps(self, steps: Any) -> None:
        most = self.scheduler.config.num_train_timesteps
        if not isinstance(steps, int) or not 1 <= steps <= most:
            raise ValueError(f"num_inference_steps must be in 1..{most}, the scheduler's training steps, got {steps!r}")


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


def _class_id(label: Label, id2label: Mapping[str, str], what: str) -> int:
    ids = {normalize("NFC", name): int(key) for key, name in id2label.items()}
    if isinstance(label, str) and normalize("NFC", label) in ids:
        return ids[normalize("NFC", label)]
    if isinstance(label, int) and label in ids.values():
        return label
    known = ", ".join(sorted(ids, key=ids.__getitem__))
    raise ValueError(f"{what} must be among {known} (or their ids 0..{max(ids.values())}), got {label!r}")


def _check_guidance(scale: Any) -> None:
    if not isinstance(scale, (int, float)) or not 0 <= scale < math.inf:
        raise ValueError(f"guidance_scale must not be negative, got {scale!r}")


def check_axes(axes: Any) -> None:
    """Raise ValueError unless axes are finite numbers, lengths in seconds above 0 and ranges that go upwards."""
    if not isinstance(axes := {} if axes is None else axes, dict):
        raise ValueError(f"axes must be a mapping, got {axes!r:.80}")
    for name, value in axes.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"axes must hold numbers, got {name} = {value!r:.80}")
        if name.endswith("_s") and value <= 0:
            raise ValueError(f"{name} in axes must be greater than 0, got {value}")
    for low, high in ((name, name.replace("_min", "_max")) for name in axes if "_min" in name):
        if high in axes and not axes[low] < axes[high]:
            raise ValueError(f"axes must go upwards, got {low} = {axes[low]} and {high} = {axes[high]}")


def predicted_for(scheduler: Any) -> str:
    """What a scheduler takes a U-Net to predict: epsilon, sample, v_prediction or flow_prediction."""
    if hasattr(scheduler, "scale_noise") or scheduler.config.get("use_flow_sigmas"):
        return "flow_prediction"
    # Without this table, a scheduler scales what the U-Net gets and predicts in a way of its own.
    known = hasattr(scheduler, "alphas_cumprod") and "prediction_type" in scheduler.config
    return scheduler.config.prediction_type if known else type(scheduler).__name__


def check_statistics(fact: str, values: Any, channels: int) -> None:
    """Raise ValueError unless a fact holds a finite number for every channel."""
    if not isinstance(values, dict) or set(values) != {str(channel) for channel in range(channels)}:
        raise ValueError(f"{fact} must hold one number for each of {channels} channels, got {values!r:.80}")
    if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in values.values()):
        raise ValueError(f"{fact} must be finite, got {values!r:.80}")


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
