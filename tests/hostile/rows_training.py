"""Hostile settings of trainings, and checkpoints that are damaged or of another run."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save_file

from echoform_train import cli
from echoform_train.trainers import vq_vae
from hostile.corpus import Row
from hostile.inputs import spectrograms

FLAGS = ["--block-out-channels", "8", "16", "--num-vq-embeddings", "4", "--vq-embed-dim", "4", "--quantize-after", "4"]
FLAGS += [
    "--train-batch-size",
    "4",
    "--max-train-images",
    "16",
    "--validation-every",
    "8",
    "--checkpointing-every",
    "8",
]
FLAGS += ["--lr-warmup-steps", "1", "--mixed-precision", "no", "--report-to", "none", "--logging-every", "8"]


def _wrong(verb: str, flag: str, value: str, rule: str, *, why: str = "") -> Row:
    """A flag with a value that cannot be right; nothing is read before it is refused."""

    def make(folder: Path) -> list[str]:
        inputs = {"distill": ["--pipeline", str(folder)], "train ldm": ["--first-stage", str(folder)]}.get(verb, [])
        inputs += [] if verb == "distill" else ["--data", str(folder)]
        return [*verb.split(), *inputs, "--output-dir", str(folder / "out"), flag, value]

    return Row(f"{verb} {flag} {why or value}", verb, make, rf"{flag} must be {rule}")


@cache
def _finished() -> Path:
    """Data and a finished training with two checkpoints."""
    root = Path(tempfile.mkdtemp())
    data = spectrograms(root / "data")
    vq_vae.main(cli.parse(vq_vae, ["--data", str(data), "--output-dir", str(root / "out"), *FLAGS], prog="vq-vae"))
    return root


def _resumed(damage: Callable[[Path], object], *flags: str) -> Callable[[Path], list[str]]:
    """Resume a copy of the finished training whose checkpoints `damage` was applied to, with further flags."""

    def make(folder: Path) -> list[str]:
        shutil.copytree(_finished(), folder, dirs_exist_ok=True)
        for checkpoint in (folder / "out" / "checkpoints").iterdir():
            damage(checkpoint)
        words = ["train", "vq-vae", "--data", str(folder / "data"), "--output-dir", str(folder / "out"), *FLAGS]
        return [*words, "--resume-from-checkpoint", "latest", *flags]

    return make


def _damaged(name: str, damage: Callable[[Path], object], expected: str) -> Row:
    return Row(f"checkpoints: {name}", "train vq-vae", _resumed(damage), expected)


def _changed(flag: str, value: str, expected: str) -> Row:
    name = f"resume with another {flag}"
    return Row(name, "train vq-vae", _resumed(lambda _: None, flag, value), rf"a run resumes with the .*{expected}")


def _state(**changes: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        state = json.loads((folder / "state.json").read_text())
        (folder / "state.json").write_text(json.dumps(state | changes))

    return damage


def _pipe(folder: Path) -> None:
    (folder / "vqvae.safetensors").unlink()
    os.mkfifo(folder / "vqvae.safetensors")


NONE_WHOLE = "holds no whole checkpoint; the newest is damaged: .*"
LENGTH = r"a whole number in 1\.\."

ROWS = [
    _wrong("train vq-vae", "--validation-every", "0", LENGTH),
    _wrong("train vq-vae", "--logging-every", "0", LENGTH),
    _wrong("train kl-vae", "--checkpointing-every", "-5", LENGTH),
    _wrong("train kl-vae", "--max-train-images", "0", LENGTH),
    _wrong("train ldm", "--train-batch-size", "0", LENGTH),
    _wrong("train ldm", "--train-batch-size", str(10**12), LENGTH),
    _wrong("train depth-ae", "--gradient-accumulation-steps", "0", LENGTH),
    _wrong("train conv-ae", "--checkpoints-total-limit", "0", LENGTH),
    _wrong("train conv-ae", "--learning-rate", "-0.1", r"in \(0, 100\]"),
    _wrong("train depth-ae", "--learning-rate", "nan", r"in \(0, 100\]"),
    _wrong("distill", "--learning-rate", "inf", r"in \(0, 100\]"),
    _wrong("distill", "--max-grad-norm", "0", r"in \(0, "),
    _wrong("train vq-vae", "--adam-weight-decay", "-1", "in 0"),
    _wrong("train vq-vae", "--seed", "-1", "a whole number in 0"),
    _wrong("train vq-vae", "--seed", str(2**63), "a whole number in 0"),
    _wrong("train vq-vae", "--num-vq-embeddings", str(10**12), "a whole number in 2"),
    _wrong("train vq-vae", "--max-train-images", "9" * 400, LENGTH, why="400 digits"),
    _wrong("train ldm", "--dropout", "1", r"in \[0, 1\)"),
    _wrong("train ldm", "--label-dropout", "1.5", "in 0"),
    _damaged(
        "truncated weights",
        lambda folder: os.truncate(folder / "vqvae.safetensors", 99),
        NONE_WHOLE + r"vqvae\.safetensors",
    ),
    _damaged(
        "empty optimizer", lambda folder: os.truncate(folder / "optimizer.safetensors", 0), NONE_WHOLE + "optimizer"
    ),
    _damaged("no codebook", lambda folder: (folder / "codebook.safetensors").unlink(), NONE_WHOLE + "which is missing"),
    _damaged(
        "pickled weights",
        lambda folder: (folder / "vqvae.safetensors").write_bytes(pickle.dumps([1])),
        NONE_WHOLE + r"vqvae\.safetensors",
    ),
    _damaged(
        "other weights",
        lambda folder: save_file({"w": torch.ones(1)}, folder / "vqvae.safetensors"),
        NONE_WHOLE + r"vqvae\.safetensors is damaged",
    ),
    _damaged("a pipe", _pipe, NONE_WHOLE + r"vqvae\.safetensors, which is missing"),
    _damaged("seen -8", _state(seen=-8), NONE_WHOLE + r"seen in .* must be a number of images, at least 0, got -8"),
    _damaged("seen of another", _state(seen=400), NONE_WHOLE + "seen in .* must be the number in the name"),
    _damaged("another best", _state(best=-99.0), NONE_WHOLE + r"state\.json is damaged"),
    _damaged("settings of nobody", _state(settings=[]), NONE_WHOLE + r"state\.json is damaged"),
    _damaged("state of no bytes", lambda folder: os.truncate(folder / "state.json", 0), NONE_WHOLE + r"state\.json"),
    _damaged(
        "nested state",
        lambda folder: (folder / "state.json").write_text("[" * 9999 + "]" * 9999),
        NONE_WHOLE + "nested",
    ),
    _changed("--learning-rate", "0.5", r"--learning-rate was 0\.001, is now 0\.5"),
    _changed("--validation-every", "4", "--validation-every was 8, is now 4"),
    _changed("--max-train-images", "64", "--max-train-images was 16, is now 64"),
    _changed("--resolution", "16", "--resolution was 32, is now 16"),
    Row(
        "resume with another patience",
        "train vq-vae",
        _resumed(lambda _: None, "--early-stopping-patience", "3"),
        "resumed after 16 images from .*, with --early-stopping-patience was 8, is now 3",
        accepted=True,
    ),
]
