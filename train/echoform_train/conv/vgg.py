"""torchvision's VGG weights as the start of a convolutional autoencoder's encoder."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.error import URLError

import torch
from torch import Tensor
from torchvision.models import get_model_weights

from echoform.conv_autoencoder import BACKBONES, DATA_RANGES, ConvAutoencoder, channel_range


def load_torchvision_weights(model: ConvAutoencoder, backbone: str) -> None:
    """Start the encoder of `model` from torchvision's weights of VGG13 or VGG16, with batch norm where it has it.

    Raises:
        FileNotFoundError: If the weights are not in torch's cache and cannot be downloaded.
        ValueError: If the model has other layers; noticed before anything is downloaded.
    """
    for name, expected in BACKBONES[backbone].items():
        if tuple(model.config[name]) != expected:
            raise ValueError(
                f"torchvision's weights fit {backbone} of whole width and all five levels, whose {name} are "
                f"{expected}, got {tuple(model.config[name])}"
            )
    name = f"{backbone}_bn" if model.config["batch_norm"] else backbone
    try:
        state = next(iter(get_model_weights(name))).get_state_dict(check_hash=True)
    except URLError as error:
        raise FileNotFoundError(
            f"torchvision's {name} weights are not in the cache and could not be downloaded ({error.reason}); "
            "--no-torchvision-weights trains without them"
        ) from error
    copy_features({key: value for key, value in state.items() if key.startswith("features.")}, model)


@torch.no_grad()
def copy_features(features: Mapping[str, Tensor], model: ConvAutoencoder) -> None:
    """Copy weights of torchvision's `vgg.features` into the encoder of `model`, in the order of the layers.

    torchvision's weights expect images of the range imagenet. Where the model has another, its first convolution takes
    the difference in, so that it makes the same of the same picture everywhere but at the border, where zeros around it
    are another colour then. A grey model makes of grey what torchvision's makes of it repeated three times.

    Args:
        features: Its state.
        model: With layers of the same widths.
    """
    # Weights of old releases do not count batches.
    ours, theirs = (
        [value for name, value in state.items() if not name.endswith("num_batches_tracked")]
        for state in (model.encoder.state_dict(), features)
    )
    weight, shift = _in_range(theirs[0], model.config["data_range"], model.config["in_channels"])
    for our, their in zip(ours, [weight, theirs[1] + shift, *theirs[2:]], strict=True):
        our.copy_(their)


def _in_range(weight: Tensor, data_range: str, channels: int) -> tuple[Tensor, Tensor]:
    """Weights [O, channels, 3, 3] and what to add to the bias [O], for images of another range.

    A pixel p is x = (p - m) / s to the model and (p - M) / S = x s / S + (m - M) / S to torchvision.
    """
    mean, deviation = (torch.tensor(values) for values in channel_range(data_range, channels))
    their_mean, their_deviation = (torch.tensor(values) for values in DATA_RANGES["imagenet"])
    shift = (weight.sum(dim=(2, 3)) * ((mean - their_mean) / their_deviation)).sum(dim=1)
    scaled = weight * (deviation / their_deviation)[:, None, None]
    return (scaled if channels == 3 else scaled.sum(dim=1, keepdim=True)), shift
