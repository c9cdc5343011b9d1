"""Who walks: a classifier of spectrograms for transformers, with its config and image processor."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature
from transformers.modeling_outputs import ImageClassifierOutput
from transformers.processing_utils import ImagesKwargs

# Relative, because transformers copies and downloads the files that relative imports name.
from .spectrogram_resnet import MIN_SIDE, RESNET_FEATURES, RESNET_WIDTH, SpectrogramResNet

NOBODY = "nobody"
"""Label of a spectrogram that shows none of the users."""

_FAR = 60.0
"""Distance to a colour map, RGB units, beyond which a pixel is not painted with it (text, axes, white rims)."""
_RIM_FAR = 0.9
_ASPECT = 0.05
"""Share by which the sides of an image may differ from the shape of the training images."""
_MOST_SIDE = 4096


class SpectrogramClassifierConfig(PreTrainedConfig):
    """Configuration of `SpectrogramClassifier`.

    Args:
        in_channels: 1 for indices into a colour map, 3 for RGB.
        width: Channels of the first block.
        num_features: Size of the layer before the last.
        softmax_temperature: Divides the logits, so that probabilities are calibrated.
        nobody_threshold: Distance of its features from the nearest user's centre beyond which an image shows nobody
            whom the model knows; the last label is then "nobody". None: the model always names a user.
        nobody_slope: By how much the logit of "nobody" rises for each unit of distance.
        **kwargs: Arguments of every config of transformers, such as id2label.
    """

    model_type = "echoform_spectrogram_classifier"
    _auto_class = "AutoConfig"

    def __init__(
        self,
        in_channels: int = 1,
        width: int = RESNET_WIDTH,
        num_features: int = RESNET_FEATURES,
        softmax_temperature: float = 1.0,
        nobody_threshold: float | None = None,
        nobody_slope: float = 1.0,
        **kwargs: Any,
    ) -> None:
        kwargs = {"problem_type": "single_label_classification"} | kwargs
        super().__init__(**kwargs)
        if in_channels not in (1, 3):
            raise ValueError(f"in_channels must be 1 or 3, got {in_channels!r:.40}")
        for name, value in {"width": width, "num_features": num_features}.items():
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 4096:
                raise ValueError(f"{name} must be a whole number in 1..4096, got {value!r:.40}")
        for name, value in {"softmax_temperature": softmax_temperature, "nobody_slope": nobody_slope}.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 1e-4 <= value <= 1e4:
                raise ValueError(f"{name} must be in 0.0001..10000, got {value!r:.40}")
        self.in_channels = in_channels
        self.width = width
        self.num_features = num_features
        self.softmax_temperature = softmax_temperature
        self.nobody_threshold = nobody_threshold
        self.nobody_slope = nobody_slope

    @property
    def num_users(self) -> int:
        """Number of users, without "nobody"."""
        labels: int = len(self.id2label or {})
        return labels - (self.nobody_threshold is not None)


class SpectrogramClassifier(PreTrainedModel):
    """A ResNet of the users of spectrograms, with calibrated probabilities and the answer "nobody".

    Example:
        >>> who = pipeline("image-classification", model="user/model", trust_remote_code=True)
        >>> who("walk.png")[0]  # {'label': 'anna', 'score': 0.97}
    """

    config_class = SpectrogramClassifierConfig
    centres: Tensor
    """Mean features of each user, [num_users, num_features]; only with a threshold."""
    whitening: Tensor
    """Matrix that gives the features of one user unit covariance, [num_features, num_features]."""
    base_model_prefix = "spectrogram_classifier"
    main_input_name = "pixel_values"
    _auto_class = "AutoModelForImageClassification"

    def __init__(self, config: SpectrogramClassifierConfig) -> None:
        super().__init__(config)
        if config.num_users < 1:
            raise ValueError(f"id2label must name at least one user, got {config.id2label!r:.80}")
        self.network = SpectrogramResNet(
            config.in_channels, config.num_users, width=config.width, num_features=config.num_features
        )
        if config.nobody_threshold is not None:
            self.register_buffer("centres", torch.zeros(config.num_users, config.num_features))
            self.register_buffer("whitening", torch.eye(config.num_features))
        self.post_init()

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load all weights, as transformers does; raises ValueError if any is missing, NaN or infinite."""
        with_info = kwargs.pop("output_loading_info", False)
        kwargs |= {"output_loading_info": True, "use_safetensors": True}
        loaded: Any = super().from_pretrained(*args, **kwargs)
        model, info = loaded
        if missing := sorted(info["missing_keys"]):
            raise ValueError(f"{cls.__name__} must get all its weights, {len(missing)} are missing: {missing[0]}")
        if not all(bool(torch.isfinite(value).all()) for value in model.state_dict().values()):
            raise ValueError(f"weights of {cls.__name__} must be finite numbers, it has NaN or infinite ones")
        return loaded if with_info else model

    def forward(
        self, pixel_values: Tensor, labels: Tensor | None = None, return_dict: bool | None = None, **kwargs: Any
    ) -> ImageClassifierOutput | tuple[Tensor, ...]:
        """Classify spectrograms.

        Args:
            pixel_values: From the image processor: float [B, C, H, W] in [-1, 1].
            labels: Class ids int64 [B], for a loss.
            return_dict: False gives a tuple; None is True.
            **kwargs: Ignored; transformers passes some arguments to every model.

        Returns:
            `logits`, float [B, num_labels], whose softmax are probabilities. Among the users they are calibrated. With
            a threshold, the last label is "nobody", and it is the largest exactly where the image is farther from all
            users than the threshold.

        Raises:
            ValueError: If the shape does not fit the model.
        """
        if pixel_values.ndim != 4 or pixel_values.shape[1] != self.config.in_channels:
            raise ValueError(
                f"pixel_values must be [B, {self.config.in_channels}, H, W], got {list(pixel_values.shape)}"
            )
        logits = self.logits_of(self.network.features(pixel_values.to(self.dtype)))
        loss = None if labels is None else F.cross_entropy(logits, labels)
        output = ImageClassifierOutput(loss=loss, logits=logits)  # pyright: ignore[reportArgumentType]
        return output.to_tuple() if return_dict is False else output

    def logits_of(self, features: Tensor) -> Tensor:
        """Logits [B, num_labels], as `forward` gives them, of features [B, num_features] of the network."""
        logits = self.network.head(features).float() / self.config.softmax_temperature
        if self.config.nobody_threshold is not None:
            # At the threshold "nobody" is as likely as the best user; probabilities among the users stay the same.
            beyond = self.distance(features) - self.config.nobody_threshold
            nobody = logits.amax(1) + self.config.nobody_slope * beyond
            logits = torch.cat([logits, nobody[:, None]], dim=1)
        return logits

    def distance(self, features: Tensor) -> Tensor:
        """Mahalanobis distance float [B] of features [B, num_features] from the nearest user's centre.

        Source: Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples", NeurIPS 2018.
        """
        offset = (features[:, None] - self.centres).float() @ self.whitening.float()  # [B, num_users, num_features]
        return offset.square().sum(-1).amin(1).clamp(min=1e-12).sqrt()

    def _init_weights(self, module: torch.nn.Module) -> None:
        pass  # the layers have the weights of their own


