import json
from pathlib import Path

import pytest
from PIL import Image

from echoform_train.commands import simulate as command
from echoform_train.commands.simulate import Config
from echoform_train.radar import simulation_sheet
from echoform_train.radar.receiver import Receiver
from echoform_train.radar.view import View


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are written while a test runs."""
    figures = []
    save = simulation_sheet.save_figure

    def keep_and_save(figure, path):
        figures.append(figure)
        save(figure, path)

    monkeypatch.setattr(simulation_sheet, "save_figure", keep_and_save)
    return figures


def simulate(folder: Path, **changes) -> Path:
    settings = {"users": 2, "recordings_per_user": 2, "recording_s": 4.0, "resolution": 32, "workers": 1}
    return command.main(Config(output_dir=folder, sheet=True, **(settings | changes)))


def cells_of(figure):
    return [axes for axes in figure.axes if axes.get_label() != "dB"]


def test_the_sheet_shows_each_recording_with_the_truth_of_its_row(tmp_path, drawn):
    folder = simulate(tmp_path / "walkers")
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    axes = json.loads((folder / "axes.json").read_text())
    (figure,) = drawn
    cells = cells_of(figure)
    titles = {f"{row['direction']}, {row['speed_mps']:.2f} m/s" for row in rows}
    assert len(cells) == 2 * 2
    assert all(any(title in cell.get_title() for title in titles) for cell in cells)
    assert [cell.get_ylabel().split(",")[0] for cell in cells[::2]] == ["ID_1", "ID_2"]
    for cell in cells:
        assert cell.images[0].get_extent() == [0, axes["window_s"], axes["doppler_min_hz"], axes["doppler_max_hz"]]
    with Image.open(tmp_path / "walkers-sheet.png") as image:
        assert image.size == tuple(round(200 * inches) for inches in figure.get_size_inches())
    assert "relative to the body" in figure.texts[0].get_text()


def test_a_sheet_for_a_paper_has_its_own_colours_and_leaves_the_images_alone(tmp_path, drawn):
    plain = simulate(tmp_path / "plain")
    folder = simulate(tmp_path / "paper", figure_format="pdf", figure_colormap="viridis")
    assert (tmp_path / "paper-sheet.pdf").read_bytes().startswith(b"%PDF")
    assert not (tmp_path / "paper-sheet.png").exists()
    for path in plain.rglob("*.png"):
        assert (folder / path.relative_to(plain)).read_bytes() == path.read_bytes()
    with pytest.raises(ValueError, match="are for the figure of --sheet, which is missing"):
        Config(output_dir=tmp_path / "no", figure_format="svg")


def test_a_sheet_says_what_its_axes_stand_for(tmp_path, drawn):
    view = View(doppler_axis="fixed", centre_mps=1.0, span_mps=3.0, window_steps=4.0)
    simulate(tmp_path / "walkers", view=view, receiver=Receiver(shown_db=30.0), recording_s=8.0)
    (figure,) = drawn
    assert "relative to the body" not in figure.texts[0].get_text()
    (bar,) = [axes for axes in figure.axes if axes.get_label() == "dB"]
    assert bar.get_ylim() == (-30, 0)
    assert "strongest cell" in bar.get_ylabel()
    # Each image shows four steps, which take another time in each.
    assert {cell.get_xlabel() for cell in cells_of(figure)} == {"", "time"}
