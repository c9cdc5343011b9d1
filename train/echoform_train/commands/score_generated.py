"""`echoform score generated`: scores of generated spectrograms against held-out real ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import tyro

from echoform_train.data.reading import ReadingConfig
from echoform_train.engine.errors import UserError
from echoform_train.engine.files import ADDED_USERS, MODEL_INDEX, PIPELINE, SCORES, SETTINGS
from echoform_train.engine.json_files import read_json_object, write_json
from echoform_train.engine.resolution import OptionalResolution
from echoform_train.engine.seeds import check_different
from echoform_train.engine.shown import ShownAsText
from echoform_train.scoring.scores import Scores, score_table, verdict

if TYPE_CHECKING:
    from echoform_cards.model_card import Sampling
    from echoform_train.data.spectrograms import SpectrogramData
    from echoform_train.scoring.generated_images import Sample

PIPELINE_FLAG = "--pipeline"
"""Setting of generated images: the identity of their pipeline."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Score generated spectrograms against held-out real ones, by judges that are trained on real images."""

    data: str
    """Folder of the real spectrograms that the generator was trained on, or the id of that data set on the Hub."""
    split_file: Path
    """File of the split of that training, split.json in its output folder; another one is refused."""
    generated_dir: tuple[Path, ...]
    """Folders that `echoform generate` wrote, for example one per seed."""
    pipeline: Path | None = None
    """Folder of the exported pipeline that generated the images, for its card. Default: the folder pipeline/ beside
    --split-file, if it did."""
    card: bool = True
    """Write the scores into the card of that pipeline."""
    output: Path | None = None
    """JSON file for the scores; a page of the same name with .html is written beside it. Default: scores.json in the
    first generated folder."""
    judge_seeds: tuple[int, ...] = (0, 1, 2)
    """Each seed trains one judge on real images, and at least one on generated images."""
    judge_train_images: int = 24_000
    """Images that each judge sees in training; 24,000 take half a minute on one core."""
    resolution: OptionalResolution = None
    """Height and width of the real images, such as 64 or 64x128. Default: those of the generated ones."""
    colormap: str = "auto"
    """Colour map of the images: its name, auto to detect it, or none to keep RGB."""
    name_pattern: str | None = None
    """What the names of files tell, as in the training."""
    skip_bad_files: bool = False
    """List and skip real files that cannot be used, instead of stopping at them."""
    reading: Annotated[ReadingConfig, tyro.conf.arg(name="")] = field(default_factory=ReadingConfig)
    device: str = "auto"
    """Device that trains the judges; auto takes a GPU if there is one."""

    def __post_init__(self) -> None:
        check_different("--judge-seeds", self.judge_seeds)


