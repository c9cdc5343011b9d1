"""The native grid of enlarged images is found, in whole pixels, before and after JPEG."""

import io

import numpy as np
import pytest
from PIL import Image

from echoform_train.data.native_grid import native_grid


def enlarged(rows: int, columns: int, quality: int | None = None) -> np.ndarray:
    images = []
    for cells in np.random.default_rng(0).random((24, rows, columns)):
        image = Image.fromarray((255 * cells).astype(np.uint8)).resize((256, 256), Image.Resampling.NEAREST)
        if quality is not None:
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=quality)
            image = Image.open(buffer)
        images.append(np.asarray(image, np.float32) / 255)
    return np.stack(images)


@pytest.mark.parametrize("quality", [None, 75])
@pytest.mark.parametrize(("rows", "columns"), [(63, 64), (61, 57), (32, 70), (51, 17), (100, 40), (195, 55)])
def test_the_grid_before_enlarging_is_found(rows, columns, quality):
    found = native_grid(enlarged(rows, columns, quality))
    assert found.rows == pytest.approx(rows, abs=0.5)
    assert found.columns == pytest.approx(columns, abs=0.5)


def test_an_image_that_was_not_enlarged_has_none():
    found = native_grid(np.random.default_rng(0).random((24, 128, 128)))
    assert found.rows is None and found.columns is None
