from __future__ import annotations

import random
import warnings
from collections import Counter
from itertools import product

import pytest

from echoform_train.data.dataset import build_dataset
from echoform_train.data.layout import ImageFile
from echoform_train.data.split import Split, check_split, make_split

SIDES = ("train", "validation", "test")


def image(user, name, recording=None, start_s=None, split=None):
    return ImageFile(
        file=f"{split + '/' if split else ''}{user}/{name}",
        data=b"",
        user=user,
        recording=recording,
        start_s=start_s,
        split=split,
    )


def timed(user, recording, starts, split=None):
    return [image(user, f"{recording}_t{round(s * 100):05}.png", recording, s, split) for s in starts]


def two_users(starts, recording="r"):
    return build_dataset([*timed("ID_1", recording, starts), *timed("ID_2", recording, starts)])


def starts_of(files):
    return [int(file[-9:-4]) / 100 for file in files if file.startswith("ID_1")]


def overlaps(dataset, split, window_s):
    """Pairs of windows of one recording on two sides that share a moment, by brute force."""
    rows = {row["file"]: row for row in dataset.remove_columns("image").to_list()}
    return [
        (a, b)
        for one, other in (("train", "validation"), ("train", "test"), ("validation", "test"))
        for a, b in product(getattr(split, one), getattr(split, other))
        if (rows[a]["user"], rows[a]["recording"]) == (rows[b]["user"], rows[b]["recording"])
        and abs(rows[a]["start_s"] - rows[b]["start_s"]) < window_s - 1e-6
    ]


def test_a_cut_recording_by_hand():
    # 20 windows of 3 s, one a second: 4 test windows start at 16..19, so validation may end with the start at 13
    # (3 windows: 11..13), so training may end with the start at 8.
    split = make_split(two_users(range(20)), window_s=3.0)
    assert split.method == "contiguous with a gap"
    assert starts_of(split.test) == [16, 17, 18, 19]
    assert starts_of(split.validation) == [11, 12, 13]
    assert starts_of(split.train) == list(range(9))
    assert starts_of(split.left_out) == [9, 10, 14, 15]


@pytest.mark.parametrize(("gap_windows", "left_out"), [(0, []), (1, [11, 15]), (2, [9, 10, 14, 15])])
def test_where_the_window_length_is_unknown_the_gap_counts_windows(gap_windows, left_out):
    split = make_split(two_users(range(20)), gap_windows=gap_windows)
    assert starts_of(split.left_out) == left_out
    untimed = build_dataset([image(f"ID_{user}", f"{number}.png") for user in (1, 2) for number in range(20)])
    by_name = make_split(untimed, gap_windows=gap_windows)
    assert [int(file[5:-4]) for file in by_name.left_out if file.startswith("ID_1")] == left_out


def test_windows_that_do_not_overlap_need_no_gap():
    assert make_split(two_users(range(0, 60, 3)), window_s=3.0).left_out == ()


def test_starts_rounded_to_hundredths_keep_the_gap_of_two_windows():
    # Windows of 5.12 s every 2.56 s, as 10 frames a second and two decimals write them.
    starts = [round(12.8 + 2.5583 * number, 2) for number in range(40)]
    dataset = two_users(starts)
    split = make_split(dataset)
    assert len(split.left_out) == 2 * 2 * 2
    assert overlaps(dataset, split, 5.12) == []


@pytest.mark.parametrize("seed", range(40))
def test_no_window_of_one_side_overlaps_a_window_of_another(seed):
    rng = random.Random(seed)
    window_s = rng.choice([0.5, 1.0, 3.0, 5.12])
    images = []
    for user in ("ID_1", "ID_2", "ID_3"):
        for recording in range(rng.randint(1, 5)):
            start_s, starts = rng.uniform(0, 20), []
            for _ in range(rng.randint(25, 60)):
                starts.append(round(start_s, 2))
                start_s += rng.choice([0.0, 0.02, 0.3, 1.0, 1.0, 1.0, 2.56, 7.0])
            images += [image(user, f"{recording}_{number}.png", f"r{recording}", s) for number, s in enumerate(starts)]
    rng.shuffle(images)
    dataset = build_dataset(images)
    split = make_split(dataset, window_s=window_s, seed=seed)
    assert overlaps(dataset, split, window_s - 0.011) == []
    everything = [*split.train, *split.validation, *split.test, *split.left_out]
    assert sorted(everything) == sorted(dataset["file"])


def test_whole_recordings_are_drawn_where_every_user_has_three():
    images = [row for user in ("ID_1", "ID_2") for number in range(10) for row in timed(user, f"r{number}", range(6))]
    dataset = build_dataset(images)
    split = make_split(dataset, seed=1)
    assert split.method == "by recording" and split.left_out == ()
    recordings = {side: {file.split("_t")[0] for file in getattr(split, side)} for side in SIDES}
    assert sum(map(len, recordings.values())) == 20 == len(set.union(*recordings.values()))
    per_user = Counter((side, name.split("/")[0]) for side, names in recordings.items() for name in names)
    assert all(per_user["test", user] == 2 for user in ("ID_1", "ID_2"))
    assert all(1 <= per_user["validation", user] <= 2 for user in ("ID_1", "ID_2"))
    assert make_split(dataset, seed=1) == split
    assert make_split(dataset, seed=2) != split


