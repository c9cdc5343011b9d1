"""The page says what the facts say, and asks for nothing from anywhere."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from echoform_train.report.gallery import GalleryRow
from echoform_train.report.page import ReportFacts, Stage, duration, percent, write_report
from echoform_train.scoring.scores import LABELS, verdict

LACKING = object()


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


def made_up_facts(**changes: Any) -> ReportFacts:
    def entry(mean: float, floor: float | None = None) -> dict[str, Any]:
        return {"mean": mean, "low": mean - 0.02, "high": mean + 0.02, "n": 3, "interval_over": "seeds", "floor": floor}

    scores = {name: entry(0.5, floor=0.55) for name in LABELS}
    scores |= {
        "real_to_real": entry(0.923),
        "gan_test": entry(0.871, floor=0.923),
        "frechet": entry(0.417, floor=0.213),
    }
    images = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    facts: dict[str, Any] = {
        "title": "Made-up <page>",
        "subject": "Two people who do not exist.",
        "note": None,
        "scores": {
            "scores": scores,
            "users": {"ID_1": {"real": 0.9, "generated": 0.8}, "<b>": {"real": None, "generated": 1.0}},
            "settings": {"users": 2, "generated_images": [64, 64], "test_images": 30, "train_images": 90},
        },
        "gallery": [GalleryRow(user=user, real=images[:1], generated=images) for user in ("ID_1", "<b>")],
        "axes": {"window_s": 3.0, "doppler_min_hz": -1000.0, "doppler_max_hz": 1000.0},
        "stages": [
            Stage(
                name="First stage",
                facts={"parameters": 1_234_567, "images_seen": 40_000, "images_a_step": 16, "seconds": 144.0},
                log=[
                    {"seen": 16, "train/loss": 1.0},
                    {"seen": 32, "train/loss": 0.1, "validation/loss": 0.2, "validation/psnr": 30.0},
                ],
            )
        ],
        "seconds": {"Generating": 3.25},
        "commands": ["echoform quickstart --seed 0"],
        "provenance": {"machine": "a test", "commit": None, "versions": {"torch": "0.0"}},
    }
    return ReportFacts(**{name: value for name, value in (facts | changes).items() if value is not LACKING})


@pytest.fixture
def page(tmp_path: Path) -> Elements:
    write_report(made_up_facts(), tmp_path / "new" / "report.html")
    elements = Elements()
    elements.feed((tmp_path / "new" / "report.html").read_text(encoding="utf-8"))
    return elements


def test_the_verdict_names_both_shares():
    assert verdict(made_up_facts().scores).replace("\N{NO-BREAK SPACE}", " ") == (
        "A judge trained only on real spectrograms names the right user for 87.1 % of generated spectrograms "
        "and for 92.3 % of held-out real ones."
    )


def test_the_page_holds_verdict_numbers_floors_intervals_cost_and_commands(page):
    text = re.sub(r"\s+", " ", page.text)
    for words in (
        "names the right user for 87.1 % of generated spectrograms",
        "Fréchet distance in the judge's features0.4170.2130.397 to 0.4373 seeds",
        "92.3 %85.1 to 89.1 %",
        "First stage1.23 M40,0002,5002 min 24 s",
        "Generating3.2 s",
        "echoform quickstart --seed 0",
        "over 3 s, Doppler frequency up from -1000 to 1000 Hz",
        "128 generated and 30 held-out real spectrograms",
        "Guessing at random would be right for 50.0 %",
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


def test_the_figure_of_each_user_shows_the_images_given_with_axes_and_gaps(page):
    sources = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    figures = [Image.open(io.BytesIO(base64.b64decode((source or "").partition(",")[2]))) for source in sources]
    assert len(figures) == 2
    for shown in figures:
        pixels = np.asarray(shown.convert("RGB")).astype(int)
        red, blue = ((pixels == color).all(axis=2) for color in ((255, 0, 0), (0, 0, 255)))
        # The first real image and the first generated one are red, the second generated one is blue.
        columns = np.flatnonzero(red.any(axis=0))
        assert (np.diff(columns) > 1).sum() == 1  # two red images with a gap
        assert columns.max() < np.flatnonzero(blue.any(axis=0)).min()
        assert (pixels[:, : columns.min()] < 128).any()  # numbers and labels of the axes


@pytest.mark.parametrize(
    ("axes", "sentence"),
    [
        (None, "Time runs to the right, Doppler frequency up."),
        ({"carrier_hz": 24e9}, "Time runs to the right, Doppler frequency up."),
        ({"window_s": 1.5}, "Time runs to the right over 1.5 s, Doppler frequency up."),
        (
            {"doppler_min_hz": -500.0, "doppler_max_hz": 250.0},
            "Time runs to the right, Doppler frequency up from -500 to 250 Hz.",
        ),
    ],
)
def test_a_page_says_what_is_known_of_the_axes(tmp_path, axes, sentence):
    write_report(made_up_facts(axes=axes), tmp_path / "report.html")
    assert sentence in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_names_are_shown_as_text_and_never_as_markup(page):
    assert "Made-up <page>" in page.text
    assert page.text.count("<b>") >= 1
    assert "b" not in {tag for tag, _ in page.tags}


def test_a_user_without_held_out_images_has_no_share(page):
    assert "real –" in page.text


def test_a_missing_fact_is_named(tmp_path):
    with pytest.raises(TypeError, match="commands"):
        write_report(made_up_facts(commands=LACKING), tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_durations_and_shares_read_as_people_say_them():
    assert [duration(seconds) for seconds in (8.34, 250, 3599.7, 7500)] == [
        "8.3 s",
        "4 min 10 s",
        "1 h 0 min",
        "2 h 5 min",
    ]
    assert percent(0.8755) == "87.5\N{NO-BREAK SPACE}%"
