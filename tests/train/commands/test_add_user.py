"""`echoform add-user`: one more person is learned from a few spectrograms, and everybody else stays the same."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torchmetrics.functional.image import peak_signal_noise_ratio

from echoform import VQLDMDopplerPipeline
from echoform.block_dct import BlockDCT
from echoform_train import cli
from echoform_train.data.reading import ReadingConfig
from echoform_train.data.spectrograms import load_spectrograms
from echoform_train.engine.errors import MissingFileError, UserError
from echoform_train.latent_diffusion.added_user import LearningSettings, learn_user
from echoform_train.latent_diffusion.latents import Latents
from echoform_train.latent_diffusion.objective import make_objective
from echoform_train.latent_diffusion.user_images import (
    FirstStageFit,
    check_not_learned,
    encode_images,
    first_stage_fit,
    pixel_hash,
    read_user_images,
)
from echoform_train.publishing.added_user import base_name
from echoform_train.publishing.fingerprint import write_fingerprint
from echoform_train.publishing.model_folder import check_added_user
from echoform_train.publishing.push import SaidOfModel, copy_for_push
from echoform_train.publishing.verify import read_fingerprint, verify
from hub_server import Hub
from tiny_doppler import JET, tiny_kl, tiny_pipeline, tiny_unet

SHORT = ("--max-train-images", "32", "--train-batch-size", "8", "--rank", "2")


def pipeline_for_users(**settings: Any) -> VQLDMDopplerPipeline:
    return tiny_pipeline(scheduler=make_objective("v-prediction", "cosine", 5.0).sampler(), **settings)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "walkers"
    pipeline_for_users().save_pretrained(folder)
    write_fingerprint(folder)
    return folder


def write_images(folder: Path, count: int = 6, seed: int = 0) -> Path:
    """Painted noise, 16x16."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for index in range(count):
        Image.fromarray(JET[rng.integers(0, 256, (16, 16))]).save(folder / f"w_{index}.png")
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images") / "ID_32")


