"""A tiny real data set and a tiny real first stage, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from echoform_train.commands import simulate
from echoform_train.trainers import depth_ae as train_depth_ae
from echoform_train.trainers import kl_vae as train_kl_vae
from echoform_train.trainers import ldm as train_ldm
from echoform_train.trainers import vq_vae as train_vq_vae
from tiny import tiny_depth_ae, tiny_kl_vae, tiny_ldm, tiny_vq_vae, write_depth_images


@pytest.fixture(scope="session")
def walkers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three simulated people, four walks of 6 s each, at 32x32 pixels: thin lines, which a model learns in a moment."""
    folder = tmp_path_factory.mktemp("walkers") / "data"
    simulate.main(
        simulate.Config(
            output_dir=folder,
            users=3,
            recordings_per_user=4,
            recording_s=6.0,
            resolution=32,
            body="ellipsoids",
            workers=1,
        )
    )
    return folder


@pytest.fixture(scope="session")
def first_stage(walkers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A first stage trained for a moment."""
    folder = tmp_path_factory.mktemp("first_stage") / "vq"
    train_vq_vae.main(tiny_vq_vae(walkers, folder))
    return folder


@pytest.fixture(scope="session")
def kl_first_stage(walkers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A first stage without a codebook, trained for a moment."""
    folder = tmp_path_factory.mktemp("first_stage") / "kl"
    train_kl_vae.main(tiny_kl_vae(walkers, folder))
    return folder


@pytest.fixture(scope="session")
def kl_second_stage(walkers: Path, kl_first_stage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second stage on that one whose users and conditions are attended to."""
    folder = tmp_path_factory.mktemp("second_stage") / "kl"
    train_ldm.main(tiny_ldm(walkers, kl_first_stage, folder, conditioning="cross-attention"))
    return folder


@pytest.fixture(scope="session")
def second_stage(walkers: Path, first_stage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second stage trained for a moment; its pipeline lies in `pipeline`."""
    folder = tmp_path_factory.mktemp("second_stage") / "ldm"
    train_ldm.main(tiny_ldm(walkers, first_stage, folder))
    return folder


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Depth images of two classes, 40 each, at 32x32 pixels."""
    folder = tmp_path_factory.mktemp("shapes") / "data"
    write_depth_images(folder)
    return folder


@pytest.fixture(scope="session")
def depth_ae(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A depth autoencoder trained for a moment; its pipeline lies in `pipeline`."""
    folder = tmp_path_factory.mktemp("depth_ae") / "shapes"
    train_depth_ae.main(tiny_depth_ae(shapes, folder))
    return folder
