"""One more person for a finished quickstart: how well a few images teach its pipeline a new person.

    python benchmarks/add_user.py QUICKSTART FOLDER [--output JSON] ...

New people are simulated with the settings of the quickstart and another seed. Each is learned from 5 to 50 images, as
an embedding alone and with low-rank updates (`echoform add-user`), and by tuning the whole denoiser (`train ldm
--initial-pipeline`) on the images of the known people and the new ones for as many images seen. Judges are trained on
real images of all people. Beside the new people stand those of the training, and real images that only went through the
first stage, which is what the denoiser can reach. Started again with the same settings, it goes on where it stopped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro
from record import print_tables, write_results
from tables import RESULTS, Table, mean_cell
from torch import Tensor

from echoform import VQLDMDopplerPipeline
from echoform_train.data.config import DataConfig
from echoform_train.data.spectrograms import SpectrogramData, Spectrograms, load_spectrograms
from echoform_train.engine.files import AXES, PIPELINE, SPLIT
from echoform_train.engine.json_files import read_json_object, write_json
from echoform_train.latent_diffusion.added_user import LearningSettings, learn_user
from echoform_train.latent_diffusion.first_stage import decode_to_pixels, encode_pixels, load_first_stage
from echoform_train.latent_diffusion.latents import Latents, latent_statistics
from echoform_train.radar.simulation import simulate
from echoform_train.radar.simulation_config import SimulationConfig
from echoform_train.scoring.intervals import mean_share_interval
from echoform_train.scoring.judge import Judge, predict, train_judge
from echoform_train.trainers import ldm

RUNS = "runs.json"
"""In FOLDER: settings, and what is measured already."""
Images = tuple[Tensor, Tensor]
"""Pixels uint8 [N, C, H, W] and users int64 [N]."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to learn from and how long."""

    quickstart: tyro.conf.Positional[Path]
    """Folder of a finished quickstart."""
    folder: tyro.conf.Positional[Path]
    """Folder for the new people and the tuned pipelines."""
    output: Path = RESULTS / "add_user.json"
    """JSON file to write."""
    new_people: int = 3
    """Simulated people who are added."""
    recordings_per_user: int = 10
    """Walks per new person."""
    per_user: tuple[int, ...] = (5, 10, 20, 50)
    """Images that a new person is learned from."""
    rank: int = 8
    """Rank of the updates."""
    train_images: int = 3000
    """Images seen per new person."""
    num_images: int = 40
    """Generated images per person and seed."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of judges, learning and images."""
    judge_train_images: int = 12_000
    """Images that each judge sees in training."""
    tuned: bool = True
    """Also tune the whole denoiser."""


def main(config: Config) -> None:
    quickstart, pipeline = config.quickstart, _pipeline(config.quickstart / "ldm" / PIPELINE)
    known = load_spectrograms(quickstart / "data", split_file=quickstart / "vq-vae" / SPLIT)
    new = load_spectrograms(_simulated(config, known))
    shift = len(known.id2label)
    train, test = (_both(getattr(known, side), getattr(new, side), shift) for side in ("train", "test"))
    total, people = shift + len(new.id2label), range(shift, shift + len(new.id2label))
    recoded = decode_to_pixels(pipeline.vqvae, encode_pixels(pipeline.vqvae, test[0]))
    runs = _measured_before(config)
    done = {(run["seed"], run.get("per_user")) for run in runs}
    for seed in config.seeds:
        missing = [per_user for per_user in config.per_user if (seed, per_user) not in done]
        if not missing and (seed, None) in done:
            continue
        judge, of_known = _judge(config, train, total, seed), _generated(config, pipeline, range(shift), seed)
        if (seed, None) not in done:
            real, stage = _named(judge, test, people), _named(judge, (recoded, test[1]), people)
            runs.append({"arm": "real", "seed": seed, "gan_test": real, "gan_train": real})
            runs.append({"arm": "through the first stage", "seed": seed, "gan_test": stage, "gan_train": None})
        for per_user in missing:
            arms = {"embedding": 0, f"embedding and rank {config.rank}": config.rank}
            sets = {name: _added(config, pipeline, new, per_user, rank, shift, seed) for name, rank in arms.items()}
            if config.tuned:
                sets["whole denoiser tuned"] = _tuned(config, known, new, per_user, shift, seed)
            for name, generated in sets.items():
                everyone = tuple(map(torch.cat, zip(of_known, generated, strict=True)))
                learner = _judge(config, (everyone[0], everyone[1]), total, seed)
                runs.append(
                    {
                        "arm": name,
                        "per_user": per_user,
                        "seed": seed,
                        "gan_test": _named(judge, generated, people),
                        "gan_train": _named(learner, test, people),
                        "known_gan_test": _named(judge, of_known, range(shift)),
                        "known_gan_train": _named(learner, test, range(shift)),
                    }
                )
                print(runs[-1], flush=True)
            write_json(config.folder / RUNS, {"settings": _settings(config), "runs": runs})
    tables = {"people": _table(runs)}
    write_results(config, {"runs": runs}, tables)
    print_tables(tables)


def _settings(config: Config) -> dict[str, Any]:
    """All that changes a number."""
    return {name: str(value) for name, value in vars(config).items() if name not in ("folder", "output")}


def _measured_before(config: Config) -> list[dict[str, Any]]:
    """What an interrupted run has measured.

    Raises:
        ValueError: If it had other settings.
    """
    if not (config.folder / RUNS).is_file():
        return []
    saved = read_json_object(config.folder / RUNS)
    if saved["settings"] != _settings(config):
        raise ValueError(f"{config.folder} must be of a run with the same settings, it is of {saved['settings']}")
    return saved["runs"]


