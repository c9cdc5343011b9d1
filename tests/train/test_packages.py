"""Every package that the sources import is declared in pyproject.toml, optional ones as extras that errors name."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

from echoform_train import cli
from echoform_train.engine.extras import MissingPackageError, needs_extra
from echoform_train.engine.trackers import tracker

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
DISTRIBUTIONS = {
    "PIL": "pillow",
    "faiss": "faiss-cpu",
    "markdown_it": "markdown-it-py",
    "mcp": "gradio",
    "python_multipart": "python-multipart",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Packages by the name of their module, where the two differ."""
INSTALLED_FROM_US = ("pipelines", "train", "hub_cards")
OWN = {"echoform", "echoform_train", "echoform_cards"} | {
    path.stem for root in ("space_app", "tests", "benchmarks", "docs") for path in (ROOT / root).rglob("*.py")
}
OWN |= {path.parent.name for path in (ROOT / "tests").glob("*/*.py")}  # such as hostile and sweep
OPTIONAL_MODULES = ("faiss", "gradio", "h5py", "lpips", "sklearn", "tensorboard")


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=\[ ;]", requirement, maxsplit=1)[0].lower() for requirement in requirements}


CORE = names(PROJECT["dependencies"])
EVERYTHING = CORE | {name for extra in EXTRAS.values() for name in names(extra)}


def sources(*roots: str) -> Iterator[tuple[Path, ast.Module]]:
    for root in roots:
        for path in sorted((ROOT / root).rglob("*.py")):
            yield path, ast.parse(path.read_text())


def imported(node: ast.AST) -> set[str]:
    """Distributions that an import statement needs; none for the standard library and our own modules."""
    if isinstance(node, ast.Import):
        modules = {alias.name.partition(".")[0] for alias in node.names}
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        modules = {node.module.partition(".")[0]}
    else:
        return set()
    foreign = modules - OWN - set(sys.stdlib_module_names)
    return {DISTRIBUTIONS.get(module, module).lower() for module in foreign}


def guarded(tree: ast.Module) -> dict[ast.AST, set[str]]:
    """Import statements below `with needs_extra(NAME, ...)` or `if TYPE_CHECKING`, with what those bring."""
    brings: dict[ast.AST, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            brings |= dict.fromkeys(ast.walk(node), EVERYTHING)
        if isinstance(node, ast.With):
            managers = ", ".join(ast.unparse(item.context_expr) for item in node.items)
            for extra in re.findall(r"needs_extra\('(\w+)'", managers):
                brings |= dict.fromkeys(ast.walk(node), names(EXTRAS[extra]))
    return brings


def test_every_import_is_declared():
    missing = {
        (str(path.relative_to(ROOT)), name)
        for path, tree in sources("pipelines", "train", "hub_cards", "space_app", "tests", "benchmarks", "docs")
        for node in ast.walk(tree)
        for name in imported(node) - EVERYTHING
    }
    # ZeroGPU machines of the Hub have `spaces`, others go without; the test of parallel jobs writes `jobs` itself.
    assert missing <= {("space_app/hardware.py", "spaces"), ("tests/train/engine/test_parallel.py", "jobs")}


def test_packages_of_extras_are_imported_only_where_a_missing_one_is_named():
    for path, tree in sources(*INSTALLED_FROM_US):
        brings = guarded(tree)
        for node in ast.walk(tree):
            assert imported(node) <= CORE | brings.get(node, set()), f"{path}:{getattr(node, 'lineno', 0)}"


def test_all_is_every_extra_and_dev_holds_all():
    assert set(re.findall(r"\w+", EXTRAS["all"][0])) == {"echoform", *EXTRAS} - {"all", "dev"}
    assert "echoform[all]" in EXTRAS["dev"]


def test_every_command_starts_without_the_optional_packages():
    code = (
        "import sys\n"
        f"for name in {OPTIONAL_MODULES}: sys.modules[name] = None\n"
        "from importlib import import_module\n"
        "from echoform_train import commands\n"
        "for module, _ in commands.VERBS.values(): import_module('echoform_train.' + module)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingPackageError) as raised, needs_extra("matlab", "a .mat file of version 7.3"):
        import h5py  # noqa: F401
    assert str(raised.value) == (
        "a .mat file of version 7.3 needs the package h5py, which is not installed; "
        'install it with: pip install "echoform[matlab]"'
    )


def test_the_tracker_is_tensorboard_if_it_is_installed_and_a_named_one_must_be(monkeypatch):
    from accelerate.utils import LoggerType

    monkeypatch.setattr("echoform_train.engine.trackers.get_available_trackers", lambda: [LoggerType.TENSORBOARD])
    assert [tracker(name) for name in ("auto", "tensorboard", "none")] == ["tensorboard", "tensorboard", None]
    with pytest.raises(MissingPackageError, match=r'--report-to wandb needs .* pip install "echoform\[wandb\]"$'):
        tracker("wandb")
    monkeypatch.setattr("echoform_train.engine.trackers.get_available_trackers", lambda: [])
    assert tracker("auto") is None
    with pytest.raises(MissingPackageError, match=r'--report-to tensorboard .* pip install "echoform\[tensorboard\]"$'):
        tracker("tensorboard")


def test_a_missing_package_is_one_sentence_on_the_command_line(monkeypatch, capsys, tmp_path):
    from echoform_train.commands import space

    monkeypatch.setattr(space, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as end:
        cli.main(["space", "--doppler", str(tmp_path)])
    assert end.value.code == 1
    assert capsys.readouterr().err.endswith('install it with: pip install "echoform[space]"\n')
