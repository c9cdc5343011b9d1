"""Probabilities that mean what they say: their calibration error, and the temperature that makes it small."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from echoform_train.engine.errors import UserError

BINS = 15
TEMPERATURES = (0.05, 20.0)
"""Smallest and largest temperature that is tried."""


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Expected calibration error: the mean difference between probability and accuracy of the predicted class.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3.

    Args:
        probabilities: float [N, K] in 0..1.
        labels: Class ids int64 [N].
        bins: Number of equally wide bins of the largest probability.

    Returns:
        0..1; 0 is ideal.

    Raises:
        UserError: If there are no rows.
    """
    if len(labels) == 0 or len(labels) != len(probabilities):
        raise UserError(f"a calibration error needs a label per row, got {len(labels)} for {len(probabilities)}")
    confidence, predicted = probabilities.double().max(1)
    hit = (predicted == labels).double()
    # A probability on an edge belongs to the lower bin, as in the source.
    bin_of = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gap = torch.zeros(bins, dtype=torch.float64).index_add(0, bin_of, hit - confidence)
    return float(gap.abs().sum() / len(labels))


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature that gives softmax(logits / temperature) the least cross-entropy on held-out images.

    Source: Guo et al., ICML 2017, section 4.2.

    Args:
        logits: float [N, K].
        labels: Class ids int64 [N].

    Returns:
        A number in TEMPERATURES.
    """
    low, high = (float(torch.tensor(end).log()) for end in TEMPERATURES)
    # The cross-entropy is convex in the inverse of the temperature, so that it has one minimum along the logarithm too.
    for _ in range(4):
        grid = torch.linspace(low, high, 41, dtype=torch.float64)
        losses = [float(F.cross_entropy(logits.double() / value.exp(), labels)) for value in grid]
        place = int(torch.tensor(losses).argmin())
        low, high = float(grid[max(place - 1, 0)]), float(grid[min(place + 1, len(grid) - 1)])
    return float(torch.tensor((low + high) / 2).exp())
