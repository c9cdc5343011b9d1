"""Which images a study of few images per user takes."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
import torch

from echoform_train.data.spectrograms import SpectrogramData, Spectrograms
from echoform_train.data.split import Split
from echoform_train.study.images.subsets import across_conditions, choose_per_user, first_of_each_user


def spectrograms(windows: dict[str, list[int]], recordings_known: bool = True) -> Spectrograms:
    """Users 0, 1 ... with recordings of so many windows."""
    rows = [
        (user, f"{name}_r{number}", float(start))
        for user, (name, counts) in enumerate(windows.items())
        for number, count in enumerate(counts)
        for start in range(count)
    ]
    return Spectrograms(
        pixels=torch.zeros(len(rows), 1, 16, 16, dtype=torch.uint8),
        users=torch.tensor([user for user, _, _ in rows]),
        conditions={},
        files=tuple(f"{recording}_{start}" for _, recording, start in rows),
        recordings=tuple(recording if recordings_known else None for _, recording, _ in rows),
        starts_s=tuple(start for _, _, start in rows),
    )


PART = spectrograms({"a": [20, 3, 7], "b": [10, 10], "c": [4]})


def test_each_user_gives_the_number_asked_for_and_a_user_with_fewer_gives_all():
    users = Counter(PART.users[choose_per_user(PART, 6, seed=0)].tolist())
    assert users == {0: 6, 1: 6, 2: 4}


def test_five_images_per_user_are_among_ten_of_the_same_seed():
    for seed in range(20):
        chosen = [set(choose_per_user(PART, count, seed=seed).tolist()) for count in (1, 5, 10, 19, 30)]
        assert all(fewer < more for fewer, more in pairwise(chosen))
        assert len(chosen[-1]) == len(PART)


def test_images_are_spread_over_the_recordings_of_a_user():
    for seed in range(20):
        part = PART.select(choose_per_user(PART, 12, seed=seed))
        per_recording = Counter(part.recordings)
        assert sorted(per_recording[f"a_r{number}"] for number in range(3)) == [3, 4, 5]  # the second has only 3
        assert per_recording["b_r0"] == per_recording["b_r1"] == 6


def test_every_recording_is_as_likely_to_come_first_whatever_its_length():
    first = Counter(PART.select(choose_per_user(PART, 1, seed=seed)).recordings[0] for seed in range(600))
    assert set(first) == {"a_r0", "a_r1", "a_r2"}
    assert all(abs(count - 200) < 4 * (600 * 2 / 9) ** 0.5 for count in first.values())  # 4 deviations of a fair die


def test_windows_of_a_recording_are_drawn_from_all_of_its_length():
    starts = {PART.starts_s[index] for seed in range(300) for index in choose_per_user(PART, 3, seed=seed).tolist()}
    assert starts == set(map(float, range(20)))


def test_none_takes_every_image_in_order():
    assert choose_per_user(PART, None, seed=3).tolist() == list(range(len(PART)))


def test_a_users_images_do_not_depend_on_who_else_is_there():
    alone = PART.select(torch.nonzero(PART.users == 1).flatten())
    offset = int((PART.users < 1).sum())
    together = choose_per_user(PART, 5, seed=4)
    assert (choose_per_user(alone, 5, seed=4) + offset).tolist() == together[PART.users[together] == 1].tolist()


def test_without_recordings_images_are_drawn_at_random():
    unknown = spectrograms({"a": [20, 3, 7], "b": [10, 10]}, recordings_known=False)
    draws = {tuple(choose_per_user(unknown, 5, seed=seed).tolist()) for seed in range(20)}
    assert len(draws) == 20
    assert all(len(draw) == len(set(draw)) == 10 for draw in draws)


def test_less_than_one_image_is_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        choose_per_user(PART, 0, seed=0)


def part(side: str, conditions: list[int]) -> Spectrograms:
    count = len(conditions)
    return Spectrograms(
        pixels=torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 16, 16),
        users=torch.zeros(count, dtype=torch.int64),
        conditions={"condition": torch.tensor(conditions)},
        files=tuple(f"{side}{number}" for number in range(count)),
        recordings=(None,) * count,
        starts_s=(None,) * count,
    )


def test_a_test_across_conditions_never_trains_on_or_chooses_by_the_other_one():
    parts = {"train": part("a", [0, 1, 0]), "validation": part("b", [1, 0]), "test": part("c", [1, 0, 1])}
    names = {side: images.files for side, images in parts.items()}
    data = SpectrogramData(
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        left_out=part("d", []),
        split=Split(**names, left_out=(), method="by recording", gap_windows=2, seed=0),
        split_file=None,
        images_sha256="",
        id2label={0: "a"},
        condition_labels={"condition": {0: "normal", 1: "backpack"}},
        colormap="jet",
        colormap_residual=0.0,
        axes=None,
        native_size=(16, 16),
        source="s",
        skipped=(),
        other_files=(),
    )
    found = across_conditions(data, "condition", "normal", "backpack")
    assert (found.train.files, found.validation.files, found.test.files) == (("a0", "a2"), ("b1",), ("c0", "c2"))
    with pytest.raises(ValueError, match="must be one of normal, backpack, got bag"):
        across_conditions(data, "condition", "normal", "bag")
    with pytest.raises(ValueError, match="column must be one of condition, got direction"):
        across_conditions(data, "direction", "normal", "backpack")


def test_the_first_images_of_each_user_are_taken_in_order():
    users = torch.tensor([1, 0, 0, 1, 1, 2])
    assert first_of_each_user(users, {0: 1, 1: 2, 2: 5}).tolist() == [0, 1, 3, 5]
    assert first_of_each_user(users, {0: 0}).tolist() == []
