"""Files that travel import no other file of ours: what they share is copied, or its text is put into them on saving."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from diffusers import DiffusionPipeline

from echoform import ConvAutoencoderPipeline, DepthAutoencoderPipeline, VQLDMDopplerPipeline
from echoform.code_files import content_in_one, copy_code
from echoform.self_contained import SelfContainedPipeline
from fix_copies import HOME, MARK, copied_text, definitions, with_equal_copies

MOST_LINES = 600
MOST_COPIED = 0.08
PIPELINES = ("pipeline_vq_ldm_doppler", "pipeline_depth_autoencoder", "pipeline_conv_autoencoder")
TRAVELLING = (*PIPELINES, "unet_doppler", "conv_autoencoder", "depth_autoencoder")


@pytest.mark.parametrize("file", sorted(HOME.glob("*.py")), ids=lambda file: file.stem)
def test_marked_copies_are_equal_to_what_they_are_copied_from(file: Path):
    source = file.read_text(encoding="utf-8")
    assert with_equal_copies(source, HOME) == source, "run `make fix-copies`"


def test_no_copy_is_copied_from_a_copy():
    for file in HOME.glob("*.py"):
        for line in file.read_text(encoding="utf-8").splitlines():
            if mark := MARK.match(line):
                assert not any("# Copied from" in line for line in copied_text(HOME, mark["module"], mark["name"]))
                original = (HOME / f"{mark['module']}.py").read_text(encoding="utf-8")
                assert f"{line.strip()}\n" not in original


def test_all_pipelines_are_saved_loaded_and_pushed_by_the_same_code():
    for pipeline in (VQLDMDopplerPipeline, DepthAutoencoderPipeline, ConvAutoencoderPipeline):
        own = pipeline.__mro__[: pipeline.__mro__.index(SelfContainedPipeline)]
        shared = vars(SelfContainedPipeline)
        assert SelfContainedPipeline.__mro__[1] is DiffusionPipeline
        assert {"from_pretrained", "load_config", "save_config", "save_pretrained", "push_to_hub"} <= set(shared)
        # No pipeline has a way of its own; one refuses to be saved while users are loaded.
        inherited = dir(SelfContainedPipeline)
        overridden = {f"{one.__name__}.{name}" for one in own for name in vars(one) if name in inherited}
        settings = ("_callback_tensor_inputs", "_exclude_from_cpu_offload", "model_cpu_offload_seq")
        overridden = {name for name in overridden if not name.endswith((*settings, "__"))}
        assert overridden == ({"LoadedUsersMixin.save_pretrained"} if pipeline is VQLDMDopplerPipeline else set())


@pytest.mark.parametrize("file", sorted(HOME.glob("*.py")), ids=lambda file: file.stem)
def test_a_file_can_be_read_at_one_sitting(file: Path):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= MOST_LINES, "give a part of it a file of its own"


def test_few_lines_are_copies():
    sources = {file: file.read_text(encoding="utf-8") for file in HOME.glob("*.py")}
    copied = sum(
        len(copied_text(HOME, mark["module"], mark["name"]))
        for source in sources.values()
        for line in source.splitlines()
        if (mark := MARK.match(line))
    )
    assert copied <= MOST_COPIED * sum(len(source.splitlines()) for source in sources.values())


@pytest.mark.parametrize("name", TRAVELLING)
def test_a_saved_file_holds_the_text_of_what_it_imports_from_us(name: str):
    source = (HOME / f"{name}.py").read_text(encoding="utf-8")
    inside = re.findall(r"^from echoform\.(\w+) import", source, re.MULTILINE)
    saved = content_in_one(HOME / f"{name}.py").decode()
    assert (name in PIPELINES) == ("self_contained" in inside)
    for one in (*inside, name):
        # Every function and class of each file is there as it is written, in the order of the files.
        original = (HOME / f"{one}.py").read_text(encoding="utf-8").splitlines()
        for block in definitions("\n".join(original)).values():
            assert "\n".join(original[block.start : block.stop]) + "\n" in saved
    meanings: dict[str, set[str]] = {}
    for node in ast.parse(saved).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            assert module and module.partition(".")[0] != "echoform"
            for alias in node.names:
                meanings.setdefault(alias.asname or alias.name, set()).add(f"{module}.{alias.name}")
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            meanings.setdefault(node.name, set()).add(f"line {node.lineno}")
        elif isinstance(node, ast.Assign):
            assert isinstance(node.targets[0], ast.Name)
            meanings.setdefault(node.targets[0].id, set()).add(f"line {node.lineno}")
    # No file gives a name of another file a second meaning.
    assert not {name: found for name, found in meanings.items() if len(found) > 1}


def test_a_saved_file_is_saved_again_as_it_is(tmp_path: Path):
    for name in TRAVELLING:
        stem = copy_code(HOME / f"{name}.py", tmp_path, once := content_in_one(HOME / f"{name}.py"))
        assert content_in_one(tmp_path / f"{stem}.py") == (tmp_path / f"{stem}.py").read_bytes() == once


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "source.py").write_text(
        "def one() -> int:\n    return 1\n\n\n"
        "class Shared:\n    @property\n    def two(self) -> int:\n        # why\n        return 2\n"
    )
    return tmp_path


def test_a_changed_copy_gets_the_text_of_its_source_with_decorators_and_comments(home: Path):
    changed = (
        "# Copied from echoform.source.one\ndef one() -> int:\n    x = 3\n    return x\n\n\n"
        "class Other:\n    # Copied from echoform.source.Shared.two\n    def two(self) -> int:\n        return 4\n\n"
        "    def three(self) -> int:\n        return 3\n"
    )
    assert with_equal_copies(changed, home) == (
        "# Copied from echoform.source.one\ndef one() -> int:\n    return 1\n\n\n"
        "class Other:\n    # Copied from echoform.source.Shared.two\n"
        "    @property\n    def two(self) -> int:\n        # why\n        return 2\n\n"
        "    def three(self) -> int:\n        return 3\n"
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("# Copied from echoform.source.four\ndef four(): ...\n", r"of ours, got echoform\.source\.four"),
        ("# Copied from echoform.nowhere.one\ndef one(): ...\n", r"of ours, got echoform\.nowhere\.one"),
        ("# Copied from echoform.source.one\n\ndef one(): ...\n", "right above what is copied"),
        ("# Copied from diffusers.one\ndef one(): ...\n", r"must read '# Copied from echoform\.module\.name'"),
    ],
)
def test_a_mark_that_says_nothing_is_refused(home: Path, source: str, message: str):
    with pytest.raises(ValueError, match=message):
        with_equal_copies(source, home)
