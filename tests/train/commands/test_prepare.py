from __future__ import annotations

import numpy as np
import pytest
import torch
import tyro
from PIL import Image

from echoform_train.commands.prepare import Config, main
from echoform_train.data.colormap import lookup_table
from echoform_train.data.spectrograms import load_spectrograms
from echoform_train.data.split import Split


@pytest.fixture
def folder(tmp_path):
    """Two users, two conditions, twelve timed windows each; one blank, one duplicate, one stray text."""
    rng = np.random.default_rng(0)
    for user in ("ID_2", "ID_10"):
        for condition in ("bag", "normal"):
            place = tmp_path / "walks" / user / condition
            place.mkdir(parents=True)
            for number in range(12):
                index = np.sort(rng.integers(0, 256, (16, 16), dtype=np.uint8))
                Image.fromarray(lookup_table("jet")[index]).save(place / f"{condition}_t{number * 100:05}.png")
    walks = tmp_path / "walks"
    Image.fromarray(lookup_table("jet")[np.zeros((16, 16), np.uint8)]).save(walks / "ID_2/bag/bag_t00500.png")
    (walks / "ID_10/bag/bag_t00300.png").write_bytes((walks / "ID_2/bag/bag_t00300.png").read_bytes())
    (walks / "notes.txt").write_text("walked on a Monday")
    return walks


def test_prepare_prints_what_it_found_and_writes_the_split(folder, tmp_path, capsys):
    main(Config(data=str(folder), save_split=tmp_path / "split.json"))
    text = capsys.readouterr().out
    assert f"{folder}: 48 images of 2 users, 16x16 pixels" in text
    assert "Colour map: jet, 0.00 RGB units away" in text
    assert "Recordings: 2 per user" in text
    assert "Condition: bag 24, normal 24" in text
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.startswith(("ID_", "all"))}
    assert list(rows) == ["ID_2", "ID_10", "all"]
    assert rows["all"] == ["48", *(str(2 * int(n)) for n in rows["ID_2"][1:])]
    assert sum(map(int, rows["ID_2"][1:])) == 24
    assert "Blank images: 1\n  ID_2/bag/bag_t00500.png" in text
    duplicates = next(line for line in text.splitlines() if "ID_10/bag/bag_t00300.png" in line)
    assert "ID_2/bag/bag_t00300.png (train)" in duplicates
    assert "Not images: 1\n  notes.txt" in text
    assert f"Split written to {tmp_path / 'split.json'}" in text
    assert len(Split.load(tmp_path / "split.json").train) == int(rows["all"][1])


def test_prepare_reads_a_split_that_exists(folder, tmp_path, capsys):
    main(Config(data=str(folder), save_split=tmp_path / "split.json"))
    main(Config(data=str(folder), split_file=tmp_path / "split.json"))
    assert f"Split read from {tmp_path / 'split.json'}" in capsys.readouterr().out


def test_a_file_that_is_missing_is_no_new_split_and_another_split_is_not_overwritten(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"--split-file .*typo\.json does not exist; it must name a split"):
        main(Config(data=str(folder), split_file=tmp_path / "typo.json"))
    main(Config(data=str(folder), save_split=tmp_path / "split.json"))
    before = (tmp_path / "split.json").read_bytes()
    main(Config(data=str(folder), save_split=tmp_path / "split.json"))
    with pytest.raises(ValueError, match=r"split\.json holds another split .*of 48 images on another side"):
        main(Config(data=str(folder), gap_windows=0, save_split=tmp_path / "split.json"))
    assert (tmp_path / "split.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["split.json"]


def test_prepare_stops_at_a_bad_file_or_lists_it(folder, capsys):
    (folder / "ID_2/bag/bag_t00000.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"--skip-bad-files.*ID_2/bag/bag_t00000\.png"):
        main(Config(data=str(folder)))
    main(Config(data=str(folder), skip_bad_files=True))
    assert "Skipped: 1\n  ID_2/bag/bag_t00000.png: cannot be decoded" in capsys.readouterr().out


def test_the_command_line_takes_the_folder_first():
    config = tyro.cli(Config, args=["walks", "--window-s", "3", "--skip-bad-files"])
    assert config == Config(data="walks", window_s=3.0, skip_bad_files=True)


def test_prepare_pushes_what_it_looked_at_and_the_hub_gives_it_back(folder, tmp_path, capsys, hub):
    repo, split_file = hub.repo_id("walks"), tmp_path / "split.json"
    main(Config(data=str(folder), save_split=split_file, push_to_hub=repo, license="cc-by-4.0"))
    assert f"Pushed to {hub.url}/datasets/{repo}" in capsys.readouterr().out
    local, pushed = load_spectrograms(folder, split_file=split_file), load_spectrograms(repo)
    assert torch.equal(pushed.train.pixels, local.train.pixels)
    assert pushed.split.train == local.split.train
    main(Config(data=repo))
    assert f"{repo}: 48 images of 2 users" in capsys.readouterr().out


def test_flags_of_the_hub_need_the_hub():
    with pytest.raises(ValueError, match="--license is for the Hub: it must go with --push-to-hub"):
        Config(data="walks", license="mit")
