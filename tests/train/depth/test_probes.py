import numpy as np
import pytest

from echoform_train.depth.probes import LabelledEmbeddings, knn_probe, linear_probe


def clusters(seed, count=30, dim=6):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    return LabelledEmbeddings((np.eye(3, dim)[labels] * 5 + rng.normal(size=(count, dim))).astype(np.float32), labels)


def test_probes_name_classes_that_lie_apart_and_guess_where_there_is_nothing_to_see():
    parts = clusters(0, 90), clusters(1), clusters(2, 60)
    for probe in (knn_probe, linear_probe):
        assert probe(*parts).correct.mean() > 0.95
        noise = [
            LabelledEmbeddings(np.random.default_rng(k).normal(size=(90, 6)).astype(np.float32), np.arange(90) % 3)
            for k in range(3)
        ]
        assert abs(probe(*noise).correct.mean() - 1 / 3) < 0.2


def test_a_linear_probe_of_more_numbers_than_images_uses_their_span():
    # Fifty copies of every number say the same as one copy whose penalty is fifty times weaker.
    parts = [clusters(seed, 30, 4) for seed in range(3)]
    wide = [LabelledEmbeddings(np.repeat(part.embeddings, 50, axis=1), part.labels) for part in parts]
    assert linear_probe(*wide).correct.mean() == pytest.approx(linear_probe(*parts).correct.mean(), abs=0.07)
