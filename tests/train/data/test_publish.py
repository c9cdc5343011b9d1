"""A data set that goes to the Hub comes back as it was: bytes, order, split, axes, and the batches of a training."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from datasets import Image, load_dataset
from huggingface_hub import DatasetCard, DatasetCardData

from echoform.hub import PushError
from echoform_train.commands import simulate
from echoform_train.data.config import DataConfig
from echoform_train.data.layout import SIDES
from echoform_train.data.publish import publish_dataset
from echoform_train.data.spectrograms import SpectrogramData, load_spectrograms
from echoform_train.data.split import Split
from echoform_train.engine.training_log import read_log
from echoform_train.trainers import vq_vae as train_vq_vae
from tiny import run_python, tiny_run, tiny_vq_vae


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """Two simulated people with one long walk each way, so that the split cuts through recordings and leaves a gap."""
    folder = tmp_path_factory.mktemp("recordings") / "long-walks"
    simulate.main(
        simulate.Config(output_dir=folder, users=2, recordings_per_user=2, recording_s=12.0, resolution=32, workers=1)
    )
    return folder


@pytest.fixture(scope="module")
def published(recordings, hub_of_the_session) -> str:
    repo = hub_of_the_session.repo_id("long-walks")
    publish_dataset(recordings, repo, people="simulated", license="cc-by-4.0", max_shard_bytes=20_000)
    return repo


def assert_same(one: SpectrogramData, other: SpectrogramData) -> None:
    for part in SIDES:
        ours, theirs = getattr(one, part), getattr(other, part)
        assert torch.equal(ours.pixels, theirs.pixels)
        assert torch.equal(ours.users, theirs.users)
        assert ours.conditions.keys() == theirs.conditions.keys()
        assert all(torch.equal(ours.conditions[name], theirs.conditions[name]) for name in ours.conditions)
        assert (ours.files, ours.recordings) == (theirs.files, theirs.recordings)
    for fact in ("split", "id2label", "condition_labels", "colormap", "colormap_residual", "axes", "native_size"):
        assert getattr(one, fact) == getattr(other, fact)


def test_the_hub_gives_the_same_tensors_split_and_axes_as_the_folder(recordings, published):
    local = load_spectrograms(recordings)
    assert local.split.method == "contiguous with a gap" and len(local.left_out) > 0
    assert local.axes and local.condition_labels
    assert_same(local, load_spectrograms(published))
    assert_same(load_spectrograms(recordings, resolution=16), load_spectrograms(published, resolution=16))


def test_training_on_the_hub_id_gives_the_same_losses_as_on_the_folder(recordings, published, tmp_path):
    run = tiny_run(tmp_path, max_train_images=32, validation_every=32, checkpointing_every=32)
    logs = []
    for source in (str(recordings), published):
        config = tiny_vq_vae(recordings, tmp_path, quantize=False)
        output_dir = tmp_path / f"run-{len(logs)}"
        run = replace(run, output_dir=output_dir)
        train_vq_vae.main(replace(config, data=DataConfig(data=source), run=run))
        logs.append(read_log(output_dir))
    assert logs[0] == logs[1]
    assert any("train/loss" in row for row in logs[0])
    assert (tmp_path / "run-0" / "split.json").read_bytes() == (tmp_path / "run-1" / "split.json").read_bytes()


def test_image_files_travel_byte_for_byte_in_several_shards(recordings, published, hub):
    shards = [path for path in hub.files(published, kind="datasets") if path.endswith(".parquet")]
    assert len(shards) == len(SIDES) + 1, shards
    for part in load_dataset(published).values():
        for row in part.cast_column("image", Image(decode=False)).to_list():
            assert row["image"]["bytes"] == (recordings / row["file"]).read_bytes()
            assert row["image"]["path"] == Path(row["file"]).name


def test_a_stranger_in_a_fresh_process_loads_it_plain_streaming_and_by_the_cards_snippet(published, hub, tmp_path):
    card = hub.files(published, kind="datasets")["README.md"].decode()
    snippet = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert snippet is not None
    script = tmp_path / "stranger.py"
    script.write_text(
        f"{snippet[1]}\n"
        "assert data['train'].features['user'].names == ['ID_1', 'ID_2']\n"
        f"for data in (data, load_dataset({published!r}, streaming=True)):\n"
        "    rows = [row for part in ('train', 'validation', 'test', 'left_out') for row in data[part]]\n"
        "    assert len(rows) == 40, len(rows)\n"
        "    assert rows[0]['image'].size == (32, 32) and rows[0]['image'].mode == 'RGB'\n"
        "    assert {row['direction'] for row in rows} == {0, 1} and rows[0]['speed_mps'] > 0.3\n"
    )
    run_python(["-I", str(script)])


def test_the_same_content_again_makes_no_commit_and_other_content_makes_one(recordings, published, hub):
    def publish(license: str, revision: str | None = None) -> None:
        publish_dataset(
            recordings, published, people="simulated", license=license, revision=revision, max_shard_bytes=20_000
        )

    before = hub.commits(published, kind="datasets")
    publish("cc-by-4.0")
    assert hub.commits(published, kind="datasets") == before
    publish("cc0-1.0", "other-licence")
    assert len(hub.commits(published, revision="other-licence", kind="datasets")) == len(before) + 1
    assert hub.commits(published, kind="datasets") == before


def test_a_named_revision_is_loaded_and_an_unknown_one_is_refused(recordings, published, two_users, hub):
    publish_dataset(two_users, published, revision="small")
    assert list(load_spectrograms(f"{published}@small").split.train) == list(load_spectrograms(two_users).split.train)
    assert_same(load_spectrograms(recordings), load_spectrograms(published))
    with pytest.raises(FileNotFoundError, match="as a data set of the Hub it cannot be loaded"):
        load_spectrograms(f"{published}@nowhere")


def test_another_split_in_fewer_shards_replaces_the_earlier_one_under_a_persons_own_text(recordings, tmp_path, hub):
    repo = hub.repo_id("resplit")
    publish_dataset(recordings, repo, max_shard_bytes=10_000)
    printed = hub.files(repo, kind="datasets")["README.md"].decode()
    edited = printed.replace("## Load", "Walked in the hall, in May.\n\n## Load").replace(
        "tags:", "license: mit\ntags:"
    )
    hub.write(repo, "README.md", edited.encode(), kind="datasets")
    local = load_spectrograms(recordings, gap_windows=1, window_s=2.0)
    local.split.save(tmp_path / "split.json")
    publish_dataset(recordings, repo, split_file=tmp_path / "split.json", window_s=2.0)
    assert Split.load(tmp_path / "split.json") == load_spectrograms(repo, window_s=2.0).split
    assert len(load_dataset(repo)["train"]) == len(local.train)
    files = hub.files(repo, kind="datasets")
    card = DatasetCard(files["README.md"].decode())
    assert "in the hall, in May" in card.text and card.data.to_dict()["license"] == "mit"
    assert len([path for path in files if path.endswith(".parquet")]) == len(SIDES)


def test_a_split_of_ones_own_stands_over_the_published_one(recordings, published, tmp_path):
    own = load_spectrograms(recordings).split
    own = replace(own, test=(*own.test, own.left_out[-1]), left_out=own.left_out[:-1], validation=own.validation)
    own.save(tmp_path / "own.json")
    with pytest.raises(ValueError, match="windows that overlap must stand on one side"):
        load_spectrograms(published, split_file=tmp_path / "own.json")


def test_folders_of_train_and_test_stay_as_given(two_users, write_picture, tmp_path, hub):
    folder = tmp_path / "given"
    for part in ("train", "val", "test"):
        for user in ("ID_1", "ID_2", "ID_10"):
            for number in range(2):
                write_picture(folder / part / user / f"{number}.jpg")
    repo = hub.repo_id("given")
    publish_dataset(folder, repo, private=True)
    data = load_spectrograms(repo)
    assert data.split.method == "as given"
    assert list(data.id2label.values()) == ["ID_1", "ID_2", "ID_10"]
    assert data.validation.files[0] == "val/ID_1/0.jpg"
    assert_same(load_spectrograms(folder), data)


def test_the_card_counts_what_was_pushed_and_the_hub_library_accepts_it(recordings, published, hub):
    text = hub.files(published, kind="datasets")["README.md"].decode()
    card = DatasetCard(text)
    card.validate()
    assert isinstance(card.data, DatasetCardData)
    assert card.data.license == "cc-by-4.0"
    assert card.data.size_categories == "n<1K"
    local = load_spectrograms(recordings)
    row = [int((getattr(local, part).users == 1).sum()) for part in SIDES]
    assert f"| ID_2 | {' | '.join(map(str, row))} |" in text
    assert "neighbouring windows of a recording share 2 s" in text
    assert "left_out" in text and "overlap images of both sides" in text
    assert "biometric data" in text and "no real person's gait is in here" in text
    assert str(recordings) not in text


def test_a_push_that_fails_leaves_no_half_and_says_what_continues(two_users, hub):
    repo = hub.repo_id("refused")
    hub.fail("/commit/", status=403)
    with pytest.raises(PushError, match=rf"is unchanged, and `echoform prepare \S+ --push-to-hub {repo}` tries"):
        publish_dataset(two_users, repo)
    assert not any(path.endswith(".parquet") for path in hub.files(repo, kind="datasets"))


def test_a_data_set_in_a_local_folder_of_the_hubs_format_is_the_same_too(recordings, published, hub, tmp_path):
    for path, content in hub.files(published, kind="datasets").items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    assert_same(load_spectrograms(recordings), load_spectrograms(tmp_path))


def test_without_the_hub_what_was_loaded_before_loads_again(two_users, hub, monkeypatch):
    repo = hub.repo_id("offline")
    publish_dataset(two_users, repo)
    before = load_spectrograms(repo)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    assert_same(before, load_spectrograms(repo))
