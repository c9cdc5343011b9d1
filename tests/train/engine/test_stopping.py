"""SIGTERM and SIGUSR1 end a process in one sentence; a training writes a checkpoint and goes on to the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from echoform_train.engine import stopping
from echoform_train.engine.stopping import Stopped, StopRequest, ended_by_signals, stopped_by_signals

TRAIN = ["train", "vq-vae", "--resolution", "32", "--block-out-channels", "8", "16", "16", "--num-vq-embeddings", "16"]
TRAIN += ["--quantize-after", "64", "--max-train-images", "1600", "--train-batch-size", "8", "--lr-warmup-steps", "4"]
TRAIN += [
    "--mixed-precision",
    "no",
    "--validation-every",
    "400",
    "--checkpointing-every",
    "100000",
    "--report-to",
    "none",
]
TRAIN += ["--logging-every", "80", "--early-stopping-patience", "0"]

ENVIRONMENT = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}


def start(words: list[str], launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    command = [sys.executable, *launcher, "-m", "echoform_train.cli", *words]
    return subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a process has written a file."""
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def sentences(stderr: str) -> list[str]:
    """Lines of stderr that are no progress bar."""
    return [line for line in stderr.replace("\r", "\n").splitlines() if line.strip() and "image/s" not in line]


@pytest.fixture(scope="module")
def undisturbed(walkers, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "vq"
    process = start([*TRAIN, "--data", str(walkers), "--output-dir", str(folder)])
    process.communicate(timeout=300)
    assert process.returncode == 0
    return folder


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_a_training_writes_a_checkpoint_and_goes_on_to_the_same_bits(number, status, walkers, undisturbed, tmp_path):
    words = [*TRAIN, "--data", str(walkers), "--output-dir", str(tmp_path / "vq")]
    process = start(words)
    wait_for(tmp_path / "vq" / "log.jsonl", process)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == status
    assert "Traceback" not in stderr
    (sentence,) = sentences(stderr)
    (checkpoint,) = (tmp_path / "vq" / "checkpoints").iterdir()
    seen = int(checkpoint.name.removeprefix("images-"))
    assert 0 < seen < 1600
    assert f"stopped by {signal.Signals(number).name} with a checkpoint after {seen} images" in sentence
    again = start([*words, "--resume-from-checkpoint", "latest"])
    again.communicate(timeout=300)
    assert again.returncode == 0
    name = "vqvae/diffusion_pytorch_model.safetensors"
    before, after = load_file(undisturbed / name), load_file(tmp_path / "vq" / name)
    assert all(torch.equal(before[each], after[each]) for each in before)
    assert (tmp_path / "vq" / "log.jsonl").read_text() == (undisturbed / "log.jsonl").read_text()


def test_all_processes_stop_at_the_same_step_when_one_of_them_gets_the_signal(walkers, tmp_path):
    words = [*TRAIN, "--data", str(walkers), "--output-dir", str(tmp_path / "vq")]
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    process = start(words, launcher)
    wait_for(tmp_path / "vq" / "log.jsonl", process)
    shown = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(process.pid)], capture_output=True, text=True)
    workers = [int(line.split()[0]) for line in shown.stdout.splitlines() if "echoform_train.cli" in line]
    assert len(workers) == 2
    os.kill(max(workers), signal.SIGTERM)
    _, stderr = process.communicate(timeout=120)
    assert stderr.count("stopped by SIGTERM with a checkpoint after") == 1
    assert "exitcode  : 143" in stderr.replace("exitcode : ", "exitcode  : ")
    (checkpoint,) = (tmp_path / "vq" / "checkpoints").iterdir()
    assert (checkpoint / "state.json").is_file()


def test_a_command_without_checkpoints_ends_in_one_sentence_and_leaves_no_partial_file(tmp_path):
    process = start(["simulate", str(tmp_path / "out"), "--users", "40", "--workers", "1"])
    deadline = time.monotonic() + 120
    while not any(tmp_path.rglob("*.png")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.terminate()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143
    assert sentences(stderr)[-1] == "echoform simulate: stopped by SIGTERM"
    assert "Traceback" not in stderr
    assert [path for path in tmp_path.rglob("*") if "partial" in path.name] == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
@pytest.mark.parametrize("wait_s", [0.3, 1.5])
def test_a_signal_while_importing_ends_quietly(number, status, wait_s, tmp_path):
    code = (
        # Shells start background jobs with SIGINT ignored, and their children inherit that.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from echoform_train.cli import main; print('in', flush=True); "
        f"main(['generate', '--pipeline', {str(tmp_path)!r}, '--output-dir', 'unused'])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(wait_s)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == status
    assert len(sentences(stderr)) == 1
    assert "Traceback" not in stderr


def test_a_signal_is_deferred_and_only_a_late_second_one_ends_at_once(monkeypatch):
    request = StopRequest()
    with stopped_by_signals():
        request.begin()
        signal.raise_signal(signal.SIGTERM)
        assert request.number == signal.SIGTERM
        signal.raise_signal(signal.SIGTERM)  # of the launcher, at the same time
        now = time.monotonic()
        monkeypatch.setattr(stopping.time, "monotonic", lambda: now + stopping.REPEATED_AFTER_S + 1)
        with pytest.raises(Stopped) as stopped:
            signal.raise_signal(signal.SIGTERM)
        assert stopped.value.code == 143


def test_handlers_are_put_back():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    request = StopRequest()
    with ended_by_signals("name"), stopped_by_signals():
        request.begin()
        request.begin()
        request.end()
        with pytest.raises(Stopped):
            signal.raise_signal(signal.SIGUSR1)
    assert {number: signal.getsignal(number) for number in before} == before
