"""Users that are loaded into a trained pipeline, beside those of its training.

The text of this file stands in the saved copy of the pipeline's file.
"""

from __future__ import annotations

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
