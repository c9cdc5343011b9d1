"""Named sizes of the depth autoencoder, for building new ones: `DepthAutoencoder(**SIZES["large"])`."""

from __future__ import annotations

from typing import Any

SIZES: dict[str, dict[str, Any]] = {
    "small": {"block_out_channels": (32, 64, 128, 256), "layers_per_block": (1, 1, 1, 1)},
    "large": {"block_out_channels": (64, 128, 256, 512), "layers_per_block": (2, 2, 2, 2)},
}
"""For the bottleneck "map". "small" is the default of `DepthAutoencoder`."""

COSINE_SIZES: dict[str, dict[str, Any]] = {
    "small": {
        "bottleneck": "cosine",
        "block_out_channels": (32, 64, 128, 256),
        "layers_per_block": (2, 2, 2, 1),
        "attention": (False, False, False, False),
    },
    "large": {
        "bottleneck": "cosine",
        "block_out_channels": (64, 128, 256, 512),
        "layers_per_block": (3, 3, 3, 2),
        "attention": (False, False, True, True),
    },
}
"""For the bottleneck "cosine"."""
