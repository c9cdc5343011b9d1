"""The page says what the facts say, and asks for nothing from anywhere."""

from __future__ import annotations

import base64
import io
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

from echoform_train.report.page import duration, line_chart, percent, verdict, write_report
from echoform_train.scoring.scores import LABELS


class Elements(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def made_up_facts() -> dict[str, Any]:
    def entry(mean: float, floor: float | None = None) -> dict[str, Any]:
        return {"mean": mean, "low": mean - 0.02, "high": mean + 0.02, "n": 3, "interval_over": "seeds", "floor": floor}

    scores = {name: entry(0.5, floor=0.55) for name in LABELS}
    scores |= {
        "real_to_real": entry(0.923),
        "gan_test": entry(0.871, floor=0.923),
        "frechet": entry(0.417, floor=0.213),
    }
    pictures = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    return {
        "title": "Made-up <page>",
        "subject": "Two people who do not exist.",
        "note": None,
        "scores": {
            "scores": scores,
            "users": {"ID_1": {"real": 0.9, "generated": 0.8}, "<b>": {"real": None, "generated": 1.0}},
            "settings": {"users": 2, "generated_images": [64, 64], "test_images": 30, "train_images": 90},
        },
        "gallery": [{"user": user, "real": pictures[:1], "generated": pictures} for user in ("ID_1", "<b>")],
        "axes": {"window_s": 3.0, "doppler_min_hz": -1000.0, "doppler_max_hz": 1000.0},
        "stages": [
            {
                "name": "First stage",
                "facts": {"parameters": 1_234_567, "images_seen": 40_000, "images_a_step": 16, "seconds": 144.0},
                "log": [
                    {"seen": 16, "train/loss": 1.0},
                    {"seen": 32, "train/loss": 0.1, "validation/loss": 0.2, "validation/psnr": 30.0},
                ],
            }
        ],
        "seconds": {"Generating": 3.25},
        "commands": ["echoform quickstart --seed 0"],
        "provenance": {"machine": "a test", "commit": None, "versions": {"torch": "0.0"}},
    }


@pytest.fixture
def page(tmp_path: Path) -> Elements:
    write_report(made_up_facts(), tmp_path / "new" / "report.html")
    elements = Elements()
    elements.feed((tmp_path / "new" / "report.html").read_text(encoding="utf-8"))
    return elements


def test_the_verdict_names_both_shares():
    assert verdict(made_up_facts()["scores"]).replace("\N{NO-BREAK SPACE}", " ") == (
        "A judge trained on real spectrograms only names the asked person in 87.1 % of generated ones, "
        "and the right person in 92.3 % of held-out real ones."
    )


def test_the_page_holds_verdict_numbers_floors_intervals_cost_and_commands(page):
    text = re.sub(r"\s+", " ", page.text)
    for words in (
        "names the asked person in 87.1 % of generated ones",
        "Fréchet distance in the judge's features0.4170.2130.397 to 0.4373 seeds",
        "92.3 %85.1 to 89.1 %",
        "First stage1.23 M40,0002,5002 min 24 s",
        "Generating3.2 s",
        "echoform quickstart --seed 0",
        "over 3 s, Doppler frequency up from -1000 to 1000 Hz",
        "128 generated and 30 held-out real spectrograms",
        "Chance would name the right one in 50.0 %",
    ):
        assert words in text, words


def test_the_page_asks_for_nothing_from_anywhere(page):
    assert not {"script", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "action", "data"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
    style = page.text
    assert "url(" not in style
    assert "@import" not in style


def test_the_pictures_inside_are_the_pictures_given(page):
    sources = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    decoded = [Image.open(io.BytesIO(base64.b64decode((source or "").partition(",")[2]))) for source in sources]
    assert [image.getpixel((0, 0)) for image in decoded] == [(255, 0, 0), (255, 0, 0), (0, 0, 255)] * 2


def test_names_are_shown_as_text_and_never_as_markup(page):
    assert "Made-up <page>" in page.text
    assert page.text.count("<b>") >= 1
    assert "b" not in {tag for tag, _ in page.tags}


def test_a_user_without_held_out_images_has_no_share(page):
    assert "real –" in page.text


def test_a_missing_fact_is_named(tmp_path):
    facts = made_up_facts()
    del facts["commands"]
    with pytest.raises(ValueError, match="the facts lack commands"):
        write_report(facts, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def _line(svg: str) -> list[tuple[float, float]]:
    line = ElementTree.fromstring(svg).find("polyline")
    assert line is not None
    return [(float(x), float(y)) for x, y in (point.split(",") for point in line.attrib["points"].split())]


def test_equal_ratios_are_equal_steps_on_a_logarithmic_chart():
    places = _line(line_chart({"loss": [(0, 1.0), (50, 0.1), (100, 0.01)]}, logarithmic=True))
    (x0, y0), (x1, y1), (x2, y2) = places
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y1 - y0 == pytest.approx(y2 - y1, abs=0.2)
    assert y0 < y1 < y2  # a falling loss falls: the ordinate of an SVG points down


def test_labels_of_a_chart_stand_at_their_values():
    svg = ElementTree.fromstring(line_chart({"psnr": [(0, 20.0), (100, 30.0)]}, logarithmic=False))
    (_, low), (_, high) = _line(ElementTree.tostring(svg, encoding="unicode"))
    for text in svg.findall("text"):
        if text.attrib["text-anchor"] == "end" and text.text in ("20", "24", "28"):
            expected = low + (high - low) * (float(text.text) - 20) / 10
            assert float(text.attrib["y"]) - 4 == pytest.approx(expected, abs=0.2)
    assert {"20", "30"} <= {text.text for text in svg.findall("text")}


@pytest.mark.parametrize("values", [[1.0], [0.3, 0.3], [1e-8, 1e6], [0.301, 0.302]])
def test_any_loss_can_be_drawn_inside_its_frame(values):
    points = [(16 * number, value) for number, value in enumerate(values)]
    for x, y in _line(line_chart({"loss": points}, logarithmic=True)):
        assert 0 <= x <= 420
        assert 0 <= y <= 210


@pytest.mark.parametrize("bad", [[], [(1, math.nan)], [(1, 0.0)]])
def test_what_cannot_be_drawn_is_refused(bad):
    with pytest.raises(ValueError, match="point"):
        line_chart({"loss": bad}, logarithmic=True)


def test_durations_and_shares_read_as_people_say_them():
    assert [duration(seconds) for seconds in (8.34, 250, 3599.7, 7500)] == [
        "8.3 s",
        "4 min 10 s",
        "1 h 0 min",
        "2 h 5 min",
    ]
    assert percent(0.8755) == "87.5\N{NO-BREAK SPACE}%"
