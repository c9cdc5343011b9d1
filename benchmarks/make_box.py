"""Make the trained weights that are shipped inside the package, from nothing but the simulators.

    python benchmarks/make_box.py FOLDER [--names walkers rooms classifier] [--weights DIR]

Each model is trained by the commands of MODELS below, which its card shows. They run in FOLDER, and one that has run
there with the same words is not run again. The weights are then rounded to half precision, measured as they will be
shipped, and written to pipelines/echoform/weights with card and code. Started again, it goes on where it stopped.

The simulated people are those of seed 1000: others than those of `echoform quickstart`, whose seed is 0.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from safetensors.torch import load_file, save_file

from echoform.shipped import NAMES, WEIGHTS
from echoform.spectrogram_classifier import SpectrogramClassifier
from echoform_train.data.spectrograms import load_spectrograms
from echoform_train.engine.files import FACTS, SPLIT
from echoform_train.engine.json_files import read_json_object, write_json
from echoform_train.publishing.card import write_card
from echoform_train.publishing.copy_model import copy_model
from echoform_train.scoring.classifier_facts import card_scores, card_tables
from echoform_train.scoring.classifier_training import logits_of

MOST_BYTES = 35_000_000
"""Most bytes of all shipped folders together."""
DONE = "done.jsonl"
"""In FOLDER: the words of each command that has run."""

_PEOPLE = "simulate people --users 31 --resolution 64 --seed 1000"
_SAID = "--license apache-2.0 --people simulated"


@dataclass(frozen=True, kw_only=True)
class Model:
    """How one model is made."""

    commands: Sequence[str]
    """Words behind `echoform`, run in FOLDER."""
    exported: str
    """Folder below FOLDER that they export."""
    scoring: Sequence[str] = ()
    """Commands that write scores into the card; {half} is the folder with the weights in half precision."""


MODELS = {
    "walkers": Model(
        commands=(
            _PEOPLE,
            "train vq-vae --data people --max-train-images 60000 --quantize-after 12000 "
            f"{_SAID} --output-dir walkers-vq",
            "train ldm --first-stage walkers-vq --data people --max-train-images 120000 "
            f"{_SAID} --output-dir walkers-ldm",
        ),
        exported="walkers-ldm/pipeline",
        scoring=(
            "generate --pipeline {half} --num-images 60 --seed 0 --guidance-scale 1 --output-dir walkers-images-0",
            "generate --pipeline {half} --num-images 60 --seed 1 --guidance-scale 1 --output-dir walkers-images-1",
            "score generated --data people --split-file walkers-ldm/split.json --generated-dir walkers-images-0 "
            "walkers-images-1 --pipeline {half} --output walkers-scores.json",
        ),
    ),
    "rooms": Model(
        commands=(
            "train depth-ae --data rooms --rooms 400 --bottleneck cosine --block-out-channels 24 48 96 192 "
            "--max-train-images 20000 --train-batch-size 8 --learning-rate 1e-3 --augment-flip "
            "--early-stopping-patience 0 --validation-every 4000 --checkpointing-every 4000 "
            f"--resume-from-checkpoint latest {_SAID} --output-dir rooms",
        ),
        exported="rooms/pipeline",
        scoring=("score depth-ae {half} --data rooms --rooms 400 --split-file rooms/split.json --output rooms-scores",),
    ),
    "classifier": Model(
        commands=(
            _PEOPLE,
            'train classifier --data people --resolution 64 --augmentation "time roll, gain and noise" '
            f"--no-nobody --max-train-images 40000 {_SAID} --output-dir classifier",
        ),
        exported="classifier",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to make."""

    folder: tyro.conf.Positional[Path]
    """Folder for data and trainings."""
    names: tuple[str, ...] = tuple(NAMES)
    """Models to make."""
    weights: Path = WEIGHTS
    """Folder of the shipped models."""


def main(config: Config) -> None:
    """Make the models one after the other."""
    config.folder.mkdir(parents=True, exist_ok=True)
    for name in config.names:
        model = MODELS[name]
        for words in model.commands:
            run(words, config.folder)
        half = config.folder / f"{name}-half"
        in_half_precision(config.folder / model.exported, half)
        for words in model.scoring:
            run(words.format(half=half.name), config.folder)
        if name == "classifier":
            score_classifier(config.folder / model.exported, half, config.folder / "people")
        ship(half, config.weights / name)
    total = sum(path.stat().st_size for path in config.weights.rglob("*") if path.is_file())
    print(f"{config.weights}: {total / 1e6:.1f} MB")
    if total > MOST_BYTES:
        raise ValueError(f"the shipped weights must have at most {MOST_BYTES} bytes together, they have {total}")


def run(words: str, folder: Path) -> None:
    """Run a command of echoform in a process of its own in `folder`, unless it has run there with the same words."""
    record = folder / DONE
    done = [json.loads(line) for line in record.read_text().splitlines()] if record.is_file() else []
    if words in done:
        print(f"has run: echoform {words}", flush=True)
        return
    print(f"echoform {words}", flush=True)
    program = Path(sys.executable).with_name("echoform")  # the card shows this name
    subprocess.run([str(program), *shlex.split(words)], cwd=folder, check=True)
    with record.open("a") as file:
        file.write(json.dumps(words) + "\n")


def in_half_precision(exported: Path, half: Path) -> None:
    """Copy what a push of an exported model uploads, with weights rounded to float16; it loads in float32 as before.

    Raises:
        ValueError: If a weight is too large for float16.
    """
    if half.is_dir():
        shutil.rmtree(half)
    copy_model(exported, half)
    for path in half.rglob("*.safetensors"):
        tensors = {name: rounded(name, tensor) for name, tensor in load_file(path).items()}
        save_file(tensors, path, metadata={"format": "pt"})


def rounded(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of floats in half precision; whole numbers stay."""
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    if not bool(torch.isfinite(half).all()):
        raise ValueError(f"weights must be at most 65504 for half precision, {name} has {tensor.abs().max():.3g}")
    return half.contiguous()


def score_classifier(trained: Path, half: Path, people: Path) -> None:
    """Measure a rounded classifier on the test images of its training, for its card."""
    facts = read_json_object(trained / FACTS)
    data = load_spectrograms(str(people), split_file=trained / SPLIT, resolution=facts["data"]["resolution"])
    network = SpectrogramClassifier.from_pretrained(half).network.eval()
    logits = logits_of(network, data.test.pixels)
    scores = card_scores(logits, data.test.users, facts["classifier"]["temperature"], facts["classifier"]["nobody"])
    in_full = facts["card"]["scores"]["accuracy"]["mean"]
    print(f"accuracy {scores['accuracy']['mean']:.4f}, in full precision {in_full:.4f}")
    card = {name: value for name, value in facts["card"].items() if name not in ("scores", "scores_of")}
    tables = {"classifier": facts["classifier"] | card_tables(logits, data.test, data)}
    write_json(half / FACTS, facts | tables | {"card": card})
    write_card(half, scores)


def ship(half: Path, target: Path) -> None:
    """Replace a shipped model."""
    if target.is_dir():
        shutil.rmtree(target)
    copy_model(half, target)
    print(f"{target}: {sum(path.stat().st_size for path in target.rglob('*') if path.is_file()) / 1e6:.1f} MB")


if __name__ == "__main__":
    main(tyro.cli(Config))
