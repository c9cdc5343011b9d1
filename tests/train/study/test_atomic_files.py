"""A file is written completely or not at all."""

from __future__ import annotations

import pytest

from echoform_train.study.atomic_files import write_json


def test_numbers_that_are_none_are_never_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "rows.json", {"accuracy": float("nan")})
    assert not (tmp_path / "rows.json").exists()
