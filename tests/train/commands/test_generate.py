import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from echoform import VQLDMDopplerPipeline
from echoform_train.commands import generate
from echoform_train.data.dataset import read_source
from echoform_train.data.reading import ReadingConfig
from tiny import run_processes
from tiny_doppler import tiny_pipeline


@pytest.fixture
def config(second_stage, tmp_path):
    return generate.Config(
        pipeline=str(second_stage / "pipeline"), output_dir=tmp_path / "out", num_images=3, num_inference_steps=2
    )


def rows(folder):
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def pixels(folder):
    return {row["file_name"]: read(folder / row["file_name"]) for row in rows(folder)}


def read(path):
    with Image.open(path) as image:
        return np.array(image)


def test_images_metadata_and_a_grid_are_written(config):
    result = generate.main(replace(config, grid=True))
    written = rows(config.output_dir)
    assert (result.folder, result.rows) == (config.output_dir, written)
    assert [row["user"] for row in written] == ["ID_1"] * 3 + ["ID_2"] * 3 + ["ID_3"] * 3
    assert len({row["image_seed"] for row in written}) == 9
    assert all(image.shape == (32, 32, 3) for image in pixels(config.output_dir).values())
    grid = read(config.output_dir / "grid.png")
    # Three rows of three images of at least 256 pixels, with names and axes around them, that show each image itself.
    assert grid.shape[0] > 3 * 256 and grid.shape[1] > 3 * 256
    shown = {tuple(color) for color in grid.reshape(-1, grid.shape[-1])[:, :3].tolist()}
    for image in pixels(config.output_dir).values():
        assert {tuple(color) for color in image.reshape(-1, 3).tolist()} <= shown


def test_a_grid_for_a_paper_shows_seeds_and_has_its_own_colours(config):
    result = generate.main(replace(config, grid=True, figure_format="svg", figure_colormap="viridis"))
    svg = (config.output_dir / "grid.svg").read_text()
    assert all(f"seed {row['image_seed']}" in svg for row in result.rows)
    assert "ID_2" in svg and not (config.output_dir / "grid.png").exists()
    # The figure is no image of the folder, and the folder can be continued.
    assert generate.main(replace(config, num_images=4)).rows[0] == result.rows[0]
    with pytest.raises(ValueError, match="are for the figure of --grid, which is missing"):
        generate.main(replace(config, figure_format="pdf"))


def test_a_run_that_was_cut_goes_on_to_the_same_images(config, tmp_path):
    generate.main(config)
    whole = pixels(config.output_dir)
    # As an interruption leaves it: five images, the fifth line of metadata half written, no merged metadata.
    cut = tmp_path / "cut"
    shutil.copytree(config.output_dir, cut)
    lines = (cut / "metadata.jsonl").read_text().splitlines(keepends=True)
    (cut / "metadata.jsonl").unlink()
    (cut / "metadata.jsonl.0").write_text("".join(lines[:4]) + lines[4][:20])
    for row in rows(config.output_dir)[5:]:
        (cut / row["file_name"]).unlink()
    kept = (cut / "ID_1" / "00000.png").stat().st_mtime_ns
    generate.main(replace(config, output_dir=cut))
    assert rows(cut) == rows(config.output_dir)
    assert (cut / "ID_1" / "00000.png").stat().st_mtime_ns == kept
    for name, image in pixels(cut).items():
        # The colour of a pixel may move by a step where a batch of another size rounds another way.
        assert np.abs(image.astype(int) - whole[name]).mean() < 1


def test_an_image_depends_on_its_seed_and_not_on_what_else_is_asked_for(config, tmp_path):
    generate.main(config)
    one = replace(config, users=("ID_2",), num_images=1, output_dir=tmp_path / "one")
    other = replace(one, seed=1, output_dir=tmp_path / "other")
    generate.main(one)
    generate.main(other)
    name = "ID_2/00000.png"
    same = pixels(config.output_dir)[name].astype(int)
    assert np.abs(same - pixels(one.output_dir)[name]).mean() < 1
    assert np.abs(same - pixels(other.output_dir)[name]).mean() > 1


def test_conditions_take_turns(config):
    generate.main(replace(config, users=("ID_1",), conditions=("direction=towards,away",)))
    assert [row["direction"] for row in rows(config.output_dir)] == ["towards", "away", "towards"]


