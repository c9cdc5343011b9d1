import json
import re
from dataclasses import replace

import pytest

from echoform_train.commands import quickstart


@pytest.fixture(scope="module")
def finished(walkers, tmp_path_factory):
    config = quickstart.Config(
        output_dir=tmp_path_factory.mktemp("quickstart") / "out",
        data=str(walkers),
        resolution=32,
        images_per_user=6,
        sampling_seeds=(0, 1),
        num_inference_steps=2,
        vq_train_images=160,
        ldm_train_images=160,
        judge_train_images=640,
    )
    quickstart.main(config)
    return config


def test_the_page_needs_nothing_from_anywhere_and_says_what_the_scores_say(finished):
    page = (finished.output_dir / "report.html").read_text()
    scores = json.loads((finished.output_dir / "scores.json").read_text())["scores"]
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "@import" not in page
    for name in ("gan_test", "real_to_real"):
        assert f"{100 * scores[name]['mean']:.1f}" in page
    assert all(user in page for user in ("ID_1", "ID_2", "ID_3"))


def test_the_card_of_the_pipeline_holds_the_measured_scores(finished):
    card = (finished.output_dir / "ldm" / "pipeline" / "README.md").read_text()
    scores = json.loads((finished.output_dir / "scores.json").read_text())["scores"]
    assert f"{100 * scores['gan_test']['mean']:.1f} %" in card
    assert "model-index" in card


def test_the_judged_images_came_from_a_process_without_echoform(finished):
    # stranger.py makes every package of ours unimportable before it loads the pipeline, and writes these files.
    rows = (finished.output_dir / "generated" / "seed-1" / "metadata.jsonl").read_text().splitlines()
    assert len(rows) == 18
    assert {json.loads(row)["user"] for row in rows} == {"ID_1", "ID_2", "ID_3"}


def test_started_again_it_does_nothing_twice_and_finds_the_same_scores(finished):
    out = finished.output_dir
    files = [out / "vq-vae" / "log.jsonl", out / "ldm" / "log.jsonl", out / "generated" / "seed-0" / "metadata.jsonl"]
    before = [path.read_text() for path in files]
    first = json.loads((out / "scores.json").read_text())["scores"]
    quickstart.main(replace(finished))
    assert [path.read_text() for path in files] == before
    assert json.loads((out / "scores.json").read_text())["scores"] == first
