"""What a resumed training may change and what not, with real data and real first stages."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from echoform_train.data.config import DataConfig
from echoform_train.trainers import conv_ae as train_conv_ae
from echoform_train.trainers import depth_ae as train_depth_ae
from echoform_train.trainers import ldm as train_ldm
from echoform_train.trainers import vq_vae as train_vq_vae
from tiny import tiny_depth_ae, tiny_ldm, tiny_run, tiny_vq_vae
from tiny_conv import tiny_conv_ae

REFUSED = "a run resumes with the settings and data that it began with: .*"


@pytest.fixture
def finished(first_stage, tmp_path) -> Path:
    return Path(shutil.copytree(first_stage, tmp_path / "vq"))


def resume_vq_vae(walkers: Path, folder: Path, run: dict[str, Any] | None = None, **settings: Any) -> None:
    again = tiny_run(folder, **{"resume_from_checkpoint": "latest"} | (run or {}))
    train_vq_vae.main(replace(tiny_vq_vae(walkers, folder, run=again), **settings))


def copied_walkers(walkers: Path, folder: Path) -> Path:
    return Path(shutil.copytree(walkers, folder / "elsewhere"))


@pytest.mark.parametrize(
    ("run", "changed"),
    [
        ({"learning_rate": 1e-3}, "--learning-rate was 0.002, is now 0.001"),
        ({"lr_scheduler": "constant"}, "--lr-scheduler was cosine, is now constant"),
        ({"lr_warmup_steps": 5}, "--lr-warmup-steps was 4, is now 5"),
        ({"adam_weight_decay": 0.0}, "--adam-weight-decay was 0.01, is now 0.0"),
        ({"max_grad_norm": 2.0}, "--max-grad-norm was 1.0, is now 2.0"),
        ({"max_train_images": 400}, "--max-train-images was 192, is now 400"),
        ({"validation_every": 24}, "--validation-every was 48, is now 24"),
        ({"seed": 1}, "--seed was 0, is now 1"),
        ({"mixed_precision": "bf16"}, "--mixed-precision was no, is now bf16"),
        ({"gradient_accumulation_steps": 2, "train_batch_size": 4}, "--train-batch-size was 8, is now 4"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_setting_that_can_change_a_number_is_refused(run, changed, walkers, finished):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=REFUSED + changed):
        resume_vq_vae(walkers, finished, run)
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_settings_that_change_no_number_are_told_in_one_line(walkers, finished, capsys):
    resume_vq_vae(walkers, finished, {"early_stopping_patience": 3, "logging_every": 16})
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("resumed after 192 images from ")]
    assert len(told) == 1
    assert told[0].endswith("with --early-stopping-patience was 0, is now 3; --logging-every was 8, is now 16") or told[
        0
    ].endswith("with --logging-every was 8, is now 16; --early-stopping-patience was 0, is now 3")


def test_the_same_data_at_another_path_go_on(walkers, finished, tmp_path, capsys):
    resume_vq_vae(copied_walkers(walkers, tmp_path), finished)
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("resumed after"))
    assert " with " not in line


def test_another_folder_of_as_many_images_is_refused(walkers, finished, tmp_path):
    other = copied_walkers(walkers, tmp_path)
    names = json.loads((finished / "split.json").read_text())["train"]
    image = Image.open(other / names[0])
    image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(other / names[0])
    with pytest.raises(ValueError, match=REFUSED + r"--data \(train\) was content [0-9a-f]{16}, is now content"):
        resume_vq_vae(other, finished)


def test_another_user_of_the_same_images_is_refused(walkers, finished, tmp_path):
    other = copied_walkers(walkers, tmp_path)
    path = other / "metadata.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0]["user"], rows[-1]["user"] = rows[-1]["user"], rows[0]["user"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ValueError):
        resume_vq_vae(other, finished)


@pytest.mark.parametrize(
    ("data", "changed"),
    [
        ({"resolution": 16}, "--resolution was 32, is now 16"),
        ({"colormap": "none"}, "--colormap was jet, is now null"),
        ({"window_s": 1.0}, "--window-s was null, is now 1.0"),
        ({"gap_windows": 3}, "--gap-windows was 2, is now 3"),
    ],
)
def test_another_view_of_the_same_data_is_refused(data, changed, walkers, finished):
    with pytest.raises(ValueError, match=changed):
        resume_vq_vae(walkers, finished, data=DataConfig(data=str(walkers), **data))


def test_another_split_is_refused(walkers, finished, tmp_path):
    split = json.loads((finished / "split.json").read_text())
    split["validation"], split["test"] = split["test"], split["validation"]
    (tmp_path / "other.json").write_text(json.dumps(split))
    with pytest.raises(ValueError, match="split"):
        resume_vq_vae(walkers, finished, data=DataConfig(data=str(walkers), split_file=tmp_path / "other.json"))


def test_a_finished_denoiser_is_not_exported_with_another_first_stage(walkers, first_stage, second_stage, tmp_path):
    folder = Path(shutil.copytree(second_stage, tmp_path / "ldm"))
    other = Path(shutil.copytree(first_stage, tmp_path / "other"))
    weights = other / "vqvae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    name = next(name for name in tensors if name.startswith("decoder") and name.endswith("weight"))
    tensors[name] = tensors[name] * 1.001
    save_file(tensors, weights, {"format": "pt"})
    before = (folder / "pipeline/vqvae/diffusion_pytorch_model.safetensors").read_bytes()
    run = tiny_run(folder, resume_from_checkpoint="latest")
    with pytest.raises(ValueError, match=REFUSED + "--first-stage was content .*, is now content "):
        train_ldm.main(tiny_ldm(walkers, other, folder, run=run))
    assert (folder / "pipeline/vqvae/diffusion_pytorch_model.safetensors").read_bytes() == before
    # The same first stage at another path goes on.
    moved = Path(shutil.copytree(first_stage, tmp_path / "moved"))
    train_ldm.main(tiny_ldm(walkers, moved, folder, run=replace(run, push_to_hub=None), guidance_scale=2.0))


def test_other_depth_images_and_another_range_are_refused(shapes, depth_ae, tmp_path):
    folder = Path(shutil.copytree(depth_ae, tmp_path / "depth"))
    run = tiny_run(folder, resume_from_checkpoint="latest")
    config = tiny_depth_ae(shapes, folder, run=run)
    narrow = replace(config, data=replace(config.data, depth_min_mm=500.0, depth_max_mm=1900.0))
    with pytest.raises(ValueError, match=REFUSED + "--depth-min-mm was null, is now 500"):
        train_depth_ae.main(narrow)
    train_depth_ae.main(config)


def test_latest_skips_a_damaged_checkpoint_and_says_so(walkers, first_stage, finished, capsys):
    state = finished / "checkpoints" / "images-000000192" / "state.json"
    state.write_text(state.read_text()[:40])
    resume_vq_vae(walkers, finished)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("skipped a checkpoint: ") and "images-000000192" in line for line in lines)
    assert any(line.startswith("resumed after 144 images from ") for line in lines)
    before, after = (
        load_file(folder / "vqvae/diffusion_pytorch_model.safetensors") for folder in (first_stage, finished)
    )
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_damaged_checkpoint_that_is_named_is_one_sentence(walkers, finished):
    checkpoint = finished / "checkpoints" / "images-000000096"
    (checkpoint / "vqvae.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"vqvae\.safetensors is damaged: it is not what was written"):
        resume_vq_vae(walkers, finished, {"resume_from_checkpoint": str(checkpoint)})


def test_a_codebook_missing_from_a_checkpoint_is_noticed(walkers, finished):
    checkpoint = finished / "checkpoints" / "images-000000192"
    (checkpoint / "codebook.safetensors").unlink()
    with pytest.raises(ValueError, match=r"must hold codebook\.safetensors, which is missing"):
        resume_vq_vae(walkers, finished, {"resume_from_checkpoint": str(checkpoint)})


def test_half_a_line_of_the_log_is_written_again(walkers, first_stage, finished):
    log = finished / "log.jsonl"
    log.write_bytes(log.read_bytes()[:-7] + b"\x00\x00\xff")
    shutil.rmtree(finished / "checkpoints" / "images-000000192")
    resume_vq_vae(walkers, finished)
    assert log.read_text() == (first_stage / "log.jsonl").read_text()


def test_a_run_that_died_before_its_first_checkpoint_begins_its_log_anew(walkers, tmp_path):
    (tmp_path / "vq").mkdir()
    (tmp_path / "vq" / "log.jsonl").write_text('{"seen": 8, "train/loss": 1.0}\n')
    config = tiny_vq_vae(walkers, tmp_path / "vq", run=tiny_run(tmp_path / "vq", max_train_images=8), quantize=False)
    train_vq_vae.main(config)
    rows = [json.loads(line) for line in (tmp_path / "vq" / "log.jsonl").read_text().splitlines()]
    assert [row["seen"] for row in rows] == [8, 8]  # the means of training, and the validation


def test_a_resumed_convolutional_autoencoder_is_held_to_its_images(tmp_path):
    rng = torch.Generator().manual_seed(0)
    for number in range(24):
        pixels = torch.randint(0, 256, (32, 32), dtype=torch.uint8, generator=rng).numpy()
        (tmp_path / "data").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "data" / f"{number:02d}.png")
    run = tiny_run(tmp_path / "conv", max_train_images=16, validation_every=16)
    train_conv_ae.main(tiny_conv_ae(tmp_path / "data", tmp_path / "conv", run=run))
    path = tmp_path / "data" / json.loads((tmp_path / "conv" / "split.json").read_text())["validation"][0]
    Image.open(path).rotate(90).save(path)
    with pytest.raises(ValueError, match=REFUSED + r"--data \(validation\) was content"):
        train_conv_ae.main(
            tiny_conv_ae(tmp_path / "data", tmp_path / "conv", run=replace(run, resume_from_checkpoint="latest"))
        )
