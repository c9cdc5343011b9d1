"""Every command that the documentation quotes is one that the program takes."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from doc_pages import PAGES, ROOT, blocks, load_script, prose
from echoform_train import cli, commands

COMMAND_LINE = ROOT / "docs" / "command-line.md"
QUOTING = [page for page in PAGES if page != COMMAND_LINE]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script that writes docs/command-line.md."""
    return load_script("command_line")


def module_of(verb: str) -> ModuleType:
    return import_module(f"echoform_train.{commands.VERBS[verb][0]}")


def quoted_in_blocks(page: Path) -> list[list[str]]:
    """Arguments of each `echoform` command in the shell blocks of a page."""
    lines = "\n".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    words = [shlex.split(part, comments=True) for line in lines for part in line.split("&&")]
    return [part[1:] for part in words if part[:1] == ["echoform"]]


def quoted_in_text(page: Path) -> list[list[str]]:
    """Words of each `echoform` command in the running text of a page."""
    spans = re.findall(r"`echoform ([^`]+)`", prose(page))
    return [span.split() for span in spans if not span.startswith("VERB")]


def verb_of(words: list[str]) -> str | None:
    """The verb that a command begins with; its own flags, such as --decoder-only, may stand anywhere."""
    for verb in commands.VERBS:
        plain = [word for word in verb.split() if not word.startswith("--")]
        flags = [word for word in verb.split() if word.startswith("--")]
        if words[: len(plain)] == plain and all(flag in words for flag in flags):
            return verb
    return None


@pytest.mark.parametrize("page", QUOTING, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_blocks_parse(page: Path, monkeypatch: pytest.MonkeyPatch):
    for words in quoted_in_blocks(page):
        verb = verb_of(words)
        assert verb is not None, words
        parsed = []
        monkeypatch.setattr(module_of(verb), "main", parsed.append)
        monkeypatch.setattr(cli, "check_sources", lambda config: None)  # DIR and the like are no folders
        cli.main(words)
        assert len(parsed) == 1, words


@pytest.mark.parametrize("page", QUOTING, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_the_text_name_verbs_and_flags_that_exist(page: Path, script: ModuleType):
    for words in quoted_in_text(page):
        if words == ["train"] or words == ["score"]:  # all verbs of that name
            continue
        verb = verb_of(words)
        assert verb is not None, words
        known = script.known_flags(module_of(verb).Config) | {"--help", *verb.split()}
        assert not [word for word in words if word.startswith("--") and word.partition("=")[0] not in known], words


def test_the_page_of_flags_is_what_the_flags_say(script: ModuleType):
    assert COMMAND_LINE.read_text(encoding="utf-8") == script.document(), "run `make docs`"


@pytest.mark.parametrize("verb", commands.VERBS)
def test_the_page_of_flags_holds_exactly_the_flags_that_the_program_takes(
    verb: str, script: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "100")  # wider, and help is laid out in several columns
    with pytest.raises(SystemExit):
        cli.main([*verb.split(), "--help"])
    shown = capsys.readouterr().out
    lines = [line.strip("│ ") for line in shown.splitlines()]
    flags = {
        flag for line in lines if line.startswith("-") for flag in re.findall(r"--[a-z][\w-]*", line.split("  ")[0])
    }
    assert flags - {"--help"} == script.known_flags(module_of(verb).Config)
