import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from echoform import ConvAutoencoder, ConvAutoencoderPipeline
from echoform_train.data.image_config import ImageDataConfig
from echoform_train.engine.schedules import learning_rate_at
from echoform_train.engine.training_log import read_log
from echoform_train.report.curves import save_curves
from echoform_train.trainers import conv_ae as train_conv_ae
from echoform_train.trainers.conv_ae import PRESETS, build_model
from tiny import run_processes, run_python, tiny_run
from tiny_conv import tiny_conv_ae, write_pictures


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures") / "data"
    write_pictures(folder)
    return folder


@pytest.fixture(scope="module")
def trained(pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("conv_ae") / "plain"
    train_conv_ae.main(tiny_conv_ae(pictures, folder))
    return folder


def losses(folder, name="train/loss"):
    return [row[name] for row in read_log(folder) if name in row]


def test_training_makes_the_loss_smaller_and_the_facts_are_those_of_the_pipeline_on_the_files(pictures, trained):
    assert sum(losses(trained)[-6:]) < 0.8 * sum(losses(trained)[:6])
    facts = json.loads((trained / "facts.json").read_text())
    files = json.loads((trained / "split.json").read_text())["validation"]
    pipeline = ConvAutoencoderPipeline.from_pretrained(trained / "pipeline")
    pipeline.set_progress_bar_config(disable=True)
    output = pipeline([pictures / file for file in files])
    pooled = np.mean([10 ** (-psnr_db / 10) for psnr_db in output.psnr_db])
    assert facts["validation"]["psnr_db"] == pytest.approx(-10 * np.log10(pooled), abs=1e-3)
    assert facts["validation"]["mse"] == facts["validation"]["loss"] == pytest.approx(pooled, rel=0.1)
    assert facts["kind"] == "conv-ae" and tuple(facts["latent_shape"]) == tuple(output.latents.shape[1:]) == (16, 4, 4)


def test_latent_statistics_of_the_export_are_those_of_the_training_images(pictures, trained):
    pipeline = ConvAutoencoderPipeline.from_pretrained(trained / "pipeline")
    files = json.loads((trained / "split.json").read_text())["train"]
    latents = pipeline.encode([pictures / file for file in files])
    for fact, expected in (("latent_mean", latents.mean(dim=(0, 2, 3))), ("latent_std", latents.std(dim=(0, 2, 3)))):
        found = torch.tensor([pipeline.config[fact][str(channel)] for channel in range(16)])
        torch.testing.assert_close(found, expected, rtol=0.01, atol=1e-4)


def test_the_pictures_of_a_training_are_there_and_nobodys_data_travel(trained):
    with Image.open(trained / "reconstructions" / "images-000000192.png") as sheet:
        # Six held-out images: input, output, latents alone, with white gaps between them and names at the left.
        white = (np.asarray(sheet.convert("RGB")) == 255).all(axis=2)
        blocks = [int((np.diff(np.pad(~white.all(axis=axis), 1).astype(int)) == 1).sum()) for axis in (0, 1)]
        # The names of the rows are one block more; the scores of two rows are two.
        assert blocks == [6 + 1, 3 + 2]
    with Image.open(trained / "curves.png") as curves:
        assert min(curves.size) > 300
    names = {path.name for path in (trained / "pipeline").rglob("*") if path.is_file()}
    assert not any(name.endswith(".png") for name in names) and "README.md" in names


def test_curves_show_what_the_log_holds(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        "matplotlib.axes.Axes.plot", lambda axis, x, y, **style: drawn.update({style.get("label", "rate"): (x, y)})
    )
    monkeypatch.setattr("matplotlib.axes.Axes.legend", lambda axis: None)
    log = [
        {"seen": 8, "train/loss": 0.5, "learning_rate": 1e-3},
        {"seen": 16, "train/loss": 0.25, "learning_rate": 2e-3},
        {"seen": 16, "validation/loss": 0.3, "validation/psnr_db": 5.0},
    ]
    save_curves(log, tmp_path / "new" / "curves.png")
    assert drawn == {"training": ([8, 16], [0.5, 0.25]), "validation": ([16], [0.3]), "rate": ([8, 16], [1e-3, 2e-3])}
    assert (tmp_path / "new" / "curves.png").is_file()


def test_an_interrupted_variational_run_resumes_to_the_same_bits(pictures, tmp_path):
    settings = {"kl_weight": 0.01, "latent_channels": 4, "upsampling": "transpose", "output_activation": "sigmoid"}
    run = tiny_run(tmp_path / "whole", max_train_images=96)
    train_conv_ae.main(tiny_conv_ae(pictures, tmp_path / "whole", run=run, **settings))
    assert (tmp_path / "whole" / "pipeline" / "samples.png").is_file()  # of random latents
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    for lost in ("checkpoints/images-000000096", "pipeline"):
        shutil.rmtree(tmp_path / "resumed" / lost)
    again = replace(run, output_dir=tmp_path / "resumed", resume_from_checkpoint="latest")
    train_conv_ae.main(tiny_conv_ae(pictures, tmp_path / "resumed", run=again, **settings))
    before, after = (
        load_file(tmp_path / name / "checkpoints" / "images-000000096" / "autoencoder.safetensors")
        for name in ("whole", "resumed")
    )
    assert any("running_var" in name for name in before)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert read_log(tmp_path / "whole") == read_log(tmp_path / "resumed")
    last = [row for row in read_log(tmp_path / "whole") if "train/kl" in row][-1]
    assert last["train/loss"] == pytest.approx(last["train/mse"] + last["train/kl"], rel=1e-5)
    with pytest.raises(
        ValueError, match=r"a run resumes with the settings .*: --upsampling was transpose, is now unpool"
    ):
        train_conv_ae.main(
            tiny_conv_ae(pictures, tmp_path / "resumed", run=again, **settings | {"upsampling": "unpool"})
        )


def test_accumulation_gives_the_losses_and_the_warm_up_of_one_large_batch(pictures, tmp_path):
    # Without batch norm, whose statistics are those of each forward pass.
    for name, batch, accumulation in (("large", 8, 1), ("small", 4, 2)):
        run = tiny_run(
            tmp_path / name, max_train_images=48, train_batch_size=batch, gradient_accumulation_steps=accumulation
        )
        train_conv_ae.main(tiny_conv_ae(pictures, tmp_path / name, run=run, batch_norm=False, loss="l1"))
    assert losses(tmp_path / "large") == pytest.approx(losses(tmp_path / "small"), rel=1e-4)
    rows = {row["seen"]: row["learning_rate"] for row in read_log(tmp_path / "small") if "learning_rate" in row}
    for step in (1, 2, 5):
        expected = learning_rate_at(step, peak=2e-3, warmup_steps=4, total_steps=6, shape="cosine")
        assert rows[8 * step] == pytest.approx(expected)


PROCESSES = """
import sys
from pathlib import Path
from echoform_train.trainers import conv_ae as train_conv_ae
from tiny import tiny_run
from tiny_conv import tiny_conv_ae

data, output, batch = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
run = tiny_run(output, max_train_images=48, train_batch_size=batch, validation_every=24)
train_conv_ae.main(tiny_conv_ae(data, output, run=run, batch_norm="norm" in sys.argv, kl_weight=0.01))
"""


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one_with_the_same_global_batch(pictures, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(PROCESSES)
    run_python([str(script), str(pictures), str(tmp_path / "one"), "8"])
    run_processes(2, [str(script), str(pictures), str(tmp_path / "two"), "4"])
    one, two = read_log(tmp_path / "one"), read_log(tmp_path / "two")
    assert [row["seen"] for row in one] == [row["seen"] for row in two]
    for ours, theirs in zip(one, two, strict=True):
        assert ours == pytest.approx(theirs, rel=5e-3)


@pytest.mark.slow
def test_validation_of_two_processes_with_batch_norm_is_that_of_what_is_saved(pictures, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(PROCESSES)
    run_processes(2, [str(script), str(pictures), str(tmp_path / "two"), "4", "norm"])
    facts = json.loads((tmp_path / "two" / "facts.json").read_text())
    files = json.loads((tmp_path / "two" / "split.json").read_text())["validation"]
    pipeline = ConvAutoencoderPipeline.from_pretrained(tmp_path / "two" / "pipeline")
    pooled = np.mean([10 ** (-psnr_db / 10) for psnr_db in pipeline([pictures / file for file in files]).psnr_db])
    assert facts["validation"]["psnr_db"] == pytest.approx(-10 * np.log10(pooled), abs=1e-3)


def test_gradient_checkpointing_trains_to_the_same_bits_and_counts_statistics_of_batch_norm_once(pictures, tmp_path):
    trained = []
    for checkpointing in (False, True):
        folder = tmp_path / str(checkpointing)
        run = tiny_run(folder, max_train_images=96, gradient_checkpointing=checkpointing)
        train_conv_ae.main(tiny_conv_ae(pictures, folder, run=run, batch_norm=True))
        trained.append(load_file(folder / "checkpoints" / "images-000000096" / "autoencoder.safetensors"))
    plain, checkpointed = trained
    counts = {name: value.item() for name, value in plain.items() if name.endswith("num_batches_tracked")}
    assert counts and set(counts.values()) == {96 // tiny_run(tmp_path).train_batch_size}
    assert set(plain) == set(checkpointed)
    assert all(torch.equal(plain[name], checkpointed[name]) for name in plain)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"output_activation": "tanh"}, "output activation tanh makes -1..1, but data of range unit hold 0..1"),
        ({"kl_weight": -1.0}, r"--kl-weight must be in 0..1000000, got -1\.0"),
        ({"width_factor": 0.0}, r"--width-factor must be in \(0, 64\], got 0.0"),
        ({"levels": 6}, "--levels must be a whole number in 1..5, got 6"),
        ({"torchvision_weights": True}, "torchvision's weights need vgg13 with --width-factor 1"),
        ({"resolution": 18}, "sample_size must be a multiple of 4, got 18"),
    ],
)
def test_settings_that_contradict_one_another_are_refused_before_training(settings, message, pictures, tmp_path):
    run = tiny_run(tmp_path)
    data = ImageDataConfig(data=str(pictures), resolution=settings.pop("resolution", 16))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train_conv_ae.main(tiny_conv_ae(pictures, tmp_path, run=run, data=data, **settings))
    assert not (tmp_path / "log.jsonl").exists()


@pytest.mark.parametrize(("name", "layers"), [("cpu", 10), ("vgg13", 10), ("vgg16", 13)])
def test_presets_are_the_networks_that_they_are_called(name, layers):
    config = PRESETS[name]
    with torch.device("meta"):
        model = build_model(config, 3, config.data.resolution)
    assert isinstance(model, ConvAutoencoder)
    convolutions = [p for n, p in model.encoder.named_parameters() if p.ndim == 4]
    assert len(convolutions) == layers
    assert len(convolutions[-1]) == (128 if name == "cpu" else 512)
