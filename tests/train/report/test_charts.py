"""Charts show each value at its place on the axis, read back from what the SVG draws."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
import pytest

from echoform_train.report.charts import (
    accuracy_chart,
    confusion_chart,
    difference_chart,
    histogram_chart,
    line_chart,
)


def groups(svg: str, kind: str) -> list[Element]:
    return [group for group in ElementTree.fromstring(svg).iter("g") if group.attrib.get("class") == kind]


def corners(group: Element) -> list[tuple[float, float]]:
    """Points of the path that a group draws."""
    path = group.find("path")
    assert path is not None
    numbers = [float(number) for number in re.findall(r"-?[0-9.]+", path.attrib["d"])]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def dots(group: Element) -> list[tuple[float, float]]:
    return [(float(use.attrib["x"]), float(use.attrib["y"])) for use in group.iter("use")]


def value_of(svg: str) -> Callable[[float], float]:
    """From a vertical position to the value there, as the grid lines and their labels have it."""
    marks = []
    for tick in groups(svg, "ytick"):
        line = tick.find("g")
        assert line is not None
        marks.append((corners(line)[0][1], float("".join(tick.itertext()))))
    (y0, value0), (y1, value1) = marks[0], marks[-1]
    return lambda y: value0 + (y - y0) / (y1 - y0) * (value1 - value0)


def test_equal_ratios_are_equal_steps_on_a_logarithmic_chart():
    svg = line_chart({"loss": [(0, 1.0), (50, 0.1), (100, 0.01)]}, "loss", logarithmic=True)
    (x0, y0), (x1, y1), (x2, y2) = corners(groups(svg, "line-0")[0])
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y1 - y0 == pytest.approx(y2 - y1, abs=0.2)
    assert y0 < y1 < y2  # a falling loss falls: the vertical axis of an SVG points down


def test_labels_of_a_chart_stand_at_their_values():
    svg = line_chart({"psnr": [(0, 20.0), (100, 30.0)]}, "PSNR (dB)", logarithmic=False)
    (_, low), (_, high) = corners(groups(svg, "line-0")[0])
    labels = {"".join(tick.itertext()) for tick in groups(svg, "ytick")}
    assert {"20", "30"} <= labels
    for tick in groups(svg, "ytick"):
        line = tick.find("g")
        assert line is not None
        expected = low + (high - low) * (float("".join(tick.itertext())) - 20) / 10
        assert corners(line)[0][1] == pytest.approx(expected, abs=0.2)
        text = next(tick.iter("text"))
        assert float(text.attrib["y"]) == pytest.approx(corners(line)[0][1] + 4.6, abs=0.2)  # half a digit below


@pytest.mark.parametrize("values", [[1.0], [0.3, 0.3], [1e-8, 1e6], [0.301, 0.302]])
def test_any_loss_can_be_drawn_inside_its_frame(values):
    points = [(16 * number, value) for number, value in enumerate(values)]
    svg = line_chart({"loss": points}, "loss", logarithmic=True)
    for x, y in [*corners(groups(svg, "line-0")[0]), *dots(groups(svg, "end-0")[0])]:
        assert 0 <= x <= 420
        assert 0 <= y <= 210
    assert groups(svg, "ytick")


@pytest.mark.parametrize("bad", [[], [(1, math.nan)], [(1, 0.0)]])
def test_what_cannot_be_drawn_is_refused(bad):
    with pytest.raises(ValueError, match="point"):
        line_chart({"loss": bad}, "loss", logarithmic=True)


def test_dots_and_bars_of_the_curves_stand_at_their_values():
    svg = accuracy_chart(["5", "10"], {"real": [(0.2, 0.1, 0.3), (0.4, 0.35, 0.45)], "both": [None, (0.6, None, None)]})
    value = value_of(svg)
    assert [value(y) for _, y in dots(groups(svg, "line-0")[0])] == pytest.approx([20, 40], abs=0.1)
    bars = [[value(y) for _, y in corners(bar)] for bar in groups(svg, "bar-0")]
    assert bars == [pytest.approx([10, 30], abs=0.1), pytest.approx([35, 45], abs=0.1)]
    assert [value(y) for _, y in dots(groups(svg, "line-1")[0])] == pytest.approx([60], abs=0.1)
    assert not groups(svg, "bar-1")


def test_a_difference_above_zero_stands_above_the_line_of_zero():
    svg = difference_chart(["5", "10"], {"together": [(0.02, 0.01, 0.03), (-0.01, -0.02, 0.0)]})
    zero = corners(groups(svg, "zero")[0])[0][1]
    above, below = (y for _, y in dots(groups(svg, "line-0")[0]))
    assert above < zero < below
    assert zero - above == pytest.approx(2 * (below - zero), abs=0.3)
    assert corners(groups(svg, "bar-0")[1])[1][1] == pytest.approx(zero, abs=0.2)
    assert value_of(svg)(above) == pytest.approx(2, abs=0.02)


def test_a_chart_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one measured point"):
        accuracy_chart(["5"], {"real": [None]})
    with pytest.raises(ValueError, match="generated has none"):
        histogram_chart({"real": [1.0], "generated": [float("nan")]}, "Hz")


@pytest.mark.parametrize("mean", [0.0, 0.5, 1.0])
def test_accuracies_at_the_ends_of_the_scale_stay_inside_the_frame(mean):
    svg = accuracy_chart(["5"], {"real": [(mean, mean - 0.01, mean + 0.01)]})
    for _, y in [*dots(groups(svg, "line-0")[0]), *corners(groups(svg, "bar-0")[0])]:
        assert 0 < y < 250


def test_areas_of_two_histograms_are_equal_whatever_the_number_of_values():
    rng = np.random.default_rng(0)
    svg = histogram_chart({"real": rng.normal(0, 1, 50).tolist(), "generated": rng.normal(1, 2, 5000).tolist()}, "Hz")
    areas = []
    for number in (0, 1):
        x, y = np.array(corners(groups(svg, f"area-{number}")[0])).T
        areas.append(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)  # shoelace formula
    assert areas[0] == pytest.approx(areas[1], rel=0.01)


def test_bars_of_a_histogram_are_the_shares_of_numpy():
    values = np.random.default_rng(1).uniform(0, 10, 400)
    svg = histogram_chart({"real": values.tolist()}, "Hz", bins=8)
    low, high = np.quantile(values, [0.01, 0.99])
    edges = np.linspace(low - 0.04 * (high - low), high + 0.04 * (high - low), 9)
    expected = 100 * np.histogram(values.clip(edges[0], edges[-1]), edges)[0] / 400
    tops = [value_of(svg)(y) for _, y in corners(groups(svg, "area-0")[0])[1:-1:2]]
    assert tops == pytest.approx(expected.tolist(), abs=0.1)


def test_cells_of_confusion_stand_in_the_row_of_the_person_and_say_the_share():
    svg = confusion_chart([[3, 1], [0, 4]], ["Ann", "Bob"])
    right, wrong = groups(svg, "right"), groups(svg, "wrong")
    assert (len(right), len(wrong)) == (2, 1)
    (x, y), (first_x, first_y) = corners(wrong[0])[0], corners(right[0])[0]
    assert x > first_x and y == first_y
    assert "Ann taken for Bob: 25 %" in svg
    with pytest.raises(ValueError, match="must be 3x3"):
        confusion_chart([[3, 1], [0, 4]], ["Ann", "Bob", "Cleo"])


def test_names_in_a_chart_are_text_and_never_markup():
    svg = confusion_chart([[1, 0], [0, 1]], ["<b>", "&"])
    assert "<b>" not in svg
    assert "<b> taken for <b>: 100 %" in "".join(ElementTree.fromstring(svg).itertext())


def test_a_chart_is_the_same_text_every_time_and_brings_no_style_of_its_own():
    def draw() -> str:
        return line_chart({"loss": [(0, 1.0), (100, 0.3)]}, "loss", logarithmic=True)

    assert draw() == draw()
    assert not {"style", "metadata", "image"} & {element.tag for element in ElementTree.fromstring(draw()).iter()}
    assert "#0b6e99" not in draw() and "var(--first)" in draw()
