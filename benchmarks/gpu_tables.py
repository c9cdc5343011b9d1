"""Tables of gpu.py from the records of its parts; what was not measured says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpu_config import (
    DENOISER,
    DEPTH_SPEED,
    DEPTH_TRAINING,
    FIRST_STAGE,
    JUDGED,
    PEAK,
    Config,
    generation_name,
    memory_name,
)
from scores_table import scores_table
from tables import Cell, Table

NOT_MEASURED, OUT_OF_MEMORY = "not measured", "out of memory"
SHOWN = ("gan_test", "gan_train", "frechet", "precision", "recall", "coverage", "two_sample_auc")

Records = Mapping[str, Mapping[str, Any]]


def gpu_tables(records: Records, config: Config) -> dict[str, Table]:
    """All tables, by name."""
    return {
        "generation": generation_table(records, config),
        "training": training_table(records),
        "scores": judged_table(records),
        "memory": memory_table(records, config),
        "depth": depth_table(records, config),
    }


def generation_table(records: Records, config: Config) -> Table:
    """Images per second by batch size, of the whole pipeline and of its networks, plain and compiled."""
    peak = records.get(PEAK, {}).get("tflop_per_s")
    rows: list[list[Cell]] = []
    for size in config.batch_sizes:
        row: list[Cell] = [f"{size} at once"]
        for compiled in (False, True):
            record = records.get(generation_name(size, compiled), {})
            if record.get("out_of_memory"):
                row += 3 * [OUT_OF_MEMORY]
                continue
            row += [
                shown("{:,.0f} images/s", record.get("images_per_s")),
                shown("{:,.0f} images/s", record.get("networks_images_per_s")),
                shown("{:.0f} %", share_of_peak(record, peak)),
            ]
        rows.append(row)
    each = ("pipeline", "its networks", "of the peak")
    return {"columns": ["", *each, *(f"compiled: {name}" for name in each)], "rows": rows}


def share_of_peak(record: Mapping[str, Any], peak: float | None) -> float | None:
    """Percent of the speed of large matrix products that the networks of a generation reach."""
    if peak is None or "networks_images_per_s" not in record:
        return None
    return 100 * record["networks_images_per_s"] * record["tflop_per_image"] / peak


def training_table(records: Records) -> Table:
    """Length, speed and result of the trainings."""
    rows: list[list[Cell]] = []
    for title, name, result in (
        ("first stage", FIRST_STAGE, "PSNR {:.1f} dB, codebook use {:.0f} %"),
        ("denoiser", DENOISER, "held-out loss {:.3f}"),
        ("depth autoencoder", DEPTH_TRAINING, "held-out loss {:.3f}"),
    ):
        record = records.get(name, {})
        validation = record.get("validation", {})
        numbers = [validation.get("psnr"), _percent(validation.get("codebook_use"))]
        if name != FIRST_STAGE:
            numbers = [validation.get("loss")]
        rows.append(
            [
                title,
                shown("{:,}", record.get("images_seen")),
                shown("{:.1f} min", _minutes(record.get("training_s"))),
                shown("{:,.0f} images/s", record.get("step_images_per_s")),
                shown(result, *numbers),
            ]
        )
    return {"columns": ["", "images seen", "time", "optimizer steps alone", "best validation"], "rows": rows}


def judged_table(records: Records) -> Table:
    """Scores of the generated images."""
    scores = records.get(JUDGED, {}).get("scores")
    if scores is None:
        return {"columns": ["", "generated", "real in its place"], "rows": [["all scores", *(2 * [NOT_MEASURED])]]}
    known = [name for name in SHOWN if name in scores]
    return scores_table({"generated": scores}, known)


def memory_table(records: Records, config: Config) -> Table:
    """Peak of the memory that torch allocates in a training, by preset."""
    rows: list[list[Cell]] = []
    for preset in config.memory_presets:
        row: list[Cell] = [f"`{preset}`"]
        for stage in ("first stage", "denoiser"):
            record = records.get(memory_name(preset, stage), {})
            text = "{:.1f} GiB (batches of {:d}" + (", with LPIPS)" if record.get("lpips") else ")")
            peak = shown(text, record.get("peak_gib"), record.get("batch_size"))
            row.append(OUT_OF_MEMORY if record.get("out_of_memory") else peak)
        rows.append(row)
    return {"columns": ["", "first stage", "denoiser"], "rows": rows}


def depth_table(records: Records, config: Config) -> Table:
    """Images per second of the depth autoencoder."""
    calls = records.get(DEPTH_SPEED, {}).get("calls", {})
    rows: list[list[Cell]] = []
    for size in ("small", "large"):
        for batch_size in config.depth_batch_sizes:
            row: list[Cell] = [f"{size}, {batch_size} at once"]
            for precision in ("float32", "bfloat16"):
                found = calls.get(f"{size} {batch_size} {precision}", {})
                row += [shown("{:,.0f} images/s", found.get(f"{what}_images_per_s")) for what in ("encode", "decode")]
            rows.append(row)
    columns = ["", *(f"{what}, {name}" for name in ("float32", "bf16") for what in ("encode", "decode"))]
    return {"columns": columns, "rows": rows}


def shown(text: str, *numbers: float | None) -> Cell:
    """A cell of numbers, or that they were not measured."""
    return NOT_MEASURED if None in numbers else [text, *numbers]


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _minutes(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / 60
