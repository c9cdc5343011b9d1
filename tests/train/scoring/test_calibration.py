import pytest
import torch
from torch.nn import functional as F

from echoform_train.scoring.calibration import calibration_error, fit_temperature


def test_the_calibration_error_is_that_of_a_computation_by_hand():
    # Two bins of ten: 0.95 and 0.91 with one hit of two, 0.55 and 0.58 with two hits of two.
    probabilities = torch.tensor([[0.95, 0.05], [0.09, 0.91], [0.55, 0.45], [0.58, 0.42]])
    labels = torch.tensor([0, 0, 0, 0])
    by_hand = 2 / 4 * abs(0.5 - (0.95 + 0.91) / 2) + 2 / 4 * abs(1.0 - (0.55 + 0.58) / 2)
    assert calibration_error(probabilities, labels, bins=10) == pytest.approx(by_hand, abs=1e-6)


def test_sure_and_right_is_calibrated_and_sure_and_wrong_is_not():
    sure = torch.eye(3)
    assert calibration_error(sure, torch.tensor([0, 1, 2])) == 0
    assert calibration_error(sure, torch.tensor([1, 2, 0])) == 1


def test_the_temperature_of_logits_that_were_multiplied_is_found_again():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(20_000, 4, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    assert fit_temperature(3 * logits, labels) == pytest.approx(3, rel=0.03)
    assert fit_temperature(logits / 2, labels) == pytest.approx(0.5, rel=0.03)
    assert calibration_error((3 * logits).softmax(1), labels) > 0.1
    assert calibration_error(logits.softmax(1), labels) < 0.02


def test_no_other_temperature_has_a_smaller_cross_entropy():
    generator = torch.Generator().manual_seed(1)
    logits = 5 * torch.randn(300, 3, generator=generator)
    labels = torch.randint(3, (300,), generator=generator)
    labels[:200] = logits[:200].argmax(1)
    best = fit_temperature(logits, labels)
    loss = float(F.cross_entropy(logits / best, labels))
    assert all(loss <= float(F.cross_entropy(logits / other, labels)) + 1e-6 for other in (0.9 * best, 1.1 * best))
