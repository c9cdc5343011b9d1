"""Two versions of our code in one process, each with the repositories that carry it: neither disturbs the other."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from huggingface_hub import HfApi

import echoform
from echoform import DepthAutoencoderPipeline, DepthEncoder, DopplerUNet2DModel, VQLDMDopplerPipeline
from echoform.code_files import copy_code
from echoform.hub import push_folder
from hub_server import Hub
from tiny_depth import tiny_depth_pipeline
from without_echoform import UNINSTALLED, run_alone

HOME = Path(str(echoform.__file__)).parent

# A release that gives a helper of each file another argument, so that there is a TypeError where a method of one
# version meets the helper of the other, and that makes something else.
NEWER = {
    "unet_doppler": ("rotate_by_position", "turns = 100.0 **", "turns = number **"),
    "pipeline_vq_ldm_doppler": ("_sides", "((decoded + 1) / 2)", "((decoded + 1) / 3)"),
    "depth_autoencoder": ("_exactly_linear", "return vectors.to(", "return number * vectors.to("),
    "pipeline_depth_autoencoder": ("_to_uint16", "units.round()", "(units + number).round()"),
}

WITHOUT_ECHOFORM = f"""{UNINSTALLED}
import json
import diffusers, numpy as np, torch, transformers

LOADERS = dict(radar=diffusers.DiffusionPipeline, depth=diffusers.DiffusionPipeline, encoder=diffusers.AutoModel,
               transformers=transformers.AutoModel)

def load(name, source):
    return LOADERS[name.partition("-")[0]].from_pretrained(source, trust_remote_code=True)

"""
OUTPUT = """
def output(loaded):
    name = type(loaded).__name__
    if name == "VQLDMDopplerPipeline":
        loaded.set_progress_bar_config(disable=True)
        seeded = torch.Generator().manual_seed(0)
        return loaded(["ID_10"], generator=seeded, num_inference_steps=2, output_type="np").images
    if name == "DepthAutoencoderPipeline":
        loaded.set_progress_bar_config(disable=True)
        made = loaded(np.arange(1000, 1000 + 32 * 32, dtype=np.uint16).reshape(32, 32))
        return np.concatenate([made.latents.numpy().ravel(), made.depth[0].ravel().astype(np.float32)])
    depth = torch.linspace(-1, 1, 32 * 32).reshape(1, 1, 32, 32)
    with torch.no_grad():
        made = loaded(depth)
    return getattr(made, "pooler_output", made).numpy()
"""
ALL_IN_ONE = """
loaded = {name: load(name, source) for name, source in sources.items()}
made = {name: output(one) for name, one in loaded.items()}
for name, one in loaded.items():
    one.save_pretrained(f"saved/{name}")
for name, repo in pushes.items():
    loaded[name].push_to_hub(repo)
again = {f"{name} saved": load(name, f"saved/{name}") for name in pushes}
again |= {f"{name} pushed": load(name, repo) for name, repo in pushes.items()}
for name in ("radar-old-local", "depth-new-local"):
    again[f"{name} by its class"] = type(loaded[name]).from_pretrained(sources[name], trust_remote_code=True)
told["changed"] = []
for name, one in (loaded | again).items():
    if not np.allclose(output(one), made[name.split()[0]], atol=1e-4):
        told["changed"].append(name)
told["made"] = {name: values.tolist() for name, values in made.items()}
told["echoform"] = "echoform" in sys.modules
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The modules of the newer release, imported under another name."""
    root = tmp_path_factory.mktemp("newer")
    (root / "newer_echoform").mkdir()
    for name, (helper, old, new) in NEWER.items():
        code = (HOME / f"{name}.py").read_text(encoding="utf-8")
        assert f"def {helper}(" in code and old in code
        code = code.replace(f"{helper}(", f"{helper}(2.0, ").replace(
            f"def {helper}(2.0, ", f"def {helper}(number: float, "
        )
        (root / "newer_echoform" / f"{name}.py").write_text(code.replace(old, new), encoding="utf-8")
    for name in ("transformers_depth_encoder.py", "depth_units.py"):
        shutil.copy(HOME / name, root / "newer_echoform")
    sys.path.insert(0, str(root))
    yield SimpleNamespace(**{name: importlib.import_module(f"newer_echoform.{name}") for name in NEWER})
    sys.path.remove(str(root))


def shake(model: Any) -> None:
    """Add noise, also to what starts at zero, so that every helper can be seen in the output."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)


