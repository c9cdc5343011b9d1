"""Initial weights of the encoder from torchvision's VGG."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.error import URLError

import torch
from torch import Tensor
from torchvision.models import get_model_weights

from echoform.conv_autoencoder import BACKBONES, DATA_RANGES, ConvAutoencoder, channel_range
from echoform_train.engine.errors import MissingFileError, UserError


def load_torchvision_weights(model: ConvAutoencoder, backbone: str) -> None:
    """Copy torchvision's ImageNet weights into the encoder of `model`, downloading them at first use.

    Args:
        model: The model, with or without batch norm.
        backbone: "vgg13" or "vgg16", whose layers the model must have.

    Raises:
        FileNotFoundError: If the weights are not in torch's cache and cannot be downloaded.
        ValueError: If the model has other layers; this is checked before the download.
    """
    # Checked before the download, which takes long.
    for name, expected in BACKBONES[backbone].items():
        if tuple(model.config[name]) != expected:
            raise UserError(
                f"torchvision's weights need {backbone} with --width-factor 1 and --levels 5, whose {name} are "
                f"{expected}, got {tuple(model.config[name])}"
            )
    name = f"{backbone}_bn" if model.config["batch_norm"] else backbone
    try:
        state = next(iter(get_model_weights(name))).get_state_dict(check_hash=True)
    except URLError as error:
        raise MissingFileError(
            f"torchvision's {name} weights are not in the cache and could not be downloaded ({error.reason}); "
            "--no-torchvision-weights trains without them"
        ) from error
    copy_features({key: value for key, value in state.items() if key.startswith("features.")}, model)


@torch.no_grad()
def copy_features(features: Mapping[str, Tensor], model: ConvAutoencoder) -> None:
    """Copy the weights of torchvision's `vgg.features` into the encoder of `model`, in the order of the layers.

    torchvision's weights expect images standardised by ImageNet's mean and deviation. For a model of another data
    range, weights and bias of the first convolution are adapted so that the same image gives the same features (except
    at the border, where padding with zeros means another colour). For a model with one channel, they are adapted so
    that a grey image gives the same features as its RGB version.

    Args:
        features: State dict of `vgg.features`.
        model: The model; its layers must have the same widths.
    """
    # The batch counters are left out, because weights of old torchvision releases have none.
    ours, theirs = (
        [value for name, value in state.items() if not name.endswith("num_batches_tracked")]
        for state in (model.encoder.state_dict(), features)
    )
    weight, shift = _for_range(theirs[0], model.config["data_range"], model.config["in_channels"])
    for our, their in zip(ours, [weight, theirs[1] + shift, *theirs[2:]], strict=True):
        our.copy_(their)


def _for_range(weight: Tensor, data_range: str, channels: int) -> tuple[Tensor, Tensor]:
    """Adapt weights [O, 3, 3, 3] of the first convolution to another range: [O, channels, 3, 3], and a bias to add [O].

    The model sees a pixel p as x = (p - m) / s; torchvision sees it as (p - M) / S = x s / S + (m - M) / S.
    """
    mean, deviation = (torch.tensor(values) for values in channel_range(data_range, channels))
    their_mean, their_deviation = (torch.tensor(values) for values in DATA_RANGES["imagenet"])
    shift = (weight.sum(dim=(2, 3)) * ((mean - their_mean) / their_deviation)).sum(dim=1)
    scaled = weight * (deviation / their_deviation)[:, None, None]
    return (scaled if channels == 3 else scaled.sum(dim=1, keepdim=True)), shift
