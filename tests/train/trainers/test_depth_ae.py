import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from echoform.depth_autoencoder import DepthAutoencoder, DepthEncoder
from echoform.pipeline_depth_autoencoder import DepthAutoencoderPipeline
from echoform_train import cli
from echoform_train.depth.baselines import DCT, fill_with_nearest
from echoform_train.depth.config import load_depth_data
from echoform_train.depth.depth_ae_config import Augmentation, Weights
from echoform_train.depth.metrics import image_sums, psnr_db
from echoform_train.depth.reconstruction import reconstruct
from echoform_train.depth.scale import Scale
from echoform_train.engine.schedules import learning_rate_at
from echoform_train.engine.training_log import read_log
from echoform_train.trainers import depth_ae as train_depth_ae
from tiny import run_processes, run_python, tiny_depth_ae, tiny_run


def weights(folder):
    return load_file(folder / "pipeline" / "autoencoder" / "diffusion_pytorch_model.safetensors")


def losses(folder, name="train/loss"):
    return [row[name] for row in read_log(folder) if name in row]


def test_training_makes_the_loss_smaller_and_logs_every_weighted_part(depth_ae):
    assert sum(losses(depth_ae)[-6:]) < 0.7 * sum(losses(depth_ae)[:6])
    last = [row for row in read_log(depth_ae) if "train/loss" in row][-1]
    parts = ("train/huber", "train/gradient", "train/validity")
    assert last["train/loss"] == pytest.approx(sum(last[part] for part in parts), rel=1e-5)


def test_the_numbers_in_the_facts_are_those_of_the_exported_pipeline_on_the_files(shapes, depth_ae):
    pipeline = DepthAutoencoderPipeline.from_pretrained(depth_ae / "pipeline")
    pipeline.set_progress_bar_config(disable=True)
    facts = json.loads((depth_ae / "facts.json").read_text())
    files = json.loads((depth_ae / "split.json").read_text())["validation"]
    output = pipeline([shapes / file for file in files])
    pixels = [(np.array(Image.open(shapes / file)) > 0).sum() for file in files]
    pooled = np.sqrt(np.average(np.square(output.rmse_mm), weights=pixels))
    assert facts["validation"]["rmse_mm"] == pytest.approx(pooled, rel=1e-3)
    assert facts["kind"] == "depth-ae"
    assert facts["latent_dim"] == output.latents.shape[1] == 16
    assert (depth_ae / "reconstructions" / "images-000000192.png").is_file()
    assert (depth_ae / "pipeline" / "README.md").read_text().startswith("---\n")


def test_the_best_weights_are_the_averaged_ones_and_not_the_last_trained_ones(depth_ae):
    trained = load_file(sorted((depth_ae / "checkpoints").iterdir())[-1] / "autoencoder.safetensors")
    exported = weights(depth_ae)
    assert any(not torch.equal(trained[name], value) for name, value in exported.items())


STRANGER = """
import sys
sys.modules["echoform"] = sys.modules["echoform_train"] = None
import torch
from diffusers import DiffusionPipeline
pipeline = DiffusionPipeline.from_pretrained(sys.argv[1], trust_remote_code=True)
pipeline.set_progress_bar_config(disable=True)
torch.save(pipeline.encode(sys.argv[2]), sys.argv[3])
"""


def test_the_exported_pipeline_gives_the_same_embedding_where_echoform_is_not_installed(shapes, depth_ae, tmp_path):
    script, image = tmp_path / "stranger.py", str(shapes / "box" / "depth_box_0039.png")
    script.write_text(STRANGER)
    run_python([str(script), str(depth_ae / "pipeline"), image, str(tmp_path / "latents.pt")])
    pipeline = DepthAutoencoderPipeline.from_pretrained(depth_ae / "pipeline")
    pipeline.set_progress_bar_config(disable=True)
    theirs = torch.load(tmp_path / "latents.pt", weights_only=True)
    assert torch.allclose(pipeline.encode(image), theirs, atol=1e-5)


def test_an_interrupted_run_resumes_to_the_same_bits_with_plateaus_and_noise(shapes, tmp_path):
    # The rate drops at each validation without a new best, so that a forgotten plateau would show.
    settings = {
        "augmentation": Augmentation(augment=True, augment_shift=0.1, augment_depth=0.1),
        "latent_noise": 0.1,
    }
    run = tiny_run(
        tmp_path / "whole",
        max_train_images=96,
        learning_rate=0.05,
        lr_scheduler="plateau",
        lr_plateau_patience=1,
        lr_warmup_steps=1,
        validation_every=8,
    )
    train_depth_ae.main(tiny_depth_ae(shapes, tmp_path / "whole", run=run, **settings))
    rates = {row["learning_rate"] for row in read_log(tmp_path / "whole") if "learning_rate" in row}
    assert len(rates) > 1
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    for lost in ("checkpoints/images-000000096", "pipeline"):
        shutil.rmtree(tmp_path / "resumed" / lost)
    again = replace(run, output_dir=tmp_path / "resumed", resume_from_checkpoint="latest")
    train_depth_ae.main(tiny_depth_ae(shapes, tmp_path / "resumed", run=again, **settings))
    before, after = (
        load_file(tmp_path / name / "checkpoints" / "images-000000096" / "autoencoder.safetensors")
        for name in ("whole", "resumed")
    )
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert read_log(tmp_path / "whole") == read_log(tmp_path / "resumed")


