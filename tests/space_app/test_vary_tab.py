"""The tab that takes a visitor's spectrogram, called as a program would, against the installed pipeline."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from echoform import VQLDMDopplerPipeline

SAMPLER = {"steps": 2, "guidance": 1.5, "seed": 3}


@pytest.fixture(scope="module")
def spectrogram(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain picture that the app made."""
    _, path, *_ = client.predict(["ID_1"], 1, [], 2, 1.5, 0, api_name="/generate")
    with zipfile.ZipFile(path) as pack:
        return Path(pack.extract("00.png", tmp_path_factory.mktemp("spectrogram")))


def plain(shown: dict[str, Any]) -> np.ndarray:
    """The picture inside its axes, one pixel a pixel of the model."""
    return np.asarray(Image.open(shown["image"]))[26 : 26 + 768 : 48, 194 : 194 + 768 : 48]


def test_a_reconstruction_is_that_of_the_first_stage_and_its_error_is_measured(
    client: Client, spectrogram: Path, doppler_folder: Path
):
    shown, words = client.predict(handle_file(str(spectrogram)), api_name="/reconstruct")
    pipe = VQLDMDopplerPipeline.from_pretrained(doppler_folder)
    before = pipe.preprocess(Image.open(spectrogram), 1)
    with torch.no_grad():
        after = pipe.decode(pipe.encode(before))
    assert [one["caption"] for one in shown] == ["original", "reconstruction", "error in % of the scale"]
    np.testing.assert_array_equal(plain(shown[0]), np.asarray(Image.open(spectrogram)))
    np.testing.assert_array_equal(plain(shown[1]), np.asarray(pipe.postprocess(after, "pil")[0]))
    rmse = float((after - (before + 1) / 2).square().mean().sqrt())
    assert words.startswith(f"Root mean square error {100 * rmse:.2f} % of the colour scale, {60 * rmse:.2f} dB; PSNR")


def test_variations_are_those_of_the_pipeline_for_that_person(client: Client, spectrogram: Path, doppler_folder: Path):
    made, seen = client.predict(
        file=handle_file(str(spectrogram)), user="ID_2", num_images=2, strength=0.5, **SAMPLER, api_name="/vary"
    )
    pipe = VQLDMDopplerPipeline.from_pretrained(doppler_folder)
    images = pipe(
        users=["ID_2"],
        num_images_per_user=2,
        image=Image.open(spectrogram),
        strength=0.5,
        num_inference_steps=2,
        guidance_scale=1.5,
        generator=[torch.Generator().manual_seed(seed) for seed in (3, 4)],
        batch_size=1,
    ).images
    assert [one["caption"] for one in made] == ["ID_2, seed 3", "ID_2, seed 4"]
    assert seen == "Real images that the model saw in its training: ID_2 7."
    for one, image in zip(made, images, strict=True):
        np.testing.assert_array_equal(plain(one), np.asarray(image))


def test_a_walk_between_two_people_is_that_of_the_pipeline(client: Client, doppler_folder: Path):
    walk, seen = client.predict(user_a="ID_1", user_b="ID_10", num_images=3, **SAMPLER, api_name="/interpolate")
    pipe = VQLDMDopplerPipeline.from_pretrained(doppler_folder)
    images = pipe.interpolate(
        "ID_1", "ID_10", 3, torch.Generator().manual_seed(3), num_inference_steps=2, guidance_scale=1.5, batch_size=1
    ).images
    assert [one["caption"] for one in walk] == ["0 % ID_10", "50 % ID_10", "100 % ID_10"]
    assert seen == "Real images that the model saw in its training: ID_1 61, ID_10 unknown."
    for one, image in zip(walk, images, strict=True):
        np.testing.assert_array_equal(plain(one), np.asarray(image))
    with pytest.raises(AppError, match="num_images must be in 2 to 8, got 1"):
        client.predict(user_a="ID_1", user_b="ID_10", num_images=1, **SAMPLER, api_name="/interpolate")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("photo.png", "not a spectrogram in the model's colours"),
        ("large.png", "must be 16 x 16 pixels, the size of the model, without axes, got 20 x 16"),
        ("text.png", "text.png is damaged, or not an image of the format PNG or JPEG"),
        ("gif.png", "gif.png is damaged, or not an image of the format PNG or JPEG"),
        ("clear.png", "must be of mode L or RGB, got RGBA"),
        ("drawing.svg", "Invalid file type"),
    ],
)
def test_what_is_no_spectrogram_is_refused_in_one_sentence(client: Client, tmp_path: Path, name: str, message: str):
    noise = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    path = tmp_path / name
    if name == "photo.png":
        Image.fromarray(noise // 4 + 100).save(path)
    elif name == "large.png":
        Image.new("RGB", (20, 16)).save(path)
    elif name == "gif.png":
        Image.fromarray(noise).save(path, "GIF")
    elif name == "clear.png":
        Image.new("RGBA", (16, 16)).save(path)
    else:
        path.write_text("<svg><script>alert(1)</script></svg>")
    with pytest.raises(AppError) as told:
        client.predict(handle_file(str(path)), api_name="/reconstruct")
    assert re.search(message, str(told.value))
