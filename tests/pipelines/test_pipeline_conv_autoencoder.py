"""The convolutional autoencoder's pipeline: images in every form, walks, random ones, and loading without echoform."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from echoform import ConvAutoencoderPipeline
from hub_server import Hub
from tiny_conv import tiny_conv_autoencoder, tiny_conv_pipeline
from without_echoform import UNINSTALLED, run_alone

STATISTICS: dict[str, Any] = {
    "latent_mean": {str(channel): 0.1 * channel for channel in range(12)},
    "latent_std": {str(channel): 0.5 for channel in range(12)},
}
VARIATIONAL: dict[str, Any] = {"variational": True, "latent_channels": 4, "upsampling": "transpose"}


@pytest.fixture
def image() -> Image.Image:
    """RGB, 16x16."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8))


def test_one_image_gives_the_same_in_every_form(image: Image.Image, tmp_path: Path):
    pipeline = tiny_conv_pipeline()
    image.save(tmp_path / "image.png")
    pixels = np.asarray(image).astype(np.float32) / 255
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    first = pipeline(image, output_type="pt")
    path = tmp_path / "image.png"
    forms: list[Any] = [str(path), path, pixels, tensor, pixels[None], tensor[None], [image], [tensor]]
    for form in forms:
        again = pipeline.reconstruct(form, output_type="pt")
        assert torch.equal(again.images, first.images) and torch.equal(again.latents, first.latents)
        assert torch.equal(pipeline.encode(form), first.latents)


def test_the_error_is_that_of_the_output_and_the_model_is_run_as_it_is(image: Image.Image):
    pipeline = tiny_conv_pipeline(data_range="symmetric", output_activation="tanh")
    model = pipeline.autoencoder
    target = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        expected = (model(2 * target - 1).sample + 1) / 2
    output = pipeline(image, output_type="pt")
    torch.testing.assert_close(output.images, expected, rtol=0, atol=1e-6)
    mse = float((expected - target).square().mean())
    assert output.psnr_db == pytest.approx([10 * math.log10(1 / mse)], rel=1e-4)
    as_np = pipeline(image, output_type="np").images
    assert as_np.shape == (1, 16, 16, 3) and np.array_equal(as_np[0], output.images[0].permute(1, 2, 0).numpy())
    painted = pipeline(image).images[0]
    assert np.array_equal(np.asarray(painted), (255 * as_np[0]).round().astype(np.uint8))
    images, latents = pipeline(image, return_dict=False)
    assert images[0].size == (16, 16) and torch.equal(latents, output.latents)


def test_neither_batch_nor_mode_of_the_model_changes_a_latent():
    pipeline = tiny_conv_pipeline()
    images = torch.rand(5, 3, 16, 16)
    together = pipeline(images, output_type="pt")
    pipeline.autoencoder.train()
    one_by_one = pipeline(images, batch_size=1, output_type="pt")
    assert pipeline.autoencoder.training
    torch.testing.assert_close(one_by_one.latents, together.latents, rtol=0, atol=1e-5)
    torch.testing.assert_close(one_by_one.images, together.images, rtol=0, atol=1e-5)


def test_images_of_other_sizes_are_cut_about_their_centre_and_grey_becomes_rgb():
    pipeline = tiny_conv_pipeline()
    wide = np.zeros((32, 64, 3), np.uint8)
    wide[:, 16:48] = (200, 100, 50)  # the square about the centre
    pixels = pipeline.preprocess(Image.fromarray(wide))
    colour = torch.tensor([200.0, 100.0, 50.0])[:, None, None] / 255
    assert torch.equal(pixels[0], colour.expand(3, 16, 16))
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    seen = pipeline.preprocess([grey, np.asarray(grey) / np.float32(255)])
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], torch.arange(256.0).reshape(1, 16, 16).expand(3, -1, -1) / 255)


