"""The Space as a visitor meets it: its own process, no echoform, pipelines that it loads from the tests' Hub."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, VQModel
from gradio_client import Client
from huggingface_hub import snapshot_download
from matplotlib import colormaps

from echoform import DopplerUNet2DModel, VQLDMDopplerPipeline
from echoform.hub import push_folder
from echoform.spectrogram_classifier import (
    SpectrogramClassifier,
    SpectrogramClassifierConfig,
    SpectrogramImageProcessor,
)
from echoform_cards.model_card import render_model_card
from echoform_train.commands.space import push_space
from hub_server import Hub
from tiny_depth import tiny_depth_pipeline
from tiny_doppler import user_folder

SPACE = Path(__file__).parents[2] / "space_app"
START_S = 240
PROCESSES: dict[str, int] = {}
"""Process id of each running app, by its address."""
# What `pip uninstall echoform` would leave behind, and a machine whose network ends at itself, for the app alone.
STRANGER = """\
import importlib.util, os, socket, sys

ours = ("echoform", "echoform_train/cli.py", "echoform_cards")
sys.path[:] = [folder for folder in sys.path if not any(os.path.exists(os.path.join(folder, one)) for one in ours)]
assert importlib.util.find_spec("echoform") is None
connect = socket.socket.connect

def connect_at_home(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        print("left loopback:", address, file=sys.stderr, flush=True)
        raise ConnectionRefusedError(address)
    return connect(self, address)

socket.socket.connect = connect_at_home
"""
AUGMENTATION: Any = {
    "verdict": "helps",
    "sentence": "Generated images help: +3.0 points.",
    "over": "5 seeds",
    "rows": [
        {"images_a_user": size, "real": real, "classical": real + 0.1, "generated": real + 0.05, "both": real + 0.13}
        | {"difference": 0.03, "low": 0.01, "high": 0.05}
        for size, real in (("5", 0.4), ("20", 0.6), ("all", 0.8))
    ],
}


@pytest.fixture(scope="session")
def table() -> np.ndarray:
    """The colours of the tiny model, uint8 [256, 3]."""
    return (np.asarray(colormaps["jet"](range(256)))[:, :3] * 255).round().astype(np.uint8)


@pytest.fixture(scope="session")
def doppler_folder(tmp_path_factory: pytest.TempPathFactory, table: np.ndarray) -> Path:
    """A tiny untrained pipeline, 16x16 pictures of three people in two conditions, with a card of made-up numbers."""
    torch.manual_seed(0)
    vqvae = VQModel(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        block_out_channels=(8, 8),
        latent_channels=4,
        num_vq_embeddings=16,
        vq_embed_dim=4,
        norm_num_groups=4,
    )
    unet = DopplerUNet2DModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        attention_types=("window", "axial"),
        window_size=4,
        num_attention_heads=2,
        norm_num_groups=4,
        num_users=3,
        conditions={"condition": 2},
    )
    pipe = VQLDMDopplerPipeline(
        vqvae=vqvae,
        unet=unet,
        scheduler=DPMSolverMultistepScheduler(prediction_type="v_prediction", timestep_spacing="trailing"),
        id2label={"0": "ID_1", "1": "ID_2", "2": "ID_10"},
        condition_labels={"condition": {"0": "normal", "1": "backpack"}},
        latent_mean={str(channel): 0.0 for channel in range(4)},
        latent_std={str(channel): 1.0 for channel in range(4)},
        colormap={"name": "jet", "rgb_hex": table.tobytes().hex()},
        axes={
            "window_s": 3.0,
            "hop_s": 1.0,
            "doppler_min_hz": -2000.0,
            "doppler_max_hz": 2000.0,
            "db_min": -60.0,
            "db_max": 0.0,
            "carrier_hz": 7.7e10,
        },
    )
    folder = tmp_path_factory.mktemp("doppler") / "walkers"
    pipe.save_pretrained(folder)
    facts = {"card": {"augmentation": AUGMENTATION}, "data": {"images_per_user": {"ID_1": 61, "ID_2": 7}}}
    (folder / "facts.json").write_text(json.dumps(facts))
    card = render_model_card({"name": "Walkers", "users": ["ID_1", "ID_2", "ID_10"], "augmentation": AUGMENTATION})
    (folder / "README.md").write_text(card, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def depth_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny untrained depth pipeline: 32x32 pixels to 16 numbers, 300 to 5000 mm."""
    folder = tmp_path_factory.mktemp("depth") / "rooms"
    tiny_depth_pipeline().save_pretrained(folder)
    (folder / "README.md").write_text("---\nlibrary_name: diffusers\n---\n# Rooms\n")
    return folder


@pytest.fixture(scope="session")
def classifier_folder(tmp_path_factory: pytest.TempPathFactory, table: np.ndarray) -> Path:
    """A tiny untrained classifier of three people and nobody, of 16x16 pictures in the colours of the tiny model."""
    torch.manual_seed(0)
    labels = {0: "ID_1", 1: "ID_2", 2: "ID_10", 3: "nobody"}
    config = SpectrogramClassifierConfig(
        width=4,
        num_features=8,
        nobody_threshold=3.0,
        id2label=labels,
        label2id={name: id for id, name in labels.items()},
    )
    folder = tmp_path_factory.mktemp("classifier") / "who"
    SpectrogramClassifier(config).eval().save_pretrained(folder)
    colors = table.tobytes().hex()
    processor = SpectrogramImageProcessor(height=16, width=16, colormap="jet", colors=colors, native_size=[16, 16])
    processor.save_pretrained(folder)
    scores = {"accuracy": {"mean": 0.925, "low": 0.88, "high": 0.96}, "ece": {"mean": 0.031}}
    (folder / "facts.json").write_text(json.dumps({"card": {"scores": scores}}))
    (folder / "README.md").write_text("---\nlibrary_name: transformers\n---\n# Who walks?\n")
    return folder


@pytest.fixture(scope="session")
def user_folders(doppler_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two users that were added to the tiny pipeline; the first tells how many images it was learned from."""
    folder, pipe = tmp_path_factory.mktemp("users"), VQLDMDopplerPipeline.from_pretrained(doppler_folder)
    added = [user_folder(folder / name, pipe, name, _class_name="DopplerUser") for name in ("ID_32", "Анна")]
    (added[0] / "facts.json").write_text(json.dumps({"data": {"images_per_user": {"ID_32": 20}}}))
    return added


@pytest.fixture(scope="session")
def users_on_the_hub(hub_of_the_session: Hub, user_folders: list[Path]) -> list[str]:
    """Ids of the added users on the tests' Hub."""
    names = [hub_of_the_session.repo_id(name) for name in ("id_32", "anna")]
    for name, folder in zip(names, user_folders, strict=True):
        push_folder(folder, name)
    return names


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment of a machine that has neither echoform nor anything cached, nor a network beyond the tests' Hub."""
    home = tmp_path_factory.mktemp("stranger")
    (home / "sitecustomize.py").write_text(STRANGER)
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("ECHOFORM_")},
        "PYTHONPATH": str(home),
        "HF_HOME": str(home / "hf"),
        "HF_MODULES_CACHE": str(home / "modules"),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(home / "gradio"),
    }


