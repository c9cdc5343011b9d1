"""Files that travel import no other file of ours: what two of them share is copied, and copies stay equal."""

from __future__ import annotations

from pathlib import Path

import pytest
from diffusers import DiffusionPipeline

from echoform import ConvAutoencoderPipeline, DepthAutoencoderPipeline, VQLDMDopplerPipeline
from fix_copies import HOME, MARK, copied_text, with_equal_copies

SHARED = "# Copied from echoform.pipeline_vq_ldm_doppler.SelfContainedPipeline"


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
        shared = pipeline.__mro__[1]
        assert shared.__name__ == "SelfContainedPipeline" and shared.__mro__[1] is DiffusionPipeline
        assert {"from_pretrained", "load_config", "save_config", "save_pretrained", "push_to_hub"} <= set(vars(shared))
        # No pipeline has a way of its own.
        overridden = {name for name in vars(pipeline) if hasattr(shared, name) and not name.startswith("__")}
        settings = {"_callback_tensor_inputs", "_exclude_from_cpu_offload", "model_cpu_offload_seq"}
        assert overridden - settings == set()
    for file in ("pipeline_depth_autoencoder.py", "pipeline_conv_autoencoder.py"):
        assert (HOME / file).read_text(encoding="utf-8").count(f"{SHARED}\n") == 1


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
