"""`echoform quickstart`: simulate or read spectrograms, train a generator of them, and write a page with its scores."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from echoform_train.data.config import DataConfig
from echoform_train.data.painting import to_pil_images
from echoform_train.data.spectrograms import SpectrogramData, load_spectrograms
from echoform_train.engine.config import RunConfig
from echoform_train.engine.files import FACTS, METADATA, PIPELINE, REPORT_PAGE, SCORES, SPLIT
from echoform_train.engine.json_files import read_json_object, write_json
from echoform_train.engine.provenance import provenance
from echoform_train.engine.training_log import read_log
from echoform_train.publishing import without_echoform
from echoform_train.publishing.card import write_card
from echoform_train.radar.simulation import simulate
from echoform_train.radar.simulation_config import SimulationConfig
from echoform_train.report.page import GalleryRow, ReportFacts, Stage, verdict, write_report
from echoform_train.scoring.generated import score_generated
from echoform_train.scoring.generated_images import Sample, read_generated, read_metadata
from echoform_train.scoring.scores import Scores, score_table
from echoform_train.trainers import ldm as train_ldm
from echoform_train.trainers import vq_vae as train_vq_vae

GALLERY_IMAGES = 4
"""Real and generated images of each user on the page."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Simulate walkers, train both stages, generate with the saved pipeline, score, and write one page.

    It takes some minutes on two CPU cores. Started again after an interruption, it continues where it stopped.
    """

    output_dir: Path = Path("quickstart")
    """Folder for all results; the page is report.html in it."""
    data: str | None = None
    """Folder of your own spectrograms, to use instead of simulated ones."""
    window_s: float | None = None
    """Length of one of your spectrograms in seconds; needed where they overlap and have no axes.json."""
    users: int = 8
    """Number of simulated people."""
    resolution: int = 64
    """Height and width of the spectrograms, in pixels."""
    images_per_user: int = 40
    """Spectrograms to generate per user and sampling seed."""
    sampling_seeds: tuple[int, ...] = (0, 1, 2)
    """Each seed gives one set of generated spectrograms, which is scored with its own judges."""
    guidance_scale: float = 1.0
    """Strength of classifier-free guidance; 1 is none, which is best for images that train classifiers."""
    num_inference_steps: int = 8
    """Denoising steps."""
    vq_train_images: int = 20_000
    """Images seen by the first stage."""
    ldm_train_images: int = 24_000
    """Images seen by the second stage."""
    judge_train_images: int = 12_000
    """Images seen by each judge."""
    seed: int = 0
    """Seed of the simulated people and of both trainings."""


@dataclass(frozen=True, kw_only=True)
class QuickstartResult:
    """The outputs of the quickstart."""

    data: Path
    """Folder of the spectrograms that it was trained on."""
    pipeline: Path
    """Folder of the exported pipeline."""
    generated: list[Path]
    """Folders of generated spectrograms, one per sampling seed."""
    scores: Scores
    page: Path
    """The HTML page."""


def main(config: Config) -> QuickstartResult:
    """Run all steps, print the scores and return the outputs."""
    out = config.output_dir
    out.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, float] = {}
    source = config.data
    if source is None:
        with _timed(seconds, "simulating"):
            source = _simulate(config)
    _train(config, source)
    pipeline = out / "ldm" / PIPELINE
    with _timed(seconds, "generating, in a process without echoform"):
        folders = _generate(config, pipeline)
    # Scores need the split of the training: judges see its training part, and images are compared with its test part.
    data = load_spectrograms(
        source, split_file=out / "vq-vae" / SPLIT, resolution=config.resolution, window_s=config.window_s
    )
    samples = read_generated([row for folder in folders for row in read_metadata(folder)], data)
    with _timed(seconds, "judging"):
        scores = score_generated(
            data, samples, judge_train_images=config.judge_train_images, seeds=config.sampling_seeds
        )
    write_json(out / SCORES, {**scores, **provenance()})
    # The card is written again, because the one of the training has no scores.
    write_card(
        pipeline,
        scores["scores"],
        {"num_inference_steps": config.num_inference_steps, "guidance_scale": config.guidance_scale},
        people="recorded" if config.data else "simulated",
    )
    write_report(_facts(config, data, samples[0], scores, seconds), out / REPORT_PAGE)
    print("\n".join(score_table(scores)))
    print(f"\n{verdict(scores)}\nPipeline: {pipeline}\nPage: {out / REPORT_PAGE}")
    return QuickstartResult(
        data=Path(source), pipeline=pipeline, generated=folders, scores=scores, page=out / REPORT_PAGE
    )


def _simulate(config: Config) -> str:
    folder = config.output_dir / "data"
    if not (folder / METADATA).is_file():
        settings = SimulationConfig(
            output_dir=folder, users=config.users, resolution=config.resolution, seed=config.seed
        )
        print(f"wrote {simulate(settings)}")
    return str(folder)


def _train(config: Config, source: str) -> None:
    """Train both stages with their presets for a CPU, or continue a training that was interrupted."""
    vq_vae, ldm = train_vq_vae.PRESETS["cpu"], train_ldm.PRESETS["cpu"]
    vq_vae = replace(
        vq_vae,
        data=DataConfig(data=source, resolution=config.resolution, window_s=config.window_s),
        run=_run_config(config, vq_vae.run, "vq-vae", config.vq_train_images),
        # Latents are 16x16 for 64 pixels (a quarter) and for 128 pixels (an eighth).
        n_layers=3 if config.resolution <= 64 else 4,
        quantize_after=config.vq_train_images // 4,
    )
    train_vq_vae.main(vq_vae)
    ldm = replace(
        ldm,
        first_stage=vq_vae.run.output_dir,
        data=DataConfig(data=source, window_s=config.window_s),
        run=_run_config(config, ldm.run, "ldm", config.ldm_train_images),
        sample_every=config.ldm_train_images,  # one sheet of samples, at the end
    )
    train_ldm.main(ldm)


def _run_config(config: Config, preset: RunConfig, name: str, train_images: int) -> RunConfig:
    return replace(
        preset,
        output_dir=config.output_dir / name,
        max_train_images=train_images,
        validation_every=train_images // 10,
        checkpointing_every=train_images // 5,
        logging_every=train_images // 50,
        resume_from_checkpoint="latest",
        seed=config.seed,
    )


def _generate(config: Config, pipeline: Path) -> list[Path]:
    """Folders of generated spectrograms, one per sampling seed; those that are complete already are kept."""
    root = config.output_dir / "generated"
    folders = {seed: root / f"seed-{seed}" for seed in config.sampling_seeds}
    missing = [seed for seed, folder in folders.items() if not (folder / METADATA).is_file()]
    if missing:
        arguments = [config.images_per_user, config.guidance_scale, config.num_inference_steps, *missing]
        command = [sys.executable, "-I", without_echoform.__file__, pipeline, root, *arguments]
        # A fresh cache, so that the code comes from the pipeline's folder and not from an earlier load.
        with tempfile.TemporaryDirectory() as cache:
            environment = os.environ | {"HF_MODULES_CACHE": cache}
            subprocess.run([str(word) for word in command], env=environment, check=True)
    return list(folders.values())


def _facts(
    config: Config, data: SpectrogramData, sample: Sample, scores: Scores, seconds: dict[str, float]
) -> ReportFacts:
    kind = "your own" if config.data else "simulated"
    folders = {"VQ-VAE": config.output_dir / "vq-vae", "Latent diffusion": config.output_dir / "ldm"}
    pixels, users = sample
    return ReportFacts(
        title="echoform quickstart",
        subject=(
            f"A VQ-VAE and a latent diffusion model, trained on {len(data.train)} {kind} spectrograms of "
            f"{len(data.id2label)} users ({config.resolution}x{config.resolution} pixels, split {data.split.method})."
        ),
        note=None,
        scores=scores,
        gallery=[
            GalleryRow(
                user=label,
                real=_some_images(data.test.pixels[data.test.users == user], data.colormap),
                generated=_some_images(pixels[users == user], data.colormap),
            )
            for user, label in data.id2label.items()
        ],
        axes=data.axes,
        stages=[
            Stage(name=name, facts=read_json_object(folder / FACTS), log=read_log(folder))
            for name, folder in folders.items()
        ],
        seconds=seconds,
        commands=[provenance()["command"]],
        provenance=provenance(),
    )


def _some_images(pixels: Tensor, colormap: str | None) -> list[Image.Image]:
    """A few of the images, spread evenly over all of them."""
    indices = torch.linspace(0, len(pixels) - 1, min(GALLERY_IMAGES, len(pixels))).round().long()
    return to_pil_images(pixels[indices], colormap)


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start
