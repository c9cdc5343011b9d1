import pytest
import torch

from echoform_train.depth.augment import augment_images
from echoform_train.depth.depth_ae_config import Augmentation

RANGE = (500.0, 4000.0)


def scenes(count=6):
    units = torch.randint(500, 4001, (count, 1, 16, 16), generator=torch.Generator().manual_seed(0)).float()
    units[:, :, :3, :5] = 0
    return units


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


EVERYTHING = Augmentation(
    augment=True, augment_flip=True, augment_tilt_deg=15, augment_zoom=0.2, augment_shift=0.1, augment_depth=0.3
)


def test_nothing_is_changed_by_default():
    assert not Augmentation().any
    assert torch.equal(augment_images(scenes(), generators(*range(6)), Augmentation(), RANGE), scenes())


def test_turns_are_those_by_90_degrees_and_all_four_happen():
    image = scenes(1)
    made = [augment_images(image, generators(seed), Augmentation(augment=True), RANGE) for seed in range(40)]
    turns = [next(k for k in range(4) if torch.equal(one, image.rot90(k, (-2, -1)))) for one in made]
    assert set(turns) == {0, 1, 2, 3}


def test_depths_are_never_mixed():
    change = Augmentation(augment=True, augment_flip=True, augment_tilt_deg=30, augment_zoom=0.3, augment_shift=0.2)
    made = augment_images(scenes(), generators(*range(6)), change, RANGE)
    for before, after in zip(scenes(), made, strict=True):
        assert set(after.flatten().tolist()) <= set(before.flatten().tolist()) | {0.0}


def test_scaled_depths_keep_their_ratios_and_stay_in_range():
    change = Augmentation(augment_depth=0.5)
    made = augment_images(scenes(), generators(*range(6)), change, RANGE)
    before, known = scenes(), scenes() > 0
    ratios = torch.where(known, made / before.clamp(min=1), torch.nan)
    for ratio in ratios:
        ratio = ratio[~ratio.isnan()]
        assert ratio.max() - ratio.min() < 1e-5
    assert made[known].min() >= RANGE[0] - 1e-2 and made[known].max() <= RANGE[1] + 1e-2
    assert (made[~known] == 0).all()
    narrow = 0.5 * scenes() + 1000  # 1250..3000 leaves room to scale
    factors = augment_images(narrow, generators(*range(6)), change, RANGE)[:, 0, 8, 8] / narrow[:, 0, 8, 8]
    assert factors.std() > 0.05 and factors.min() >= 0.5 and factors.max() <= 1.5


def test_a_shift_moves_whole_pixels_and_shows_no_reading_at_the_border():
    image = torch.full((1, 1, 16, 16), 1000.0)
    made = augment_images(image, generators(3), Augmentation(augment_shift=0.4), RANGE)
    assert set(made.flatten().tolist()) == {0.0, 1000.0}


def test_an_image_is_changed_by_its_own_generator_alone():
    together = augment_images(scenes(), generators(*range(6)), EVERYTHING, RANGE)
    alone = augment_images(scenes()[4:5], generators(4), EVERYTHING, RANGE)
    assert torch.equal(together[4:5], alone)
    again = augment_images(scenes(), generators(*range(6)), EVERYTHING, RANGE)
    assert torch.equal(together, again)


def test_an_image_without_a_reading_stays_one():
    nothing = torch.zeros(1, 1, 16, 16)
    assert torch.equal(augment_images(nothing, generators(0), EVERYTHING, RANGE), nothing)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"augment_shift": 1.5}, r"--augment-shift must be a share in \[0, 1\), got 1\.5"),
        ({"augment_tilt_deg": -1.0}, r"--augment-tilt-deg must lie in 0\.\.180"),
    ],
)
def test_changes_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**settings)
