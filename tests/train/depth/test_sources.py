"""What folders and file names say of depth images."""

from __future__ import annotations

from pathlib import Path

import pytest

from echoform_train.data.split import make_split
from echoform_train.depth.sources import DepthFile, find_depth_source, split_table


def touch(folder: Path, *names: str) -> Path:
    """Files are not decoded here, so that they may be empty."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def described(folder: Path, folders: str = "classes") -> list[tuple]:
    images = find_depth_source(folder, folders=folders).images
    return [(one.file, one.label, one.recording, one.frame, one.split) for one in images]


def test_names_of_video_frames_tell_recording_and_frame(tmp_path: Path):
    touch(tmp_path, "a/depth_0_0001.png", "a/depth_0_0003.png", "b/x 2.tiff", "b/x 10.tiff")
    assert described(tmp_path) == [
        ("a/depth_0_0001.png", "a", "depth_0", 1, None),
        ("a/depth_0_0003.png", "a", "depth_0", 3, None),
        ("b/x 2.tiff", "b", "x", 2, None),
        ("b/x 10.tiff", "b", "x", 10, None),
    ]


def test_times_are_frames_and_bare_numbers_belong_to_their_folder(tmp_path: Path):
    touch(tmp_path, "1311868164.363.png", "1311868164.399.png")
    assert described(tmp_path) == [
        ("1311868164.363.png", None, ".", 1311868164.363, None),
        ("1311868164.399.png", None, ".", 1311868164.399, None),
    ]


def test_numbers_that_are_no_frames_leave_the_order_of_the_folder(tmp_path: Path):
    # Cut as frames these would be three recordings of one image, drawn at random: neighbours on two sides.
    touch(tmp_path, "frame1_a7.png", "frame2_a3.png", "frame10_a5.png", "frame11_a5.png")
    assert [(recording, frame) for _, _, recording, frame, _ in described(tmp_path)] == [(None, None)] * 4
    assert [name for name, *_ in described(tmp_path)] == [
        "frame1_a7.png",
        "frame2_a3.png",
        "frame10_a5.png",
        "frame11_a5.png",
    ]


def test_folders_are_classes_or_recordings_as_told(tmp_path: Path):
    touch(tmp_path, "anna/wave/0001.png", "anna/wave/0002.png")
    assert described(tmp_path)[0] == ("anna/wave/0001.png", "anna", "wave", 1, None)
    assert described(tmp_path, "recordings")[1] == ("anna/wave/0002.png", "wave", "anna", 2, None)


def test_split_folders_stand_above(tmp_path: Path):
    touch(tmp_path, "train/a/1.png", "val/a/1.png", "test/a/1.png", "train/readme.txt", ".cache/x.png")
    assert [(one[0], one[1], one[4]) for one in described(tmp_path)] == [
        ("test/a/1.png", "a", "test"),
        ("train/a/1.png", "a", "train"),
        ("val/a/1.png", "a", "validation"),
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), r"must hold depth images \(\.png, \.tif, \.tiff\)"),
        (("x.jpg",), "must hold depth images"),
        (("1.png", "a/1.png"), r"all directly in the source.*holds 1\.png and a/1\.png"),
        (("a/b/c/1.png",), r"all in <class>/<recording>/; .* holds a/b/c/1\.png"),
        (("train/1.png", "a/1.png"), "split folders must stand alone, .* holds train beside a"),
        (("train/1.png", "1.png"), "holds train beside images at the top"),
        (("val/1.png", "valid/1.png", "train/1.png"), "each split must have one folder, .* holds train, val, valid"),
        (("test/1.png",), "must hold train"),
    ],
)
def test_layouts_that_say_nothing_are_refused(tmp_path: Path, names: tuple[str, ...], message: str):
    with pytest.raises(ValueError, match=message):
        find_depth_source(touch(tmp_path, *names))


def test_sources_that_are_not_there_are_refused(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        find_depth_source(tmp_path / "nothing")
    with pytest.raises(ValueError, match="is a file"):
        find_depth_source(touch(tmp_path, "a.png") / "a.png")
    with pytest.raises(ValueError, match="must be among classes, recordings, got 'people'"):
        find_depth_source(tmp_path, folders="people")


def frames(label: str | None, recording: str, numbers: range) -> list[DepthFile]:
    return [
        DepthFile(file=f"{recording}/{label}/{n}.png", data=b"", label=label, recording=recording, frame=float(n))
        for n in numbers
    ]


def test_frames_of_two_sides_are_further_apart_than_the_gap():
    # Every second frame is there; 3 images of gap are frames that differ by at least (3 + 1) * 2.
    images = [*frames("a", "r", range(1, 201, 2)), *frames("b", "s", range(2, 101, 2))]
    split = make_split(split_table(images), validation_share=0.1, test_share=0.4, gap_windows=3)
    assert split.method == "contiguous with a gap"
    number = {image.file: image.frame or 0 for image in images}
    for recording in ("r/", "s/"):
        sides = [
            [number[file] for file in getattr(split, side) if file.startswith(recording)]
            for side in ("train", "validation", "test")
        ]
        train, validation, test = sides
        assert min(validation) - max(train) == min(test) - max(validation) == 8
        assert max(train) < min(validation) and max(validation) < min(test)
        # The test is the last 40 % of the frames.
        assert len(test) == pytest.approx(0.4 * (100 if recording == "r/" else 50))


def test_people_who_show_every_class_are_held_out_whole():
    images = [image for person in "vwxyz" for label in "ab" for image in frames(label, person, range(6))]
    split = make_split(split_table(images))
    assert split.method == "by recording"
    people = [{file[0] for file in getattr(split, side)} for side in ("train", "validation", "test")]
    assert sum(map(len, people)) == 5 and all(people)
