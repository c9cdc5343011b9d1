"""The balanced embedding against scikit-learn's whitening and the spectrum that it should have."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from echoform_train.depth.balance import FLOOR, balancing_map


def latents() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    sizes = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.5])
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=generator)).Q
    return 3 + (torch.randn(2000, 5, generator=generator) * sizes) @ rotation


def test_all_the_way_distances_are_those_of_whitened_principal_components():
    points = latents()
    mean, mix = balancing_map(points, power=1.0)
    balanced = ((points - mean) @ mix).numpy()
    whitened = PCA(whiten=True).fit_transform(points.numpy())
    ours = np.linalg.norm(balanced[:50, None] - balanced[None, :50], axis=-1)
    theirs = np.linalg.norm(whitened[:50, None] - whitened[None, :50], axis=-1)
    np.testing.assert_allclose(ours, theirs, rtol=0.2)  # the floor holds the smallest component down


@pytest.mark.parametrize("power", [0.0, 0.3, 0.5])
def test_the_components_keep_the_asked_power_of_their_variance(power: float):
    points = latents()
    mean, mix = balancing_map(points, power)
    before = np.linalg.eigvalsh(np.cov(points.numpy().T, bias=True))
    after = np.linalg.eigvalsh(np.cov(((points - mean) @ mix).numpy().T, bias=True))
    np.testing.assert_allclose(after, before * (before + FLOOR * before[-1]) ** -power, rtol=1e-3)


def test_no_power_only_centres():
    mean, mix = balancing_map(latents(), power=0.0)
    torch.testing.assert_close(mix, torch.eye(5))
    torch.testing.assert_close(mean, latents().mean(dim=0))


def test_a_power_beyond_whitening_is_refused():
    with pytest.raises(ValueError, match=r"power must be in 0..1, got 1.5"):
        balancing_map(latents(), power=1.5)
