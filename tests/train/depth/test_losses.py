import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from echoform_train.depth.losses import (
    contrastive_loss,
    covariance_loss,
    gradient_loss,
    huber_loss,
    latent_loss,
    validity_loss,
)


def images(seed, count=3):
    return 2 * torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) - 1


EVERYWHERE = torch.ones(3, 1, 8, 8, dtype=torch.bool)


def test_the_huber_loss_with_every_pixel_valid_is_that_of_torch_over_delta():
    ours = huber_loss(images(0), images(1), EVERYWHERE, delta=0.3)
    assert ours.item() == pytest.approx(F.huber_loss(images(0), images(1), delta=0.3).item() / 0.3)


def test_a_large_delta_makes_the_huber_loss_a_squared_error():
    ours = huber_loss(images(0), images(1), EVERYWHERE, delta=2.0)
    assert ours.item() == pytest.approx(F.mse_loss(images(0), images(1)).item() / 4)


def test_pixels_without_a_reading_change_neither_a_loss_nor_its_gradient():
    valid = images(2) > 0
    target = torch.where(valid, images(1), 0.0)
    results = []
    for elsewhere in (0.0, 123.0):
        made = torch.where(valid, images(0), elsewhere).requires_grad_()
        loss = huber_loss(made, target, valid, 0.5) + gradient_loss(made, target, valid)
        loss.backward()
        assert made.grad is not None and (made.grad[~valid] == 0).all()
        results.append((loss.item(), made.grad.clone()))
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])


def test_an_image_without_a_reading_costs_nothing_and_breaks_nothing():
    made = images(0).requires_grad_()
    nowhere = torch.zeros_like(EVERYWHERE)
    loss = huber_loss(made, torch.zeros_like(made), nowhere, 1.0) + gradient_loss(made, torch.zeros_like(made), nowhere)
    loss.backward()
    assert loss.item() == 0
    assert made.grad is not None and (made.grad == 0).all()


def test_the_gradient_loss_of_a_step_that_is_missing_is_its_height_along_its_length():
    target = torch.zeros(1, 1, 4, 4)
    target[..., 2:] = 0.5
    valid = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    # Four rows miss one step of 0.5 each; 16 pixels.
    assert gradient_loss(torch.zeros(1, 1, 4, 4), target, valid).item() == pytest.approx(4 * 0.5 / 16)
    assert gradient_loss(target + 0.3, target, valid).item() == pytest.approx(0, abs=1e-7)  # an offset is no gradient


def test_halves_of_a_batch_add_up_to_the_loss_of_the_whole():
    valid = images(2, 4) > 0.5
    valid[0] = False
    whole = huber_loss(images(0, 4), images(1, 4), valid, 1.0)
    parts = [huber_loss(images(0, 4)[k : k + 2], images(1, 4)[k : k + 2], valid[k : k + 2], 1.0) for k in (0, 2)]
    assert whole.item() == pytest.approx((parts[0] + parts[1]).item() / 2)


def test_the_validity_loss_of_a_coin_is_log_2():
    assert validity_loss(torch.zeros(2, 1, 4, 4), images(0, 2)[..., :4, :4] > 0).item() == pytest.approx(math.log(2))


def test_the_covariance_loss_is_the_mean_squared_correlation_of_numpy():
    latents = torch.randn(20, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 10, 0.1, 3, 7])
    correlations = np.corrcoef(latents.numpy(), rowvar=False)
    expected = np.square(correlations[~np.eye(5, dtype=bool)]).mean()
    assert covariance_loss(latents).item() == pytest.approx(expected, rel=1e-4)


def test_the_latent_loss_is_the_mean_square():
    assert latent_loss(torch.tensor([[1.0, 2.0], [3.0, 4.0]])).item() == 7.5


def test_the_contrastive_loss_is_the_cross_entropy_written_out():
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(3, 4, generator=generator), torch.randn(3, 4, generator=generator)
    both = F.normalize(torch.cat([one, other]), dim=1).double().numpy()
    terms = []
    for place in range(6):
        weights = [math.exp(both[place] @ both[k] / 0.2) for k in range(6)]
        terms.append(-math.log(weights[(place + 3) % 6] / (sum(weights) - weights[place])))
    assert contrastive_loss(one, other, 0.2).item() == pytest.approx(np.mean(terms), rel=1e-5)
    alike = torch.ones(4, 3)
    assert contrastive_loss(alike, alike, 0.5).item() == pytest.approx(math.log(7))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: huber_loss(images(0), images(1), EVERYWHERE, 0.0), "positive delta, got 0.0"),
        (lambda: covariance_loss(torch.zeros(1, 4)), "at least 2 images"),
        (lambda: contrastive_loss(torch.zeros(1, 4), torch.zeros(1, 4), 0.1), "at least 2 images"),
        (lambda: contrastive_loss(torch.zeros(2, 4), torch.zeros(2, 4), 0.0), "temperature must be positive"),
    ],
)
def test_what_has_no_answer_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
