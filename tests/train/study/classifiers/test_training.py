"""Both families learn what they should, and arms that are compared differ in nothing but what is compared."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from sklearn.metrics import accuracy_score
from torch import Tensor, nn

from echoform_train.data.spectrograms import Spectrograms, to_model, to_pixels
from echoform_train.scoring.augmentations import time_roll
from echoform_train.scoring.classifier_training import fit_classifier, logits_of
from echoform_train.study.classifiers.augmentations import Recipe
from echoform_train.study.classifiers.networks import FAMILIES
from echoform_train.study.classifiers.recropping import Strips
from echoform_train.study.classifiers.training import hits, train_classifier


def lines(count: int, seed: int, size: int = 32, num_users: int = 3) -> tuple[Tensor, Tensor]:
    """One bright line per image: its row tells the user, the columns where it is brightest are random."""
    generator = torch.Generator().manual_seed(seed)
    users = torch.arange(count) % num_users
    image = -0.8 + 0.1 * torch.randn(count, 1, size, size, generator=generator)
    columns = torch.arange(size)
    for index, user in enumerate(users.tolist()):
        phase = 2 * math.pi * torch.rand((), generator=generator)
        row = size // 8 + user * size // 4
        image[index, 0, row : row + 2] += 1 + 0.5 * torch.sin(2 * math.pi * 2 * columns / size + phase)
    return to_pixels(image), users


def accuracy(classifier: nn.Module, pixels: Tensor, users: Tensor) -> float:
    return hits(classifier, pixels, users).double().mean().item()


def weights(classifier: nn.Module) -> Tensor:
    return torch.cat([value.flatten().double() for value in classifier.state_dict().values()])


def train_briefly(family: str = "ResNet", seed: int = 1, **settings) -> nn.Module:
    real = lines(12, seed=0, size=16)
    return train_classifier(family, real, 3, seed=seed, train_images=64, batch_size=8, mixed_precision="no", **settings)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_tells_people_apart_by_doppler_on_images_that_it_never_saw(family):
    classifier = train_classifier(family, lines(48, seed=0), 3, seed=0, train_images=512, mixed_precision="no")
    assert not classifier.training
    pixels, users = lines(60, seed=1)
    assert accuracy(classifier, pixels, users) > 0.95
    moved = pixels[users == 0].roll(32 // 4, dims=2)
    assert hits(classifier, moved, torch.ones(20, dtype=torch.int64)).double().mean() > 0.8  # taken for the next one


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_without_a_reason_cannot_be_told_on_new_images(family):
    pixels, _ = lines(48, seed=0, num_users=1)
    users = torch.arange(48) % 4
    classifier = train_classifier(family, (pixels, users), 4, seed=0, train_images=256)
    new, _ = lines(200, seed=1, num_users=1)
    assert accuracy(classifier, new, torch.arange(200) % 4) < 0.4  # chance is 0.25, with a deviation of 0.03


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_gives_the_same_classifier_and_leaves_the_callers_randomness_alone(family):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = weights(train_briefly(family))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first, weights(train_briefly(family)))
    assert not torch.equal(first, weights(train_briefly(family, seed=2)))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_gets_a_gradient(family):
    classifier = FAMILIES[family].build(3, 64, 5)
    classifier(torch.randn(4, 3, 64, 64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in classifier.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_images_without_any_signal_leave_every_weight_finite(family):
    blank = torch.zeros(8, 1, 32, 32, dtype=torch.uint8), torch.arange(8) % 2
    classifier = train_classifier(family, blank, 2, seed=0, train_images=64, mixed_precision="no")
    assert weights(classifier).isfinite().all()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("height", "width"), [(64, 64), (16, 16), (40, 100), (96, 96)])
def test_images_of_any_size_get_a_logit_for_each_user(family, height, width):
    pixels = torch.randint(256, (4, 1, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    classifier = train_classifier(
        family, (pixels, torch.arange(4)), 7, seed=0, train_images=4, batch_size=4, mixed_precision="no"
    )
    assert logits_of(classifier, pixels).shape == (4, 7)


def test_arms_with_the_same_seed_see_the_same_real_images_in_the_same_order():
    """An augmentation that changes nothing, whatever it draws, changes nothing of the training."""

    def draw_only(image: Tensor, generator: torch.Generator) -> Tensor:
        torch.rand(100, generator=generator)
        return image

    plain = weights(train_briefly())
    assert torch.equal(plain, weights(train_briefly(recipe=Recipe(draw_only))))
    assert torch.equal(plain, weights(train_briefly(generated=lines(12, seed=5, size=16), generated_share=0.0)))
    assert not torch.equal(plain, weights(train_briefly(recipe=Recipe(time_roll))))


def test_every_arm_sees_the_same_real_images_and_the_share_of_generated_ones_asked_for():
    seen: list[Tensor] = []

    def watch(image: Tensor, generator: torch.Generator) -> Tensor:
        seen.append(image.clone())
        return image

    def batches() -> tuple[str, Tensor]:
        """Kind of each batch, r for real and g for generated, and the real ones."""
        is_black = [(image.flatten(1).max(1).values < -0.99).double().mean().item() for image in seen]
        assert set(is_black) <= {0.0, 1.0} and {len(image) for image in seen} == {8}  # never mixed
        real = torch.cat([image for image, black in zip(seen, is_black, strict=True) if not black])
        seen.clear()
        return "".join("g" if black else "r" for black in is_black), real

    black = torch.zeros(5, 1, 16, 16, dtype=torch.uint8), torch.zeros(5, dtype=torch.int64)
    train_briefly(recipe=Recipe(watch))
    kinds, expected = batches()
    assert kinds == "r" * 8
    for share, order in (
        (0.5, "rg" * 8),
        (0.25, "rrrgrrrgrr"),
        (1 / 3, "rrg" * 4),
        (0.125, "rrrrrrrgr"),
        (0.0, "r" * 8),
    ):
        train_briefly(recipe=Recipe(watch), generated=black, generated_share=share)
        kinds, real = batches()
        assert kinds == order
        assert torch.equal(real, expected)


def test_generated_images_leave_the_statistics_of_the_real_ones_alone():
    """Real images are all alike and generated ones are black, so that a mean of both would differ from that of one."""
    real = torch.full((4, 1, 16, 16), 200, dtype=torch.uint8), torch.arange(4) % 3
    black = torch.zeros(4, 1, 16, 16, dtype=torch.uint8), torch.arange(4) % 3
    seen = []

    class OneNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.head = nn.BatchNorm2d(1), nn.Linear(256, 3)

        def forward(self, image: Tensor) -> Tensor:
            seen.append(image.mean().item())
            return self.head(self.norm(image).flatten(1))

    def endless(sample: tuple[Tensor, Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield to_model(sample[0]), sample[1]

    trained = fit_classifier(
        OneNorm, endless(real), more=endless(black), steps=60, seed=0, peak_rate=1e-3, weight_decay=0.0
    )
    assert sorted({round(mean, 3) for mean in seen}) == [-1.0, round(200 / 127.5 - 1, 3)]
    # After 60 steps of momentum 0.1, 0.2 % of the first statistics (mean 0) are left.
    assert trained.norm.running_mean is not None
    assert trained.norm.running_mean.item() == pytest.approx(200 / 127.5 - 1, abs=0.005)
    assert trained.norm.momentum == 0.1


def test_the_weight_scales_the_loss_of_generated_images():
    """With a weight of 0 the generated images teach nothing, and more with each larger one."""
    generated = lines(12, seed=5, size=16)
    plain = weights(train_briefly("GRU over columns"))
    distances = [
        (weights(train_briefly("GRU over columns", generated=generated, generated_weight=weight)) - plain).norm().item()
        for weight in (1e-6, 1.0)
    ]
    assert distances[0] < distances[1]


def test_every_real_image_is_seen_before_any_is_seen_again():
    seen: list[Tensor] = []

    def watch(image: Tensor, generator: torch.Generator) -> Tensor:
        seen.append(image.flatten(1))
        return image

    # 64 real images of 12, 64 generated ones of 9
    train_briefly(recipe=Recipe(watch), generated=lines(9, seed=4, size=16))
    real, generated = torch.cat(seen[::2]), torch.cat(seen[1::2])
    for images, count in ((real, 12), (generated, 9)):
        for turn in range(2):
            assert len(images[turn * count : (turn + 1) * count].unique(dim=0)) == count


@pytest.mark.parametrize("family", FAMILIES)
def test_people_known_from_generated_images_alone_are_learnt(family):
    """Of users 1 and 2 there are generated images only, so that the names of those decide whom new images are given."""
    pixels, users = lines(48, seed=0)
    made, made_of = lines(30, seed=3)
    new, new_of = lines(60, seed=1)
    real = pixels[users == 0], users[users == 0]
    for names in (torch.tensor([0, 1, 2]), torch.tensor([0, 2, 1])):  # the true ones, then swapped ones
        generated = made[made_of > 0], names[made_of[made_of > 0]]
        classifier = train_classifier(
            family, real, 3, generated=generated, seed=0, train_images=1024, mixed_precision="no"
        )
        assert accuracy(classifier, new, names[new_of]) > 0.9


def test_windows_are_cut_from_strips_where_they_are_given():
    seen: list[Tensor] = []

    def watch(image: Tensor, generator: torch.Generator) -> Tensor:
        seen.append(image)
        return image

    ramp = torch.arange(40, dtype=torch.uint8).expand(1, 16, 40)  # a column's value is its index
    pixels = torch.stack([ramp[..., start : start + 16] for start in (0, 8, 16, 24)])
    unknown = {"conditions": {}, "files": tuple("abcd"), "recordings": ("r",) * 4}
    part = Spectrograms(
        pixels=pixels, users=torch.zeros(4, dtype=torch.int64), starts_s=(0.0, 0.5, 1.0, 1.5), **unknown
    )
    train_classifier(
        "ResNet", (pixels, part.users), 2, recipe=Recipe(watch, Strips(part, 1.0)), seed=0, train_images=96
    )
    first = ((torch.cat(seen)[:, 0, 0, 0] + 1) * 127.5).round()
    assert set(first.int().tolist()) == set(range(25))


@pytest.mark.parametrize("family", FAMILIES)
def test_hits_are_those_of_sklearn_and_do_not_depend_on_the_batch(family):
    classifier = train_briefly(family)
    pixels, users = lines(40, seed=3, size=16)
    users = users.roll(7)  # wrong on purpose
    named = logits_of(classifier, pixels).argmax(1)
    assert accuracy(classifier, pixels, users) == accuracy_score(users, named)
    torch.testing.assert_close(logits_of(classifier, pixels, batch_size=3), logits_of(classifier, pixels))


def test_bf16_learns_as_well():
    for family in FAMILIES:
        trained = train_classifier(family, lines(48, seed=0), 3, seed=0, train_images=512, mixed_precision="bf16")
        assert accuracy(trained, *lines(60, seed=1)) > 0.9


PIXELS, USERS = torch.zeros(4, 1, 16, 16, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "SVM"}, "one of ResNet, .*, got SVM"),
        ({"real": (torch.zeros(4, 1, 16, 16), USERS)}, "real pixels must be uint8"),
        ({"real": (torch.zeros(4, 1, 8, 16, dtype=torch.uint8), USERS)}, "at least 16 pixels per side, got 8x16"),
        ({"real": (PIXELS, USERS[:3])}, r"real users must be int64 \[4\]"),
        ({"real": (PIXELS, USERS + 3)}, r"in 0\.\.2, got 3\.\.3"),
        ({"batch_size": 1}, r"in 2\.\.train_images \(64\), got 1"),
        (
            {"generated_share": 1.5, "generated": lines(3, seed=0, size=16)},
            r"generated_share must be in 0\.\.0\.5, got 1\.5",
        ),
        ({"generated": lines(3, seed=0, size=32)}, r"size of the real ones, \[1, 16, 16\], got \[1, 32, 32\]"),
        (
            {"generated": (lines(3, seed=0, size=16)[0], torch.full((3,), 5))},
            r"generated users must be in 0\.\.2, got 5",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(change, message):
    arguments = {
        "family": "ResNet",
        "real": (PIXELS, USERS),
        "num_users": 3,
        "seed": 0,
        "train_images": 64,
        **change,
    }
    with pytest.raises(ValueError, match=message):
        train_classifier(**arguments)


def test_strips_of_other_images_are_refused():
    pixels, users = lines(12, seed=0, size=16)
    part = Spectrograms(
        pixels=pixels, users=users, conditions={}, files=("f",) * 12, recordings=(None,) * 12, starts_s=(None,) * 12
    )
    with pytest.raises(ValueError, match="of the 12 real images, they are of 5"):
        train_briefly(recipe=Recipe(strips=Strips(part.select(range(5)), 3.0)))
