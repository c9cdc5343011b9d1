import json

import numpy as np
import pytest
import torch
from PIL import Image

from echoform_train.commands import generate_decoder
from echoform_train.commands.generate_decoder import Config
from echoform_train.conv.decoding import interpolate_random
from tiny_conv import tiny_conv_pipeline, write_pictures

STATISTICS = {
    "latent_mean": {str(channel): 0.5 for channel in range(12)},
    "latent_std": {str(channel): 0.5 for channel in range(12)},
}


@pytest.fixture
def maps(tmp_path):
    pipeline = tiny_conv_pipeline(**STATISTICS)
    pipeline.save_pretrained(tmp_path / "maps")
    return pipeline, tmp_path / "maps"


def rows(folder):
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def pixels(folder, row):
    with Image.open(folder / row["file_name"]) as image:
        return np.asarray(image)


def test_each_random_picture_is_that_of_its_seed(maps, tmp_path):
    pipeline, folder = maps
    generate_decoder.main(Config(pipeline=str(folder), output_dir=tmp_path / "out", num_images=5, walks=0))
    assert [row["kind"] for row in rows(tmp_path / "out")] == ["random"] * 5
    for row in rows(tmp_path / "out"):
        made = pipeline.sample(1, [torch.Generator().manual_seed(row["image_seed"])]).images[0]
        difference = np.asarray(made).astype(int) - pixels(tmp_path / "out", row)
        assert np.abs(difference).max() <= 1  # another batch may round another way
    with Image.open(tmp_path / "out" / "random.png") as sheet:
        assert sheet.size == (5 * 16, 16)
    generate_decoder.main(Config(pipeline=str(folder), output_dir=tmp_path / "fewer", num_images=2, walks=1, steps=3))
    assert [row["image_seed"] for row in rows(tmp_path / "fewer")[:2]] == [
        row["image_seed"] for row in rows(tmp_path / "out")[:2]
    ]
    assert not (tmp_path / "out" / "walks.png").exists() and (tmp_path / "fewer" / "walks.png").is_file()


def test_a_walk_between_pictures_begins_and_ends_with_what_their_latents_make_alone(maps, tmp_path):
    pipeline, folder = maps
    write_pictures(tmp_path / "data", count=3, side=16)
    images = tuple(sorted((tmp_path / "data").rglob("*.png")))
    generate_decoder.main(
        Config(pipeline=str(folder), output_dir=tmp_path / "out", num_images=0, images=images, steps=4)
    )
    found = rows(tmp_path / "out")
    assert [(row["from"], row["to"]) for row in found[::4]] == [
        (images[0].name, images[1].name),
        (images[1].name, images[2].name),
    ]
    alone = pipeline.decode(pipeline.encode(list(images))).images
    for row, image in ((found[0], alone[0]), (found[3], alone[1]), (found[4], alone[1]), (found[7], alone[2])):
        assert np.abs(np.asarray(image).astype(int) - pixels(tmp_path / "out", row)).max() <= 1
    assert [row["share"] for row in found[:4]] == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_walks_of_normal_latents_keep_the_length_that_such_latents_have():
    pipeline = tiny_conv_pipeline(variational=True, upsampling="transpose")
    walks = list(interpolate_random(pipeline, 3, seed=0, steps=5))
    assert len(walks) == 3
    for walk in walks:
        lengths = walk.latents.flatten(1).norm(dim=1)
        assert walk.latents.shape == (5, 12, 4, 4)
        assert float(lengths[2]) == pytest.approx(float(lengths[[0, 4]].mean()), rel=0.05)
        ends = pipeline.prepare_latents([torch.Generator().manual_seed(int(end)) for end in (walk.first, walk.last)])
        torch.testing.assert_close(walk.latents[[0, 4]], ends)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"num_images": -1}, "--num-images must be in 0..10000, got -1"),
        ({"num_images": 0, "walks": 0}, "there is nothing to decode"),
        ({"steps": 1}, "--steps must be in 2..10000, got 1"),
    ],
)
def test_what_cannot_be_done_is_refused(settings, reason, maps, tmp_path):
    with pytest.raises(ValueError, match=reason):
        generate_decoder.main(Config(pipeline=str(maps[1]), output_dir=tmp_path / "out", **settings))


def test_other_pipelines_full_folders_and_single_pictures_are_refused(maps, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model_index.json").write_text('{"_class_name": ["x", "VQLDMDopplerPipeline"]}')
    with pytest.raises(ValueError, match="holds a VQLDMDopplerPipeline"):
        generate_decoder.main(Config(pipeline=str(tmp_path / "other"), output_dir=tmp_path / "out"))
    with pytest.raises(FileNotFoundError, match=r"holds no model_index\.json; is it an exported pipeline"):
        generate_decoder.main(Config(pipeline=str(tmp_path), output_dir=tmp_path / "out"))
    with pytest.raises(ValueError, match="--output-dir must be a new or an empty folder"):
        generate_decoder.main(Config(pipeline=str(maps[1]), output_dir=maps[1]))
    with pytest.raises(ValueError, match="at least two images to interpolate between"):
        generate_decoder.main(Config(pipeline=str(maps[1]), output_dir=tmp_path / "out", images=(maps[1],)))
