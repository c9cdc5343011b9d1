from dataclasses import replace

import pytest
import torch

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform_train.data.spectrograms import load_spectrograms
from echoform_train.latent_diffusion.first_stage import load_first_stage
from echoform_train.latent_diffusion.latents import pipeline_facts
from echoform_train.latent_diffusion.transfer import initialise_from, load_initial_pipeline
from echoform_train.trainers import ldm as train_ldm
from echoform_train.trainers.ldm import build_unet
from tiny import tiny_ldm, tiny_run


@pytest.fixture
def data(walkers, first_stage):
    return load_spectrograms(str(walkers), split_file=first_stage / "split.json")


@pytest.fixture
def others(data):
    """The same pictures under other names: two people who are new, and one condition label that is."""
    labels = {name: dict(labels) for name, labels in data.condition_labels.items()}
    labels["direction"][0] = "sideways"
    return replace(data, id2label={0: "ann", 1: "bob", 2: "eve", 3: "dan"}, condition_labels=labels)


def test_everything_but_the_users_and_new_conditions_starts_as_the_other_people_left_it(
    data, others, walkers, first_stage, second_stage
):
    source = load_initial_pipeline(second_stage / "pipeline", load_first_stage(first_stage).model)
    config = tiny_ldm(walkers, first_stage, second_stage)
    facts = pipeline_facts(others, torch.zeros(4), torch.ones(4))
    unet = build_unet(config, (4, 8, 8), facts)
    initialise_from(source, unet, facts["condition_labels"])
    theirs, ours = source.unet.state_dict(), unet.state_dict()
    for name in ours:
        if "_embedding" not in name or name.startswith("time_embedding"):
            assert torch.equal(ours[name], theirs[name])
    mean = theirs["user_embedding.weight"][:3].mean(0)
    assert torch.equal(ours["user_embedding.weight"], torch.stack([mean] * 4 + [theirs["user_embedding.weight"][3]]))
    known = {label: int(key) for key, label in source.config["condition_labels"]["direction"].items()}
    place = sorted(others.condition_labels).index("direction")
    table, old = ours[f"condition_embeddings.{place}.weight"], theirs[f"condition_embeddings.{place}.weight"]
    assert torch.equal(table[0], old[:2].mean(0))
    assert torch.equal(table[1], old[known[others.condition_labels["direction"][1]]])
    assert torch.equal(table[2], old[2])


def test_a_training_that_starts_from_another_pipeline_keeps_its_latent_statistics(
    data, walkers, first_stage, second_stage, tmp_path
):
    config = tiny_ldm(
        walkers,
        first_stage,
        tmp_path / "ldm",
        run=tiny_run(tmp_path / "ldm", max_train_images=16, validation_every=16),
        initial_pipeline=second_stage / "pipeline",
        user_rate_factor=50.0,
    )
    renamed = replace(data, id2label={0: "ann", 1: "bob", 2: "eve"}, train=data.train.select(range(9)))
    train_ldm.train(config, renamed, load_first_stage(first_stage))
    before = VQLDMDopplerPipeline.from_pretrained(second_stage / "pipeline")
    after = VQLDMDopplerPipeline.from_pretrained(tmp_path / "ldm" / "pipeline")
    assert after.config["latent_mean"] == before.config["latent_mean"]
    assert after.config["latent_std"] == before.config["latent_std"]
    assert list(after.config["id2label"].values()) == ["ann", "bob", "eve"]


def test_users_learn_so_many_times_faster(data, walkers, first_stage, tmp_path):
    """Adam's first step is the learning rate itself, whatever the gradient."""
    moved = {}
    for factor in (1.0, 50.0):
        run = tiny_run(tmp_path / f"{factor}", max_train_images=8, lr_warmup_steps=0, lr_scheduler="constant")
        config = tiny_ldm(walkers, first_stage, run.output_dir, run=run, user_rate_factor=factor, ema_decay=0.0)
        train_ldm.train(config, data, load_first_stage(first_stage))
        trained = VQLDMDopplerPipeline.from_pretrained(run.output_dir / "pipeline").unet
        torch.manual_seed(run.seed)
        fresh = build_unet(config, (4, 8, 8), pipeline_facts(data, torch.zeros(4), torch.ones(4)))
        moved[factor] = (trained.user_embedding.weight - fresh.user_embedding.weight).abs().max().item()
    assert moved[50.0] == pytest.approx(50 * 2e-3, rel=0.01)
    assert moved[1.0] == pytest.approx(2e-3, rel=0.05)


def test_a_pipeline_with_another_first_stage_is_refused(first_stage, second_stage):
    other = load_first_stage(first_stage).model
    with torch.no_grad():
        next(other.parameters()).add_(1)
    with pytest.raises(ValueError, match="--initial-pipeline must hold the first stage of --first-stage"):
        load_initial_pipeline(second_stage / "pipeline", other)


def test_a_network_of_another_width_is_refused(data, walkers, first_stage, second_stage):
    source = load_initial_pipeline(second_stage / "pipeline", load_first_stage(first_stage).model)
    facts = pipeline_facts(data, torch.zeros(4), torch.ones(4))
    wide = build_unet(tiny_ldm(walkers, first_stage, second_stage, block_out_channels=(32, 32)), (4, 8, 8), facts)
    with pytest.raises(ValueError, match="same widths, levels and attention"):
        initialise_from(source, wide, facts["condition_labels"])
