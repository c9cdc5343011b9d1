"""What travels to the Hub: models and pipelines, one self-contained file each, imported on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from echoform.block_dct import BlockDCT
    from echoform.conv_autoencoder import ConvAutoencoder
    from echoform.depth_autoencoder import DepthAutoencoder, DepthEncoder
    from echoform.pipeline_conv_autoencoder import ConvAutoencoderPipeline
    from echoform.pipeline_depth_autoencoder import DepthAutoencoderPipeline
    from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
    from echoform.semantic_encoder import SemanticEncoder, create_semantic_encoder
    from echoform.shipped import pretrained
    from echoform.unet_doppler import DopplerUNet2DModel

__version__ = "0.1.0"
__all__ = [
    "BlockDCT",
    "ConvAutoencoder",
    "ConvAutoencoderPipeline",
    "DepthAutoencoder",
    "DepthAutoencoderPipeline",
    "DepthEncoder",
    "DopplerUNet2DModel",
    "SemanticEncoder",
    "VQLDMDopplerPipeline",
    "create_semantic_encoder",
    "pretrained",
]

_HOME = {
    "BlockDCT": "echoform.block_dct",
    "ConvAutoencoder": "echoform.conv_autoencoder",
    "ConvAutoencoderPipeline": "echoform.pipeline_conv_autoencoder",
    "DepthAutoencoder": "echoform.depth_autoencoder",
    "DepthAutoencoderPipeline": "echoform.pipeline_depth_autoencoder",
    "DepthEncoder": "echoform.depth_autoencoder",
    "DopplerUNet2DModel": "echoform.unet_doppler",
    "SemanticEncoder": "echoform.semantic_encoder",
    "VQLDMDopplerPipeline": "echoform.pipeline_vq_ldm_doppler",
    "create_semantic_encoder": "echoform.semantic_encoder",
    "pretrained": "echoform.shipped",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'echoform' has no attribute {name!r}; it exports {', '.join(__all__)}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
