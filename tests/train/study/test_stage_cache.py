"""A stage is made once for its inputs, goes on where it was stopped, and never touches what is not its own."""

from __future__ import annotations

import json
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from echoform_train.engine.provenance import code_name, provenance
from echoform_train.study import stage_cache
from echoform_train.study.stage_cache import FinishedStage, StageCache, StageFacts, codes_of


class CountFacts(StageFacts):
    count: int


class Counter:
    """A stage that counts to three in files, and may be interrupted on the way."""

    name = "count"

    def __init__(self, stop_at: int | None = None, inputs: dict[str, Any] | None = None) -> None:
        self.stop_at, self.steps = stop_at, 0
        self._inputs = {"to": 3} if inputs is None else inputs

    def inputs(self) -> dict[str, Any]:
        return self._inputs

    def make(self, folder: Path) -> CountFacts:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(3):
            if (folder / f"{number}.txt").exists():
                continue
            if number == self.stop_at:
                raise KeyboardInterrupt
            (folder / f"{number}.txt").write_text(str(number))
            self.steps += 1
        return {"summary": "counted to 3", "count": 3}


def run(root: Path, stage: Counter, output: Path | None = None) -> FinishedStage[CountFacts]:
    return StageCache(root, 1).run(stage, output=output)


def test_what_was_made_is_found_and_its_facts_and_cost_with_it(tmp_path, capsys):
    made, again = Counter(), Counter()
    first = run(tmp_path, made)
    second = run(tmp_path, again)
    assert (made.steps, again.steps) == (3, 0)
    assert (first.skipped, second.skipped) == (False, True)
    assert first.facts == second.facts == {"summary": "counted to 3", "count": 3}
    assert first.seconds == second.seconds > 0
    assert "[1/1] count: counted to 3" in capsys.readouterr().out


def test_an_interrupted_stage_goes_on_where_it_stopped(tmp_path, capsys):
    stopped, rest = Counter(stop_at=2), Counter()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stopped)
    before = json.loads((tmp_path / "count" / "stage.json").read_text())
    stage = run(tmp_path, rest)
    assert (stopped.steps, rest.steps) == (2, 1)
    assert not before["finished"]
    assert stage.seconds > before["seconds"] > 0
    assert "goes on after" in capsys.readouterr().out


@pytest.mark.parametrize("inputs", [{"to": 4}, {"to": 3, "more": None}, {}])
def test_other_inputs_make_it_anew_and_from_nothing(tmp_path, inputs, capsys):
    run(tmp_path, Counter())
    (tmp_path / "count" / "stray.txt").write_text("of the earlier study")
    again = Counter(inputs=inputs)
    assert not run(tmp_path, again).skipped
    assert again.steps == 3
    assert not (tmp_path / "count" / "stray.txt").exists()
    assert "made anew, because of changed inputs: " in capsys.readouterr().out


def test_an_interrupted_stage_with_other_inputs_begins_anew(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Counter(stop_at=2))
    again = Counter(inputs={"to": 5})
    run(tmp_path, again)
    assert again.steps == 3


def test_a_file_that_is_gone_or_cut_short_makes_it_anew(tmp_path, capsys):
    run(tmp_path, Counter())
    (tmp_path / "count" / "1.txt").unlink()
    run(tmp_path, gone := Counter())
    (tmp_path / "count" / "1.txt").write_text("")
    run(tmp_path, short := Counter())
    assert (gone.steps, short.steps) == (3, 3)
    assert capsys.readouterr().out.count("a file of it is gone or changed") == 2


def test_a_stage_that_builds_on_another_sees_its_change(tmp_path):
    first = run(tmp_path, Counter(inputs={"to": 3}))
    other = run(tmp_path, Counter(inputs={"to": 4}))
    assert first.key != other.key


def test_a_folder_of_somebody_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds files that no study made"):
        run(tmp_path / "stages", Counter(), output=tmp_path / "dataset")
    assert [path.name for path in (tmp_path / "dataset").iterdir()] == ["mine.txt"]


def test_a_file_of_a_person_is_moved_aside_when_its_folder_is_made_anew(tmp_path, capsys):
    dataset, aside = tmp_path / "dataset", tmp_path / "dataset-set-aside"
    run(tmp_path / "stages", Counter(), output=dataset)
    (dataset / "notes").mkdir()
    (dataset / "notes" / "mine.txt").write_text("mine")
    (dataset / ".git").write_text("mine too")
    (dataset / "1.txt").write_text("2")  # of the same size, edited by hand
    (dataset / "link").symlink_to(tmp_path / "stages")
    run(tmp_path / "stages", Counter(inputs={"to": 4}), output=dataset)
    assert sorted(path.name for path in dataset.iterdir()) == ["0.txt", "1.txt", "2.txt"]
    assert (dataset / "1.txt").read_text() == "1"
    assert (aside / "notes" / "mine.txt").read_text() == "mine"
    assert [(aside / name).read_text() for name in (".git", "1.txt")] == ["mine too", "2"]
    assert (aside / "link").is_symlink() and (tmp_path / "stages" / "count" / "stage.json").is_file()
    assert str(aside) in capsys.readouterr().out


