"""The pipeline against closed-form samplers, the colour table and its own first stage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    CMStochasticIterativeScheduler,
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    HeunDiscreteScheduler,
    IPNDMScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)
from PIL import Image
from torch import Tensor, nn

from echoform import DopplerUNet2DModel, VQLDMDopplerPipeline
from echoform.unet_doppler import spherical_mix

MakePipeline = Callable[..., VQLDMDopplerPipeline]

DIFFUSION = (DPMSolverMultistepScheduler, UniPCMultistepScheduler, DDIMScheduler, DDPMScheduler, PNDMScheduler)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def last_latents(pipeline: VQLDMDopplerPipeline, *args: Any, **settings: Any) -> Tensor:
    """What the sampler ended with, before decoding."""
    seen = []

    def remember(_pipeline: Any, _step: int, _timestep: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        seen.append(tensors["latents"].clone())
        return tensors

    pipeline(*args, **settings, callback_on_step_end=remember)
    return seen[-1]


def predict_zero(unet: DopplerUNet2DModel) -> DopplerUNet2DModel:
    nn.init.zeros_(unet.conv_out.weight)
    assert unet.conv_out.bias is not None
    nn.init.zeros_(unet.conv_out.bias)
    return unet


@pytest.mark.parametrize("output_type", ["pil", "np", "pt", "db"])
def test_images_come_user_by_user_in_the_asked_form(make_pipeline: MakePipeline, output_type: str):
    output = make_pipeline()(["ID_10", 0], 3, num_inference_steps=1, output_type=output_type)
    assert output.users == ["ID_10"] * 3 + ["ID_1"] * 3
    assert len(output.images) == len(set(output.seeds)) == 6
    if output_type == "pil":
        assert {(image.mode, image.size) for image in output.images} == {("RGB", (16, 16))}
    else:
        shapes = {"np": (6, 16, 16, 1), "pt": (6, 1, 16, 16), "db": (6, 16, 16)}
        assert tuple(output.images.shape) == shapes[output_type]
        assert str(output.images.dtype).endswith("float32")


def test_users_and_conditions_reach_the_unet_by_their_ids(make_pipeline: MakePipeline):
    pipeline = make_pipeline()
    calls: list[dict[str, Any]] = []
    pipeline.unet.register_forward_pre_hook(lambda _module, _args, kwargs: calls.append(kwargs), with_kwargs=True)
    conditions = {"condition": ["bag", 0], "direction": "towards"}
    pipeline(["ID_10", "ID_2"], conditions=conditions, guidance_scale=1.0, num_inference_steps=1)
    pipeline([2, 1], conditions={"condition": "bag"}, guidance_scale=2.0, num_inference_steps=1)
    single, guided = calls
    table = pipeline.unet.user_embedding.weight
    assert torch.equal(single["user_embeds"], table[[2, 1]])
    assert {name: ids.tolist() for name, ids in single["conditions"].items()} == {
        "condition": [2, 0],
        "direction": [1, 1],
    }
    # One pass of twice the batch: the asked ones, then nobody in no condition.
    assert torch.equal(guided["user_embeds"], table[[2, 1, 3, 3]])
    assert {name: ids.tolist() for name, ids in guided["conditions"].items()} == {"condition": [2, 2, 3, 3]}


def test_guidance_goes_straight_from_anyone_through_the_asked_user(make_pipeline: MakePipeline):
    pipeline = make_pipeline()
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    anyone, asked, guided = (
        last_latents(pipeline, ["ID_2"], guidance_scale=scale, num_inference_steps=1, generator=seeded())
        for scale in (0.0, 1.0, 2.5)
    )
    nobody = pipeline.unet.embed_users(torch.tensor([pipeline.unet.null_user])).detach()
    alone = {"user_embeds": nobody, "guidance_scale": 1.0, "num_inference_steps": 1, "generator": seeded()}
    torch.testing.assert_close(anyone, last_latents(pipeline, **alone))
    torch.testing.assert_close(guided, anyone + 2.5 * (asked - anyone), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scheduler", DIFFUSION)
def test_schedulers_swap_and_the_batch_size_changes_nothing(make_pipeline: MakePipeline, scheduler: Any):
    pipeline = make_pipeline()
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config)
    results = [
        pipeline(
            ["ID_1", "ID_2"], 3, num_inference_steps=5, generator=seeded(), batch_size=size, output_type="pt"
        ).images
        for size in (6, 4, 1)
    ]
    assert results[0].isfinite().all()
    assert results[0].std() > 0
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=1e-4, atol=1e-4)


def test_a_call_takes_the_steps_and_guidance_that_the_pipeline_was_made_for(
    make_pipeline: MakePipeline, tmp_path: Path
):
    make_pipeline(num_inference_steps=3, guidance_scale=1.0).save_pretrained(tmp_path)
    loaded = VQLDMDopplerPipeline.from_pretrained(tmp_path)
    batches: list[int] = []
    loaded.unet.register_forward_pre_hook(lambda _module, args: batches.append(len(args[0])))
    loaded([0])
    assert batches == [1, 1, 1]
    batches.clear()
    loaded([0], guidance_scale=2.0, num_inference_steps=2)  # what is asked for wins
    assert batches == [2, 2]


def test_a_seed_makes_its_one_image_again(make_pipeline: MakePipeline):
    pipeline = make_pipeline()
    many = pipeline(["ID_1"], 3, generator=seeded(), output_type="pt")
    again = pipeline(["ID_1"], generator=[seeded(many.seeds[2])], output_type="pt")
    torch.testing.assert_close(again.images[0], many.images[2], rtol=1e-4, atol=1e-4)
    assert again.seeds == many.seeds[2:]
    assert not torch.allclose(many.images[0], many.images[1])


def test_one_generator_for_one_image_makes_that_image(make_pipeline: MakePipeline):
    pipeline = make_pipeline()
    many = pipeline(["ID_1"], 3, generator=seeded(), output_type="pt")
    generator = seeded(many.seeds[2])
    again = pipeline(["ID_1"], generator=generator, output_type="pt")
    assert again.seeds == many.seeds[2:]
    torch.testing.assert_close(again.images[0], many.images[2], rtol=1e-4, atol=1e-4)
    # The same generator goes on: the next image is another one, and its seed makes it again.
    after = pipeline(["ID_1"], generator=generator, output_type="pt")
    assert after.seeds != again.seeds and not torch.allclose(after.images, again.images)
    of_seed = pipeline(["ID_1"], generator=seeded(after.seeds[0]), output_type="pt")
    torch.testing.assert_close(of_seed.images, after.images, rtol=1e-4, atol=1e-4)


def test_the_seed_of_an_interpolation_makes_it_again(make_pipeline: MakePipeline):
    pipeline = make_pipeline()
    settings: dict[str, Any] = {"num_images": 3, "num_inference_steps": 2, "output_type": "pt"}
    first = pipeline.interpolate("ID_1", "ID_2", generator=seeded(5), **settings)
    again = pipeline.interpolate("ID_1", "ID_2", generator=seeded(first.seeds[0]), **settings)
    assert first.seeds == again.seeds == [5, 5, 5]
    torch.testing.assert_close(again.images, first.images)


def test_a_name_is_known_in_both_unicode_forms(make_pipeline: MakePipeline):
    composed, decomposed = "J\u00f6rg", "Jo\u0308rg"
    for stored, given in ((composed, decomposed), (decomposed, composed)):
        pipeline = make_pipeline(id2label={"0": stored, "1": "ID_2", "2": "ID_10"})
        assert pipeline([given], num_inference_steps=1).users == [stored]
    with pytest.raises(ValueError, match="3 different names"):
        make_pipeline(id2label={"0": composed, "1": decomposed, "2": "ID_10"})


def test_ddim_turns_latents_by_the_angle_where_v_is_zero(make_pipeline: MakePipeline, make_unet: Any):
    # With v = 0, a step from angle a to b multiplies by cos(a - b): Salimans and Ho 2022, arXiv:2202.00512, appendix D.
    pipeline = make_pipeline(unet=predict_zero(make_unet()))
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    latents = last_latents(pipeline, ["ID_1"], num_inference_steps=4, generator=[seeded(7)])
    angles = torch.cat([pipeline.scheduler.alphas_cumprod.sqrt().arccos()[[999, 749, 499, 249]], torch.zeros(1)])
    expected = torch.randn(1, 4, 8, 8, generator=seeded(7)) * (angles[:-1] - angles[1:]).cos().prod()
    torch.testing.assert_close(latents, expected, rtol=1e-3, atol=1e-4)


def test_flow_stays_where_it_starts_when_the_velocity_is_zero(make_pipeline: MakePipeline, make_unet: Any):
    pipeline = make_pipeline(unet=predict_zero(make_unet()), scheduler=FlowMatchEulerDiscreteScheduler())
    latents = last_latents(pipeline, ["ID_1"], num_inference_steps=4, generator=[seeded(7)])
    torch.testing.assert_close(latents, torch.randn(1, 4, 8, 8, generator=seeded(7)))


def test_a_variation_starts_between_the_image_and_noise(make_pipeline: MakePipeline, make_unet: Any):
    pipeline = make_pipeline(unet=predict_zero(make_unet()), scheduler=FlowMatchEulerDiscreteScheduler())
    image = torch.rand(1, 16, 16, generator=seeded(1))
    settings = {"image": image, "num_inference_steps": 4, "generator": [seeded(7)]}
    latents = last_latents(pipeline, ["ID_1"], strength=0.5, **settings)
    pipeline.scheduler.set_timesteps(4)
    sigma = pipeline.scheduler.sigmas[2]
    assert 0 < sigma < 1
    start, noise = pipeline.encode(2 * image[None] - 1), torch.randn(1, 4, 8, 8, generator=seeded(7))
    torch.testing.assert_close(latents, (1 - sigma) * start + sigma * noise)


@pytest.mark.parametrize("scheduler", [scheduler for scheduler in DIFFUSION if scheduler is not PNDMScheduler])
def test_a_weak_variation_is_nearer_to_its_image(make_pipeline: MakePipeline, make_unet: Any, scheduler: Any):
    pipeline = make_pipeline(unet=predict_zero(make_unet()))
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config)
    image = torch.rand(1, 16, 16, generator=seeded(1))
    start = pipeline.encode(2 * image[None] - 1)
    weak, strong = (
        (last_latents(pipeline, ["ID_1"], image=image, strength=s, num_inference_steps=10, generator=seeded()) - start)
        .square()
        .mean()
        for s in (0.1, 0.9)
    )
    assert weak < 0.2 * strong


def test_each_user_may_have_a_image_of_its_own(make_pipeline: MakePipeline):
    pipeline = make_pipeline()
    images = list(torch.rand(2, 1, 16, 16, generator=seeded(1)))
    settings = {"num_inference_steps": 4, "strength": 0.25, "output_type": "pt"}
    both = pipeline(["ID_1", "ID_2"], 2, image=images, generator=[seeded(i) for i in range(4)], **settings).images
    second = pipeline(["ID_2"], 2, image=images[1], generator=[seeded(2), seeded(3)], **settings).images
    torch.testing.assert_close(both[2:], second, rtol=1e-4, atol=1e-4)


def test_standardised_latents_are_those_of_the_first_stage(make_pipeline: MakePipeline):
    pipeline = make_pipeline()
    images = torch.rand(2, 1, 16, 16) * 2 - 1
    with torch.no_grad():
        raw = pipeline.vqvae.encode(images).latents
        reconstructed = pipeline.vqvae(images).sample
        latents = pipeline.encode(images)
        decoded = pipeline.decode(latents)
    torch.testing.assert_close(latents[:, 1], (raw[:, 1] + 0.2) / 1.5)
    torch.testing.assert_close(decoded, ((reconstructed + 1) / 2).clamp(0, 1))


def test_an_autoencoder_kl_serves_as_the_first_stage(make_pipeline: MakePipeline, kl: AutoencoderKL, tmp_path: Path):
    pipeline = make_pipeline(vqvae=kl)
    images = torch.rand(2, 1, 16, 16) * 2 - 1
    with torch.no_grad():
        raw = kl.encode(images).latent_dist.mean  # pyright: ignore[reportAttributeAccessIssue]
        latents, reconstructed = pipeline.encode(images), kl(images, sample_posterior=False).sample
    torch.testing.assert_close(latents[:, 1], (raw[:, 1] + 0.2) / 1.5)
    torch.testing.assert_close(pipeline.decode(latents), ((reconstructed + 1) / 2).clamp(0, 1))
    pipeline.save_pretrained(tmp_path)
    loaded = VQLDMDopplerPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert type(loaded.vqvae) is AutoencoderKL
    settings = {"image": images[0] / 2 + 0.5, "num_inference_steps": 3, "output_type": "pt"}
    made, again = (pipe(["ID_1"], generator=seeded(), **settings).images for pipe in (pipeline, loaded))
    assert torch.equal(made, again)


def test_any_names_of_users_work_with_cross_attention(make_pipeline: MakePipeline, make_unet: Callable[..., Any]):
    unet = make_unet(num_users=31, conditioning="cross-attention")
    numbers = make_pipeline(unet=unet, id2label={str(index): str(index + 1) for index in range(31)})
    words = make_pipeline(unet=unet, id2label={str(index): f"user_{index + 1:02d}" for index in range(31)})
    settings = {"num_inference_steps": 2, "output_type": "pt"}
    first = numbers(["31", "1"], generator=[seeded(), seeded()], **settings).images
    assert torch.equal(first, words(["user_31", 0], generator=[seeded(), seeded()], **settings).images)
    assert not torch.allclose(first[0], first[1])
    walk = words.interpolate("user_01", "user_31", 3, generator=seeded(), **settings).images
    assert walk.shape == (3, 1, 16, 16)


def test_painted_images_hold_the_scalar_and_come_back_exactly(make_pipeline: MakePipeline, jet: np.ndarray):
    pipeline = make_pipeline()
    scalar = torch.arange(256).reshape(1, 1, 16, 16) / 255
    painted = pipeline.postprocess(scalar, "pil")[0]
    assert isinstance(painted, Image.Image)
    assert np.array_equal(np.asarray(painted).reshape(256, 3), jet)
    back = (pipeline.preprocess(painted, 1) + 1) / 2
    assert pipeline.postprocess(back, "pil")[0] == painted
    # Where neighbours in the table have one colour, the first of them comes back.
    assert ((255 * (back - scalar)).round() != 0).sum() == 256 - len(np.unique(jet, axis=0))
    grey = Image.fromarray((255 * scalar[0, 0]).round().byte().numpy())
    assert torch.equal(pipeline.preprocess(grey, 1), 2 * scalar - 1)


def test_images_need_not_be_square(make_pipeline: MakePipeline, make_unet: Any, jet: np.ndarray, tmp_path: Path):
    make_pipeline(unet=make_unet(sample_size=(4, 12))).save_pretrained(tmp_path)
    pipeline = VQLDMDopplerPipeline.from_pretrained(tmp_path)
    pipeline.set_progress_bar_config(disable=True)
    images = {
        kind: pipeline(["ID_1"], 2, generator=seeded(), output_type=kind, num_inference_steps=2).images
        for kind in ("pil", "np", "pt", "db", "latent")
    }
    # Height is Doppler, width is time; PIL gives the width first.
    assert [image.size for image in images["pil"]] == [(24, 8)] * 2
    assert images["np"].shape == (2, 8, 24, 1) and images["pt"].shape == (2, 1, 8, 24)
    assert images["db"].shape == (2, 8, 24) and images["latent"].shape == (2, 4, 4, 12)
    index = (255 * images["pt"][:, 0]).round().to(torch.uint8).numpy()
    np.testing.assert_array_equal(np.stack([np.asarray(image) for image in images["pil"]]), jet[index])
    # What it painted it takes back, and it encodes and decodes to the same size.
    for form in (images["pil"][0], images["np"][0], images["pt"][0]):
        assert pipeline.preprocess(form, 1).shape == (1, 1, 8, 24)
    varied = pipeline(["ID_2"], image=images["pil"][0], output_type="pt", num_inference_steps=2).images
    assert varied.shape == (1, 1, 8, 24)
    with pytest.raises(ValueError, match=r"images must be \(1, 8, 24\) \(channels, height, width\), got \(1, 24, 8\)"):
        pipeline(["ID_2"], image=images["pt"][0].transpose(1, 2), num_inference_steps=2)


def test_decibels_run_between_the_ends_of_the_axes(make_pipeline: MakePipeline):
    pixels = torch.tensor([0.0, 0.5, 1.0]).expand(1, 1, 1, 3)
    decibels = make_pipeline().postprocess(pixels, "db")
    assert isinstance(decibels, np.ndarray)
    assert decibels.tolist() == [[[-50.0, -25.0, 0.0]]]
    with pytest.raises(ValueError, match="db_min and db_max"):
        make_pipeline(axes=None)(["ID_1"], output_type="db")
    with pytest.raises(ValueError, match="one-channel model, got 3"):
        make_pipeline(channels=3)(["ID_1"], output_type="db")


def test_an_opaque_alpha_channel_changes_nothing(make_pipeline: MakePipeline):
    pipeline = make_pipeline()
    image = pipeline(users=["ID_1"], num_inference_steps=1, generator=torch.Generator().manual_seed(0)).images[0]
    assert torch.equal(pipeline.preprocess(image, 1), pipeline.preprocess(image.convert("RGBA"), 1))


def test_rgb_models_make_and_vary_rgb_images(make_pipeline: MakePipeline):
    pipeline = make_pipeline(channels=3)
    image = pipeline(["ID_1"], num_inference_steps=2).images[0]
    assert image.mode == "RGB"
    assert torch.equal(pipeline.preprocess(image, 1)[0].permute(1, 2, 0), torch.tensor(np.array(image)) / 255 * 2 - 1)
    assert pipeline(["ID_1"], image=image, num_inference_steps=2).images[0].size == (16, 16)


def test_interpolation_ends_at_its_users(make_pipeline: MakePipeline):
    pipeline = make_pipeline()
    settings = {"num_inference_steps": 2, "output_type": "pt"}
    between = pipeline.interpolate("ID_1", 1, 3, generator=seeded(), **settings)
    ends = pipeline(["ID_1", "ID_2"], generator=[seeded(between.seeds[0]) for _ in range(2)], **settings).images
    torch.testing.assert_close(between.images[[0, 2]], ends, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(between.images[1], between.images[0], atol=1e-3)
    assert between.users is None
    assert len(set(between.seeds)) == 1


def test_the_spherical_mix_turns_evenly_and_keeps_the_length():
    first, last = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    angles = torch.tensor([0.0, 30.0, 60.0, 90.0]).deg2rad()
    expected = 2 * torch.stack([angles.cos(), angles.sin()], dim=1)
    torch.testing.assert_close(spherical_mix(first, last, torch.linspace(0, 1, 4)), expected)
    torch.testing.assert_close(spherical_mix(first, 2 * first, torch.tensor([0.5])), 1.5 * first[None])


def test_the_callback_sees_each_step_and_may_change_latents(make_pipeline: MakePipeline):
    pipeline = make_pipeline()
    steps = []

    def silence(_pipeline: Any, step: int, _timestep: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        steps.append(step)
        return {"latents": torch.zeros_like(tensors["latents"])}

    output = pipeline(["ID_1"], 3, num_inference_steps=2, batch_size=2, callback_on_step_end=silence, output_type="pt")
    assert steps == [0, 1, 0, 1]
    torch.testing.assert_close(output.images, pipeline.decode(torch.zeros(3, 4, 8, 8)).detach())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"users": ["ID_3"]}, r"users must be among ID_1, ID_2, ID_10 \(or their ids 0..2\), got 'ID_3'"),
        ({"users": [3]}, "got 3"),
        ({"users": ["0"]}, "got '0'"),
        ({"users": "ID_1"}, r"users must be a list, such as \['ID_1'\]"),
        ({"users": []}, "at least one user"),
        ({"users": None}, "exactly one of users and user_embeds"),
        ({"conditions": {"shoes": "none"}}, "among condition, direction, got shoes"),
        ({"conditions": {"direction": "up"}}, "direction must be among away, towards .*, got 'up'"),
        ({"conditions": {"direction": ["away", "away"]}}, "one for each of 1 users, got 2"),
        ({"generator": [torch.Generator()] * 2}, "one for each of 1 images, got 2"),
        ({"num_images_per_user": 0}, "num_images_per_user must be at least 1, got 0"),
        ({"num_inference_steps": 0}, "num_inference_steps must be in 1..1000, the scheduler's training steps, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"guidance_scale": -1}, "must not be negative, got -1"),
        ({"strength": 0}, r"in \(0, 1\], got 0"),
        ({"output_type": "video"}, "among pil, np, pt, db, latent, got 'video'"),
        ({"callback_on_step_end_tensor_inputs": ["prompt"]}, "got {'prompt'}"),
        ({"image": torch.zeros(1, 8, 8)}, r"must be \(1, 16, 16\) .*, got \(1, 8, 8\)"),
        ({"image": torch.full((1, 16, 16), 2.0)}, "floating point in 0..1, got torch.float32 in 2.0..2.0"),
        ({"image": np.zeros((16, 16), np.uint8)}, "floating point in 0..1, got torch.uint8"),
        ({"image": Image.new("RGBA", (16, 16))}, "mode L or RGB, got RGBA"),
        ({"image": [torch.zeros(1, 16, 16)] * 2}, "one for each of 1 users, got 2"),
    ],
)
def test_what_cannot_be_done_is_refused(make_pipeline: MakePipeline, settings: dict, message: str):
    arguments: dict[str, Any] = {"users": ["ID_1"]} | settings
    with pytest.raises(ValueError, match=message):
        make_pipeline()(**arguments)


def test_schedulers_that_would_ruin_latents_are_refused(make_pipeline: MakePipeline):
    pipeline = make_pipeline()
    pipeline.scheduler = DDIMScheduler()
    with pytest.raises(ValueError, match="must not clip"):
        pipeline(["ID_1"])
    pipeline = make_pipeline()
    pipeline.scheduler = PNDMScheduler.from_config(pipeline.scheduler.config)
    with pytest.raises(ValueError, match="start in the middle"):
        pipeline(["ID_1"], image=torch.zeros(1, 16, 16))


V_PREDICTION: dict[str, Any] = {"prediction_type": "v_prediction"}


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (EulerDiscreteScheduler(), "must be for v_prediction, .*, got one for epsilon"),
        (DDIMScheduler(clip_sample=False, prediction_type="sample"), "got one for sample"),
        (DDIMScheduler(clip_sample=False, thresholding=True, **V_PREDICTION), "must not clip"),
        (FlowMatchEulerDiscreteScheduler(), "got one for flow_prediction"),
        (UniPCMultistepScheduler(use_flow_sigmas=True, **V_PREDICTION), "got one for flow_prediction"),
        (UniPCMultistepScheduler(prediction_type="flow_prediction"), "got one for flow_prediction"),
        (EDMEulerScheduler(**V_PREDICTION), "got one for EDMEulerScheduler"),
        (CMStochasticIterativeScheduler(), "got one for CMStochasticIterativeScheduler"),
        (IPNDMScheduler(), "got one for IPNDMScheduler"),
    ],
)
def test_schedulers_for_another_prediction_are_refused(
    make_pipeline: MakePipeline, scheduler: Any, message: str, tmp_path: Path
):
    pipeline = make_pipeline(scheduler=DPMSolverMultistepScheduler(**V_PREDICTION))
    pipeline.save_pretrained(tmp_path)
    pipeline.scheduler = scheduler
    with pytest.raises(ValueError, match=message):
        pipeline(["ID_1"], num_inference_steps=1)
    if "clip" not in message:
        with pytest.raises(ValueError, match=message):
            VQLDMDopplerPipeline.from_pretrained(tmp_path, scheduler=scheduler)
        with pytest.raises(ValueError, match=message):
            DiffusionPipeline.from_pretrained(tmp_path, scheduler=scheduler, trust_remote_code=True)


@pytest.mark.parametrize("scheduler", [EulerDiscreteScheduler(), DPMSolverMultistepScheduler(**V_PREDICTION)])
def test_a_flow_model_takes_no_scheduler_of_diffusion(make_pipeline: MakePipeline, scheduler: Any):
    pipeline = make_pipeline(scheduler=FlowMatchEulerDiscreteScheduler())
    pipeline.scheduler = scheduler
    with pytest.raises(ValueError, match="must be for flow_prediction"):
        pipeline(["ID_1"], num_inference_steps=1)
    pipeline.scheduler = FlowMatchHeunDiscreteScheduler()
    pipeline(["ID_1"], num_inference_steps=2)


@pytest.mark.parametrize("own", [DPMSolverMultistepScheduler(**V_PREDICTION), FlowMatchEulerDiscreteScheduler()])
def test_a_folder_of_an_earlier_version_tells_the_prediction_by_its_scheduler(
    make_pipeline: MakePipeline, own: Any, tmp_path: Path
):
    make_pipeline(scheduler=own).save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    del index["prediction_type"]
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    assert type(VQLDMDopplerPipeline.from_pretrained(tmp_path).scheduler) is type(own)
    with pytest.raises(ValueError, match="got one for epsilon"):
        VQLDMDopplerPipeline.from_pretrained(tmp_path, scheduler=EulerDiscreteScheduler())


@pytest.mark.parametrize("scheduler", [EulerDiscreteScheduler, HeunDiscreteScheduler, DEISMultistepScheduler])
def test_schedulers_with_the_own_settings_or_another_noise_schedule_are_allowed(
    make_pipeline: MakePipeline, scheduler: Any
):
    pipeline = make_pipeline(scheduler=DPMSolverMultistepScheduler(beta_schedule="squaredcos_cap_v2", **V_PREDICTION))
    for made in (scheduler.from_config(pipeline.scheduler.config), scheduler(**V_PREDICTION)):
        pipeline.scheduler = made
        pipeline(["ID_1"], num_inference_steps=2)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"id2label": None}, r"id2label must name the ids '0'..'2', got None"),
        ({"id2label": {"0": "a", "1": "a", "2": "b"}}, "3 different names"),
        ({"condition_labels": None}, r"conditions \['condition', 'direction'\], got \[\]"),
        ({"latent_mean": {"0": 0.0}}, "latent_mean must hold one number for each of 4 channels"),
        ({"latent_std": dict.fromkeys("0123", 0.0)}, "latent_std must be greater than 0"),
        ({"colormap": {"name": "jet", "rgb_hex": "00"}}, "256 colours of six hex digits, got 2 digits"),
        ({"channels": 3, "colormap": {"name": "jet", "rgb_hex": "00" * 768}}, "one-channel images"),
    ],
)
def test_facts_that_do_not_fit_the_models_are_refused(make_pipeline: MakePipeline, facts: dict, message: str):
    with pytest.raises(ValueError, match=message):
        make_pipeline(**facts)


def test_half_precision_and_channels_last_make_nearly_the_same_latents(make_pipeline: MakePipeline):
    expected = last_latents(make_pipeline(), ["ID_1"], num_inference_steps=4, generator=seeded())
    pipeline = make_pipeline().to(torch.bfloat16)
    pipeline.unet.to(memory_format=torch.channels_last)
    latents = last_latents(pipeline, ["ID_1"], num_inference_steps=4, generator=seeded())
    assert latents.dtype == torch.float32
    assert (latents - expected).square().mean() < 1e-3 * expected.var()
    assert pipeline(["ID_1"], num_inference_steps=1, output_type="pt").images.dtype == torch.float32


@pytest.mark.slow
def test_a_compiled_unet_makes_the_same_images(make_pipeline: MakePipeline):
    pipeline = make_pipeline()
    expected = last_latents(pipeline, ["ID_1"], num_inference_steps=2, generator=seeded())
    pipeline.unet = torch.compile(pipeline.unet)
    latents = last_latents(pipeline, ["ID_1"], num_inference_steps=2, generator=seeded())
    torch.testing.assert_close(latents, expected, rtol=1e-3, atol=1e-4)


def test_offloaded_models_make_the_same_latents(make_pipeline: MakePipeline):
    expected = last_latents(make_pipeline(), ["ID_1"], num_inference_steps=3, generator=seeded())
    pipeline = make_pipeline()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pipeline.enable_model_cpu_offload(device=device)
    latents = last_latents(pipeline, ["ID_1"], num_inference_steps=3, generator=seeded())
    torch.testing.assert_close(latents.cpu(), expected, rtol=1e-2, atol=1e-2)
    assert pipeline.unet.device.type == pipeline.vqvae.device.type == "cpu"
    assert len(pipeline.interpolate("ID_1", "ID_2", 3, num_inference_steps=1).images) == 3
