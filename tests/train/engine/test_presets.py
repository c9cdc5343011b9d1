from dataclasses import replace
from pathlib import Path

import pytest

from echoform_train import cli
from echoform_train.commands import score_generated
from echoform_train.data.config import DataConfig
from echoform_train.engine.config import RunConfig
from echoform_train.engine.presets import configure, presets
from echoform_train.radar.simulation_config import SimulationConfig
from echoform_train.trainers import ldm


def test_settings_by_name_are_those_of_the_flags():
    flags = ["--preset", "256", "--first-stage", "a", "--data", "b", "--output-dir", "c"]
    flags += ["--max-train-images", "7", "--block-out-channels", "8", "16"]
    from_flags = cli.parse(ldm, flags, prog="x")
    from_names = configure(
        ldm.Config, "256", first_stage="a", data="b", output_dir="c", max_train_images=7, block_out_channels=[8, 16]
    )
    assert from_names == from_flags
    assert from_names.run.output_dir == Path("c") and from_names.preset == "256"


def test_a_command_without_presets_is_configured_from_its_defaults():
    assert configure(SimulationConfig, output_dir="x", users=2) == SimulationConfig(output_dir=Path("x"), users=2)
    assert presets(SimulationConfig) == {}
    scores = configure(score_generated.Config, data="d", split_file="s", generated_dir=["a", "b"])
    assert scores.generated_dir == (Path("a"), Path("b")) and scores.data == "d"


def test_presets_are_complete_but_for_what_a_user_chooses():
    preset = presets(ldm.Config)["cpu"]
    chosen = replace(
        preset, first_stage=Path("a"), data=DataConfig(data="b"), run=replace(preset.run, output_dir=Path("c"))
    )
    assert chosen == configure(ldm.Config, first_stage="a", data="b", output_dir="c")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "gpu"}, "preset must be one of cpu, 6gb, 16gb, 256, paper, got gpu"),
        ({"batch_size": 3, "data": "b"}, "there is no setting batch_size, did you mean train_batch_size\\?$"),
        ({"data": "b"}, "must be given: first_stage, output_dir$"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        configure(ldm.Config, **settings)


def test_a_setting_of_several_values_needs_a_list():
    with pytest.raises(ValueError, match="generated_dir takes several values, as a list or a tuple, got 'a'"):
        configure(score_generated.Config, data="d", split_file="s", generated_dir="a")


def test_a_settings_class_that_is_no_command_needs_every_setting_without_a_default():
    assert configure(RunConfig, output_dir="x") == RunConfig(output_dir=Path("x"))
    with pytest.raises(ValueError, match="must be given: output_dir"):
        configure(RunConfig)
