"""Writes train/README.md: the rooms of the laboratory and their files, from the first sentence of each module.

    python docs/train_readme.py

`make docs` runs it, and a test holds the page equal to what it would write.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TRAIN = Path(__file__).parents[1] / "train"
PACKAGE = TRAIN / "echoform_train"
PAGE = TRAIN / "README.md"
ROOMS = {
    "commands": "What you type: one file per command, named after it.",
    "trainers": "One file per model to train. Trainers never import one another.",
    "study": "The augmentation study behind `echoform augment`: does generated data help a classifier?",
    "latent_diffusion": "First stages and denoiser: parts of their training, their quality, their export.",
    "depth": "The depth autoencoder: data, parts of its training, its quality, its export.",
    "conv": "The convolutional autoencoder: parts of its training, its quality, its export.",
    "report": "HTML pages and charts.",
    "radar": "The radar simulator, measured samples, spectrograms, and gait features read from them.",
    "scoring": "Judges and metrics.",
    "publishing": "Cards, pushes to the Hub, and checks of what is there.",
    "data": "Spectrograms from any source to tensors: layouts, colour maps, the split, Hub data sets.",
    "engine": "What every training uses: processes, batches, checkpoints, averages, seeds, precision, provenance.",
}
"""The rooms from top to bottom; imports point downwards only."""
INTRODUCTION = """\
# The laboratory

This folder is an import root: it holds one package, `echoform_train`, and nothing else, so that no package called
`train` is ever installed. The package is the radar simulator, the training, the scoring, the augmentation study and the
command line.

Inside it, rooms stand above one another, and imports point downwards only (`lint-imports` checks it):

```
cli > commands > study > trainers > latent_diffusion | depth | conv | report
    > radar | scoring | publishing > data > engine
```

Rooms joined by `|` do not import one another. A command is a file with a dataclass `Config` and a function
`main(config)`; no other file of the package imports it. Below, each file stands with the first sentence of its
docstring; `make docs` renews this page.
"""


def document() -> str:
    """The whole page."""
    parts = [INTRODUCTION, _table(_files(PACKAGE))]
    for room, purpose in ROOMS.items():
        parts.append(f"## {room}\n\n{purpose}\n\n{_table(_files(PACKAGE / room))}")
    return "\n".join(parts)


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Modules of a room with their names, then those of packages inside it."""
    for path in sorted(folder.iterdir()):
        if path.suffix == ".py" and path.name != "__init__.py":
            yield path.name, path
        elif folder != PACKAGE and (path / "__init__.py").is_file():
            yield from ((f"{path.name}/{one.name}", one) for one in sorted(path.glob("*.py")) if one.stem != "__init__")


def _table(files: Iterator[tuple[str, Path]]) -> str:
    lines = [f"| `{name}` | {_first_sentence(path)} |\n" for name, path in files]
    return "".join(["| file | what it holds |\n", "|---|---|\n", *lines])


def _first_sentence(path: Path) -> str:
    """First paragraph of a module's docstring, on one line, without what could end a table cell."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(docstring.partition("\n\n")[0].split()).replace("|", "\\|")
    return paragraph.rstrip(".")


if __name__ == "__main__":
    PAGE.write_text(document(), encoding="utf-8")
