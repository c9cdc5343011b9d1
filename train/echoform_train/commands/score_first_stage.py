"""`echoform score first-stage`: measure how much of held-out spectrograms a first stage preserves."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from echoform_train.data.config import data_facts
from echoform_train.data.reading import ReadingConfig
from echoform_train.engine.errors import MissingFileError
from echoform_train.engine.files import FIRST_STAGE, SCORES, SPLIT
from echoform_train.engine.json_files import write_json
from echoform_train.engine.seeds import check_different
from echoform_train.latent_diffusion.quality_scores import FirstStageScores, score_table
from echoform_train.latent_diffusion.verdict import verdict

if TYPE_CHECKING:
    from echoform_train.data.spectrograms import SpectrogramData
    from echoform_train.latent_diffusion.first_stage import FirstStage
    from echoform_train.latent_diffusion.quality import Quality

WORST_AND_BEST = "worst_and_best.png"
SPECTRUM = "error_spectrum.png"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Score a first stage on the test part: reconstruction, codebook, accuracy of judges, and a verdict."""

    folder: tyro.conf.Positional[Path]
    """Output folder of `echoform train vq-vae` or `echoform train kl-vae`."""
    data: str
    """Folder of the spectrograms that it was trained on, or the id of the data set on the Hub."""
    split_file: Path | None = None
    """File of the split of that training; another one is refused. Default: split.json in the folder."""
    output: Path | None = None
    """Folder for scores.json and the figures. Default: `scores` in the folder of the first stage."""
    judge_seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the judges; one judge is trained on real images per seed."""
    judge_train_images: int = 12_000
    """Images that each judge sees in training; 12,000 take a quarter of a minute on one core."""
    colormap: str = "auto"
    """Colour map of the images: auto detects it, none keeps RGB, or its name."""
    name_pattern: str | None = None
    """What the names of files tell, as in the training."""
    skip_bad_files: bool = False
    """List and skip files that cannot be used instead of stopping."""
    reading: Annotated[ReadingConfig, tyro.conf.arg(name="")] = field(default_factory=ReadingConfig)
    device: str = "auto"
    """Device to compute on; auto: the GPU, if there is one."""

    def __post_init__(self) -> None:
        check_different("--judge-seeds", self.judge_seeds)


@dataclass(frozen=True, repr=False)
class FirstStageScoring:
    """Results of `echoform score first-stage`."""

    folder: Path
    """Folder of scores.json and the figures."""
    scores: FirstStageScores
    quality: Quality
    """The reconstructions behind the scores."""

    def __repr__(self) -> str:
        """The table that the command prints."""
        return "\n".join(score_table(self.scores))


def main(config: Config) -> FirstStageScoring:
    """Score a first stage, print the table and the verdict, and write scores.json and two figures.

    Raises:
        FileNotFoundError: If the folder holds no first stage, or there is no split.
        ValueError: If the data are not those of the training.
    """
    from echoform_train.data.split_files import write_split
    from echoform_train.engine.evaluation import choose_device
    from echoform_train.engine.provenance import provenance
    from echoform_train.latent_diffusion.figures import save_error_spectrum, save_worst_and_best
    from echoform_train.latent_diffusion.first_stage import load_first_stage
    from echoform_train.latent_diffusion.quality import measure_quality
    from echoform_train.publishing.identity import model_identity
    from echoform_train.scoring.judge import train_judges
    from echoform_train.scoring.scored import data_record
    from echoform_train.scoring.two_sample import TRAIN_IMAGES

    stage, identity = load_first_stage(config.folder), model_identity(config.folder / FIRST_STAGE)
    data = _load_data(config, stage)
    folder = config.output or config.folder / "scores"
    write_split(data.split, folder / SPLIT)
    device = choose_device(config.device)

    # Judges are trained on real images only, and then tested on reconstructions of the first stage.
    judges = train_judges(data, config.judge_seeds, config.judge_train_images, device)
    stage.model.to(device)  # pyright: ignore[reportArgumentType]
    quality = measure_quality(
        stage.model,
        data.test,
        data.train,
        data.id2label,
        judges,
        quantize=stage.quantized,
        texture_train_images=min(TRAIN_IMAGES, config.judge_train_images),
    )
    num_users = len(data.id2label)
    counts = {"train": len(data.train), "test": len(data.test), "users": num_users}
    scores = FirstStageScores(verdict=verdict(quality.scores, num_users), **quality.scores, images=counts)

    settings = {"judge_seeds": list(config.judge_seeds), "judge_train_images": config.judge_train_images}
    scored = {"model": identity, "data": data_record(data)}
    written: dict[str, Any] = {**scores, "settings": settings, **scored, **provenance()}
    write_json(folder / SCORES, written)
    save_worst_and_best(data, quality, folder / WORST_AND_BEST)
    save_error_spectrum(scores["error_spectrum"], folder / SPECTRUM)
    print("\n".join(score_table(scores)))
    print(f"Written to {folder}")
    return FirstStageScoring(folder, scores, quality)


def _load_data(config: Config, stage: FirstStage) -> SpectrogramData:
    """The data of the first stage's training, with its split."""
    from echoform_train.data.spectrograms import load_spectrograms
    from echoform_train.data.split_files import split_to_read

    split_file = split_to_read(config.split_file, config.folder)
    if split_file is None:
        raise MissingFileError(f"{config.folder} holds no {SPLIT}; --split-file must name the split of its training")
    data = load_spectrograms(
        config.data,
        split_file=split_file,
        resolution=stage.facts["data"]["resolution"],
        colormap=config.colormap,
        name_pattern=config.name_pattern,
        reading=config.reading,
        skip_bad_files=config.skip_bad_files,
    )
    stage.check_data(data_facts(data))
    stage.check_split(data)
    return data