class SpectrogramImageProcessor(BaseImageProcessor):
    """Turns pictures of spectrograms, as radar software writes them, into `pixel_values`.

    The colours of the map become the scalar that they show, as in the training, and the picture is resized. A picture
    of another colour map, of another shape, or with axes around the data is refused.

    Args:
        height: Rows that the model sees, pixels.
        width: Columns that the model sees, pixels.
        colormap: Name of the colour map, for messages; None keeps RGB.
        colors: The 256 colours of the map as hexadecimal text RRGGBB each, lowest value first.
        max_residual: Largest mean distance of a picture to its colour map, RGB units.
        native_size: Height and width of the training pictures, pixels.
        crop: Left, top, right and bottom of the data in each picture, pixels; None takes whole pictures.
        picture_size: Height and width of the pictures that `crop` is for; None if they are unknown.
        lowest_first: Whether the first row is the lowest Doppler frequency.
        **kwargs: Arguments of every image processor.
    """

    model_input_names: Sequence[str] = ("pixel_values",)
    valid_kwargs = ImagesKwargs
    _auto_class = "AutoImageProcessor"

    def __init__(
        self,
        height: int = 64,
        width: int = 64,
        colormap: str | None = None,
        colors: str | None = None,
        max_residual: float = 20.0,
        native_size: Sequence[int] | None = None,
        crop: Sequence[int] | None = None,
        picture_size: Sequence[int] | None = None,
        lowest_first: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, side in {"height": height, "width": width}.items():
            if isinstance(side, bool) or not isinstance(side, int) or not MIN_SIDE <= side <= _MOST_SIDE:
                raise ValueError(f"{name} must be a whole number in {MIN_SIDE}..{_MOST_SIDE}, got {side!r:.40}")
        if (colors is None) != (colormap is None) or (colors is not None and len(colors) != 256 * 6):
            raise ValueError("a colour map must be given by its name and its 256 colours")
        self.height = height
        self.width = width
        self.colormap = colormap
        self.colors = colors
        self.max_residual = max_residual
        self.native_size = None if native_size is None else list(native_size)
        self.crop = None if crop is None else list(crop)
        self.picture_size = None if picture_size is None else list(picture_size)
        self.lowest_first = lowest_first

    def preprocess(self, images: Any, return_tensors: str = "pt", **kwargs: Any) -> BatchFeature:
        """Prepare one picture or several.

        Args:
            images: Paths, PIL images, or arrays uint8 [H, W] or [H, W, 3]; one, or a list.
            return_tensors: `pt` or `np`.
            **kwargs: Ignored; transformers passes some arguments to every processor.

        Returns:
            `pixel_values`, float32 [B, 1 or 3, height, width] in [-1, 1].

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If a picture is not as described above.
        """
        pixels = np.stack([self.pixels_of(image) for image in (images if _several(images) else [images])])
        values = torch.from_numpy(pixels).to(torch.float32) / 127.5 - 1
        return BatchFeature({"pixel_values": values}, tensor_type=return_tensors)

    def pixels_of(self, image: Any) -> np.ndarray:
        """Indices or RGB of one picture at the size of the model, uint8 [1 or 3, height, width]; see `preprocess`."""
        picture = _picture(image)
        if self.crop is not None and picture.shape[:2] != (self.height, self.width):
            picture = self._cropped(picture)
        elif self.native_size is not None:
            self._check_shape(*picture.shape[:2])
        if self.lowest_first:
            picture = picture[::-1]
        if (picture == picture[0, 0]).all():
            raise ValueError("a picture must show a spectrogram, all its pixels are equal")
        if self.colors is None:
            if picture.ndim == 2:
                raise ValueError("pictures must be in colour, as those of the training, got a grey one")
        else:
            picture = self._index_of(picture)
        return _resized(np.ascontiguousarray(picture), self.height, self.width)

    def _cropped(self, picture: np.ndarray) -> np.ndarray:
        assert self.crop is not None
        (height, width), (left, top, right, bottom) = picture.shape[:2], self.crop
        expected = self.picture_size or [height, width]
        if [height, width] != expected or right > width or bottom > height:
            raise ValueError(
                f"pictures must be of {expected[1]} columns and {expected[0]} rows, because the data are cut out of "
                f"them at {left},{top},{right},{bottom}, got {width} columns and {height} rows"
            )
        return picture[top:bottom, left:right]

    def _check_shape(self, height: int, width: int) -> None:
        """Another shape shows another time or Doppler range, or has axes around it."""
        native_height, native_width = self.native_size or (height, width)
        own = (height, width) == (self.height, self.width)
        if not own and abs(height * native_width / (width * native_height) - 1) > _ASPECT:
            raise ValueError(
                f"pictures must have the shape of the training pictures, {native_height} rows by {native_width} "
                f"columns or that at another size, got {height} rows by {width} columns"
            )

    def _index_of(self, picture: np.ndarray) -> np.ndarray:
        """Index into the colour map of every pixel, uint8 [H, W]."""
        assert self.colors is not None
        if picture.ndim == 2:
            if self.colormap != "gray":
                raise ValueError(f"pictures must be painted with the colour map {self.colormap}, got a grey one")
            return picture
        index = _nearest_index(picture, self.colors)
        table = np.frombuffer(bytes.fromhex(self.colors), dtype=np.uint8).reshape(256, 3).astype(np.float32)
        distance = np.linalg.norm(picture.reshape(-1, 3)[::7] - table[index.reshape(-1)[::7]], axis=-1).mean()
        if distance > self.max_residual:
            raise ValueError(
                f"pictures must be painted with the colour map {self.colormap}, the colours of this one are "
                f"{distance:.0f} RGB units from it"
            )
        edges = {"first row": 0, "last row": -1, "first column": (slice(None), 0), "last column": (slice(None), -1)}
        for name, edge in edges.items():
            far = np.linalg.norm(picture[edge].astype(np.float32) - table[index[edge]], axis=-1) > _FAR
            if far.mean() >= _RIM_FAR:
                raise ValueError(
                    f"pictures must hold the data alone, the {name} of this one is not in the colours of "
                    f"{self.colormap}: it has axes or a rim"
                )
        return index


def _several(images: Any) -> bool:
    return isinstance(images, list | tuple) or (isinstance(images, np.ndarray | Tensor) and images.ndim == 4)


def _picture(image: Any) -> np.ndarray:
    """Pixels uint8 [H, W] or [H, W, 3] of a path, PIL image or array."""
    if isinstance(image, str | Path):
        with Image.open(image) as opened:
            return _picture(opened)
    if isinstance(image, Image.Image):
        if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
            full = image.convert("RGBA")
            if full.getchannel("A").getextrema()[0] != 255:
                raise ValueError(f"pictures must be opaque, got one of mode {image.mode} that is transparent")
            image = full.convert("L" if image.mode == "LA" else "RGB")
        if image.mode not in ("L", "RGB", "P"):
            raise ValueError(f"pictures must be grey or RGB of 8 bits, got mode {image.mode}")
        return np.asarray(image.convert("RGB") if image.mode == "P" else image)
    array = image.cpu().numpy() if isinstance(image, Tensor) else np.asarray(image)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] != 3):
        raise ValueError(f"arrays must be uint8 [H, W] or [H, W, 3], got {array.dtype} {list(array.shape)}")
    return array


