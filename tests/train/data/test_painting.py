import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image

from echoform_train.data.painting import save_sheet, to_pil_images


def test_a_sheet_shows_each_picture_in_its_place_between_white_lines(tmp_path):
    pixels = torch.arange(3, dtype=torch.uint8).mul(100)[:, None, None, None].expand(3, 1, 4, 6)
    save_sheet(pixels, 2, "jet", tmp_path / "new" / "sheet.png")
    with Image.open(tmp_path / "new" / "sheet.png") as image:
        sheet = np.array(image)
    assert sheet.shape == (2 * (4 + 2) + 2, 2 * (6 + 2) + 2, 3)
    jet = (np.asarray(colormaps["jet"]([0, 100, 200]))[:, :3] * 255).round()
    for (row, column), color in zip(((2, 2), (2, 10), (8, 2)), jet, strict=True):
        assert (sheet[row : row + 4, column : column + 6] == color).all()
    assert (sheet[:2] == 255).all()


def test_pictures_of_colour_images_are_left_as_they_are():
    pixels = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    first, _ = to_pil_images(pixels, None)
    assert np.array_equal(np.array(first), pixels[0].permute(1, 2, 0).numpy())
