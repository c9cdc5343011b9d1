"""The card of a depth pipeline, or of its encoder alone."""

from __future__ import annotations

from echoform_cards.depth_card import render_depth_card
from echoform_train.engine.files import AUTOENCODER, MODEL_CONFIG, MODEL_INDEX
from echoform_train.engine.json_files import read_json_object
from echoform_train.publishing.cards.common import ExportedModel, base_model_of, data_of, sheet_of, stage_of


def depth_card(model: ExportedModel) -> str:
    """README.md of a `DepthAutoencoderPipeline` or `DepthEncoder`."""
    index_file = model.folder / MODEL_INDEX
    is_pipeline = index_file.is_file()
    config_folder = model.folder / AUTOENCODER if is_pipeline else model.folder
    config = read_json_object(config_folder / MODEL_CONFIG)
    # An encoder has no model_index.json; the facts of its training describe the sensor too.
    sensor = read_json_object(index_file) if is_pipeline else model.training["data"]
    return render_depth_card(
        {
            "name": f"{config['latent_dim']} numbers from 16-bit depth images",
            "part": "autoencoder" if is_pipeline else "encoder",
            "latent_dim": config["latent_dim"],
            "repo": model.repo,
            "license": model.card.get("license"),
            "base_model": base_model_of(model),
            "parameters": model.training["parameters"],
            "depth_range_mm": sensor.get("depth_range_mm"),
            "units_per_mm": sensor.get("units_per_mm"),
            "invalid_values": sensor.get("invalid_values"),
            "float_unit": sensor.get("float_unit"),
            "encoding": sensor.get("encoding"),
            "resize_rule": sensor.get("resize_rule"),
            "sample_size": config["sample_size"],
            "data": data_of(model),
            "stages": [stage_of("Depth autoencoder", model.training)],
            "scores": model.card.get("scores"),
            **sheet_of(model),
        }
    )
