"""The depth encoder for transformers: config, model, image processor for 16-bit images, and pipeline task."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor
from transformers import Pipeline, PreTrainedConfig, PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature
from transformers.modeling_outputs import BaseModelOutputWithPooling

# Relative, because transformers copies and downloads the files that relative imports name.
from .depth_autoencoder import DepthEncoder, check_limits, check_weights
from .depth_units import as_list, encode_units, range_in_units, resized_units, units_in_range, units_of

TASK = "depth-feature-extraction"

CUSTOM_PIPELINES = {
    TASK: {"impl": "transformers_depth_encoder.DepthFeatureExtractionPipeline", "pt": ["AutoModel"], "type": "image"}
}
"""Entry of config.json that registers the task for `transformers.pipeline`."""

_FACTS = ("depth_range_mm", "units_per_mm", "invalid_values", "float_unit", "encoding", "resize_rule")


class DepthEncoderConfig(PreTrainedConfig):
    """Configuration of `DepthEncoderModel`.

    Args:
        encoder: Arguments of `DepthEncoder`; missing ones get its defaults.
        **kwargs: Arguments of every config of transformers.
    """

    model_type = "echoform_depth_encoder"
    _auto_class = "AutoConfig"

    def __init__(self, encoder: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if encoder is not None and not isinstance(encoder, dict):
            raise ValueError(f"encoder must be settings by name, got {encoder!r:.80}")
        self.encoder = {} if encoder is None else dict(encoder)

    def to_dict(self) -> dict[str, Any]:
        """All settings, with a fresh entry for the task, because `transformers.pipeline` changes it while loading."""
        return super().to_dict() | {"custom_pipelines": CUSTOM_PIPELINES}


class DepthEncoderModel(PreTrainedModel):
    """`DepthEncoder` as a model of transformers, with the same weights under `encoder`.

    Example:
        >>> processor = AutoImageProcessor.from_pretrained("user/model", trust_remote_code=True)
        >>> model = AutoModel.from_pretrained("user/model", trust_remote_code=True)
        >>> inputs = processor(["a.png", "b.png"])
        >>> embeddings = model(**inputs).pooler_output  # or model(pixel_values=inputs.pixel_values)
    """

    config_class = DepthEncoderConfig
    base_model_prefix = "depth_encoder"  # not `encoder`, because loading would strip that prefix from weights' names
    main_input_name = "depth"
    _auto_class = "AutoModel"

    def __init__(self, config: DepthEncoderConfig) -> None:
        super().__init__(config)
        if unknown := sorted(set(config.encoder) - set(inspect.signature(DepthEncoder.__init__).parameters)):
            raise ValueError(f"encoder must hold settings of DepthEncoder, got {unknown}")
        self.encoder = DepthEncoder(**config.encoder)
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
        check_weights(model)
        return loaded if with_info else model

    def forward(
        self,
        depth: Tensor | None = None,
        valid: Tensor | None = None,
        return_dict: bool | None = None,
        pixel_values: Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPooling | tuple[Tensor, Tensor]:
        """Embed depth images: `depth` and `valid`, or `pixel_values` in their place, of the size of the model.

        Args:
            depth: Depth from the image processor: float [B, C, H, W] in [-1, 1].
            valid: [B, 1, H, W], 1 or True where there is a reading; None if there is one everywhere.
            return_dict: False gives a tuple; None is True.
            pixel_values: [B, C, H, W]. Whole numbers (uint16, int32 ...) are units of the sensor in the config: 0, what
                lies outside the range and `invalid_values` are no reading. Floating point is depth in [-1, 1] from the
                image processor, and NaN is no reading; other values are refused. Given with `depth`, it must be equal.
            **kwargs: Ignored; transformers passes some arguments to every model.

        Returns:
            `pooler_output`, the embedding, float [B, latent_dim]; and `last_hidden_state`, the features that it is
            computed from, float [B, positions, width], row by row (with the cosine bottleneck, the prepared image).

        Raises:
            ValueError: If dtype, shapes or values do not fit the model.
        """
        if pixel_values is not None:
            given = self._from_pixel_values(pixel_values)
            if depth is not None and not torch.equal(_as_pixel_values(depth, valid), _as_pixel_values(*given)):
                raise ValueError("pixel_values must be equal to depth and valid where all are given")
            depth, valid = given
        if depth is None:
            raise ValueError("depth or pixel_values must be given, got neither")
        depth = depth.to(self.dtype) if depth.is_floating_point() else depth
        grid = self.encoder.features(depth, valid)
        embedding = self.encoder.embed(grid)
        tokens = grid.flatten(2).transpose(1, 2)  # [B, positions, width]
        if return_dict is False:
            return tokens, embedding
        return BaseModelOutputWithPooling(last_hidden_state=tokens, pooler_output=embedding)

    def _from_pixel_values(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Depth and validity of `pixel_values`."""
        if not values.is_floating_point():
            if values.dtype in (torch.bool, torch.uint8, torch.int8) or values.ndim != 4:
                raise ValueError(
                    f"units must be whole numbers of 16 bits or more [B, C, H, W], got {values.dtype}, "
                    f"{list(values.shape)}"
                )
            return self.encoder.readings(values)
        valid = ~values.isnan().any(dim=1, keepdim=True) if values.ndim == 4 else ~values.isnan()
        depth = torch.where(valid, values, 0)
        if bool((depth.abs() > 1).any()):
            raise ValueError(
                "pixel_values in floating point must lie in [-1, 1], as the image processor makes them; units of the "
                f"sensor must be whole numbers, such as uint16; got up to {depth.abs().max():g}"
            )
        return depth, valid

    def _init_weights(self, module: torch.nn.Module) -> None:
        pass  # DepthEncoder initialises its own weights


