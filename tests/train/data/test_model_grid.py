"""The native grid of images that Pillow enlarged is found and modelled; native images keep their size."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from echoform_train.data.colormap import paint
from echoform_train.data.model_grid import find_model_grid
from echoform_train.data.spectrograms import load_spectrograms

SIDE = 128


def speckled(rows: int, columns: int) -> np.ndarray:
    """Speckle on a smooth level, uint8 [12, rows, columns]."""
    rng = np.random.default_rng(1)
    smooth = gaussian_filter(rng.standard_normal((12, rows, columns)), (0, rows / 16, columns / 16))
    level = 10 * np.log10(rng.exponential(size=smooth.shape) + 0.02) + 8 * smooth / smooth.std()
    return (255 * np.clip((level + 25) / 45, 0, 1)).astype(np.uint8)


def enlarged(cells: np.ndarray, method: Image.Resampling, quality: int | None = None) -> np.ndarray:
    images = []
    for image in cells:
        drawn = Image.fromarray(image).resize((SIDE, SIDE), method)
        if quality is not None:
            drawn.save(buffer := io.BytesIO(), "JPEG", quality=quality)
            drawn = Image.open(buffer)
        images.append(np.asarray(drawn, np.float32) / 255)
    return np.stack(images)


@pytest.mark.parametrize("quality", [None, 80])
@pytest.mark.parametrize("method", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS])
def test_the_grid_of_smoothly_enlarged_images_is_modelled(method, quality):
    found = find_model_grid(enlarged(speckled(64, 51), method, quality), 16)
    assert found is not None
    assert found.size == (64, 64)
    assert "about 64x51" in found.note and "--resolution 64 models it whole" in found.note


@pytest.mark.parametrize("blur", [0, 1, 2])
def test_native_images_have_no_grid(blur):
    native = gaussian_filter(speckled(SIDE, SIDE).astype(np.float32) / 255, (0, blur, blur))
    assert find_model_grid(native, 16) is None


def test_repeated_pixels_come_back_exactly(tmp_path):
    cells = speckled(64, 64)
    for number, image in enumerate(cells):
        folder = tmp_path / f"ID_{number % 2 + 1}"
        folder.mkdir(exist_ok=True)
        Image.fromarray(paint(image.repeat(2, 0).repeat(2, 1), "jet")).save(folder / f"w{number:02d}.png")
    data = load_spectrograms(tmp_path, native=True, find_overlap=False, gap_windows=0)
    every = {
        file: pixels[0].numpy()
        for side in (data.train, data.validation, data.test, data.left_out)
        for file, pixels in zip(side.files, side.pixels, strict=True)
    }
    for number, image in enumerate(cells):
        # Some neighbours among the indices of jet have one colour.
        found = every[f"ID_{number % 2 + 1}/w{number:02d}.png"]
        np.testing.assert_array_equal(paint(found, "jet"), paint(image, "jet"))
    assert any("--resolution 64 models it whole" in note for note in data.notes)
    assert load_spectrograms(tmp_path, find_overlap=False, gap_windows=0).train.pixels.shape[-2:] == (SIDE, SIDE)
