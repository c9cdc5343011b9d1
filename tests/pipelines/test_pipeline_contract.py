"""What diffusers checks of its own pipelines is checked of every pipeline of ours, with tiny parts.

`ELSEWHERE` lists the checks of diffusers that do not apply as they stand, each with its reason.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any, cast

import accelerate
import numpy as np
import pytest
import torch
from accelerate.hooks import remove_hook_from_module
from diffusers import DDIMScheduler, DiffusionPipeline
from torch import Tensor, nn

from tiny_doppler import tiny_pipeline, tiny_unet
from travelling import PIPELINES, PipelineCase

ELSEWHERE = {
    "DDUF": "a .dduf file may hold JSON, safetensors and text alone, so that our code could not travel in it",
    "xformers": "our attention calls torch's own kernels, which are as fast; there are no processors to exchange",
    "encode_prompt in isolation": "users are class ids, and there is no text encoder",
    "IP adapter, LoRA, StableDiffusionMixin": "our pipelines have none of them",
    "model, sequential and group CPU offload by `enable_*_offload`": "diffusers refuses them without an accelerator; "
    "the hooks that they install are tested here on the CPU, by accelerate",
    "callbacks, guidance and steps of autoencoders' pipelines": "they take no steps, and nothing guides them",
    "images of the depth pipeline subtracted as one array": "its images are a list of uint16, because they may be of "
    "different sizes; here they are compared one by one, as float64",
    "layerwise casting of `pipe.unet` or `pipe.transformer` in depth and convolutional pipelines": "they have an "
    "`autoencoder` instead, which is cast here",
    "optional components": "our pipelines have none: every component is needed, and None is refused",
    "saving and loading with safe_serialization=False": "weights are never pickled; see test_hub_folder.py",
    "float16 on an accelerator": "float16 runs on the CPU here",
}

EVERY = pytest.mark.parametrize("name", PIPELINES)


def models_of(pipeline: Any) -> dict[str, nn.Module]:
    return {name: part for name, part in pipeline.components.items() if isinstance(part, nn.Module)}


def made(case: PipelineCase, pipeline: Any, count: int = 2, **settings: Any) -> list[np.ndarray]:
    """Images of a call."""
    return case.images(pipeline(**(case.inputs(count) | settings))[0])


def assert_equal(images: list[np.ndarray], expected: list[np.ndarray], tolerance: float = 0.0) -> None:
    assert len(images) == len(expected)
    for image, other in zip(images, expected, strict=True):
        np.testing.assert_allclose(image, other, rtol=0, atol=tolerance)


@pytest.mark.parametrize("reason", ELSEWHERE.values(), ids=ELSEWHERE)
def test_what_does_not_apply_has_a_reason(reason: str):
    assert len(reason.split()) > 4


@EVERY
def test_equal_inputs_give_equal_outputs_in_the_same_and_in_an_equal_pipeline(name: str):
    case = PIPELINES[name]
    pipeline = case.make()
    first = made(case, pipeline)
    assert all(image.any() for image in first) and not np.array_equal(first[0], first[1])
    assert_equal(made(case, pipeline), first)
    assert_equal(made(case, case.make()), first)


@EVERY
def test_dict_and_tuple_hold_the_same(name: str):
    case = PIPELINES[name]
    pipeline = case.make()
    output, values = pipeline(**case.inputs(2)), pipeline(**case.inputs(2), return_dict=False)
    assert type(values) is tuple
    assert_equal(case.images(values[0]), case.images(output[0]))
    for value, field in zip(values[1:], output.to_tuple()[1:], strict=False):
        assert all(np.array_equal(a, b) for a, b in zip(value, field, strict=True))


@EVERY
def test_an_image_does_not_depend_on_its_batch(name: str):
    case = PIPELINES[name]
    pipeline = case.make()
    three = made(case, pipeline, 3)
    for count in (1, 2):
        assert_equal(made(case, pipeline, count), three[:count], case.tolerance)
    assert_equal(made(case, pipeline, 3, batch_size=2), three, case.tolerance)


@EVERY
def test_a_saved_pipeline_loads_with_the_same_components_and_outputs(name: str, tmp_path: Path):
    case = PIPELINES[name]
    pipeline = case.make()
    pipeline.save_pretrained(tmp_path)
    loaded = type(pipeline).from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert {part: type(value) for part, value in loaded.components.items()} == {
        part: type(value) for part, value in pipeline.components.items()
    }
    assert {key: value for key, value in loaded.config.items() if key[0] != "_" and key not in loaded.components} == {
        key: value for key, value in pipeline.config.items() if key[0] != "_" and key not in loaded.components
    }
    assert all(not model.training for model in models_of(loaded).values())
    assert_equal(made(case, loaded), made(case, pipeline), 1e-6)


@EVERY
def test_components_make_an_equal_pipeline_and_can_be_given_while_loading(name: str, tmp_path: Path):
    case = PIPELINES[name]
    pipeline = case.make()
    facts = {key: value for key, value in pipeline.config.items() if key[0] != "_" and key not in pipeline.components}
    again = type(pipeline)(**pipeline.components, **facts)
    again.set_progress_bar_config(disable=True)
    assert_equal(made(case, again), made(case, pipeline))
    pipeline.save_pretrained(tmp_path)
    for part, model in models_of(case.make()).items():
        assert getattr(type(pipeline).from_pretrained(tmp_path, **{part: model}), part) is model


@EVERY
def test_every_component_is_needed(name: str, tmp_path: Path):
    pipeline = PIPELINES[name].make()
    assert list(pipeline._optional_components) == []
    pipeline.save_pretrained(tmp_path)
    for part in pipeline.components:
        with pytest.raises(ValueError, match=f"{part} must be given, got None"):
            type(pipeline).from_pretrained(tmp_path, **{part: None})


@EVERY
def test_a_variant_is_saved_and_loaded_and_not_confused_with_the_plain_weights(name: str, tmp_path: Path):
    case = PIPELINES[name]
    pipeline = case.make()
    cls = type(pipeline)
    pipeline.save_pretrained(tmp_path, variant="fp16")
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.safetensors"))
    assert files == sorted(f"{part}/diffusion_pytorch_model.fp16.safetensors" for part in models_of(pipeline))
    loaded = cls.from_pretrained(tmp_path, variant="fp16")
    loaded.set_progress_bar_config(disable=True)
    assert_equal(made(case, loaded), made(case, pipeline), 1e-6)
    with pytest.raises(OSError, match="no file named"):
        cls.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="variant=bf16"):
        cls.from_pretrained(tmp_path, variant="bf16")


@EVERY
def test_weights_are_cut_into_several_files_of_a_given_size(name: str, tmp_path: Path):
    case = PIPELINES[name]
    pipeline = case.make()
    pipeline.save_pretrained(tmp_path, max_shard_size="20KB", variant="fp16")
    for part, model in models_of(pipeline).items():
        if sum(2 * weight.numel() for weight in model.parameters()) > 20_000:
            assert len(list((tmp_path / part).glob("*.fp16-0000*.safetensors"))) > 1
    loaded = type(pipeline).from_pretrained(tmp_path, variant="fp16")
    loaded.set_progress_bar_config(disable=True)
    assert_equal(made(case, loaded), made(case, pipeline), 1e-6)


@EVERY
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_pipeline_of_half_precision_makes_nearly_the_same(name: str, dtype: torch.dtype, tmp_path: Path):
    case = PIPELINES[name]
    pipeline = case.make()
    exact = made(case, pipeline)
    pipeline.save_pretrained(tmp_path)
    loaded = type(pipeline).from_pretrained(tmp_path, dtype=dtype)
    loaded.set_progress_bar_config(disable=True)
    for moved in (pipeline.to(dtype=dtype), loaded):
        for model in models_of(moved).values():
            assert {value.dtype for value in model.state_dict().values() if value.is_floating_point()} == {dtype}
        half = made(case, moved)
        span = np.ptp(np.stack(exact))
        assert np.mean([np.abs(a - b).mean() for a, b in zip(half, exact, strict=True)]) < 0.05 * span


def test_each_component_can_be_loaded_in_a_type_of_its_own(tmp_path: Path):
    pipeline = tiny_pipeline()
    pipeline.save_pretrained(tmp_path)
    dtypes = {"unet": torch.bfloat16, "default": torch.float32}
    loaded = type(pipeline).from_pretrained(tmp_path, dtype=dtypes)
    assert (loaded.unet.dtype, loaded.vqvae.dtype) == (torch.bfloat16, torch.float32)
    loaded.set_progress_bar_config(disable=True)
    images = loaded(["ID_1"], num_inference_steps=2, output_type="np").images
    assert images.dtype == np.float32 and np.isfinite(images).all()


@EVERY
def test_components_move_to_a_device_and_type_together(name: str):
    pipeline = PIPELINES[name].make()
    assert pipeline.to("cpu") is pipeline and pipeline.device.type == "cpu"
    pipeline.to(torch.float64)
    assert {model.dtype for model in models_of(pipeline).values()} == {torch.float64}
    pipeline.to("meta")
    assert {model.device.type for model in models_of(pipeline).values()} == {"meta"}


@EVERY
def test_attention_slicing_changes_nothing(name: str):
    case = PIPELINES[name]
    pipeline = case.make()
    whole = made(case, pipeline)
    for slice_size in (1, "auto", "max"):
        pipeline.enable_attention_slicing(slice_size)
        assert_equal(made(case, pipeline), whole, case.tolerance)
    pipeline.disable_attention_slicing()
    assert_equal(made(case, pipeline), whole, case.tolerance)


@EVERY
def test_weights_may_be_stored_in_eight_bits_layer_by_layer(name: str):
    case = PIPELINES[name]
    pipeline = case.make()
    exact = made(case, pipeline)
    model = pipeline.components.get("unet", pipeline.components.get("autoencoder"))
    model.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    assert torch.float8_e4m3fn in {value.dtype for value in model.parameters()}
    cast = made(case, pipeline)
    assert all(np.isfinite(image).all() for image in cast)
    assert np.abs(np.stack(cast) - exact).mean() < 0.2 * np.ptp(np.stack(exact))
    # Such a model can be given to another pipeline.
    type(pipeline)(**pipeline.components, **facts_of(pipeline))


def facts_of(pipeline: Any) -> dict[str, Any]:
    return {key: value for key, value in pipeline.config.items() if key[0] != "_" and key not in pipeline.components}


@EVERY
def test_weights_may_be_offloaded_as_whole_models_or_layer_by_layer(name: str):
    case = PIPELINES[name]
    pipeline = case.make()
    expected = made(case, pipeline)
    order = pipeline.model_cpu_offload_seq.split("->")
    assert sorted(order) == sorted(models_of(pipeline))
    # As in enable_model_cpu_offload: a model stays where it ran until the next one runs, or the call ends.
    hook = None
    for part in order:
        _, hook = accelerate.cpu_offload_with_hook(getattr(pipeline, part), "cpu", prev_module_hook=hook)
    assert_equal(made(case, pipeline), expected)
    for part in order:
        remove_hook_from_module(getattr(pipeline, part), recurse=True)
    # As in enable_sequential_cpu_offload: each layer's weights are moved just before it runs.
    for part in set(order) - set(pipeline._exclude_from_cpu_offload):
        model = getattr(pipeline, part)
        accelerate.cpu_offload(model, execution_device=torch.device("cpu"), offload_buffers=True)
        assert {value.device.type for value in model.parameters()} == {"meta"}
    assert_equal(made(case, pipeline), expected)


@EVERY
def test_calls_take_the_arguments_that_all_pipelines_of_diffusers_take(name: str):
    pipeline = PIPELINES[name].make()
    given = inspect.signature(pipeline.__call__).parameters
    assert {"output_type", "return_dict"} <= set(given)
    assert all(value.default is not inspect.Parameter.empty for value in list(given.values())[1:])
    if "unet" in pipeline.components:
        assert {"num_inference_steps", "guidance_scale", "generator", "callback_on_step_end"} <= set(given)


@EVERY
def test_the_index_names_files_that_travel_and_no_path_of_this_machine(name: str, tmp_path: Path):
    pipeline = PIPELINES[name].make()
    pipeline.save_pretrained(tmp_path / "first")
    type(pipeline).from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "second")
    for folder in (tmp_path / "first", tmp_path / "second"):
        for path in folder.rglob("*.json"):
            assert str(tmp_path) not in path.read_text()
        index = json.loads((folder / "model_index.json").read_text())
        assert (folder / f"{index['_class_name'][0]}.py").is_file()
    first, second = (sorted(p.relative_to(f) for p in f.rglob("*")) for f in (tmp_path / "first", tmp_path / "second"))
    assert first == second


# Pipelines that take steps: guidance, callbacks and numbers of images.


@pytest.mark.parametrize("per_user", [1, 3])
@pytest.mark.parametrize("users", [["ID_1"], ["ID_1", "ID_10"]])
def test_there_are_so_many_images_per_user(users: list[str], per_user: int):
    output = tiny_pipeline()(users, per_user, num_inference_steps=1, output_type="np")
    assert output.users == [user for user in users for _ in range(per_user)]
    assert len(output.images) == len(output.seeds) == len(users) * per_user


def test_guidance_changes_images_and_1_is_none():
    pipeline = tiny_pipeline()
    case = PIPELINES["vq-ldm"]
    batches: list[int] = []
    pipeline.unet.register_forward_pre_hook(lambda _unet, args: batches.append(len(args[0])))
    plain, guided = (made(case, pipeline, guidance_scale=scale) for scale in (1.0, 2.5))
    assert batches == [2, 2, 4, 4]
    assert not np.allclose(plain, guided)


def test_a_callback_gets_what_it_asks_for_and_no_more():
    pipeline = tiny_pipeline()
    given: list[set[str]] = []

    def remember(pipe: Any, step: int, timestep: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        assert pipe is pipeline and 0 <= step < pipe.num_timesteps and 0 <= timestep < 1000
        given.append(set(tensors))
        return tensors

    for names in (pipeline._callback_tensor_inputs, ["latents"], []):
        given.clear()
        pipeline(["ID_1"], num_inference_steps=3, callback_on_step_end=remember,
                 callback_on_step_end_tensor_inputs=names)  # fmt: skip
        assert given == [set(names)] * 3
    with pytest.raises(ValueError, match=r"may name only latents, got \{'prompt_embeds'\}"):
        pipeline(["ID_1"], callback_on_step_end=remember, callback_on_step_end_tensor_inputs=["prompt_embeds"])
    with pytest.raises(ValueError, match="must return its dict of tensors, got None"):
        pipeline(["ID_1"], callback_on_step_end=cast(Any, lambda *_: None))


def test_a_callback_can_change_the_latents():
    def clear(pipe: Any, step: int, _timestep: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        last = step == pipe.num_timesteps - 1
        return {"latents": torch.zeros_like(tensors["latents"])} if last else tensors

    latents = tiny_pipeline()(["ID_1", "ID_2"], 2, num_inference_steps=3, batch_size=3, callback_on_step_end=clear,
                              output_type="latent").images  # fmt: skip
    assert latents.shape == (4, 4, 8, 8) and not latents.any()


def test_latents_are_what_the_decoder_gets():
    pipeline = tiny_pipeline()
    case = PIPELINES["vq-ldm"]
    settings: dict[str, Any] = case.inputs(2) | {"output_type": "latent"}
    latents = pipeline(**settings).images
    with torch.no_grad():
        decoded = pipeline.decode(latents)
    np.testing.assert_allclose(decoded.permute(0, 2, 3, 1), made(case, pipeline), rtol=0, atol=1e-6)


def test_a_callback_can_change_guidance_in_every_step_of_every_batch():
    pipeline = tiny_pipeline()
    scales: list[float] = []

    def increase(pipe: Any, _step: int, _timestep: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        scales.append(pipe.guidance_scale)
        pipe._guidance_scale += 1.0
        return tensors

    settings: dict[str, Any] = {"num_inference_steps": 3, "guidance_scale": 2.0, "callback_on_step_end": increase}
    pipeline(["ID_1", "ID_2"], **settings)
    assert pipeline.guidance_scale == 2.0 + pipeline.num_timesteps == 5.0
    # The second batch begins where the first one began, so that the batch size changes no image.
    pipeline(["ID_1", "ID_2"], **settings, batch_size=1)
    assert scales == [2.0, 3.0, 4.0] * 3


def test_a_callback_can_end_guidance():
    def end(pipe: Any, step: int, _timestep: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        pipe._guidance_scale = 1.0 if step == 0 else pipe._guidance_scale
        return tensors

    pipeline = tiny_pipeline()
    batches: list[int] = []
    pipeline.unet.register_forward_pre_hook(lambda _unet, args: batches.append(len(args[0])))
    pipeline(["ID_1"], num_inference_steps=3, guidance_scale=3.0, callback_on_step_end=end)
    assert batches == [2, 1, 1]


def test_a_scheduler_with_other_settings_is_kept_by_saving(tmp_path: Path):
    pipeline = tiny_pipeline()
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.save_pretrained(tmp_path)
    loaded = DiffusionPipeline.from_pretrained(tmp_path, trust_remote_code=True)
    assert type(loaded.scheduler) is DDIMScheduler and not loaded.scheduler.config["clip_sample"]


def test_a_unet_of_another_vae_is_refused():
    with pytest.raises(ValueError, match="latents of vqvae and unet must have as many channels, got 4 and 8"):
        tiny_pipeline(unet=tiny_unet(in_channels=8, out_channels=8))