def _pipeline(folder: Path) -> Any:
    pipeline: Any = VQLDMDopplerPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _simulated(config: Config, known: SpectrogramData) -> Path:
    folder = config.folder / "new"
    if not (folder / AXES).is_file():
        simulate(
            SimulationConfig(
                output_dir=folder,
                users=config.new_people,
                recordings_per_user=config.recordings_per_user,
                resolution=known.train.pixels.shape[-1],
                seed=5,
            )
        )
    return folder


def _both(known: Spectrograms, new: Spectrograms, shift: int) -> Images:
    return torch.cat([known.pixels, new.pixels]), torch.cat([known.users, new.users + shift])


def _judge(config: Config, images: Images, total: int, seed: int) -> Judge:
    return train_judge(*images, total, seed=seed, train_images=config.judge_train_images)


def _named(judge: Judge, images: Images, people: range) -> float:
    """Share of the images of some people that are named right."""
    is_asked = torch.isin(images[1], torch.tensor(list(people)))
    return float((predict(judge, images[0][is_asked]) == images[1][is_asked]).double().mean())


def _generated(config: Config, pipeline: Any, ids: range, seed: int, shift: int = 0) -> Images:
    users = list(ids)
    generator = torch.Generator().manual_seed(seed)
    pixels = pipeline(
        users=users, num_images_per_user=config.num_images, guidance_scale=1.0, generator=generator, output_type="pt"
    ).images
    owners = torch.tensor(users).repeat_interleave(config.num_images) + shift
    return (255 * pixels).round().to(torch.uint8), owners


def _chosen(new: SpectrogramData, user: int, per_user: int) -> Spectrograms:
    """Training images of one new person, spread evenly over the recordings."""
    own = (new.train.users == user).nonzero()[:, 0]
    return new.train.select(own[torch.linspace(0, len(own) - 1, min(per_user, len(own))).round().long()])


def _added(
    config: Config, pipeline: Any, new: SpectrogramData, per_user: int, rank: int, shift: int, seed: int
) -> Images:
    settings = LearningSettings(rank, config.train_images, 16, 0.05, 0.01, 0.1, seed)
    mean, std = latent_statistics(pipeline)
    found = []
    for user in new.id2label:
        images = _chosen(new, user, per_user)
        values = (encode_pixels(pipeline.vqvae, images.pixels) - mean[:, None, None]) / std[:, None, None]
        learned = learn_user(pipeline, Latents(values, images.users, images.conditions), settings)
        index = shift + user
        # As `load_user` does, without files.
        pipeline._loaded = {index: (new.id2label[user], learned.tensors)}
        found.append(_generated(config, pipeline, range(index, index + 1), seed))
        pipeline._loaded = {}
    return torch.cat([pixels for pixels, _ in found]), torch.cat([users for _, users in found])


def _tuned(
    config: Config, known: SpectrogramData, new: SpectrogramData, per_user: int, shift: int, seed: int
) -> Images:
    """Tune the whole denoiser on all people, for as many images seen as all new ones together."""
    stage = load_first_stage(config.quickstart / "vq-vae")
    few = [_chosen(new, user, per_user) for user in new.id2label]
    joined = [known.train, *(replace(each, users=each.users + shift) for each in few)]
    train = Spectrograms(
        pixels=torch.cat([each.pixels for each in joined]),
        users=torch.cat([each.users for each in joined]),
        conditions={name: torch.cat([each.conditions[name] for each in joined]) for name in known.train.conditions},
        files=tuple(file for each in joined for file in each.files),
        recordings=tuple(name for each in joined for name in each.recordings),
        starts_s=tuple(start for each in joined for start in each.starts_s),
    )
    names = {shift + user: f"new {name}" for user, name in new.id2label.items()}
    # Its own hash, because the images are those of no folder.
    data = replace(known, train=train, id2label=known.id2label | names, images_sha256="known and new people")
    preset = ldm.PRESETS["cpu"]
    folder = config.folder / f"tuned-{per_user}-{seed}"
    length = config.train_images * len(new.id2label)
    run = replace(
        preset.run, output_dir=folder, max_train_images=length, validation_every=length, seed=seed,
        resume_from_checkpoint="latest", learning_rate=1e-4,
    )  # fmt: skip
    settings = replace(
        preset, data=DataConfig(data=str(config.quickstart / "data")), run=run, sample_every=10**9,
        first_stage=config.quickstart / "vq-vae", initial_pipeline=config.quickstart / "ldm" / PIPELINE,
        user_rate_factor=50.0,
    )  # fmt: skip
    ldm.train(settings, data, stage)
    return _generated(config, _pipeline(folder / PIPELINE), range(shift, shift + len(new.id2label)), seed)


def _table(runs: list[dict[str, Any]]) -> Table:
    rows = []
    for arm, per_user in dict.fromkeys((run["arm"], run.get("per_user")) for run in runs):
        of_row = [run for run in runs if (run["arm"], run.get("per_user")) == (arm, per_user)]
        row: list[Any] = [arm, "all" if per_user is None else str(per_user)]
        for name in ("gan_test", "gan_train", "known_gan_test", "known_gan_train"):
            values = [run[name] for run in of_row if run.get(name) is not None]
            row.append(
                mean_cell(mean_share_interval(values)._asdict(), "{:.1f}", factor=100) if len(values) > 1 else ""
            )
        rows.append(row)
    columns = ["learned", "images per new person", "GAN-test, new, %", "GAN-train, new, %", "GAN-test, known, %"]
    return {"columns": [*columns, "GAN-train, known, %"], "rows": rows}


if __name__ == "__main__":
    main(tyro.cli(Config))
