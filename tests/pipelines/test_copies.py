"""Files that travel import no other file of ours: what two of them share is copied, and copies stay equal."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from diffusers import DiffusionPipeline

import echoform
from echoform import DepthAutoencoderPipeline, VQLDMDopplerPipeline

HOME = Path(str(echoform.__file__)).parent
MARK = re.compile(r"^ *# Copied from echoform\.(?P<module>\w+)\.(?P<path>[\w.]+)$")


def definitions(file: Path) -> dict[str, str]:
    """Text of every function, method and class of a file by dotted name, with decorators and without indentation."""
    source = file.read_text(encoding="utf-8")
    lines = source.splitlines()
    found: dict[str, str] = {}

    def collect(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.ClassDef)):
                start = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
                found[prefix + child.name] = "\n".join(lines[start - 1 : child.end_lineno])
                collect(child, f"{prefix}{child.name}.")

    collect(ast.parse(source), "")
    return found


def marked(file: Path) -> dict[str, tuple[str, str]]:
    """Dotted name of every marked copy -> module and dotted name of what it is a copy of."""
    lines = file.read_text(encoding="utf-8").splitlines()
    copies = {}
    for name, text in definitions(file).items():
        start = next(n for n in range(len(lines)) if "\n".join(lines[n:]).startswith(text))
        if match := MARK.match(lines[start - 1]):
            copies[name] = (match["module"], match["path"])
    return copies


@pytest.mark.parametrize("file", sorted(HOME.glob("*.py")), ids=lambda file: file.stem)
def test_marked_copies_are_equal_to_what_they_are_copied_from(file: Path):
    marks = [line for line in file.read_text(encoding="utf-8").splitlines() if "# Copied from" in line]
    copies = marked(file)
    assert len(copies) == len(marks), "a mark must name something of ours and stand right above its copy"
    here = definitions(file)
    for name, (module, path) in copies.items():
        assert here[name] == definitions(HOME / f"{module}.py")[path], f"{file.name}: {name} is no copy any more"


def test_both_pipelines_are_saved_loaded_and_pushed_by_the_same_code():
    shared = {name for name in vars(VQLDMDopplerPipeline) if hasattr(DiffusionPipeline, name)}
    shared -= set(vars(object)) | {"__call__", "__module__", "__annotations__", "model_cpu_offload_seq"}
    shared -= {name for name in shared if name.startswith("__") or name.startswith("_callback")}
    copies = marked(HOME / "pipeline_depth_autoencoder.py")
    ours = {name.rpartition(".")[2] for name in copies}
    assert {"load_config", "save_config", "to_json_string"} <= shared
    assert shared <= ours
    assert shared <= set(vars(DepthAutoencoderPipeline))
