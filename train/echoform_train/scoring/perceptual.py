"""LPIPS, the perceptual distance of two images, as a loss and as a metric."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor, nn

from echoform_train.engine.errors import MissingFileError
from echoform_train.engine.extras import needs_extra


class PerceptualLoss(nn.Module):
    """LPIPS distance of images with one or three channels.

    Source: Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", CVPR 2018.

    Raises:
        FileNotFoundError: If the backbone is not in torch's cache and cannot be downloaded.
        MissingPackageError: If the package lpips is not installed.
    """

    def __init__(self, backbone: str = "alex") -> None:
        super().__init__()
        with needs_extra("lpips", "the perceptual loss"):
            import lpips  # slow to import, and only needed where this loss is used

        try:
            with warnings.catch_warnings():
                # lpips 0.1 builds the backbone by arguments of torchvision 0.12.
                warnings.filterwarnings("ignore", ".*(parameter 'pretrained'|weight enum).* deprecated", UserWarning)
                self.distance = lpips.LPIPS(net=backbone, verbose=False)
        except URLError as error:
            raise MissingFileError(
                f"LPIPS needs torchvision's {backbone} weights, which are not in the cache and could not be downloaded "
                f"({error.reason}); --lpips-weight 0 trains without them"
            ) from error
        self.requires_grad_(False).eval()

    def distances(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Distance of each pair of images float [B, 1 or 3, H, W] in [-1, 1]: [B], 0 for equal images."""
        return self.distance(as_rgb(reconstruction), as_rgb(target)).flatten()

    def forward(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Mean of `distances`, a scalar."""
        return self.distances(reconstruction, target).mean()


def perceptual_available() -> bool:
    """Whether `PerceptualLoss` runs without a download: lpips is installed, torchvision's AlexNet is in the cache."""
    from torchvision.models import AlexNet_Weights

    weights = Path(torch.hub.get_dir()) / "checkpoints" / AlexNet_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    return find_spec("lpips") is not None and weights.is_file()


def as_rgb(image: Tensor) -> Tensor:
    """Repeat a single channel three times; [B, 1 or 3, H, W] -> [B, 3, H, W]."""
    return image.expand(-1, 3, -1, -1) if image.shape[1] == 1 else image
