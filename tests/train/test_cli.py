import subprocess
import sys

import pytest

import echoform
from echoform_train import cli, commands
from echoform_train.engine.errors import UserError
from tiny_conv import tiny_conv_pipeline

HEAVY = ("torch", "diffusers", "transformers", "datasets", "accelerate", "huggingface_hub", "matplotlib", "pyarrow")
HEAVY += ("scipy.signal", "scipy.stats", "scipy.interpolate", "scipy.ndimage")


def run_light(lines: list[str]) -> list[tuple[int, str, str]]:
    """Run command lines, each in a process of its own; fails if one imports a module that takes long to import.

    Returns:
        For each line the exit status, stdout and stderr.
    """
    code = (
        "import sys; from echoform_train.cli import main\n"
        "try: main(sys.argv[1:])\n"
        f"finally: print('\\nHEAVY', [name for name in {HEAVY} if name in sys.modules], file=sys.stderr)\n"
    )
    ran = []
    for line in lines:
        done = subprocess.run([sys.executable, "-c", code, *line.split()], capture_output=True, text=True)
        err, _, heavy = done.stderr.rpartition("\nHEAVY ")
        assert heavy.strip() == "[]", (line, heavy)
        ran.append((done.returncode, done.stdout, err.strip()))
    return ran


def test_help_names_every_verb_and_stays_light():
    [(status, out, err)] = run_light(["--help"])
    assert (status, err) == (0, "")
    assert all(verb in out for verb in commands.VERBS)


def test_help_of_every_verb_imports_nothing_heavy():
    for status, out, err in run_light([f"{verb} --help" for verb in commands.VERBS]):
        assert (status, err) == (0, "")
        assert "--" in out


def test_a_missing_folder_is_told_before_anything_heavy_is_imported(tmp_path):
    lines = [
        f"prepare {tmp_path}/none",
        f"prepare-depth {tmp_path}/none",
        f"train vq-vae --data {tmp_path}/none --output-dir out",
        f"train kl-vae --data {tmp_path}/none --output-dir out",
        f"train ldm --data {tmp_path} --first-stage {tmp_path}/none --output-dir out",
        f"train depth-ae --data {tmp_path}/none --output-dir out",
        f"train conv-ae --data {tmp_path}/none --output-dir out",
        f"distill --pipeline {tmp_path}/none --output-dir out",
        f"augment {tmp_path}/none out",
        f"generate --pipeline {tmp_path}/none --output-dir out",
        f"generate --decoder-only --pipeline {tmp_path}/none --output-dir out",
        f"encode {tmp_path} --pipeline {tmp_path}/none",
        f"score generated --data {tmp_path}/none --split-file s.json --generated-dir {tmp_path}",
        f"score first-stage {tmp_path}/none --data {tmp_path}",
        f"push {tmp_path}/none user/model",
    ]
    for status, out, err in run_light(lines):
        assert (status, out) == (1, "")
        assert err.endswith(f": there is no folder {tmp_path}/none")


def test_wrong_flags_are_told_before_anything_heavy_is_imported():
    lines = [
        "generate --pipelin x --output-dir y",
        "train ldm --first-stage a --data b --output-dir c --seeds 3",
        "simulate x --users many",
    ]
    for status, _, err in run_light(lines):
        assert status == 2
        assert "--pipelin" in err or "--seeds" in err or "many" in err


def test_an_unknown_verb_names_the_one_that_looks_like_it():
    lines = ["quikstart --data x", "train ldn", "scroe generated", "walk", "train", "score --help", "--version"]
    typo, second, first, unlike, group, group_help, version = run_light(lines)
    assert typo[0] == second[0] == first[0] == unlike[0] == group[0] == 2
    assert typo[2].endswith("echoform: unknown verb quikstart, did you mean quickstart?")
    assert second[2].endswith("echoform: unknown verb train ldn, did you mean train ldm?")
    assert first[2].endswith("echoform: unknown verb scroe, did you mean score generated?")
    assert unlike[2].endswith("echoform: unknown verb walk")
    assert "train conv-ae" in group[2] and "score" not in group[2]
    assert group_help[0] == 0 and "score first-stage" in group_help[1] and "train" not in group_help[1].split()
    assert version == (0, f"echoform {echoform.__version__}\n", "")


@pytest.mark.parametrize("package", ["echoform", "echoform_train"])
def test_the_packages_run_as_the_program(package):
    done = subprocess.run([sys.executable, "-m", package, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"echoform {echoform.__version__}\n"


def test_importing_echoform_does_not_import_torch():
    code = "import sys, echoform; assert 'torch' not in sys.modules; assert 'VQLDMDopplerPipeline' in dir(echoform)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_verb_lists_the_known_ones_and_fails(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["trian"])
    assert end.value.code == 2
    assert "train vq-vae" in capsys.readouterr().err


@pytest.mark.parametrize("verb", commands.VERBS)
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
