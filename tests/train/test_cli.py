import subprocess
import sys
import time

import pytest

from echoform_train import cli
from echoform_train.engine.errors import UserError
from tiny_conv import tiny_conv_pipeline


def test_help_names_every_verb_and_stays_light():
    code = (
        "import sys; from echoform_train.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'diffusers', 'datasets', 'matplotlib', 'transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    start = time.perf_counter()
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert time.perf_counter() - start < 10  # far above the second it takes: a busy machine is no failure
    assert all(verb in out for verb in cli.VERBS)


def test_importing_echoform_does_not_import_torch():
    code = "import sys, echoform; assert 'torch' not in sys.modules; assert 'VQLDMDopplerPipeline' in dir(echoform)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_verb_lists_the_known_ones_and_fails(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["trian"])
    assert end.value.code == 2
    assert "train vq-vae" in capsys.readouterr().err


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_explains_its_flags(verb, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([*verb.split(), "--help"])
    assert end.value.code == 0
    assert "--" in capsys.readouterr().out


def test_flags_override_the_preset_that_was_chosen():
    from echoform_train.trainers import ldm as train_ldm

    common = ["--first-stage", "a", "--data", "b", "--output-dir", "c"]
    plain = cli.parse(train_ldm, ["--preset", "256", *common], prog="x")
    changed = cli.parse(train_ldm, ["--preset", "256", *common, "--train-batch-size", "3"], prog="x")
    assert plain.run.train_batch_size == train_ldm.PRESETS["256"].run.train_batch_size != 3
    assert changed.run.train_batch_size == 3
    assert changed.block_out_channels == plain.block_out_channels


def test_a_users_error_is_one_sentence_and_status_1(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["generate", "--pipeline", str(tmp_path), "--output-dir", str(tmp_path / "out")])
    assert end.value.code == 1
    err = capsys.readouterr().err.strip()
    assert err.endswith("holds no model_index.json; is it an exported pipeline?")
    assert "Traceback" not in err


def test_a_fault_of_echoform_shows_its_traceback(tmp_path, monkeypatch):
    def fail(config):
        return int("a fault")

    from echoform_train.commands import generate

    monkeypatch.setattr(generate, "main", fail)
    with pytest.raises(ValueError, match="a fault"):
        cli.main(["generate", "--pipeline", str(tmp_path), "--output-dir", str(tmp_path / "out")])


def test_a_users_error_shows_its_traceback_on_request(tmp_path, monkeypatch):
    monkeypatch.setenv("ECHOFORM_TRACEBACK", "1")
    with pytest.raises(UserError):
        cli.main(["generate", "--pipeline", str(tmp_path), "--output-dir", str(tmp_path / "out")])


def test_a_damaged_model_is_named_in_one_sentence(tmp_path, capsys):
    tiny_conv_pipeline().save_pretrained(tmp_path / "damaged")
    weights = tmp_path / "damaged/autoencoder/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(SystemExit) as end:
        cli.main(["generate", "--decoder-only", "--pipeline", str(tmp_path / "damaged"), "--output-dir", "unused"])
    assert end.value.code == 1
    err = capsys.readouterr().err
    assert "\nechoform generate --decoder-only: " in f"\n{err}"
    assert str(weights) in err
    assert "Traceback" not in err


def test_settings_that_contradict_each_other_are_refused_in_one_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["augment", str(tmp_path), str(tmp_path / "out"), "--seeds", "0"])
    assert end.value.code == 1
    assert capsys.readouterr().err.startswith("echoform augment: --seeds must be at least 2")
