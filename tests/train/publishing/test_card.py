"""Cards of exported folders: what the run measured, what was said later, and snippets that run against the Hub."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard, ModelCardData
from PIL import Image
from safetensors.torch import load_file, save_file

from echoform.depth_autoencoder import DepthAutoencoder
from echoform.pipeline_depth_autoencoder import DepthAutoencoderPipeline
from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform_train.engine.licences import check_licence
from echoform_train.engine.provenance import provenance
from echoform_train.publishing.card import write_card
from echoform_train.publishing.cards.common import hub_id_of_source
from echoform_train.publishing.identity import model_identity
from echoform_train.publishing.push import SaidOfModel, push
from tiny import run_python

SCORES = {
    "gan_test": {"mean": 0.75, "low": 0.7, "high": 0.8, "n": 3, "interval_over": "seeds", "floor": 0.9},
    "memorised": {"mean": 0.0123, "floor": 0.0456},
}


@pytest.fixture
def pipeline(second_stage, tmp_path) -> Path:
    """The exported folder of a training that is over, with its sample sheets beside it."""
    shutil.copytree(second_stage / "pipeline", tmp_path / "ldm" / "pipeline")
    shutil.copytree(second_stage / "samples", tmp_path / "ldm" / "samples")
    return tmp_path / "ldm" / "pipeline"


def card_of(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def snippet_of(card: str) -> str:
    found = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert found is not None
    return found[1]


def metadata_of(card: str) -> ModelCardData:
    data = ModelCard(card).data
    assert isinstance(data, ModelCardData)
    return data


def test_the_card_of_a_training_holds_its_facts_and_its_last_sample_sheet(second_stage):
    folder = second_stage / "pipeline"
    card, facts = card_of(folder), json.loads((folder / "facts.json").read_text())
    last = sorted((second_stage / "samples").iterdir())[-1]
    assert (folder / "samples.png").read_bytes() == last.read_bytes()
    assert "](<samples.png>)" in card and "Generated after 192 images of training." in card
    assert facts["commit"] is None or facts["commit"] in card
    assert f"{facts['data']['images']['train']:,} images" in card and facts["data"]["split"] in card
    assert "No licence is named in this card" in card
    assert "was not measured" in card
    assert "model-index" not in card


def test_what_was_said_once_is_said_again_by_every_later_card(pipeline):
    write_card(pipeline, SCORES, {"num_inference_steps": 4, "guidance_scale": 1.5}, people="simulated")
    write_card(pipeline, license="cc-by-4.0", hub_dataset="someone/walkers")
    write_card(pipeline, repo="someone/model")
    card = card_of(pipeline)
    data = metadata_of(card)
    assert data.eval_results is not None
    assert [result.metric_value for result in data.eval_results] == [0.75, 0.0123]
    assert (data.license, data.datasets) == ("cc-by-4.0", ["someone/walkers"])
    assert 'from_pretrained("someone/model"' in card
    assert "1.2 % of generated images" in card and "Among held-out real images, 4.6 % do." in card
    assert "num_inference_steps=4" in card and "no real person's gait is in it" in card
    write_card(pipeline)
    assert '"someone/model"' not in card_of(pipeline)  # where a copy stands is no fact of the model


def test_what_a_person_wrote_into_the_card_stays_and_its_metadata_are_renewed(pipeline):
    edited = card_of(pipeline).replace("## Use", "Made for the thesis.\n\n## Use")
    (pipeline / "README.md").write_text(edited)
    write_card(pipeline, SCORES)
    card = card_of(pipeline)
    assert "Made for the thesis." in card
    results = metadata_of(card).eval_results
    assert results is not None and results[0].metric_value == 0.75


def test_scores_of_another_model_do_not_come_onto_a_card(pipeline, caplog):
    write_card(pipeline, SCORES, people="simulated")
    file = next((pipeline / "unet").glob("*.safetensors"))
    weights = load_file(file)
    save_file({name: tensor + 1e-3 if tensor.is_floating_point() else tensor for name, tensor in weights.items()}, file)
    write_card(pipeline)
    assert metadata_of(card_of(pipeline)).eval_results is None
    assert "shows no scores" in caplog.text and str(pipeline) in caplog.text
    stored = json.loads((pipeline / "facts.json").read_text())["card"]
    assert "scores" not in stored and stored["people"] == "simulated"


def test_scores_of_a_model_that_was_exchanged_while_it_was_scored_are_refused(pipeline):
    scored = model_identity(pipeline)
    index = json.loads((pipeline / "model_index.json").read_text())
    (pipeline / "model_index.json").write_text(json.dumps(index | {"guidance_scale": 3.0}))
    before = card_of(pipeline)
    with pytest.raises(ValueError, match="must be those of the model there"):
        write_card(pipeline, SCORES, scores_of=scored)
    assert card_of(pipeline) == before


def test_a_model_that_was_copied_or_saved_by_another_version_keeps_its_scores(pipeline, tmp_path):
    write_card(pipeline, SCORES)
    copy = shutil.copytree(pipeline, tmp_path / "copy")
    index = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps(index | {"_diffusers_version": "9.9"}))
    write_card(copy)
    assert metadata_of(card_of(copy)).eval_results


def test_training_on_a_data_set_of_the_hub_names_it(pipeline):
    facts = json.loads((pipeline / "facts.json").read_text())
    facts["data"]["source"] = "someone/walkers@v2"
    (pipeline / "facts.json").write_text(json.dumps(facts))
    write_card(pipeline)
    assert metadata_of(card_of(pipeline)).datasets == ["someone/walkers"]


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"neither model_index\.json nor config\.json"):
        write_card(tmp_path)
    (tmp_path / "config.json").write_text('{"_class_name": "VQModel"}')
    with pytest.raises(FileNotFoundError, match=r"holds no facts\.json"):
        write_card(tmp_path)


def depth_models(folder: Path) -> tuple[Path, Path]:
    """A tiny depth pipeline as a training exports it, and its encoder alone."""
    model = DepthAutoencoder(
        sample_size=32, latent_dim=16, block_out_channels=(8, 16, 16, 16), layers_per_block=(1, 1, 1, 1)
    )
    scale: dict[str, Any] = {"depth_range_mm": {"min": 300.0, "max": 5000.0}, "units_per_mm": 1.0}
    DepthAutoencoderPipeline(model.eval(), **scale).save_pretrained(folder)
    data = {"source": "rooms", "images": {"train": 8, "test": 2}, "split": "by recording", **scale}
    facts = {"data": data, "parameters": 1234, "seconds": 1.0, "images_seen": 8, **provenance()}
    (folder / "facts.json").write_text(json.dumps(facts))
    write_card(folder, {"rmse_mm": {"mean": 12.5, "baselines": {"PCA-16": 20.0}}})
    encoder = folder.with_name("encoder")
    model.encoder.save_pretrained(encoder)
    shutil.copyfile(folder / "facts.json", encoder / "facts.json")
    return folder, encoder


def test_every_cards_snippet_runs_in_a_fresh_process_against_the_pushed_repository(
    pipeline, first_stage, kl_first_stage, tmp_path, hub
):
    depth = np.random.default_rng(0).integers(300, 5000, (40, 60)).astype(np.uint16)
    Image.fromarray(depth).save(tmp_path / "depth.png")
    write_card(pipeline, sampling={"num_inference_steps": 2, "guidance_scale": 1.0})
    depth_folder, encoder = depth_models(tmp_path / "depth")
    folders = {"ldm": pipeline, "first": first_stage, "kl": kl_first_stage, "depth": depth_folder, "encoder": encoder}
    script = [f"import os\nos.chdir({str(tmp_path)!r})"]
    for name, folder in folders.items():
        repo = hub.repo_id(name)
        push(folder, repo)
        files = hub.files(repo)
        card = files["README.md"].decode()
        assert f'"{repo}"' in card and "facts.json" in files
        ModelCard(card).validate()
        script.append(snippet_of(card))
    script += ["assert len(images) == 1 and reconstruction.shape == images.shape"]  # of the first stages
    script += ["assert output.latents.shape == embeddings.shape == (1, 16)"]  # of the pipeline and of its encoder
    (tmp_path / "snippets.py").write_text("\n".join(script))
    run_python(["-I", str(tmp_path / "snippets.py")])
    with Image.open(tmp_path / "spectrogram.png") as image:
        assert image.size == (32, 32)


def test_the_gallery_shows_each_user_with_what_makes_the_image_again(second_stage):
    folder = second_stage / "pipeline"
    data = metadata_of(card := card_of(folder))
    widget = data.to_dict()["widget"]
    facts = json.loads((folder / "facts.json").read_text())
    assert [each["text"].split(",")[0] for each in widget] == [f"user {user}" for user in facts["data"]["users"]]
    pipe = VQLDMDopplerPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    for each in widget:
        user, seed, steps, guidance = re.fullmatch(
            r"user (\S+), seed (\d+), (\d+) steps, guidance (\S+)", each["text"]
        ).groups()  # type: ignore[union-attr]
        again = pipe(
            [user],
            generator=torch.Generator().manual_seed(int(seed)),
            num_inference_steps=int(steps),
            guidance_scale=float(guidance),
        ).images[0]
        with Image.open(folder / each["output"]["url"]) as shown:
            assert np.array_equal(np.asarray(shown), np.asarray(again))
        assert f"](<{each['output']['url']}>)" in card


def test_what_a_push_says_of_licence_people_and_base_model_is_in_the_card_there(pipeline, hub):
    said = SaidOfModel(license="cc-by-4.0", people="simulated", base_model="someone/teacher")
    push(pipeline, repo := hub.repo_id("student"), said=said)
    card = hub.files(repo)["README.md"].decode()
    data = metadata_of(card)
    assert (data.license, data.base_model) == ("cc-by-4.0", "someone/teacher")
    assert "no real person's gait is in it" in card
    assert "Made from [someone/teacher](https://huggingface.co/someone/teacher)." in card
    assert "gallery-00.png" in hub.files(repo)
    assert "cc-by-4.0" not in card_of(pipeline)


def test_a_judge_that_guesses_gives_the_hub_no_scores(pipeline):
    guessing = {"real_to_real": {"mean": 0.34, "low": 0.2, "high": 0.5, "n": 60, "interval_over": "images"}}
    write_card(pipeline, SCORES | guessing)
    card = card_of(pipeline)
    assert "has learned nothing: it names the right user of" in " ".join(card.split())
    results = metadata_of(card).eval_results
    assert results is not None and [each.metric_type for each in results] == ["memorised_share"]


@pytest.mark.parametrize(("license", "fits"), [("cc-by-4.0", True), ("other", True), ("CC BY 4.0", False), ("", False)])
def test_a_licence_is_an_identifier_of_the_hub(license, fits):
    if fits:
        check_licence(license)
    else:
        with pytest.raises(ValueError, match="--license must be an identifier of the Hub"):
            check_licence(license)


def test_only_a_source_on_the_hub_has_an_id_that_a_card_can_name(pipeline, monkeypatch):
    assert hub_id_of_source("someone/teacher@v1") == {"base_model": "someone/teacher"}
    monkeypatch.chdir(pipeline.parent.parent)
    assert hub_id_of_source("ldm/pipeline") == {} == hub_id_of_source(pipeline)
