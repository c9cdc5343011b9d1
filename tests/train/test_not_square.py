"""Spectrograms that are not square, height 32 (Doppler) by width 64 (time), from their files to the Space."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from echoform import VQLDMDopplerPipeline
from echoform_train.commands import generate, prepare, score_generated, simulate
from echoform_train.engine.json_files import read_json_object
from echoform_train.latent_diffusion.first_stage import load_first_stage
from echoform_train.study.generators.training import fitting_levels
from echoform_train.trainers import distill
from echoform_train.trainers import kl_vae as train_kl_vae
from echoform_train.trainers import ldm as train_ldm
from echoform_train.trainers import vq_vae as train_vq_vae
from tiny import tiny_kl_vae, tiny_ldm, tiny_run, tiny_vq_vae
from without_echoform import UNINSTALLED, run_alone

SAMPLE = """
import sys
import torch
from diffusers import DiffusionPipeline
pipe = DiffusionPipeline.from_pretrained({folder!r}, trust_remote_code=True)
made = pipe(["ID_1"], 2, num_inference_steps=2, generator=torch.Generator().manual_seed(0)).images
assert [one.size for one in made] == [(64, 32)] * 2, made
# An image of its own size can be varied, and none of the exchanged one.
varied = pipe(["ID_2"], image=made[0], num_inference_steps=2, output_type="db", generator=torch.Generator()).images
assert varied.shape == (1, 32, 64)
try:
    pipe(["ID_2"], image=made[0].transpose(2), num_inference_steps=2)
except ValueError as error:
    assert "(1, 32, 64)" in str(error), error
else:
    raise AssertionError("an image of another shape was taken")
made[0].save({image!r})
assert "echoform" not in sys.modules
"""
SPACE = """
import sys, os
sys.path.insert(0, {space!r})
os.environ["ECHOFORM_DOPPLER_REPO"] = {folder!r}
import generate, loading, vary
pipe = loading.load("doppler")
pixels = vary.read_spectrogram(pipe, {image!r})
assert tuple(pixels.shape) == (1, 1, 32, 64)
(before, after, error), words = vary.rebuild(pipe, pixels)
assert "PSNR" in words
framed = generate.with_axes(pipe, pipe.postprocess((pixels + 1) / 2, "pil")[0])
assert framed.width > framed.height
assert "echoform" not in sys.modules
"""


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three simulated people, four walks of 6 s each, at 32x64 pixels."""
    folder = tmp_path_factory.mktemp("wide") / "data"
    people: dict[str, Any] = {"users": 3, "recordings_per_user": 4, "recording_s": 6.0, "workers": 1}
    simulate.main(simulate.Config(output_dir=folder, resolution="32x64", **people))
    return folder


