"""`echoform score depth-ae`: score reconstruction and embedding of a depth autoencoder, compared with baselines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from echoform_train.depth.config import DepthSourceConfig, load_depth_source
from echoform_train.depth.sensors import Reading
from echoform_train.engine.extras import needs_extra
from echoform_train.engine.files import SCORES, SPLIT
from echoform_train.engine.json_files import write_json
from echoform_train.scoring.paths import scoring_paths

if TYPE_CHECKING:
    from echoform_train.depth.quality import DepthScores


@dataclass(frozen=True, kw_only=True)
class Config:
    """Score a depth autoencoder on held-out images: reconstruction, validity and embedding, compared with baselines."""

    pipeline: tyro.conf.Positional[str]
    """Exported pipeline: a folder, or user/model on the Hub."""
    data: tyro.conf.OmitArgPrefixes[DepthSourceConfig]
    other_data: bool = False
    """Score on other images than those of the training, with a split of their own."""
    output: Path | None = None
    """Folder for scores.json and the figures. Default: `scores` next to the folder of the pipeline."""
    seed: int = 0
    """Seed of the training, for the split and synthetic rooms."""
    card: bool = True
    """Write the scores into the card of the pipeline, if it is a folder."""
    device: str = "auto"
    """Device of the model; auto: the GPU, if there is one."""


def main(config: Config) -> DepthScores:
    """Score a pipeline, write scores.json, figures and the card, print a table, and return the scores.

    Raises:
        FileNotFoundError: If the pipeline, the data or the split of the training is missing.
        ValueError: If the data do not fit, or there is nothing to score.
    """
    from echoform.pipeline_depth_autoencoder import DepthAutoencoderPipeline
    from echoform_train.data.split_files import check_split_of_model, write_split
    from echoform_train.depth.figures import save_score_figures
    from echoform_train.depth.quality import score_pipeline
    from echoform_train.depth.score_table import card_scores, table_lines
    from echoform_train.engine.evaluation import choose_device
    from echoform_train.engine.provenance import provenance
    from echoform_train.publishing.card import write_card
    from echoform_train.publishing.exported import find_pipeline, load_pipeline, training_data_of
    from echoform_train.publishing.identity import model_identity
    from echoform_train.scoring.scored import data_record

    with needs_extra("depth", "echoform score depth-ae"):
        import sklearn  # noqa: F401  a missing package is noticed before the work
    output, split_file = scoring_paths(config.pipeline, config.output, config.data.split_file, config.other_data)
    folder = find_pipeline(config.pipeline, DepthAutoencoderPipeline)
    scored = model_identity(folder)
    pipeline: DepthAutoencoderPipeline = load_pipeline(folder, DepthAutoencoderPipeline)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(choose_device(config.device))
    # The data as the model saw them in its training: same size, range and split.
    data = load_depth_source(
        config.data,
        split_file,
        config.seed,
        resolution=pipeline.autoencoder.config["sample_size"],
        depth_range_mm=pipeline.config["depth_range_mm"],
        reading=Reading.of(pipeline.config),
    )
    check_split_of_model(
        data,
        training_data_of(config.pipeline),
        f"the pipeline {config.pipeline}",
        Path(config.pipeline).parent,
        other_data=config.other_data,
    )
    write_split(data.split, output / SPLIT)
    scores, reconstructions = score_pipeline(pipeline, data)
    write_json(output / SCORES, scores.to_json() | {"model": scored, "data": data_record(data)} | provenance())
    save_score_figures(pipeline, data, scores, reconstructions, output)
    # A card shows scores on the data of its model alone.
    if config.card and not config.other_data and Path(config.pipeline).is_dir():
        write_card(Path(config.pipeline), scores=card_scores(scores), scores_of=scored)
    print("\n".join(table_lines(scores)))
    print(f"Written to {output}")
    return scores
