import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from echoform_train.engine.checkpoint import (
    list_checkpoints,
    load_checkpoint,
    load_newest,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)


def train_steps(model: torch.nn.Module, optimizer: torch.optim.Optimizer, inputs: list[torch.Tensor]) -> None:
    for value in inputs:
        optimizer.zero_grad()
        model(value).square().sum().backward()
        optimizer.step()


def test_training_goes_on_to_the_same_bits_from_a_checkpoint(tmp_path):
    torch.manual_seed(0)
    inputs = [torch.randn(4, 3) for _ in range(6)]
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), 0.1)
    train_steps(model, optimizer, inputs[:3])
    tensors = {"model": model.state_dict(), "optimizer": optimizer_tensors(optimizer)}
    folder = save_checkpoint(tmp_path, 12, tensors, {"seen": 12}, limit=2)
    train_steps(model, optimizer, inputs[3:])

    _, groups, state = load_checkpoint(folder)
    again = torch.nn.Linear(3, 2)
    again.load_state_dict(groups["model"])
    resumed = torch.optim.AdamW(again.parameters(), 0.1)
    restore_optimizer(resumed, groups["optimizer"])
    train_steps(again, resumed, inputs[3:])
    assert state == {"seen": 12}
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_only_the_newest_checkpoints_are_kept_and_nothing_is_pickled(tmp_path):
    for seen in (5, 100, 20):
        save_checkpoint(tmp_path, seen, {"model": {"weight": torch.ones(1)}}, {}, limit=2)
    assert [folder.name for folder in list_checkpoints(tmp_path)] == ["images-000000020", "images-000000100"]
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".json", ".safetensors"}


def test_a_checkpoint_that_was_cut_short_is_not_taken_for_one(tmp_path):
    (tmp_path / ".images-000000050.partial").mkdir()
    assert list_checkpoints(tmp_path) == []
    with pytest.raises(FileNotFoundError, match=r"holds no state\.json"):
        load_checkpoint(tmp_path)


def write_two(root: Path) -> list[Path]:
    return [save_checkpoint(root, seen, {"model": {"w": torch.full((64,), seen)}}, {}, 5) for seen in (8, 16)]


def rewrite_state(**changes: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        state = json.loads((folder / "state.json").read_text())
        (folder / "state.json").write_text(json.dumps(state | changes))

    return damage


def cut(name: str, length: int) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / name, length)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated weights": cut("model.safetensors", 100),
    "empty weights": cut("model.safetensors", 0),
    "missing weights": lambda folder: (folder / "model.safetensors").unlink(),
    "a pipe": lambda folder: (folder / "model.safetensors").unlink() or os.mkfifo(folder / "model.safetensors"),
    "pickled weights": lambda folder: (folder / "model.safetensors").write_bytes(pickle.dumps([1])) and None,
    "weights of another shape": lambda folder: save_file({"w": torch.ones(3)}, folder / "model.safetensors"),
    "weights that are NaN": lambda folder: save_file({"w": torch.full((64,), torch.nan)}, folder / "model.safetensors"),
    "truncated state": cut("state.json", 20),
    "empty state": cut("state.json", 0),
    "missing state": lambda folder: (folder / "state.json").unlink(),
    "state that is a list": lambda folder: (folder / "state.json").write_text("[]") and None,
    "seen -8": rewrite_state(seen=-8),
    "seen that is a text": rewrite_state(seen="16"),
    "seen of another folder": rewrite_state(seen=8),
    "files that are not listed": rewrite_state(files={}),
    "another best": rewrite_state(best=0.0),
    "a file in its place": lambda folder: shutil.rmtree(folder) or (folder.write_text("") and None),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint_is_one_sentence_and_the_newest_whole_one_is_found(name, tmp_path):
    older, newest = write_two(tmp_path)
    DAMAGES[name](newest)
    with pytest.raises(ValueError, match=f"{newest.name}") as refused:
        load_checkpoint(newest)
    assert len(str(refused.value).splitlines()) == 1
    found, skipped = load_newest(list_checkpoints(tmp_path))
    assert (found.folder, found.state["seen"]) == (older, 8)
    assert skipped == [str(refused.value)]


def test_where_no_checkpoint_is_whole_the_newest_is_named(tmp_path):
    for folder in write_two(tmp_path):
        (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"holds no whole checkpoint; the newest is damaged: .*images-000000016"):
        load_newest(list_checkpoints(tmp_path))


def test_weights_that_are_not_finite_are_never_written(tmp_path):
    write_two(tmp_path)
    for bad in (torch.nan, torch.inf):
        with pytest.raises(FloatingPointError, match="w of model holds numbers that are not finite after 24 images"):
            save_checkpoint(tmp_path, 24, {"model": {"w": torch.tensor([1.0, bad])}}, {}, 5)
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith("24")] == []


def test_a_damaged_newer_checkpoint_does_not_push_out_a_whole_older_one(tmp_path):
    older, newest = write_two(tmp_path)
    (newest / "model.safetensors").unlink()
    written = save_checkpoint(tmp_path, 12, {"model": {"w": torch.ones(1)}}, {}, 1)
    assert not older.exists()
    assert load_newest(list_checkpoints(tmp_path))[0].folder == written


def test_checkpoints_are_ordered_by_number_and_nothing_else_is_one(tmp_path):
    for name in (
        "images-999999999",
        "images-1000000000",
        "images-000000008",
        "images-notes",
        ".images-000000099.partial",
    ):
        (tmp_path / name).mkdir()
    names = [folder.name for folder in list_checkpoints(tmp_path)]
    assert names == ["images-000000008", "images-999999999", "images-1000000000"]


KILLED = """
import sys
from pathlib import Path
import torch
from echoform_train.engine.checkpoint import save_checkpoint
for seen in range(8, 100_000, 8):
    value = {"w": torch.full((200_000,), seen)}
    save_checkpoint(Path(sys.argv[1]), seen, {"model": value, "ema": value}, {}, 2)
    print("written", flush=True)
"""


@pytest.mark.slow
def test_a_process_killed_while_it_writes_leaves_a_whole_newest_checkpoint(tmp_path):
    waits = torch.rand(20, generator=torch.Generator().manual_seed(0)).tolist()
    for wait_s in waits:
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.5 * wait_s)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        found = list_checkpoints(tmp_path)
        checkpoint, skipped = load_newest(found)
        assert checkpoint.folder == found[-1]
        assert skipped == []
        assert (checkpoint.tensors["ema"]["w"] == checkpoint.state["seen"]).all()
        shutil.rmtree(tmp_path)
