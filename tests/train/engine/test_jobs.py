"""A job of several processes is for the verbs that share their work."""

from __future__ import annotations

import pytest

from echoform_train import cli
from echoform_train.engine.jobs import check_can_share


def test_a_verb_that_does_not_share_its_work_is_refused_in_a_job(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit):
        cli.main(["simulate", str(tmp_path / "walks"), "--users", "2"])
    assert "`echoform simulate` works in one process, and this is one of 2 (WORLD_SIZE)" in capsys.readouterr().err
    assert not (tmp_path / "walks").exists()


@pytest.mark.parametrize("verb", ["train vq-vae", "train ldm", "distill", "generate"])
def test_verbs_that_share_their_work_run_in_a_job(verb, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    check_can_share(verb)


@pytest.mark.parametrize("size", ["1", "", "many"])
def test_one_process_is_no_job(size, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", size)
    check_can_share("prepare")