def outputs(models: dict[str, Any]) -> dict[str, np.ndarray]:
    names: dict[str, Any] = {"np": np, "torch": torch}
    exec(OUTPUT, names)
    return {name: names["output"](model) for name, model in models.items()}


@pytest.fixture
def models(
    newer: SimpleNamespace, make_pipeline: Callable[..., VQLDMDopplerPipeline], tmp_path: Path
) -> dict[str, Any]:
    """The same weights in both versions, and others in the old one."""
    radar, depth, other = (
        make_pipeline(),
        tiny_depth_pipeline(),
        make_pipeline(scheduler=DDIMScheduler(clip_sample=False)),
    )
    for model in (radar.unet, depth.autoencoder):
        shake(model)
    radar.save_pretrained(tmp_path / "radar")
    depth.save_pretrained(tmp_path / "depth")
    new_radar = newer.pipeline_vq_ldm_doppler.VQLDMDopplerPipeline.from_pretrained(tmp_path / "radar")
    new_depth = newer.pipeline_depth_autoencoder.DepthAutoencoderPipeline.from_pretrained(tmp_path / "depth")
    old_encoder, new_encoder = depth.autoencoder.encoder, new_depth.autoencoder.encoder
    return {
        "radar-old": radar,
        "radar-other": other,
        "radar-new": new_radar,
        "depth-old": depth,
        "depth-new": new_depth,
        "encoder-old": old_encoder,
        "encoder-new": new_encoder,
        "transformers-old": old_encoder,
        "transformers-new": new_encoder,
    }


FACTS = {"depth_range_mm": {"min": 300.0, "max": 5000.0}, "units_per_mm": 1.0}


def save(name: str, model: Any, folder: Path) -> None:
    if name.startswith("transformers"):
        package = type(model).__module__.partition(".")[0]
        importlib.import_module(f"{package}.transformers_depth_encoder").save_for_transformers(model, folder, FACTS)
    else:
        model.save_pretrained(folder)


@pytest.mark.parametrize("first", ["old", "new"])
def test_each_makes_saves_and_pushes_its_own_whichever_comes_first(
    first: str, models: dict[str, Any], hub: Hub, tmp_path: Path
):
    expected = outputs(models)
    for kind in ("radar", "depth", "encoder"):
        assert np.abs(expected[f"{kind}-old"] - expected[f"{kind}-new"]).max() > 1e-2, "the versions make the same"
    sources, pushes = {}, {}
    for name in sorted(models, key=lambda name: name.endswith(first), reverse=True):
        folder = tmp_path / name / "model"  # transformers keeps folders of other names apart
        save(name, models[name], folder)
        HfApi().create_repo(repo := hub.repo_id(name))
        HfApi().upload_folder(repo_id=repo, folder_path=folder)
        sources[f"{name}-hub"], sources[f"{name}-local"] = repo, f"{name}/model"
        if name in ("radar-old", "depth-old", "encoder-old"):
            pushes[f"{name}-hub"] = hub.repo_id(f"{name}-again")
    given = f"told, sources, pushes = {{}}, {sources!r}, {pushes!r}\n"
    done = run_alone(WITHOUT_ECHOFORM + OUTPUT + given + ALL_IN_ONE, tmp_path)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["changed"] == []
    assert not told["echoform"]
    for name, want in expected.items():
        for way in ("hub", "local"):
            assert np.allclose(told["made"][f"{name}-{way}"], want, atol=1e-4)
            again = contents(tmp_path / "saved" / f"{name}-{way}")
            assert again == contents(tmp_path / name / "model")
    for name, repo in pushes.items():
        assert contents(hub.files(repo)) == contents(hub.files(sources[name]))


