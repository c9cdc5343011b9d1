import json
import shutil
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL, VQModel
from safetensors.torch import load_file, save_file

from echoform_train.data.spectrograms import load_spectrograms
from echoform_train.engine.training_log import read_log
from echoform_train.latent_diffusion.codebook import EMACodebook
from echoform_train.latent_diffusion.initial_model import check_initial_model, load_initial_model, start_from
from echoform_train.trainers import kl_vae as train_kl_vae
from echoform_train.trainers import vq_vae as train_vq_vae
from tiny import tiny_kl_vae, tiny_run, tiny_vq_vae

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def data(walkers):
    return load_spectrograms(str(walkers))


@pytest.fixture(scope="module")
def continued(walkers, first_stage, tmp_path_factory):
    """One optimizer step, from the first stage of the fixture."""
    folder = tmp_path_factory.mktemp("continued")
    run = tiny_run(folder, max_train_images=16, validation_every=16, checkpointing_every=8)
    config = tiny_vq_vae(walkers, folder, run=run, initial_model=str(first_stage))
    train_vq_vae.main(config)
    return config


@pytest.mark.parametrize("place", ["training", "model", "pipeline", "its first stage", "second training"])
def test_the_weights_are_those_of_the_finished_first_stage_wherever_it_lies(
    place, data, walkers, first_stage, second_stage, tmp_path
):
    source = {
        "training": first_stage,
        "model": first_stage / "vqvae",
        "pipeline": second_stage / "pipeline",
        "its first stage": second_stage / "pipeline" / "vqvae",
        "second training": second_stage,
    }[place]
    initial = load_initial_model(str(source), VQModel)
    assert initial.quantized
    assert initial.known["colormap"] == "jet"
    model = train_vq_vae.build_model(tiny_vq_vae(walkers, tmp_path), channels=1)
    check_initial_model(initial, model, data)
    assert start_from(initial, model, data) == f"Starts from the first stage of {source}"
    theirs = load_file(first_stage / "vqvae" / WEIGHTS)
    assert all(torch.equal(value, theirs[name]) for name, value in model.state_dict().items())


def test_the_training_goes_on_with_the_codebook_from_the_first_image(continued, first_stage):
    # With --quantize-after 64 the codes would not be in use after 16 images.
    assert continued.quantize_after == 64
    facts = json.loads((continued.run.output_dir / "facts.json").read_text())
    assert facts["quantized"]
    assert facts["images_seen"] == 16
    assert all("train/commitment" in row for row in read_log(continued.run.output_dir) if "train/loss" in row)
    # A new k-means start would place 16 codes elsewhere; two steps of averages move them by some percent.
    before, after = (
        load_file(folder / "vqvae" / WEIGHTS)["quantize.embedding.weight"]
        for folder in (first_stage, continued.run.output_dir)
    )
    assert 0 < (after - before).norm() < 0.3 * before.norm()


def test_the_first_average_of_a_known_code_is_the_code_and_a_latent_moves_it_by_its_share():
    codes = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    codebook = EMACodebook(codes.clone(), Accelerator(cpu=True), decay=0.9)
    codebook.start_from_weights()
    # Four latents at 1.4 choose code 1: its count is 0.9 / 4 + 0.1, its sum 0.9 * 1 / 4 + 0.1 * 1.4.
    latents = torch.full((1, 1, 2, 2), 1.4)
    restarted = codebook.update(latents, torch.ones(1, 2, 2, dtype=torch.int64), torch.Generator())
    assert restarted == 0
    expected = torch.tensor([[0.0], [(0.225 + 0.14) / 0.325], [2.0], [3.0]])
    torch.testing.assert_close(codebook.weight, expected)


