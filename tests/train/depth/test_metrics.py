import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from sklearn.metrics import jaccard_score, mean_absolute_error, mean_absolute_percentage_error, root_mean_squared_error

from echoform_train.depth.metrics import (
    abs_rel,
    accuracy_interval,
    delta_105,
    delta_125,
    depth_edges,
    edge_f1,
    image_sums,
    mae_mm,
    metric_interval,
    psnr_db,
    rmse_mm,
    validity_iou,
)


@pytest.fixture(scope="module")
def example():
    """Targets with holes, reconstructions that are somewhat off, and predicted validity."""
    generator = torch.Generator().manual_seed(0)
    target = 500 + 3000 * torch.rand(5, 1, 12, 12, generator=generator)
    made = target * (1 + 0.1 * torch.randn(5, 1, 12, 12, generator=generator))
    valid = torch.rand(5, 1, 12, 12, generator=generator) < 0.8
    said = torch.rand(5, 1, 12, 12, generator=generator) < 0.7
    return made, target, valid, said


def test_errors_are_those_of_scikit_learn_over_all_valid_pixels(example):
    made, target, valid, said = example
    sums = image_sums(made, torch.where(valid, target, 0.0), valid, said)
    ours, true = made[valid].double().numpy(), target[valid].double().numpy()
    assert rmse_mm(sums) == pytest.approx(root_mean_squared_error(true, ours))
    assert mae_mm(sums) == pytest.approx(mean_absolute_error(true, ours))
    assert abs_rel(sums) == pytest.approx(mean_absolute_percentage_error(true, ours))
    assert validity_iou(sums) == pytest.approx(jaccard_score(valid.flatten(), said.flatten()))


def test_deltas_count_pixels_whose_ratio_is_small_either_way():
    target = torch.full((1, 1, 1, 6), 1000.0)
    made = torch.tensor([1000.0, 1049.0, 1051.0, 800.1, 799.0, -5.0]).reshape(1, 1, 1, 6)
    sums = image_sums(made, target, torch.ones_like(target, dtype=torch.bool))
    assert delta_105(sums) == 2 / 6
    assert delta_125(sums) == 4 / 6


def test_the_psnr_of_a_known_error_and_peak():
    target = torch.full((2, 1, 4, 4), 1000.0)
    sums = image_sums(target + 30, target, torch.ones_like(target, dtype=torch.bool))
    assert psnr_db(sums, peak_mm=3000) == pytest.approx(40.0)  # 20 log10(3000 / 30)
    perfect = image_sums(target, target, torch.ones_like(target, dtype=torch.bool))
    assert psnr_db(perfect, peak_mm=3000) == float("inf")


def test_pixels_without_a_reading_have_no_say(example):
    made, target, valid, _ = example
    expected = image_sums(made, target, valid)
    other = image_sums(torch.where(valid, made, 9e9), torch.where(valid, target, -7.0), valid)
    for name in ("pixels", "squared_mm2", "relative", "within_125", "edges", "edges_predicted"):
        assert np.array_equal(getattr(expected, name), getattr(other, name))


def test_a_pooled_number_weighs_pixels_and_not_images():
    target = torch.full((2, 1, 2, 2), 1000.0)
    made = target + torch.tensor([10.0, 0.0]).reshape(2, 1, 1, 1)
    valid = torch.ones_like(target, dtype=torch.bool)
    valid[0, 0, 1:] = False  # two pixels with an error of 10, four without
    valid[0, 0, 0, 1] = False  # and now one
    assert mae_mm(image_sums(made, target, valid)) == pytest.approx(10 / 5)


def test_edges_are_where_a_neighbour_is_a_twentieth_farther():
    depth = torch.tensor([[1000.0, 1000.0, 1049.0, 2000.0], [1000.0, 1000.0, 1049.0, 2000.0]])[None, None]
    everywhere = torch.ones_like(depth, dtype=torch.bool)
    assert depth_edges(depth, everywhere)[0, 0].tolist() == [[False, False, True, True]] * 2
    everywhere[..., 3] = False
    assert not depth_edges(depth, everywhere).any()  # the edge of what has no reading is no depth edge


def test_an_edge_counts_as_found_up_to_one_pixel_away():
    def step(column):
        depth = torch.full((1, 1, 16, 16), 1000.0)
        depth[..., column:] = 2000
        return depth

    everywhere = torch.ones(1, 1, 16, 16, dtype=torch.bool)
    assert edge_f1(image_sums(step(8), step(8), everywhere)) == 1
    assert edge_f1(image_sums(step(9), step(8), everywhere)) == 1
    # Two columns of edges each, two apart: one of either has one of the other beside it.
    assert edge_f1(image_sums(step(10), step(8), everywhere)) == pytest.approx(0.5)
    assert edge_f1(image_sums(step(12), step(8), everywhere)) == 0
    flat = torch.full((1, 1, 16, 16), 1000.0)
    assert edge_f1(image_sums(flat, step(8), everywhere)) == 0
    assert edge_f1(image_sums(flat, flat, everywhere)) == 1


def test_the_tolerance_is_the_dilation_of_scipy(example):
    made, target, valid, _ = example
    sums = image_sums(made, target, valid)
    ones = [torch.where(valid, depth, torch.tensor(1.0)) for depth in (made, target)]
    ours, true = (depth_edges(depth.double(), valid)[:, 0].numpy() for depth in ones)
    grown = [ndimage.binary_dilation(edges, np.ones((1, 3, 3))) for edges in (ours, true)]
    assert sums.edges_found.tolist() == (true & grown[0]).sum((1, 2)).tolist()
    assert sums.edges_correct.tolist() == (ours & grown[1]).sum((1, 2)).tolist()


def test_the_interval_of_a_mean_is_near_that_of_student():
    rng = np.random.default_rng(0)
    errors = torch.from_numpy(rng.gamma(4.0, 10.0, (200, 1, 1, 1)))
    target = torch.full((200, 1, 1, 1), 1000.0).double()
    sums = image_sums(target + errors, target, torch.ones_like(target, dtype=torch.bool))
    found = metric_interval(sums, mae_mm)
    low, high = stats.t.interval(0.95, 199, errors.mean(), stats.sem(errors.flatten()))
    assert found.mean == pytest.approx(errors.mean().item())
    assert found.low == pytest.approx(low, rel=0.02)
    assert found.high == pytest.approx(high, rel=0.02)


def test_neighbours_that_are_alike_make_the_interval_wider():
    hits = np.repeat(np.random.default_rng(0).random(30) < 0.7, 10)
    alone = accuracy_interval(hits)
    together = accuracy_interval(hits, groups=np.repeat(np.arange(30), 10))
    assert alone.mean == together.mean == hits.mean()
    assert (together.high - together.low) > 2 * (alone.high - alone.low)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: image_sums(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 3), torch.ones(1, 1, 2, 2)), "one shape"),
        (lambda: image_sums(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)), "above 0 mm"),
        (
            lambda: metric_interval(
                image_sums(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)), rmse_mm
            ),
            "at least one valid pixel",
        ),
        (
            lambda: validity_iou(image_sums(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2))),
            "needs predicted validity",
        ),
    ],
)
def test_what_has_no_answer_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
