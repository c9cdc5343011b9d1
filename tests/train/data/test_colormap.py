from __future__ import annotations

import io

import matplotlib
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from echoform_train.data.colormap import COLORMAPS, detect, lookup_table, paint, to_index

# Rows of MATLAB's parula(64) as published.
PARULA_64 = {
    0: (0.2422, 0.1504, 0.6603),
    1: (0.250390476, 0.164995238, 0.707614286),
    2: (0.257771428, 0.181780952, 0.751138095),
    3: (0.264728571, 0.197757142, 0.795214285),
    63: (0.9769, 0.9839, 0.0805),
}


def jpeg(rgb: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def matlab_jet() -> np.ndarray:
    """MATLAB's jet(256) by its formula: ramps of 64 entries around centres 64 apart."""
    ramp = np.concatenate([np.arange(1, 65) / 64, np.ones(63), np.arange(64, 0, -1) / 64])
    table = np.zeros((256, 3))
    for channel, start in enumerate((96, 32, -32)):
        places = start + np.arange(len(ramp))
        inside = (places >= 0) & (places < 256)
        table[places[inside], channel] = ramp[inside]
    return np.round(table * 255).astype(np.uint8)


@pytest.mark.parametrize("name", ["jet", "viridis", "turbo", "gray"])
def test_the_table_is_that_of_matplotlib_to_half_a_unit(name):
    exact = matplotlib.colormaps[name](np.arange(256))[:, :3] * 255
    assert lookup_table(name).dtype == np.uint8
    assert np.abs(lookup_table(name) - exact).max() <= 0.5 + 1e-9


def test_parula_read_at_64_places_gives_the_published_rows_of_matlab():
    table = lookup_table("parula") / 255
    at_64 = np.stack([np.interp(np.linspace(0, 255, 64), np.arange(256), table[:, c]) for c in range(3)], axis=1)
    for row, published in PARULA_64.items():
        np.testing.assert_allclose(at_64[row], published, atol=0.5 / 255)


@pytest.mark.parametrize("name", COLORMAPS)
def test_painting_back_is_exact(name):
    painted = lookup_table(name)[None]  # [1, 256, 3]
    index = to_index(painted, name)
    np.testing.assert_array_equal(paint(index, name), painted)
    colors, counts = np.unique(painted[0], axis=0, return_counts=True)
    single = (painted[0][:, None] == colors[counts == 1][None]).all(-1).any(-1)
    np.testing.assert_array_equal(index[0][single], np.arange(256)[single])


def test_entries_of_one_colour_come_back_as_their_middle():
    run = np.flatnonzero((lookup_table("jet") == (0, 0, 255)).all(axis=1))
    assert run.tolist() == [28, 29, 30, 31, 32]
    assert set(to_index(lookup_table("jet")[run][None], "jet")[0].tolist()) == {30}


@pytest.mark.parametrize("name", COLORMAPS)
def test_index_is_that_of_the_nearest_entry(name):
    rgb = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    distance = np.linalg.norm(rgb[:, :, None].astype(float) - lookup_table(name).astype(float), axis=-1)
    index = to_index(rgb, name)
    chosen = np.take_along_axis(distance, index[..., None].astype(int), axis=-1)[..., 0]
    np.testing.assert_allclose(chosen, distance.min(axis=-1))


@pytest.mark.parametrize("name", COLORMAPS)
def test_a_painted_picture_is_told_by_its_map_without_residual(name, picture):
    match = detect(paint(picture(1, 64), name))
    assert match.name == name
    assert match.residual == 0


@pytest.mark.parametrize("quality", [95, 75, 40])
@pytest.mark.parametrize("name", COLORMAPS)
def test_a_picture_compressed_as_jpeg_is_still_told(name, quality, picture):
    match = detect(jpeg(paint(picture(2, 128), name), quality))
    assert match.name == name
    assert match.residual < 12


@pytest.mark.parametrize("quality", [95, 85, 75])
@pytest.mark.parametrize("name", COLORMAPS)
@pytest.mark.parametrize("floor", [0, 190])
def test_a_small_jpeg_is_told_although_jpeg_halves_the_resolution_of_its_colours(name, quality, floor):
    # Speckle, as in a spectrogram of 64 pixels: neighbours differ; with a high floor most of it is of one colour.
    speckle = np.random.default_rng(5).exponential(60, (64, 64))
    smooth = np.asarray(Image.fromarray(speckle.astype(np.float32)).resize((128, 128), Image.Resampling.BICUBIC))
    index = np.clip(2 * smooth[:64, :64] - floor, 0, 255).astype(np.uint8)
    assert detect(jpeg(paint(index, name), quality)).name == name


@pytest.mark.parametrize("levels", [10, 16, 64, 1024])
@pytest.mark.parametrize("name", sorted({*COLORMAPS} - {"parula"}))
def test_maps_of_other_numbers_of_levels_are_told(name, levels, picture):
    exact = matplotlib.colormaps[name].resampled(levels)(picture(6, 64) / 255)
    match = detect(np.round(exact[..., :3] * 255).astype(np.uint8))
    assert match.name == name
    assert match.residual < 3


@pytest.mark.parametrize(
    "name", ["coolwarm", "hsv", "CMRmap", "afmhot", "bone", "copper", "gnuplot2", "Spectral", "RdBu"]
)
@pytest.mark.parametrize("floor", [0, 150])
def test_maps_that_are_not_known_are_not_taken_for_others(name, floor, picture):
    # Where most of a picture is floor, its colour alone would decide: black is the floor of four maps.
    index = np.clip(picture(7, 64).astype(int) - floor, 0, 255) * 255 // (255 - floor)
    rgb = np.round(matplotlib.colormaps[name](index)[..., :3] * 255).astype(np.uint8)
    assert detect(rgb).name is None


def test_a_stack_of_pictures_is_told_too(picture):
    assert detect(np.stack([paint(picture(seed), "turbo") for seed in range(3)])).name == "turbo"


def test_what_matplotlib_saves_is_jet_although_it_truncates_colours(picture):
    index = picture(3, 64)
    truncated = matplotlib.colormaps["jet"](index, bytes=True)[..., :3]
    assert detect(truncated).name == "jet"
    assert np.abs(to_index(truncated, "jet").astype(int) - index).max() <= 2


def test_jet_of_matlab_is_told_as_jet(picture):
    match = detect(matlab_jet()[picture(4, 64)])
    assert match.name == "jet"
    assert 0 < match.residual < 10


@pytest.mark.parametrize("saturation", [1.0, 0.3])
def test_photographs_have_no_map(saturation):
    for photo in load_sample_images().images:
        gray = photo.mean(axis=-1, keepdims=True)
        assert detect((gray + saturation * (photo - gray)).astype(np.uint8)).name is None


def test_uniform_noise_has_no_map():
    match = detect(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    assert match.name is None
    assert match.residual > 20


def test_another_type_and_an_unknown_name_are_refused():
    with pytest.raises(ValueError, match=r"uint8 \[\.\.\., 3\], got float64 \[4, 4, 3\]"):
        detect(np.zeros((4, 4, 3)))
    with pytest.raises(ValueError, match="must be uint8, got int64"):
        paint(np.zeros((4, 4), dtype=np.int64), "jet")
    with pytest.raises(ValueError, match=r"one of jet, parula, .*, gray, got 'coolwarm'"):
        lookup_table("coolwarm")