def test_a_resumed_training_must_start_from_the_same_model(continued, first_stage, tmp_path):
    again = shutil.copytree(continued.run.output_dir, tmp_path / "out")
    shutil.rmtree(again / "checkpoints" / "images-000000016")
    run = replace(continued.run, output_dir=again, resume_from_checkpoint="latest")
    other = shutil.copytree(first_stage, tmp_path / "other")
    weights = load_file(other / "vqvae" / WEIGHTS)
    weights["quantize.embedding.weight"][0] += 1
    save_file(weights, other / "vqvae" / WEIGHTS)
    for changed in ({"initial_model": None, "quantize_after": 8}, {"initial_model": str(other)}):
        with pytest.raises(ValueError, match=r"a run resumes with the settings .*--initial-model was content"):
            train_vq_vae.main(replace(continued, run=run, **changed))
    # The same model at another place is the same.
    moved = shutil.copytree(first_stage / "vqvae", tmp_path / "moved")
    train_vq_vae.main(replace(continued, run=run, initial_model=str(moved)))
    first, second = (load_file(folder / "vqvae" / WEIGHTS) for folder in (continued.run.output_dir, again))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_codebook_that_was_never_in_use_starts_from_k_means(walkers, first_stage, tmp_path):
    unquantized = shutil.copytree(first_stage, tmp_path / "stage")
    facts = json.loads((unquantized / "facts.json").read_text())
    (unquantized / "facts.json").write_text(json.dumps(facts | {"quantized": False}))
    assert not load_initial_model(str(unquantized), VQModel).quantized
    run = tiny_run(tmp_path / "out", max_train_images=64)
    config = tiny_vq_vae(walkers, tmp_path / "out", run=run, initial_model=str(unquantized))
    with pytest.raises(ValueError, match="--quantize-after must lie before the end of training"):
        train_vq_vae.main(config)


def test_a_kl_vae_starts_from_another_one(walkers, tmp_path, capsys):
    config = tiny_kl_vae(walkers, tmp_path / "kl", run=tiny_run(tmp_path / "kl", max_train_images=8))
    train_kl_vae.main(config)
    run = tiny_run(tmp_path / "next", max_train_images=8, lr_warmup_steps=0, learning_rate=1e-9)
    train_kl_vae.main(replace(config, run=run, initial_model=str(tmp_path / "kl")))
    first, second = (load_file(tmp_path / name / "vqvae" / WEIGHTS) for name in ("kl", "next"))
    assert all(torch.allclose(value, second[name], atol=1e-6) for name, value in first.items())
    assert f"Starts from the first stage of {tmp_path / 'kl'}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"block_out_channels": (8, 16)}, r"--block-out-channels .*: .* has 8 16 16, the new model has 8 16\Z"),
        ({"layers_per_block": 2}, "--layers-per-block must be as in --initial-model: .* has 1, the new model has 2"),
        ({"latent_channels": 3}, "--latent-channels must be as in"),
        ({"num_vq_embeddings": 32}, "--num-vq-embeddings must be as in .* has 16, the new model has 32"),
        ({"mid_block_attention": True}, "--mid-block-attention must be as in"),
    ],
)
def test_another_architecture_is_refused_by_the_flag_that_decides_it(
    settings, message, data, walkers, first_stage, tmp_path
):
    model = train_vq_vae.build_model(tiny_vq_vae(walkers, tmp_path, **settings), channels=1)
    with pytest.raises(ValueError, match=message):
        check_initial_model(load_initial_model(str(first_stage), VQModel), model, data)


def test_other_channels_and_another_colour_map_are_refused(data, walkers, first_stage, tmp_path):
    initial = load_initial_model(str(first_stage), VQModel)
    model = train_vq_vae.build_model(tiny_vq_vae(walkers, tmp_path), channels=1)
    with pytest.raises(ValueError, match=r"the same colour map, that of .* is jet, that of the data viridis"):
        check_initial_model(initial, model, replace(data, colormap="viridis"))
    rgb = load_spectrograms(str(walkers), colormap="none")
    with pytest.raises(ValueError, match=r"takes 1, the data have 3 \(--colormap\)"):
        check_initial_model(initial, train_vq_vae.build_model(tiny_vq_vae(walkers, tmp_path), channels=3), rgb)


def test_other_axes_and_an_unknown_colour_map_are_told(data, walkers, first_stage, second_stage, tmp_path):
    model = train_vq_vae.build_model(tiny_vq_vae(walkers, tmp_path), channels=1)
    other = replace(data, axes=data.axes | {"window_s": 9.0})
    told = start_from(load_initial_model(str(second_stage), VQModel), model, other)
    assert "axes " in told and "window_s 9.0" in told
    alone = shutil.copytree(first_stage / "vqvae", tmp_path / "alone")
    assert "does not tell the colour map" in start_from(load_initial_model(str(alone), VQModel), model, data)


def test_a_model_of_the_other_kind_is_refused(first_stage):
    with pytest.raises(ValueError, match=r"--initial-model must hold AutoencoderKL weights, .* holds VQModel ones"):
        load_initial_model(str(first_stage), AutoencoderKL)