@pytest.fixture(scope="module")
def vq_stage(wide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A first stage with a codebook, whose latents are 8x16."""
    folder = tmp_path_factory.mktemp("wide") / "vq"
    train_vq_vae.main(tiny_vq_vae(wide, folder))
    return folder


@pytest.fixture(scope="module")
def ldm(wide: Path, vq_stage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second stage on it."""
    folder = tmp_path_factory.mktemp("wide") / "ldm"
    train_ldm.main(tiny_ldm(wide, vq_stage, folder))
    return folder


@pytest.fixture(scope="module")
def pipeline(ldm: Path) -> Path:
    """Its exported pipeline."""
    return ldm / "pipeline"


def sized(config: Any, resolution: int | str) -> Any:
    """Settings of a training whose images are resized."""
    return replace(config, data=replace(config.data, resolution=resolution))


def sizes(folder: Path) -> set[tuple[int, int]]:
    """Width and height of all images of a folder."""
    found = set()
    for path in folder.rglob("*.png"):
        with Image.open(path) as image:
            found.add(image.size)
    return found


def test_prepare_says_height_before_width(wide: Path, capsys: pytest.CaptureFixture[str]):
    prepare.main(prepare.Config(data=str(wide)))
    assert "32x64 pixels (height x width)" in capsys.readouterr().out
    assert sizes(wide) == {(64, 32)}
    data = prepare.main(prepare.Config(data=str(wide), resolution="16x32"))
    assert data is not None and data.train.pixels.shape[-2:] == (16, 32)
    assert "Resized to 16x32 (height x width)" in capsys.readouterr().out


def test_both_stages_keep_height_and_width_in_their_facts(vq_stage: Path, ldm: Path, pipeline: Path):
    facts = read_json_object(vq_stage / "facts.json")
    assert facts["data"]["resolution"] == "32x64" and facts["latent_shape"] == [4, 8, 16]
    facts = read_json_object(ldm / "pipeline" / "facts.json")
    assert facts["data"]["resolution"] == "32x64"
    assert read_json_object(pipeline / "unet" / "config.json")["sample_size"] == [8, 16]
    assert "32" in (card := (pipeline / "README.md").read_text()) and "64" in card


def test_the_pipeline_works_without_echoform_and_in_the_space(pipeline: Path, tmp_path: Path):
    image = tmp_path / "image.png"
    run_alone(UNINSTALLED + SAMPLE.format(folder=str(pipeline), image=str(image)), tmp_path)
    space = Path(__file__).parents[2] / "space_app"
    names = {"space": str(space), "folder": str(pipeline), "image": str(image)}
    run_alone(UNINSTALLED + SPACE.format(**names), tmp_path, GRADIO_ANALYTICS_ENABLED="False")


def test_a_kl_vae_trains_a_denoiser_that_attends_to_labels(wide: Path, tmp_path: Path):
    train_kl_vae.main(tiny_kl_vae(wide, tmp_path / "kl"))
    train_ldm.main(tiny_ldm(wide, tmp_path / "kl", tmp_path / "ldm", conditioning="cross-attention"))
    pipe = VQLDMDopplerPipeline.from_pretrained(tmp_path / "ldm" / "pipeline")
    assert pipe(["ID_3"], num_inference_steps=1).images[0].size == (64, 32)


def test_a_distilled_pipeline_has_the_same_size(pipeline: Path, tmp_path: Path):
    run = tiny_run(tmp_path / "few", max_train_images=8, train_batch_size=4, validation_every=8)
    distill.main(replace(distill.PRESETS["cpu"], pipeline=str(pipeline), run=run, steps=1, teacher_steps=2))
    pipe = VQLDMDopplerPipeline.from_pretrained(tmp_path / "few" / "pipeline")
    assert pipe(["ID_1"]).images[0].size == (64, 32)


def test_generated_images_are_scored_at_their_own_size(wide: Path, vq_stage: Path, pipeline: Path, tmp_path: Path):
    made = tmp_path / "made"
    generate.main(
        generate.Config(pipeline=str(pipeline), output_dir=made, num_images=8, num_inference_steps=1, grid=True)
    )
    assert sizes(made / "ID_1") == {(64, 32)}
    split = {"split_file": vq_stage / "split.json", "judge_seeds": (0,), "judge_train_images": 128}
    scores = score_generated.main(score_generated.Config(data=str(wide), generated_dir=(made,), **split))
    assert scores["scores"]
    # A square of the same number of pixels is not what was generated.
    with pytest.raises(ValueError, match=r"the data's size, 32x32, .* has 32x64 \(height x width\)"):
        score_generated.main(score_generated.Config(data=str(wide), generated_dir=(made,), resolution=32, **split))


def test_data_of_the_exchanged_size_are_refused(wide: Path, vq_stage: Path, tmp_path: Path):
    config = sized(tiny_ldm(wide, vq_stage, tmp_path / "ldm"), "64x32")
    with pytest.raises(ValueError, match="was trained with resolution 32x64, the data have 64x32"):
        train_ldm.main(config)


@pytest.mark.parametrize("train", [train_vq_vae, train_kl_vae])
def test_a_size_that_its_levels_cannot_halve_stops_a_training_before_it_writes(train: Any, wide: Path, tmp_path: Path):
    make = tiny_vq_vae if train is train_vq_vae else tiny_kl_vae
    config = sized(make(wide, tmp_path / "out"), "50x62")
    with pytest.raises(ValueError, match=r"multiples of 4, because the 3 levels .*got 50x62 .*--resolution 48x64"):
        train.main(config)
    assert not (tmp_path / "out").exists()


def test_a_denoiser_refuses_latents_that_its_levels_cannot_halve(wide: Path, vq_stage: Path, tmp_path: Path):
    deep = {"block_out_channels": (16,) * 5, "attention_types": ("window", *["axial"] * 4)}
    with pytest.raises(ValueError, match=r"5 levels .* multiples of 16, .* are 8x16 .*train a first stage with --res"):
        train_ldm.main(tiny_ldm(wide, vq_stage, tmp_path / "ldm", **deep))
    assert not (tmp_path / "ldm").exists()


def test_windows_that_do_not_tile_the_latents_are_made_smaller(
    wide: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    train_vq_vae.main(sized(tiny_vq_vae(wide, tmp_path / "vq"), "24x40"))
    train_ldm.main(tiny_ldm(wide, tmp_path / "vq", tmp_path / "ldm"))  # latents are 6x10
    assert "Attention windows of 2x2, because those of 4x4 do not tile them" in capsys.readouterr().out
    unet = read_json_object(tmp_path / "ldm" / "pipeline" / "unet" / "config.json")
    assert unet["sample_size"] == [6, 10] and unet["window_size"] == 2


@pytest.mark.parametrize(
    ("size", "levels"),
    [((64, 64), 3), ((128, 128), 4), ((256, 256), 5), ((64, 128), 3), ((256, 112), 3), ((48, 16), 2), ((272, 272), 3)],
)
def test_a_study_takes_as_many_levels_as_the_size_allows(size: tuple[int, int], levels: int):
    assert fitting_levels(*size) == levels
    denoiser = len(train_ldm.PRESETS["cpu"].block_out_channels)
    assert all(side % 2 ** (levels - 1 + denoiser - 1) == 0 for side in size)


def test_images_that_differ_by_a_few_pixels_are_resized_where_a_resolution_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    rng = np.random.default_rng(0)
    for user in ("ID_1", "ID_2"):
        (tmp_path / user).mkdir()
        for index in range(12):
            height, width = (51, 17) if index % 4 else (50, 18)
            values = rng.integers(0, 256, (height, width), dtype=np.uint8)
            Image.fromarray(values).save(tmp_path / user / f"walk_t{100 * index:04d}.png")
    with pytest.raises(ValueError, match=r"multiples of 16.*got 51x17 .*--resolution 48x16 \(nearest\) or 64x32"):
        prepare.main(prepare.Config(data=str(tmp_path)))
    data = prepare.main(prepare.Config(data=str(tmp_path), resolution="48x16"))
    assert data is not None and data.train.pixels.shape[1:] == (1, 48, 16)
    assert data.native_size == (51, 17) and not data.skipped
    assert "Of another size by a few pixels, and resized all the same: 6 images" in capsys.readouterr().out
    # Others are bad files as ever.
    Image.fromarray(rng.integers(0, 256, (51, 12), dtype=np.uint8)).save(tmp_path / "ID_1" / "walk_t9900.png")
    with pytest.raises(
        ValueError, match=r"walk_t9900\.png: all images must have one size, it is 51x12 .*most are 51x17"
    ):
        prepare.main(prepare.Config(data=str(tmp_path), resolution="48x16"))


def test_facts_hold_a_size_in_one_form_only(vq_stage: Path, tmp_path: Path):
    facts = json.loads((vq_stage / "facts.json").read_text())
    for value, rule in (("64x64", "such as 64x128"), ("32 x 64", "HEIGHTxWIDTH|such as"), ("9999x64", "in 1..4096")):
        (tmp_path / value.replace(" ", "")).mkdir()
        folder = tmp_path / value.replace(" ", "")
        (folder / "vqvae").symlink_to(vq_stage / "vqvae")
        (folder / "facts.json").write_text(json.dumps(facts | {"data": facts["data"] | {"resolution": value}}))
        with pytest.raises(ValueError, match=rule):
            load_first_stage(folder)
