"""`from echoform_train import ...`: every command as a function with its settings as keywords."""

from __future__ import annotations

import inspect
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, DatasetDict, Image

import echoform_train as door
from doc_pages import load_script
from echoform_train import cli, commands
from echoform_train.data.config import DataConfig, load_data
from echoform_train.engine.callbacks import NO_CALLBACKS, Callbacks
from echoform_train.engine.files import CHECKPOINTS
from echoform_train.engine.presets import configure
from echoform_train.engine.sources import DatasetInMemory
from echoform_train.latent_diffusion import ldm_config
from echoform_train.scoring.classifier_config import Config as ClassifierConfig
from echoform_train.trainers import vq_vae

SMALL_VQ_VAE: dict[str, Any] = {
    "max_train_images": 48,
    "train_batch_size": 8,
    "lr_warmup_steps": 2,
    "validation_every": 24,
    "checkpointing_every": 24,
    "block_out_channels": (8, 16, 16),
    "num_vq_embeddings": 16,
    "quantize_after": 16,
}


def stub() -> Any:
    return load_script("python_stub")


def test_every_command_has_its_function():
    assert set(commands.CALLS.values()) == set(commands.VERBS)
    assert all(name.isidentifier() and getattr(door, name).__name__ == name for name in commands.CALLS)
    assert door.train_ldm is door.train_ldm
    assert pickle.loads(pickle.dumps(door.train_ldm)) is door.train_ldm
    assert set(door.__all__) <= set(dir(door)) and all(getattr(door, name) for name in door.__all__)


def test_the_stub_for_editors_is_what_the_settings_make_of_it():
    script = stub()
    assert script.STUB.read_text(encoding="utf-8") == script.document()


def test_signature_has_the_flags_their_defaults_and_the_callbacks():
    signature = inspect.signature(door.train_ldm).parameters
    flags = cli.parse(ldm_config, ["--first-stage", "a", "--data", "b", "--output-dir", "c"], prog="x")
    defaults = {name: one.default for name, one in signature.items() if one.default is not inspect.Parameter.empty}
    of_flags = {**vars(flags), **vars(flags.data), **vars(flags.data.reading), **vars(flags.run)}
    groups = {"data", "run", "reading"}
    required = {"first_stage", "data", "output_dir"}
    assert set(signature) - {"on_validation", "on_checkpoint"} == set(of_flags) - groups | {"data"}
    assert set(signature) - set(defaults) == required
    assert {name: value for name, value in defaults.items() if not name.startswith("on_")} == {
        name: value for name, value in of_flags.items() if name not in groups | required
    }
    assert [name for name in signature if name.startswith("on_")] == ["on_validation", "on_checkpoint"]
    assert "on_checkpoint" not in inspect.signature(door.train_classifier).parameters
    assert "on_validation" not in inspect.signature(door.generate).parameters
    of_augment = inspect.signature(door.augment).parameters.values()
    assert [one.name for one in of_augment if one.kind < one.KEYWORD_ONLY] == ["data", "output_dir"]


def test_documentation_explains_every_setting():
    for name in commands.CALLS:
        text = str(getattr(door, name).__doc__)
        for parameter in inspect.signature(getattr(door, name)).parameters:
            assert f"    {parameter}: " in text, (name, parameter)
    assert "needs window_s" in str(door.train_ldm.__doc__)


def test_a_name_that_is_not_there_is_told_with_those_that_are():
    with pytest.raises(AttributeError, match=r"no attribute 'train_gan'; it exports .*train_ldm"):
        _ = door.train_gan  # pyright: ignore[reportAttributeAccessIssue]


