"""Images that are kept of a generator are as many as were wanted, walks, and no near-duplicates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from echoform_train.data.spectrograms import SpectrogramData, load_spectrograms
from echoform_train.engine.errors import UserError
from echoform_train.study.config import GeneratorConfig
from echoform_train.study.gait.findings import UnreadableGait, gait_findings
from echoform_train.study.images import selection
from echoform_train.study.images.filtering import NO_WALK
from echoform_train.study.images.selection import (
    ROUNDS,
    SelectedImages,
    SelectionSettings,
    count_reasons,
    select_images,
)

ALL_IMAGES = SelectionSettings(keep_share=0.5, max_duplicate=1.0, only_walks=False, scorer_train_images=64)
SAMPLING = GeneratorConfig(num_inference_steps=2)


@pytest.fixture(scope="module")
def data(walkers) -> SpectrogramData:
    return load_spectrograms(walkers)


Select = Callable[..., SelectedImages]


@pytest.fixture(scope="module")
def select(data, second_stage) -> Select:
    """Selects images of a generator that was trained for a moment, so that they are much alike."""

    def call(folder: Path, settings: SelectionSettings, wanted: dict[int, int], seed: int) -> SelectedImages:
        pipeline = second_stage / "pipeline"
        return select_images(data.train, data, pipeline, SAMPLING, wanted, folder, settings, seed=seed, device="cpu")

    return call


@pytest.fixture(scope="module")
def selected(select, tmp_path_factory) -> SelectedImages:
    return select(tmp_path_factory.mktemp("selected"), ALL_IMAGES, {0: 3, 1: 3, 2: 1}, seed=3)


def test_as_many_images_are_kept_as_were_wanted_and_the_rest_has_a_reason(selected):
    assert torch.bincount(selected.sample[1]).tolist() == [3, 3, 1]
    assert len(selected.drawn[1]) == 18 == len(selected.rows)
    kept = set(selected.kept.tolist())
    assert [reason == "" for reason in selected.reasons] == [index in kept for index in range(18)]
    assert sum(count_reasons(selected).values()) == 11


def test_what_no_walker_can_have_made_is_kept_only_if_asked_for(selected, select, data, tmp_path):
    only_walks = replace(ALL_IMAGES, only_walks=True)
    walks = select(tmp_path, only_walks, {0: 3, 1: 3, 2: 1}, seed=3)
    assert count_reasons(walks)[NO_WALK] > 0
    assert torch.equal(walks.drawn[0][:18], selected.drawn[0])
    judged = gait_findings(data, walks.drawn[0], walks.kept, [row["conditions"] for row in walks.rows], seed=0)
    assert not isinstance(judged, UnreadableGait)
    # The limits are those of the same training images.
    assert [judged["possible"]["drawn"][index] for index in walks.kept.tolist()] == [1] * len(walks.kept)


def test_images_selected_without_the_limits_that_were_asked_for_say_so(select, selected, tmp_path, monkeypatch):
    def unreadable(images, axes):
        raise UserError("a torso can be seen in 0 of 24 images")

    assert selected.without_limits is None  # not asked for
    monkeypatch.setattr(selection.WalkCheck, "learn", unreadable)
    found = select(tmp_path, replace(ALL_IMAGES, only_walks=True), {0: 3, 1: 3, 2: 1}, seed=3)
    assert found.without_limits == "a torso can be seen in 0 of 24 images"
    assert torch.equal(found.kept, selected.kept)
    found.save(tmp_path)
    assert SelectedImages.load(tmp_path).without_limits == found.without_limits


def test_what_was_selected_survives_the_disk_bit_by_bit(selected, tmp_path):
    selected.save(tmp_path)
    back = SelectedImages.load(tmp_path)
    assert torch.equal(back.drawn[0], selected.drawn[0]) and torch.equal(back.kept, selected.kept)
    assert torch.equal(back.agreement, selected.agreement)
    assert all(torch.equal(back.real_agreement[split], values) for split, values in selected.real_agreement.items())
    assert (back.rows, back.reasons) == (selected.rows, selected.reasons)


def test_a_generator_that_repeats_itself_is_asked_three_times_and_then_gives_fewer(select, tmp_path):
    no_copies = replace(ALL_IMAGES, keep_share=1.0, max_duplicate=0.5)
    few = select(tmp_path, no_copies, dict.fromkeys(range(3), 2), seed=0)
    assert len(few.drawn[1]) == ROUNDS * 3 * 2
    assert len(few.kept) < 6
    assert any("near-duplicate" in reason for reason in count_reasons(few))
    drawn = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = select(tmp_path, no_copies, dict.fromkeys(range(3), 2), seed=0)
    assert torch.equal(again.kept, few.kept)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == drawn
