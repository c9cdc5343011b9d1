"""What the stock VQ model of diffusers lacks while it trains: k-means start, moving averages, restart of dead codes."""

from __future__ import annotations

import numpy as np
import torch
from accelerate import Accelerator
from scipy.cluster.vq import kmeans2
from torch import Tensor

from echoform_train.engine.processes import summed


def nearest_codes(latents: Tensor, codebook: Tensor) -> Tensor:
    """Index of the nearest code of each latent.

    Args:
        latents: float [B, D, H, W].
        codebook: float [K, D].

    Returns:
        int64 [B, H, W].
    """
    flat = latents.permute(0, 2, 3, 1).float()  # [B, H, W, D]
    # |z - e|^2 without the |z|^2 that all codes share; one matrix product instead of a [BHW, K, D] difference.
    distance = codebook.square().sum(1) - 2 * flat @ codebook.T
    return distance.argmin(-1)


def look_up(codes: Tensor, codebook: Tensor) -> Tensor:
    """Codes int64 [B, H, W] to vectors [B, D, H, W]."""
    return codebook[codes].permute(0, 3, 1, 2).contiguous()


class EMACodebook:
    """Exponential-moving-average update of a codebook (van den Oord et al. 2017, appendix A.1).

    Starts from k-means on the first latents; a code that is hardly used is put on a random latent of the batch
    (Dhariwal et al., Jukebox, 2020). It writes into the embedding of a stock `VQModel` and leaves no trace in the file.

    Args:
        weight: Embedding of the model, float [K, D]; changed in place.
        accelerator: Sums the statistics over processes.
        decay: Share of the past in the averages at each update.
        dead_share: A code used less than this share of an equal share of latents is restarted.
    """

    def __init__(self, weight: Tensor, accelerator: Accelerator, decay: float = 0.99, dead_share: float = 0.03) -> None:
        self.weight, self.accelerator, self.decay, self.dead_share = weight, accelerator, decay, dead_share
        weight.requires_grad_(False)
        self.counts = torch.zeros(len(weight), device=weight.device)
        self.sums = torch.zeros_like(weight)
        self.started = False

    def start(self, latents: Tensor, seed: int) -> None:
        """Put the codes on k-means centres of `latents` [N, D]; every process must pass the same ones."""
        size = len(self.weight)
        if len(latents) < size:
            raise ValueError(f"a codebook of {size} codes needs at least as many latents to start, got {len(latents)}")
        points = latents.double().cpu().numpy()
        # A hair of noise keeps equal latents (flat background) from making empty clusters.
        points = points + 1e-4 * points.std() * np.random.default_rng(seed).standard_normal(points.shape)
        centres, labels = kmeans2(points, size, iter=20, minit="++", rng=np.random.default_rng(seed))
        used = np.bincount(labels, minlength=size)
        self.weight.copy_(torch.from_numpy(centres))
        self.counts.copy_(torch.from_numpy(used / used.sum()))
        self.sums.copy_(self.weight * self.counts[:, None])
        self.started = True

    @torch.no_grad()
    def update(self, latents: Tensor, codes: Tensor, generator: torch.Generator) -> int:
        """Move each code towards the latents that chose it.

        Args:
            latents: float [B, D, H, W] of this process.
            codes: int64 [B, H, W], their nearest codes.
            generator: CPU generator in the same state on every process; picks the latents for dead codes.

        Returns:
            Number of codes that were restarted.
        """
        size, dim = self.weight.shape
        flat = latents.detach().permute(0, 2, 3, 1).reshape(-1, dim).float()
        index = codes.reshape(-1)
        counts = torch.bincount(index, minlength=size).float()
        sums = torch.zeros_like(self.sums).index_add_(0, index, flat)
        counts, sums = summed(counts, self.accelerator), summed(sums, self.accelerator)
        total = counts.sum()
        self.counts.lerp_(counts / total, 1 - self.decay)
        self.sums.lerp_(sums / total, 1 - self.decay)
        alive = self.counts > self.dead_share / size
        self.weight[alive] = self.sums[alive] / self.counts[alive, None]
        dead = (~alive).nonzero().flatten()
        if len(dead):
            everyone = self.accelerator.gather(flat)
            choice = torch.randint(len(everyone), (len(dead),), generator=generator).to(flat.device)
            self.weight[dead] = everyone[choice]
            self.counts[dead] = 1 / size
            self.sums[dead] = self.weight[dead] / size
        return len(dead)

    def tensors(self) -> dict[str, Tensor]:
        """State for a checkpoint; the weight itself is the model's."""
        return {"counts": self.counts, "sums": self.sums}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Inverse of `tensors`."""
        self.counts.copy_(tensors["counts"])
        self.sums.copy_(tensors["sums"])
        self.started = True
