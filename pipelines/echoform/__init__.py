"""What travels to the Hub: models and pipelines, one self-contained file each, imported on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
    from echoform.unet_doppler import DopplerUNet2DModel

__version__ = "0.1.0"
__all__ = ["DopplerUNet2DModel", "VQLDMDopplerPipeline"]

_HOME = {
    "DopplerUNet2DModel": "echoform.unet_doppler",
    "VQLDMDopplerPipeline": "echoform.pipeline_vq_ldm_doppler",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'echoform' has no attribute {name!r}; it exports {', '.join(__all__)}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