def main(config: Config) -> Scores:
    """Score, print the table, write the JSON file, the page and the card, and return the scores.

    Raises:
        FileNotFoundError: If the split or an image is missing.
        ValueError: If the images do not fit the data, there are too few, or the split is not that of the generator.
    """
    from echoform.hub_card import CARD
    from echoform_train.data.spectrograms import load_spectrograms
    from echoform_train.data.split_files import check_reading, check_split_of_model
    from echoform_train.engine.evaluation import choose_device
    from echoform_train.engine.provenance import provenance
    from echoform_train.latent_diffusion.user_images import check_not_learned
    from echoform_train.publishing.card import write_card
    from echoform_train.report.spectra import write_spectra
    from echoform_train.scoring.generated import score_generated
    from echoform_train.scoring.generated_images import generator_data, image_resolution, read_generated, read_metadata
    from echoform_train.scoring.scored import data_record, generated_record

    pipeline = _pipeline(config)
    # The real images are read at the size of the generated ones.
    rows = [row for folder in config.generated_dir for row in read_metadata(folder)]
    data = load_spectrograms(
        config.data,
        split_file=config.split_file,
        resolution=image_resolution(rows[0].path) if config.resolution is None else config.resolution,
        colormap=config.colormap,
        name_pattern=config.name_pattern,
        reading=config.reading,
        skip_bad_files=config.skip_bad_files,
    )
    for folder in config.generated_dir:
        if (folder / ADDED_USERS).is_file():
            if config.pipeline is not None:
                raise UserError(f"--pipeline is for its own users, {folder} has users that were added to it")
            check_not_learned(folder / ADDED_USERS, data)
            print(f"{folder} has added users: scores go to no card, and the split cannot be that of the pipeline")
            pipeline = None
            continue
        trained_on = generator_data(folder)
        check_split_of_model(data, trained_on, f"the pipeline that generated {folder}", folder)
        check_reading(data.reading, trained_on, f"the pipeline that generated {folder}")
    generated = generated_record(config.generated_dir, [row.path for row in rows])
    device = choose_device(config.device)
    samples = read_generated(rows, data)
    scores = score_generated(
        data, samples, judge_train_images=config.judge_train_images, device=device, seeds=config.judge_seeds
    )
    output = config.output or config.generated_dir[0] / SCORES
    output.parent.mkdir(parents=True, exist_ok=True)
    write_json(output, {**scores, "generated": generated, "data": data_record(data), **provenance()})
    page = output.with_suffix(".html")
    _write_page(data, samples[0], scores, page)
    settings = generated["settings"]
    if pipeline is not None and config.card:
        picture = write_spectra(scores, pipeline)
        write_card(pipeline, scores["scores"], _sampling(settings), scores_of=settings[PIPELINE_FLAG], spectra=picture)
    lines = [*score_table(scores), "", verdict(scores)]
    print("\n".join(lines))
    card = [] if pipeline is None or not config.card else [str(pipeline / CARD)]
    print(f"Written to {', '.join([str(output), str(page), *card])}")
    return cast(Scores, ShownAsText(scores, lines))


def _pipeline(config: Config) -> Path | None:
    """Folder of the pipeline that generated the images, if it is known.

    Raises:
        UserError: If --pipeline names one that did not.
    """
    from echoform_train.publishing.identity import model_identity

    folder = config.pipeline or config.split_file.parent / PIPELINE
    if not (folder / MODEL_INDEX).is_file():
        if config.pipeline is None:
            return None
        raise UserError(f"--pipeline must be the folder of an exported pipeline, {folder} holds no {MODEL_INDEX}")
    # Scores on the card of another model would be false.
    identity = model_identity(folder)
    for generated in config.generated_dir:
        path = generated / SETTINGS
        found = read_json_object(path).get(PIPELINE_FLAG) if path.exists() else None
        if found == identity:
            continue
        if config.pipeline is None:
            return None
        raise UserError(f"--pipeline must be the one that generated the images, {folder} is not that of {generated}")
    return folder


def _sampling(settings: dict[str, Any]) -> Sampling:
    return {
        "num_inference_steps": settings.get("--num-inference-steps"),
        "guidance_scale": settings.get("--guidance-scale"),
    }


def _write_page(data: SpectrogramData, sample: Sample, scores: Scores, path: Path) -> None:
    """Write the page: the main result, real and generated images of each user, and the table of the scores."""
    from echoform_train.engine.provenance import provenance
    from echoform_train.report.gallery import gallery_rows
    from echoform_train.report.page import ReportFacts, write_report

    made_by = provenance()
    facts = ReportFacts(
        title="How good are these spectrograms?",
        subject=(
            f"Generated spectrograms of {len(data.id2label)} users, compared with real ones that were held out from "
            f"the training of their generator (split {data.split.method})."
        ),
        note=None,
        scores=scores,
        gallery=gallery_rows(data, *sample),
        axes=data.axes,
        stages=[],
        seconds={},
        commands=[made_by["command"]],
        provenance=made_by,
        colormap=data.colormap,
    )
    write_report(facts, path)
