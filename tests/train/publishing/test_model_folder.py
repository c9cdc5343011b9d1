"""Whole models pass the check of their folder, and what a push copies, downloads and reads is bounded."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Literal, TypedDict

import pytest
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)

from echoform import VQLDMDopplerPipeline
from echoform.hub import NotPushableError, PushError, files_to_upload
from echoform.transformers_depth_encoder import save_for_transformers
from echoform_train.engine.errors import UserError
from echoform_train.publishing.copy_model import copy_model
from echoform_train.publishing.exported import load_pipeline
from echoform_train.publishing.model_folder import check_model
from echoform_train.publishing.records import check_record
from echoform_train.publishing.scheduler_trial import try_scheduler
from echoform_train.publishing.snapshot import MOST_BYTES, MOST_FILES, check_size
from hostile.models import copied, edited, made
from hub_server import Hub
from tiny_depth import tiny_depth_pipeline


@pytest.mark.parametrize("model", ["doppler", "depth", "conv", "stage/vqvae"])
def test_a_whole_model_passes_the_check(model: str) -> None:
    check_model(made() / model)


def test_an_encoder_passes_the_check_in_both_formats(tmp_path: Path) -> None:
    encoder = tiny_depth_pipeline().autoencoder.encoder
    encoder.register_to_config(depth_range_mm={"min": 300.0, "max": 5000.0}, units_per_mm=1.0)
    encoder.save_pretrained(tmp_path / "diffusers")
    save_for_transformers(encoder, tmp_path / "transformers")
    check_model(tmp_path / "diffusers")
    check_model(tmp_path / "transformers")


def test_sharded_weights_pass_the_check_until_one_shard_is_of_another_model(tmp_path: Path) -> None:
    pipeline = VQLDMDopplerPipeline.from_pretrained(made() / "doppler")
    folder = copied("doppler", tmp_path)
    shutil.rmtree(folder / "unet")
    pipeline.unet.save_pretrained(folder / "unet", max_shard_size="20KB")
    shards = sorted((folder / "unet").glob("*.safetensors"))
    assert len(shards) > 1
    check_model(folder)
    shutil.copyfile(shards[0], shards[1])
    with pytest.raises(UserError, match=r"holds .*, which .* holds too"):
        check_model(folder)


SCHEDULERS = [
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("steps", [5, 8, 50])
def test_the_schedulers_of_diffusers_pass_their_trial(scheduler: type, steps: int) -> None:
    try_scheduler(scheduler(prediction_type="v_prediction"), steps, "a pipeline")


def test_code_of_an_earlier_version_is_neither_pushed_nor_left_in_a_copy(tmp_path: Path) -> None:
    folder = copied("doppler", tmp_path)
    named = next(folder.glob("pipeline_*.py")).name
    for name in ("pipeline_vq_ldm_doppler_00000000.py", "pipeline_vq_ldm_doppler.py", "unet/unet_doppler_00000000.py"):
        (folder / name).write_text("class Old: ...\n")
    code = [path.as_posix() for path in files_to_upload(folder) if path.suffix == ".py"]
    assert [named] == [path for path in code if "/" not in path]
    assert len(code) == 2
    copy_model(made() / "doppler", folder, keep=("README.md",))
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.py")) == sorted(code)


def test_what_must_not_be_pushed_is_told_as_the_program_tells_it(tmp_path: Path) -> None:
    folder = copied("doppler", tmp_path)
    (folder / "model_index.json").write_text("[")
    with pytest.raises(NotPushableError, match="must be JSON"):
        files_to_upload(folder)
    assert issubclass(NotPushableError, PushError)  # which the program prints as one sentence
    edited("vqvae/config.json", auto_map=[1])(shutil.copytree(made() / "doppler", tmp_path / "other"))
    with pytest.raises(NotPushableError, match="must be mappings"):
        files_to_upload(tmp_path / "other")


def test_a_repository_of_too_many_files_or_bytes_is_refused_before_the_download() -> None:
    check_size("a/b", [SimpleNamespace(size=MOST_BYTES // 2)] * 2)
    with pytest.raises(UserError, match="a/b: a model must have at most 32 GiB, it has 48 GiB"):
        check_size("a/b", [SimpleNamespace(size=MOST_BYTES // 2)] * 3)
    with pytest.raises(UserError, match=f"at most {MOST_FILES} files, it has {MOST_FILES + 1}"):
        check_size("a/b", [SimpleNamespace(size=None)] * (MOST_FILES + 1))


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (401, "may not read it (the Hub answered 401)"),
        (403, "may not read it (the Hub answered 403)"),
        (404, "may not read it (the Hub answered 404)"),
        (500, "the Hub answered 500"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(hub: Hub, status: int, sentence: str) -> None:
    hub.fail("/api/models/", times=99, message="no", status=status)
    with pytest.raises(FileNotFoundError) as refused:
        load_pipeline("somebody/model", VQLDMDopplerPipeline)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


class Inner(TypedDict):
    share: float
    names: list[str]


class Outer(TypedDict, total=False):
    inner: dict[str, Inner]
    kind: Literal["a", "b"]
    count: int | None


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ([], "x must be a table"),
        ({"inner": {"k": {"share": 1}}}, "k in inner in x must have names"),
        ({"inner": {"k": {"share": True, "names": []}}}, "share in k in inner in x must be a number, got true"),
        ({"inner": {"k": {"share": 1, "names": [1]}}}, "entry 0 in names in k in inner in x must be a text, got 1"),
        ({"kind": "c"}, 'kind in x must be among a, b, got "c"'),
        ({"count": "1"}, "count in x must be a whole number"),
        ({"count": True}, "count in x must be a whole number"),
    ],
)
def test_a_record_that_is_not_of_its_type_is_told_by_the_name_of_its_entry(value: object, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        check_record(value, Outer, "x")


def test_a_record_of_its_type_may_have_further_entries_and_none_where_that_is_allowed() -> None:
    check_record({"count": None, "kind": "a", "more": [], "inner": {"k": {"share": 1, "names": ["n"]}}}, Outer, "x")
