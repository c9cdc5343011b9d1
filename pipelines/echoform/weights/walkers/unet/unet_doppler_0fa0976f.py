"""The denoiser: a U-Net over spectrogram latents for chosen users, with attention along time and Doppler frequency."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.downsampling import Downsample2D
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d import UNet2DOutput
from diffusers.models.upsampling import Upsample2D
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

# Text of model_checks.py of echoform:

from collections.abc import Mapping, Sequence
from typing import Any
from unicodedata import normalize

from torch import nn


def check_name(what: str, name: Any) -> None:
    """Raise ValueError unless a name is text that people can read and that a folder of images can have."""
    if not isinstance(name, str):
        raise ValueError(f"{what} must be text, got {name!r:.80}")
    if not name.strip() or not name.isprintable() or len(name.encode()) > 100:
        raise ValueError(f"{what} must be 1 to 100 printable characters, got {name!r:.80}")
    if set(name) & {"/", "\\"} or name.lower() in (".", "..", "metadata.jsonl"):
        raise ValueError(f"{what} must be a name that a folder of images can have, got {name!r}")


def check_names(fact: str, labels: Any, count: int) -> None:
    """Raise ValueError unless a fact gives the ids '0'..'count - 1' names that differ, also in one Unicode form."""
    if not isinstance(labels, dict) or set(labels) != {str(index) for index in range(count)}:
        raise ValueError(f"{fact} must name the ids '0'..'{count - 1}', got {labels!r:.80}")
    for name in labels.values():
        check_name(f"{fact}: a name", name)
    if len({normalize("NFC", name) for name in labels.values()}) < count:
        raise ValueError(f"{fact} must hold {count} different names, got {labels!r:.80}")


def check_limits(settings: Mapping[str, Any], limits: Mapping[str, Sequence[float]]) -> None:
    """Raise ValueError unless every setting that `limits` names is a number from its lowest to its highest value.

    Limits that are whole are for whole numbers, and limits in a list are for lists of 1 to 16 numbers.
    """
    for name, (low, high) in limits.items():
        value, several = settings[name], isinstance(limits[name], list)
        items: Any = value if several else [value]
        whole, kind = ("whole ", int) if isinstance(low, int) else ("", (int, float))
        counted = isinstance(items, (list, tuple)) and 1 <= len(items) <= 16
        if not counted or not all(isinstance(n, kind) and not isinstance(n, bool) and low <= n <= high for n in items):
            what = f"1 to 16 {whole}numbers" if several else f"a {whole}number"
            raise ValueError(f"{name} must be {what} in {low}..{high}, got {value!r:.80}")


def check_weights(model: nn.Module) -> None:
    """Raise ValueError if weights of a model are missing, NaN or infinite; reads each of them once."""
    offloaded = any(hasattr(module, "_hf_hook") for module in model.modules())
    for name, value in model.state_dict().items():
        if value.is_meta and not offloaded:
            raise ValueError(f"weights of {type(model).__name__} must be complete, {name} is missing")
        # One byte per number has no isfinite.
        if not value.is_meta and not (value.float() if value.element_size() == 1 else value).isfinite().all():
            raise ValueError(f"weights of {type(model).__name__} must be finite, {name} holds NaN or inf")

# Text of unet_doppler.py of echoform:

ATTENTION_TYPES = ("none", "window", "axial")
CONDITIONINGS = ("embedding", "cross-attention")
LIMITS: dict[str, Sequence[float]] = {
    "num_users": (1, 100_000),
    "sample_size": [1, 1024],
    "in_channels": (1, 1024),
    "out_channels": (1, 1024),
    "block_out_channels": [1, 4096],
    "layers_per_block": (1, 32),
    "window_size": (1, 1024),
    "num_attention_heads": (1, 256),
    "norm_num_groups": (1, 1024),
    "dropout": (0.0, 1.0),
    "label_tokens": (1, 256),
}
"""Lowest and highest value of each number among the settings; see `check_limits`."""


def rotate_by_position(features: Tensor) -> Tensor:
    """Rotate pairs of features by angles that grow with the position, so that dot products depend on distances.

    Half of the pairs rotate with frequency (H), half with time (W). Wavelengths run from 6 to some 600 tokens, which
    suits maps of 4 to 64 tokens per side. The map may have any size, and no parameters are needed.

    Args:
        features: [B, H, W, ..., D] with D divisible by 4.

    Returns:
        The same shape and dtype.

    Source: rotary embeddings, Su et al. 2021 (arXiv:2104.09864), equation 34, along two axes.
    """
    height, width, pairs = features.shape[1], features.shape[2], features.shape[-1] // 4
    turns = 100.0 ** (-torch.arange(pairs, device=features.device) / pairs)
    rows = torch.arange(height, device=features.device)[:, None, None] * turns  # [H, 1, D/4]
    columns = torch.arange(width, device=features.device)[None, :, None] * turns  # [1, W, D/4]
    angles = torch.cat([rows.expand(-1, width, -1), columns.expand(height, -1, -1)], dim=-1)  # [H, W, D/2]
    angles = angles.reshape(height, width, *[1] * (features.ndim - 4), 2 * pairs)
    cos, sin = angles.cos().to(features.dtype), angles.sin().to(features.dtype)
    first, second = features.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


def attend(qkv: Tensor) -> Tensor:
    """Softmax attention inside each sequence: [S, length, 3, heads, D] -> [S, length, heads, D]."""
    query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each [S, heads, length, D]
    if qkv.device.type == "cpu":
        # Written out, because the CPU's fused kernel is much slower on sequences as short as these.
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        return (scores.softmax(dim=-1) @ value).transpose(1, 2)
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2)


def attend_in_windows(qkv: Tensor, window_size: int) -> Tensor:
    """Attention among the tokens of each square window: [B, H, W, 3, heads, D] -> [B, H, W, heads, D]."""
    batch, height, width = qkv.shape[:3]
    tall, wide = min(window_size, height), min(window_size, width)
    tiles = qkv.unflatten(2, (-1, wide)).unflatten(1, (-1, tall)).transpose(2, 3)  # [B, H/tall, W/wide, tall, wide, ..]
    attended = attend(tiles.flatten(3, 4).flatten(0, 2))
    tiles = attended.unflatten(0, (batch, height // tall, width // wide)).unflatten(3, (tall, wide))
    return tiles.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def attend_along_axes(qkv: Tensor) -> Tensor:
    """Half of the heads attend along time, half along frequency: [B, H, W, 3, heads, D] -> [B, H, W, heads, D]."""
    batch, height, width = qkv.shape[:3]
    along_time, along_frequency = qkv.chunk(2, dim=-2)
    rows = attend(along_time.flatten(0, 1)).unflatten(0, (batch, height))
    columns = attend(along_frequency.transpose(1, 2).flatten(0, 1)).unflatten(0, (batch, width)).transpose(1, 2)
    return torch.cat([rows, columns], dim=-2)


class DopplerAttention(nn.Module):
    """Multi-head attention over a map [B, C, H, W], added to the input.

    Type `window` looks at the texture around a token; neighbouring windows exchange information through the
    convolutions in between. Type `axial` looks along the token's row (this Doppler frequency at other times) and its
    column (other Doppler frequencies at this time).
    """

    def __init__(
        self, channels: int, attention_type: str, num_heads: int, window_size: int, norm_num_groups: int
    ) -> None:
        super().__init__()
        self.attention_type = attention_type
        self.num_heads = num_heads
        self.window_size = window_size
        self.norm = nn.GroupNorm(norm_num_groups, channels)
        self.to_qkv = nn.Linear(channels, 3 * channels)
        self.to_out = nn.Linear(channels, channels)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """[B, C, H, W] in and out."""
        grid = self.norm(hidden_states).permute(0, 2, 3, 1)  # [B, H, W, C]
        qkv = self.to_qkv(grid).unflatten(-1, (3, self.num_heads, -1))  # [B, H, W, 3, heads, D]
        query_key, value = qkv.split((2, 1), dim=3)
        qkv = torch.cat([rotate_by_position(query_key), value], dim=3)
        windowed = self.attention_type == "window"
        attended = attend_in_windows(qkv, self.window_size) if windowed else attend_along_axes(qkv)
        return hidden_states + self.to_out(attended.flatten(-2)).permute(0, 3, 1, 2)


class LabelAttention(nn.Module):
    """Attention of every position of a map [B, C, H, W] to the learned tokens of user and conditions, added to the map.

    Source: the cross-attention of latent diffusion, Rombach et al. 2022 (arXiv:2112.10752), section 3.3.
    """

    def __init__(self, channels: int, token_channels: int, num_heads: int, norm_num_groups: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.GroupNorm(norm_num_groups, channels)
        self.to_query = nn.Linear(channels, channels)
        # No bias: in the keys it would add the same to all scores, which softmax ignores.
        self.to_key_value = nn.Linear(token_channels, 2 * channels, bias=False)
        self.to_out = nn.Linear(channels, channels)

    def forward(self, hidden_states: Tensor, tokens: Tensor) -> Tensor:
        """Map [B, C, H, W] and tokens [B, K, token_channels] to [B, C, H, W]."""
        sides = hidden_states.shape[-2:]
        query = self.to_query(self.norm(hidden_states).flatten(2).transpose(1, 2))  # [B, H * W, C]
        query = query.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # [B, heads, H * W, D]
        key_value = self.to_key_value(tokens).unflatten(-1, (2, self.num_heads, -1))  # [B, K, 2, heads, D]
        key, value = key_value.permute(2, 0, 3, 1, 4)  # each [B, heads, K, D]
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(-2)  # [B, H * W, C]
        return hidden_states + self.to_out(attended).transpose(1, 2).unflatten(-1, sides)


class DopplerBlock(nn.Module):
    """A residual block that the embedding scales and shifts, followed by attention unless its type is `none`.

    With `token_channels`, attention to the tokens of user and conditions comes last.
    """

    def __init__(
        self, in_channels: int, out_channels: int, embedding_channels: int, attention_type: str, num_heads: int,
        window_size: int, norm_num_groups: int, dropout: float, token_channels: int | None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.resnet = ResnetBlock2D(
            in_channels=in_channels,
            out_channels=out_channels,
            temb_channels=embedding_channels,
            groups=norm_num_groups,
            eps=1e-5,
            dropout=dropout,
            time_embedding_norm="scale_shift",
        )
        self.attention = (
            nn.Identity()
            if attention_type == "none"
            else DopplerAttention(out_channels, attention_type, num_heads, window_size, norm_num_groups)
        )
        self.label_attention = (
            None
            if attention_type == "none" or token_channels is None
            else LabelAttention(out_channels, token_channels, num_heads, norm_num_groups)
        )

    def forward(self, hidden_states: Tensor, embedding: Tensor, tokens: Tensor | None) -> Tensor:
        """[B, in_channels, H, W], embedding [B, D] and tokens [B, K, token_channels] to [B, out_channels, H, W]."""
        hidden_states = self.attention(self.resnet(hidden_states, embedding))
        return hidden_states if self.label_attention is None else self.label_attention(hidden_states, tokens)


class DopplerUNet2DModel(ModelMixin, ConfigMixin):
    """U-Net that denoises spectrogram latents [B, C, H, W] (H is frequency, W is time) of a chosen user.

    High-resolution levels attend inside windows, deeper ones along the two axes. The time step enters every residual
    block as an embedding that scales and shifts its features. User and any number of further conditions are either
    added to that embedding, or are learned tokens that every level with attention attends to. User and conditions have
    one unconditional (null) class each, learned by dropping labels in training, for classifier-free guidance (Ho and
    Salimans 2022, arXiv:2207.12598).

    Args:
        num_users: Number of users; their class ids are 0..num_users - 1.
        sample_size: Side of the latents, or (height, width). Each must halve evenly at every level but the last.
        in_channels: Channels of the noisy latents.
        out_channels: Channels of the prediction.
        block_out_channels: Channels of each level, highest resolution first.
        layers_per_block: Blocks per level on the way down; the way up has one more.
        attention_types: `none`, `window` or `axial` for each level; the middle has that of the last level.
        window_size: Side of an attention window in tokens; it must tile the map of each `window` level. A smaller map
            is one window.
        num_attention_heads: Number of heads (not their size) of every attention.
        norm_num_groups: Groups of every group norm; must divide all of block_out_channels. On CPUs, groups of at least
            16 channels are clearly faster.
        dropout: Share of features dropped inside residual blocks in training.
        conditions: Name of each further condition -> number of its values, such as {"direction": 2}.
        conditioning: `embedding` or `cross-attention`, how user and conditions enter.
        label_tokens: Tokens per user and per condition value under cross-attention, at least 2: attention to a single
            token gives the same at every position.

    Raises:
        ValueError: If sizes, channels, heads or names do not fit together.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules = ("DopplerBlock",)
    _repeated_blocks = ("DopplerBlock",)
    _skip_layerwise_casting_patterns = ("norm",)

    @register_to_config
    def __init__(
        self, *, num_users: int, sample_size: int | tuple[int, int] = 32, in_channels: int = 4, out_channels: int = 4,
        block_out_channels: tuple[int, ...] = (128, 256, 384), layers_per_block: int = 2,
        attention_types: tuple[str, ...] = ("window", "axial", "axial"), window_size: int = 8,
        num_attention_heads: int = 8, norm_num_groups: int = 32, dropout: float = 0.0,
        conditions: dict[str, int] | None = None, conditioning: str = "embedding", label_tokens: int = 4,
    ) -> None:  # fmt: skip
        super().__init__()
        sides = (sample_size, sample_size) if isinstance(sample_size, int) else sample_size
        check_limits({**self.config, "sample_size": sides}, LIMITS)
        if len(sides) != 2:
            raise ValueError(f"sample_size must be one side or height and width, got {sides}")
        self._check_kinds()
        self._check_size(*sides)
        self.gradient_checkpointing = False

        # Time step, user and conditions become embeddings.
        first, embedding_channels = block_out_channels[0], 4 * block_out_channels[0]
        self.time_proj = Timesteps(first, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(first, embedding_channels)
        tokens = label_tokens if conditioning == "cross-attention" else 1
        self.user_embedding = nn.Embedding(num_users + 1, tokens * embedding_channels)
        # Sorted, because a saved config comes back sorted; a list, because names of modules allow few characters.
        self.condition_embeddings = nn.ModuleList(
            nn.Embedding(values + 1, tokens * embedding_channels) for _, values in sorted((conditions or {}).items())
        )

        # Latents go down through all levels and up again.
        self.conv_in = nn.Conv2d(in_channels, first, kernel_size=3, padding=1)
        skips = self._add_way_down()
        last = block_out_channels[-1]
        self.middle = nn.ModuleList([self._block(last, last, attention_types[-1]), self._block(last, last, "none")])
        self._add_way_up(skips)
        self.norm_out = nn.GroupNorm(norm_num_groups, first)
        self.conv_out = nn.Conv2d(first, out_channels, kernel_size=3, padding=1)

    def _block(self, in_channels: int, out_channels: int, attention_type: str) -> DopplerBlock:
        config = self.config
        embedding_channels = 4 * config["block_out_channels"][0]
        return DopplerBlock(
            in_channels,
            out_channels,
            embedding_channels,
            attention_type,
            config["num_attention_heads"],
            config["window_size"],
            config["norm_num_groups"],
            config["dropout"],
            embedding_channels if config["conditioning"] == "cross-attention" else None,
        )

    def _add_way_down(self) -> list[int]:
        """Add blocks and downsamplers; return the channels of every skip connection, first to last."""
        widths, attention_types = self.config["block_out_channels"], self.config["attention_types"]
        channels = widths[0]
        skips = [channels]
        self.down_levels, self.downsamplers = nn.ModuleList(), nn.ModuleList()
        for level, (level_channels, attention_type) in enumerate(zip(widths, attention_types, strict=True)):
            blocks = nn.ModuleList()
            for _ in range(self.config["layers_per_block"]):
                blocks.append(self._block(channels, level_channels, attention_type))
                channels = level_channels
                skips.append(channels)
            self.down_levels.append(blocks)
            if level < len(widths) - 1:
                self.downsamplers.append(Downsample2D(channels, use_conv=True, name="op"))
                skips.append(channels)
        return skips

    def _add_way_up(self, skips: list[int]) -> None:
        """Add blocks and upsamplers; each block also takes the latest skip connection that is left."""
        widths, attention_types = self.config["block_out_channels"], self.config["attention_types"]
        channels = widths[-1]
        self.up_levels, self.upsamplers = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(len(widths))):
            blocks = nn.ModuleList()
            for _ in range(self.config["layers_per_block"] + 1):
                blocks.append(self._block(channels + skips.pop(), widths[level], attention_types[level]))
                channels = widths[level]
            self.up_levels.append(blocks)
            if level > 0:
                self.upsamplers.append(Upsample2D(channels, use_conv=True))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> Any:
        """Load all weights, as diffusers does; raises ValueError if any is missing, unknown, NaN or infinite."""
        if kwargs.get("use_safetensors") is False:
            raise ValueError("use_safetensors must not be turned off, got False")
        with_info = kwargs.pop("output_loading_info", False)
        kwargs |= {"use_safetensors": True, "output_loading_info": True}
        try:
            checks: Any = import_module("echoform.loading").refusing_damage
        except ModuleNotFoundError:  # what travels works without echoform
            checks = nullcontext
        with checks(pretrained_model_name_or_path):
            model, info = loaded = cast(Any, super().from_pretrained(pretrained_model_name_or_path, **kwargs))
        if bad := sorted({*info["missing_keys"], *info["unexpected_keys"]}):
            raise ValueError(f"{cls.__name__} must get its own weights, {len(bad)} are missing or unknown: {bad[0]}")
        check_weights(model)
        return loaded if with_info else model

    @property
    def null_user(self) -> int:
        """Class id of the unconditional (null) user, used for classifier-free guidance."""
        return self.config["num_users"]

    @property
    def null_conditions(self) -> dict[str, int]:
        """Unconditional (null) value of each condition, used for classifier-free guidance."""
        return dict(self.config["conditions"] or {})

    @apply_forward_hook
    def embed_users(self, users: Tensor) -> Tensor:
        """Learned embedding [B, D] of user ids int64 [B] in 0..num_users, of which the last is the null user.

        Under cross-attention, D holds the user's tokens one after another.
        """
        return self.user_embedding(users)

    @staticmethod
    def mix_users(first: Tensor, last: Tensor, share: Tensor) -> Tensor:
        """Embeddings between those of two users, see `spherical_mix`."""
        return spherical_mix(first, last, share)

    def with_null_classes(self, embeds: Tensor, conditions: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Embedded users [B, D] and values of the conditions [B], each followed by as many null classes."""
        users = torch.full((len(embeds),), self.null_user, device=embeds.device)
        nulls = {name: torch.full_like(ids, self.null_conditions[name]) for name, ids in conditions.items()}
        embeds = torch.cat([embeds, self.embed_users(users).to(embeds)])
        return embeds, {name: torch.cat([ids, nulls[name]]) for name, ids in conditions.items()}

    @contextmanager
    def adapted(self, updates: Sequence[Mapping[str, Tensor]]) -> Iterator[None]:
        """Inside the block, linear layers have low-rank updates for some samples; all others stay bit for bit.

        Args:
            updates: For each of the first samples of every batch, tensors that `check_user` allows; {} changes nothing.

        Source: low-rank adaptation, Hu et al. 2021 (arXiv:2106.09685), here per sample.
        """
        hooks = []
        for update in {id(one): one for one in updates}.values():
            rows = [row for row, one in enumerate(updates) if one is update]
            for layer in (name.removesuffix(".up") for name in update if name.endswith(".up")):

                def add(  # its own values of what the loop changes
                    _: Any, inputs: Any, output: Tensor, rows: Any = rows,
                    down: Any = update[f"{layer}.down"], up: Any = update[f"{layer}.up"],
                ) -> Tensor:  # fmt: skip
                    low = F.linear(inputs[0][rows], down.to(output))
                    output[rows] = output[rows] + F.linear(low, up.to(output))
                    return output

                hooks.append(self.get_submodule(layer).register_forward_hook(add))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def check_user(self, name: Any, tensors: Mapping[str, Tensor]) -> None:
        """Raise ValueError unless a name and tensors are those of one more user.

        Args:
            name: Name of the user.
            tensors: `embedding` [D], a row for `embed_users`, and for any linear layer `<layer>.down` [R, in] and
                `<layer>.up` [out, R], whose product is added to its weight.
        """
        check_name("a user", name)
        expected = {"embedding": (self.user_embedding.embedding_dim,)}
        for layer, module in self.named_modules():
            if isinstance(module, nn.Linear) and (down := tensors.get(f"{layer}.down")) is not None:
                rank = down.shape[:1]
                expected |= {f"{layer}.down": (*rank, module.in_features), f"{layer}.up": (module.out_features, *rank)}
        shapes = {key: tuple(value.shape) for key, value in tensors.items()}
        if wrong := sorted(key for key in {*shapes, *expected} if shapes.get(key) != expected.get(key)):
            raise ValueError(f"the tensors of {name} must fit the network, {wrong[0][:80]} does not")
        if bad := [key for key, value in tensors.items() if not (value.is_floating_point() and value.isfinite().all())]:
            raise ValueError(f"the tensors of {name} must be finite numbers, {bad[0]} are not")

    @staticmethod
    def check_weights(model: nn.Module) -> None:
        """Raise ValueError if weights of any model are missing, NaN or infinite."""
        check_weights(model)

    def check_class_names(self, id2label: Any, condition_labels: Any) -> None:
        """Raise ValueError unless every user, and every value of each condition, has a name of its own.

        Args:
            id2label: Names of the users by class id, as {"0": "ID_1", ...}.
            condition_labels: The same for each condition, by the name of the condition; None if there is none.
        """
        labels, counts = condition_labels or {}, self.config["conditions"] or {}
        if not isinstance(labels, dict) or set(labels) != set(counts):
            given = sorted(labels) if isinstance(labels, dict) else labels
            raise ValueError(f"condition_labels must name the conditions {sorted(counts)}, got {given!r:.80}")
        check_names("id2label", id2label, self.config["num_users"])
        for name, count in counts.items():
            check_name("a condition", name)
            check_names(f"condition_labels[{name!r}]", labels[name], count)

    def forward(
        self, sample: Tensor, timestep: Tensor | float, users: Tensor | None = None,
        conditions: Mapping[str, Tensor] | None = None, user_embeds: Tensor | None = None, return_dict: bool = True,
    ) -> UNet2DOutput | tuple[Tensor]:  # fmt: skip
        """Predict noise, v or flow, whichever the model was trained for with its scheduler.

        Args:
            sample: Noisy latents, float [B, in_channels, H, W].
            timestep: In 0..1000, one number or [B]; may be fractional.
            users: Class ids, int64 [B] in 0..num_users; None is the null user for all.
            conditions: Values int64 [B] by name, each in 0..its number of values; a condition left out is null for all.
            user_embeds: In place of `users`, float [B, D], such as a mix of rows of `embed_users`.
            return_dict: False gives the tensor in a tuple.

        Returns:
            The prediction, float [B, out_channels, H, W].

        Raises:
            ValueError: If the map does not fit the levels, `users` and `user_embeds` are both given, or a condition is
                unknown.
        """
        self._check_size(*sample.shape[-2:])
        embedding, tokens = self._embed(sample, timestep, users, conditions or {}, user_embeds)

        # Way down: every map becomes a skip connection.
        hidden_states = self.conv_in(sample)
        skips = [hidden_states]
        for level, blocks in enumerate(self.down_levels):
            for block in blocks.children():
                hidden_states = self._run(block, hidden_states, embedding, tokens)
                skips.append(hidden_states)
            if level < len(self.downsamplers):
                hidden_states = self.downsamplers[level](hidden_states)
                skips.append(hidden_states)

        for block in self.middle:
            hidden_states = self._run(block, hidden_states, embedding, tokens)

        # Way up: every block also takes a skip connection, the latest first.
        for level, blocks in enumerate(self.up_levels):
            for block in blocks.children():
                hidden_states = self._run(block, torch.cat([hidden_states, skips.pop()], dim=1), embedding, tokens)
            if level < len(self.upsamplers):
                hidden_states = self.upsamplers[level](hidden_states)

        prediction = self.conv_out(F.silu(self.norm_out(hidden_states)))
        return UNet2DOutput(sample=prediction) if return_dict else (prediction,)

    def _embed(
        self, sample: Tensor, timestep: Tensor | float, users: Tensor | None, conditions: Mapping[str, Tensor],
        user_embeds: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """Embedding [B, D] that scales and shifts features, and tokens [B, K, D] to attend to, or None."""
        if users is not None and user_embeds is not None:
            raise ValueError("users and user_embeds exclude each other, got both")
        if unknown := sorted(set(conditions) - set(self.null_conditions)):
            raise ValueError(f"conditions must be among {sorted(self.null_conditions)}, got {unknown}")

        batch, device = sample.shape[0], sample.device
        timesteps = torch.as_tensor(timestep, device=device).reshape(-1).expand(batch)
        embedding = self.time_embedding(self.time_proj(timesteps).to(sample.dtype))
        # What is not given is the null class.
        users = torch.full((batch,), self.null_user, device=device) if users is None else users
        labels: list[Tensor] = [self.user_embedding(users) if user_embeds is None else user_embeds]
        for table, (name, null) in zip(self.condition_embeddings, sorted(self.null_conditions.items()), strict=True):
            values = conditions[name] if name in conditions else torch.full((batch,), null, device=device)
            labels.append(table(values))
        # Labels are added to the time step, or stand beside it as tokens.
        if self.config["conditioning"] == "embedding":
            return embedding + torch.stack(labels).sum(dim=0), None
        return embedding, torch.cat(labels, dim=1).unflatten(1, (-1, embedding.shape[1]))

    def _run(self, block: nn.Module, hidden_states: Tensor, embedding: Tensor, tokens: Tensor | None) -> Tensor:
        if torch.is_grad_enabled() and self.gradient_checkpointing:
            assert self._gradient_checkpointing_func is not None  # set by enable_gradient_checkpointing
            return self._gradient_checkpointing_func(block, hidden_states, embedding, tokens)
        return block(hidden_states, embedding, tokens)

    def _check_kinds(self) -> None:
        config = self.config
        types, levels = config["attention_types"], len(config["block_out_channels"])
        if not isinstance(types, (list, tuple)) or len(types) != levels:
            raise ValueError(f"attention_types must name one type for each of the {levels} levels, got {types!r:.80}")
        for kind, kinds, what in (
            *((kind, ATTENTION_TYPES, "attention types") for kind in types),
            (config["conditioning"], CONDITIONINGS, "conditioning"),
        ):
            if not isinstance(kind, str) or kind not in kinds:
                raise ValueError(f"{what} must be among {kinds}, got {kind!r:.80}")
        conditions = {} if config["conditions"] is None else config["conditions"]
        if not isinstance(conditions, dict):
            raise ValueError(f"conditions must be a number of values by name, got {conditions!r:.80}")
        check_limits(conditions, dict.fromkeys(conditions, (1, 1000)))
        tokens = config["label_tokens"] if config["conditioning"] == "cross-attention" else 1
        numbers = (config["num_users"] + 1) * tokens * 4 * config["block_out_channels"][0]
        if numbers > 2**30:
            raise ValueError(f"the embeddings of users must hold at most 2^30 numbers, got {numbers}")
        with suppress(ModuleNotFoundError):  # without echoform nobody builds models
            import_module("echoform.checks").check_doppler_unet(config)

    def _check_size(self, height: int, width: int) -> None:
        window = self.config["window_size"]
        finest = 2 ** (len(self.config["block_out_channels"]) - 1)
        if height % finest or width % finest:
            raise ValueError(
                f"{len(self.config['block_out_channels'])} levels need latents whose sides are divisible by {finest}, "
                f"got {height}x{width}"
            )
        for level, attention_type in enumerate(self.config["attention_types"]):
            sides = height >> level, width >> level
            if attention_type == "window" and any(side > window and side % window for side in sides):
                raise ValueError(
                    f"window_size must divide the {sides[0]}x{sides[1]} map of level {level}, got {window}; "
                    f"a divisor of both sides fits"
                )


def spherical_mix(first: Tensor, last: Tensor, share: Tensor) -> Tensor:
    """Mix two embeddings [D] by `share` [N] in 0..1 along the arc between them, float [N, D] (Shoemake 1985).

    A straight line would pass nearer to the origin than any embedding the model has seen.
    """
    a, b = first.float(), last.float()
    angle = torch.arccos(torch.nn.functional.cosine_similarity(a, b, dim=0).clamp(-1, 1))
    if angle.sin() < 1e-4:  # nearly parallel: the arc is the line
        return torch.lerp(a, b, share[:, None].float()).to(first)
    weights = torch.stack([(1 - share) * angle, share * angle], dim=1).sin() / angle.sin()  # [N, 2]
    return (weights @ torch.stack([a, b])).to(first)
