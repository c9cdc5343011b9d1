"""The tiny radar pipeline and its parts as fixtures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from diffusers import AutoencoderKL

from echoform import DopplerUNet2DModel, VQLDMDopplerPipeline
from tiny_doppler import JET, tiny_kl, tiny_pipeline, tiny_unet


@pytest.fixture
def make_unet() -> Callable[..., DopplerUNet2DModel]:
    return tiny_unet


@pytest.fixture
def make_pipeline() -> Callable[..., VQLDMDopplerPipeline]:
    return tiny_pipeline


@pytest.fixture
def kl() -> AutoencoderKL:
    return tiny_kl()


@pytest.fixture
def jet() -> np.ndarray:
    return JET
