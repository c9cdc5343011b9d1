from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from echoform_train.data.colormap import paint
from echoform_train.data.reading import ReadingConfig
from echoform_train.latent_diffusion.varied_images import read_varied_images
from tiny_doppler import tiny_pipeline


@pytest.fixture(scope="module")
def pipeline():
    return tiny_pipeline()


def levels(rows: int, columns: int) -> np.ndarray:
    """A spectrogram that fills the 256 levels, uint8 [rows, columns]."""
    return np.random.default_rng(0).integers(0, 256, (rows, columns), dtype=np.uint8)


def save(path: Path, index: np.ndarray, colormap: str = "jet") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(paint(index, colormap)).save(path)
    return path


def sides(pipeline) -> tuple[int, int]:
    size = pipeline.unet.config.sample_size
    rows, columns = (size, size) if isinstance(size, int) else size
    return tuple(side * 2 ** (len(pipeline.vqvae.config.block_out_channels) - 1) for side in (rows, columns))


def test_painted_images_become_the_levels_that_were_painted_and_larger_ones_their_means(pipeline, tmp_path):
    rows, columns = sides(pipeline)
    small = levels(rows, columns)
    save(tmp_path / "ID_1" / "same.png", small)
    read = read_varied_images(tmp_path / "ID_1" / "same.png", pipeline, ReadingConfig())
    # Up to five neighbouring levels of jet have one colour.
    np.testing.assert_array_equal(paint(read.pixels[0, 0].numpy(), "jet"), paint(small, "jet"))
    twice = save(tmp_path / "twice.png", np.kron(small, np.ones((2, 2), np.uint8)))
    larger = read_varied_images(twice, pipeline, ReadingConfig())
    np.testing.assert_array_equal(paint(larger.pixels[0, 0].numpy(), "jet"), paint(small, "jet"))


def test_decibels_in_a_file_become_the_levels_of_the_scale_of_the_pipeline(pipeline, tmp_path):
    rows, columns = sides(pipeline)
    index = levels(rows, columns)
    low, high = pipeline.config["axes"]["db_min"], pipeline.config["axes"]["db_max"]
    decibels = low + (high - low) * index / 255
    np.save(tmp_path / "walk.npy", decibels[::-1].astype(np.float32))
    read = read_varied_images(tmp_path / "walk.npy", pipeline, ReadingConfig())
    np.testing.assert_array_equal(read.pixels[0, 0], index)
    with pytest.raises(ValueError, match=r"db_min -50; --db-range has -40"):
        read_varied_images(tmp_path / "walk.npy", pipeline, ReadingConfig(db_range="-40,0"))


def test_images_of_another_kind_are_refused(pipeline, tmp_path):
    rows, columns = sides(pipeline)
    index = levels(rows, columns)
    refused = {
        "viridis": (save(tmp_path / "a" / "x.png", index, "viridis"), "must be painted with jet"),
        "small": (save(tmp_path / "b" / "x.png", index[::2, ::2]), "must have the size of those of the pipeline"),
        "wide": (save(tmp_path / "c" / "x.png", np.tile(index, (1, 2))), "the same shape at a larger size"),
        "equal": (save(tmp_path / "d" / "x.png", np.full_like(index, 90)), "all pixels of x.png are equal"),
    }
    for path, message in refused.values():
        with pytest.raises(ValueError, match=message):
            read_varied_images(path, pipeline, ReadingConfig())
    with pytest.raises(FileNotFoundError, match="there is no"):
        read_varied_images(tmp_path / "none.png", pipeline, ReadingConfig())


def test_axes_of_the_images_must_be_those_of_the_pipeline(pipeline, tmp_path):
    path = save(tmp_path / "ID_1" / "normal" / "x.png", levels(*sides(pipeline)))
    for axes in ({"window_s": 3.0, "doppler_min_hz": -5.0}, {"window_s": 2.0}):
        (tmp_path / "axes.json").write_text(json.dumps(axes))
        for source in (path, path.parent, tmp_path):
            if axes["window_s"] == 3.0:
                assert read_varied_images(source, pipeline, ReadingConfig()).pixels.shape[0] == 1
            else:
                with pytest.raises(ValueError, match=r"window_s 3; .*axes.json has 2"):
                    read_varied_images(source, pipeline, ReadingConfig())
