"""Export of a trained depth autoencoder as a pipeline with balanced embedding and the scale of the data."""

from __future__ import annotations

from echoform.depth_autoencoder import DepthAutoencoder
from echoform.pipeline_depth_autoencoder import DepthAutoencoderPipeline
from echoform_train.depth.balance import balance, balancing_map
from echoform_train.depth.dataset import DepthData
from echoform_train.depth.reconstruction import embed


def build_pipeline(autoencoder: DepthAutoencoder, data: DepthData, balance_power: float) -> DepthAutoencoderPipeline:
    """Balance the embedding of a trained model, and put the model and the scale of its data into a pipeline.

    Args:
        autoencoder: On any device. Its bottleneck is changed in place; its reconstructions stay the same.
        data: The data of its training; the variances of the embedding are measured on the training images.
        balance_power: See `balancing_map`.
    """
    balance(autoencoder, *balancing_map(embed(autoencoder, data.train.units, data.scale), balance_power))
    return DepthAutoencoderPipeline(
        autoencoder.eval(),
        depth_range_mm=data.depth_range_mm,
        **data.reading.facts(),
    )
