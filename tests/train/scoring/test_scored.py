from __future__ import annotations

import json
from pathlib import Path

import pytest

from echoform_train.scoring.scored import generated_record


def folder(root: Path, name: str, **settings: object) -> Path:
    (root / name).mkdir()
    (root / name / "settings.json").write_text(json.dumps({"--pipeline": "a", "--seed": 0} | settings))
    (root / name / "0.png").write_bytes(b"image")
    return root / name


def test_folders_that_differ_in_their_seed_are_scored_together_and_others_are_not(tmp_path):
    first = folder(tmp_path, "first")
    record = generated_record([first, folder(tmp_path, "second", **{"--seed": 1})], [first / "0.png"])
    assert record["settings"] == {"--pipeline": "a"}
    (first / "0.png").write_bytes(b"another image")
    assert generated_record([first], [first / "0.png"])["images_sha256"] != record["images_sha256"]
    guided = folder(tmp_path, "guided", **{"--guidance-scale": 2.0})
    with pytest.raises(ValueError, match=r"guided has others: --guidance-scale was not recorded, is now 2\.0"):
        generated_record([first, guided], [])
    with pytest.raises(ValueError, match="must name each folder once"):
        generated_record([first, tmp_path / "second" / ".." / "first"], [])
