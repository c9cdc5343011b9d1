"""`echoform classify`: tell who walks in spectrograms, with an exported classifier."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from echoform_train.engine.atomic_files import write_text
from echoform_train.engine.errors import MissingFileError, UserError
from echoform_train.engine.limits import BatchSize, LimitedSettings

if TYPE_CHECKING:
    import numpy as np

    from echoform.spectrogram_classifier import SpectrogramClassifier, SpectrogramImageProcessor

TOP = 3
"""Number of labels listed per image."""


@dataclass(frozen=True, kw_only=True)
class Config(LimitedSettings):
    """Tell who walks in each spectrogram, or that it is nobody whom the classifier knows."""

    sources: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of pictures, and picture files."""
    model: str
    """Output folder of `echoform train classifier`, or user/model on the Hub."""
    output: Path | None = None
    """File to write, .csv or .jsonl. Default: the answers are printed."""
    batch_size: BatchSize = 64
    """Images per forward pass."""
    skip_bad_files: bool = False
    """List and skip files that cannot be used instead of stopping."""


@dataclass(frozen=True)
class Answer:
    """Who walks in one picture."""

    file: str
    user: str
    """The most probable user, or "nobody"."""
    probability: float
    """Of that answer, 0..1."""
    top: tuple[tuple[str, float], ...]
    """The three most probable labels with their probabilities, the answer first."""


def main(config: Config) -> list[Answer]:
    """Classify pictures, and print the answers or write them to a file.

    Raises:
        FileNotFoundError: If a source or the model does not exist.
        UserError: If the model is no classifier, there are no pictures, or one cannot be used.
    """
    if config.output is not None and config.output.suffix not in (".csv", ".jsonl"):
        raise UserError(f"--output must be a .csv or .jsonl file, got {config.output}")
    if not config.sources:
        raise UserError("classify needs folders or pictures, got none")
    files = _files(config.sources)
    model, processor = _load(config.model)
    answers, bad_files = [], []
    for names, pixels in _batches(files, processor, config, bad_files):
        answers += _classify(model, names, pixels)
    for bad in bad_files:
        print(f"skipped {bad}")
    if not answers:
        raise UserError(f"there must be a picture that can be used, {len(bad_files)} were skipped")
    text = _as_jsonl(answers) if config.output is not None and config.output.suffix == ".jsonl" else _as_csv(answers)
    if config.output is None:
        print(text, end="")
    else:
        config.output.parent.mkdir(parents=True, exist_ok=True)
        write_text(config.output, text)
        counts = {answer.user: 0 for answer in answers}
        for answer in answers:
            counts[answer.user] += 1
        print(f"{len(answers)} images: {', '.join(f'{user} {count}' for user, count in sorted(counts.items()))}")
        print(f"answers in {config.output}")
    return answers


def _files(sources: tuple[Path, ...]) -> dict[str, Path]:
    """Pictures by the name under which they are listed: the path as it was given, or below a folder."""
    from echoform_train.data.layout import IMAGES
    from echoform_train.data.walk import find_files

    found: dict[str, Path] = {}
    for source in sources:
        if source.is_dir():
            inside = find_files(source, IMAGES.suffixes)
            if not inside:
                raise UserError(f"a folder must hold pictures ({', '.join(IMAGES.suffixes)}), {source} holds none")
            # With one folder, names are those below it; with several, they begin with the folder.
            prefix = "" if len(sources) == 1 else f"{source}/"
            found |= {f"{prefix}{name}": path for name, path in inside.items()}
        elif source.is_file():
            found[str(source)] = source
        else:
            raise MissingFileError(f"there is no folder or file {source}")
    return found


def _load(source: str) -> tuple[SpectrogramClassifier, SpectrogramImageProcessor]:
    """The classifier of a folder or repository, and its image processor; its code is not run."""
    from echoform.spectrogram_classifier import SpectrogramImageProcessor
    from echoform_train.engine.errors import refused_by
    from echoform_train.engine.sources import HubId, resolve_source
    from echoform_train.publishing.exported import class_name
    from echoform_train.publishing.families import load_installed
    from echoform_train.publishing.model_folder import LOADING_ERRORS
    from echoform_train.publishing.snapshot import download_model

    place = resolve_source(source)
    folder = download_model(place.repo, place.revision, None) if isinstance(place, HubId) else place
    if (name := class_name(folder)) != "SpectrogramClassifier":
        raise UserError(f"--model must be a SpectrogramClassifier, {source} holds a {name}")
    model = load_installed(folder).eval()
    if not (folder / "preprocessor_config.json").is_file():
        raise MissingFileError(f"{folder} holds no preprocessor_config.json, which tells how pictures are read")
    with refused_by(f"{folder / 'preprocessor_config.json'} must be that of a classifier", LOADING_ERRORS):
        processor = SpectrogramImageProcessor.from_pretrained(folder)
    return model, processor


def _batches(
    files: dict[str, Path], processor: SpectrogramImageProcessor, config: Config, bad_files: list[str]
) -> Iterator[tuple[list[str], list[np.ndarray]]]:
    """Names and pixels of the pictures that can be used, in batches."""
    names: list[str] = []
    pixels: list[np.ndarray] = []
    for name, path in files.items():
        try:
            pixels.append(_read(path, name, processor))
        except UserError as error:
            if not config.skip_bad_files:
                raise
            bad_files.append(str(error))
            continue
        names.append(name)
        if len(names) == config.batch_size:
            yield names, pixels
            names, pixels = [], []
    if names:
        yield names, pixels


def _read(path: Path, name: str, processor: SpectrogramImageProcessor) -> np.ndarray:
    from echoform_train.data.image_check import BadFileError, decode_image

    try:
        return processor.pixels_of(decode_image(path.read_bytes(), name))
    except BadFileError as error:
        raise UserError(str(error)) from error
    except ValueError as error:
        raise UserError(f"{name}: {error}") from error


def _classify(model: SpectrogramClassifier, names: list[str], pixels: list[np.ndarray]) -> list[Answer]:
    import numpy as np
    import torch

    from echoform_train.data.spectrograms import to_model

    with torch.inference_mode():
        logits: Any = model(to_model(torch.from_numpy(np.stack(pixels)))).logits
    shares, labels = logits.softmax(1).topk(min(TOP, logits.shape[1]))
    names_of: Any = model.config.id2label
    answers = []
    for name, row, ids in zip(names, shares.tolist(), labels.tolist(), strict=True):
        top = tuple((names_of[label], share) for label, share in zip(ids, row, strict=True))
        answers.append(Answer(name, *top[0], top))
    return answers


def _as_csv(answers: list[Answer]) -> str:
    columns = ["file", "user", "probability"]
    for rank in range(1, len(answers[0].top) + 1):
        columns += [f"top{rank}", f"top{rank}_probability"]
    with io.StringIO(newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for answer in answers:
            top = [value for label, share in answer.top for value in (label, f"{share:.6f}")]
            writer.writerow([answer.file, answer.user, f"{answer.probability:.6f}", *top])
        return file.getvalue()


def _as_jsonl(answers: list[Answer]) -> str:
    rows = [
        {
            "file": answer.file,
            "user": answer.user,
            "probability": round(answer.probability, 6),
            "top": [{"user": label, "probability": round(share, 6)} for label, share in answer.top],
        }
        for answer in answers
    ]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
