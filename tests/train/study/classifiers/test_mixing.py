"""Mixed images are what their labels say they are."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from echoform_train.study.classifiers.mixing import MIXUP_ALPHA, cutmix_in_time, mixup


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# The image of user k is k + 1 everywhere, so that an image tells the users that it is made of.
USERS = torch.arange(4).repeat(500)
SHARES = torch.nn.functional.one_hot(USERS, 4).float()
IMAGE = ((USERS + 1) / 10)[:, None, None, None].expand(-1, 1, 3, 20).contiguous()
LEVELS = torch.arange(1, 5) / 10


def test_mixup_averages_pixels_as_it_averages_users():
    image, shares = mixup(IMAGE, SHARES, generator())
    torch.testing.assert_close(image[:, 0, 0, 0], shares @ LEVELS)
    torch.testing.assert_close(shares.sum(1), torch.ones(2000))
    assert (shares > 0).sum(1).max() == 2


def test_weights_of_mixup_follow_the_beta_distribution():
    _, shares = mixup(IMAGE, SHARES, generator())
    mixed = shares.max(1).values[shares.max(1).values < 1]  # max(w, 1 - w) for images that were mixed with another user
    folded = lambda x: stats.beta.cdf(x, MIXUP_ALPHA, MIXUP_ALPHA) - stats.beta.cdf(1 - x, MIXUP_ALPHA, MIXUP_ALPHA)  # noqa: E731
    assert stats.kstest(mixed.double().numpy(), folded).pvalue > 0.01


def test_cutmix_replaces_whole_columns_and_labels_by_their_share():
    image, shares = cutmix_in_time(IMAGE, SHARES, generator())
    assert torch.equal(image, image[:, :, :1].expand_as(image))
    of_user = (image[:, 0, 0, :, None] - LEVELS).abs() < 1e-6  # [B, W, users]
    torch.testing.assert_close(of_user.float().mean(1), shares)
    # One stretch: the user changes at most twice along time.
    assert ((image[:, 0, 0, 1:] != image[:, 0, 0, :-1]).sum(1) <= 2).all()
    assert 0.5 < (shares.max(1).values == 1).float().mean() < 0.75  # half, and those mixed with their own user


@pytest.mark.parametrize("mix", [mixup, cutmix_in_time])
def test_a_mixing_leaves_its_input_alone_and_repeats_itself(mix):
    before = IMAGE.clone()
    first, second = mix(IMAGE, SHARES, generator(1)), mix(IMAGE, SHARES, generator(1))
    assert torch.equal(IMAGE, before)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
