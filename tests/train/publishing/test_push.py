"""`echoform push`, and trainings that push what they made."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from diffusers import VQModel
from huggingface_hub import ModelCard

from echoform import VQLDMDopplerPipeline
from echoform.hub import PushError
from echoform_train import cli
from echoform_train.engine.provenance import provenance
from echoform_train.publishing.push import push
from echoform_train.trainers import ldm as train_ldm
from echoform_train.trainers import vq_vae as train_vq_vae
from hub_server import Hub
from tiny import tiny_ldm, tiny_run, tiny_vq_vae


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_verb_adds_card_and_fingerprint_and_leaves_the_folder_alone(
    hub: Hub, second_stage: Path, capsys: pytest.CaptureFixture[str]
):
    repo_id, before = hub.repo_id("verb"), contents(second_stage)
    cli.main(["push", str(second_stage / "pipeline"), repo_id, "--private", "--commit-message", "Two people"])
    newest = hub.commits(repo_id)[0]
    assert capsys.readouterr().out == f"{hub.url}/{repo_id}/commit/{newest.sha}\n"
    assert [commit.title for commit in hub.commits(repo_id)] == ["Two people", "initial commit"]
    assert contents(second_stage) == before
    there = hub.files(repo_id)
    assert f'from_pretrained("{repo_id}", trust_remote_code=True)' in there["README.md"].decode()
    ModelCard(there["README.md"].decode()).validate()
    assert json.loads(there["fingerprint.json"])["class"] == "VQLDMDopplerPipeline"
    facts, ours = json.loads(there["facts.json"]), json.loads(before["pipeline/facts.json"])
    assert Path(ours["data"]["source"]).is_absolute()
    for stage in (ours, ours["first_stage"]):  # data are named there, not placed
        stage["data"]["source"] = Path(stage["data"]["source"]).name
    assert facts == ours
    assert VQLDMDopplerPipeline.from_pretrained(repo_id).config["latent_mean"]

    cli.main(["push", str(second_stage), repo_id])  # the folder of the training means its pipeline
    assert len(hub.commits(repo_id)) == 2


def test_a_first_stage_becomes_a_stock_model_of_diffusers(hub: Hub, first_stage: Path):
    repo_id = hub.repo_id("first-stage")
    push(first_stage, repo_id.partition("/")[2])
    there = hub.files(repo_id)
    assert set(there) == {
        "README.md",
        "config.json",
        "diffusion_pytorch_model.safetensors",
        "facts.json",
        "fingerprint.json",
    }
    assert repo_id in there["README.md"].decode()
    ours, theirs = VQModel.from_pretrained(first_stage / "vqvae"), VQModel.from_pretrained(repo_id)
    assert all(torch.equal(theirs.state_dict()[name], value) for name, value in ours.state_dict().items())


def test_a_pipeline_of_unknown_training_is_pushed_without_a_card(
    hub: Hub, second_stage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    repo_id = hub.repo_id("unknown")
    VQLDMDopplerPipeline.from_pretrained(second_stage / "pipeline").save_pretrained(tmp_path / "saved")
    push(tmp_path / "saved", repo_id)
    assert "nothing is known of its training" in capsys.readouterr().out
    assert "README.md" not in hub.files(repo_id)
    assert "fingerprint.json" in hub.files(repo_id)


def test_user_errors_are_one_sentence_and_exit_status_1(
    hub: Hub, second_stage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        cli.main(["push", str(tmp_path), "tester/none"])
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith(f"echoform push: {tmp_path} holds no model: ")
    with pytest.raises(SystemExit) as ended:
        cli.main(["push", str(second_stage), "someone/else", "--create-pr", "--license", "mit", "--token", "hf_local"])
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert "hf_local" not in told
    assert told.startswith("echoform push: nothing was pushed to someone/else: the token may not write there")
    assert told.endswith(
        f"{second_stage} is unchanged, and `echoform push {second_stage} someone/else --create-pr --license mit` tries "
        "again\n"
    )


def test_trainings_push_what_they_made(hub: Hub, walkers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    stage, pipeline = hub.repo_id("stage"), hub.repo_id("pipeline")
    short = {"max_train_images": 96, "private": True}
    first, second = tmp_path / "first", tmp_path / "second"
    train_vq_vae.main(tiny_vq_vae(walkers, first, run=tiny_run(first, push_to_hub=stage, **short)))
    assert VQModel.from_pretrained(stage).config["num_vq_embeddings"] == 16
    run = tiny_run(second, push_to_hub=pipeline, revision="trial", token="hf_local", **short)
    train_ldm.main(tiny_ldm(walkers, first, second, run=run))
    loaded = VQLDMDopplerPipeline.from_pretrained(pipeline, revision="trial")
    assert set(loaded.config["id2label"]) == {"0", "1", "2"}
    assert "checkpoints" not in " ".join(hub.files(pipeline, "trial"))
    assert hub.repository(stage).private and hub.repository(pipeline).private
    pushed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("pushed: ")]
    assert [line.partition("/commit/")[0] for line in pushed] == [f"pushed: {hub.url}/{r}" for r in (stage, pipeline)]


def test_a_training_whose_push_fails_ends_with_status_1_and_its_weights_safe(
    hub: Hub, walkers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    output, repo_id = tmp_path / "my run", hub.repo_id("full")
    hub.fail("/commit/", status=507, message="out of space", times=100)
    run = tiny_run(output, max_train_images=96, push_to_hub=repo_id)
    config = tiny_vq_vae(walkers, output, run=run)
    monkeypatch.setattr(cli, "parse", lambda *args, **kwargs: config)
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", "vq-vae"])
    assert ended.value.code == 1
    assert capsys.readouterr().err.endswith(
        f"echoform train vq-vae: nothing was pushed to {repo_id}: the Hub has no room for it (out of space); "
        f"{output} is unchanged, and `echoform push '{output}' {repo_id}` tries again\n"
    )
    assert hub.files(repo_id) == {}
    hub.reset()
    push(output, repo_id)  # what the sentence says
    kept, there = VQModel.from_pretrained(output / "vqvae"), VQModel.from_pretrained(repo_id)
    assert all(torch.equal(there.state_dict()[name], value) for name, value in kept.state_dict().items())


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"token": "hf_wrong"}, "the Hub does not accept the token"),
        ({"token": "hf_read"}, "the token may only read"),
        ({"push_to_hub": "someone/model"}, "the token is of tester, who cannot write under someone/"),
    ],
)
def test_what_could_not_be_pushed_at_the_end_is_told_before_the_training(
    hub: Hub, walkers: Path, tmp_path: Path, settings: dict[str, str], reason: str
):
    run = tiny_run(tmp_path / "run", **{"push_to_hub": "tester/run", **settings})
    with pytest.raises(PushError, match=f"nothing can be pushed to .*: {reason}"):
        train_vq_vae.main(tiny_vq_vae(walkers, tmp_path / "run", run=run))
    assert not list(tmp_path.rglob("*.safetensors"))
    assert not list(tmp_path.rglob("log.jsonl"))


def test_no_token_and_no_place_on_this_machine_reaches_a_card(monkeypatch: pytest.MonkeyPatch):
    words = ["echoform", "train", "ldm", "--hub-token", "hf_secret", "--seed", "1", "--hub_token=hf_secret", "--token"]
    monkeypatch.setattr(
        sys, "argv", [*words, "hf_secret", "--data", "/home/me/walkers", "--output-dir=/tmp/run", "a/b"]
    )
    assert provenance()["command"] == "echoform train ldm --seed 1 --data walkers --output-dir=run a/b"
