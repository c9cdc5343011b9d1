"""Files are written completely or not at all, and what others wrote as JSON is read or refused in one sentence."""

from __future__ import annotations

import json
import os

import pytest

from echoform_train.engine.atomic_files import atomic_write
from echoform_train.engine.errors import MissingFileError, UserError
from echoform_train.engine.json_files import read_json, read_json_lines, read_json_object, write_json


def test_numbers_that_are_none_are_never_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "rows.json", {"accuracy": float("nan")})
    assert not any(tmp_path.iterdir())


def test_an_interrupted_write_leaves_the_earlier_file_and_nothing_else(tmp_path):
    path = tmp_path / "facts.json"
    write_json(path, {"seed": 1})
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as partial:
        partial.write_text("{")
        raise KeyboardInterrupt
    assert json.loads(path.read_text()) == {"seed": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["facts.json"]


def test_what_is_written_is_read_again(tmp_path):
    value = {"name": "ID_ü", "list": [1, 2.5, None, True]}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("{", "must be JSON"),
        ("[" * 100_000, "nested deeper than 64 levels"),
        ("[" * 65 + "]" * 65, "nested deeper than 64 levels"),
        ('{"a": NaN}', "NaN is no finite number"),
        ('{"a": -Infinity}', "-Infinity is no finite number"),
        ('{"a": 1e999}', "1e999 is too large"),
        ('{"a": ' + "9" * 5000 + "}", "must be JSON with finite numbers"),
        ("[1]", "must hold a JSON object, it holds a list"),
        ("null", "must hold a JSON object, it holds null"),
    ],
)
def test_json_that_is_no_object_of_finite_numbers_is_refused(tmp_path, text, rule):
    path = tmp_path / "facts.json"
    path.write_text(text)
    with pytest.raises(UserError, match=rule) as refused:
        read_json_object(path)
    assert str(path) in str(refused.value)


def test_a_pipe_or_a_folder_of_the_files_name_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "folder.json").mkdir()
    for name in ("pipe.json", "folder.json"):
        with pytest.raises(UserError, match="must be a regular file"):
            read_json(tmp_path / name)


def test_a_missing_file_and_text_that_is_not_utf_8_are_refused(tmp_path):
    with pytest.raises(MissingFileError, match="there is no file"):
        read_json(tmp_path / "none.json")
    (tmp_path / "latin.json").write_bytes(b'{"name": "M\xfcller"}')
    with pytest.raises(UserError, match="must be UTF-8"):
        read_json(tmp_path / "latin.json")


def test_the_line_that_is_no_object_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n\n[2]\n')
    with pytest.raises(UserError, match=r"line 3 of .*rows\.jsonl must hold a JSON object"):
        read_json_lines(path)
