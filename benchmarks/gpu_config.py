"""Settings of gpu.py, and what a part of it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tables import RESULTS

Preset = Literal["cpu", "6gb", "16gb", "256", "paper"]

# Names of the parts.
PEAK = "matrix products"
DATA = "simulated people"
FIRST_STAGE = "training of the first stage"
DENOISER = "training of the denoiser"
JUDGED = "generated images, judged"
DEPTH_SPEED = "depth, encoding and decoding"
DEPTH_TRAINING = "depth, training"


def generation_name(batch_size: int, compiled: bool) -> str:
    """Name of the part that generates in batches of this size."""
    return f"generation{' compiled' if compiled else ''}, batches of {batch_size}"


def memory_name(preset: str, stage: str) -> str:
    """Name of the part that measures the memory of a stage, "first stage" or "denoiser", of a preset."""
    return f"memory of preset {preset}, {stage}"


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to measure, and for how long."""

    output: Path = RESULTS / "gpu.json"
    """JSON file to write, and to go on from."""
    work_dir: Path = Path("runs/gpu")
    """Folder of the trained models, which later parts and later runs use."""
    budget_s: float = 480.0
    """Seconds for everything; no part starts whose usual time does not fit into what is left of it."""
    only: str = ""
    """Only the parts whose name begins so."""
    device: Literal["cuda", "cpu"] = "cuda"
    """cpu is for trying the script out."""
    threads: int = 0
    """Threads of torch with --device cpu. 0: as many as torch takes."""

    preset: Preset = "256"
    """Preset of both stages."""
    resolution: int = 256
    """Height and width of the spectrograms, in pixels."""
    users: int = 31
    """Simulated people."""
    recordings_per_user: int = 10
    """Walks of each; a tenth of them validates, a fifth tests."""
    recording_s: float = 12.0
    """Length of a walk, seconds."""
    workers: int = 0
    """Processes that simulate. 0: one per core."""

    batch_sizes: tuple[int, ...] = (16, 64, 256, 512)
    """Images per forward pass of generation."""
    steps: int = 4
    """Denoising steps of generation."""
    repeats: int = 5
    """Timings of each call, whose median counts."""
    compiled: bool = True
    """Also generate with torch.compile."""

    trial_steps: int = 10
    """Optimizer steps of the short training that tells how many images the real one can see."""
    stage_s: float = 100.0
    """Seconds for the training of each stage."""
    first_stage_images: int = 100_000
    """Longest training of the first stage, in images seen."""
    denoiser_images: int = 400_000
    """Longest training of the denoiser, in images seen."""
    judge_images: int = 24_000
    """Images that each judge sees in training."""

    memory_presets: tuple[Preset, ...] = ("6gb", "16gb", "256", "paper")
    """Presets whose memory is measured."""

    depth_resolution: int = 128
    """Height and width of the depth images, in pixels."""
    depth_batch_sizes: tuple[int, ...] = (64, 512)
    """Depth images per forward pass."""
    depth_rooms: int = 40
    """Synthetic rooms that the depth autoencoder is trained on, 24 images each."""
    depth_images: int = 40_000
    """Longest training of the depth autoencoder, in images seen."""
    depth_s: float = 30.0
    """Seconds for the training of the depth autoencoder."""

    def __post_init__(self) -> None:
        # The codebook of a first stage starts after the first step.
        if self.trial_steps < 2:
            raise ValueError(f"--trial-steps must be at least 2, got {self.trial_steps}")


@dataclass(frozen=True, kw_only=True)
class Part:
    """One thing to measure."""

    name: str
    """Unique, such as "generation, batches of 64"."""
    run: Callable[[], dict[str, Any]]
    """Measures and returns the numbers."""
    usual_s: float
    """Seconds that it takes on an H100, rather too many than too few."""
    settings: tuple[str, ...]
    """Fields of `Config` that can change its numbers."""
    makes: Path | None = None
    """Folder that later parts use."""
    needs: tuple[str, ...] = ()
    """Names of the parts whose folders it uses."""
