import numpy as np
import pytest
import torch
from scipy.fft import dctn
from sklearn import decomposition

from echoform.depth_autoencoder import DepthAutoencoder
from echoform_train.depth import baselines
from echoform_train.depth.baselines import (
    DCT,
    PCA,
    fill_with_mean,
    fill_with_nearest,
    principal_components,
    standardise,
    with_random_weights,
    zigzag_order,
)


@pytest.fixture(scope="module")
def smooth():
    """40 images of 16x16 in [-1, 1], smooth enough to be compressed."""
    rng = np.random.default_rng(0)
    spectrum = rng.normal(size=(40, 16, 16)) / (1 + np.hypot(*np.mgrid[:16, :16])) ** 2
    images = np.fft.irfft2(np.fft.rfft2(spectrum), s=(16, 16))
    return np.tanh(images / images.std()).astype(np.float32)


def test_components_and_reconstructions_are_those_of_scikit_learn(smooth):
    ours, theirs = PCA.fit(smooth, 10), decomposition.PCA(10).fit(smooth.reshape(40, -1))
    expected = theirs.inverse_transform(theirs.transform(smooth.reshape(40, -1))).reshape(smooth.shape)
    assert ours.decode(ours.encode(smooth)) == pytest.approx(np.clip(expected, -1, 1), abs=1e-4)
    _, variances = principal_components(torch.from_numpy(smooth).flatten(1) - torch.from_numpy(ours.mean).flatten(), 10)
    assert variances.numpy() * 40 / 39 == pytest.approx(theirs.explained_variance_, rel=1e-3)


def test_many_images_are_decomposed_at_random_with_nearly_the_same_result(smooth, monkeypatch):
    exact = PCA.fit(smooth, 8)
    monkeypatch.setattr(baselines, "EXACT_PCA_IMAGES", 10)
    quick = PCA.fit(smooth, 8)
    errors = [np.square(pca.decode(pca.encode(smooth)) - smooth).mean() for pca in (exact, quick)]
    assert errors[1] == pytest.approx(errors[0], rel=1e-3)


def test_few_images_have_few_components(smooth):
    few = PCA.fit(smooth[:5], 768)
    assert len(few.components) == 4
    assert few.decode(few.encode(smooth[:5])) == pytest.approx(smooth[:5], abs=1e-4)


def test_the_zigzag_is_that_of_jpeg():
    rows, columns = zigzag_order(4)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [
        (0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2), (0, 3), (1, 2), (2, 1), (3, 0), (3, 1), (2, 2), (1, 3), (2, 3),
        (3, 2), (3, 3),
    ]  # fmt: skip


def test_all_cosine_coefficients_give_the_image_back_and_the_first_are_those_of_scipy(smooth):
    whole = DCT(16, 256)
    assert whole.decode(whole.encode(smooth)) == pytest.approx(smooth, abs=1e-5)
    part = DCT(16, 3).encode(smooth)
    spectrum = np.asarray(dctn(smooth[7], norm="ortho"))
    assert part[7] == pytest.approx([spectrum[0, 0], spectrum[0, 1], spectrum[1, 0]], abs=1e-5)


def test_more_numbers_never_reconstruct_worse(smooth):
    errors = [np.square(DCT(16, dim).decode(DCT(16, dim).encode(smooth)) - smooth).mean() for dim in (1, 8, 32, 128)]
    assert errors == sorted(errors, reverse=True)


def test_holes_take_the_nearest_reading():
    depth = torch.tensor([[0.5, 0.0, 0.0, -0.5]])[None, None]
    valid = torch.tensor([[True, False, False, True]])[None, None]
    assert fill_with_nearest(depth, valid)[0].tolist() == [[0.5, 0.5, -0.5, -0.5]]
    nothing = fill_with_nearest(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2, dtype=torch.bool))
    assert nothing.tolist() == [[[0.0, 0.0], [0.0, 0.0]]]


def test_holes_take_the_mean_of_the_training_images_at_their_place():
    train = torch.tensor([[[[0.2, 0.0]]], [[[0.4, 0.0]]]]), torch.tensor([[[[True, False]]], [[[True, False]]]])
    test = torch.tensor([[[[0.0, 0.9]]]]), torch.tensor([[[[False, True]]]])
    first, second = fill_with_mean([train, test])
    assert first.tolist() == pytest.approx(np.array([[[0.2, 0.0]], [[0.4, 0.0]]]))
    assert second[0, 0].tolist() == pytest.approx([0.3, 0.9])


def test_an_untrained_model_is_of_the_same_size_and_the_same_each_time():
    model = DepthAutoencoder(sample_size=32, latent_dim=8, block_out_channels=(8, 8, 8, 8))
    state = torch.get_rng_state()
    one, other = with_random_weights(model), with_random_weights(model)
    assert torch.equal(state, torch.get_rng_state())
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    assert {name: value.shape for name, value in one.state_dict().items()} == shapes
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_standardised_embeddings_have_deviation_one_and_constants_are_zero():
    train = np.array([[1.0, 10.0, 5.0], [3.0, 30.0, 5.0]], np.float32)
    ours, other = standardise(train, np.array([[2.0, 40.0, 6.0]], np.float32))
    assert ours.tolist() == [[-1, -1, 0], [1, 1, 0]]
    assert other.tolist() == [[0, 2, 0]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PCA.fit(np.zeros((1, 4, 4), np.float32), 2), "at least 2 training images, got 1"),
        (lambda: PCA.fit(np.ones((3, 4, 4), np.float32), 2), "all are the same"),
        (lambda: DCT(4, 17), r"has 1\.\.16 coefficients, got 17"),
    ],
)
def test_what_has_no_answer_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
