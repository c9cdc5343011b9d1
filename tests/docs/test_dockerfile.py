"""The Dockerfile copies what the wheel is built of and nothing else, and starts a verb as a user without rights."""

from __future__ import annotations

import fnmatch
import json
import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

from echoform_train import commands
from echoform_train.commands import space

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def instructions() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile with their arguments, continued lines joined."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def of(name: str) -> list[str]:
    return [arguments for instruction, arguments in instructions() if instruction == name]


def copied() -> set[str]:
    """What is copied from the repository."""
    return {path for line in of("COPY") if not line.startswith("--from") for path in line.split()[:-1]}


def test_it_copies_what_the_wheel_is_built_of():
    wheel = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    project = PYPROJECT["project"]
    needed = {*wheel["packages"], *wheel["force-include"], project["readme"], *project["license-files"]}
    assert copied() == {path.split("/")[0] for path in needed} | {"pyproject.toml"}
    assert all((ROOT / path).exists() for path in copied())


def test_the_build_context_holds_that_alone():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied()
    assert fnmatch.fnmatch("pipelines/echoform/__pycache__", next(rule for rule in rules if "__pycache__" in rule))


def test_it_runs_a_verb_and_by_default_the_space_as_a_user_without_rights():
    (program,), words = json.loads(of("ENTRYPOINT")[0]), json.loads(of("CMD")[0])
    assert PYPROJECT["project"]["scripts"][program] == "echoform_train.cli:main"
    assert words[0] in commands.VERBS
    assert of("EXPOSE") == [str(space.Config().port)]
    names = [name for name, _ in instructions()]
    assert names.index("USER") < names.index("ENTRYPOINT") and "RUN" not in names[names.index("USER") :]
    assert of("USER") == ["echoform"] and any("useradd" in line and "echoform" in line for line in of("RUN"))
    extras = next(line.partition("=")[2] for line in of("ARG") if line.startswith("EXTRAS"))
    assert set(extras.split(",")) <= PYPROJECT["project"]["optional-dependencies"].keys()


def test_every_argument_of_the_build_is_declared_in_its_stage():
    stages = "\n".join(f"{name} {arguments}" for name, arguments in instructions()).split("FROM ")[1:]
    for stage in stages:
        declared = {line.split()[1].partition("=")[0] for line in stage.splitlines() if line.startswith("ARG ")}
        assert set(re.findall(r"\$\{(\w+)", stage)) <= declared
