"""`echoform space`: a Space pushed to the tests' Hub, pulled from it and started by a stranger."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import SpaceCard

from echoform.hub import PushError
from echoform_train.commands import space
from hub_server import Hub

SPACE = Path(__file__).parents[2] / "space_app"


@pytest.fixture
def models(on_the_hub: dict[str, str]) -> dict[str, tuple[str, str | None]]:
    kinds = ("doppler", "depth", "classifier")
    return {kind: (on_the_hub[f"ECHOFORM_{kind.upper()}_REPO"], None) for kind in kinds}


def test_a_pushed_space_holds_the_app_and_its_models_at_the_commits_of_that_day(
    hub: Hub, models: dict[str, tuple[str, str | None]]
):
    repo = hub.repo_id("demo")
    assert space.push_space(models, repo) == f"{hub.url}/spaces/{repo}"
    files = hub.files(repo, kind="spaces")
    pinned = json.loads(files["models.json"])
    assert pinned == {kind: {"repo": name, "revision": hub.commits(name)[0].sha} for kind, (name, _) in models.items()}
    assert set(files) == {path.name for path in SPACE.glob("*.*")} | {"models.json"}
    assert files["app.py"] == (SPACE / "app.py").read_bytes()
    card: Any = SpaceCard(files["README.md"].decode()).data
    assert (card.sdk, card.models) == ("gradio", [name for name, _ in models.values()])


def test_the_same_push_again_makes_no_commit_and_keeps_a_persons_text(
    hub: Hub, models: dict[str, tuple[str, str | None]]
):
    repo = hub.repo_id("demo")
    space.push_space(models, repo)
    space.push_space(models, repo)
    assert len(hub.commits(repo, kind="spaces")) == 2  # the Hub's own, and one of ours
    head = SpaceCard(hub.files(repo, kind="spaces")["README.md"].decode())
    head.text = "\nMine.\n"
    hub.write(repo, "README.md", str(head).encode(), kind="spaces")
    space.push_space(models, repo)
    assert hub.files(repo, kind="spaces")["README.md"].decode().endswith("\nMine.\n")


def test_a_wheel_brings_the_app_along_where_echoform_looks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    settings = tomllib.loads((SPACE.parent / "pyproject.toml").read_text())
    included = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]["space_app"]
    source, installed = space.APP_FOLDERS
    assert source == SPACE and installed.parts[-2:] == Path(included).parts
    shutil.copytree(SPACE, tmp_path / "space_app", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(space, "APP_FOLDERS", (tmp_path / "nowhere", tmp_path / "space_app"))
    assert {path.name for path in space.space_files()} == {path.name for path in SPACE.glob("*.*")}
    monkeypatch.setattr(space, "APP_FOLDERS", (tmp_path / "nowhere", tmp_path / "neither"))
    with pytest.raises(FileNotFoundError, match=r"nowhere nor .*neither holds app.py"):
        space.space_files()


def test_what_cannot_be_shown_is_one_sentence(
    hub: Hub, models: dict[str, tuple[str, str | None]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in space._model_variables():
        monkeypatch.delenv(name, raising=False)
    # What is pushed must be on the Hub, and an installation may hold no weights.
    with pytest.raises(ValueError, match="name one with --doppler, --depth or --classifier, an id on the Hub"):
        space.named_models(space.Config(push="a/space"))
    monkeypatch.setattr(space, "shipped", list)
    with pytest.raises(ValueError, match="name one with --doppler, --depth or --classifier, a Hub id or a folder"):
        space.named_models(space.Config())
    with pytest.raises(ValueError, match="--depth-revision must go with --depth, got v1"):
        space.named_models(space.Config(depth_revision="v1"))
    with pytest.raises(ValueError, match=r"got the folder .*; `echoform push` puts it there first"):
        space.push_space({"depth": (str(tmp_path), None)}, hub.repo_id("demo"))
    with pytest.raises(ValueError, match="got nobody/nothing, which is not there"):
        space.push_space({"depth": ("nobody/nothing", None)}, hub.repo_id("demo"))
    hub.fail("/commit/", times=9, status=403, message="You may not")
    with pytest.raises(PushError, match=r"nothing was pushed .*You may not"):
        space.push_space(models, hub.repo_id("demo"))


def test_without_a_name_it_serves_the_weights_that_are_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for name in space._model_variables():
        monkeypatch.delenv(name, raising=False)
    for name, file in (("rooms", "model_index.json"), ("classifier", "config.json")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("{}")
    monkeypatch.setattr("echoform.shipped.WEIGHTS", tmp_path)
    found = {"depth": (str(tmp_path / "rooms"), None), "classifier": (str(tmp_path / "classifier"), None)}
    assert space.named_models(space.Config()) == found
    assert capsys.readouterr().out == "Models that are shipped with echoform: rooms, classifier\n"
    assert space.named_models(space.Config(doppler="a/b")) == {"doppler": ("a/b", None)}


def test_settings_come_before_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ECHOFORM_DEPTH_REPO", "a/b")
    monkeypatch.setenv("ECHOFORM_DEPTH_REVISION", "v1")
    monkeypatch.delenv("ECHOFORM_DOPPLER_REPO", raising=False)
    monkeypatch.delenv("ECHOFORM_CLASSIFIER_REPO", raising=False)
    assert space.named_models(space.Config()) == {"depth": ("a/b", "v1")}
    assert space.named_models(space.Config(depth="c/d")) == {"depth": ("c/d", None)}
