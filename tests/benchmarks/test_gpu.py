"""benchmarks/gpu.py at toy size on the CPU: all parts, interruption, going on, and what its tables say."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from doc_pages import ROOT


@pytest.fixture(scope="module")
def gpu() -> Any:
    """The script as a module, which finds those beside it, on a CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        patch.setenv("ACCELERATE_USE_CPU", "true")
        yield import_module("gpu")


@pytest.fixture(scope="module")
def toy(gpu: ModuleType, tmp_path_factory) -> Any:
    """Settings of some seconds on one core."""
    folder = tmp_path_factory.mktemp("gpu")
    return gpu.Config(
        output=folder / "gpu.json",
        work_dir=folder / "work",
        device="cpu",
        threads=1,
        budget_s=10_000,
        preset="cpu",
        resolution=32,
        users=4,
        recordings_per_user=4,
        recording_s=6.0,
        workers=1,
        batch_sizes=(2, 3),
        steps=2,
        repeats=1,
        compiled=False,
        trial_steps=2,
        stage_s=0.1,
        first_stage_images=16,
        denoiser_images=16,
        judge_images=64,
        memory_presets=("cpu",),
        depth_resolution=32,
        depth_batch_sizes=(2,),
        depth_rooms=4,
        depth_images=16,
        depth_s=0.1,
    )


def written(config: Any) -> dict[str, Any]:
    return json.loads(config.output.read_text())


def part(gpu: ModuleType, name: str, run: Any, **settings: Any) -> Any:
    return gpu.Part(name=name, run=run, **({"usual_s": 1, "settings": ("device", "steps")} | settings))


@pytest.fixture
def own(toy: Any, tmp_path: Path) -> Any:
    """The same settings with folders of the test's own."""
    return replace(toy, output=tmp_path / "gpu.json", work_dir=tmp_path / "work")


