from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform_train.data.spectrograms import load_spectrograms, to_pixels
from echoform_train.study.config import GeneratorConfig
from echoform_train.study.generators.sampling import draw_sample, known_conditions
from echoform_train.study.generators.training import levels, pretrain, train_generator

SETTINGS = GeneratorConfig(
    copies=2, vq_train_images=32, ldm_train_images=32, pretrain_vq_images=32, pretrain_ldm_images=32
)


@pytest.fixture(scope="module")
def data(walkers, first_stage):
    return load_spectrograms(str(walkers), split_file=first_stage / "split.json")


@pytest.fixture(scope="module")
def few(data):
    return data.train.select([int((data.train.users == user).nonzero()[k]) for user in range(3) for k in range(3)])


@pytest.fixture(scope="module")
def pipeline(data, few, tmp_path_factory):
    return train_generator(few, data, tmp_path_factory.mktemp("generator"), SETTINGS, seed=0)


def weights(pipeline):
    return {
        (part, name): tensor
        for part in ("vqvae", "unet")
        for name, tensor in load_file(pipeline / part / "diffusion_pytorch_model.safetensors").items()
    }


def test_a_generator_is_the_same_whatever_the_images_that_it_may_not_see(data, few, pipeline, tmp_path):
    """One n, one generator: all other images, held-out ones first, are replaced by noise."""

    def noise(part):
        return replace(part, pixels=torch.randint(256, part.pixels.shape, dtype=torch.uint8))

    blind = replace(data, **{side: noise(getattr(data, side)) for side in ("train", "validation", "test", "left_out")})
    again = train_generator(few, blind, tmp_path, SETTINGS, seed=0)
    before, after = weights(pipeline), weights(again)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_each_image_comes_again_from_its_seed_and_what_was_asked_alone(few, pipeline):
    (pixels, users), rows = draw_sample(pipeline, few, 3, SETTINGS, seed=5)
    assert users.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [row["user"] for row in rows] == users.tolist()
    alone = VQLDMDopplerPipeline.from_pretrained(pipeline)
    alone.set_progress_bar_config(disable=True)
    made = alone(
        [rows[4]["user"]],
        conditions=rows[4]["conditions"],
        guidance_scale=SETTINGS.guidance_scale,
        num_inference_steps=SETTINGS.num_inference_steps,
        generator=[torch.Generator().manual_seed(rows[4]["seed"])],
        output_type="pt",
    ).images
    again = to_pixels(2 * torch.as_tensor(made) - 1)[0]
    assert (again.int() - pixels[4].int()).abs().max() <= 1  # batches of another size round differently


def test_conditions_are_asked_in_the_combinations_that_somebody_shows(few):
    shown = {tuple(int(few.conditions[name][k]) for name in few.conditions) for k in range(len(few))}
    assert {tuple(combination.values()) for combination in known_conditions(few)} == shown
    assert known_conditions(replace(few, conditions={})) == [{}]


@pytest.mark.parametrize(("resolution", "expected"), [(32, 2), (64, 3), (128, 4), (256, 5)])
def test_latents_have_some_sixteen_pixels_a_side(resolution, expected):
    assert levels(resolution) == expected


def test_a_pretrained_generator_keeps_the_first_stage_of_the_simulated_walkers(data, few, tmp_path):
    settings = replace(SETTINGS, pretrain_people=3)
    before = pretrain(data, data.train, tmp_path / "pretrained", settings, seed=0)
    pipeline = train_generator(few, data, tmp_path / "tuned", settings, seed=0, pretrained=before)
    theirs, ours = weights(before / "ldm" / "pipeline"), weights(pipeline)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours if key[0] == "vqvae")
    assert any(not torch.equal(ours[key], theirs[key]) for key in ours if key[0] == "unet")


def test_the_finished_generator_is_the_trained_one_asked_for_images_that_are_not_rolled(pipeline):
    trained = VQLDMDopplerPipeline.from_pretrained(pipeline.parent / "ldm" / "pipeline")
    finished = VQLDMDopplerPipeline.from_pretrained(pipeline)
    assert set(trained.config["condition_labels"]) == {*finished.config["condition_labels"], "rolled"}
    latents = torch.randn(4, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    users = torch.arange(4)  # the last one is null
    others = {name: torch.zeros(4, dtype=torch.int64) for name in finished.unet.null_conditions}
    with torch.no_grad():
        ours = finished.unet(latents, 300, users=users, conditions=others).sample
        for label, same in ((0, True), (1, False)):
            asked = others | {"rolled": torch.full((4,), label)}
            theirs = trained.unet(latents, 300, users=users, conditions=asked).sample
            assert torch.allclose(ours, theirs, atol=1e-5) == same


def test_a_length_of_nothing_is_refused():
    with pytest.raises(ValueError, match="copies must be at least 1, got 0"):
        GeneratorConfig(copies=0)
