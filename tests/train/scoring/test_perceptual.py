"""LPIPS with a backbone of random weights at the place where torchvision looks for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from doc_pages import load_script
from echoform_train.commands import score_first_stage
from echoform_train.engine.training_log import read_log
from echoform_train.scoring.perceptual import PerceptualLoss, perceptual_available
from echoform_train.trainers import kl_vae as train_kl_vae
from echoform_train.trainers import vq_vae as train_vq_vae
from tiny import tiny_kl_vae, tiny_run, tiny_vq_vae

lpips = pytest.importorskip("lpips")


@pytest.fixture(scope="module")
def torch_home(tmp_path_factory) -> tuple[Path, dict[str, Tensor]]:
    home = tmp_path_factory.mktemp("torch-home")
    return home, load_script("untrained", folder="benchmarks").write_backbone(home)


@pytest.fixture(autouse=True)
def backbone(torch_home: tuple[Path, dict[str, Tensor]], monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    home, weights = torch_home
    monkeypatch.setenv("TORCH_HOME", str(home))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    return weights


def images(seed: int, channels: int = 3) -> Tensor:
    return torch.rand(4, channels, 64, 64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def features(weights: dict[str, Tensor], image: Tensor) -> list[Tensor]:
    """The five activations of AlexNet that LPIPS compares, by the network's published layers."""
    convolutions = ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1))  # index, stride, padding
    found = []
    for index, stride, padding in convolutions:
        if index in (3, 6):
            image = F.max_pool2d(image, kernel_size=3, stride=2)
        kernel, bias = weights[f"features.{index}.weight"], weights[f"features.{index}.bias"]
        image = F.relu(F.conv2d(image, kernel, bias, stride, padding))
        found.append(image)
    return found


def test_distances_follow_the_published_formula(backbone: dict[str, Tensor]):
    # Zhang et al. 2018, eq. 1: unit-normalised activations, squared difference, learned weights, mean over positions.
    mean = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    deviation = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
    file = Path(lpips.__file__).parent / "weights" / "v0.1" / "alex.pth"
    heads = torch.load(file, map_location="cpu", weights_only=True)
    one, other = images(0), images(1)
    expected = torch.zeros(4)
    pairs = zip(*(features(backbone, (image - mean) / deviation) for image in (one, other)), strict=True)
    for layer, (a, b) in enumerate(pairs):
        difference = (F.normalize(a) - F.normalize(b)).square()
        expected += (heads[f"lin{layer}.model.1.weight"] * difference).sum(dim=1).mean(dim=(1, 2))
    loss = PerceptualLoss()
    torch.testing.assert_close(loss.distances(one, other), expected, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(loss(one, other), expected.mean(), rtol=1e-4, atol=1e-7)


def test_equal_images_have_distance_zero_and_one_channel_counts_as_three_equal_ones():
    loss = PerceptualLoss()
    grey, other = images(0, channels=1), images(1, channels=1)
    assert loss.distances(grey, grey).tolist() == [0.0] * 4
    three = grey.repeat(1, 3, 1, 1), other.repeat(1, 3, 1, 1)
    assert torch.equal(loss.distances(grey, other), loss.distances(*three))


def test_gradient_reaches_the_reconstruction_and_not_the_backbone():
    loss = PerceptualLoss()
    reconstruction = images(0).requires_grad_()
    loss(reconstruction, images(1)).backward()
    assert reconstruction.grad is not None and reconstruction.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in loss.parameters())


def test_backbone_in_the_cache_is_found_and_one_elsewhere_is_not(monkeypatch, tmp_path):
    assert perceptual_available()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert not perceptual_available()


@pytest.mark.parametrize(
    ("trainer", "settings"), [(train_vq_vae, tiny_vq_vae), (train_kl_vae, tiny_kl_vae)], ids=["vq-vae", "kl-vae"]
)
def test_first_stage_trains_with_the_loss_and_is_scored_by_it(trainer, settings, walkers, tmp_path):
    run = tiny_run(tmp_path / "stage")
    trainer.main(settings(walkers, tmp_path / "stage", run=run, lpips_weight=0.5))
    rows = [row for row in read_log(tmp_path / "stage") if "train/lpips" in row]
    assert 0 < rows[-1]["train/lpips"] < rows[0]["train/lpips"]
    # The weighted part is in the total.
    parts = [row for row in rows[-1] if row.startswith("train/") and row not in ("train/loss", "train/spectral_share")]
    known = {"train/l1", "train/l2", "train/spectral", "train/lpips", "train/commitment", "train/kl"}
    assert rows[-1]["train/loss"] == pytest.approx(sum(rows[-1][part] for part in parts if part in known), rel=1e-5)

    config = score_first_stage.Config(
        folder=tmp_path / "stage", data=str(walkers), output=tmp_path / "scores", judge_seeds=(0,),
        judge_train_images=64, device="cpu",
    )  # fmt: skip
    distance = score_first_stage.main(config).scores["lpips"]
    assert distance is not None and distance["low"] is not None and distance["high"] is not None
    assert 0 < distance["low"] <= distance["mean"] <= distance["high"]
