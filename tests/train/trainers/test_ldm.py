import io
import json
import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import VQModel
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform.unet_doppler import DopplerUNet2DModel
from echoform_train.data.spectrograms import load_spectrograms
from echoform_train.engine.training_log import read_log
from echoform_train.latent_diffusion.first_stage import encode_pixels, load_first_stage
from echoform_train.trainers import ldm as train_ldm
from echoform_train.trainers import vq_vae as train_vq_vae
from tiny import run_processes, run_python, tiny_ldm, tiny_run, tiny_vq_vae, train_tiny


def weights(folder):
    return load_file(folder / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors")


def test_the_exported_pipeline_holds_the_best_averaged_weights_and_the_facts(walkers, first_stage, second_stage):
    pipeline = VQLDMDopplerPipeline.from_pretrained(second_stage / "pipeline")
    best = load_file(second_stage / "unet" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(best[name], value) for name, value in pipeline.unet.state_dict().items())
    assert list(pipeline.config["id2label"].values()) == ["ID_1", "ID_2", "ID_3"]
    stage = load_first_stage(first_stage)
    latents = encode_pixels(
        stage.model, load_spectrograms(str(walkers), split_file=first_stage / "split.json").train.pixels
    )
    assert list(pipeline.config["latent_mean"].values()) == pytest.approx(
        latents.mean(dim=(0, 2, 3)).tolist(), abs=1e-4
    )
    assert list(pipeline.config["latent_std"].values()) == pytest.approx(latents.std(dim=(0, 2, 3)).tolist(), abs=1e-4)
    assert (second_stage / "pipeline" / "README.md").read_text().startswith("---\n")


def test_the_best_weights_are_the_averaged_ones_and_not_the_last_trained_ones(second_stage):
    checkpoint = sorted((second_stage / "checkpoints").iterdir())[-1]
    trained = load_file(checkpoint / "unet.safetensors")
    exported = weights(second_stage)
    assert any(not torch.equal(trained[name], value) for name, value in exported.items())


def test_an_interrupted_run_resumes_to_the_same_bits(walkers, first_stage, second_stage, tmp_path):
    resumed = tmp_path / "ldm"
    shutil.copytree(second_stage, resumed)
    for checkpoint in sorted((resumed / "checkpoints").iterdir())[2:]:
        shutil.rmtree(checkpoint)
    shutil.rmtree(resumed / "pipeline")
    shutil.rmtree(resumed / "unet")
    run = tiny_run(resumed, resume_from_checkpoint="latest")
    train_ldm.main(tiny_ldm(walkers, first_stage, resumed, run=run))
    before, after = weights(second_stage), weights(resumed)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert read_log(resumed) == read_log(second_stage)


@pytest.mark.parametrize(
    "settings",
    [{"objective": "flow-matching"}, {"beta_schedule": "linear"}, {"beta_schedule": "squaredcos_cap_v2"}],
    ids=lambda settings: next(iter(settings.values())),
)
def test_every_objective_and_schedule_learns_and_samples(settings, walkers, first_stage, tmp_path):
    run = tiny_run(tmp_path, validation_every=96)
    train_ldm.main(tiny_ldm(walkers, first_stage, tmp_path, run=run, **settings))
    losses = [row["train/loss"] for row in read_log(tmp_path) if "train/loss" in row]
    assert sum(losses[-6:]) < sum(losses[:6])
    pipeline = VQLDMDopplerPipeline.from_pretrained(tmp_path / "pipeline")
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(users=["ID_2"], generator=torch.Generator().manual_seed(0), output_type="np").images
    assert images.shape[:3] == (1, 32, 32)
    assert images.std() > 0


@pytest.mark.parametrize("trained_in", ["second_stage", "kl_second_stage"])
def test_every_parameter_moves_in_training(trained_in, request):
    second_stage = request.getfixturevalue(trained_in)
    torch.manual_seed(0)
    settings = json.loads((second_stage / "unet" / "config.json").read_text())
    start = DopplerUNet2DModel(**{name: value for name, value in settings.items() if name[0] != "_"}).state_dict()
    trained = load_file(sorted((second_stage / "checkpoints").iterdir())[-1] / "unet.safetensors")
    still = [name for name, value in trained.items() if torch.equal(start[name], value)]
    assert still == []


def test_data_of_another_size_than_the_first_stage_are_refused(walkers, first_stage, tmp_path):
    config = tiny_ldm(walkers, first_stage, tmp_path)
    config = replace(config, data=replace(config.data, resolution=16))
    with pytest.raises(ValueError, match="was trained with resolution 32, the data have 16"):
        train_ldm.main(config)


def test_another_split_than_that_of_the_first_stage_is_refused(walkers, first_stage, tmp_path):
    split = json.loads((first_stage / "split.json").read_text())
    split["validation"], split["test"] = split["test"], split["validation"]
    (tmp_path / "other.json").write_text(json.dumps(split))
    config = tiny_ldm(walkers, first_stage, tmp_path / "ldm")
    other = replace(config, data=replace(config.data, split_file=tmp_path / "other.json"))
    with pytest.raises(ValueError, match=r"first stage in .*other\.json: 24 of 48 images on another side"):
        train_ldm.main(other)
    missing = replace(config, data=replace(config.data, split_file=tmp_path / "typo.json"))
    with pytest.raises(FileNotFoundError, match=r"--split-file .*typo\.json does not exist"):
        train_ldm.main(missing)
    assert not (tmp_path / "typo.json").exists()


def test_a_folder_without_a_first_stage_is_named(walkers, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no facts\.json; is it the output of `echoform train vq-vae`"):
        train_ldm.main(tiny_ldm(walkers, tmp_path, tmp_path / "out"))


def test_the_first_stage_stays_as_it_was(first_stage, second_stage):
    before = VQModel.from_pretrained(first_stage / "vqvae").state_dict()
    after = VQModel.from_pretrained(second_stage / "pipeline" / "vqvae").state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_colour_pictures_without_a_colour_map_or_conditions_go_the_same_way_in_rgb(tmp_path):
    rng = np.random.default_rng(0)
    for user in ("ann", "bob"):
        (tmp_path / "data" / user).mkdir(parents=True)
        for number in range(24):
            small = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            picture = Image.fromarray(small).resize((32, 32), Image.Resampling.BICUBIC)
            picture.save(tmp_path / "data" / user / f"{number}.png")
    train_vq_vae.main(tiny_vq_vae(tmp_path / "data", tmp_path / "vq"))
    train_ldm.main(tiny_ldm(tmp_path / "data", tmp_path / "vq", tmp_path / "ldm"))
    pipeline = VQLDMDopplerPipeline.from_pretrained(tmp_path / "ldm" / "pipeline")
    assert pipeline.config["colormap"] is None
    images = pipeline(users=["bob"], num_inference_steps=2).images
    assert (images[0].mode, images[0].size) == ("RGB", (32, 32))


@pytest.mark.parametrize(("name", "least", "most"), [("cpu", 3e6, 8e6), ("256", 25e6, 30e6), ("paper", 2e8, 8e8)])
def test_presets_have_the_sizes_that_they_promise(name, least, most):
    facts: Any = {"id2label": dict.fromkeys(range(31)), "condition_labels": {"direction": {"0": "a", "1": "b"}}}
    with torch.device("meta"):
        unet = train_ldm.build_unet(train_ldm.PRESETS[name], (4, 32, 32), facts)
    assert least <= sum(parameter.numel() for parameter in unet.parameters()) <= most


def test_the_tracker_gets_what_the_log_gets(walkers, first_stage, tmp_path):
    run = tiny_run(tmp_path, report_to="tensorboard", max_train_images=48)
    train_ldm.main(tiny_ldm(walkers, first_stage, tmp_path, run=run))
    events = EventAccumulator(str(tmp_path / "logs" / "ldm"))
    events.Reload()
    tracked = {event.step: event.value for event in events.Scalars("train/loss")}
    logged = {row["seen"]: row["train/loss"] for row in read_log(tmp_path) if "train/loss" in row}
    assert tracked == pytest.approx(logged)
    shown = {f"images-{event.step:09d}.png": event.encoded_image_string for event in events.Images("samples")}
    assert shown.keys() == {path.name for path in (tmp_path / "samples").iterdir()}
    for name, content in shown.items():
        with Image.open(tmp_path / "samples" / name) as sheet, Image.open(io.BytesIO(content)) as image:
            assert np.array_equal(np.array(sheet.convert("RGB")), np.array(image))


PROCESSES = """
import sys
from pathlib import Path
from tiny import train_tiny

train_tiny(sys.argv[1], *map(Path, sys.argv[2:5]), batch_size=int(sys.argv[5]))
"""


@pytest.mark.parametrize("kind", ["vq-vae", "ldm", pytest.param("kl-vae", marks=pytest.mark.slow)])
def test_two_processes_give_the_losses_of_one_with_the_same_global_batch(kind, walkers, first_stage, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(PROCESSES)
    train_tiny(kind, walkers, first_stage, tmp_path / "one", batch_size=8)
    run_processes(2, [str(argument) for argument in (script, kind, walkers, first_stage, tmp_path / "two", 4)])
    one, two = read_log(tmp_path / "one"), read_log(tmp_path / "two")
    assert json.loads((tmp_path / "two" / "facts.json").read_text())["images_a_step"] == 8
    assert [row["seen"] for row in one] == [row["seen"] for row in two]
    for ours, theirs in zip(one, two, strict=True):
        for name in {"train/loss", "learning_rate", "validation/loss", "validation/psnr"} & set(ours):
            # Sums of another order round otherwise, and once there is a codebook that now and then flips a code.
            assert ours[name] == pytest.approx(theirs[name], rel=5e-3), (ours, theirs)


def test_accelerate_launch_gives_the_losses_of_a_plain_start(walkers, first_stage, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(PROCESSES)
    train_tiny("ldm", walkers, first_stage, tmp_path / "plain", batch_size=8)
    launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_machines=1", "--num_processes=1"]
    launch += ["--mixed_precision=no", "--dynamo_backend=no"]
    arguments = [*launch, script, "ldm", walkers, first_stage, tmp_path / "launched", 8]
    run_python([str(argument) for argument in arguments])
    for ours, theirs in zip(read_log(tmp_path / "plain"), read_log(tmp_path / "launched"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
