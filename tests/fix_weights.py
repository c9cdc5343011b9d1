"""Gives the weights that are shipped inside the package the code of today: `python tests/fix_weights.py`.

Each shipped folder holds copies of the code that loads it, as every exported folder does. They must be those of the
package, so that who loads them with `trust_remote_code=True` gets the same as with the installed classes.
"""

from __future__ import annotations

from pathlib import Path

from echoform.code_files import content_in_one, copy_code, plain_stem
from echoform.shipped import WEIGHTS
from echoform_train.engine.files import FACTS
from echoform_train.engine.json_files import read_json_object, write_json
from echoform_train.publishing.identity import model_identity

HOME = WEIGHTS.parent


def outdated(folder: Path) -> list[Path]:
    """Code files of an exported folder that are not those of the package."""
    return [path for path in sorted(folder.rglob("*.py")) if path.read_bytes() != content_in_one(_original(path))]


def renew(folder: Path) -> None:
    """Put the code of the package into an exported folder; its scores stay those of the model."""
    before = model_identity(folder)
    for path in outdated(folder):
        name = copy_code(path, path.parent, content_in_one(_original(path)))
        if path.stem != name:
            path.unlink()
            # model_index.json, config.json and the like name their code file.
            for other in sorted(folder.rglob("*.json")):
                text = other.read_text(encoding="utf-8")
                if path.stem in text:
                    other.write_text(text.replace(path.stem, name), encoding="utf-8")
    if (folder / FACTS).is_file():
        facts = read_json_object(folder / FACTS)
        card = facts.get("card", {})
        if card.get("scores_of") == before:
            write_json(folder / FACTS, facts | {"card": card | {"scores_of": model_identity(folder)}})


def _original(path: Path) -> Path:
    return HOME / f"{plain_stem(path.stem)}.py"


def main() -> None:
    """Renew every shipped folder whose code differs, and print its name."""
    for folder in sorted(path for path in WEIGHTS.glob("*") if path.is_dir()):
        if outdated(folder):
            renew(folder)
            print(f"{folder.name}: code made equal to that of the package")


if __name__ == "__main__":
    main()
