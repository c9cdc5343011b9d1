"""Pipelines that cannot be shown: each gets one sentence before anything is served."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
SCHEDULER = "scheduler/scheduler_config.json"


def edited(name: str, **changed: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | changed))

    return edit


def replaced(name: str, content: bytes) -> Callable[[Path], None]:
    def replace(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return replace


def removed(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def fifo(folder: Path) -> None:
    (folder / "unet/config.json").unlink()
    os.mkfifo(folder / "unet/config.json")


def not_finite(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    next(iter(weights.values())).fill_(float("nan"))
    save_file(weights, folder / WEIGHTS)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (removed("model_index.json"), "holds no model_index.json; is it an exported pipeline"),
        (removed(WEIGHTS), "cannot be used as a pipeline: .*no file named .*safetensors"),
        (replaced(WEIGHTS, b""), "cannot be used as a pipeline: "),
        (replaced(WEIGHTS, (10**15).to_bytes(8, "little") + b"{}"), "cannot be used as a pipeline: "),
        (not_finite, "cannot be used as a pipeline: .*finite|weights of unet of .* must be finite"),
        (replaced("unet/config.json", b"hello"), "config.json must hold one JSON object"),
        (replaced("unet/config.json", b"[" * 100_000), "config.json must hold one JSON object"),
        (replaced("model_index.json", b"{}"), "cannot be used as a pipeline: "),
        (
            edited("unet/config.json", num_users=10**12),
            "whole numbers in .* must be at most 1,000,000, got 1000000000000",
        ),
        (edited("unet/config.json", sample_size=10**6), "sample_size|cannot be used as a pipeline"),
        (edited("unet/config.json", layers_per_block=10**5), "may have at most 64 of layers_per_block, got 100000"),
        (edited(SCHEDULER, num_train_timesteps=10**10), "whole numbers in .* must be at most 1,000,000"),
        (edited(SCHEDULER, beta_start=float("nan")), "must hold one JSON object without NaN"),
        (edited("model_index.json", num_inference_steps=10**9), "num_inference_steps|cannot be used as a pipeline"),
        (edited("model_index.json", axes={"db_min": 5, "db_max": 5}), "axes|db_min"),
        (edited("model_index.json", unet=["diffusers", "Nothing"]), "cannot be used as a pipeline: "),
        (fifo, "config.json must be an ordinary file"),
    ],
)
def test_a_damaged_pipeline_gets_one_sentence(
    module: Any,
    doppler_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], None],
    sentence: str,
):
    folder = tmp_path / "walkers"
    shutil.copytree(doppler_folder, folder)
    damage(folder)
    monkeypatch.setenv("ECHOFORM_DOPPLER_REPO", str(folder))
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    with pytest.raises(ValueError, match=sentence) as told:
        module("loading").load("doppler")
    assert "\n" not in str(told.value) and str(folder) in str(told.value)


def test_a_pipeline_of_another_kind_or_none_gets_one_sentence(
    module: Any, depth_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    load = module("loading").load
    (tmp_path / "file").write_text("x")
    for repo, sentence in (
        (depth_folder, "is no doppler pipeline, but a DepthAutoencoderPipeline, which has no vqvae"),
        (tmp_path, "holds no model_index.json"),
        (tmp_path / "file", "is a file; a pipeline is a folder or an id of the Hub"),
        (tmp_path / "nothing", "there is no folder"),
    ):
        monkeypatch.setenv("ECHOFORM_DOPPLER_REPO", str(repo))
        load.cache_clear()
        with pytest.raises(ValueError, match=sentence):
            load("doppler")


def test_the_app_ends_with_the_sentence_and_status_1(stranger: dict[str, str], tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "app.py"],
        cwd=Path(__file__).parents[2] / "space_app",
        env=stranger | {"ECHOFORM_DOPPLER_REPO": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.endswith(f"echoform space: {tmp_path} holds no model_index.json; is it an exported pipeline?\n")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_echoform_space_ends_its_server_and_leaves_nothing(
    number: signal.Signals, status: int, doppler_folder: Path, tmp_path: Path
):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"GRADIO_TEMP_DIR": str(tmp_path / "files"), "GRADIO_ANALYTICS_ENABLED": "False"}
    command = [sys.executable, "-c", "from echoform_train.cli import main; main()", "space"]
    process = subprocess.Popen(
        [*command, "--doppler", str(doppler_folder), "--port", str(port)],
        env=os.environ | settings,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    deadline = time.monotonic() + 240
    while not is_open(port):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    sent = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == status and time.monotonic() - sent < 10
    assert errors.rstrip().endswith(f"echoform space: ended by {number.name}") and "Traceback" not in errors
    assert not is_open(port) and not list((tmp_path / "files").glob("echoform-space-*"))


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