def _resized(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 [H, W] or [H, W, 3] to uint8 [1 or 3, height, width]."""
    if pixels.shape[:2] != (height, width):
        whole = pixels.shape[0] % height == 0 and pixels.shape[1] % width == 0
        method = Image.Resampling.BOX if whole else Image.Resampling.BICUBIC
        pixels = np.asarray(Image.fromarray(pixels).resize((width, height), method))
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


@lru_cache(maxsize=4)
def _search_table(colors: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Different colours of a map float32 [K, 3], their indices uint8 [K], and known indices int16 [2**24] or -1."""
    table = np.frombuffer(bytes.fromhex(colors), dtype=np.uint8).reshape(256, 3)
    unique, first, counts = np.unique(table, axis=0, return_index=True, return_counts=True)
    # Of several entries with the same colour the middle one is taken.
    return unique.astype(np.float32), (first + (counts - 1) // 2).astype(np.uint8), np.full(2**24, -1, dtype=np.int16)


def _nearest_index(rgb: np.ndarray, colors: str) -> np.ndarray:
    """Index of the nearest colour of a map (Euclidean in RGB): uint8 [H, W, 3] to uint8 [H, W]."""
    table, indices, known = _search_table(colors)
    wide = rgb.astype(np.int32)
    packed = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
    found = known[packed]
    if (found < 0).any():
        new = np.unique(packed[found < 0])
        for part in np.array_split(new, len(new) // 2**14 + 1):
            color = np.stack([part >> 16, part >> 8 & 255, part & 255], axis=-1).astype(np.float32)
            # Exact in float32: all terms are whole numbers below 2**24.
            distance = (table**2).sum(1) - 2 * color @ table.T
            known[part] = indices[distance.argmin(1)]
        found = known[packed]
    return found.astype(np.uint8)
