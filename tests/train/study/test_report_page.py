"""The page of a study says what its report.json says, and asks for nothing from anywhere."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from echoform_cards.model_card import render_model_card
from echoform_train.data.colormap import paint
from echoform_train.report.gallery import GalleryRow
from echoform_train.scoring.scores import LABELS
from echoform_train.study.report_card import card_facts
from echoform_train.study.report_page import write_page
from echoform_train.study.report_pictures import ReportPictures

USERS = [f"ID_{number}" for number in range(1, 9)]


class Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def point(mean: float, half: float | None = 0.012) -> dict[str, float | None]:
    return {"mean": mean, "low": None if half is None else mean - half, "high": None if half is None else mean + half}


def arm(mean: float) -> dict[str, Any]:
    return {"all": point(mean), "ResNet": point(mean + 0.01), "column transformer": point(mean - 0.01)}


def size(name: str, means: tuple[float, float, float, float], difference: float, **more: Any) -> dict[str, Any]:
    arms = dict(zip(("real", "classical", "generated", "both"), map(arm, means), strict=True))
    return {
        "size": name,
        "images_a_user": name,
        "images": 80,
        "best_classical": "time roll",
        "drawn": 1200,
        "kept": 800,
        "reasons": {"not recognised": 380, "near-duplicate": 20},
        "recommended": "1/4 generated, weight 1",
        "difference": {"all": point(difference, 0.008), "ResNet": point(difference + 0.004, 0.01)},
        **arms,
        **more,
    }


def made_up_scores(shift: float) -> dict[str, Any]:
    entry = {"low": None, "high": None, "n": 3, "interval_over": None, "floor": 0.9}
    scores = {name: entry | {"mean": 0.8 + shift, "low": 0.78 + shift, "high": 0.82 + shift} for name in LABELS}
    return {"scores": scores | {"real_to_real": entry | {"mean": 0.9, "floor": None}}}


def made_up_report() -> Any:
    """Numbers that nobody measured, of people who do not exist."""
    rng = np.random.default_rng(0)
    tables = {}
    for name, right in (("best classical", 15), ("classical + generated", 17)):
        table = rng.integers(0, 2, (8, 8)) + right * np.eye(8, dtype=np.int64)
        tables[name] = table.tolist()
    return {
        "title": "Did it help? Invented <walkers>",
        "subject": "A study of 8 people who do not exist, 64x64 pixels, split by recording.",
        "notes": ["50 real images of each person were asked for; nobody has more than 38, which is what all is."],
        "verdict": {
            "word": "helps",
            "sentence": "Generated spectrograms help: they add 2.3 points (+1.5 to +3.1).",
            "difference": 0.023,
            "low": 0.015,
            "high": 0.031,
            "n": 5,
        },
        "exchange": {
            "generated_per_user": 100,
            "sentence": "Exchange rate: 100 generated images per user are worth so many real ones: +2.0 more at 5.",
            "rates": [],
        },
        "over": "5 seeds of the classifiers",
        "chance": 1 / 8,
        "sizes": [
            size("5", (0.21, 0.712, 0.534, 0.731), 0.019),
            size("10", (0.251, 0.871, 0.733, 0.894), 0.023),
            size("20", (0.55, 0.9, 0.86, 0.89), -0.01),
            size("30 to 38", (0.8, 0.92, 0.9, 0.921), 0.001, size="all", images=290),
        ],
        "arms": {
            name: {"5": point(0.5), "10": point(0.6), "20": point(0.7), "all": point(0.9, None)}
            for name in ("real", "time roll", "gain", "noise floor", "SpecAugment", "re-cropping", "all classical")
        },
        "recipes": [
            {
                "recipe": "Generated images labelled by teachers",
                "size": "5",
                "accuracy": point(0.612),
                "classical": point(0.581),
                "same_idea": point(0.604),
                "ensemble": None,
                "gain": {"mean": 0.008, "low": -0.011, "high": 0.027},
                "rivals": {"ResNet": "teachers label real copies"},
                "chosen": {},
            }
        ],
        "conditions": [
            {
                "condition": "normal, backpack",
                "real": point(0.4),
                "classical": point(0.5),
                "generated": None,
                "both": None,
            }
        ],
        "confusion": {"size": "10", "family": "ResNet", "labels": USERS, "tables": tables},
        "suspicious": [{"user": user, "ratio": 0.31 + 0.05 * place} for place, user in enumerate(USERS[:4])],
        "memorised": {"generated": 0.004, "real": 0.006},
        "physics": {
            "kept": 0.9,
            "generated": 0.982,
            "real": 0.991,
            "features": {
                "torso speed": {
                    "unit": "m/s",
                    "real": rng.normal(1.2, 0.2, 200).tolist(),
                    "generated": rng.normal(1.25, 0.25, 300).tolist(),
                    "distance": 0.061,
                    "floor": 0.02,
                },
                "cadence": {
                    "unit": "steps/s",
                    "real": rng.normal(1.9, 0.1, 200).tolist(),
                    "generated": rng.normal(1.9, 0.12, 300).tolist(),
                    "distance": 0.0123,
                    "floor": None,
                },
                "asymmetry": {"unit": "", "real": [], "generated": [0.1], "distance": None, "floor": None},
            },
        },
        "scores": {"drawn": made_up_scores(0.0), "kept": made_up_scores(0.03)},
        "axes": {"window_s": 3.0, "doppler_min_hz": -1000.0, "doppler_max_hz": 1000.0},
        "classifier": {"way": "time roll", "scores": {}, "sentence": "The folder classifier/ holds a classifier."},
        "dataset": "The data set in dataset holds 290 real and 800 generated images for training.",
        "cost": {
            "seconds": 3210.0,
            "cpu_seconds": 6300.5,
            "workers": 2,
            "stages": [
                {"name": "generator-10", "seconds": 250.0, "cpu_seconds": 490.0, "summary": "1.2 M parameters"},
                {"name": "gain", "seconds": 900.0, "cpu_seconds": 890.0, "summary": "240 classifiers"},
            ],
        },
        "provenance": {
            "machine": "2 cores of a test",
            "commit": None,
            "versions": {"torch": "0.0"},
            "command": "echoform augment walkers study",
        },
    }


def stripes(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:64, :64] / 64
    level = np.exp(-(((rows - 0.5 - 0.2 * np.sin(12 * columns + seed)) / 0.08) ** 2)) + 0.05 * rng.random((64, 64))
    return Image.fromarray(paint((255 * level.clip(0, 1)).astype(np.uint8), "jet"))


def made_up_pictures() -> ReportPictures:
    return ReportPictures(
        gallery=[
            GalleryRow(user=user, real=[stripes(k) for k in range(4)], generated=[stripes(k) for k in range(4, 8)])
            for user in USERS
        ],
        suspicious=[[stripes(k), stripes(k), stripes(k + 1)] for k in range(4)],
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Page:
    path = tmp_path_factory.mktemp("study") / "new" / "report.html"
    write_page(json.loads(json.dumps(made_up_report())), made_up_pictures(), path)
    return Page(path)


@pytest.mark.parametrize(
    "words",
    [
        "Generated spectrograms help They add 2.3 points (+1.5 to +3.1).",
        "All intervals are 95 % intervals, over 5 seeds of the classifiers.",
        "nobody has more than 38",
        "10+2.3 (+1.5 to +3.1) 25.1 %87.1 %73.3 %89.4 %",
        "30 to 38+0.1 (-0.7 to +0.9) 80.0 %92.0 %90.0 %92.1 %",
        "Guessing at random would be right for 12.5 %",
        "normal, backpack40.0 % ± 1.250.0 % ± 1.2––",
        "0.4 % of the kept images and 0.6 % of held-out real ones do",
        "possible for a walker in 98.2 % of drawn images, 90.0 % of kept images, and 99.1 % of held-out real",
        "Wasserstein distance 0.061 m/s, of real to real 0.02",
        "not recognised (380), near-duplicate (20)",
        "all 290 training images",
        "53 min 30 s, summed over all stages, and 1 h 45 min of processor time; up to 2 stages ran at the same time.",
        "generator-104 min 10 s8 min 10 s1.2 M parameters",
        "echoform augment walkers study",
        "The folder classifier/ holds a classifier.",
        "Generated images labelled by teachers",
        "-1.1 to +2.7",
        "The data set in dataset holds 290 real and 800 generated images",
        "ID_1: ratio 0.31",
    ],
)
def test_the_page_says_what_the_report_says(page: Page, words: str):
    assert words in page.text.replace("\N{NO-BREAK SPACE}", " ")


def test_the_verdict_stands_before_every_number(page: Page):
    verdict = page.text.index("Generated spectrograms help")
    assert verdict < min(
        page.text.rindex(words) for words in ("A study of 8 people", "Accuracy on", "Real and generated")
    )
    assert verdict < page.text.index("nobody has more than 38")


def test_scores_of_drawn_and_kept_images_stand_side_by_side_with_their_floor(page: Page):
    text = page.text.replace("\N{NO-BREAK SPACE}", " ")
    row = text[text.index("GAN-train: judge trained on generated") :][:160]
    assert "80.0 %78.0 to 82.0 %83.0 %81.0 to 85.0 %90.0 %" in row


def test_the_page_asks_for_nothing_from_anywhere(page: Page):
    assert not {"script", "iframe", "object", "embed", "link"} & {
        tag for tag, attributes in page.tags if attributes.get("rel") != "icon"
    }
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "action", "data"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
    assert "url(" not in page.text and "@import" not in page.text


def test_names_are_shown_as_text_and_never_as_markup(page: Page):
    assert "Invented <walkers>" in page.text
    assert "walkers" not in {tag for tag, _ in page.tags}


def test_every_picture_says_what_it_shows(page: Page):
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 8 + 4  # a figure per user, and one per possible copy
    assert all(attributes.get("alt") for attributes in pictures)


def test_a_study_without_confusion_physics_or_copies_has_a_page_too(tmp_path):
    report = made_up_report() | {"confusion": None, "physics": None, "suspicious": [], "conditions": [], "axes": None}
    report["scores"] = {"drawn": report["scores"]["drawn"]}
    report["sizes"] = report["sizes"][:1]
    report["sizes"][0] |= {"generated": None, "both": None, "difference": None, "best_classical": None, "reasons": {}}
    write_page(report, replace(made_up_pictures(), suspicious=[]), tmp_path / "report.html")
    text = Page(tmp_path / "report.html").text
    for absent in ("Confusion between users", "Physics", "most similar to training", "Across conditions", "None"):
        assert absent not in text


@pytest.mark.parametrize("word", ["no measurable effect", "hurts"])
def test_other_verdicts_are_said_as_plainly(tmp_path, word):
    report = made_up_report()
    report["verdict"] |= {"word": word, "sentence": f"Generated spectrograms: {word}."}
    write_page(report, made_up_pictures(), tmp_path / "report.html")
    assert f"Generated spectrograms {word.capitalize()}." in Page(tmp_path / "report.html").text


def test_a_missing_fact_is_named(tmp_path):
    report = made_up_report()
    del report["cost"]
    with pytest.raises(ValueError, match="the report lacks cost"):
        write_page(report, made_up_pictures(), tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_the_model_card_says_the_same_numbers_as_the_page():
    card = render_model_card({"name": "walkers", "users": USERS, "augmentation": card_facts(made_up_report())})
    assert "Generated spectrograms help: they add 2.3 points (+1.5 to +3.1)." in card
    assert "| 10 | 25.1 % | 87.1 % | 73.3 % | 89.4 % | +2.3 points (+1.5 to +3.1) |" in card
    assert all(note in card for note in made_up_report()["notes"])


def test_the_report_is_not_changed_by_being_shown(tmp_path):
    report = made_up_report()
    before = copy.deepcopy(report)
    write_page(report, made_up_pictures(), tmp_path / "report.html")
    assert report == before
