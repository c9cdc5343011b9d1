from itertools import pairwise

import numpy as np
import pytest
import torch

from echoform_train.depth import figures
from echoform_train.depth.figures import Panel, save_map, save_panels, save_reconstructions


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are written while a test runs."""
    kept = []
    save = figures._save

    def keep_and_save(figure, path):
        kept.append(figure)
        save(figure, path)

    monkeypatch.setattr(figures, "_save", keep_and_save)
    return kept


def test_each_reconstruction_has_its_error_in_millimetres(tmp_path, drawn):
    depth = torch.full((3, 1, 32, 32), 2000.0)
    depth[:, :, :, 16:] = 3000
    valid = torch.ones(3, 1, 32, 32, dtype=torch.bool)
    valid[0, :, :16] = False
    valid[2] = False
    reconstructed = depth.clone()
    reconstructed[0] += 30  # 30 mm everywhere, also where there is no reading
    reconstructed[1, :, :8] += 40  # 40 mm in a quarter of the pixels
    path = tmp_path / "new" / "sheet.png"
    save_reconstructions(
        depth, valid, {"model": reconstructed}, valid, path, names=["chair", "table", "a long name" * 9]
    )
    (figure,) = drawn
    titles = [axes.get_title() for axes in figure.axes if axes.get_label() != "<colorbar>"]
    assert titles[:2] == ["chair", "table"] and titles[2].startswith("a long name") and len(titles[2]) < 20
    assert titles[3:6] == ["RMSE 30 mm", "RMSE 20 mm", "no readings"]
    bars = [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]
    assert [bar.get_ylabel() for bar in bars] == ["depth, mm", "depth, mm", "error, mm"]
    assert bars[0].get_ylim() == (2000, 3000)
    assert path.is_file()


def test_rows_of_unequal_length_leave_no_empty_boxes(tmp_path, drawn):
    panel = Panel(np.full((8, 8), 1500, np.uint16), "a room")
    save_panels([[panel] * 3, [panel]], {"min": 300.0, "max": 5000.0}, 1.0, tmp_path / "panels.png")
    visible = [axes.get_visible() for axes in drawn[0].axes if axes.get_label() != "<colorbar>"]
    assert visible == [True, True, True, True, False, False]


def test_titles_over_panels_stay_apart(tmp_path, drawn):
    panel = Panel(np.full((8, 8), 1500, np.uint16), "distance 0.0000116\nroom_0000/camera_0_0001.png")
    save_panels([[panel] * 8], {"min": 300.0, "max": 5000.0}, 1.0, tmp_path / "panels.png")
    boxes = [axes.title.get_window_extent() for axes in drawn[0].axes if axes.get_label() != "<colorbar>"]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_the_map_of_embeddings_names_its_classes(tmp_path, drawn):
    positions = torch.randn(12, 2, generator=torch.Generator().manual_seed(0)).numpy()
    labels = torch.arange(12).numpy() % 3
    save_map(positions, labels, {0: "chair", 1: "_hidden", 2: "$\\frac$ table"}, tmp_path / "map.png")
    legend = drawn[0].axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["chair (4)", "_hidden (4)", "$\\frac$ table (4)"]