def test_accumulation_gives_the_same_losses_as_one_large_batch(shapes, tmp_path):
    logs = []
    for name, batch, accumulation in (("large", 8, 1), ("small", 4, 2)):
        run = tiny_run(
            tmp_path / name, max_train_images=48, train_batch_size=batch, gradient_accumulation_steps=accumulation
        )
        augmentation = Augmentation(augment=True, augment_zoom=0.1)
        train_depth_ae.main(tiny_depth_ae(shapes, tmp_path / name, run=run, augmentation=augmentation))
        logs.append(losses(tmp_path / name))
    assert logs[0] == pytest.approx(logs[1], rel=1e-4)


PROCESSES = """
import sys
from pathlib import Path
from echoform_train.trainers import depth_ae as train_depth_ae
from tiny import tiny_depth_ae, tiny_run

data, output, batch = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
run = tiny_run(output, max_train_images=48, train_batch_size=batch, validation_every=24)
train_depth_ae.main(tiny_depth_ae(data, output, run=run))
"""


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one_with_the_same_global_batch(shapes, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(PROCESSES)
    run_python([str(script), str(shapes), str(tmp_path / "one"), "8"])
    run_processes(2, [str(script), str(shapes), str(tmp_path / "two"), "4"])
    one, two = read_log(tmp_path / "one"), read_log(tmp_path / "two")
    assert [row["seen"] for row in one] == [row["seen"] for row in two]
    for ours, theirs in zip(one, two, strict=True):
        assert ours == pytest.approx(theirs, rel=5e-3)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_every_optimizer_learns_with_the_rate_of_its_steps(optimizer, shapes, tmp_path):
    run = tiny_run(
        tmp_path,
        max_train_images=96,
        optimizer=optimizer,
        learning_rate=0.3 if optimizer == "sgd" else 2e-3,
        lr_scheduler="step",
        lr_step_every=32,
        lr_decay=0.5,
        validation_every=96,
        train_batch_size=4,
        gradient_accumulation_steps=2,
    )
    train_depth_ae.main(tiny_depth_ae(shapes, tmp_path, run=run))
    assert sum(losses(tmp_path)[-4:]) < sum(losses(tmp_path)[:4])
    rows = {row["seen"]: row["learning_rate"] for row in read_log(tmp_path) if "learning_rate" in row}
    # 8 images an optimizer step: the line after k steps shows the rate of step k + 1, whatever the accumulation.
    for step in (1, 3, 4, 11):
        expected = learning_rate_at(
            step, peak=run.learning_rate, warmup_steps=4, total_steps=12, shape="step", decay=0.5, step_every=4
        )
        assert rows[8 * step] == pytest.approx(expected)


@pytest.mark.parametrize("bottleneck", ["map", "cosine"])
def test_training_with_every_option_moves_every_parameter(bottleneck, shapes, tmp_path):
    config = tiny_depth_ae(
        shapes,
        tmp_path,
        bottleneck=bottleneck,
        run=tiny_run(tmp_path, max_train_images=48, report_to="tensorboard"),
        weights=Weights(latent_weight=0.01, covariance_weight=0.1, contrastive_weight=0.1),
        augmentation=Augmentation(augment_flip=True, augment_tilt_deg=10.0),
        dropout=0.1,
    )
    train_depth_ae.main(config)
    row = [row for row in read_log(tmp_path) if "train/loss" in row][-1]
    parts = ("huber", "gradient", "validity", "latent", "covariance", "contrastive")
    assert row["train/loss"] == pytest.approx(sum(row[f"train/{part}"] for part in parts), rel=1e-5)
    last = load_file(tmp_path / "checkpoints" / "images-000000048" / "autoencoder.safetensors")
    torch.manual_seed(config.run.seed)
    start = train_depth_ae.build_model(config, 32)
    assert [name for name, value in start.named_parameters() if torch.equal(last[name], value)] == []
    events = EventAccumulator(str(tmp_path / "logs" / "depth-ae"))
    events.Reload()
    for name in ("train/huber", "learning_rate", "validation/mse", "validation/l1", "validation/psnr_db"):
        tracked = {event.step: event.value for event in events.Scalars(name)}
        logged = {line["seen"]: line[name] for line in read_log(tmp_path) if name in line}
        assert tracked == pytest.approx(logged)


def test_a_cosine_bottleneck_is_better_than_the_transform_it_starts_from(shapes, tmp_path):
    config = tiny_depth_ae(shapes, tmp_path, bottleneck="cosine", run=tiny_run(tmp_path, max_train_images=280))
    train_depth_ae.main(config)
    assert sum(losses(tmp_path)[-6:]) < 0.7 * sum(losses(tmp_path)[:6])
    data = load_depth_data(config.data, tmp_path / "split.json", 0)
    scale = Scale(data.depth_range_mm, data.units_per_mm)
    transform = DCT(32, 16)
    depth, valid = scale.to_model(data.validation.units)
    made = transform.decode(transform.encode(fill_with_nearest(depth, valid)))
    by_transform = psnr_db(
        image_sums(scale.to_mm(torch.from_numpy(made)[:, None]), scale.to_mm(depth), valid), scale.peak_mm
    )
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts["bottleneck"] == "cosine"
    assert facts["validation"]["psnr_db"] > by_transform
    # What travels is balanced, and still makes the same images.
    pipeline = DepthAutoencoderPipeline.from_pretrained(tmp_path / "pipeline")
    travelled = reconstruct(pipeline.autoencoder, data.validation.units, scale).sums(scale)
    assert psnr_db(travelled, scale.peak_mm) == pytest.approx(facts["validation"]["psnr_db"], abs=0.01)
    assert not torch.equal(pipeline.autoencoder.encoder.mix, torch.eye(16))
    cli.main(["score", "depth-ae", str(tmp_path / "pipeline"), "--data", str(shapes)])
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert 0 < scores["methods"]["untrained"]["knn"]["mean"] <= 1
    output = tmp_path / "encoder"
    cli.main(["extract-encoder", str(tmp_path), "--output-dir", str(output)])
    assert DepthEncoder.from_pretrained(output).config["bottleneck"] == "cosine"


def test_rooms_need_no_files(tmp_path):
    arguments = ["--data", "rooms", "--rooms", "6", "--cameras-per-room", "1", "--images-per-camera", "3"]
    sizes = ["--resolution", "32", "--latent-dim", "8", "--block-out-channels", "8", "8", "8", "8"]
    lengths = ["--max-train-images", "16", "--train-batch-size", "8", "--lr-warmup-steps", "1"]
    cli.main(
        ["train", "depth-ae", *arguments, *sizes, *lengths, "--report-to", "none", "--output-dir", str(tmp_path / "r")]
    )
    pipeline = DepthAutoencoderPipeline.from_pretrained(tmp_path / "r" / "pipeline")
    assert pipeline.config["depth_range_mm"] == {"min": 300.0, "max": 5000.0}


def test_the_model_is_judged_as_it_is_loaded_whatever_its_state(shapes, depth_ae):
    config = tiny_depth_ae(shapes, depth_ae)
    data = load_depth_data(config.data, depth_ae / "split.json", 0)
    model = DepthAutoencoder.from_pretrained(depth_ae / "autoencoder").train()
    scale = Scale(data.depth_range_mm, data.units_per_mm)
    together = reconstruct(model, data.test.units, scale)
    assert model.training
    alone = reconstruct(model.eval(), data.test.units[:1], scale)
    assert torch.allclose(together.latents[:1], alone.latents, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"weights": Weights(contrastive_weight=1.0)},
            "needs at least one of the --augment options, none",
        ),
        ({"latent_noise": -0.1}, r"--latent-noise must be in 0..1000000, got -0\.1"),
    ],
)
def test_settings_that_contradict_one_another_are_refused(settings, message, shapes, tmp_path):
    with pytest.raises(ValueError, match=message):
        train_depth_ae.main(tiny_depth_ae(shapes, tmp_path, **settings))


@pytest.mark.parametrize("bottleneck", ["map", "cosine"])
@pytest.mark.parametrize(("name", "least", "most"), [("cpu", 5e6, 10e6), ("large", 30e6, 80e6)])
def test_presets_have_the_sizes_that_they_promise(name, least, most, bottleneck):
    with torch.device("meta"):
        model = train_depth_ae.build_model(replace(train_depth_ae.PRESETS[name], bottleneck=bottleneck), 128)
    assert least <= sum(parameter.numel() for parameter in model.parameters()) <= most


def test_the_card_shows_a_picture_but_no_image_of_the_data(depth_ae):
    folder = depth_ae / "pipeline"
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "](<samples.png>)" in card and "No image of the training data is shown here" in card
    with Image.open(folder / "samples.png") as picture:
        assert picture.width > 600  # images, reconstructions and errors, with their bars in millimetres
