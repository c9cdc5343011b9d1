"""All numbers of the GPU tables: one command, at most 9 minutes on one H100 or H200, without network.

    python benchmarks/gpu.py [--output JSON] [--budget-s 480] [--work-dir DIR] ...

Parts are measured in the order of their importance, and the file is written after each. A part starts only if its
usual time still fits into `--budget-s`. The same command goes on where it stopped: what a part measured is kept, with
its commit, if its settings and the GPU are the same; trainings keep their models in `--work-dir`. A part that fails is
written down with its error, the others go on, and the exit status is 1.

Where nothing is installed, `PYTHONPATH=pipelines:train:hub_cards` is enough. Beside torch, torchvision, torchmetrics,
accelerate, transformers, safetensors, huggingface_hub, numpy, scipy, pandas, pyarrow, pillow, matplotlib, jinja2 and
what these need, it imports diffusers, datasets (with dill and multiprocess; no data set is read), tyro (with
docstring_parser and typeguard) and, for the memory of the presets that train with it, lpips: eight wheels of 7 MB
together, to be carried where they are missing. The file names all packages that the run imported (`imports`).
"""

from __future__ import annotations

import gc
import os
import time
import traceback
from typing import Any

import torch
import tyro
from gpu_config import Config, Part
from gpu_depth import depth_parts
from gpu_generation import generation_parts
from gpu_ledger import Ledger
from gpu_memory import memory_parts
from gpu_tables import gpu_tables
from gpu_training import training_parts
from record import print_tables


def main(config: Config) -> int:
    """Measure what is still missing, as far as the budget allows; 1 if a part failed, else 0."""
    started_s = time.perf_counter()
    if config.device == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"  # read by the trainings
        if config.threads:
            torch.set_num_threads(config.threads)
    elif not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU; --device cpu measures the CPU instead")
    ledger = Ledger(config)
    parts = [part for part in all_parts(config) if not config.only or part.name.startswith(config.only)]
    if not config.output.is_file():
        ledger.write()
    failed = 0
    for part in ledger.missing(parts):
        left_s = config.budget_s - (time.perf_counter() - started_s)
        if part.usual_s > left_s:
            print(f"{part.name}: left for the next run; it takes up to {part.usual_s:.0f} s, {left_s:.0f} s remain")
            continue
        failed += not measure(part, ledger)
    print_tables(gpu_tables(ledger.records, config))
    return 1 if failed else 0


def all_parts(config: Config) -> list[Part]:
    """All parts, the most important first."""
    speed, compiled = generation_parts(config)
    return [*speed, *training_parts(config), *memory_parts(config), *depth_parts(config), *compiled]


def measure(part: Part, ledger: Ledger) -> bool:
    """Measure a part and write it down; whether it succeeded."""
    print(f"{part.name} ...", flush=True)
    begin_s = time.perf_counter()
    facts: dict[str, Any]
    try:
        facts = part.run()
    except torch.OutOfMemoryError:  # a result, too
        facts = {"out_of_memory": True}
    except Exception as error:  # written down and shown; the other parts are measured all the same
        traceback.print_exc()
        facts = {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300]}
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    ledger.add(part, facts, time.perf_counter() - begin_s)
    print(f"{part.name}: {time.perf_counter() - begin_s:.1f} s", flush=True)
    return "error" not in facts


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Config)))
