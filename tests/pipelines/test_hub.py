"""The way to the Hub: what travels, in which commit, and whose words a card keeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, VQModel
from huggingface_hub import HfApi, ModelCard
from PIL import Image
from safetensors.torch import load

from code_names import travelling_name
from echoform import VQLDMDopplerPipeline, pipeline_vq_ldm_doppler, unet_doppler
from echoform.hub import PushError, files_to_upload, push_folder
from echoform.hub_card import PRINTED, merge_card
from hub_server import Hub

CODE = (travelling_name(pipeline_vq_ldm_doppler), f"unet/{travelling_name(unet_doppler)}")
TRAVELS = {
    "README.md",
    "facts.json",
    "model_index.json",
    *CODE,
    "samples.png",
    "scheduler/scheduler_config.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vqvae/config.json",
    "vqvae/diffusion_pytorch_model.safetensors",
}
CARD = """---
library_name: diffusers
tags:
- echoform
- radar
datasets:
- tester/walks
model-index:
- name: Walkers
  results:
  - task:
      type: unconditional-image-generation
    dataset:
      type: tester/walks
      name: walks
    metrics:
    - type: accuracy
      value: 0.5
---

# Walkers

![Generated spectrograms](<samples.png>)

```python
pipe = DiffusionPipeline.from_pretrained(".", trust_remote_code=True)  # the folder that holds this card
```
"""


@pytest.fixture
def folder(make_pipeline: Callable[..., VQLDMDopplerPipeline], tmp_path: Path) -> Path:
    """An exported pipeline beside what a training leaves, and what nobody should push."""
    root = tmp_path / "pipeline"
    make_pipeline().save_pretrained(root)
    (root / "README.md").write_text(CARD)
    (root / "facts.json").write_text("{}")
    Image.new("L", (4, 4)).save(root / "samples.png")
    for stray in ("split.json", "log.jsonl", "optimizer.pt", "vqvae/old.bin", "checkpoints/1/model.safetensors"):
        (root / stray).parent.mkdir(parents=True, exist_ok=True)
        (root / stray).write_bytes(b"stray")
    return root


def metadata(card: str) -> Any:
    """As huggingface_hub reads them."""
    return ModelCard(card).data


def body(card: str) -> str:
    return ModelCard(card).text.strip()


def pixels(pipe: DiffusionPipeline) -> np.ndarray:
    pipe.set_progress_bar_config(disable=True)
    settings = {"num_inference_steps": 2, "output_type": "np"}
    return pipe(["ID_1"], generator=torch.Generator().manual_seed(0), **settings).images  # pyright: ignore[reportCallIssue]


def test_one_commit_holds_what_belongs_to_the_folder_and_nothing_else(hub: Hub, folder: Path):
    repo_id = hub.repo_id("walkers")
    url = push_folder(folder, repo_id, commit_message="First")
    newest, initial = hub.commits(repo_id)
    assert (newest.title, initial.title) == ("First", "initial commit")
    assert url == f"{hub.url}/{repo_id}/commit/{newest.sha}"
    there = hub.files(repo_id)
    assert set(there) == TRAVELS == {path.as_posix() for path in files_to_upload(folder)}
    assert all(there[name] == (folder / name).read_bytes() for name in TRAVELS - {"README.md"})


def test_the_same_content_again_makes_no_commit(hub: Hub, folder: Path):
    repo_id = hub.repo_id("again")
    url = push_folder(folder, repo_id)
    assert push_folder(folder, repo_id) == url
    assert len(hub.commits(repo_id)) == 2


def test_a_folder_without_a_model_and_weights_that_are_pickled_are_refused(folder: Path, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"holds neither model_index\.json nor config\.json"):
        push_folder(tmp_path, "tester/nothing")
    (folder / "vqvae/diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"weights must be safetensors, got .*vqvae/old\.bin"):
        push_folder(folder, "tester/pickled")


def test_private_is_private_and_never_turns_out_public(hub: Hub, folder: Path):
    private, public = hub.repo_id("private"), hub.repo_id("public")
    push_folder(folder, private, private=True)
    assert HfApi().model_info(private).private
    push_folder(folder, private, private=True)
    hub.write(public, "note.txt", b"")
    with pytest.raises(PushError, match=f"{public} is public already"):
        push_folder(folder, public, private=True)
    assert "model_index.json" not in hub.files(public)


def test_a_branch_is_made_where_there_is_none_and_main_stays(hub: Hub, folder: Path):
    repo_id = hub.repo_id("branch")
    push_folder(folder, repo_id, revision="try/longer")
    assert set(hub.files(repo_id, "try/longer")) == TRAVELS
    assert hub.files(repo_id) == {}
    url = push_folder(folder, repo_id, create_pr=True)
    assert url == f"{hub.url}/{repo_id}/discussions/1"
    assert hub.files(repo_id) == {}
    assert set(hub.files(repo_id, "refs/pr/1")) == TRAVELS


def test_a_name_without_a_namespace_is_under_the_token_s_own(hub: Hub, folder: Path):
    repo_id = hub.repo_id("own")
    push_folder(folder, repo_id.partition("/")[2])
    assert set(hub.files(repo_id)) == TRAVELS


def test_of_a_data_set_tables_that_are_gone_are_deleted(hub: Hub, tmp_path: Path):
    repo_id = hub.repo_id("data")
    for name in ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "axes.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    push_folder(tmp_path, repo_id, repo_type="dataset")
    for path in (tmp_path / "data").iterdir():
        path.unlink()
    (tmp_path / "data/train-00000-of-00001.parquet").write_bytes(b"all")
    push_folder(tmp_path, repo_id, repo_type="dataset")
    assert hub.files(repo_id, kind="datasets") == {
        "axes.json": b"axes.json",
        "data/train-00000-of-00001.parquet": b"all",
    }


# Cards ----------------------------------------------------------------------------------------------------------------


def test_a_text_that_we_printed_is_printed_anew(hub: Hub, folder: Path):
    repo_id = hub.repo_id("anew")
    push_folder(folder, repo_id)
    (folder / "README.md").write_text(CARD.replace("# Walkers", "# Better walkers"))
    push_folder(folder, repo_id)
    assert body(hub.files(repo_id)["README.md"].decode()).startswith("# Better walkers")
    assert len(hub.commits(repo_id)) == 3


def test_a_text_that_a_person_edited_stays_and_only_the_metadata_are_renewed(hub: Hub, folder: Path):
    repo_id = hub.repo_id("edited")
    push_folder(folder, repo_id)
    edited = hub.files(repo_id)["README.md"].decode().replace("# Walkers", "# My walkers")
    edited = edited.replace("library_name: diffusers", "library_name: diffusers\nlicense: cc-by-4.0\nlanguage: en")
    hub.write(repo_id, "README.md", edited.replace("- radar", "- radar\n- garden").encode())
    (folder / "README.md").write_text(CARD.replace("value: 0.5", "value: 0.75").replace("# Walkers", "# Others"))
    push_folder(folder, repo_id)
    card = hub.files(repo_id)["README.md"].decode()
    data = metadata(card)
    assert body(card) == body(edited)
    assert (data.license, data.language) == ("cc-by-4.0", "en")
    assert data.tags == ["echoform", "radar", "garden"]
    assert [result.metric_value for result in data.eval_results] == [0.75]
    commits = len(hub.commits(repo_id))
    push_folder(folder, repo_id)
    assert len(hub.commits(repo_id)) == commits


def test_a_card_that_was_never_ours_keeps_every_byte_of_its_text():
    theirs = "---\r\nlicense: mit\r\n---\r\n\r\n# Theirs\r\n\r\n---\r\n\r\na rule\r\n"
    merged = merge_card(CARD, theirs)
    assert body(merged) == "# Theirs\n\n---\n\na rule"
    assert (metadata(merged).license, metadata(merged).library_name) == ("mit", "diffusers")
    assert PRINTED not in merged  # so that it stays theirs
    assert merge_card(CARD, merged) == merged


def test_an_empty_card_with_a_licence_gets_our_text_and_keeps_the_licence():
    merged = merge_card(CARD, "---\nlicense: mit\n---\n")
    assert body(merged) == body(CARD)
    assert metadata(merged).license == "mit"


def test_numbers_of_replaced_weights_do_not_stay_on_the_card():
    unscored = CARD.partition("model-index")[0] + "---" + CARD.partition("0.5\n---")[2]
    assert not metadata(unscored).eval_results
    assert "model-index" not in merge_card(unscored, merge_card(CARD, ""))
    assert "model-index" in merge_card(unscored, CARD)  # written by a person


def test_merging_again_changes_nothing_and_broken_metadata_are_named():
    once = merge_card(CARD, "")
    assert merge_card(CARD, once) == once
    with pytest.raises(ValueError, match=r"the metadata of README\.md must be a YAML mapping, got list"):
        merge_card(CARD, "---\n- a\n---\n")
    with pytest.raises(ValueError, match=r"the metadata of README\.md must be YAML, got "):
        merge_card(CARD, "---\na: [\n---\n")


# The pipeline's own push ----------------------------------------------------------------------------------------------


def test_the_pipeline_pushes_once_with_a_card_whose_snippet_runs(
    hub: Hub, make_pipeline: Callable[..., VQLDMDopplerPipeline]
):
    repo_id = hub.repo_id("direct")
    pipe = make_pipeline()
    url = pipe.push_to_hub(repo_id, private=True, commit_message="Hello")
    assert [commit.title for commit in hub.commits(repo_id)] == ["Hello", "initial commit"]
    assert url == f"{hub.url}/{repo_id}/commit/{hub.commits(repo_id)[0].sha}"
    assert HfApi().model_info(repo_id).private
    card = hub.files(repo_id)["README.md"].decode()
    ModelCard(card).validate()
    names: dict[str, DiffusionPipeline] = {}
    exec(card.partition("```python\n")[2].partition("```")[0], names)
    assert np.array_equal(pixels(names["pipe"]), pixels(pipe))
    assert pipe.push_to_hub(repo_id) == url
    assert merge_card(CARD, card).endswith(CARD.partition("0.5\n---\n")[2])  # `echoform push` may replace it


def test_the_pipeline_s_own_push_tries_again_and_says_in_one_sentence_what_it_cannot_do(
    hub: Hub, make_pipeline: Callable[..., VQLDMDopplerPipeline], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("echoform.hub_retry.time.sleep", lambda seconds: None)
    repo_id = hub.repo_id("patient")
    hub.fail("/commit/", status=500, times=2)
    make_pipeline().push_to_hub(repo_id)
    assert sum("/commit/" in path for _, path in hub.requests) >= 3
    assert set(CODE) <= set(hub.files(repo_id))
    hub.fail("/commit/", status=403)
    with pytest.raises(
        PushError, match=f"nothing was pushed to {repo_id}: the token may not write there .*has changed"
    ):
        make_pipeline(id2label={"0": "a", "1": "b", "2": "c"}).push_to_hub(repo_id)
    assert len(hub.commits(repo_id)) == 2


def test_the_pipeline_leaves_a_card_alone(hub: Hub, make_pipeline: Callable[..., VQLDMDopplerPipeline]):
    repo_id = hub.repo_id("kept")
    hub.write(repo_id, "README.md", b"# Mine\n")
    make_pipeline().push_to_hub(repo_id)
    assert hub.files(repo_id)["README.md"] == b"# Mine\n"
    assert set(CODE) <= set(hub.files(repo_id))


def test_what_is_loaded_saved_pushed_and_loaded_again_keeps_code_card_and_images(
    hub: Hub, folder: Path, tmp_path: Path
):
    first, second = hub.repo_id("first"), hub.repo_id("second")
    push_folder(folder, first)
    loaded = DiffusionPipeline.from_pretrained(first, trust_remote_code=True)
    loaded.save_pretrained(tmp_path / "saved", push_to_hub=True, repo_id=second, revision="next", private=True)
    before, after = hub.files(first), hub.files(second, "next")
    assert set(after) == TRAVELS - {"facts.json"}
    assert all(after[name] == before[name] for name in (*CODE, "samples.png", "model_index.json"))
    card = after["README.md"].decode()
    assert f'from_pretrained("{second}", revision="next", trust_remote_code=True)\n' in card
    assert body(card).startswith("# Walkers")
    again = VQLDMDopplerPipeline.from_pretrained(second, revision="next")
    assert np.array_equal(pixels(again), pixels(loaded))
    assert hub.files(second) == {}


def test_a_folder_without_a_card_and_a_local_card_both_find_their_way(
    hub: Hub, folder: Path, make_pipeline: Callable[..., VQLDMDopplerPipeline]
):
    repo_id = hub.repo_id("local")
    VQLDMDopplerPipeline.from_pretrained(folder).push_to_hub(repo_id)
    card = hub.files(repo_id)["README.md"].decode()
    assert f'pipe = DiffusionPipeline.from_pretrained("{repo_id}", trust_remote_code=True)\n```' in card
    assert hub.files(repo_id)["samples.png"] == (folder / "samples.png").read_bytes()
    (folder / "README.md").unlink()
    bare = hub.repo_id("bare")
    VQLDMDopplerPipeline.from_pretrained(folder).push_to_hub(bare)
    assert "this card has no facts about its training" in hub.files(bare)["README.md"].decode()


def test_a_card_shows_no_file_outside_its_folder(hub: Hub, folder: Path):
    repo_id = hub.repo_id("outside")
    Image.new("L", (4, 4)).save(folder.parent / "secret.png")
    (folder / "README.md").write_text("# A\n\n![x](../secret.png) ![y](/etc/hostname)\n")
    VQLDMDopplerPipeline.from_pretrained(folder).push_to_hub(repo_id)
    assert set(hub.files(repo_id)) == TRAVELS - {"facts.json", "samples.png"}


def test_a_variant_stands_beside_the_other_weights(hub: Hub, make_pipeline: Callable[..., VQLDMDopplerPipeline]):
    repo_id = hub.repo_id("variant")
    pipe = make_pipeline()
    pipe.push_to_hub(repo_id)
    pipe.to(torch.float16)
    pipe.push_to_hub(repo_id, variant="fp16")
    half = load(hub.files(repo_id)["unet/diffusion_pytorch_model.fp16.safetensors"])
    full = load(hub.files(repo_id)["unet/diffusion_pytorch_model.safetensors"])
    assert {value.dtype for value in half.values()} == {torch.float16}
    assert all(torch.equal(value.half(), half[name]) for name, value in full.items())
    loaded = VQLDMDopplerPipeline.from_pretrained(repo_id, variant="fp16").unet.state_dict()
    assert all(torch.equal(value, half[name].float()) for name, value in loaded.items())


def test_pickles_and_a_private_push_to_a_public_repository_are_refused(
    hub: Hub, make_pipeline: Callable[..., VQLDMDopplerPipeline], tmp_path: Path
):
    repo_id = hub.repo_id("refused")
    hub.write(repo_id, "note.txt", b"")
    with pytest.raises(ValueError, match="safetensors alone, got safe_serialization=False"):
        make_pipeline().save_pretrained(tmp_path, safe_serialization=False)
    with pytest.raises(
        ValueError, match=f"private needs a new repository or one that is private already, got {repo_id}"
    ):
        make_pipeline().push_to_hub(repo_id, private=True)
    assert hub.files(repo_id) == {"note.txt": b""}


def test_a_stock_model_in_a_folder_of_its_own_travels_too(hub: Hub, folder: Path):
    repo_id = hub.repo_id("stock")
    (folder / "vqvae/old.bin").unlink()
    push_folder(folder / "vqvae", repo_id)
    assert set(hub.files(repo_id)) == {"config.json", "diffusion_pytorch_model.safetensors"}
    config = json.loads((folder / "vqvae/config.json").read_text())
    assert VQModel.from_pretrained(repo_id).config["num_vq_embeddings"] == config["num_vq_embeddings"]