def contents(place: Path | dict[str, bytes]) -> dict[str, bytes]:
    """Code and what names it, by path."""
    if isinstance(place, Path):
        place = {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}
    return {
        path: content for path, content in place.items() if re.search(r"\.py$|model_index\.json$|\bconfig\.json$", path)
    }


def test_a_folder_and_a_repository_hold_one_version_of_the_code(models: dict[str, Any], hub: Hub, tmp_path: Path):
    for kind in ("radar", "depth", "encoder"):
        folder, repo, pushed = tmp_path / "same", hub.repo_id(kind), hub.repo_id(f"{kind}-folder")
        for version in ("old", "new", "old"):
            model = models[f"{kind}-{version}"]
            (tmp_path / version).mkdir(exist_ok=True)
            alone = tmp_path / version / kind
            model.save_pretrained(alone)
            model.save_pretrained(folder / kind)
            (folder / kind / "depth_autoencoder_mine.py").write_text("")
            model.push_to_hub(repo)
            push_folder(alone, pushed)
            names = set(contents(alone))
            assert set(contents(folder / kind)) == names | {"depth_autoencoder_mine.py"}
            assert set(contents(hub.files(repo))) == set(contents(hub.files(pushed))) == names
        heads = len(hub.commits(repo)), len(hub.commits(pushed))
        assert heads == (4, 4)  # with the Hub's own
        model.push_to_hub(repo)
        push_folder(alone, pushed)
        assert (len(hub.commits(repo)), len(hub.commits(pushed))) == heads, "the same content made a commit"


def without_hashes(folder: Path) -> None:
    """What echoform wrote before its code files had hashes in their names."""
    for code in list(folder.rglob("*.py")):
        plain = re.sub(r"_[0-9a-f]{8}$", "", code.stem)
        for config in folder.rglob("*.json"):
            config.write_text(config.read_text().replace(code.stem, plain))
        code.rename(code.with_name(f"{plain}.py"))


def test_what_was_saved_under_plain_names_loads_and_is_saved_under_full_ones(models: dict[str, Any], tmp_path: Path):
    expected = outputs(models)
    for name, installed in (
        ("radar-old", VQLDMDopplerPipeline),
        ("depth-old", DepthAutoencoderPipeline),
        ("encoder-old", DepthEncoder),
    ):
        folder = tmp_path / name
        models[name].save_pretrained(folder)
        names = set(contents(folder))
        without_hashes(folder)
        assert not names & {path for path in contents(folder) if path.endswith(".py")}
        loaded = installed.from_pretrained(folder)
        assert np.allclose(outputs({name: loaded})[name], expected[name], atol=1e-4)
        loaded.save_pretrained(folder)
        assert set(contents(folder)) == names


def test_a_changed_file_gets_another_hash_in_place_of_the_one_in_its_name(tmp_path: Path):
    code = tmp_path / "model_0123abcd.py"
    code.write_bytes(b"class Model: ...\n")
    digest = hashlib.sha256(code.read_bytes()).hexdigest()[:8]
    assert copy_code(code, tmp_path / "folder") == f"model_{digest}"
    copy_code(tmp_path / "folder" / f"model_{digest}.py", tmp_path / "folder")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == [f"model_{digest}.py"]
    copy_code(code, tmp_path)
    assert code.exists(), "the source was taken for an older version of itself"


def test_a_pipeline_with_a_model_of_an_interactive_session_can_be_shown(
    make_pipeline: Callable[..., VQLDMDopplerPipeline],
    make_unet: Callable[..., DopplerUNet2DModel],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setitem(sys.modules, "session", ModuleType("session"))
    unet = make_unet()
    unet.__class__ = type("MyUNet", (DopplerUNet2DModel,), {"__module__": "session"})
    shown = json.loads(repr(make_pipeline(unet=unet)).partition(" ")[2])
    assert shown["unet"] == ["session", "MyUNet"]
