"""Selection of generated images, with scorers whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from echoform_train.study.images.filtering import (
    COPY_OF_KEPT,
    COPY_OF_REAL,
    KEPT,
    LESS_AGREED,
    NO_WALK,
    filter_images,
    score_agreement,
    similarity,
)


class Brightness(nn.Module):
    """Says user 1 for bright images and user 0 for dark ones."""

    def forward(self, image: Tensor) -> Tensor:
        mean = image.mean(dim=(1, 2, 3))
        return torch.stack([-3 * mean, 3 * mean], dim=1)


SCORER = Brightness().eval()


def images(count: int, seed: int, mean: float = 128.0) -> Tensor:
    """Images that are not alike."""
    noise = torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    rough = torch.nn.functional.interpolate(noise, size=32, mode="nearest")
    return (mean + 30 * rough).clamp(0, 255).to(torch.uint8)


def test_similarity_is_numpys_correlation_at_the_best_roll():
    a, b = images(3, seed=0), images(2, seed=1)
    for i in range(3):
        for j in range(2):
            first, second = a[i, 0].numpy().ravel(), b[j, 0].numpy()
            rolled = [np.corrcoef(first, np.roll(second, by, axis=1).ravel())[0, 1] for by in range(32)]
            assert float(similarity(a, b)[i, j]) == pytest.approx(max(rolled), abs=1e-5)


def test_a_rolled_brighter_copy_is_the_same_image():
    a = images(4, seed=0, mean=100.0)
    copy = (0.8 * a.roll(11, dims=3).float() + 20).to(torch.uint8)
    np.testing.assert_allclose(similarity(a, copy).diagonal(), 1, atol=2e-3)
    assert similarity(a, a.flip(2)).diagonal().max() < 0.9
    assert similarity(a, torch.full_like(a, 7)).abs().max() == 0


def test_agreement_is_the_softmax_of_the_users_logit():
    bright = torch.full((1, 1, 32, 32), 255, dtype=torch.uint8)
    both = score_agreement(SCORER, bright.repeat(2, 1, 1, 1), torch.tensor([0, 1]), batch_size=1)
    assert both.tolist() == pytest.approx([1 / (1 + np.exp(6)), 1 / (1 + np.exp(-6))])


def test_the_most_agreed_on_half_of_each_user_is_kept():
    dark, bright = [images(1, seed, mean=50.0 + 10 * seed) for seed in range(4)], images(2, 9, mean=200.0)
    pixels, users = torch.cat([*dark, bright]), torch.tensor([0, 0, 0, 0, 1, 1])
    chosen = filter_images((pixels, users), (images(2, 77), torch.tensor([0, 1])), scorer=SCORER, keep_share=0.5)
    assert chosen.indices[:2].tolist() == [0, 1]  # the darkest two
    assert [int((users[chosen.indices] == user).sum()) for user in (0, 1)] == [2, 1]
    assert chosen.reasons[2:4] == (LESS_AGREED, LESS_AGREED)
    assert chosen.counts() == {KEPT: 3, NO_WALK: 0, COPY_OF_REAL: 0, COPY_OF_KEPT: 0, LESS_AGREED: 3}
    walks = torch.tensor([False, True, True, True, True, True])
    walking = filter_images((pixels, users), (images(2, 77), torch.tensor([0, 1])), scorer=SCORER, walks=walks)
    assert walking.indices[:2].tolist() == [1, 2]  # the next two
    assert walking.reasons[0] == NO_WALK


def test_copies_of_training_images_and_of_kept_ones_are_dropped():
    new, training = images(4, seed=0), images(3, seed=1)
    twin = new[:1].roll(5, dims=3)
    pixels = torch.cat([new, training[:1].roll(9, dims=3), twin])
    users = torch.zeros(6, dtype=torch.int64)
    chosen = filter_images((pixels, users), (training, users[:3]), scorer=SCORER, keep_share=1.0, max_duplicate=0.95)
    assert chosen.reasons[4] == COPY_OF_REAL
    assert chosen.nearest_real[4] == pytest.approx(1, abs=1e-3)
    assert sorted([chosen.reasons[0], chosen.reasons[5]]) == [KEPT, COPY_OF_KEPT]
    assert chosen.indices.tolist() == [index for index, reason in enumerate(chosen.reasons) if reason == KEPT]
    assert len(chosen.indices) == 4


def test_the_same_images_give_the_same_choice_in_any_order_of_batches():
    sample = images(12, seed=0), torch.arange(12) % 3 % 2
    real = images(4, seed=1), torch.arange(4) % 2
    once = filter_images(sample, real, scorer=SCORER, batch_size=12)
    again = filter_images(sample, real, scorer=SCORER, batch_size=5)
    assert once.reasons == again.reasons


def test_what_cannot_be_meant_is_refused():
    sample = images(2, seed=0), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="above 0 and at most 1, got 0"):
        filter_images(sample, sample, scorer=SCORER, keep_share=0.0)
    with pytest.raises(ValueError, match=r"in -1\.\.1, got 2"):
        filter_images(sample, sample, scorer=SCORER, max_duplicate=2.0)
    with pytest.raises(ValueError, match=r"of the size of the real ones, \[1, 16, 16\], got \[1, 32, 32\]"):
        filter_images(sample, (sample[0][:, :, :16, :16], sample[1]), scorer=SCORER)
    with pytest.raises(ValueError, match=r"users must be in 0\.\.1, the users of the scorer, got 5"):
        score_agreement(SCORER, sample[0], torch.tensor([0, 5]))
    with pytest.raises(ValueError, match="the scorer must be in eval mode"):
        filter_images(sample, sample, scorer=Brightness())
    with pytest.raises(ValueError, match=r"walks must be bool \[2\], got torch.int64 \[2\]"):
        filter_images(sample, sample, scorer=SCORER, walks=torch.tensor([1, 0]))
    with pytest.raises(ValueError, match="generated images must be uint8"):
        filter_images((sample[0].float(), sample[1]), sample, scorer=SCORER)
