import pytest
import torch

from echoform_train.engine.checkpoint import (
    list_checkpoints,
    load_checkpoint,
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

    groups, state = load_checkpoint(folder)
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
