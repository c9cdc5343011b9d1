import re
from importlib import import_module

import pytest

from echoform_train import cli, commands
from echoform_train.engine.flag_help import parse_flags

MODULES = {verb: commands.SETTINGS.get(module, module) for verb, (module, _) in commands.VERBS.items()}


def help_of(verb: str, capsys: pytest.CaptureFixture[str]) -> str:
    settings = import_module(f"echoform_train.{MODULES[verb]}")
    with pytest.raises(SystemExit):
        cli.parse(settings, ["--help"], prog=f"echoform {verb}")
    return capsys.readouterr().out


@pytest.mark.parametrize("verb", commands.VERBS)
def test_help_shows_words_for_values_and_no_default_that_is_none(verb, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    shown = help_of(verb, capsys)
    assert not re.search(r"\bSTR\b|\bPATH\b|\{None|default: (None)?\)", shown)


def test_arguments_are_called_after_what_they_name(capsys):
    assert "echoform push [-h] [OPTIONS] FOLDER REPO" in help_of("push", capsys)
    assert "echoform prepare [-h] [OPTIONS] DATA" in help_of("prepare", capsys)
    assert "echoform augment [-h] [OPTIONS] DATA OUT" in help_of("augment", capsys)
    assert "--push-to-hub REPO" in help_of("prepare-depth", capsys)


def test_the_help_of_a_setting_flows_over_the_line_breaks_of_its_source(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = [line.strip("│ \n") for line in help_of("space", capsys).splitlines()]
    words = " ".join(" ".join(lines).split())
    assert "output folder of `echoform train classifier`. Default: the variable ECHOFORM_CLASSIFIER_REPO" in words
    assert "the" not in lines


def test_words_of_the_help_change_no_value():
    from echoform_train.commands import generate, prepare

    config = parse_flags(
        generate.Config,
        ["--pipeline", "p", "--output-dir", "o", "--users", "ID_1", "ID_2", "--guidance-scale", "2", "--grid"],
        "x",
    )
    expected = generate.Config(pipeline="p", output_dir=config.output_dir, users=("ID_1", "ID_2"))
    assert (config.users, config.guidance_scale, config.grid) == (expected.users, 2.0, True)
    assert config.num_inference_steps is None and config.seed == 0
    # None may still be typed, and a text of two words stays two.
    assert parse_flags(prepare.Config, ["d", "--window-s", "None"], "x").window_s is None
    assert parse_flags(prepare.Config, ["d", "--resolution", "64x128"], "x").resolution == "64x128"


def test_a_preset_keeps_its_values_under_the_words_of_the_help():
    from echoform_train.latent_diffusion.ldm_config import PRESETS

    flags = ["--preset", "paper", "--first-stage", "f", "--data", "d", "--output-dir", "o"]
    config = cli.parse(import_module("echoform_train.latent_diffusion.ldm_config"), flags, prog="x")
    assert config.block_out_channels == PRESETS["paper"].block_out_channels
    assert config.run.train_batch_size == PRESETS["paper"].run.train_batch_size