@pytest.fixture
def faked(gpu: ModuleType, own: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the script with other parts and the settings `own`; returns its exit status."""

    def run(*parts: Any, **settings: Any) -> int:
        monkeypatch.setattr(gpu, "all_parts", lambda _: list(parts))
        return gpu.main(replace(own, **settings))

    return run


@pytest.fixture(scope="module")
def whole(gpu: ModuleType, toy: Any) -> dict[str, Any]:
    """What a whole toy run wrote."""
    assert gpu.main(toy) == 0
    return written(toy)


def test_every_part_is_written_with_its_commit_settings_and_time(gpu: ModuleType, toy: Any, whole: dict[str, Any]):
    assert list(whole["parts"]) == [one.name for one in gpu.all_parts(toy)]
    for record in whole["parts"].values():
        assert record["commit"] and record["settings"]["device"] == "cpu" and record["seconds"] > 0
        assert "error" not in record
    assert {"torch", "diffusers", "accelerate", "tyro"} <= set(whole["imports"])
    assert str(toy.output.parent) not in toy.output.read_text()


def test_trained_models_are_those_that_the_records_tell_of(toy: Any, whole: dict[str, Any]):
    for name, folder in (("first stage", "first-stage"), ("denoiser", "denoiser")):
        facts = json.loads((toy.work_dir / folder / "facts.json").read_text())
        record = whole["parts"][f"training of the {name}"]
        assert record["validation"] == facts["validation"] and record["images_seen"] == facts["images_seen"] == 96
    # A fifth of the walks of four people, of four windows each, is generated in place of those held out.
    assert whole["parts"]["generated images, judged"]["generated_images"] == 4 * 4
    assert 0 <= whole["parts"]["generated images, judged"]["scores"]["gan_test"]["mean"] <= 1


def test_share_of_the_peak_is_that_of_the_operations_in_a_second(whole: dict[str, Any]):
    record, peak = whole["parts"]["generation, batches of 3"], whole["parts"]["matrix products"]["tflop_per_s"]
    share = record["networks_images_per_s"] * record["tflop_per_image"] / peak
    row = whole["tables"]["generation"]["rows"][1]
    assert row[0] == "3 at once" and row[3] == ["{:.0f} %", pytest.approx(100 * share)]
    assert row[4:] == ["not measured"] * 3  # compiled


def test_a_finished_run_measures_nothing_again(gpu: ModuleType, toy: Any, whole: dict[str, Any]):
    before = toy.output.read_bytes()
    assert gpu.Ledger(toy).missing(gpu.all_parts(toy)) == []
    assert gpu.main(toy) == 0
    assert toy.output.read_bytes() == before


def test_lost_models_are_trained_again_only_where_a_missing_part_needs_them(gpu: ModuleType, toy: Any, whole: Any):
    moved = replace(toy, work_dir=toy.work_dir.with_name("elsewhere"))
    assert gpu.Ledger(moved).missing(gpu.all_parts(moved)) == []
    other = replace(moved, judge_images=65)
    names = [one.name for one in gpu.Ledger(other).missing(gpu.all_parts(other))]
    assert names == ["training of the first stage", "training of the denoiser", "generated images, judged"]


def test_an_interrupted_run_goes_on_with_what_is_missing(gpu: ModuleType, faked: Any, own: Any):
    calls: list[str] = []

    def interrupted() -> dict[str, Any]:
        raise KeyboardInterrupt

    first = part(gpu, "first", lambda: calls.append("first") or {"value": 1})
    with pytest.raises(KeyboardInterrupt):
        faked(first, part(gpu, "second", interrupted))
    facts = written(own)
    assert list(facts["parts"]) == ["first"]

    # The record keeps the commit that measured it.
    facts["parts"]["first"]["commit"] = "0123456789ab"
    own.output.write_text(json.dumps(facts))
    assert faked(first, part(gpu, "second", lambda: {"value": 2})) == 0
    parts = written(own)["parts"]
    assert calls == ["first"]
    assert [(name, one["value"]) for name, one in parts.items()] == [("first", 1), ("second", 2)]
    assert parts["first"]["commit"] == "0123456789ab" != parts["second"]["commit"]


def test_a_part_that_fails_does_not_keep_the_others_from_being_measured(gpu: ModuleType, faked: Any, own: Any):
    def failing() -> dict[str, Any]:
        raise RuntimeError("no kernel")

    assert faked(part(gpu, "first", failing), part(gpu, "second", lambda: {"value": 2})) == 1
    parts = written(own)["parts"]
    assert parts["first"]["error"] == "RuntimeError: no kernel" and parts["second"]["value"] == 2
    # It is tried again.
    assert faked(part(gpu, "first", lambda: {"value": 1})) == 0
    assert written(own)["parts"]["first"]["value"] == 1


def test_a_part_that_does_not_fit_into_the_budget_is_left_and_a_shorter_one_is_not(
    gpu: ModuleType, faked: Any, own: Any, capsys
):
    long, short = part(gpu, "long", dict, usual_s=100), part(gpu, "short", lambda: {"value": 1}, usual_s=5)
    assert faked(long, short, budget_s=50) == 0
    assert list(written(own)["parts"]) == ["short"]
    assert "long: left for the next run; it takes up to 100 s" in capsys.readouterr().out


def test_numbers_of_other_settings_or_of_another_device_are_measured_again(gpu: ModuleType, faked: Any, own: Any):
    one = part(gpu, "one", lambda: {"value": 1})
    faked(one)
    assert gpu.Ledger(own).missing([one]) == []
    assert gpu.Ledger(replace(own, users=9)).missing([one]) == []  # not a setting of this part
    assert gpu.Ledger(replace(own, steps=9)).missing([one]) == [one]
    facts = written(own)
    facts["parts"]["one"]["device"] = "another GPU"
    own.output.write_text(json.dumps(facts))
    assert gpu.Ledger(own).missing([one]) == [one]


def test_tables_without_a_measurement_say_so_in_every_cell(gpu: ModuleType, faked: Any, own: Any):
    assert faked() == 0
    facts = written(own)
    assert facts["origin"].startswith("not measured")
    for name, table in facts["tables"].items():
        cells = [cell for row in table["rows"] for cell in row[1:]]
        assert cells and set(cells) == {"not measured"}, name
        assert all(len(row) == len(table["columns"]) for row in table["rows"])


def test_memory_that_does_not_suffice_is_a_result(gpu: ModuleType, faked: Any, own: Any):
    import torch

    def too_large() -> dict[str, Any]:
        raise torch.OutOfMemoryError("of 80 GiB")

    assert faked(part(gpu, "generation, batches of 2", too_large)) == 0
    row = written(own)["tables"]["generation"]["rows"][0]
    assert row[1:4] == ["out of memory"] * 3
