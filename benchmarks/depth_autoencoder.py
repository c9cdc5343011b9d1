"""Cost of the depth autoencoder, compared with an autoencoder around a ResNet-50, in one process on one core.

    python benchmarks/depth_autoencoder.py [--output JSON] [--batch-size 32] [--repeats 9] ...

The ResNet autoencoder has 132.6 million parameters: torchvision's ResNet-50 without pooling and classifier, on depth
and validity; linear maps to 768 numbers and back; and a decoder of transposed convolutions. Times are CPU times of
encoding and decoding with random weights, medians over repeats that alternate between the networks. Accuracy is not
measured here.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import tyro
from record import print_tables, write_results
from tables import RESULTS, Table, cell
from torch import Tensor, nn
from torchvision.models import resnet50

from echoform import DepthAutoencoder
from echoform.depth_sizes import COSINE_SIZES, SIZES


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to time."""

    output: Path = RESULTS / "depth_autoencoder.json"
    """JSON file to write."""
    batch_size: int = 32
    """Images per call."""
    repeats: int = 9
    """Timings of each network."""
    sample_size: int = 128
    """Side of the images, in pixels."""


class ResNetAutoencoder(nn.Module):
    """Bottleneck residual blocks down to 1/32, a linear map to 768 numbers, transposed convolutions back."""

    def __init__(self, sample_size: int, latent_dim: int = 768, hidden: int = 960) -> None:
        super().__init__()
        trunk = resnet50(weights=None)
        trunk.conv1 = nn.Conv2d(2, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.side = sample_size // 32
        self.encoder = nn.Sequential(
            *list(trunk.children())[:-2],
            nn.Flatten(),
            nn.Linear(2048 * self.side**2, hidden),
            nn.ReLU(),
            nn.Linear(hidden, latent_dim),
        )
        self.expand = nn.Sequential(
            nn.Linear(latent_dim, hidden), nn.ReLU(), nn.Linear(hidden, 2048 * self.side**2), nn.ReLU()
        )
        widths = (2048, 1024, 512, 256, 128, 64)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [
                nn.ConvTranspose2d(before, after, kernel_size=4, stride=2, padding=1),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.decoder = nn.Sequential(*layers, nn.Conv2d(widths[-1], 2, kernel_size=3, padding=1))

    def forward(self, depth: Tensor, valid: Tensor) -> Tensor:
        latents = self.encoder(torch.cat([depth, valid], dim=1))
        return self.decoder(self.expand(latents).unflatten(1, (-1, self.side, self.side)))


def main(config: Config) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    depth = torch.rand(config.batch_size, 1, config.sample_size, config.sample_size) * 2 - 1
    valid = (torch.rand_like(depth) > 0.1).float()
    # Every size of both bottlenecks beside the ResNet.
    models: dict[str, nn.Module] = {"resnet50": ResNetAutoencoder(config.sample_size)}
    cosine = {f"cosine {name}": settings for name, settings in COSINE_SIZES.items()}
    for name, settings in {**SIZES, **cosine}.items():
        models[name] = DepthAutoencoder(sample_size=config.sample_size, **settings)
    results: dict[str, dict[str, Any]] = {}
    with torch.no_grad():
        calls = {name: partial(model.eval(), depth, valid) for name, model in models.items()}
        for precision, autocast in (("float32", False), ("bfloat16", True)):
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                for name, ms in cpu_ms_per_image(calls, config.repeats, config.batch_size).items():
                    results.setdefault(name, {})[f"{precision}_ms_per_image"] = ms
    for name, model in models.items():
        results[name]["parameters"] = sum(p.numel() for p in model.parameters())
    tables = {"networks": table(results)}
    write_results(config, {"networks": results}, tables)
    print_tables(tables)


def table(results: dict[str, dict[str, Any]]) -> Table:
    """CPU time per image in both precisions, and parameters."""
    rows = [
        [
            name,
            cell("{:.1f} ms per image", one["float32_ms_per_image"]),
            cell("{:.1f} ms", one["bfloat16_ms_per_image"]),
            cell("{:.1f} M", one["parameters"] / 1e6),
        ]
        for name, one in results.items()
    ]
    return {"columns": ["", "float32", "bf16 autocast", "parameters"], "rows": rows}


def cpu_ms_per_image(calls: dict[str, Callable[[], Any]], repeats: int, batch_size: int) -> dict[str, float]:
    """Median CPU time of each call, in milliseconds per image; each is called once before as warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            if repeat > 0:
                seconds[name].append(time.process_time() - start)
    return {name: 1000 * statistics.median(values) / batch_size for name, values in seconds.items()}


if __name__ == "__main__":
    main(tyro.cli(Config))
