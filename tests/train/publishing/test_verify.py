"""`echoform verify` on repositories that are what they were, and on those that somebody tampered with."""

from __future__ import annotations

import json
import pickle
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, VQModel
from safetensors.torch import load_file, save_file

import echoform
from code_names import travelling_name
from echoform import (
    DepthAutoencoder,
    DepthAutoencoderPipeline,
    VQLDMDopplerPipeline,
    pipeline_vq_ldm_doppler,
    unet_doppler,
)
from echoform.transformers_depth_encoder import DepthEncoderConfig, DepthEncoderModel
from echoform_train import cli
from echoform_train.engine.files import FINGERPRINT
from echoform_train.publishing.families import PUBLISHED
from echoform_train.publishing.fingerprint import (
    ARGUMENTS,
    TOLERANCE,
    deviation,
    loaded_files,
    sha256_of,
    write_fingerprint,
)
from echoform_train.publishing.folder_check import check_folder
from echoform_train.publishing.released import known_releases, release_of
from echoform_train.publishing.seeded_outputs import seeded_outputs, spectrogram_pipeline, synthetic_depth
from echoform_train.publishing.verify import read_fingerprint, verify
from hub_server import Hub

PIPELINE_CODE = travelling_name(pipeline_vq_ldm_doppler)
UNET_CODE = f"unet/{travelling_name(unet_doppler)}"
UNET_WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="session")
def pushed(second_stage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported pipeline with its fingerprint."""
    folder = tmp_path_factory.mktemp("pushed") / "pipeline"
    shutil.copytree(second_stage / "pipeline", folder)
    write_fingerprint(folder)
    return folder


@pytest.fixture
def folder(pushed: Path, tmp_path: Path) -> Path:
    """The same, to tamper with."""
    return Path(shutil.copytree(pushed, tmp_path / "pipeline"))


def tiny_depth_pipeline(seed: int = 0) -> DepthAutoencoderPipeline:
    torch.manual_seed(seed)
    autoencoder = DepthAutoencoder(sample_size=32, latent_dim=16, block_out_channels=(8, 8, 16, 16))
    for parameter in autoencoder.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))  # what starts at zero too
    return DepthAutoencoderPipeline(autoencoder.eval(), {"min": 300.0, "max": 5000.0}, units_per_mm=5.0)


def upload(hub: Hub, folder: Path, name: str) -> str:
    """A repository that holds the folder."""
    repo = hub.repo_id(name)
    for path in folder.rglob("*"):
        if path.is_file():
            hub.write(repo, path.relative_to(folder).as_posix(), path.read_bytes())
    return repo


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def renew_hashes(folder: Path) -> None:
    """What somebody does who tampers with a file and does not want to be seen."""
    hashes = {path: sha256_of(folder / path) for path in loaded_files(folder)}
    edit_json(folder / FINGERPRINT, lambda facts: facts.update(files=hashes))


def test_a_repository_is_verified_at_one_commit_through_the_door_of_strangers(
    hub: Hub, folder: Path, capsys: pytest.CaptureFixture[str]
):
    repo = upload(hub, folder, "walkers")
    sha = hub.commits(repo)[0].sha
    hub.write(repo, "unet/evil.bin", b"later than the commit that is asked for")
    cli.main(["verify", repo, "--revision", sha])
    out = capsys.readouterr().out
    assert out.startswith(f"verified: {repo} at {sha}, ")
    assert out.count("\n") == 1
    assert f"code of echoform {echoform.__version__} ({PIPELINE_CODE}, {UNET_CODE})" in out
    assert "weights in safetensors (2)" in out

    hub.requests.clear()
    with pytest.raises(SystemExit) as stopped:
        cli.main(["verify", repo])
    assert stopped.value.code == 1
    said = capsys.readouterr().err
    assert said == f"echoform verify: {repo}: unet/evil.bin may run code when it is read; weights must be safetensors\n"
    assert not any("/resolve/" in path for _, path in hub.requests), "something was downloaded"


def test_a_depth_pipeline_is_verified_from_its_folder(tmp_path: Path):
    folder = tmp_path / "depth"
    tiny_depth_pipeline().save_pretrained(folder)
    write_fingerprint(folder)
    told = verify(str(folder), tmp_path / "home").summary()
    assert told.startswith(str(folder))
    assert f"echoform {echoform.__version__}" in told


def test_another_scheduler_makes_another_output_even_if_every_hash_was_renewed(folder: Path, tmp_path: Path):
    DDIMScheduler(
        prediction_type="v_prediction", timestep_spacing="trailing", clip_sample=False, rescale_betas_zero_snr=True
    ).save_pretrained(folder / "scheduler")
    edit_json(folder / "model_index.json", lambda index: index.update(scheduler=["diffusers", "DDIMScheduler"]))
    with pytest.raises(ValueError, match="was changed after the fingerprint was made"):
        verify(str(folder), tmp_path / "home")
    renew_hashes(folder)
    with pytest.raises(ValueError, match=r"its output is not what it was when it was pushed: latents differ by"):
        verify(str(folder), tmp_path / "home")


@pytest.mark.slow
def test_what_does_not_load_is_said_with_the_error_of_the_library(folder: Path, tmp_path: Path):
    edit_json(folder / "unet/config.json", lambda config: config.update(block_out_channels=[16, 48]))
    renew_hashes(folder)
    with pytest.raises(ValueError, match=r"does not load or run where echoform is not installed: .*size"):
        verify(str(folder), tmp_path / "home")


def as_pickle(folder: Path, marker: Path) -> None:
    """The weights as a pickle that writes the marker when it is read."""

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (marker,)

    (folder / UNET_WEIGHTS).unlink()
    (folder / "unet/diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Trap()))


def with_trap(path: Path, marker: Path) -> None:
    """Append to a Python file, or make one, that writes the marker when it is run."""
    code = path.read_text() if path.exists() else "class DopplerUNet2DModel:\n    pass\n"
    path.write_text(f"{code}\n__import__('pathlib').Path({str(marker)!r}).touch()\n")


def index_entry(name: str, entry: Any) -> Callable[[Path, Path], None]:
    return lambda folder, _: edit_json(folder / "model_index.json", lambda index: index.update({name: entry}))


def outside(folder: Path, marker: Path) -> None:
    with_trap(folder.parent / "outside.py", marker)
    index_entry("unet", ["../../outside", "DopplerUNet2DModel"])(folder, marker)


def extra_code(folder: Path, marker: Path) -> None:
    # diffusers prefers a file of that name beside the component to the library.
    with_trap(folder / "vqvae/diffusers.py", marker)


def own_code(folder: Path, marker: Path) -> None:
    with_trap(folder / "unet/mine.py", marker)
    (folder / UNET_CODE).unlink()
    index_entry("unet", ["mine", "DopplerUNet2DModel"])(folder, marker)


def another_name(folder: Path, _: Path) -> None:
    (folder / UNET_CODE).rename(folder / "unet/unet_doppler_00000000.py")
    index_entry("unet", ["unet_doppler_00000000", "DopplerUNet2DModel"])(folder, _)


def auto_map(reference: str) -> Callable[[Path, Path], None]:
    return lambda folder, _: edit_json(
        folder / "vqvae/config.json", lambda config: config.update(auto_map={"AutoModel": reference})
    )


def truncated(folder: Path, _: Path) -> None:
    weights = (folder / UNET_WEIGHTS).read_bytes()
    (folder / UNET_WEIGHTS).write_bytes(weights[:-100])


def one_byte(folder: Path, _: Path) -> None:
    code = (folder / UNET_CODE).read_bytes()
    assert code.count(b"dropout") > 0
    (folder / UNET_CODE).write_bytes(code.replace(b"dropout", b"dropouT", 1))


def other_weights(folder: Path, _: Path) -> None:
    weights = load_file(folder / UNET_WEIGHTS)
    name = next(name for name, value in weights.items() if value.is_floating_point())
    weights[name] = weights[name] + 1e-3
    save_file(weights, folder / UNET_WEIGHTS, metadata={"format": "pt"})


HOSTILE: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "a pickle": (as_pickle, "unet/diffusion_pytorch_model.bin may run code when it is read"),
    "a class of another library": (
        index_entry("unet", ["subprocess", "Popen"]),
        "unet in model_index.json is subprocess.Popen, but there is no unet/subprocess.py",
    ),
    "something of diffusers that is no model": (
        index_entry("unet", ["diffusers", "DiffusionPipeline"]),
        "unet in model_index.json must be a model or scheduler of diffusers, got diffusers.DiffusionPipeline",
    ),
    "a path outside": (outside, 'got ["../../outside", "DopplerUNet2DModel"]'),
    "an absolute path": (index_entry("_class_name", ["/tmp/evil", "Evil"]), 'got ["/tmp/evil", "Evil"]'),
    "another class of our file": (
        index_entry("_class_name", [PIPELINE_CODE.removesuffix(".py"), "Evil"]),
        f"{PIPELINE_CODE} holds no class Evil",
    ),
    "an import from outside": (
        lambda folder, _: (folder / UNET_CODE).write_text(
            "from ..evil import DopplerUNet2DModel as D\nclass DopplerUNet2DModel(D): ..."
        ),
        f"{UNET_CODE} imports ..evil, which is not beside it",
    ),
    "code in another repository": (auto_map("evil/model--code.Evil"), "got 'evil/model--code.Evil'"),
    "a file that auto_map names and is not there": (auto_map("code.Evil"), "there is no vqvae/code.py"),
    "no code file": (lambda folder, _: (folder / UNET_CODE).unlink(), f"there is no {UNET_CODE}"),
    "a weight cut short": (truncated, f"{UNET_WEIGHTS} is truncated"),
    "a weight that is none": (
        lambda folder, _: (folder / UNET_WEIGHTS).write_bytes(pickle.dumps([1])),
        f"{UNET_WEIGHTS} is truncated or no safetensors file",
    ),
    "no weight": (lambda folder, _: (folder / UNET_WEIGHTS).unlink(), "unet/ holds no safetensors weights"),
    "code that nobody asked for": (extra_code, "vqvae/diffusers.py is code that nothing in the repository names"),
    "code of their own": (own_code, "unet/mine.py is not the code of a released echoform"),
    "changed code": (
        lambda folder, marker: with_trap(folder / UNET_CODE, marker),
        f"{UNET_CODE} is not the code of a released echoform",
    ),
    "the name of another version": (
        another_name,
        f"unet/unet_doppler_00000000.py must be named {UNET_CODE.rpartition('/')[2]}, after its sha256",
    ),
    "one byte of the code": (one_byte, f"{UNET_CODE} is not the code of a released echoform"),
    "a shell script": (
        lambda folder, _: (folder / "install.sh").write_text("touch marker"),
        "install.sh is neither weights, code that the repository names, text nor image",
    ),
    "no fingerprint": (lambda folder, _: (folder / FINGERPRINT).unlink(), "there is no fingerprint.json"),
    "other weights": (other_weights, f"{UNET_WEIGHTS} was changed after the fingerprint was made"),
    "a tolerance for everything": (
        lambda folder, _: edit_json(folder / FINGERPRINT, lambda facts: facts.update(tolerance=9.0)),
        "tolerance in fingerprint.json must be in (0, 0.001], got 9.0",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_repository_is_refused_in_one_sentence_and_nothing_of_it_runs(
    what: str, hub: Hub, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    change, sentence = HOSTILE[what]
    marker = tmp_path / "it-ran"
    change(folder, marker)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["verify", upload(hub, folder, "hostile")])
    said = capsys.readouterr().err
    assert stopped.value.code == 1
    assert sentence in said
    assert said.count("\n") == 1
    assert not marker.exists()


def test_the_traps_would_have_sprung(folder: Path, tmp_path: Path):
    marker = tmp_path / "it-ran"
    as_pickle(folder, marker)
    pickle.loads((folder / "unet/diffusion_pytorch_model.bin").read_bytes())
    assert marker.exists()
    marker.unlink()
    for trap, path in ((outside, "../outside.py"), (extra_code, "vqvae/diffusers.py"), (own_code, "unet/mine.py")):
        trap(folder, marker)
        runpy.run_path(str(folder / path))
        assert marker.exists()
        marker.unlink()


def test_the_installed_class_runs_nothing_of_a_hostile_folder(folder: Path, tmp_path: Path):
    marker = tmp_path / "it-ran"
    with_trap(folder / UNET_CODE, marker)
    with_trap(folder / PIPELINE_CODE, marker)
    VQLDMDopplerPipeline.from_pretrained(folder)
    extra_code(folder, marker)
    with pytest.raises(ValueError, match="trust_remote_code"):
        VQLDMDopplerPipeline.from_pretrained(folder)
    assert not marker.exists()


def test_who_may_not_read_and_what_is_not_there_is_told_in_one_sentence(hub: Hub, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"tester/nothing could not be downloaded: there is none"):
        verify("tester/nothing", tmp_path)
    repo = hub.repo_id("empty")
    hub.write(repo, "README.md", b"# Nothing\n")
    with pytest.raises(FileNotFoundError, match=r"at v9 could not be downloaded: there is none"):
        verify(repo, tmp_path, revision="v9")
    with pytest.raises(FileNotFoundError, match=r"holds neither model_index.json nor config.json"):
        verify(repo, tmp_path)
    with pytest.raises(FileNotFoundError, match="neither a folder nor the id of a repository"):
        verify("no/such/folder", tmp_path)
    with pytest.raises(FileNotFoundError, match="the Hub answered 401"):
        verify(repo, tmp_path, token="hf_of_somebody_else")


def test_a_fingerprint_is_the_same_for_one_and_two_threads_and_another_for_another_seed(pushed: Path):
    pipeline = VQLDMDopplerPipeline.from_pretrained(pushed)
    stored = read_fingerprint(pushed)["outputs"]
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            made = seeded_outputs(pipeline, spectrogram_pipeline, **ARGUMENTS)
            assert max(deviation(stored[name], made[name]) for name in stored) < TOLERANCE / 10
    finally:
        torch.set_num_threads(threads)
    other = seeded_outputs(pipeline, spectrogram_pipeline, **(ARGUMENTS | {"seed": 1}))
    assert deviation(stored["latents"], other["latents"]) > 100 * TOLERANCE


LOADERS = {
    "DepthAutoencoderPipeline": "diffusers.DiffusionPipeline",
    "DepthEncoder": "diffusers.AutoModel",
    "DepthEncoderModel": "transformers.AutoModel",
    "VQModel": "diffusers.VQModel",
    "AutoencoderKL": "diffusers.AutoencoderKL",
}


@pytest.mark.parametrize("name", LOADERS)
def test_other_weights_have_another_fingerprint(name: str, tmp_path: Path):
    def fresh(seed: int) -> Any:
        torch.manual_seed(seed)
        stock: dict[str, Any] = {"block_out_channels": (8,), "norm_num_groups": 4, "latent_channels": 2}
        match name:
            case "VQModel":
                return VQModel(in_channels=1, out_channels=1, num_vq_embeddings=8, **stock)
            case "AutoencoderKL":
                return AutoencoderKL(in_channels=1, out_channels=1, **stock)
            case "DepthAutoencoderPipeline":
                return tiny_depth_pipeline(seed)
        encoder = tiny_depth_pipeline(seed).autoencoder.encoder
        if name == "DepthEncoder":
            return encoder
        model = DepthEncoderModel(
            DepthEncoderConfig({key: value for key, value in encoder.config.items() if key[0] != "_"})
        )
        model.encoder.load_state_dict(encoder.state_dict())
        return model

    fresh(0).save_pretrained(tmp_path / "model")
    write_fingerprint(tmp_path / "model")
    stored = read_fingerprint(tmp_path / "model")["outputs"]
    same, other = (seeded_outputs(fresh(seed), PUBLISHED[name].outputs, **ARGUMENTS) for seed in (0, 1))
    assert all(deviation(stored[key], same[key]) < TOLERANCE / 10 for key in stored)
    assert max(deviation(stored[key], other[key]) for key in stored) > 100 * TOLERANCE
    names = [path.relative_to(tmp_path / "model").as_posix() for path in (tmp_path / "model").rglob("*.*")]
    contents = check_folder(tmp_path / "model", names, known_releases())
    assert contents.loader == LOADERS[name]
    assert contents.release == (None if name in ("VQModel", "AutoencoderKL") else echoform.__version__)


def test_a_deviation_is_relative_to_the_root_mean_square_and_forgives_two_values_in_a_hundred():
    stored = [2.0, -2.0] * 500
    assert deviation(stored, [value * 1.01 for value in stored]) == pytest.approx(0.01)
    assert deviation(stored, [*stored[:-15], *([50.0] * 15)]) == 0
    assert deviation(stored, [*stored[:-25], *([50.0] * 25)]) > 1
    assert deviation([0.0, 0.0], [0.0, 0.0]) == 0
    assert deviation([0.0, 0.0], [1.0, 1.0]) == np.inf
    assert np.isnan(deviation(stored, [np.nan] * 1000))
    with pytest.raises(ValueError, match="one length, got 2 and 1 values"):
        deviation([1.0, 2.0], [1.0])


def test_the_synthetic_image_spans_the_range_of_the_sensor_and_has_a_hole():
    units = synthetic_depth({"min": 300, "max": 5000}, 5, size=64)
    assert units.dtype == np.uint16
    assert units[units > 0].min() == (300 + 0.15 * 4700) * 5
    assert units.max() < 5000 * 5
    assert 0 < (units == 0).mean() < 0.1


def test_a_folder_that_is_no_model_of_ours_has_no_fingerprint(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="is it an exported folder"):
        write_fingerprint(tmp_path)
    (tmp_path / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    with pytest.raises(ValueError, match=r"must be among VQLDMDopplerPipeline, .*, got 'UNet2DModel'"):
        write_fingerprint(tmp_path)


def test_every_released_version_of_the_changelog_is_known_by_its_code():
    lines = (Path(__file__).parents[3] / "CHANGELOG.md").read_text().splitlines()
    released = {line.split()[1].rstrip(",") for line in lines if line.startswith("## ") and "unreleased" not in line}
    # `python -m echoform_train.publishing.released`, run when a release is made, adds it.
    assert released - {echoform.__version__} <= set(known_releases())
    assert next(iter(known_releases())) == echoform.__version__
    assert {"pipeline_vq_ldm_doppler.py", "unet_doppler.py"} <= set(known_releases()[echoform.__version__])


def test_code_files_must_be_of_one_release_and_the_newest_is_told():
    releases = {"0.3": {"a.py": "3", "b.py": "2"}, "0.2": {"a.py": "2", "b.py": "2"}, "0.1": {"a.py": "1", "b.py": "2"}}
    assert release_of({"a.py": "2", "unet/b.py": "2"}, releases) == "0.2"
    assert release_of({"unet/b.py": "2"}, releases) == "0.3"
    with pytest.raises(ValueError, match=r"unet/a.py is not the code of a released echoform \(known: 0.3, 0.2, 0.1\)"):
        release_of({"unet/a.py": "4"}, releases)
    with pytest.raises(ValueError, match=r"of one release of echoform, got a.py of 0.1, c.py of 0.4"):
        release_of({"a.py": "1", "c.py": "4"}, {"0.4": {"c.py": "4"}, **releases})