def test_users_and_conditions_are_known_in_either_unicode_form(config):
    composed, decomposed = "J\u00f6rg", "Jo\u0308rg"
    for stored, given in ((composed, decomposed), (decomposed, composed)):
        labels = {"condition": {"0": "none", "1": stored, "2": "bag"}, "direction": {"0": "a", "1": "b"}}
        pipeline = tiny_pipeline(id2label={"0": "ID_1", "1": stored, "2": "ID_10"}, condition_labels=labels)
        changed = replace(config, users=(given, composed), conditions=(f"condition={given}",), num_images=2)
        planned = generate.plan(pipeline, changed)
        assert [(image.user, image.conditions) for image in planned] == [(composed, {"condition": composed})] * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"users": ("ID_9",)}, r"--users must be among ID_1, ID_2, ID_3, got ID_9"),
        ({"conditions": ("direction",)}, r"written name=value or name=value,value, got 'direction'"),
        ({"conditions": ("shoes=red",)}, r"direction"),
    ],
)
def test_what_the_pipeline_does_not_know_is_refused(config, change, message):
    with pytest.raises(ValueError, match=message):
        generate.main(replace(config, **change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"guidance_scale": 2.5}, r"--guidance-scale was 1\.5, is now 2\.5"),
        ({"num_inference_steps": 3}, r"--num-inference-steps was 2, is now 3"),
        ({"seed": 7}, r"--seed was 0, is now 7"),
        ({"conditions": ("direction=away",)}, r'--conditions was \[\], is now \["direction=away"\]'),
        ({"dtype": "bfloat16"}, r"--dtype was float32, is now bfloat16"),
    ],
)
def test_images_of_other_settings_are_not_mixed_into_a_folder(config, change, message):
    first = replace(config, users=("ID_1",), num_images=1)
    generate.main(first)
    before = pixels(config.output_dir)
    with pytest.raises(ValueError, match=message):
        generate.main(replace(first, **change))
    assert pixels(config.output_dir).keys() == before.keys()


def test_a_pipeline_that_was_trained_on_is_another_one_and_a_moved_one_is_the_same(config, tmp_path):
    shutil.copytree(config.pipeline, tmp_path / "here")
    first = replace(config, pipeline=str(tmp_path / "here"), users=("ID_1",), num_images=1)
    generate.main(first)
    moved = (tmp_path / "here").rename(tmp_path / "there")
    (moved / "README.md").write_text("another card")
    generate.main(replace(first, pipeline=str(moved), num_images=2))
    file = next((moved / "unet").glob("*.safetensors"))
    weights = load_file(file)
    save_file({name: tensor + 1e-3 if tensor.is_floating_point() else tensor for name, tensor in weights.items()}, file)
    with pytest.raises(ValueError, match="--pipeline changed"):
        generate.main(replace(first, pipeline=str(moved)))


@pytest.mark.parametrize("name", ["metadata.jsonl", "ID_1/mine.png", "notes.txt"])
def test_a_folder_of_data_or_of_somebody_else_gets_no_images(config, name):
    file = config.output_dir / name
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(ValueError, match="--output-dir must be a new or an empty folder"):
        generate.main(config)
    assert [path for path in config.output_dir.rglob("*") if path.is_file()] == [file]


def test_a_user_called_like_a_path_writes_nothing_elsewhere(config, tmp_path):
    shutil.copytree(config.pipeline, tmp_path / "pipeline")
    index = json.loads((tmp_path / "pipeline" / "model_index.json").read_text())
    index["id2label"]["0"] = "../../outside"
    (tmp_path / "pipeline" / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="outside"):
        generate.main(replace(config, pipeline=str(tmp_path / "pipeline")))
    assert not list(tmp_path.glob("**/outside"))


def test_a_file_of_a_person_beside_the_metadata_stays(config):
    first = replace(config, users=("ID_1",), num_images=1)
    generate.main(first)
    (config.output_dir / "metadata.jsonl.2024-backup").write_text("mine")
    generate.main(replace(first, num_images=2))
    assert (config.output_dir / "metadata.jsonl.2024-backup").read_text() == "mine"
    assert len(rows(config.output_dir)) == 2


def test_two_processes_share_the_work_and_make_the_same_images(config, tmp_path):
    generate.main(config)
    shared = tmp_path / "shared"
    arguments = ["-m", "echoform_train.cli", "generate", "--pipeline", config.pipeline, "--output-dir", str(shared)]
    run_processes(2, [*arguments, "--num-images", "3", "--num-inference-steps", "2"])
    assert rows(shared) == rows(config.output_dir)
    whole = pixels(config.output_dir)
    assert all(np.abs(image.astype(int) - whole[name]).mean() < 1 for name, image in pixels(shared).items())


def first_images(walkers, count):
    return sorted((walkers / "ID_2").rglob("*.png"))[:count]


def test_variations_are_those_of_the_pipeline_and_take_the_images_of_a_folder_in_turns(config, walkers, tmp_path):
    given = tmp_path / "given"
    given.mkdir()
    for path in first_images(walkers, 2):
        shutil.copy(path, given)
    result = generate.main(replace(config, users=("ID_1",), image=given, strength=0.5, num_images=3))
    names = sorted(path.stem for path in given.iterdir())
    assert [row["recording"] for row in result.rows] == [names[0], names[1], names[0]]
    pipe = VQLDMDopplerPipeline.from_pretrained(config.pipeline)
    for row in result.rows:
        with Image.open(given / f"{row['recording']}.png") as image:
            direct = pipe(
                users=["ID_1"],
                image=image.copy(),
                strength=0.5,
                num_inference_steps=2,
                generator=torch.Generator().manual_seed(row["image_seed"]),
            ).images[0]
        assert np.abs(read(config.output_dir / row["file_name"]).astype(int) - np.array(direct)).mean() < 1
    # By default each image of a folder is varied once, and the folder goes on to more.
    once = replace(config, users=("ID_1",), image=given, num_images=None, output_dir=tmp_path / "once")
    assert len(generate.main(once).rows) == 2 and len(generate.main(replace(once, num_images=4)).rows) == 4


