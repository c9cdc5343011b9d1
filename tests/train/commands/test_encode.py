import io
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy.spatial.distance import cdist

from echoform.pipeline_depth_autoencoder import DepthAutoencoderPipeline
from echoform_train import cli
from echoform_train.commands.encode import Config, main
from echoform_train.depth.rooms.config import RoomsConfig
from echoform_train.depth.rooms.rendering import render_rooms
from echoform_train.depth.search import Neighbour


def encode(config: Config) -> Dataset:
    dataset = main(config)
    assert isinstance(dataset, Dataset)
    return dataset


def search(config: Config) -> list[list[Neighbour]]:
    results = main(config)
    assert isinstance(results, list)
    return results


@pytest.fixture(scope="module")
def embedded(shapes, depth_ae, tmp_path_factory):
    """All images of the two classes as a data set with an index."""
    folder = tmp_path_factory.mktemp("embedded") / "embeddings"
    arguments = ["encode", str(shapes), "--pipeline", str(depth_ae / "pipeline"), "--output-dir", str(folder)]
    cli.main([*arguments, "--batch-size", "7"])
    return folder


@pytest.fixture(scope="module")
def pipeline(depth_ae):
    pipeline = DepthAutoencoderPipeline.from_pretrained(depth_ae / "pipeline")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_the_data_set_holds_every_image_with_its_bits_and_its_own_embedding(shapes, embedded, pipeline):
    dataset = Dataset.load_from_disk(str(embedded))
    assert len(dataset) == 80
    assert dataset.features["label"].names == ["ball", "box"]
    for place in (0, 41, 79):
        row = dataset[place]
        stored = np.array(Image.open(shapes / row["file"]))
        assert np.array_equal(np.array(row["image"]), stored) and stored.dtype == np.uint16
        assert row["file"].startswith(dataset.features["label"].int2str(row["label"]))
        assert row["embedding"] == pytest.approx(pipeline.encode(shapes / row["file"])[0].tolist(), abs=1e-5)


def test_the_nearest_images_are_those_of_scipy(shapes, embedded, tmp_path):
    query = shapes / "box" / "depth_box_0017.png"
    config = Config(query=(query,), index=embedded, neighbours=5, picture=tmp_path / "nearest.png")
    found = search(config)[0]
    embeddings = np.array(Dataset.load_from_disk(str(embedded))["embedding"][:], dtype=np.float64)
    files = Dataset.load_from_disk(str(embedded))["file"][:]
    distances = cdist(embeddings, embeddings[files.index("box/depth_box_0017.png")][None])[:, 0]
    order = np.argsort(distances)[:5]
    assert [row.file for row in found] == [files[place] for place in order]
    assert [row.distance for row in found] == pytest.approx(distances[order].tolist(), abs=1e-2)
    assert found[0].label == "box"


def test_the_search_prints_a_list_and_draws_a_picture(shapes, embedded, tmp_path, capsys):
    picture = tmp_path / "pictures" / "nearest.png"
    queries = [str(shapes / "box" / "depth_box_0001.png"), str(shapes / "ball" / "depth_ball_0001.png")]
    cli.main(["encode", "--query", *queries, "--index", str(embedded), "--neighbours", "3", "--picture", str(picture)])
    printed = capsys.readouterr().out
    assert "0.0000  box           box/depth_box_0001.png" in printed
    assert "0.0000  ball          ball/depth_ball_0001.png" in printed
    with Image.open(picture) as drawn:
        assert drawn.size[0] > drawn.size[1] > 200  # two rows of a query and three images


def test_datasets_alone_can_use_the_index(shapes, embedded, pipeline):
    dataset = Dataset.load_from_disk(str(embedded))
    dataset.load_faiss_index("embedding", embedded / "index.faiss")
    vector = pipeline.encode(shapes / "ball" / "depth_ball_0003.png")[0].numpy()
    scores, rows = dataset.get_nearest_examples("embedding", vector, k=1)
    assert rows["file"] == ["ball/depth_ball_0003.png"]
    assert scores[0] == pytest.approx(0.0, abs=1e-3)


