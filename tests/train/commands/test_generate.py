import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from echoform_train.commands import generate
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
