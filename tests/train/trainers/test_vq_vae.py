import json
import shutil
from dataclasses import replace

import pytest
import torch
from diffusers import VQModel
from safetensors.torch import load_file

from echoform_train.data.spectrograms import load_spectrograms
from echoform_train.engine.schedules import learning_rate_at
from echoform_train.engine.training_log import read_log
from echoform_train.latent_diffusion.first_stage import decode_to_pixels, encode_pixels, latent_shape, load_first_stage
from echoform_train.trainers import vq_vae as train_vq_vae
from tiny import tiny_run, tiny_vq_vae


def weights(folder):
    return load_file(folder / "vqvae" / "diffusion_pytorch_model.safetensors")


def test_the_model_is_a_stock_one_and_its_facts_hold(walkers, first_stage):
    facts = json.loads((first_stage / "facts.json").read_text())
    model = VQModel.from_pretrained(first_stage / "vqvae")
    latents = model.encode(torch.zeros(1, 1, 32, 32)).latents
    assert list(latents.shape[1:]) == facts["latent_shape"] == [4, 8, 8]
    assert facts["data"]["colormap"] == "jet"
    assert facts["images_seen"] == 192
    assert 0 < facts["validation"]["codebook_use"] <= 1
    assert 1 <= facts["validation"]["perplexity"] <= 16
    assert (first_stage / "reconstructions" / "images-000000192.png").is_file()


def test_the_psnr_in_the_facts_is_that_of_the_saved_model_on_the_validation_part(walkers, first_stage):
    stage = load_first_stage(first_stage)
    pixels = load_spectrograms(str(walkers), split_file=first_stage / "split.json").validation.pixels
    error = (
        (pixels.double() - decode_to_pixels(stage.model, encode_pixels(stage.model, pixels)).double()).square().mean()
    )
    psnr = 10 * torch.log10(255**2 / error)
    # The facts were measured before rounding to 8 bits, which moves a PSNR of some 20 dB by little.
    assert stage.facts["validation"]["psnr"] == pytest.approx(psnr.item(), abs=0.05)


def test_training_makes_the_loss_smaller_and_logs_every_weighted_part(first_stage):
    rows = [row for row in read_log(first_stage) if "train/loss" in row]
    assert rows[-1]["train/l1"] < 0.7 * rows[0]["train/l1"]
    parts = ("train/l1", "train/l2", "train/spectral", "train/commitment")
    assert all(part in rows[-1] for part in parts)
    assert rows[-1]["train/loss"] == pytest.approx(sum(rows[-1][part] for part in parts), rel=1e-5)


def test_the_logged_rate_is_that_of_the_optimizer_step(first_stage):
    # With 8 images a step the line after k steps shows the rate of step k + 1.
    rows = {row["seen"]: row["learning_rate"] for row in read_log(first_stage) if "learning_rate" in row}
    for step in (1, 3, 4, 12, 23):
        expected = learning_rate_at(step, peak=2e-3, warmup_steps=4, total_steps=24, shape="cosine")
        assert rows[8 * step] == pytest.approx(expected)


