"""Names from outside: what may become a folder, and what may not."""

from __future__ import annotations

import pytest

from echoform.model_checks import check_name as in_models
from echoform_train.engine.errors import UserError
from echoform_train.engine.names import check_label, check_model_name, check_name, check_names, check_relative_path


@pytest.mark.parametrize("name", ["ID_1", "user 07", "Jörg", "王芳", "a..b", "-", "0", "نیم‌فاصله", "x" * 100])
def test_a_name_that_a_person_would_give_passes_unchanged(name: str) -> None:
    assert check_name(name, "user", "metadata.jsonl") == name


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("", "empty or blank"),
        ("  ", "empty or blank"),
        ("\u200b \ufeff", "empty or blank"),  # of no width
        ("x" * 101, "at most 100 characters, it has 101"),
        ("..", "start with a dot"),
        (".ssh", "start with a dot"),
        ("../../x", "must not hold /"),
        ("/etc", "must not hold /"),
        ("a\\b", "must not hold /"),
        ("a\0b", "U\\+0000"),
        ("a\nb", "U\\+000A"),
        ("a\u2028b", "U\\+2028"),
        ("\x1b[31mred", "U\\+001B"),
        ("a\u202egnp", "U\\+202E"),
        ("a\udcff", "U\\+DCFF"),
        ("metadata.jsonl", "called as a file"),
        (7, "must be a text, got 7 \\(int\\)"),
        (None, "must be a text"),
        (["a"], "must be a text"),
    ],
)
def test_a_name_that_could_leave_its_folder_or_hide_is_refused(name: object, rule: str) -> None:
    with pytest.raises(UserError, match=rule):
        check_name(name, "user", "metadata.jsonl")


@pytest.mark.parametrize("name", ["ID_1", "Jörg", "王芳", "نیم‌فاصله", "a\u00a0b", "王" * 33, "王" * 34, "x" * 100])
def test_the_rule_for_names_in_a_pipeline_is_that_of_the_pipeline(name: str) -> None:
    try:
        in_models("a user", name)
    except ValueError:
        with pytest.raises(UserError, match=r"bytes in UTF-8|printable characters alone .* U\+"):
            check_model_name(name, "user", "--name")
    else:
        assert check_model_name(name, "user", "--name") == name


def test_names_come_once() -> None:
    assert check_names(["a", "b"], "user", "config.json") == ["a", "b"]
    with pytest.raises(UserError, match="must come once, it comes 2 times"):
        check_names(["a", "b", "a"], "user", "config.json")


def test_a_label_may_hold_slashes_and_no_escape_codes() -> None:
    assert check_label("ID_1/session 3", "recording", "x") == "ID_1/session 3"
    with pytest.raises(UserError, match="U\\+001B"):
        check_label("\x1b]0;title\x07", "recording", "x")


@pytest.mark.parametrize(
    ("path", "same"), [("a.png", "a.png"), ("./ID_1/a.png", "ID_1/a.png"), ("a/b..c.png", "a/b..c.png")]
)
def test_a_relative_path_stays_below_its_folder(path: str, same: str) -> None:
    assert check_relative_path(path, "file_name", "x") == same


@pytest.mark.parametrize(
    "path",
    [
        "../a.png",
        "a/../../b.png",
        "/etc/passwd",
        "C:/a.png",
        "a\\b.png",
        "a\0.png",
        "",
        ".",
        "d/" * 40 + "a.png",
        "x" * 300,
    ],
)
def test_a_path_that_could_lead_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(UserError, match="file_name"):
        check_relative_path(path, "file_name", "x")
