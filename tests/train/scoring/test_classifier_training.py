"""The loop that trains all classifiers, and what goes into it."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest
import torch
from torch import Tensor, nn

from echoform_train.data.spectrograms import to_model
from echoform_train.engine.schedules import learning_rate_at
from echoform_train.scoring.classifier_training import (
    check_labelled_images,
    fit_classifier,
    logits_of,
    shrink,
    shuffled_indices,
)


def constant_batches(image: Tensor, users: Tensor):
    while True:
        yield image, users


def test_the_weights_are_those_of_the_same_loop_written_out_by_hand():
    generator = torch.Generator().manual_seed(0)
    image, users = torch.randn(6, 1, 4, 4, generator=generator), torch.arange(6) % 3

    def build() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))

    trained = fit_classifier(
        build, constant_batches(image, users), steps=40, seed=5, peak_rate=1e-2, weight_decay=0.3, mixed_precision="no"
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        expected = build()
    weight, bias = expected.parameters()
    optimizer = torch.optim.AdamW([{"params": [weight], "weight_decay": 0.3}, {"params": [bias], "weight_decay": 0.0}])
    for step in range(40):
        rate = learning_rate_at(step, peak=1e-2, warmup_steps=2, total_steps=40, shape="cosine")
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        nn.CrossEntropyLoss(label_smoothing=0.1)(expected(image), users).backward()
        optimizer.step()
    assert not trained.training
    for ours, by_hand in zip(trained.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, by_hand, rtol=1e-6, atol=1e-7)


def test_a_network_that_learns_leaves_the_random_state_of_the_caller_alone():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    batches = constant_batches(torch.zeros(2, 1, 4, 4), torch.arange(2))
    fit_classifier(
        lambda: nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(16, 2)),
        batches,
        steps=3,
        seed=0,
        peak_rate=1e-3,
        weight_decay=0.0,
    )
    assert torch.equal(torch.rand(4), expected)


def test_every_index_comes_once_per_pass_in_an_order_of_its_own():
    order = list(islice(shuffled_indices(7, torch.Generator().manual_seed(0)), 21))
    passes = [order[start : start + 7] for start in (0, 7, 14)]
    assert all(sorted(each) == list(range(7)) for each in passes)
    assert len({tuple(each) for each in passes}) == 3
    assert set(Counter(order).values()) == {3}


def test_large_images_are_averaged_to_64_pixels_and_small_ones_are_kept():
    large = torch.randn(2, 1, 128, 96, generator=torch.Generator().manual_seed(0))
    assert shrink(large).shape == (2, 1, 64, 64)
    by_hand = large[..., :64].unflatten(2, (64, 2)).mean(dim=3)
    torch.testing.assert_close(shrink(large[..., :64]), by_hand)
    small = large[..., :64, :50]
    assert shrink(small) is small


def test_logits_do_not_depend_on_the_batch():
    pixels = torch.randint(256, (7, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    torch.testing.assert_close(logits_of(network, pixels, batch_size=3), network(to_model(pixels)))


def test_errors_say_which_images_are_meant():
    pixels, users = torch.zeros(4, 1, 16, 16, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64)
    check_labelled_images(pixels, users, 1)
    with pytest.raises(ValueError, match=r"^generated pixels must be uint8"):
        check_labelled_images(pixels.float(), users, 1, kind="generated")
    with pytest.raises(ValueError, match=r"^images must have at least 16 pixels per side, got 8x16"):
        check_labelled_images(pixels[:, :, :8], users, 1)
    with pytest.raises(ValueError, match=r"^real users must be in 0\.\.1, got 2\.\.2"):
        check_labelled_images(pixels, users + 2, 2, kind="real")
