"""`echoform score generated`: scores of generated spectrograms against held-out real ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, cast

import tyro

from echoform_train.data.reading import ReadingConfig
from echoform_train.engine.files import SCORES
from echoform_train.engine.json_files import write_json
from echoform_train.engine.resolution import OptionalResolution
from echoform_train.engine.shown import ShownAsText
from echoform_train.scoring.scores import Scores, score_table


@dataclass(frozen=True, kw_only=True)
class Config:
    """Score generated spectrograms against held-out real ones, by judges that are trained on real images."""

    data: str
    """Folder of the real spectrograms that the generator was trained on, or the id of that data set on the Hub."""
    split_file: Path
    """File of the split of that training, split.json in its output folder; another one is refused."""
    generated_dir: tuple[Path, ...]
    """Folders that `echoform generate` wrote, for example one per seed."""
    output: Path | None = None
    """JSON file for the scores. Default: scores.json in the first generated folder."""
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


def main(config: Config) -> Scores:
    """Score, print the table, write the JSON file and return the scores.

    Raises:
        FileNotFoundError: If the split or an image is missing.
        ValueError: If the images do not fit the data, there are too few, or the split is not that of the generator.
    """
    from echoform_train.data.spectrograms import load_spectrograms
    from echoform_train.data.split_files import check_reading, check_split_of_model
    from echoform_train.engine.evaluation import choose_device
    from echoform_train.engine.provenance import provenance
    from echoform_train.scoring.generated import score_generated
    from echoform_train.scoring.generated_images import generator_data, image_resolution, read_generated, read_metadata
    from echoform_train.scoring.scored import data_record, generated_record

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
    lines = list(score_table(scores))
    print("\n".join(lines))
    print(f"Written to {output}")
    return cast(Scores, ShownAsText(scores, lines))