def test_decoding_walking_and_sampling_know_the_latents_alone(image: Image.Image):
    pipeline = tiny_conv_pipeline(**STATISTICS)
    model = pipeline.autoencoder
    other = image.rotate(90)
    ends = pipeline.encode([image, other])
    walk = pipeline.interpolate(image, other, steps=5, output_type="pt")
    torch.testing.assert_close(walk.latents[[0, 4]], ends)
    torch.testing.assert_close(walk.latents[2], ends.mean(dim=0))
    with torch.no_grad():
        torch.testing.assert_close(walk.images, model.to_unit(model.decode(walk.latents).sample), rtol=0, atol=1e-6)
    alone, whole = pipeline.decode(ends, output_type="pt").images, pipeline([image, other], output_type="pt").images
    assert not torch.allclose(alone, whole, atol=1e-3)
    transposed = tiny_conv_pipeline(upsampling="transpose")
    reconstructed = transposed(image, output_type="pt")
    torch.testing.assert_close(transposed.decode(reconstructed.latents, output_type="pt").images, reconstructed.images)


def test_random_latents_have_the_statistics_that_they_should_and_their_seeds_make_them_again():
    pipeline = tiny_conv_pipeline(latent_channels=12, **STATISTICS)
    generators = [torch.Generator().manual_seed(seed) for seed in range(400)]
    latents = pipeline.prepare_latents(generators)
    for channel in range(12):
        values = latents[:, channel]  # 6,400 of deviation 0.5
        assert float(values.mean()) == pytest.approx(0.1 * channel, abs=0.03)
        assert float(values.std()) == pytest.approx(0.5, abs=0.02)
    maps = tiny_conv_pipeline(**STATISTICS)
    generators = [torch.Generator().manual_seed(seed) for seed in range(400)]
    assert torch.equal(maps.prepare_latents(generators), latents.clamp(min=0))

    normal = tiny_conv_pipeline(**VARIATIONAL)
    first = normal.sample(3, generator=torch.Generator().manual_seed(7), output_type="pt")
    assert torch.equal(normal.sample(3, torch.Generator().manual_seed(7), 1, "pt").latents, first.latents)
    again = normal.sample(1, [torch.Generator().manual_seed(first.seeds[1])], output_type="pt")
    assert torch.equal(again.latents[0], first.latents[1])
    torch.testing.assert_close(again.images[0], first.images[1], rtol=0, atol=1e-6)
    many = normal.prepare_latents([torch.Generator().manual_seed(seed) for seed in range(200)])
    assert float(many.mean()) == pytest.approx(0, abs=0.05) and float(many.std()) == pytest.approx(1, abs=0.05)


def test_an_opaque_alpha_channel_changes_nothing():
    pipeline = tiny_conv_pipeline()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    assert np.array_equal(pipeline(image.convert("RGBA")).images[0], pipeline(image).images[0])


def test_a_grey_model_speaks_grey():
    pipeline = tiny_conv_pipeline(in_channels=1)
    grey = Image.fromarray(np.full((16, 16), 77, np.uint8))
    assert pipeline(grey).images[0].mode == "L"
    with pytest.raises(ValueError, match=r"the model takes grey images \(mode L\), got mode RGB"):
        pipeline(grey.convert("RGB"))


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda p: p(Image.new("RGBA", (16, 16))), "no transparency, got mode RGBA"),
        (lambda p: p(Image.new("I;16", (16, 16))), "RGB or 8-bit grey, got mode I;16"),
        (lambda p: p(np.zeros((8, 8, 3), np.float32)), r"images must be \(3, 16, 16\) .*, got \(3, 8, 8\)"),
        (lambda p: p(np.zeros((16, 16, 3), np.uint8)), r"floating point in 0\.\.1, got torch\.uint8"),
        (lambda p: p(torch.full((3, 16, 16), 1.5)), r"floating point in 0\.\.1"),
        (lambda p: p([]), "at least one image, got none"),
        (lambda p: p(torch.zeros(3, 16, 16), batch_size=0), "batch_size must be at least 1, got 0"),
        (lambda p: p(torch.zeros(3, 16, 16), output_type="jpg"), "output_type must be among pil, np, pt, got 'jpg'"),
        (lambda p: p.decode(torch.zeros(1, 3, 4, 4)), r"latents must be \[N, 12, h, w\]"),
        (lambda p: p.decode(torch.full((1, 12, 4, 4), torch.nan)), "latents must be finite"),
        (lambda p: p.interpolate(torch.zeros(3, 16, 16), torch.zeros(3, 16, 16), steps=1), "at least 2, got 1"),
        (lambda p: p.interpolate(torch.zeros(2, 3, 16, 16), torch.zeros(3, 16, 16)), "two images, got 2 and 1"),
        (lambda p: p.sample(0), "num_images must be at least 1, got 0"),
        (lambda p: p.sample(1), "not variational need latent_mean and latent_std"),
        (lambda p: p.sample(2, [torch.Generator()]), "one for each of 2 images, got 1"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_rule(call, reason: str):
    with pytest.raises(ValueError, match=reason):
        call(tiny_conv_pipeline())


def test_a_file_that_is_no_image_is_named(tmp_path: Path):
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ValueError, match=r"torn\.png: cannot be decoded"):
        tiny_conv_pipeline()(tmp_path / "torn.png")
    with pytest.raises(FileNotFoundError):
        tiny_conv_pipeline()(tmp_path / "none.png")


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"latent_mean": {"0": 0.0}}, "must be given together"),
        ({"latent_mean": {"0": 0.0}, "latent_std": {"0": 1.0}}, "one number for each of 12 channels"),
        (STATISTICS | {"latent_std": dict.fromkeys(STATISTICS["latent_std"], -1.0)}, "must not be negative"),
    ],
)
def test_facts_that_do_not_fit_the_model_are_refused(facts: Any, reason: str):
    with pytest.raises(ValueError, match=reason):
        ConvAutoencoderPipeline(tiny_conv_autoencoder(), **facts)