def _as_pixel_values(depth: Tensor, valid: Tensor | None) -> Tensor:
    """Depth with 2 where there is no reading, which is no depth."""
    return depth if valid is None else torch.where(valid.to(torch.bool), depth, 2)


class DepthImageSettings(TypedDict, total=False):
    """Settings that `DepthImageProcessor.from_pretrained` may be given in place of the saved ones."""

    size: int
    depth_range_mm: dict[str, float]
    units_per_mm: float
    invalid_values: dict[str, str]
    float_unit: str | None
    encoding: str
    resize_rule: str


class DepthImageProcessor(BaseImageProcessor):
    """Prepare depth images in a sensor's units for the model, in the same way as `DepthAutoencoderPipeline`.

    Args:
        size: Side of the model's square images, in pixels.
        depth_range_mm: Depth that becomes -1 and +1, millimetres, as {"min": 300, "max": 5000}; readings outside
            count as no reading.
        units_per_mm: The sensor's units per millimetre.
        invalid_values: Units that mean no reading, with their meaning; 0 always means no reading.
        float_unit: Unit of floating-point images, "m", "cm" or "mm"; None is the sensor's units.
        encoding: "linear", "rotated" or "disparity": how whole numbers stand for units, see `decoded_units`.
        resize_rule: "half", "any" or "nearest": which resized pixels have a reading, see `resize_depth`.

    Raises:
        ValueError: If the range is not valid, see `range_in_units`.
    """

    model_input_names: Sequence[str] = ("depth", "valid", "pixel_values")
    valid_kwargs = DepthImageSettings
    _auto_class = "AutoImageProcessor"

    def __init__(
        self,
        size: int = 128,
        depth_range_mm: Mapping[str, float] | None = None,
        units_per_mm: float = 1.0,
        invalid_values: Mapping[str, str] | None = None,
        float_unit: str | None = None,
        encoding: str = "linear",
        resize_rule: str = "half",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        range_in_units(depth_range_mm, units_per_mm)
        check_limits({"size": size}, {"size": (1, 2048)})
        self.size = size
        self.depth_range_mm = dict(depth_range_mm or {})
        self.units_per_mm = units_per_mm
        self.invalid_values = dict(invalid_values or {"0": "no reading"})
        self.float_unit = float_unit
        self.encoding = encoding
        self.resize_rule = resize_rule

    def preprocess(self, images: Any, return_tensors: str = "pt", **kwargs: Any) -> BatchFeature:
        """Prepare one image or several, of any sizes.

        Args:
            images: Paths; PIL of mode I;16, I or F; arrays and tensors of 16 bits or more, [H, W] or [N, H, W] or
                [N, 1, H, W]; or a list of these, as for `DepthAutoencoderPipeline`. In the sensor's units.
            return_tensors: `pt` or `np`.
            **kwargs: Ignored; transformers passes some arguments to every processor.

        Returns:
            `depth`, float32 [B, 1, size, size] in [-1, 1], 0 where there is no reading; `valid`, bool of the same
            shape; and `pixel_values`, both in one: depth, and NaN where there is no reading.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If an image is no depth image, such as one of 8 bits, has readings but none in range, or loses
                more than 1 % of a reading by rounding.
        """
        facts = {name: getattr(self, name) for name in _FACTS}
        resized = []
        for image in as_list(images):
            units = units_of(image, facts)
            units = np.where(np.isin(units, [int(value) for value in self.invalid_values]), 0, units)
            resized.append(resized_units(units_in_range(units, facts), (self.size, self.size), facts))
        depth, valid = encode_units(torch.cat(resized), self.depth_range_mm, self.units_per_mm)
        pixel_values = torch.where(valid, depth, torch.nan)
        return BatchFeature({"depth": depth, "valid": valid, "pixel_values": pixel_values}, tensor_type=return_tensors)


class DepthFeatureExtractionPipeline(Pipeline):
    """Task `depth-feature-extraction`: 16-bit depth images to embeddings.

    The stock `image-feature-extraction` opens images as 8-bit RGB, which silently clips depth at 255.

    Example:
        >>> extract = pipeline("depth-feature-extraction", "user/model", trust_remote_code=True)
        >>> embedding = extract("depth.png")  # 768 numbers
    """

    _load_image_processor = True
    _load_processor = _load_feature_extractor = _load_tokenizer = False

    def _sanitize_parameters(self, return_tensors: bool | None = None, **kwargs: Any) -> Any:
        if kwargs:
            raise ValueError(f"{TASK} takes return_tensors, got {', '.join(kwargs)}")
        return {}, {}, {} if return_tensors is None else {"return_tensors": return_tensors}

    def preprocess(self, input_: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One image, see `DepthImageProcessor`, to tensors of one row."""
        assert self.image_processor is not None  # transformers loads it, see _load_image_processor
        return self.image_processor(input_)

    def _forward(self, input_tensors: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.model(**input_tensors)

    def postprocess(self, model_outputs: Any, return_tensors: bool = False) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The embedding of one image: a list of `latent_dim` numbers, or a tensor [latent_dim]."""
        embedding = model_outputs.pooler_output[0]
        return embedding if return_tensors else embedding.tolist()


def save_for_transformers(encoder: DepthEncoder, folder: str | Path, facts: Mapping[str, Any] | None = None) -> None:
    """Write a folder that `AutoModel`, `AutoImageProcessor` and `pipeline` of transformers load.

    The folder must differ from that of `DepthEncoder.save_pretrained`: diffusers and transformers both look for their
    class under `auto_map["AutoModel"]` of config.json, and each for a weights file of its own name. The weights in both
    folders are the same.

    Args:
        encoder: Trained encoder.
        folder: Folder, made if it does not exist.
        facts: `depth_range_mm`, `units_per_mm` and `invalid_values` of the sensor; None takes those of the encoder's
            config.

    Raises:
        ValueError: If neither facts nor config describe the sensor, or the encoder has more than one channel.
    """
    settings = {name: value for name, value in encoder.config.items() if not name.startswith("_")}
    settings |= {name: (facts or {})[name] for name in _FACTS if name in (facts or {})}
    if settings["depth_range_mm"] is None or settings["units_per_mm"] is None:
        raise ValueError(
            "the image processor needs depth_range_mm and units_per_mm, and neither facts nor config has them"
        )
    if settings["input_channels"] != 1:
        raise ValueError(
            f"the image processor makes images of one channel, got an encoder of {settings['input_channels']}"
        )
    model = DepthEncoderModel(DepthEncoderConfig(encoder=settings))
    model.encoder.load_state_dict(encoder.state_dict())
    model.save_pretrained(folder)
    DepthImageProcessor(settings["sample_size"], **{name: settings[name] for name in _FACTS}).save_pretrained(folder)
