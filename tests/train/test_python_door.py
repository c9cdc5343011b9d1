"""`from echoform_train import ...`: every command as a settings class and a function that returns its result."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest

import echoform_train as door
from echoform_train import cli


def test_every_command_has_its_function_and_its_settings():
    functions = {re.sub(r"\W+", "_", verb): module for verb, (module, _) in cli.VERBS.items()}
    assert {function: module for function, (_, module) in door._COMMANDS.items()} == functions


def test_every_name_leads_to_what_it_says_and_type_checkers_see_the_same():
    for function, (settings, _) in door._COMMANDS.items():
        called = getattr(door, function)
        config_class = getattr(door, settings)
        # The type of the result may be that of a module which is imported only when the function runs.
        annotations = [parameter.annotation for parameter in inspect.signature(called).parameters.values()]
        assert [eval(annotation, called.__globals__) for annotation in annotations] == [config_class], function
        assert dataclasses.is_dataclass(config_class)
    assert set(door.__all__) <= set(dir(door))
    assert all(getattr(door, name) for name in door.__all__)
    tree = ast.parse(Path(door.__file__).read_text())
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname or alias.name: (str(statement.module).removeprefix("echoform_train."), alias.name)
        for statement in checked.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert seen == door._HOMES


def test_a_name_that_is_not_there_is_told_with_those_that_are():
    with pytest.raises(AttributeError, match=r"no attribute 'train_gan'; it exports .*train_ldm"):
        _ = door.train_gan  # pyright: ignore[reportAttributeAccessIssue]


def test_importing_the_package_imports_nothing_else():
    code = (
        "import sys, echoform_train\n"
        "assert 'LDMConfig' in dir(echoform_train)\n"
        "heavy = {'torch', 'diffusers', 'datasets', 'tyro', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_example_of_the_package_uses_names_and_settings_that_exist():
    example = textwrap.dedent("\n".join(re.findall(r"^(?: {4}.*)?$", str(door.__doc__), flags=re.MULTILINE))).strip()
    imports, calls = example.split("\n\n", maxsplit=1)
    names: dict[str, object] = {}
    exec(imports, names)
    result = SimpleNamespace(output_dir=Path("out"), exported=Path("out"), folder=Path("images"), summary=str)
    commands = {name: lambda config: result for name in names if name in door._COMMANDS}
    exec(calls, names | commands)
    assert len(commands) == 5


def test_a_notebook_simulates_trains_generates_and_scores(tmp_path):
    configure = door.configure
    walkers = door.simulate(
        configure(
            door.SimulateConfig,
            output_dir=tmp_path / "walkers",
            users=2,
            recordings_per_user=8,
            recording_s=8.0,
            resolution=32,
            workers=1,
        )
    )
    prepared = configure(door.PrepareConfig, data=walkers, save_split=tmp_path / "split.json")
    door.prepare(prepared)
    run = {"max_train_images": 96, "train_batch_size": 8, "lr_warmup_steps": 2, "report_to": "none"}
    vq_vae = door.train_vq_vae(
        configure(
            door.VQVAEConfig,
            data=walkers,
            split_file=tmp_path / "split.json",
            output_dir=tmp_path / "vq",
            block_out_channels=(8, 16, 16),
            num_vq_embeddings=16,
            quantize_after=32,
            **run,
        )
    )
    assert isinstance(vq_vae, door.TrainingResult)
    assert vq_vae.images_seen == 96 and vq_vae.exported == vq_vae.output_dir == tmp_path / "vq"
    assert vq_vae.facts == json.loads((tmp_path / "vq" / "facts.json").read_text())
    ldm = door.train_ldm(
        configure(
            door.LDMConfig,
            data=walkers,
            first_stage=vq_vae.output_dir,
            output_dir=tmp_path / "ldm",
            block_out_channels=(16, 32),
            attention_types=("window", "axial"),
            num_attention_heads=4,
            window_size=4,
            **run,
        )
    )
    assert ldm.validation["loss"] > 0 and ldm.exported == tmp_path / "ldm" / "pipeline"
    assert ldm.summary().startswith("best after 96 images: loss ")
    generated = door.generate(
        configure(door.GenerateConfig, pipeline=ldm.exported, output_dir=tmp_path / "generated", num_images=16)
    )
    assert len(generated.rows) == 32
    scores = door.score_generated(
        configure(
            door.ScoreGeneratedConfig,
            data=walkers,
            split_file=tmp_path / "split.json",
            generated_dir=[generated.folder],
            judge_seeds=(0,),
            judge_train_images=640,
        )
    )
    written = json.loads((generated.folder / "scores.json").read_text())
    assert {name: written[name] for name in scores} == scores