@pytest.fixture(scope="session")
def on_the_hub(
    hub_of_the_session: Hub, doppler_folder: Path, depth_folder: Path, classifier_folder: Path
) -> dict[str, str]:
    """Variables that name all three models on the tests' Hub, one of them pinned to its commit."""
    doppler, depth, who = (hub_of_the_session.repo_id(name) for name in ("walkers", "rooms", "who"))
    push_folder(doppler_folder, doppler)
    push_folder(depth_folder, depth)
    push_folder(classifier_folder, who)
    return {
        "ECHOFORM_DOPPLER_REPO": doppler,
        "ECHOFORM_DOPPLER_REVISION": hub_of_the_session.commits(doppler)[0].sha,
        "ECHOFORM_DEPTH_REPO": depth,
        "ECHOFORM_CLASSIFIER_REPO": who,
    }


@contextmanager
def running(folder: Path, environment: dict[str, str], log: Path) -> Iterator[str]:
    """The app of a folder in a process of its own; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with log.open("w") as output:
        app = subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=folder,
            env=environment | {"GRADIO_SERVER_PORT": str(port)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + START_S
        while not answers(url):
            assert app.poll() is None, log.read_text()
            assert time.monotonic() < deadline, f"no answer after {START_S} s\n{log.read_text()}"
            time.sleep(0.2)
        PROCESSES[url] = app.pid
        yield url
    finally:
        app.terminate()
        app.wait(timeout=30)


def answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except OSError:
        return False


@pytest.fixture
def serve() -> Callable[[Path, dict[str, str], Path], AbstractContextManager[str]]:
    """For a test that needs an app of its own: see `running`."""
    return running


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the app wrote to its console."""
    return tmp_path_factory.mktemp("log") / "app.log"


@pytest.fixture(scope="session")
def pulled(
    on_the_hub: dict[str, str],
    users_on_the_hub: list[str],
    hub_of_the_session: Hub,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """What the Hub would run: the Space with all models and two added users, pushed to the tests' Hub and pulled."""
    models = {
        kind.lower(): (on_the_hub[f"ECHOFORM_{kind}_REPO"], on_the_hub.get(f"ECHOFORM_{kind}_REVISION"))
        for kind in ("DOPPLER", "DEPTH", "CLASSIFIER")
    }
    repo = hub_of_the_session.repo_id("space")
    push_space(models, repo, users=[users_on_the_hub[0], f"{users_on_the_hub[1]}@main"])
    folder = tmp_path_factory.mktemp("pulled")
    return Path(snapshot_download(repo, repo_type="space", local_dir=folder / "space"))


@pytest.fixture(scope="session")
def address(pulled: Path, stranger: dict[str, str], log: Path) -> Iterator[str]:
    """The running app of a Space that names its models itself."""
    with running(pulled, stranger, log) as url:
        yield url


@pytest.fixture
def memory_mb(address: str) -> Callable[[], float]:
    """The most memory that the app ever used, in MB."""

    def peak_mb() -> float:
        status = Path(f"/proc/{PROCESSES[address]}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    return peak_mb


@pytest.fixture(scope="session")
def client(address: str, tmp_path_factory: pytest.TempPathFactory) -> Client:
    """A visitor with a program."""
    return Client(address, verbose=False, download_files=tmp_path_factory.mktemp("downloads"), analytics_enabled=False)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of the Space by its name, as app.py does, and forgets all of them afterwards."""
    monkeypatch.syspath_prepend(SPACE)
    names = [path.stem for path in SPACE.glob("*.py")]

    def fresh(name: str) -> Any:
        return __import__(name)

    yield fresh
    for name in names:
        sys.modules.pop(name, None)
