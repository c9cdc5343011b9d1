"""The Space as a whole, and the tab that generates."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from huggingface_hub import SpaceCard
from huggingface_hub.repocard_data import SpaceCardData
from PIL import Image

SPACE = Path(__file__).parents[2] / "space_app"
ENDPOINTS = {
    "/generate",
    "/reconstruct",
    "/vary",
    "/interpolate",
    "/report",
    "/embed",
    "/interpolate_depth",
    "/classify",
}


def generate(client: Client, **asked: Any) -> tuple[list[dict[str, Any]], str, str, str]:
    arguments = {
        "users": ["ID_10"],
        "num_images_per_user": 2,
        "conditions": [],
        "steps": 2,
        "guidance": 1.5,
        "seed": 5,
    } | asked
    return client.predict(**arguments, api_name="/generate")


def unpack(path: str) -> tuple[list[np.ndarray], list[dict[str, Any]]]:
    """The plain pictures of a download, and their metadata."""
    with zipfile.ZipFile(path) as pack:
        rows = [json.loads(line) for line in pack.read("metadata.jsonl").decode().splitlines()]
        return [np.asarray(Image.open(BytesIO(pack.read(row["file_name"])))) for row in rows], rows


def test_a_visitor_gets_pictures_of_the_people_that_they_chose(client: Client, on_the_hub: dict[str, str]):
    shown, path, _, seen = generate(client, users=["ID_10", "ID_1"], conditions=["condition=backpack"])
    pictures, rows = unpack(path)
    assert [one["caption"] for one in shown] == ["ID_10, seed 5", "ID_10, seed 6", "ID_1, seed 7", "ID_1, seed 8"]
    assert [one["user"] for one in rows] == ["ID_10", "ID_10", "ID_1", "ID_1"]
    assert {one["condition"] for one in rows} == {"backpack"}
    assert seen == "Real images that the model saw in its training: ID_10 unknown, ID_1 61."
    assert [one["real_images_in_training"] for one in rows] == [None, None, 61, 61]
    assert {one["revision"] for one in rows} == {on_the_hub["ECHOFORM_DOPPLER_REVISION"]}
    assert {one.shape for one in pictures} == {(16, 16, 3)}


def test_what_is_shown_is_the_plain_picture_with_axes_around_it(client: Client):
    shown, path, *_ = generate(client)
    for one, picture in zip(shown, unpack(path)[0], strict=True):
        with Image.open(one["image"]) as image:
            assert (image.format, image.mode) == ("PNG", "RGB")
            framed = np.asarray(image)
        large = picture.repeat(48, axis=0).repeat(48, axis=1)  # 768 pixels
        np.testing.assert_array_equal(framed[26 : 26 + 768, 194 : 194 + 768], large)


def test_every_colour_of_a_picture_is_one_of_the_models_colour_table(client: Client, table: np.ndarray):
    pictures, _ = unpack(generate(client)[1])
    colors = {tuple(color) for color in table.tolist()}
    assert {tuple(color) for color in pictures[0].reshape(-1, 3).tolist()} <= colors


def test_pictures_appear_one_after_the_other(client: Client):
    job = client.submit(["ID_1"], 3, [], 2, 1.5, 0, api_name="/generate")
    job.result()
    assert [len(shown) for shown, *_ in job.outputs()] == [1, 2, 3, 3]  # the last with the download


def test_the_snippet_makes_the_same_pictures_where_echoform_is_not_installed(
    client: Client, stranger: dict[str, str], tmp_path: Path
):
    _, path, code, _ = generate(client, conditions=["condition=backpack"])
    nodes = list(ast.walk(ast.parse(code)))
    imported = {name.name for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for name in node.names}
    assert imported <= {node.id for node in nodes if isinstance(node, ast.Name)}  # none in vain
    save = "\nfor number, image in enumerate(images):\n    image.save(f'{number}.png')\n"
    done = subprocess.run([sys.executable, "-c", code + save], cwd=tmp_path, env=stranger, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    for number, picture in enumerate(unpack(path)[0]):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"{number}.png")), picture)


def test_the_seed_alone_decides_between_two_equal_requests(client: Client):
    first, again, other = (unpack(generate(client, seed=seed)[1])[0][0] for seed in (1, 1, 20))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"users": ["Somebody"]}, r"Somebody.*ID_1.*ID_2.*ID_10"),
        ({"users": []}, "at least one user"),
        ({"users": ["ID_1", "ID_2"], "num_images_per_user": 9}, "At most 16 images at once, got 18"),
        ({"conditions": ["condition=normal", "condition=backpack"]}, "at most one value per condition"),
        ({"conditions": ["weather=rain"]}, r"weather=rain.*condition=normal"),
        ({"steps": 51}, "steps must be in 1 to 50, got 51"),
        ({"guidance": 30.0}, r"guidance must be in 1.0 to 3.0, got 30.0"),
        ({"seed": -1}, "seed must be in 0 to 4294967295, got -1"),
    ],
)
def test_a_request_that_cannot_be_met_is_told_why_and_the_app_lives_on(
    client: Client, asked: dict[str, Any], message: str
):
    with pytest.raises(AppError) as told:
        generate(client, **asked)
    assert re.search(message, str(told.value), re.DOTALL)
    assert len(generate(client, num_images_per_user=1)[0]) == 1


def test_every_action_is_an_endpoint_whose_arguments_are_explained(client: Client):
    described: Any = client.view_api(return_format="dict", print_info=False)
    endpoints = described["named_endpoints"]
    assert set(endpoints) == ENDPOINTS
    for endpoint in endpoints.values():
        assert all(re.fullmatch("[a-z_]+", one["parameter_name"]) for one in endpoint["parameters"])
        assert all(re.match("[A-Z][a-z]", one["label"]) for one in endpoint["returns"]), endpoint["returns"]


def test_the_first_screen_shows_pictures_before_anything_was_pressed(client: Client):
    galleries = [one["props"] for one in client.config["components"] if one["type"] == "gallery"]
    filled = [len(one["value"]) for one in galleries if one.get("value")]
    # Generated; through the first stage; from one user to another; nearest to the first of two rooms; the two rooms
    # with scales; from one room to the other.
    assert filled == [3, 3, 3, 3, 6, 5]


def test_the_page_knows_how_large_a_file_may_be(client: Client):
    assert client.config["max_file_size"] == 20 * 2**20


def test_no_request_left_the_machine(client: Client, log: Path):
    generate(client)
    assert "left loopback" not in log.read_text()


def test_the_report_is_the_measured_part_of_the_models_card(client: Client):
    words = client.predict(api_name="/report")
    assert words.startswith("## Did it help?\n\nGenerated images help: +3.0 points.")
    assert "| 5 | 40.0 % | 50.0 % | 45.0 % | 53.0 % | +3.0 points (+1.0 to +5.0) |" in words
    assert "## Memorisation" in words and "## Training" not in words


@pytest.mark.slow
def test_what_visitors_sent_and_got_is_deleted_and_the_examples_stay(
    serve: Callable[..., AbstractContextManager[str]],
    stranger: dict[str, str],
    on_the_hub: dict[str, str],
    tmp_path: Path,
):
    """The same app with seconds in place of minutes."""
    folder = tmp_path / "space"
    shutil.copytree(SPACE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    disk = folder / "disk.py"
    shortened = disk.read_text()
    for usual, short in (("(600, 3600)", "(1, 15)"), ("PARTIAL_S = 330", "PARTIAL_S = 15"), ("= 4200", "= 30")):
        assert usual in shortened
        shortened = shortened.replace(usual, short)
    disk.write_text(shortened)
    files = tmp_path / "gradio"
    environment = stranger | on_the_hub | {"GRADIO_TEMP_DIR": str(files)}
    Image.fromarray(np.full((32, 32), 1000, np.uint16)).save(tmp_path / "mine.png")
    with serve(folder, environment, tmp_path / "app.log") as url:
        before = {path for path in files.rglob("*") if path.is_file()}
        client = Client(url, verbose=False, download_files=tmp_path, analytics_enabled=False)
        client.predict([handle_file(str(tmp_path / "mine.png"))], api_name="/embed")
        deadline = time.monotonic() + 120
        while left := {path for path in files.rglob("*") if path.is_file()} - before:
            assert time.monotonic() < deadline, left
            time.sleep(1)
        assert all(path.is_file() for path in before)


@pytest.mark.slow
def test_twenty_visitors_at_once_are_answered_or_told_to_wait(client: Client):
    jobs = [client.submit(["ID_1"], 2, [], 8, 1.5, seed, api_name="/generate") for seed in range(30)]
    answered = 0
    for job in jobs:
        try:
            answered += len(job.result(timeout=300)[0]) == 2
        except Exception as error:  # what the client raises for a full queue has no type of its own
            assert re.search("queue", str(error), re.IGNORECASE), error
    assert answered >= 20
    assert len(generate(client)[0]) == 2


def test_without_a_model_the_app_says_which_variables_name_one(
    monkeypatch: pytest.MonkeyPatch, module: Any, tmp_path: Path
):
    for kind in ("DOPPLER", "DEPTH", "CLASSIFIER"):
        monkeypatch.delenv(f"ECHOFORM_{kind}_REPO", raising=False)
    with pytest.raises(ValueError, match="ECHOFORM_DEPTH_REPO or ECHOFORM_CLASSIFIER_REPO must name the model"):
        module("app").build(module("disk").Disk(tmp_path))


@pytest.mark.slow
def test_with_one_model_the_other_tab_is_one_sentence(stranger: dict[str, str], depth_folder: Path):
    script = (
        "import app, json; page = app.build(app.Disk());"
        "print(json.dumps(page.get_config_file()['components'], default=str))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=SPACE,
        env=stranger | {"ECHOFORM_DEPTH_REPO": str(depth_folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    components = json.loads(done.stdout.splitlines()[-1])
    tabs = [one["props"]["label"] for one in components if one["type"] == "tabitem"]
    sentences = [one["props"]["value"] for one in components if one["type"] == "markdown"]
    assert tabs == ["Depth", "Spectrograms"]
    assert sentences[-1] == "No spectrogram pipeline is shown here; set `ECHOFORM_DOPPLER_REPO` to show one."


def test_the_front_matter_starts_this_app_on_the_gradio_that_was_tested():
    data = SpaceCard.load(SPACE / "README.md").data
    assert isinstance(data, SpaceCardData)
    assert (data.sdk, data.license) == ("gradio", "apache-2.0")
    assert data.app_file is not None and (SPACE / data.app_file).is_file()
    assert data.sdk_version is not None and int(data.sdk_version.split(".")[0]) >= 6
    assert len(data["short_description"]) <= 60  # the Hub refuses longer ones
