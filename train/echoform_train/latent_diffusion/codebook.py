"""Training of a codebook by moving averages, with a k-means start and a restart of unused codes."""

from __future__ import annotations

import numpy as np
import torch
from accelerate import Accelerator
from scipy.cluster.vq import kmeans2
from torch import Tensor

from echoform_train.engine.errors import UserError
from echoform_train.engine.processes import summed


def nearest_codes(latents: Tensor, codebook: Tensor) -> Tensor:
    """Find the nearest code of each latent.

    Args:
        latents: float [B, D, H, W].
        codebook: float [K, D].

    Returns:
        Indices of codes, int64 [B, H, W].
    """
    flat = latents.permute(0, 2, 3, 1).float()  # [B, H, W, D]
    # |z - e|^2 without the |z|^2 that all codes share; one matrix product instead of a [BHW, K, D] difference.
    distance = codebook.square().sum(1) - 2 * flat @ codebook.T
    return distance.argmin(-1)


def look_up(codes: Tensor, codebook: Tensor) -> Tensor:
    """Vectors [B, D, H, W] of the codes with these indices, int64 [B, H, W]."""
    return codebook[codes].permute(0, 3, 1, 2).contiguous()


class EMACodebook:
    """A codebook in training: every code is the moving average of the latents that chose it.

    The codes start at the centres of k-means clusters of some latents, or where a finished training left them. A code
    that is hardly used is moved to a random latent of the batch. The codes are the embedding of a stock `VQModel`, so
    they are saved with it.

    Sources: van den Oord et al. 2017, appendix A.1 (averages); Dhariwal et al., Jukebox, 2020 (restart).

    Args:
        weight: Embedding of the model, float [K, D]; changed in place.
        accelerator: Sums the statistics over processes.
        decay: Share of the old average at each update.
        dead_share: A code is restarted if it is used less often than this share of 1 / K, the mean over all codes.
    """

    def __init__(self, weight: Tensor, accelerator: Accelerator, decay: float = 0.99, dead_share: float = 0.03) -> None:
        self.weight, self.accelerator, self.decay, self.dead_share = weight, accelerator, decay, dead_share
        weight.requires_grad_(False)
        self.counts = torch.zeros(len(weight), device=weight.device)
        self.sums = torch.zeros_like(weight)
        self.started = False

    def start(self, latents: Tensor, seed: int) -> None:
        """Put the codes on the centres of k-means clusters.

        Args:
            latents: float [N, D]; every process must pass the same ones.
            seed: Seed of k-means.

        Raises:
            ValueError: If there are fewer latents than codes.
        """
        size = len(self.weight)
        if len(latents) < size:
            raise UserError(f"a codebook of {size} codes needs at least as many latents to start, got {len(latents)}")
        points = latents.double().cpu().numpy()
        # Equal latents, such as those of a flat background, would make empty clusters; a little noise separates them.
        points = points + 1e-4 * points.std() * np.random.default_rng(seed).standard_normal(points.shape)
        centres, labels = kmeans2(points, size, iter=20, minit="++", rng=np.random.default_rng(seed))
        used = np.bincount(labels, minlength=size)
        self.weight.copy_(torch.from_numpy(centres))
        self.counts.copy_(torch.from_numpy(used / used.sum()))
        self.sums.copy_(self.weight * self.counts[:, None])
        self.started = True

    def start_from_weights(self) -> None:
        """Go on with the codes of a trained codebook, of which each is given an equal share of the latents.

        So a code that the new latents do not choose lives for some hundred updates before it is moved.
        """
        self.counts.fill_(1 / len(self.weight))
        self.sums.copy_(self.weight * self.counts[:, None])
        self.started = True

    @torch.no_grad()
    def update(self, latents: Tensor, codes: Tensor, generator: torch.Generator) -> int:
        """Move each code towards the latents that chose it, and restart unused codes.

        Args:
            latents: float [B, D, H, W] of this process.
            codes: Index of the nearest code of each latent, int64 [B, H, W].
            generator: CPU generator in the same state on every process; draws the latents for restarted codes.

        Returns:
            Number of codes that were restarted.
        """
        # 1. How many latents of all processes chose each code, and their sum.
        size, dim = self.weight.shape
        flat = latents.detach().permute(0, 2, 3, 1).reshape(-1, dim).float()
        index = codes.reshape(-1)
        counts = torch.bincount(index, minlength=size).float()
        sums = torch.zeros_like(self.sums).index_add_(0, index, flat)
        counts, sums = summed(counts, self.accelerator), summed(sums, self.accelerator)
        # 2. Averages in which each code counts by its share of the latents.
        total = counts.sum()
        self.counts.lerp_(counts / total, 1 - self.decay)
        self.sums.lerp_(sums / total, 1 - self.decay)
        alive = self.counts > self.dead_share / size
        self.weight[alive] = self.sums[alive] / self.counts[alive, None]
        # 3. Codes that hardly any latent chooses are moved to latents of this batch.
        dead = (~alive).nonzero().flatten()
        if len(dead):
            all_latents = self.accelerator.gather(flat)
            choice = torch.randint(len(all_latents), (len(dead),), generator=generator).to(flat.device)
            self.weight[dead] = all_latents[choice]
            self.counts[dead] = 1 / size
            self.sums[dead] = self.weight[dead] / size
        return len(dead)

    def tensors(self) -> dict[str, Tensor]:
        """Averages for a checkpoint, empty before the start; the codes themselves are saved with the model."""
        return {"counts": self.counts, "sums": self.sums} if self.started else {}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Inverse of `tensors`."""
        self.counts.copy_(tensors["counts"])
        self.sums.copy_(tensors["sums"])
        self.started = True