def test_three_recordings_are_enough_for_three_sides():
    images = [row for user in ("ID_1", "ID_2") for number in range(3) for row in timed(user, f"r{number}", range(6))]
    split = make_split(build_dataset(images))
    assert [len(getattr(split, side)) for side in SIDES] == [12, 12, 12]


def test_one_user_with_two_recordings_has_all_cut_in_time():
    images = [row for number in range(3) for row in timed("ID_1", f"r{number}", range(30))]
    images += [row for number in range(2) for row in timed("ID_2", f"r{number}", range(30))]
    assert make_split(build_dataset(images)).method == "contiguous with a gap"


def test_each_condition_folder_of_unknown_recordings_is_on_every_side():
    images = [image("ID_1", f"{c}/{n}.png") for c in ("bag", "normal") for n in range(20)]
    images += [image("ID_2", f"{c}/{n}.png") for c in ("bag", "normal") for n in range(20)]
    split = make_split(build_dataset(images))
    for side in SIDES:
        assert {file.split("/")[1] for file in getattr(split, side)} == {"bag", "normal"}


def test_a_user_with_too_few_images_is_refused_by_name():
    dataset = build_dataset([*timed("ID_1", "r", range(20)), *timed("ID_2", "r", range(4))])
    with pytest.raises(ValueError, match=r"ID_2 has 4 images \(for example ID_2/r_t00000\.png\), which leaves none"):
        make_split(dataset)


def given(**starts):
    return build_dataset(
        [row for user in ("ID_1", "ID_2") for side, of in starts.items() for row in timed(user, "r", of, side)]
    )


def test_given_folders_are_honoured():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = given(train=range(10), validation=range(20, 25), test=range(40, 45))
        split = make_split(dataset, window_s=3.0)
    assert split.method == "as given"
    assert all(file.startswith("train/") for file in split.train) and len(split.train) == 20
    assert all(file.startswith("test/") for file in split.test) and len(split.test) == 10
    assert split.left_out == ()


def test_a_side_that_is_not_given_is_cut_from_train():
    split = make_split(given(train=range(20), validation=range(30, 35)), window_s=3.0)
    assert split.method == "as given"
    assert {file.split("/")[0] for file in split.test} == {"train"} and len(split.test) == 8
    assert {file.split("/")[0] for file in split.validation} == {"validation"}
    assert len(split.left_out) == 4


def test_given_windows_that_overlap_are_refused_by_name():
    dataset = given(train=[0, 1, 2], validation=[10, 11], test=[12.5, 13])
    with pytest.raises(ValueError, match=r"validation/ID_1/r_t01100\.png .*test/ID_1/r_t01250\.png .*1\.50 s apart"):
        make_split(dataset, window_s=3.0)


def test_a_recording_on_two_given_sides_is_warned_of_where_overlap_cannot_be_ruled_out():
    with pytest.warns(UserWarning, match=r"recording r of ID_1 \(for example train/ID_1/r_t00000\.png"):
        make_split(given(train=[0, 1, 2], validation=[3, 4], test=[5, 6]))


def test_a_user_without_given_training_images_is_refused_by_name():
    images = [
        *timed("ID_1", "a", range(5), "train"),
        *timed("ID_1", "b", range(5), "validation"),
        *timed("ID_2", "c", range(5), "test"),
    ]
    with pytest.raises(ValueError, match=r"ID_2 has 5 images \(for example test/ID_2/.* none for train"):
        make_split(build_dataset(images))


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"test_share": 0.0}, "shares must be positive"),
        ({"test_share": 0.6, "validation_share": 0.4}, "leave some for train .*, got 0.4 and 0.6"),
        ({"gap_windows": -1}, "must be in 0..1000000, got -1"),
        ({"window_s": 0.0}, "must be a positive number of seconds, got 0.0"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, rule):
    with pytest.raises(ValueError, match=rule):
        make_split(two_users(range(20)), **arguments)


def test_a_split_survives_its_file(tmp_path):
    split = make_split(two_users(range(20)))
    split.save(tmp_path / "deep" / "split.json")
    assert Split.load(tmp_path / "deep" / "split.json") == split


@pytest.mark.parametrize("text", ["", "[]", '{"train": []}'])
def test_another_file_is_no_split(tmp_path, text):
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(ValueError, match=r"split\.json must (be|hold)"):
        Split.load(tmp_path / "split.json")


def test_a_split_with_one_image_on_two_sides_is_refused_by_name():
    with pytest.raises(ValueError, match=r"one side of a split, b\.png stands on two"):
        Split(
            train=("a.png", "b.png"),
            validation=("b.png",),
            test=(),
            left_out=(),
            method="as given",
            gap_windows=2,
            seed=0,
        )


def test_a_split_must_fit_the_images():
    split = make_split(two_users(range(20)))
    check_split(two_users(range(20)), split)
    with pytest.raises(ValueError, match=r"2 of its files are not there \(ID_1/.*0 images are not in it"):
        check_split(two_users(range(19)), split)
    with pytest.raises(ValueError, match=r"0 of its files are not there, 2 images are not in it \(ID_1/r_t02000\.png"):
        check_split(two_users(range(21)), split)
    with pytest.raises(ValueError, match=r"start 3\.00 s apart and last 4 s"):
        check_split(two_users(range(20)), split, window_s=4.0)
