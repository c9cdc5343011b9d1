import pytest
import torch
from torch.distributions import Normal, kl_divergence

from echoform_train.conv.objective import training_losses


def test_the_divergence_is_that_of_torchs_normal_distributions():
    mean, log_variance = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    images, made = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    parts = training_losses(made, images, mean, log_variance, error="l1", kl_weight=0.5)
    nats = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(dim=(1, 2, 3)).mean()
    assert parts["kl"].item() == pytest.approx(0.5 * nats.item() / (3 * 8 * 8), rel=1e-5)
    assert parts["l1"].item() == pytest.approx((made - images).abs().mean().item(), rel=1e-6)
    assert set(training_losses(made, images, mean, None, error="mse", kl_weight=0.0)) == {"mse"}
