import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torchmetrics.functional.image import structural_similarity_index_measure

from echoform_train.scoring.image_quality import brightness_each, detail_each, psnr, psnr_each, ssim_each


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(3, 2, 24, 20, generator=generator)
    return (target + 0.1 * torch.randn(target.shape, generator=generator)).clamp(0, 1), target


def test_ssim_is_that_of_the_formula_with_scipys_gaussian_filter(images):
    made, target = (image.double().numpy() for image in images)

    def mean(values):
        # A window of 11 pixels reaches 5 beyond its middle; places nearer to the border are left out.
        return gaussian_filter(values, sigma=1.5, truncate=5 / 1.5)[5:-5, 5:-5]

    expected = []
    for a_image, b_image in zip(made, target, strict=True):
        values = []
        for a, b in zip(a_image, b_image, strict=True):
            ma, mb = mean(a), mean(b)
            va, vb, cov = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
            c1, c2 = 1e-4, 9e-4
            values.append((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
        expected.append(np.mean(values))
    assert ssim_each(*images).tolist() == pytest.approx(expected, rel=1e-9)


def test_ssim_is_that_of_torchmetrics_without_the_border_that_it_makes_up(images):
    made, target = (image.double() for image in images)
    _, map_with_border = structural_similarity_index_measure(made, target, data_range=1.0, return_full_image=True)
    expected = map_with_border[..., 5:-5, 5:-5].flatten(1).mean(dim=1)
    torch.testing.assert_close(ssim_each(made, target), expected, rtol=1e-10, atol=0)


def test_ssim_of_equal_and_of_flat_images_is_what_it_is_by_hand(images):
    made, target = images
    assert ssim_each(target, target).tolist() == pytest.approx([1, 1, 1])
    dark, bright = torch.full((1, 3, 16, 16), 0.25), torch.full((1, 3, 16, 16), 0.75)
    by_hand = (2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4)
    assert ssim_each(dark, bright).item() == pytest.approx(by_hand, rel=1e-6)
    assert torch.equal(ssim_each(made, target), ssim_each(target, made))


def test_psnr_brightness_and_detail_are_what_they_are_by_hand():
    target = torch.zeros(2, 1, 4, 4)
    made = target.clone()
    made[1] = 0.1
    found = psnr_each(made, target)
    assert math.isinf(found[0]) and found[1].item() == pytest.approx(20, rel=1e-6)
    assert brightness_each(made).tolist() == pytest.approx([0, 0.1])
    stripes = torch.tensor([0.0, 1.0, 0.0, 1.0]).expand(1, 3, 4, 4)  # along rows: every neighbour differs by 1
    ramp = torch.arange(4.0)[:, None].expand(1, 3, 4, 4) / 10
    assert detail_each(torch.cat([stripes, ramp])).tolist() == pytest.approx([1, 0.01])
    assert detail_each(2 * stripes).item() == 4


def test_psnr_of_a_known_error():
    target = torch.zeros(2, 1, 4, 4)
    assert psnr(target + 0.02, target) == pytest.approx(40.0)  # 20 log10(2 / 0.02)
    assert psnr(target, target) == math.inf


def test_psnr_is_that_of_the_formula_on_images_like_measured_ones():
    generator = torch.Generator().manual_seed(1)
    target = torch.rand(5, 3, 32, 40, generator=generator).pow(4)  # mostly dark
    made = (target + 0.05 * torch.randn(target.shape, generator=generator)).clamp(0, 1)
    squared = (made.double() - target.double()).square()
    by_hand = -10 * squared.mean(dim=(1, 2, 3)).log10()
    torch.testing.assert_close(psnr_each(made, target), by_hand, rtol=1e-6, atol=0)
    in_model_range = psnr(2 * made - 1, 2 * target - 1)
    assert in_model_range == pytest.approx(-10 * math.log10(squared.mean().item()), rel=1e-6)


def test_images_of_other_shapes_or_too_small_are_refused():
    with pytest.raises(ValueError, match="of one shape, got"):
        psnr_each(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 5))
    with pytest.raises(ValueError, match="shapes must be equal"):
        psnr(torch.zeros(2), torch.zeros(3))
    with pytest.raises(ValueError, match="at least 11 pixels per side"):
        ssim_each(torch.zeros(1, 1, 10, 16), torch.zeros(1, 1, 10, 16))
