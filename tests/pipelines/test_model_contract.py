"""What diffusers checks of its own models is checked of every model of ours, with tiny parts.

`ELSEWHERE` lists the checks of diffusers that do not apply as they stand, each with its reason; `EXCEPTIONS` lists the
models of ours that one of these checks leaves out.
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from travelling import MODELS, cast, run, tensors_of

ELSEWHERE = {
    "xformers and attention processors": "our attention calls torch's own kernels, and has no processors to exchange",
    "LoRA, IP adapter, single files": "our models have none of them",
    "quantisation": "bitsandbytes, gguf and torchao need an accelerator, or a package that nothing else needs",
    "compilation and export": "test_unet_doppler.py and docs/ have what we promise; a compiler takes minutes here",
    "memory of layerwise casting, group offloading": "memory is counted, and streams exist, on accelerators alone",
    "keep_in_fp32": "no model names layers that stay in float32: what needs it computes in float32, see `balance`",
    "max_unpool2d under use_deterministic_algorithms": "our unpooling scatters, which is deterministic",
    "saving and loading with safe_serialization=False": "weights are never pickled; see test_hub_folder.py",
}

EXCEPTIONS = {
    ("tuples", "encoder-map"): "it returns one tensor, as an encoder of text does",
    ("tuples", "encoder-cosine"): "it returns one tensor, as an encoder of text does",
    ("checkpointing", "transformers"): "it says supports_gradient_checkpointing = False; training is by the encoder",
    ("variants", "transformers"): "its files are those of transformers, where variants are loaded by another name",
    ("casting", "transformers"): "enable_layerwise_casting is a method of diffusers",
    ("ema", "transformers"): "EMAModel saves models of diffusers",
    ("dtypes", "transformers"): "transformers itself casts it; test_depth_doors.py loads it",
    ("offload", "transformers"): "transformers itself offloads it, by its own device_map",
    ("shards", "transformers"): "transformers itself cuts and joins its files",
}


def every(check: str = "") -> Any:
    return pytest.mark.parametrize("name", [name for name in MODELS if (check, name) not in EXCEPTIONS])


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def assert_equal(tensors: list[Tensor], expected: list[Tensor], tolerance: float = 0.0) -> None:
    assert len(tensors) == len(expected)
    for tensor, other in zip(tensors, expected, strict=True):
        torch.testing.assert_close(tensor, other, rtol=0, atol=tolerance)


def loss_of(model: nn.Module, inputs: dict[str, Any]) -> Tensor:
    return sum((tensor.float() ** 2).mean() for tensor in tensors_of(model(**inputs)))  # pyright: ignore[reportReturnType]


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("reason", [*ELSEWHERE.values(), *EXCEPTIONS.values()])
def test_what_does_not_apply_has_a_reason_and_a_model(reason: str):
    assert len(reason.split()) > 4
    assert {name for _, name in EXCEPTIONS} <= set(MODELS)


@every()
def test_forward_takes_the_documented_arguments_first(name: str):
    arguments = list(inspect.signature(MODELS[name].make().forward).parameters)
    assert tuple(arguments[:2]) == MODELS[name].first
    if ("tuples", name) not in EXCEPTIONS:
        assert "return_dict" in arguments


@every()
def test_equal_inputs_give_equal_outputs_also_where_only_deterministic_kernels_may_run(
    name: str, deterministic: None, tmp_path: Path
):
    case = MODELS[name]
    model = case.make()
    first = run(model, case.inputs(2))
    assert all(tensor.isfinite().all() and tensor.any() for tensor in first)
    assert_equal(run(model, case.inputs(2)), first)
    assert_equal(run(case.make(), case.inputs(2)), first)
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert not loaded.training
    assert_equal(run(loaded, case.inputs(2)), first)


@every()
def test_saving_keeps_config_and_every_weight(name: str, tmp_path: Path):
    model = MODELS[name].make()
    model.save_pretrained(tmp_path / "once")
    again = type(model).from_pretrained(tmp_path / "once")
    again.save_pretrained(tmp_path / "twice")
    twice = type(model).from_pretrained(tmp_path / "twice").state_dict()
    assert list(twice) == list(model.state_dict())
    assert all(torch.equal(twice[key], value) for key, value in model.state_dict().items())
    once, saved_again = (json.loads((tmp_path / part / "config.json").read_text()) for part in ("once", "twice"))
    saved_again.pop("_name_or_path", None)
    assert once == saved_again


@every("tuples")
def test_dict_and_tuple_hold_the_same(name: str):
    case = MODELS[name]
    model = case.make()
    with torch.no_grad():
        values, output = model(**case.inputs(2), return_dict=False), model(**case.inputs(2))
    assert type(values) is tuple
    assert_equal(list(values), list(output.values()))


@every()
def test_an_output_does_not_depend_on_its_batch(name: str):
    case = MODELS[name]
    model = case.make()
    three = run(model, case.inputs(3))
    for count in (1, 2):
        assert_equal(run(model, case.inputs(count)), [tensor[:count] for tensor in three], 1e-5)


@every()
def test_training_reaches_every_weight_and_lowers_the_loss(name: str):
    case = MODELS[name]
    model = case.make().train()
    inputs = case.inputs(3)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(3):
        loss = loss_of(model, inputs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    found = gradients(model)
    # What is not asked for keeps its weights: a condition that is left out has its null class.
    assert set(found) == {key for key, _ in model.named_parameters()}
    assert all(value.isfinite().all() for value in found.values()) and losses[2] < losses[0]


@pytest.mark.filterwarnings("ignore:It is deprecated to pass a pretrained model name:FutureWarning")  # in EMAModel
@every("ema")
def test_training_with_ema_follows_the_weights_and_is_saved_and_restored(name: str, tmp_path: Path):
    case = MODELS[name]
    model = case.make().train()
    before = copy.deepcopy(model).state_dict()
    average = EMAModel(model.parameters(), decay=0.5, model_cls=type(model), model_config=model.config)
    loss_of(model, case.inputs(2)).backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    average.step(model.parameters())
    decay = average.get_decay(average.optimization_step)
    average.save_pretrained(tmp_path)
    restored = EMAModel.from_pretrained(tmp_path, model_cls=type(model))
    other = case.make()
    restored.copy_to(other.parameters())
    for key, value in other.named_parameters():
        expected = before[key] + (1 - decay) * (model.get_parameter(key) - before[key])
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-6)


@every("checkpointing")
def test_gradient_checkpointing_changes_neither_gradients_nor_statistics(name: str):
    case = MODELS[name]
    losses, found, buffers = [], [], []
    for checkpointing in (False, True):
        model = case.make().train()
        assert not model.is_gradient_checkpointing
        if checkpointing:
            model.enable_gradient_checkpointing()
            assert model.is_gradient_checkpointing
        loss = loss_of(model, case.inputs(3))
        loss.backward()
        losses.append(loss.item())
        found.append(gradients(model))
        buffers.append(dict(model.named_buffers()))
        model.disable_gradient_checkpointing()
        assert not model.is_gradient_checkpointing
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    for plain, checkpointed in (found, buffers):
        assert set(plain) == set(checkpointed)
        for key, value in plain.items():
            torch.testing.assert_close(checkpointed[key], value, rtol=0, atol=1e-5, msg=key)


@every("checkpointing")
def test_gradient_checkpointing_runs_the_forward_pass_of_blocks_again(name: str):
    case = MODELS[name]
    calls = []
    for checkpointing in (False, True):
        model = case.make().train()
        if checkpointing:
            model.enable_gradient_checkpointing()
        convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
        count = [0]
        for module in convolutions:
            module.register_forward_pre_hook(lambda *_, count=count: count.__setitem__(0, count[0] + 1))
        loss_of(model, case.inputs(1)).backward()
        calls.append(count[0])
    assert calls[1] > 1.3 * calls[0]


@every("casting")
@pytest.mark.parametrize("storage", [torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
def test_weights_may_be_stored_in_eight_bits_layer_by_layer(name: str, storage: torch.dtype):
    case = MODELS[name]
    exact = run(case.make(), case.inputs(2))
    for compute in (torch.float32, torch.bfloat16):
        model = case.make().to(compute)
        model.enable_layerwise_casting(storage_dtype=storage, compute_dtype=compute)
        types = {key: value.dtype for key, value in model.named_parameters()}
        assert storage in types.values() and all(types[key] == compute for key in types if "norm" in key)
        made = run(model, cast(case.inputs(2), compute))
        assert model.dtype == compute
        for tensor, expected in zip(made, exact, strict=True):
            assert tensor.dtype == compute and tensor.isfinite().all()
            assert (tensor.float() - expected).abs().mean() < 0.3 * expected.abs().mean() + 0.05


@every("casting")
def test_weights_stored_in_eight_bits_can_be_trained_through(name: str):
    case = MODELS[name]
    model = case.make().train()
    model.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    # The hooks store a layer's weights in eight bits again after its forward pass; autocast works on copies of them.
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loss_of(model, case.inputs(2))
    loss.backward()
    assert loss.isfinite() and gradients(model)


@every("variants")
def test_a_variant_is_saved_and_loaded_and_not_confused_with_the_plain_weights(name: str, tmp_path: Path):
    case = MODELS[name]
    model = case.make()
    model.save_pretrained(tmp_path, variant="fp16")
    assert [path.name for path in tmp_path.glob("*.safetensors")] == ["diffusion_pytorch_model.fp16.safetensors"]
    loaded = type(model).from_pretrained(tmp_path, variant="fp16")
    assert_equal(run(loaded, case.inputs(2)), run(model, case.inputs(2)))
    with pytest.raises(OSError, match=r"no file named diffusion_pytorch_model\.safetensors"):
        type(model).from_pretrained(tmp_path)


@every("shards")
@pytest.mark.parametrize("variant", [None, "fp16"])
def test_weights_are_cut_into_several_files_and_joined(name: str, variant: str | None, tmp_path: Path):
    case = MODELS[name]
    model = case.make()
    total = sum(value.nbytes for value in model.state_dict().values())
    model.save_pretrained(tmp_path, max_shard_size=f"{total // 3000}KB", variant=variant)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2 and len(list(tmp_path.glob("*.index.*json"))) == 1
    loaded = type(model).from_pretrained(tmp_path, variant=variant)
    assert_equal(run(loaded, case.inputs(2)), run(model, case.inputs(2)))


@every("dtypes")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_a_model_is_cast_by_moving_and_by_loading(name: str, dtype: torch.dtype, tmp_path: Path):
    case = MODELS[name]
    model = case.make()
    exact = run(model, case.inputs(2))
    model.save_pretrained(tmp_path)
    for moved in (model.to(dtype), type(model).from_pretrained(tmp_path, dtype=dtype)):
        assert moved.dtype == dtype
        floating = [value for value in moved.state_dict().values() if value.is_floating_point()]
        assert {value.dtype for value in floating} == {dtype}
        for tensor, expected in zip(run(moved, cast(case.inputs(2), dtype)), exact, strict=True):
            assert tensor.dtype == dtype
            assert (tensor.float() - expected).abs().mean() < 0.05 * expected.abs().mean() + 0.01
    assert type(model).from_pretrained(tmp_path).dtype == torch.float32


@every("offload")
def test_weights_may_be_offloaded_layer_by_layer_to_memory_and_disk(name: str, tmp_path: Path):
    case = MODELS[name]
    expected = run(case.make(), case.inputs(2))
    device = torch.device("cpu")
    in_memory, on_disk = case.make(), case.make()
    accelerate.cpu_offload(in_memory, execution_device=device, offload_buffers=True)
    accelerate.disk_offload(on_disk, str(tmp_path), execution_device=device, offload_buffers=True)
    for model in (in_memory, on_disk):
        assert {value.device.type for value in model.parameters()} == {"meta"}
        assert_equal(run(model, case.inputs(2)), expected)


@every("offload")
def test_a_device_map_is_made_without_splitting_blocks(name: str, tmp_path: Path):
    case = MODELS[name]
    model = case.make()
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path, device_map="auto", max_memory={"cpu": "1GB"})
    assert set(loaded.hf_device_map.values()) == {"cpu"}
    assert_equal(run(loaded, case.inputs(2)), run(model, case.inputs(2)))
    names = {type(module).__name__ for module in model.modules()}
    assert set(model._no_split_modules) <= names and set(model._repeated_blocks) <= names
