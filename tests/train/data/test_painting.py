import numpy as np
import torch
from matplotlib import colormaps

from echoform_train.data.painting import to_pil_images


def test_indices_are_painted_with_the_colours_of_matplotlib():
    pixels = torch.tensor([0, 100, 200], dtype=torch.uint8)[:, None, None, None].expand(3, 1, 4, 6)
    jet = (np.asarray(colormaps["jet"]([0, 100, 200]))[:, :3] * 255).round()
    for image, color in zip(to_pil_images(pixels, "jet"), jet, strict=True):
        assert np.array(image).shape == (4, 6, 3) and (np.array(image) == color).all()


def test_pictures_of_colour_images_are_left_as_they_are():
    pixels = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    first, _ = to_pil_images(pixels, None)
    assert np.array_equal(np.array(first), pixels[0].permute(1, 2, 0).numpy())
