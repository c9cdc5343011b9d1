"""metadata.jsonl and metadata.csv as people have them: other encodings, path separators and Unicode forms."""

import json
import unicodedata
from typing import Literal

import pandas
import pytest

from echoform_train.data.dataset import load_images
from echoform_train.data.image_config import ImageSourceConfig
from echoform_train.data.images import load_image_data
from echoform_train.data.metadata import read_metadata

Form = Literal["NFC", "NFD"]
FORMS: tuple[Form, ...] = ("NFC", "NFD")
TABLE = """file_name,user,height_m,condition
1.png,"Müller, Jörg",1.80,normal
2.png,Zoë,1.65,
3.png,Zoë,,"with a ""bag"", heavy"
"""


@pytest.fixture
def folder(tmp_path, write_picture):
    for number in (1, 2, 3):
        write_picture(tmp_path / "data" / f"{number}.png")
    return tmp_path / "data"


def rows(folder):
    found, _ = read_metadata(folder, {})
    assert found is not None
    return found


def test_a_table_is_read_as_datasets_reads_it(folder):
    (folder / "metadata.csv").write_text(TABLE, encoding="utf-8")
    # The loader of `datasets` for folders of images reads a metadata.csv by this call.
    expected = pandas.read_csv(folder / "metadata.csv").astype(object)
    expected = expected.where(expected.notna(), None).to_dict("records")
    assert list(rows(folder).values()) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be with its mark"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_metadata_is_the_same_in_every_encoding(folder, encoding, line_end, kind):
    lines = ["file_name,user", "1.png,Zoë", "2.png,Jörg"]
    if kind == "jsonl":
        lines = [
            json.dumps(dict(zip(("file_name", "user"), line.split(","), strict=True)), ensure_ascii=False)
            for line in lines[1:]
        ]
    text = line_end.join(lines) + line_end
    content = ("\ufeff" + text).encode("utf-16-be") if "mark" in encoding else text.encode(encoding)
    (folder / f"metadata.{kind}").write_bytes(content)
    assert {name: row["user"] for name, row in rows(folder).items()} == {"1.png": "Zoë", "2.png": "Jörg"}


def test_users_that_are_numbers_stay_as_they_are_written(folder):
    (folder / "metadata.csv").write_text("file_name,user,recording,start_s,age\n1.png,01,NA,0.5,40\n2.png,1,7,2,41\n")
    first, second = rows(folder).values()
    assert (first["user"], second["user"]) == ("01", "1")
    assert (first["recording"], first["start_s"], first["age"]) == ("NA", 0.5, 40)


def test_spaces_after_commas_are_no_part_of_a_name(folder):
    (folder / "metadata.csv").write_text('file_name, user, condition\n1.png, "A, B", normal \n')
    assert rows(folder)["1.png"] == {"file_name": "1.png", "user": "A, B", "condition": "normal"}


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("of_file", ["NFC", "NFD"])
@pytest.mark.parametrize("of_row", ["NFC", "NFD"])
def test_names_match_in_both_unicode_forms_with_backslashes(tmp_path, write_picture, kind, of_file: Form, of_row: Form):
    users = ["Jörg", "Zoë"]
    for user in users:
        write_picture(tmp_path / unicodedata.normalize(of_file, f"{user}/é1.png"))
        write_picture(tmp_path / unicodedata.normalize(of_file, f"{user}/é2.png"))
    listed = [(f"{user}\\é{number}.png", user) for user in users for number in (1, 2)]
    if kind == "csv":
        text = "file_name,user\n" + "".join(f"{name},{user}\n" for name, user in listed)
    else:
        text = "".join(json.dumps({"file_name": name, "user": user}) + "\n" for name, user in listed)
    (tmp_path / f"metadata.{kind}").write_text(unicodedata.normalize(of_row, text), encoding="utf-8")
    dataset = load_images(tmp_path)
    assert dataset.features["user"].names == users
    assert dataset["file"][0] == "Jörg/é1.png"


def test_one_person_in_two_unicode_forms_is_one_user(tmp_path, write_picture):
    for split, form in zip(("train", "test"), FORMS, strict=True):
        for user in ("Jörg", "Zoë"):
            for number in range(3):
                write_picture(tmp_path / split / unicodedata.normalize(form, user) / f"{split}{number}.png")
    assert load_images(tmp_path).features["user"].names == ["Jörg", "Zoë"]


def test_one_condition_in_two_unicode_forms_is_one(tmp_path, write_picture):
    for user in ("A", "B"):
        for form in FORMS:
            write_picture(tmp_path / user / unicodedata.normalize(form, "müde") / f"{form}.png")
            write_picture(tmp_path / user / "wach" / f"{form}.png")
    assert load_images(tmp_path).features["condition"].names == ["müde", "wach"]


def test_recordings_of_a_table_hold_for_any_images_too(tmp_path, write_picture):
    for number in range(12):
        write_picture(tmp_path / "data" / "a" / f"{number}.png")
    listed = "".join(f"a/{number}.png,walk{number % 3}\n" for number in range(12))
    (tmp_path / "data" / "metadata.csv").write_text("file_name,recording,user\n" + listed.replace("\n", ",x\n"))
    config = ImageSourceConfig(data=str(tmp_path / "data"))
    data = load_image_data(config, None, 0, resolution=16, color="auto")
    assert data.split.method == "by recording"