WITHOUT_ECHOFORM = f"""{UNINSTALLED}
import json, sys
import numpy as np, torch
from diffusers import DiffusionPipeline

def made(source):
    pipe = DiffusionPipeline.from_pretrained(source, trust_remote_code=True)
    pipe.set_progress_bar_config(disable=True)
    output = pipe("image.png", output_type="pt")
    random = pipe.sample(2, torch.Generator().manual_seed(0), output_type="pt")
    return pipe, torch.cat([output.images, random.images])
"""


def test_without_echoform_it_is_loaded_from_a_hub_saved_and_pushed_again(image: Image.Image, hub: Hub, tmp_path: Path):
    pipelines = {"maps": tiny_conv_pipeline(**STATISTICS), "normal": tiny_conv_pipeline(**VARIATIONAL)}
    image.save(tmp_path / "image.png")
    repos = {}
    for name, pipeline in pipelines.items():
        repos[name] = hub.repo_id(name)
        pipeline.push_to_hub(repos[name])
        assert [commit.title for commit in hub.commits(repos[name])].count("Upload ConvAutoencoderPipeline") == 1
        random = pipeline.sample(2, torch.Generator().manual_seed(0), output_type="pt").images
        both = torch.cat([pipeline(image, output_type="pt").images, random])
        np.save(tmp_path / f"{name}.npy", both.numpy())
    again = hub.repo_id("again")
    script = f"""
kept = {{}}
for name, repo in {repos!r}.items():  # both in one process
    kept[name], images = made(repo)
    np.testing.assert_allclose(images, np.load(f"{{name}}.npy"), atol=1e-5)
kept["maps"].push_to_hub({again!r})
kept["normal"].save_pretrained("folder")
for name, source in {{"maps": {again!r}, "normal": "folder"}}.items():
    np.testing.assert_allclose(made(source)[1], np.load(f"{{name}}.npy"), atol=1e-5)
assert "echoform" not in sys.modules
"""
    run_alone(WITHOUT_ECHOFORM + script, tmp_path)
    before, after = hub.files(repos["maps"]), hub.files(again)
    assert {name: after[name] for name in before if name != "README.md"} == {
        name: content for name, content in before.items() if name != "README.md"
    }
    installed = ConvAutoencoderPipeline.from_pretrained(repos["maps"])
    installed.set_progress_bar_config(disable=True)
    assert type(installed.autoencoder).__module__ == "echoform.conv_autoencoder"
    np.testing.assert_allclose(installed(image, output_type="pt").images, np.load(tmp_path / "maps.npy")[:1], atol=1e-6)
    index = json.loads(hub.files(repos["maps"])["model_index.json"])
    assert index["latent_std"] == STATISTICS["latent_std"]
