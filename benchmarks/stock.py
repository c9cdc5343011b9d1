"""Cost of both stages, compared with stock diffusers models of the usual size, in one process and in turns.

    python benchmarks/stock.py [--output JSON] [--parts vq denoiser decoding sampling] [--repeats 5] [--threads 2] ...

Stock: `VQModel` with widths 64, 128, 256 on RGB, and `UNet2DModel` with widths 256, 512, 768, 1,024, 2 layers per
block and heads of 16 on its 64x64 latents; float32, squared error, AdamW, 50 steps of DDIM. Ours: a preset of the
training scripts on one channel, with its own loss, precision and averaging; 8 steps, or the 4 of a distilled
pipeline. Weights are random, images are noise of 256x256. The cost of a stock image is 50 times its measured forward
pass plus one decoding, as the JSON file says; ours is the whole pipeline, from noise to painted images. The preset's
perceptual loss is measured with a random backbone, so that nothing is downloaded.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
import tyro
from in_turns import gemm_gflop_per_s, measure
from record import print_tables, write_results
from stock_calls import MAKERS, RESOLUTION, STOCK_STEPS, USERS, Config
from tables import Cell, Table, cell
from untrained import noise_data

from echoform_train.engine.precision import cpu_computes_bf16


def main(config: Config) -> None:
    torch.set_num_threads(config.threads)
    torch.manual_seed(0)
    facts: dict[str, Any] = {
        "cpu_computes_bf16": cpu_computes_bf16(),
        "gemm_gflop_per_s": {
            str(dtype).removeprefix("torch."): gemm_gflop_per_s(dtype) for dtype in (torch.float32, torch.bfloat16)
        },
        "stock_image": f"{STOCK_STEPS} x the measured forward pass + one decoding, no guidance",
        "calls": {},
    }
    rows: list[dict[str, Any]] = []
    # Written after each part, because the stock side takes minutes.
    data = noise_data(RESOLUTION, USERS, 64)
    with tempfile.TemporaryDirectory() as folder:
        for part in config.parts:
            makers = MAKERS[part](config, data, Path(folder) / part)
            if config.only_ours:
                makers = {name: make for name, make in makers.items() if not name.startswith("stock")}
            facts["calls"] |= {f"{part}: {name}": result for name, result in measure(makers, config.repeats).items()}
            rows = summary(facts["calls"], config.batch_size)
            write_results(config, facts | {"summary": rows}, {"costs": table(rows, config.batch_size)})
    print_tables({"costs": table(rows, config.batch_size)})


def summary(calls: dict[str, dict[str, Any]], batch_size: int) -> list[dict[str, Any]]:
    """Rows of the table: wall-clock seconds of both sides, and how many times cheaper ours is."""
    pairs = [
        ("VQ training step", "vq: ours", "vq: stock"),
        ("VQ training step, ours without LPIPS", "vq: ours without LPIPS", "vq: stock"),
        ("denoiser training step", "denoiser: ours, training step", "denoiser: stock, training step"),
        ("denoiser forward, ours in float32", "denoiser: ours, forward, float32", "denoiser: stock, forward"),
        ("denoiser forward, ours in bfloat16", "denoiser: ours, forward, bfloat16", "denoiser: stock, forward"),
        ("decoding, ours in float32", "decoding: ours, float32", "decoding: stock"),
        ("decoding, ours in bfloat16", "decoding: ours, bfloat16", "decoding: stock"),
    ]
    rows = [_row(name, calls.get(ours), calls.get(stock)) for name, ours, stock in pairs]
    image = _stock_image(calls, batch_size)
    for name, result in calls.items():
        if name.startswith("sampling"):
            each = {key: result[key] / batch_size for key in ("wall_s", "cpu_s", "gflop")}
            rows.append(_row(f"an image, {name.partition(': ')[2]}", each | {"peak_mib": result["peak_mib"]}, image))
    return [row for row in rows if row["ours"] is not None or row["stock"] is not None]


def _stock_image(calls: dict[str, dict[str, Any]], batch_size: int) -> dict[str, Any] | None:
    forward, decoding = calls.get("denoiser: stock, forward"), calls.get("decoding: stock")
    if forward is None or decoding is None:
        return None
    image = {key: (STOCK_STEPS * forward[key] + decoding[key]) / batch_size for key in ("wall_s", "cpu_s", "gflop")}
    peaks = forward["peak_mib"], decoding["peak_mib"]
    return image | {"peak_mib": None if None in peaks else max(peaks)}


def _row(name: str, ours: dict[str, Any] | None, stock: dict[str, Any] | None) -> dict[str, Any]:
    times = {
        f"{key}_times": stock[key] / ours[key] if ours and stock and ours[key] and stock[key] else None
        for key in ("wall_s", "cpu_s", "gflop", "peak_mib")
    }
    return {"what": name, "ours": _brief(ours), "stock": _brief(stock), **times}


def _brief(result: dict[str, Any] | None) -> dict[str, Any] | None:
    return result and {key: result[key] for key in ("wall_s", "cpu_s", "gflop", "peak_mib")}


def table(rows: list[dict[str, Any]], batch_size: int) -> Table:
    """Seconds by the clock, operations and memory of both sides."""
    lines = [
        [
            row["what"],
            _cell(row["ours"], "wall_s"),
            _cell(row["stock"], "wall_s"),
            _cell(row, "wall_s_times"),
            *(_both(row, key) for key in ("gflop", "peak_mib")),
        ]
        for row in rows
    ]
    columns = [f"batches of {batch_size}", "ours, s", "stock, s", "times cheaper", "GFLOP, ours and stock"]
    return {"columns": [*columns, "peak MiB, ours and stock"], "rows": lines}


def _cell(values: dict[str, Any] | None, key: str) -> Cell:
    return "not measured" if values is None or values[key] is None else cell("{:.3g}", values[key])


def _both(row: dict[str, Any], key: str) -> Cell:
    values = [side[key] for side in (row["ours"], row["stock"]) if side is not None]
    return cell(", ".join(["{:,.0f}"] * len(values)), *values)


if __name__ == "__main__":
    main(tyro.cli(Config))