def test_what_is_aside_already_stays_when_more_is_moved_there(tmp_path):
    for number, text in enumerate(("first", "second"), start=4):
        run(tmp_path / "stages", Counter(), output=tmp_path / "dataset")
        (tmp_path / "dataset" / "mine.txt").write_text(text)
        run(tmp_path / "stages", Counter(inputs={"to": number}), output=tmp_path / "dataset")
    folders = sorted(tmp_path.glob("dataset-set-aside*"))
    assert [(folder / "mine.txt").read_text() for folder in folders] == ["first", "second"]


def test_a_link_to_a_folder_elsewhere_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "dataset").symlink_to(tmp_path / "disk")
    run(tmp_path / "stages", Counter(), output=tmp_path / "dataset")
    run(tmp_path / "stages", Counter(inputs={"to": 4}), output=tmp_path / "dataset")
    assert (tmp_path / "dataset").is_symlink() and (tmp_path / "disk" / "2.txt").is_file()


def test_another_file_of_the_same_size_makes_it_anew(tmp_path):
    run(tmp_path, Counter())
    (tmp_path / "count" / "1.txt").write_text("2")
    assert not run(tmp_path, Counter()).skipped


def test_a_changed_input_is_printed_with_both_values(tmp_path, capsys):
    run(tmp_path, Counter(inputs={"sampling": {"guidance_scale": 1.0, "steps": 8}, "images": "a" * 200}))
    run(tmp_path, Counter(inputs={"sampling": {"guidance_scale": 2.5, "steps": 8}, "images": "b" * 200}))
    printed = capsys.readouterr().out
    assert "changed inputs: sampling.guidance_scale was 1.0, is now 2.5; images changed" in printed


def test_what_other_code_made_is_kept_under_the_commit_that_made_it(tmp_path, monkeypatch, capsys):
    first = run(tmp_path, Counter())
    monkeypatch.setattr(stage_cache, "code_state", lambda: {"commit": "fedcba987654", "sources": "0"})
    again = run(tmp_path, Counter())
    assert again.skipped
    assert again.made_by == first.made_by and len(first.made_by) == 1
    assert f"by other code, {code_name(first.made_by[0])}" in capsys.readouterr().out


def test_a_stage_that_two_states_of_the_code_made_names_both(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Counter(stop_at=2))
    other = {**provenance(), "commit": "fedcba987654", "sources": "0"}
    monkeypatch.setattr(stage_cache, "provenance", lambda: other)
    stage = run(tmp_path, Counter())
    assert [attempt["sources"] for attempt in stage.made_by] == [provenance()["sources"], "0"]
    assert codes_of([stage]) == [code_name(provenance()), "commit fedcba987654"]


def test_a_state_of_an_earlier_version_is_not_read(tmp_path):
    run(tmp_path, Counter())
    state = json.loads((tmp_path / "count" / "stage.json").read_text())
    del state["made_by"]
    (tmp_path / "count" / "stage.json").write_text(json.dumps(state))
    assert not run(tmp_path, Counter()).skipped


def test_an_output_outside_holds_nothing_but_what_was_made(tmp_path):
    stage = run(tmp_path / "stages", Counter(), output=tmp_path / "dataset")
    assert stage.folder == tmp_path / "dataset"
    assert sorted(path.name for path in stage.folder.iterdir()) == ["0.txt", "1.txt", "2.txt"]
    assert run(tmp_path / "stages", Counter(), output=tmp_path / "dataset").skipped


def test_a_process_that_is_killed_loses_no_step_that_was_finished(tmp_path, capsys):
    script, root = tmp_path / "script.py", tmp_path / "stages"
    script.write_text(
        "import sys, time\n"
        "from pathlib import Path\n"
        "from echoform_train.engine.json_files import write_json\n"
        "from echoform_train.study.stage_cache import StageCache\n"
        "class Count:\n"
        "    name = 'steps'\n"
        "    def __init__(self, hang):\n"
        "        self.hang = hang\n"
        "    def inputs(self):\n"
        "        return {}\n"
        "    def make(self, folder):\n"
        "        for number in range(3):\n"
        "            path = folder / f'{number}.json'\n"
        "            if not path.exists():\n"
        "                write_json(path, number)\n"
        "                time.sleep(60 if self.hang and number == 1 else 0)\n"
        "        return {'summary': 'done'}\n"
        "def count(root, hang):\n"
        "    StageCache(Path(root), 1).run(Count(hang))\n"
        "if __name__ == '__main__':\n"
        "    count(sys.argv[1], hang=True)\n"
    )
    process = subprocess.Popen([sys.executable, str(script), str(root)])
    while not (root / "steps" / "1.json").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    first = (root / "steps" / "0.json").stat().st_mtime_ns
    runpy.run_path(str(script))["count"](root, hang=False)
    assert "goes on after" in capsys.readouterr().out
    assert (root / "steps" / "0.json").stat().st_mtime_ns == first
    assert (root / "steps" / "2.json").exists()