@pytest.mark.parametrize("cut", [48, 96], ids=["before the codebook starts", "after it"])
def test_an_interrupted_run_resumes_to_the_same_bits(cut, walkers, first_stage, tmp_path):
    # What is left after a cut: the checkpoint, and a log that may be longer than it.
    resumed = tmp_path / "vq"
    shutil.copytree(first_stage, resumed)
    for checkpoint in sorted((resumed / "checkpoints").iterdir())[cut // 48 :]:
        shutil.rmtree(checkpoint)
    shutil.rmtree(resumed / "vqvae")
    config = tiny_vq_vae(walkers, resumed, run=tiny_run(resumed, resume_from_checkpoint="latest"))
    train_vq_vae.main(config)
    before, after = weights(first_stage), weights(resumed)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert read_log(resumed) == read_log(first_stage)


def test_a_second_run_into_the_same_folder_is_refused(walkers, first_stage):
    with pytest.raises(ValueError, match="holds a run of images-000000192; continue it with --resume-from-checkpoint"):
        train_vq_vae.main(tiny_vq_vae(walkers, first_stage))


def test_resuming_with_another_batch_is_refused(walkers, first_stage):
    run = tiny_run(first_stage, resume_from_checkpoint="latest", train_batch_size=4)
    with pytest.raises(ValueError, match=r"a run resumes with the settings .*: --train-batch-size was 8, is now 4"):
        train_vq_vae.main(tiny_vq_vae(walkers, first_stage, run=run))


def test_accumulation_gives_the_same_losses_as_one_large_batch(walkers, tmp_path):
    logs = []
    for name, batch, accumulation in (("large", 8, 1), ("small", 4, 2)):
        run = tiny_run(
            tmp_path / name, max_train_images=48, train_batch_size=batch, gradient_accumulation_steps=accumulation
        )
        config = tiny_vq_vae(walkers, tmp_path / name, run=run, quantize=False, spectral_weight=0.0)
        train_vq_vae.main(config)
        logs.append([row["train/loss"] for row in read_log(tmp_path / name) if "train/loss" in row])
    assert logs[0] == pytest.approx(logs[1], rel=1e-4)


def test_the_number_of_layers_sets_the_size_of_the_latents(walkers, tmp_path):
    config = tiny_vq_vae(walkers, tmp_path)
    for layers, side in ((2, 16), (3, 8), (4, 4)):
        model = train_vq_vae.build_model(replace(config, n_layers=layers), channels=1)
        assert latent_shape(model, 1, 32) == (4, side, side)


def test_an_adversarial_run_resumes_with_its_discriminator(walkers, tmp_path):
    run = tiny_run(tmp_path, max_train_images=48, checkpointing_every=24)
    config = tiny_vq_vae(walkers, tmp_path, run=run, adversarial_weight=0.01, quantize=False)
    train_vq_vae.main(config)
    first = weights(tmp_path)
    shutil.rmtree(tmp_path / "checkpoints" / "images-000000048")
    shutil.rmtree(tmp_path / "vqvae")
    train_vq_vae.main(replace(config, run=replace(run, resume_from_checkpoint="latest")))
    assert all(torch.equal(first[name], value) for name, value in weights(tmp_path).items())


def test_a_codebook_that_would_never_start_is_refused(walkers, tmp_path):
    with pytest.raises(ValueError, match="--quantize-after must lie before the end of training at 192 images, got 500"):
        train_vq_vae.main(tiny_vq_vae(walkers, tmp_path, quantize_after=500))


def test_a_run_whose_last_validation_was_the_best_says_that_a_longer_one_may_end_better(walkers, tmp_path, capsys):
    run = tiny_run(tmp_path, max_train_images=48, validation_every=16)
    result = train_vq_vae.main(tiny_vq_vae(walkers, tmp_path, run=run, quantize=False))
    was_last = result.best_after == result.images_seen
    assert ("a longer training (--max-train-images) may end better" in capsys.readouterr().out) == was_last


def test_early_stopping_ends_the_run_when_validation_gets_no_better(walkers, tmp_path, capsys):
    # A rate of (almost) zero learns nothing, so no validation beats the first.
    run = tiny_run(tmp_path, learning_rate=1e-12, early_stopping_patience=2, validation_every=8)
    facts_path = tmp_path / "facts.json"
    train_vq_vae.main(tiny_vq_vae(walkers, tmp_path, run=run, quantize=False))
    assert json.loads(facts_path.read_text())["images_seen"] < 192
    assert "may end better" not in capsys.readouterr().out


def test_encode_and_decode_are_the_stock_models(first_stage):
    stage = load_first_stage(first_stage)
    pixels = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        sample = stage.model(pixels.float() / 127.5 - 1).sample
    expected = ((sample.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    assert torch.equal(decode_to_pixels(stage.model, encode_pixels(stage.model, pixels)), expected)
