"""The two families of small classifiers of users: a ResNet, and a GRU over the columns of a spectrogram."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from echoform.spectrogram_resnet import RESNET_FEATURES, RESNET_WIDTH
from echoform_train.scoring.classifier_training import shrink
from echoform_train.scoring.judge import Judge

# Chosen on validation images; numbers in benchmarks/EXPERIMENTS.md.
GRU_WIDTH = 96


class ColumnGRU(nn.Module):
    """A recurrent network that reads a spectrogram as a sequence of columns, each a whole spectrum.

    Images of more than 64 pixels per side are averaged down to 64 first. A convolution along time, with separate
    weights per frequency, turns every second column and its neighbours into one vector. A GRU reads the vectors in both
    directions, and the mean and the standard deviation of its states over time are classified.

    Args:
        in_channels: 1 for colour-mapped spectrograms, 3 for RGB.
        height: Rows of the images after `shrink`.
        num_users: Number of users.
        width: Length of the vectors, and of the GRU state per direction.
    """

    def __init__(self, in_channels: int, height: int, num_users: int, *, width: int = GRU_WIDTH) -> None:
        super().__init__()
        self.embed = nn.Conv1d(in_channels * height, width, 5, stride=2, padding=2, bias=False)
        self.norm = nn.BatchNorm1d(width)
        self.body = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(4 * width, num_users)

    def forward(self, image: Tensor) -> Tensor:
        """Logits float [B, num_users] of images [B, C, H, W] in [-1, 1]."""
        columns = shrink(image).flatten(1, 2)  # [B, C H, W]
        steps = F.relu(self.norm(self.embed(columns))).float().transpose(1, 2)  # [B, W / 2, width]
        # The GRU runs in float32, because autocast would convert its weights again at every time step.
        with torch.autocast(image.device.type, enabled=False):
            states, _ = self.body(steps)
        # 1e-6 keeps the gradient of the root finite if a state is constant in time.
        deviation = (states.var(1) + 1e-6).sqrt()
        return self.head(self.dropout(torch.cat([states.mean(1), deviation], dim=1)))


@dataclass(frozen=True, kw_only=True)
class Family:
    """A kind of classifier, with the settings of its training."""

    build: Callable[[int, int, int], nn.Module]
    """Builds the network from channels, rows and number of users."""
    peak_rate: float
    weight_decay: float


def _resnet(in_channels: int, height: int, num_users: int) -> Judge:
    return Judge(in_channels, num_users, width=RESNET_WIDTH, num_features=RESNET_FEATURES)


FAMILIES: dict[str, Family] = {
    "ResNet": Family(build=_resnet, peak_rate=2e-3, weight_decay=1.0),
    "GRU over columns": Family(build=ColumnGRU, peak_rate=2e-3, weight_decay=0.1),
}
"""The families, by their name in reports."""
