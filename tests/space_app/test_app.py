"""The Space as a visitor meets it: its own process, no echoform, a real pipeline loaded from a folder."""

from __future__ import annotations

import os
import re
import runpy
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, VQModel
from gradio_client import Client
from gradio_client.exceptions import AppError
from huggingface_hub import SpaceCard
from huggingface_hub.repocard_data import SpaceCardData
from matplotlib import colormaps
from PIL import Image

from echoform import DopplerUNet2DModel, VQLDMDopplerPipeline

SPACE = Path(__file__).parents[2] / "space_app"
START_S = 120
# What `pip uninstall echoform` would leave behind, for the app's process alone.
WITHOUT_ECHOFORM = """\
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("echoform", "echoform_train", "echoform_cards"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""


@pytest.fixture(scope="module")
def pipeline_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny untrained pipeline: 16x16 pictures of three people in two conditions."""
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
    table = (np.asarray(colormaps["jet"](range(256)))[:, :3] * 255).round().astype(np.uint8)
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
    folder = tmp_path_factory.mktemp("pipeline") / "walkers"
    pipe.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment of a machine that has neither echoform nor a network nor anything cached."""
    home = tmp_path_factory.mktemp("stranger")
    (home / "sitecustomize.py").write_text(WITHOUT_ECHOFORM)
    return {
        **os.environ,
        "PYTHONPATH": str(home),
        "HF_HOME": str(home / "hf"),
        "HF_MODULES_CACHE": str(home / "modules"),
        "HF_HUB_OFFLINE": "1",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(home / "gradio"),
        "MPLCONFIGDIR": str(home / "matplotlib"),
    }


@pytest.fixture(scope="module")
def address(pipeline_folder: Path, stranger: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The running app."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("log") / "app.log"
    environment = {**stranger, "ECHOFORM_DOPPLER_REPO": str(pipeline_folder), "GRADIO_SERVER_PORT": str(port)}
    url = f"http://127.0.0.1:{port}"
    with log.open("w") as output:
        app = subprocess.Popen(
            [sys.executable, "app.py"], cwd=SPACE, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + START_S
        while not answers(url):
            assert app.poll() is None, log.read_text()
            assert time.monotonic() < deadline, f"no answer after {START_S} s\n{log.read_text()}"
            time.sleep(0.2)
        yield url
    finally:
        app.terminate()
        app.wait(timeout=30)


@pytest.fixture(scope="module")
def client(address: str, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(address, verbose=False, download_files=tmp_path_factory.mktemp("downloads"), analytics_enabled=False)


def answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except OSError:
        return False


def generate(client: Client, **asked: Any) -> tuple[list[dict[str, Any]], str]:
    arguments = {
        "users": ["ID_10"],
        "num_images_per_user": 2,
        "conditions": [],
        "steps": 2,
        "guidance": 1.5,
        "seed": 5,
    } | asked
    return client.predict(**arguments, api_name="/generate")


def pixels(picture: dict[str, Any]) -> np.ndarray:
    return np.asarray(Image.open(picture["image"]))


def test_a_visitor_gets_png_pictures_of_the_people_that_they_chose(client: Client):
    pictures, _ = generate(client, users=["ID_10", "ID_1"])
    assert [picture["caption"] for picture in pictures] == ["ID_10", "ID_10", "ID_1", "ID_1"]
    for picture in pictures:
        with Image.open(picture["image"]) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", (16, 16))


def test_every_colour_of_a_picture_is_one_of_the_models_colour_table(client: Client):
    pictures, _ = generate(client)
    table = {tuple(color) for color in (np.asarray(colormaps["jet"](range(256)))[:, :3] * 255).round().astype(int)}
    assert {tuple(color) for color in pixels(pictures[0]).reshape(-1, 3).astype(int)} <= table


def test_the_snippet_makes_the_same_pictures_where_echoform_is_not_installed(
    client: Client, stranger: dict[str, str], tmp_path: Path
):
    pictures, code = generate(client, conditions=["condition=backpack"])
    save = "\nfor number, image in enumerate(images):\n    image.save(f'{number}.png')\n"
    subprocess.run([sys.executable, "-c", code + save], cwd=tmp_path, env=stranger, check=True, capture_output=True)
    for number, picture in enumerate(pictures):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"{number}.png")), pixels(picture))


def test_the_seed_alone_decides_between_two_equal_requests(client: Client):
    first, again, other = (generate(client, seed=seed)[0][0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(pixels(first), pixels(again))
    assert (pixels(first) != pixels(other)).any()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"users": ["Somebody"]}, r"Somebody.*ID_1.*ID_2.*ID_10"),
        ({"users": []}, "at least one person"),
        ({"users": ["ID_1", "ID_2"], "num_images_per_user": 9}, "At most 16 pictures at once, got 18"),
        ({"conditions": ["condition=normal", "condition=backpack"]}, "one value of each condition"),
        ({"conditions": ["weather=rain"]}, r"weather=rain.*condition=normal"),
        ({"steps": 51}, "greater than maximum value 50"),
        ({"guidance": 30.0}, "greater than maximum value 3"),
        ({"seed": -1}, "less than minimum value 0"),
    ],
)
def test_a_request_that_cannot_be_met_is_told_why_and_the_app_lives_on(
    client: Client, asked: dict[str, Any], message: str
):
    with pytest.raises(AppError) as told:
        generate(client, **asked)
    assert re.search(message, str(told.value), re.DOTALL)
    assert len(generate(client)[0]) == 2


def test_without_a_model_the_app_says_which_variable_names_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ECHOFORM_DOPPLER_REPO", raising=False)
    with pytest.raises(SystemExit, match="ECHOFORM_DOPPLER_REPO must name the pipeline"):
        runpy.run_path(str(SPACE / "app.py"), run_name="__main__")


def test_the_front_matter_starts_this_app_on_the_gradio_that_was_tested():
    data = SpaceCard.load(SPACE / "README.md").data
    assert isinstance(data, SpaceCardData)
    assert (data.sdk, data.license) == ("gradio", "apache-2.0")
    assert data.app_file is not None and (SPACE / data.app_file).is_file()
    assert data.sdk_version is not None and int(data.sdk_version.split(".")[0]) >= 6
    assert len(data["short_description"]) <= 60  # the Hub refuses longer ones