def test_importing_the_package_imports_nothing_else():
    code = (
        "import sys, echoform_train\n"
        "assert 'train_ldm' in dir(echoform_train)\n"
        "heavy = {'torch', 'diffusers', 'datasets', 'tyro', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "echoform_train.train_ldm.__doc__\n"
        "heavy = {'torch', 'diffusers', 'datasets'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"train_batch_sice": 3}, "^there is no setting train_batch_sice, did you mean train_batch_size\\?$"),
    ({"zzz": 3, "batch_size": 3}, "^there is no setting zzz; there is no setting batch_size, did you mean train_b"),
    ({"train_batch_size": 2.5}, r"^train_batch_size must be a whole number, got 2\.5$"),
    ({"train_batch_size": True}, "^train_batch_size must be a whole number, got True$"),
    ({"train_batch_size": "8"}, "^train_batch_size must be a whole number, got '8'$"),
    ({"train_batch_size": 0}, r"^train_batch_size must be a whole number in 1\.\.65536, got 0$"),
    ({"learning_rate": -1}, r"^learning_rate must be in \(0, 100\], got -1"),
    ({"learning_rate": float("nan")}, r"^learning_rate must be in \(0, 100\], got nan$"),
    ({"learning_rate": torch.zeros(3)}, "^learning_rate must be a number, got a Tensor$"),
    ({"quantize": "no"}, "^quantize must be True or False, got 'no'$"),
    ({"mixed_precision": "half"}, "^mixed_precision must be one of no, fp16, bf16, auto, got 'half'$"),
    ({"block_out_channels": 8}, "^block_out_channels takes several values, as a list or a tuple, got 8$"),
    ({"block_out_channels": ["a"]}, r"^block_out_channels must be a list of whole numbers, got \['a'\]$"),
    ({"split_file": 3}, "^split_file must be a path, as text or pathlib.Path or None, got 3$"),
    ({"preset": "gpu"}, "^preset must be one of cpu, .*, got gpu$"),
    ({"preset": ["cpu"]}, "^preset must be one of cpu, "),
    ({"data": 3}, "^data must be a text, got 3$"),
    ({"data": "no such folder"}, "^there is no folder no such folder$"),
    ({"on_validation": 3}, "^on_validation must be a function of one argument, got a int$"),
    ({"private": True}, "^private is for the Hub: it must go with push_to_hub$"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG, ids=lambda value: None)
def test_a_wrong_setting_is_named_as_a_keyword(settings: dict[str, Any], message: str, tmp_path: Path):
    call: Any = door.train_vq_vae
    with pytest.raises(door.UserError, match=message):
        call(**{"data": str(tmp_path), "output_dir": tmp_path / "out", **settings})
    assert not (tmp_path / "out").exists()


def test_missing_settings_and_values_without_a_name_are_told(tmp_path: Path):
    call: Any = door.train_vq_vae
    with pytest.raises(door.UserError, match="have no default and must be given: data, output_dir"):
        call()
    with pytest.raises(door.UserError, match=r"takes its settings by name, such as train_vq_vae\(data=\.\.\.\)"):
        call("data")
    call = door.simulate
    with pytest.raises(door.UserError, match="output_dir must be given once, it is given by position and by name"):
        call(tmp_path, output_dir=tmp_path)
    with pytest.raises(door.UserError, match="simulate takes at most output_dir without their names"):
        call(tmp_path, tmp_path)


def in_memory(folder: Path, **columns: list[Any]) -> Dataset:
    """The spectrograms of a folder as a data set, with their users."""
    files = sorted(folder.rglob("*.png"))
    rows = {"image": list(map(str, files)), "user": [file.parent.name for file in files], **columns}
    return Dataset.from_dict(rows).cast_column("image", Image())


def test_a_data_set_in_memory_has_the_images_of_its_folder(walkers: Path):
    given = in_memory(walkers)
    source = DatasetInMemory(given)
    assert type(str(source)) is str
    assert source == str(source) == f"in memory (fingerprint {given._fingerprint})"
    loaded = load_data(DataConfig(data=source), 0)
    of_folder = load_data(DataConfig(data=str(walkers)), 0)
    assert loaded.id2label == of_folder.id2label and loaded.colormap == of_folder.colormap
    sides = ("train", "validation", "test", "left_out")
    images = [torch.cat([getattr(data, side).pixels for side in sides]) for data in (loaded, of_folder)]
    assert sorted(map(bytes, images[0].numpy())) == sorted(map(bytes, images[1].numpy()))


def test_a_data_set_in_any_format_and_order_of_splits_is_read(walkers: Path):
    given = in_memory(walkers)
    half = len(given) // 2
    parts = DatasetDict({"train": given.select(range(0, len(given), 2)), "test": given.select(range(1, half, 2))})
    parts["val"] = given.select(range(half + 1 - half % 2, len(given), 2))
    data = load_data(DataConfig(data=DatasetInMemory(parts.with_format("torch"))), 0)
    assert data.split.method == "as given"
    assert [len(data.train), len(data.test), len(data.validation)] == [len(parts[n]) for n in ("train", "test", "val")]


def test_a_data_set_that_cannot_be_trained_on_is_refused(walkers: Path, tmp_path: Path):
    given = in_memory(walkers)
    with pytest.raises(door.UserError, match=r"a data set must have an image column and a user \(or label\) column"):
        door.prepare(given.remove_columns("user"))
    stream: Any = given.to_iterable_dataset()
    with pytest.raises(door.UserError, match="whose rows are at hand, got a stream"):
        door.prepare(stream)
    wrong: Any = given
    with pytest.raises(door.UserError, match=r"first_stage must be one of none or a path, .*, got a Data"):
        door.train_ldm(data=given, first_stage=wrong, output_dir=tmp_path / "ldm")
    with pytest.raises(door.UserError, match="a folder or a repository on the Hub must be given here, not a data"):
        door.extract_encoder(wrong, output_dir=tmp_path / "encoder")


def test_a_name_of_a_data_set_that_travels_to_another_process_is_no_source():
    name = DatasetInMemory(Dataset.from_dict({"a": [1]}))
    assert type(pickle.loads(pickle.dumps(name))) is str


class StoppedByUser(Exception):
    """What a callback of these tests raises."""


def fail(*_: object) -> None:
    raise StoppedByUser


def test_an_error_in_a_callback_stops_with_a_checkpoint_and_the_command_line_goes_on(
    walkers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    train: Any = door.train_vq_vae

    def settings(name: str) -> dict[str, Any]:
        return {"data": walkers, "output_dir": tmp_path / name, **SMALL_VQ_VAE}

    calls: list[Any] = []
    whole = door.train_vq_vae(**settings("whole"), on_validation=calls.append, on_checkpoint=calls.append)
    steps = [call["images_seen"] if isinstance(call, dict) else call.name for call in calls]
    assert steps == [24, "images-000000024", 48, "images-000000048"]
    for callback in ("on_validation", "on_checkpoint"):
        with pytest.raises(StoppedByUser):
            train(**settings(callback), **{callback: fail})
        told = f"{callback} raised StoppedByUser; the training stopped with a checkpoint after 24"
        assert told in capsys.readouterr().err
        assert [folder.name for folder in (tmp_path / callback / CHECKPOINTS).iterdir()] == ["images-000000024"]
    flags = [f"--{name.replace('_', '-')}" for name in SMALL_VQ_VAE]
    values = [value if isinstance(value, tuple) else (value,) for value in SMALL_VQ_VAE.values()]
    words = [word for flag, several in zip(flags, values, strict=True) for word in (flag, *map(str, several))]
    folders = ["--data", str(walkers), "--output-dir", str(tmp_path / "on_validation")]
    cli.main(["train", "vq-vae", *words, *folders, "--resume-from-checkpoint", "latest"])
    weights = "vqvae/diffusion_pytorch_model.safetensors"
    assert (tmp_path / "on_validation" / weights).read_bytes() == (whole.output_dir / weights).read_bytes()
    resumed = door.train_vq_vae(**settings("on_checkpoint"), resume_from_checkpoint="latest")
    assert resumed.metrics == whole.metrics
    files = {path.relative_to(whole.output_dir) for path in whole.output_dir.rglob("*") if "logs" not in path.parts}
    by_command = tmp_path / "on_validation"
    assert files == {path.relative_to(by_command) for path in by_command.rglob("*") if "logs" not in path.parts}
    facts = [json.loads((folder / "facts.json").read_text()) for folder in (whole.output_dir, by_command)]
    assert facts[0] | {"seconds": 0} == facts[1] | {"seconds": 0}


def test_a_model_of_memory_is_held_to_its_images(walkers: Path, tmp_path: Path):
    given = in_memory(walkers)
    settings: dict[str, Any] = {"output_dir": tmp_path / "vq", **SMALL_VQ_VAE}
    with pytest.raises(StoppedByUser):
        door.train_vq_vae(data=given, **settings, on_validation=fail)
    with pytest.raises(door.UserError, match="a run resumes with the settings and data that it began with"):
        others = given.select(range(len(given) - 1, -1, -1))
        door.train_vq_vae(data=others, **settings, resume_from_checkpoint="latest")
    result = door.train_vq_vae(data=given, **settings, resume_from_checkpoint="latest")
    assert result.images_seen == 48 and type(result.load()).__name__ == "VQModel"


def test_callbacks_are_none_by_default():
    assert Callbacks() == NO_CALLBACKS
    assert inspect.signature(vq_vae.main).parameters["callbacks"].default is NO_CALLBACKS
    assert configure(ClassifierConfig, data="d", output_dir="o").data.data == "d"
