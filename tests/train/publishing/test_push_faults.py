"""Pushes that go wrong, over real HTTP: what may pass is tried again, the rest is one sentence, main stays whole."""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zlib import crc32

import pytest
import torch
from safetensors.torch import save_file

from echoform.hub import PushError, check_access, push_folder
from hub_server import Hub

FAST: dict[str, Any] = {"first_wait_s": 0.01}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What an exported pipeline of two models looks like from outside, with weights that no other test uploaded."""
    root = tmp_path / "my model"
    seed = crc32(str(tmp_path).encode())
    for index, component in enumerate(("unet", "vqvae")):
        (root / component).mkdir(parents=True)
        (root / component / "config.json").write_text("{}")
        weights = {"weight": torch.randn(1000, generator=torch.Generator().manual_seed(seed + index))}
        save_file(weights, root / component / "diffusion_pytorch_model.safetensors")
    model_index = {"_class_name": ["code", "Pipeline"], "unet": ["code", "Net"], "vqvae": ["diffusers", "VQModel"]}
    (root / "model_index.json").write_text(json.dumps(model_index))
    (root / "README.md").write_text("---\nlibrary_name: diffusers\n---\n\n# Model\n")
    return root


@pytest.fixture(autouse=True)
def impatient_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """huggingface_hub waits between its own attempts for seconds, too long for tests."""
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(**(vars(time) | {"sleep": lambda s: None})))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def weights_of(hub: Hub, repo_id: str) -> dict[str, bytes]:
    return {path: content for path, content in hub.files(repo_id).items() if path.endswith(".safetensors")}


def assert_nothing_happened(hub: Hub, repo_id: str) -> None:
    assert [commit.title for commit in hub.commits(repo_id)] == ["initial commit"]
    assert hub.files(repo_id) == {}


@pytest.mark.parametrize("where", ["/api/repos/create", "/preupload/", "/info/lfs/", "/_lfs/", "/commit/"])
def test_a_server_that_fails_twice_is_asked_again(hub: Hub, folder: Path, where: str):
    repo_id = hub.repo_id("twice")
    hub.fail(where, status=500, times=2)
    push_folder(folder, repo_id, **FAST)
    assert sum(where in path for _, path in hub.requests) >= 3
    assert len(hub.commits(repo_id)) == 2
    there = contents(folder)
    assert set(hub.files(repo_id)) == set(there)
    assert weights_of(hub, repo_id) == {name: there[name] for name in there if name.endswith(".safetensors")}


def test_a_connection_lost_in_the_middle_of_an_upload_is_made_again(hub: Hub, folder: Path):
    repo_id = hub.repo_id("dropped")
    hub.fail("/_lfs/", drop="upload", times=2)
    push_folder(folder, repo_id, **FAST)
    assert sum("/_lfs/" in path for _, path in hub.requests) == 4
    assert len(hub.commits(repo_id)) == 2
    assert weights_of(hub, repo_id)["unet/diffusion_pytorch_model.safetensors"] == (
        (folder / "unet/diffusion_pytorch_model.safetensors").read_bytes()
    )


def test_a_commit_whose_answer_is_lost_is_not_made_twice(hub: Hub, folder: Path):
    repo_id = hub.repo_id("lost")
    hub.fail("/commit/", drop="answer")
    url = push_folder(folder, repo_id, **FAST)
    assert len(hub.commits(repo_id)) == 2
    assert url.endswith(hub.commits(repo_id)[0].sha)


def test_a_slow_server_is_waited_for(hub: Hub, folder: Path):
    repo_id = hub.repo_id("slow")
    for where in ("/preupload/", "/_lfs/", "/commit/"):
        hub.fail(where, delay_s=0.3)
    push_folder(folder, repo_id, attempts=1)
    assert len(hub.commits(repo_id)) == 2


def test_a_push_that_was_overtaken_starts_from_the_newer_commit(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    repo_id = hub.repo_id("overtaken")
    push_folder(folder, repo_id)
    (folder / "unet/config.json").write_text('{"new": true}')
    titles = iter(["the other"])

    def overtake(self: Hub, method: str, path: str) -> None:
        if "/preupload/" in path and next(titles, None):
            hub.write(repo_id, "theirs.txt", b"theirs")

    monkeypatch.setattr(Hub, "fault_of", overtake)
    push_folder(folder, repo_id, **FAST)
    assert [commit.title for commit in hub.commits(repo_id)][1] == "Edit theirs.txt"
    assert hub.files(repo_id)["theirs.txt"] == b"theirs"
    assert hub.files(repo_id)["unet/config.json"] == b'{"new": true}'


@pytest.mark.parametrize(
    ("where", "status", "sentence"),
    [
        ("/preupload/", 401, "the Hub does not accept the token (no such luck), log in with `hf auth login`"),
        ("/commit/", 403, "the token may not write there (no such luck)"),
        ("/preupload/", 404, "the Hub knows no such repository or revision (no such luck)"),
        ("/commit/", 413, "the Hub has no room for it (no such luck)"),
        ("/_lfs/", 507, "the Hub has no room for it (no such luck)"),
    ],
)
def test_what_will_not_pass_is_said_at_once(hub: Hub, folder: Path, where: str, status: int, sentence: str):
    repo_id, before = hub.repo_id("refused"), contents(folder)
    hub.create(repo_id, "models", private=True)
    hub.fail(where, status=status, times=100, message="no such luck")
    with pytest.raises(PushError) as raised:
        push_folder(folder, repo_id, private=True, revision="main", **FAST)
    asked = [path for _, path in hub.requests if where in path]
    assert len(asked) <= 2  # two weights are uploaded side by side
    assert sentence in str(raised.value)
    command = shlex.join(["echoform", "push", str(folder), repo_id, "--private", "--revision", "main"])
    assert str(raised.value).endswith(f"; {folder} is unchanged, and `{command}` tries again")
    assert_nothing_happened(hub, repo_id)
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ({"status": 503, "message": "try later"}, "the Hub answered 503 (try later) to PUT /_lfs/"),
        ({"drop": "upload"}, "the connection to the Hub failed"),
    ],
)
def test_what_never_passes_is_given_up_with_main_as_it_was(
    hub: Hub, folder: Path, fault: dict[str, Any], sentence: str
):
    repo_id = hub.repo_id("hopeless")
    hub.fail("/_lfs/", times=1000, **fault)
    with pytest.raises(PushError, match=r"nothing was pushed to .* is unchanged") as raised:
        push_folder(folder, repo_id, attempts=2, **FAST)
    assert sentence in str(raised.value)
    assert_nothing_happened(hub, repo_id)
    hub.reset()
    push_folder(folder, repo_id)  # and once the Hub is well again, the same call continues
    assert weights_of(hub, repo_id)


@pytest.mark.parametrize(
    ("repo_id", "token", "sentence"),
    [
        ("tester/any", "hf_wrong", "the Hub does not accept the token"),
        ("tester/any", "hf_read", "the token may not write there"),
        ("someone/any", None, "the token may not write there"),
    ],
)
def test_tokens_without_the_right_are_told(hub: Hub, folder: Path, repo_id: str, token: str | None, sentence: str):
    with pytest.raises(PushError, match=sentence) as raised:
        push_folder(folder, repo_id, token=token, **FAST)
    assert str(token) not in str(raised.value)
    with pytest.raises(PushError, match=rf"nothing can be pushed to {repo_id}: "):
        check_access(repo_id, token=token, **FAST)


def test_a_card_that_the_hub_refuses_is_told_before_anything_is_uploaded(hub: Hub, folder: Path):
    repo_id = hub.repo_id("card")
    (folder / "README.md").write_text("---\ntags: radar\n---\n\n# Model\n")
    with pytest.raises(PushError, match=r'Invalid metadata in README.md. - "tags" must be an array'):
        push_folder(folder, repo_id, **FAST)
    assert not [path for _, path in hub.requests if "/_lfs/" in path]
    assert_nothing_happened(hub, repo_id)


def test_of_a_data_set_the_folder_is_not_named_because_it_was_made_for_the_push(hub: Hub, folder: Path):
    with pytest.raises(PushError) as raised:
        push_folder(folder, "someone/data", repo_type="dataset", **FAST)
    assert str(raised.value).endswith("; nothing there has changed, and the same command tries again")


def test_no_server_at_all_is_said(hub: Hub, folder: Path):
    hub.fail("/api/", times=1000, drop="upload")
    with pytest.raises(PushError, match="the connection to the Hub failed"):
        push_folder(folder, hub.repo_id("nobody"), **FAST)