def test_the_way_from_one_user_to_another_begins_and_ends_at_images_of_theirs(config, tmp_path):
    generate.main(replace(config, users=("ID_1",), num_images=1))
    way = replace(config, interpolate=("ID_1", "ID_3"), num_images=4, output_dir=tmp_path / "way", grid=True)
    result = generate.main(way)
    assert [row["share"] for row in result.rows] == [0.0, 0.333333, 0.666667, 1.0]
    assert {row["user"] for row in result.rows} == {"ID_1 to ID_3"} and (way.output_dir / "grid.png").exists()
    images = [read(way.output_dir / row["file_name"]).astype(int) for row in result.rows]
    assert np.abs(images[0] - read(config.output_dir / "ID_1" / "00000.png")).mean() < 1
    generator = torch.Generator().manual_seed(result.rows[0]["image_seed"])
    pipe = VQLDMDopplerPipeline.from_pretrained(config.pipeline)
    last = pipe(users=["ID_3"], num_inference_steps=2, generator=generator).images[0]
    assert np.abs(images[-1] - np.array(last)).mean() < 1
    with pytest.raises(ValueError, match="--num-images was 4, is now 8"):
        generate.main(replace(way, num_images=None))


def test_decibels_are_exact_and_can_be_read_in_place_of_the_images(config, tmp_path):
    result = generate.main(replace(config, save_db=True))
    pipe = VQLDMDopplerPipeline.from_pretrained(config.pipeline)
    row = result.rows[0]
    generator = torch.Generator().manual_seed(row["image_seed"])
    exact = pipe(users=["ID_1"], num_inference_steps=2, generator=generator, output_type="db").images[0]
    stored = np.load(config.output_dir / "ID_1" / "00000.npy")
    assert stored.dtype == np.float32
    np.testing.assert_allclose(stored[::-1], exact, atol=1e-3)
    assert json.loads((config.output_dir / "axes.json").read_text()) == pipe.config["axes"]
    # Both kinds of files tell one thing: the levels of the images are the decibels, rounded to one of 256. Up to five
    # neighbouring levels of jet have one colour.
    pictures, arrays = (
        read_source(config.output_dir, reading=ReadingConfig(read=kind)).pixels for kind in ("pictures", "arrays")
    )
    assert len(arrays.pixels) == 9 and np.abs(pictures.pixels.astype(int) - arrays.pixels).max() <= 3
    # A file that is missing is made again.
    (config.output_dir / "ID_2" / "00001.npy").unlink()
    generate.main(replace(config, save_db=True))
    assert (config.output_dir / "ID_2" / "00001.npy").is_file()
    with pytest.raises(ValueError, match="--save-db was true, is now not recorded"):
        generate.main(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strength": 0.5}, "--strength is for variations of --image, which is missing"),
        ({"reading": ReadingConfig(crop="auto")}, "--crop is for files that are read as they are"),
        ({"image": True, "strength": 0.0}, r"--strength must be above 0 and at most 1, got 0\.0"),
        ({"image": True, "strength": float("nan")}, "--strength must be above 0 and at most 1, got nan"),
        ({"image": True, "interpolate": ("ID_1", "ID_2")}, "give one of them"),
        ({"interpolate": ("ID_1", "ID_1")}, "two different users, got ID_1 twice"),
        ({"interpolate": ("ID_1", "ID_7")}, "--interpolate must be among ID_1, ID_2, ID_3, got ID_7"),
        ({"interpolate": ("ID_1", "ID_2"), "users": ("ID_1",)}, "cannot go with --users"),
        ({"interpolate": ("ID_1", "ID_2"), "num_images": 1}, r"--num-images must be in 2\.\.1000000, got 1"),
        ({"interpolate": ("ID_1", "ID_2"), "conditions": ("direction=away,towards",)}, "takes one value of each"),
    ],
)
def test_flags_that_contradict_one_another_are_refused(config, walkers, change, message):
    if change.get("image"):
        change = change | {"image": first_images(walkers, 1)[0]}
    with pytest.raises(ValueError, match=message):
        generate.main(replace(config, **change))
    assert not config.output_dir.exists()


def test_variations_of_another_image_or_strength_are_not_mixed_into_a_folder(config, walkers):
    one, other = first_images(walkers, 2)
    first = replace(config, users=("ID_1",), num_images=1, image=one)
    generate.main(first)
    for change, message in (
        ({"image": other}, "--image changed"),
        ({"strength": 0.9}, r"--strength was 0\.6, is now 0\.9"),
        ({"image": None}, "--image was .*, is now not recorded"),
    ):
        with pytest.raises(ValueError, match=message):
            generate.main(replace(first, **change))