@pytest.fixture(scope="module")
def learned(base: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("learned") / "ID_32"
    cli.main(["add-user", str(base), str(images), str(folder), "--name", "ID_32", *SHORT])
    return folder


def test_a_user_is_learned_again_to_the_same_bytes_and_loads(
    base: Path, images: Path, learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    cli.main(["add-user", str(base), str(images), str(tmp_path / "b"), "--name", "ID_32", *SHORT])
    said = re.search(r"first stage: these images come back with (\S+) dB", capsys.readouterr().out)
    facts = json.loads((learned / "facts.json").read_text())["added_user"]
    assert said and said[1] == f"{facts['psnr_db']:.1f}" and facts["known_psnr_db"] is None
    assert (tmp_path / "b/user.safetensors").read_bytes() == (learned / "user.safetensors").read_bytes()
    assert (learned / "user.safetensors").stat().st_size < 50_000
    pipeline = VQLDMDopplerPipeline.from_pretrained(base)
    assert pipeline.load_user(learned) == "ID_32"
    facts = json.loads((learned / "facts.json").read_text())
    assert facts["images_seen"] == 32 and facts["data"]["images"] == {"train": 6} and len(facts["learned_pixels"]) == 6


@pytest.mark.parametrize("first_stage", [{}, {"vqvae": tiny_kl}], ids=["vq", "kl"])
def test_a_person_whom_the_first_stage_cannot_draw_is_reported(images: Path, first_stage: dict[str, Any]):
    pipeline = pipeline_for_users(**{name: make() for name, make in first_stage.items()})
    read, conditions = read_user_images(images, pipeline, ReadingConfig())
    latents = encode_images(pipeline, read, conditions.ids)
    with torch.no_grad():  # the way of diffusers alone
        target = read.pixels.float() / 127.5 - 1
        model: Any = pipeline.vqvae
        encoded = model.encode(target)
        decoded = model.decode(encoded.latent_dist.mode() if first_stage else encoded.latents).sample.clamp(-1, 1)
    truth = peak_signal_noise_ratio(decoded, target, data_range=2.0).item()

    def fit(known: Any) -> FirstStageFit:
        return first_stage_fit(pipeline, read, latents, {"first_stage": {"validation": {"psnr": known}}})

    assert fit(truth).psnr_db == pytest.approx(truth, abs=0.05)
    near, far = fit(truth + 2.5), fit(truth + 3.5)
    assert not near.is_poor and "WARNING" not in near.summary() and f"{truth + 2.5:.1f} dB" in near.summary()
    assert far.is_poor and far.summary().startswith("WARNING: the first stage of the pipeline cannot draw this person")
    for unknown in ("fine", None, float("nan"), True, [1]):
        assert fit(unknown).known_psnr_db is None and "does not tell" in fit(unknown).summary()
    assert first_stage_fit(pipeline, read, latents, {"first_stage": 3}).known_psnr_db is None


@pytest.mark.parametrize("floor", [None, 0.2])
def test_a_pipeline_of_pixels_has_no_first_stage_and_loses_only_what_lies_below_its_floor(
    images: Path, floor: float | None
):
    pipeline = pipeline_for_users(vqvae=BlockDCT(1, 2, floor=floor))
    read, conditions = read_user_images(images, pipeline, ReadingConfig())
    latents = encode_images(pipeline, read, conditions.ids)
    fit = first_stage_fit(pipeline, read, latents, {"first_stage": {"kind": "none", "validation": {}}})
    assert fit.known_psnr_db is None and fit.draws_pixels
    if floor is None:
        assert fit.psnr_db is None and not fit.is_poor
        assert fit.summary() == (
            "no first stage: this pipeline draws the pixels themselves, and nothing of these images is lost"
        )
        return
    raised = (read.pixels.double() / 127.5 - 1).clamp(min=floor)
    truth = peak_signal_noise_ratio(raised, read.pixels.double() / 127.5 - 1, data_range=2.0).item()
    assert fit.psnr_db == pytest.approx(truth, abs=0.1) and fit.is_poor
    assert "levels below it, which become the floor" in fit.summary() and "first stage" not in fit.summary()


def test_the_card_names_base_and_loss(learned: Path):
    card = (learned / "README.md").read_text()
    facts = json.loads((learned / "facts.json").read_text())["added_user"]
    assert f"{facts['loss']:.4f}" in card and "learned from 6 spectrograms" in card
    assert 'pipe.load_user(".")' in card and "base_model" not in card  # a folder has no id on the Hub
    assert 'base = "walkers"  # replace it by the path' in card
    assert f"spectrograms back with {facts['psnr_db']:.1f} dB PSNR. What it" in " ".join(card.split())


def latents_of(count: int) -> Latents:
    generator = torch.Generator().manual_seed(3)
    # All images are alike, so that a few numbers can tell them from others.
    values = torch.randn(1, 4, 8, 8, generator=generator).expand(count, -1, -1, -1).contiguous()
    none = {"condition": torch.full((count,), 3), "direction": torch.full((count,), 2)}
    return Latents(values, torch.zeros(count, dtype=torch.int64), none)


@pytest.mark.parametrize(
    "settings",
    [{}, {"vqvae": tiny_kl}, {"unet": lambda: tiny_unet(conditioning="cross-attention")}],
    ids=["vq", "kl", "cross"],
)
def test_the_loss_falls_and_updates_help_and_the_network_stays(settings: dict[str, Callable[[], Any]]):
    pipeline = pipeline_for_users(**{name: make() for name, make in settings.items()})
    before = {name: value.clone() for name, value in pipeline.unet.state_dict().items()}
    losses = {}
    for rank in (4,) if settings else (0, 4):
        how = LearningSettings(rank, 64, 4, 0.05, 0.02, 0.1, seed=0)
        found = learn_user(pipeline, latents_of(4), how)
        assert found.loss < found.loss_before
        losses[rank] = found.loss
        pipeline.unet.check_user("ID_32", found.tensors)
    assert losses[4] <= min(losses.values())
    assert all(value.equal(before[name]) for name, value in pipeline.unet.state_dict().items())


def test_conditions_come_from_metadata_above_and_from_folders(tmp_path: Path):
    pipeline = pipeline_for_users()
    write_images(tmp_path / "data/ID_9", 2)
    rows = [
        {"file_name": f"ID_9/w_{index}.png", "user": "ID_9", "direction": label}
        for index, label in enumerate(("towards", "up"))
    ]
    (tmp_path / "data/metadata.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    _, of_rows = read_user_images(tmp_path / "data/ID_9", pipeline, ReadingConfig())
    assert of_rows.ids["direction"].tolist() == [1, 2] and of_rows.ids["condition"].tolist() == [3, 3]
    for label in ("bag", "normal"):
        write_images(tmp_path / "own" / label, 1, seed=len(label))
    _, of_folders = read_user_images(tmp_path / "own", pipeline, ReadingConfig())
    assert of_folders.ids["condition"].tolist() == [2, 0] and of_folders.labels["condition"] == ["bag", "normal"]


def test_generate_takes_added_users_and_scores_refuse_what_they_learned_from(
    base: Path, images: Path, learned: Path, tmp_path: Path
):
    out = tmp_path / "generated"
    flags = ["--num-images", "2", "--num-inference-steps", "2", "--output-dir", str(out), "--pipeline", str(base)]
    cli.main(["generate", *flags, "--users", "ID_1", "--user-file", str(learned)])
    first = {path.name: path.read_bytes() for path in (out / "ID_1").iterdir()}
    cli.main(["generate", *flags, "--users", "ID_32", "--user-file", str(learned)])
    assert len(list((out / "ID_32").glob("*.png"))) == 2
    # Known users are generated as without the added one.
    flags[flags.index(str(out))] = str(tmp_path / "plain")
    cli.main(["generate", *flags, "--users", "ID_1"])
    assert {path.name: path.read_bytes() for path in (tmp_path / "plain/ID_1").iterdir()} == first
    data = tmp_path / "data"
    for seed, user in enumerate(("ID_1", "ID_32"), start=1):
        write_images(data / user, 10, seed)
    for path in images.iterdir():  # the last ones are for testing
        (data / "ID_32" / f"z{path.name}").write_bytes(path.read_bytes())
    real = load_spectrograms(data)
    learned_from = json.loads((out / "added_users.json").read_text())["ID_32"]
    assert pixel_hash(real.test.pixels[-1]) in learned_from
    with pytest.raises(UserError, match="test images must be new to every user, ID_32 was learned from"):
        check_not_learned(out / "added_users.json", real)


@pytest.mark.parametrize(
    ("make", "flags", "message"),
    [
        (lambda data: write_images(data), ["--name", "ID_2"], "--name must be that of a new user, .* knows ID_2"),
        (lambda data: write_images(data), ["--name", "../x"], "must not hold /"),
        (
            lambda data: write_images(data),
            ["--name", "ID_2 "],
            "--name must not begin or end with a space, got 'ID_2 '",
        ),
        (lambda data: write_images(data), ["--name", "a", "--rank", "65"], "--rank must be in 0..64, got 65"),
        (lambda data: write_images(data), ["--name", "a", "--private"], "must go with --push-to-hub"),
        (lambda data: [write_images(data / user) for user in "ab"], ["--name", "c"], "the folders a, b: name one"),
        (lambda data: data.mkdir(), ["--name", "c"], "DATA must be a folder of .*png"),
        (
            lambda data: (write_images(data), (data / "axes.json").write_text('{"db_min": -40, "db_max": 0}')),
            ["--name", "c"],
            "must have the axes of the pipeline, db_min -50; .* has -40",
        ),
    ],
)
def test_what_cannot_be_learned_is_refused(
    base: Path, tmp_path: Path, make: Callable[[Path], Any], flags: list[str], message: str,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    make(tmp_path / "data")
    with pytest.raises(SystemExit) as ended:
        cli.main(["add-user", str(base), str(tmp_path / "data"), str(tmp_path / "out"), *flags, *SHORT[:4]])
    assert ended.value.code == 1 and re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_reads_like_an_id_on_the_hub_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "me/walkers").mkdir(parents=True)
    (tmp_path / "ldm/pipeline").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert [base_name(one) for one in ("me/walkers", "ldm/pipeline")] == ["walkers", "ldm"]
    assert base_name("me/others@v1") == "me/others@v1"


def test_a_push_names_the_pipeline_of_a_user_on_the_hub(
    learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    copy_for_push(learned, tmp_path / "unnamed", "me/ID_32")
    assert "the card names the folder walkers, which nobody else has: --base-model names" in capsys.readouterr().out
    copy_for_push(learned, tmp_path / "named", "me/ID_32", SaidOfModel(base_model="me/walkers"))
    assert capsys.readouterr().out == ""
    assert json.loads((tmp_path / "named/config.json").read_text())["base_model"] == "me/walkers"
    assert "base_model: me/walkers" in (tmp_path / "named/README.md").read_text()
    # Nothing that is computed has changed: the fingerprint fits to the new files.
    assert read_fingerprint(tmp_path / "named")["outputs"] == read_fingerprint(learned)["outputs"]


def test_a_pipeline_is_no_added_user(base: Path):
    with pytest.raises(MissingFileError, match=r"walkers holds no config.json; is it a user that `echoform add-user`"):
        check_added_user(base)


def test_a_pipeline_for_another_objective_is_refused():
    how = LearningSettings(0, 8, 8, 0.05, 0.01, 0.1, seed=0)
    with pytest.raises(UserError, match="v-prediction with zero terminal SNR or flow matching; this one is for"):
        learn_user(tiny_pipeline(), latents_of(2), how)


@pytest.mark.slow
def test_a_pushed_user_is_verified_with_its_pipeline(base: Path, images: Path, hub: Hub, tmp_path: Path):
    def upload(folder: Path, name: str) -> str:
        repo = hub.repo_id(name)
        for path in folder.rglob("*"):
            if path.is_file():
                hub.write(repo, path.relative_to(folder).as_posix(), path.read_bytes())
        return repo

    repo = upload(base, "walkers")
    pushed = hub.repo_id("one-more")
    words = [repo, str(images), str(tmp_path / "out"), "--name", "ID_32", *SHORT, "--push-to-hub", pushed]
    cli.main(["add-user", *words])
    (tmp_path / "home").mkdir()
    verification = verify(pushed, tmp_path / "home")
    assert max(verification.differences.values()) < 1e-3 and verification.contents.code
    assert f"base_model: {repo}" in hub.files(pushed)["README.md"].decode()
    copy_for_push(tmp_path / "out", tmp_path / "staged", pushed)
    (tmp_path / "home2").mkdir()
    assert verify(str(tmp_path / "staged"), tmp_path / "home2", base_model=str(base)).commit is None
    tensors = load_file(tmp_path / "staged/user.safetensors")
    assert "embedding" in tensors
