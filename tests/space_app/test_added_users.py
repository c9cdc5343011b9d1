"""Users that were added to the spectrogram model, in the Space over HTTP, and before it starts."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gradio_client import Client
from PIL import Image

from echoform import VQLDMDopplerPipeline
from echoform.hub import push_folder
from echoform_train.commands import space
from hub_server import Hub
from tiny_doppler import tiny_pipeline, user_folder


def unpack(path: str) -> tuple[list[np.ndarray], list[dict[str, Any]]]:
    """The plain images of a download, and their metadata."""
    with zipfile.ZipFile(path) as pack:
        rows = [json.loads(line) for line in pack.read("metadata.jsonl").decode().splitlines()]
        return [np.asarray(Image.open(BytesIO(pack.read(row["file_name"])))) for row in rows], rows


def test_added_users_are_in_the_menu_with_their_images_and_the_code_tells_how_to_load_them(
    client: Client, pulled: Path, hub_of_the_session: Hub, doppler_folder: Path, user_folders: list[Path]
):
    pinned = json.loads((pulled / "models.json").read_text())["users"]
    assert [one["revision"] for one in pinned] == [hub_of_the_session.commits(one["repo"])[0].sha for one in pinned]
    menu = next(one["props"] for one in client.config["components"] if one["props"].get("label") == "Users")
    assert [tuple(one) for one in menu["choices"]] == [
        *((name, name) for name in ("ID_1", "ID_2", "ID_10")),
        ("ID_32 (added, 20 real images)", "ID_32"),
        ("Анна (added, unknown real images)", "Анна"),
    ]
    asked: dict[str, Any] = {"num_images_per_user": 1, "conditions": [], "steps": 2, "guidance": 1.5, "seed": 5}
    everyone = ["ID_32", "ID_10", "Анна"]
    _, path, code, seen = client.predict(users=everyone, **asked, api_name="/generate")
    assert seen == (
        "Real images that the model saw in its training: ID_10 unknown. "
        "Real images that added users were learned from: ID_32 20, Анна unknown."
    )
    images, rows = unpack(path)
    references = [f"{one['repo']}@{one['revision']}" for one in pinned]
    assert [row.get("user_file") for row in rows] == [references[0], None, references[1]]
    # What the Space shows is what the pipeline makes with the same users.
    pipe = VQLDMDopplerPipeline.from_pretrained(doppler_folder)
    for folder in user_folders:
        pipe.load_user(folder)
    for index, (user, image) in enumerate(zip(everyone, images, strict=True)):
        generators = [torch.Generator().manual_seed(5 + index)]
        made = pipe([user], generator=generators, num_inference_steps=2, guidance_scale=1.5).images[0]
        np.testing.assert_allclose(np.asarray(made).astype(int), image.astype(int), atol=2)
    # The code that is shown runs, and loads both.
    shown: dict[str, Any] = {}
    exec(code, shown)
    assert list(shown["pipe"].id2label.values()) == ["ID_1", "ID_2", "ID_10", "ID_32", "Анна"]
    np.testing.assert_allclose(np.asarray(shown["images"][0]).astype(int), images[0].astype(int), atol=2)


@pytest.fixture
def people(module: Any, monkeypatch: pytest.MonkeyPatch, doppler_folder: Path) -> Iterator[Any]:
    """The Space's module of this name, for the tiny pipeline."""
    monkeypatch.setenv("ECHOFORM_DOPPLER_REPO", str(doppler_folder))
    yield module("people")


def test_users_that_cannot_be_added_are_one_sentence(
    people: Any, monkeypatch: pytest.MonkeyPatch, user_folders: list[Path], tmp_path: Path
):
    other = user_folder(tmp_path / "other", tiny_pipeline(), "ID_33")
    taken = user_folder(tmp_path / "taken", people.load("doppler"), "ID_2")
    torn = user_folder(tmp_path / "torn", people.load("doppler"), "ID_34")
    (torn / "user.safetensors").write_bytes(b"\0" * 20)
    for given, sentence in (
        ("me/ID_32", 'must be a JSON list of folders or ids of the Hub, such as ["user/name"], got me/ID_32'),
        ('["nowhere"]', "there is no folder nowhere, and an id of the Hub reads user/name"),
        (json.dumps([str(tmp_path)]), "holds no config.json; is it a user that `echoform add-user` learned?"),
        (json.dumps([str(other)]), "cannot be used as an added user: ValueError: .* was learned for walkers"),
        (json.dumps([str(taken)]), "this pipeline has a ID_2 already"),
        (json.dumps([str(torn)]), "torn cannot be used as an added user: "),
    ):
        people.added.cache_clear()
        monkeypatch.setenv(people.VARIABLE, given)
        pattern = sentence if ".*" in sentence else re.escape(sentence)
        with pytest.raises(people.CannotBeShownError, match=pattern):
            people.added()


def test_a_space_is_not_pushed_with_users_that_do_not_fit_or_are_not_on_the_hub(
    hub: Hub, on_the_hub: dict[str, str], user_folders: list[Path], tmp_path: Path
):
    models: dict[str, tuple[str, str | None]] = {"doppler": (on_the_hub["ECHOFORM_DOPPLER_REPO"], None)}
    stranger = user_folder(tmp_path / "other", tiny_pipeline(), "ID_33", _class_name="DopplerUser")
    push_folder(stranger, name := hub.repo_id("other"))
    with pytest.raises(ValueError, match=f"--user-file {name}@.* cannot be loaded: .*this is another pipeline"):
        space.push_space(models, hub.repo_id("space"), users=[name])
    with pytest.raises(ValueError, match=r"got the folder .*ID_32; `echoform push` puts it there first"):
        space.push_space(models, hub.repo_id("space"), users=[str(user_folders[0])])
    with pytest.raises(ValueError, match="--user-file must go with --doppler"):
        space.main(space.Config(depth="a/b", user_file=(str(user_folders[0]),)))


def test_flags_name_users_before_the_environment_does(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(space.USERS_VARIABLE, '["a/b"]')
    assert space.named_users(space.Config()) == ["a/b"]
    assert space.named_users(space.Config(user_file=("c/d",))) == ["c/d"]
    monkeypatch.setenv(space.USERS_VARIABLE, "a/b")
    with pytest.raises(ValueError, match=r'ECHOFORM_USER_FILES must be a JSON list such as \["user/name"\], got a/b'):
        space.named_users(space.Config())