def test_images_without_classes_are_found_too(shapes, depth_ae, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for number in range(4):
        (flat / f"frame{number}.png").write_bytes((shapes / "box" / f"depth_box_{number:04d}.png").read_bytes())
    dataset = encode(Config(source=str(flat), pipeline=str(depth_ae / "pipeline"), output_dir=tmp_path / "out"))
    assert "label" not in dataset.features
    config = Config(query=(flat / "frame2.png",), index=tmp_path / "out", picture=tmp_path / "n.png")
    found = search(config)[0]
    assert len(found) == 4 and found[0].file == "frame2.png" and found[0].label is None


def test_a_bad_file_is_named_or_skipped(shapes, depth_ae, tmp_path, capsys):
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    (mixed / "good0.png").write_bytes((shapes / "box" / "depth_box_0000.png").read_bytes())
    Image.new("L", (8, 8)).save(mixed / "small1.png")
    config = Config(source=str(mixed), pipeline=str(depth_ae / "pipeline"), output_dir=tmp_path / "out")
    with pytest.raises(ValueError, match=r"small1\.png"):
        encode(config)
    assert len(encode(replace(config, skip_bad_files=True))) == 1
    assert "small1.png" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either a folder to embed or --query must be given, neither is"),
        (["images", "--query", "x.png"], "both are"),
        (["images"], "--pipeline is required to embed images"),
        (["--query", "x.png"], "--query needs --index, the folder to search"),
        (["--query", "x.png", "--index", "images"], r"images holds no index\.faiss"),
        (["--query", "x.png", "--index", "nowhere"], "there is no folder nowhere"),
        (["--query", "y.png", "--index", "images"], r"there is no file y\.png"),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "x.png").write_bytes(b"")
    with pytest.raises(SystemExit) as exit_status:
        cli.main(["encode", *arguments])
    assert exit_status.value.code == 1
    assert re.search(message, capsys.readouterr().err)


def test_an_index_is_not_searched_with_another_model(shapes, depth_ae, embedded, tmp_path):
    other = shutil.copytree(depth_ae / "pipeline", tmp_path / "other")
    file = next((other / "autoencoder").glob("*.safetensors"))
    weights = load_file(file)
    name = next(name for name in weights if name.endswith("head.bias"))
    save_file(weights | {name: weights[name] + 1e-3}, file)
    query = Config(query=(shapes / "box" / "depth_box_0001.png",), index=embedded, picture=tmp_path / "nearest.png")
    with pytest.raises(ValueError, match="needs the pipeline that made the index"):
        search(replace(query, pipeline=str(other)))
    assert not query.picture.exists()
    # The same model at another place is the same.
    moved = shutil.copytree(depth_ae / "pipeline", tmp_path / "moved")
    assert search(replace(query, pipeline=str(moved)))[0][0].distance == pytest.approx(0, abs=1e-2)


def test_a_folder_that_holds_something_is_not_written_into(shapes, depth_ae, tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"--output-dir must be a new or an empty folder, .* holds note\.txt"):
        encode(Config(source=str(shapes), pipeline=str(depth_ae / "pipeline"), output_dir=tmp_path))


def test_rooms_are_embedded_as_those_that_a_training_makes(pipeline, depth_ae, tmp_path):
    size = pipeline.autoencoder.config["sample_size"]
    config = Config(source="rooms", pipeline=str(depth_ae / "pipeline"), output_dir=tmp_path / "rooms", seed=3)
    dataset = encode(replace(config, rooms=2, cameras_per_room=1, images_per_camera=2))
    made = render_rooms(RoomsConfig(rooms=2, cameras_per_room=1, images_per_camera=2, resolution=size), 3)
    assert dataset["file"][:] == [image.file for image in made]
    for place, image in enumerate(made):
        row, units = dataset[place], np.array(Image.open(io.BytesIO(image.read())))
        assert np.array_equal(np.array(row["image"]), units)
        assert row["embedding"] == pytest.approx(pipeline.encode(units)[0].tolist(), abs=1e-5)
    with pytest.raises(ValueError, match="--rooms need the data rooms, got somewhere"):
        main(replace(config, source="somewhere", output_dir=tmp_path / "none", rooms=2))
