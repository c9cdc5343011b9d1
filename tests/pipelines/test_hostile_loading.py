"""Folders that are damaged or lie: pipelines and models refuse them with one sentence, and make nothing large first."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

from echoform import (
    ConvAutoencoder,
    ConvAutoencoderPipeline,
    DepthAutoencoder,
    DepthAutoencoderPipeline,
    DepthEncoder,
    DopplerUNet2DModel,
    VQLDMDopplerPipeline,
)
from echoform.encoder_weights import load_encoder
from echoform.loading import check_name
from echoform.transformers_depth_encoder import DepthEncoderModel
from tiny_doppler import tiny_pipeline
from travelling import MODELS, PIPELINES

Damage = Callable[[Path], object]

WEIGHTS = "diffusion_pytorch_model.safetensors"
CLASSES: dict[str, Any] = {
    "unet": DopplerUNet2DModel,
    "depth-map": DepthAutoencoder,
    "depth-cosine": DepthAutoencoder,
    "encoder-map": DepthEncoder,
    "encoder-cosine": DepthEncoder,
    "conv-unpool": ConvAutoencoder,
    "conv-variational": ConvAutoencoder,
    "vq-ldm": VQLDMDopplerPipeline,
    "kl-ldm": VQLDMDopplerPipeline,
    "depth": DepthAutoencoderPipeline,
    "conv": ConvAutoencoderPipeline,
    "transformers": DepthEncoderModel,
}


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every pipeline and model as it should be."""
    home = tmp_path_factory.mktemp("whole")
    pipelines = {"vq-ldm": "vq-ldm", "kl-ldm": "kl-ldm", "depth": "depth-map", "conv": "conv-unpool"}
    for name in CLASSES:
        made = PIPELINES[pipelines[name]] if name in pipelines else MODELS[name]
        made.make().save_pretrained(home / name)
    return home


def settings(file: str, **changes: Any) -> Damage:
    """Change entries of a JSON file; a dict is merged into the one that is there, and ... takes an entry away."""

    def damage(folder: Path) -> None:
        path = folder / file
        content = json.loads(path.read_text())
        for name, value in changes.items():
            merged = isinstance(value, dict) and isinstance(content.get(name), dict)
            content[name] = content[name] | value if merged else value
        path.write_text(json.dumps({name: value for name, value in content.items() if value is not ...}))

    return damage


def text(file: str, content: str | bytes) -> Damage:
    return lambda folder: (folder / file).write_bytes(content.encode() if isinstance(content, str) else content)


def weights(component: str, change: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
    def damage(folder: Path) -> None:
        (file,) = (folder / component).glob("*.safetensors")
        tensors = load_file(file)
        change(tensors)
        save_file(tensors, file, metadata={"format": "pt"})

    return damage


def first(tensors: dict[str, torch.Tensor]) -> str:
    return next(name for name, value in tensors.items() if value.is_floating_point() and value.ndim > 1)


def poison(value: float) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda tensors: tensors[first(tensors)].view(-1)[:1].fill_(value)


def drop(part: str = "") -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda tensors: tensors.pop(next(name for name in tensors if part in name))


def reshape(tensors: dict[str, torch.Tensor]) -> None:
    tensors[first(tensors)] = tensors[first(tensors)].flatten()[:3].clone()


def truncate(file: str, share: float) -> Damage:
    return lambda folder: os.truncate(folder / file, int((folder / file).stat().st_size * share))


def pipe(file: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / file).unlink()
        os.mkfifo(folder / file)

    return damage


INDEX = "model_index.json"
SCHEDULER = "scheduler/scheduler_config.json"

IN_EVERY_WEIGHTS: list[tuple[str, Callable[[str], Damage], str]] = [
    ("a weight is NaN", lambda part: weights(part, poison(torch.nan)), "must be finite, .* holds NaN or inf"),
    ("a weight is infinite", lambda part: weights(part, poison(-torch.inf)), "must be finite, .* holds NaN or inf"),
    ("a tensor is missing", lambda part: weights(part, drop()), "missing"),
    ("a tensor has another shape", lambda part: weights(part, reshape), "cannot be loaded|shape"),
    ("half of the file", lambda part: truncate(f"{part}/{WEIGHTS}", 0.5), "load|weights"),
    ("an empty file", lambda part: truncate(f"{part}/{WEIGHTS}", 0), "load|weights"),
    ("a pickle", lambda part: text(f"{part}/{WEIGHTS}", b"\x80\x04cos\nsystem\n."), "load|weights"),
    ("a header of terabytes", lambda part: text(f"{part}/{WEIGHTS}", b"\xff" * 8 + b"{}"), "load|weights"),
    (
        "a folder",
        lambda part: lambda f: ((f / part / WEIGHTS).unlink(), (f / part / WEIGHTS).mkdir()),
        "must be a file",
    ),
    ("a pipe", lambda part: pipe(f"{part}/{WEIGHTS}"), "must be a file"),
    ("the config is a pipe", lambda part: pipe(f"{part}/config.json"), "must be a file"),
    ("the config is no JSON", lambda part: text(f"{part}/config.json", "{"), "JSON"),
    ("the config is a list", lambda part: text(f"{part}/config.json", "[1]"), "settings by name|cannot be loaded"),
    ("the config is deep", lambda part: text(f"{part}/config.json", "[" * 100_000), "JSON|recursion"),
    ("the config is large", lambda part: text(f"{part}/config.json", " " * 5_000_000), "at most 4000000 bytes"),
    ("the config is no text", lambda part: text(f"{part}/config.json", b"\xff\xfe\x00"), "JSON|load"),
    ("a number of 5000 digits", lambda part: text(f"{part}/config.json", '{"a": 1' + "0" * 5000 + "}"), "digits"),
]

PIPELINE_ROWS: dict[str, list[tuple[str, Damage, str]]] = {
    "vq-ldm": [
        ("no codebook", weights("vqvae", drop("quantize.embedding")), "embedding.weight is missing"),
        ("the deviation is 0", settings(INDEX, latent_std={"0": 0.0}), "latent_std must be greater than 0"),
        ("the deviation is negative", settings(INDEX, latent_std={"0": -1.0}), "latent_std must be greater than 0"),
        ("the deviation is NaN", settings(INDEX, latent_std={"0": float("nan")}), "latent_std.* must be finite"),
        ("the deviation is text", settings(INDEX, latent_std={"0": "1"}), "latent_std must be finite"),
        ("the mean is infinite", settings(INDEX, latent_mean={"0": float("inf")}), "latent_mean.* must be finite"),
        ("the mean is a list", settings(INDEX, latent_mean=[0.0, 0.0]), "latent_mean"),
        ("decibels upside down", settings(INDEX, axes={"db_min": 0.0, "db_max": -50.0}), "db_min.*-50"),
        ("decibels are NaN", settings(INDEX, axes={"db_min": float("nan")}), "must be finite"),
        ("Doppler upside down", settings(INDEX, axes={"doppler_min_hz": 9, "doppler_max_hz": -9}), "must go upwards"),
        ("a window of no seconds", settings(INDEX, axes={"window_s": 0}), "window_s.* must be greater than 0"),
        ("axes are text", settings(INDEX, axes={"db_min": "low"}), "axes must hold numbers"),
        ("axes are a number", settings(INDEX, axes=5), "must be a mapping"),
        ("a user without a name", settings(INDEX, id2label={"0": ""}), "1 to 100 printable characters"),
        ("a user of spaces", settings(INDEX, id2label={"0": "   "}), "1 to 100 printable characters"),
        ("a user with NUL", settings(INDEX, id2label={"0": "a\0b"}), "printable"),
        ("a user with a newline", settings(INDEX, id2label={"0": "a\nb"}), "printable"),
        ("a user with an escape code", settings(INDEX, id2label={"0": "\x1b[31mred"}), "printable"),
        ("a user written backwards", settings(INDEX, id2label={"0": "a\u202eb"}), "printable"),
        ("a user of 300 letters", settings(INDEX, id2label={"0": "x" * 300}), "1 to 100 printable characters"),
        ("a user that is a number", settings(INDEX, id2label={"0": 7}), "must be text, got 7"),
        ("a user that is a list", settings(INDEX, id2label={"0": ["x"]}), "must be no list"),
        (
            "a user in another folder",
            settings(INDEX, id2label={"0": "../../x"}),
            "name that a folder of images can have",
        ),
        ("a user at the root", settings(INDEX, id2label={"0": "/etc/x"}), "name that a folder of images can have"),
        ("a user of Windows", settings(INDEX, id2label={"0": "..\\x"}), "name that a folder of images can have"),
        ("a user called ..", settings(INDEX, id2label={"0": ".."}), "name that a folder of images can have"),
        ("a user called metadata", settings(INDEX, id2label={"0": "metadata.jsonl"}), "name that a folder of images"),
        ("two users of one name", settings(INDEX, id2label={"0": "ID_2"}), "3 different names"),
        ("a user too few", settings(INDEX, id2label=None), "must name the ids '0'..'2'"),
        ("users are a list", settings(INDEX, id2label=["a", "b"]), "id2label"),
        ("a condition in another folder", settings(INDEX, condition_labels={"../x": {"0": "a"}}), "a folder of images"),
        (
            "a label in another folder",
            settings(INDEX, condition_labels={"direction": {"0": "../a"}}),
            "folder of images",
        ),
        ("a colour table of text", settings(INDEX, colormap={"rgb_hex": "zz" * 768}), "256 colours"),
        ("a colour table of bytes too few", settings(INDEX, colormap={"rgb_hex": "00"}), "256 colours"),
        ("a colour table that is a number", settings(INDEX, colormap=5), "256 colours|colormap"),
        ("too many steps", settings(INDEX, num_inference_steps=100_000), r"num_inference_steps must be in 1\.\.1000"),
        ("half a step", settings(INDEX, num_inference_steps=2.5), "num_inference_steps must be"),
        ("no step", settings(INDEX, num_inference_steps=0), "num_inference_steps must be"),
        ("steps are text", settings(INDEX, num_inference_steps="8"), "num_inference_steps must be"),
        ("guidance is NaN", settings(INDEX, guidance_scale=float("nan")), "guidance_scale must be"),
        ("guidance is negative", settings(INDEX, guidance_scale=-1), "guidance_scale must not be negative"),
        ("guidance is text", settings(INDEX, guidance_scale="1"), "guidance_scale must not be negative"),
        ("10^12 users", settings("unet/config.json", num_users=10**12), "num_users.* must be"),
        ("users below 0", settings("unet/config.json", num_users=-3), "num_users must be"),
        ("users are text", settings("unet/config.json", num_users="3"), "num_users must be"),
        ("latents of 10^6", settings("unet/config.json", sample_size=10**6), "sample_size.* must be"),
        ("three sides", settings("unet/config.json", sample_size=[8, 8, 8]), "sample_size must be"),
        ("another number of channels", settings("unet/config.json", in_channels=8), "cannot be loaded|shape"),
        ("10^6 layers of the first stage", settings("vqvae/config.json", layers_per_block=10**6), "must be at most 64"),
        ("10^12 codes", settings("vqvae/config.json", num_vq_embeddings=10**12), "must be at most 1000000"),
        ("the first stage is no list", settings("vqvae/config.json", block_out_channels="abc"), "cannot be loaded"),
        (
            "steps of training 10^10",
            settings(SCHEDULER, num_train_timesteps=10**10),
            "num_train_timesteps in .* must be",
        ),
        ("steps of training are text", settings(SCHEDULER, num_train_timesteps="many"), "must be a whole number"),
        ("no steps of training", settings(SCHEDULER, num_train_timesteps=0), "must be a whole number"),
        ("steps of training below 0", settings(SCHEDULER, num_train_timesteps=-5), "must be a whole number"),
        ("noise is NaN", settings(SCHEDULER, beta_start=float("nan")), "beta_start in .* must be at most"),
        ("noise is text", settings(SCHEDULER, beta_end="low"), "cannot be loaded"),
        ("an unknown schedule", settings(SCHEDULER, beta_schedule="uphill"), "cannot be loaded"),
        ("the scheduler is no JSON", text(SCHEDULER, "no"), "must be JSON"),
        ("the scheduler is a pipe", pipe(SCHEDULER), "must be a file"),
        ("a class that is not there", settings(INDEX, unet=["diffusers", "Nothing"]), "cannot be loaded|Nothing"),
        ("a class that is no model", settings(INDEX, unet=["subprocess", "Popen"]), "cannot be loaded"),
        ("an entry of three", settings(INDEX, unet=["a", "b", "c"]), "must name a module and a class"),
        ("an entry of numbers", settings(INDEX, unet=[1, 2]), "must name a module and a class"),
        ("an entry of nothing", settings(INDEX, unet=[None, None]), "must name a module and a class"),
        ("no entry", settings(INDEX, unet=...), "unet|expected"),
    ],
    "kl-ldm": [
        ("latents of 10^6", settings("unet/config.json", sample_size=10**6), "sample_size.* must be"),
        (
            "a block of nothing",
            settings("vqvae/config.json", down_block_types=["Nothing", "Nothing"]),
            "cannot be loaded",
        ),
        (
            "another number of latent channels",
            settings("vqvae/config.json", latent_channels=8),
            "cannot be loaded|shape",
        ),
        ("channels are infinite", settings("vqvae/config.json", latent_channels=float("inf")), "must be at most"),
    ],
    "depth": [
        ("the range is upside down", settings(INDEX, depth_range_mm={"min": 5000.0, "max": 300.0}), "0 <= min < max"),
        ("the range is NaN", settings(INDEX, depth_range_mm={"max": float("nan")}), "must be finite"),
        ("the range is text", settings(INDEX, depth_range_mm={"max": "far"}), "must hold numbers"),
        ("the range is a list", settings(INDEX, depth_range_mm=[300, 5000]), "depth_range_mm"),
        ("the range is missing", settings(INDEX, depth_range_mm=None), "must hold min and max"),
        ("units are 0", settings(INDEX, units_per_mm=0), "units_per_mm must be greater than 0"),
        ("units are text", settings(INDEX, units_per_mm="1"), "units_per_mm must be greater than 0"),
        ("units are infinite", settings(INDEX, units_per_mm=float("inf")), "must be finite"),
        ("invalid values are words", settings(INDEX, invalid_values={"zero": "x"}), "invalid_values must hold"),
        ("invalid values are a list", settings(INDEX, invalid_values=[0]), "invalid_values"),
        ("invalid values are a number", settings(INDEX, invalid_values=5), "invalid_values must hold"),
        ("a meaning with an escape code", settings(INDEX, invalid_values={"9": "\x1b[2J"}), "printable"),
        ("images of 10^6", settings("autoencoder/config.json", sample_size=10**6), "sample_size.* must be"),
        ("10^12 numbers", settings("autoencoder/config.json", latent_dim=10**12), "latent_dim.* must be"),
    ],
    "conv": [
        ("one statistic alone", settings(INDEX, latent_mean=None), "must be given together"),
        ("the deviation is negative", settings(INDEX, latent_std={"3": -0.5}), "latent_std must not be negative"),
        ("the deviation is NaN", settings(INDEX, latent_std={"3": float("nan")}), "must be finite"),
        ("the mean is text", settings(INDEX, latent_mean={"3": "much"}), "latent_mean must be finite"),
        ("statistics are numbers", settings(INDEX, latent_mean=1, latent_std=1), "one number for each of 12 channels"),
        ("images of 10^6", settings("autoencoder/config.json", sample_size=10**6), "sample_size.* must be"),
    ],
}

EVERY_INDEX: list[tuple[str, Damage, str]] = [
    ("the index is no JSON", text(INDEX, "{"), "JSON"),
    ("the index is a list", text(INDEX, "[]"), "cannot be loaded"),
    ("the index is a number", text(INDEX, "7"), "cannot be loaded"),
    ("the index is deep", text(INDEX, '{"a":' * 100_000), "JSON|recursion"),
    ("the index is large", text(INDEX, " " * 5_000_000), "at most 4000000 bytes"),
    ("the index is a pipe", pipe(INDEX), "must be a file"),
    ("a number of 5000 digits", text(INDEX, '{"a": 1' + "0" * 5000 + "}"), "digits"),
    ("a text of a megabyte", settings(INDEX, axes="x" * 1_000_000), "at most 2000 printable|mapping"),
]

MODEL_ROWS: dict[str, list[tuple[dict[str, Any], str]]] = {
    "unet": [
        ({"num_users": 10**12}, "num_users must be a whole number in 1..100000"),
        ({"num_users": 99_999, "block_out_channels": [4096, 4096]}, "at most 2.30 numbers"),
        ({"num_users": True}, "num_users must be"),
        ({"num_users": None}, "num_users must be"),
        ({"num_users": [3]}, "num_users must be"),
        ({"num_users": 3.0}, "num_users must be"),
        ({"sample_size": 10**6}, "sample_size must be"),
        ({"sample_size": "8"}, "sample_size must be"),
        ({"block_out_channels": []}, "block_out_channels must be"),
        ({"block_out_channels": [16] * 17}, "block_out_channels must be"),
        ({"block_out_channels": "ab"}, "block_out_channels must be"),
        ({"block_out_channels": [0, 16]}, "block_out_channels must be"),
        ({"block_out_channels": {"0": 16}}, "block_out_channels must be"),
        ({"layers_per_block": 10**6}, "layers_per_block must be"),
        ({"num_attention_heads": 0}, "num_attention_heads must be"),
        ({"norm_num_groups": -4}, "norm_num_groups must be"),
        ({"window_size": 0}, "window_size must be"),
        ({"attention_types": 5}, "attention_types must name"),
        ({"attention_types": ["window", 7]}, "attention types must be among"),
        ({"conditioning": ["embedding"]}, "conditioning must be among"),
        ({"conditions": [1, 2]}, "conditions must be"),
        ({"conditions": {"direction": 10**9}}, "direction must be a whole number"),
        ({"conditions": {"direction": "two"}}, "direction must be a whole number"),
        ({"dropout": float("nan")}, "dropout must be"),
        ({"dropout": 7}, "dropout must be"),
        ({"label_tokens": 10**9, "conditioning": "cross-attention"}, "label_tokens must be"),
    ],
    "depth-map": [
        ({"sample_size": 10**6}, "sample_size must be"),
        ({"latent_dim": 10**12}, "latent_dim must be"),
        ({"latent_dim": "16"}, "latent_dim must be"),
        ({"block_out_channels": None}, "block_out_channels must be"),
        ({"block_out_channels": [10**9] * 4}, "block_out_channels must be"),
        ({"layers_per_block": [10**6] * 4}, "layers_per_block must be"),
        ({"attention": ["yes"] * 4}, "attention must be true or false"),
        ({"attention": 1}, "attention must be true or false"),
        ({"norm_num_groups": 0}, "norm_num_groups must be"),
        ({"num_attention_heads": None}, "num_attention_heads must be"),
        ({"input_channels": 10**9}, "input_channels must be 1 or 3"),
        ({"bottleneck": {}}, "bottleneck must be"),
        ({"decoder_block_out_channels": [10**9] * 4}, "block_out_channels must be"),
        ({"decoder_layers_per_block": "deep"}, "layers_per_block must be"),
        ({"dropout": "some"}, "dropout must be"),
    ],
    "encoder-map": [
        ({"depth_range_mm": {"min": 5000, "max": 300}, "units_per_mm": 1.0}, "0 <= min < max"),
        ({"depth_range_mm": {"min": "a", "max": "b"}, "units_per_mm": 1.0}, "must hold numbers"),
        ({"depth_range_mm": [300, 5000], "units_per_mm": 1.0}, "must hold min and max"),
        ({"depth_range_mm": {"min": 300, "max": 5000}, "units_per_mm": -1}, "units_per_mm must be greater than 0"),
        ({"latent_dim": 0}, "latent_dim must be"),
    ],
    "transformers": [
        ({"encoder": [1]}, "encoder must be settings by name"),
        ({"encoder": {"colour": 1}}, "encoder must hold settings of DepthEncoder"),
        ({"encoder": {"latent_dim": 10**12}}, "latent_dim must be"),
    ],
    "conv-unpool": [
        ({"sample_size": 10**6}, "sample_size must be"),
        ({"block_out_channels": [10**9, 8]}, "block_out_channels must be"),
        ({"block_out_channels": 8}, "block_out_channels must be"),
        ({"layers_per_block": [10**6, 1]}, "layers_per_block must be"),
        ({"in_channels": "3"}, "in_channels must be 1 or 3"),
        ({"latent_channels": 10**9}, "latent_channels must be"),
        ({"latent_channels": "4"}, "latent_channels must be"),
        ({"upsampling": ["unpool"]}, "upsampling must be among"),
        ({"output_activation": {}}, "output_activation must be among"),
        ({"data_range": []}, "data_range must be among"),
        ({"batch_norm": "yes"}, "batch_norm must be true or false"),
        ({"variational": 1}, "variational must be true or false"),
    ],
}


def rows() -> list[Any]:
    found = []
    for name in ("vq-ldm", "kl-ldm", "depth", "conv"):
        for component in ("vqvae", "unet") if name.endswith("ldm") else ("autoencoder",):
            for what, damage, message in IN_EVERY_WEIGHTS:
                found.append(pytest.param(name, damage(component), message, id=f"{name}: {component}: {what}"))
        for what, damage, message in (*EVERY_INDEX, *PIPELINE_ROWS[name]):
            found.append(pytest.param(name, damage, message, id=f"{name}: {what}"))
    for name in ("unet", "depth-cosine", "encoder-cosine", "conv-variational"):
        for what, damage, message in IN_EVERY_WEIGHTS:
            found.append(pytest.param(name, damage("."), message, id=f"{name} alone: {what}"))
    for what, damage, message in IN_EVERY_WEIGHTS[:3]:
        found.append(pytest.param("transformers", damage("."), message, id=f"transformers: {what}"))
    for name, changes in MODEL_ROWS.items():
        for change, message in changes:
            label = f"{name} alone: {change!r:.60}"
            found.append(pytest.param(name, settings("config.json", **change), message, id=label))
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "damage", "message"), rows())
def test_what_is_damaged_or_lies_is_refused_in_one_sentence(
    name: str, damage: Damage, message: str, saved: Path, tmp_path: Path
):
    folder = tmp_path / "given"
    shutil.copytree(saved / name, folder)
    damage(folder)
    started = time.monotonic()
    with pytest.raises(ValueError, match=message) as refused:
        CLASSES[name].from_pretrained(folder)
    assert time.monotonic() - started < 20 and len(str(refused.value)) < 800


@pytest.mark.parametrize("missing", ["model_index.json", "scheduler", "unet", f"unet/{WEIGHTS}", "vqvae/config.json"])
def test_a_missing_file_is_an_error_of_the_system_that_names_the_folder(missing: str, saved: Path, tmp_path: Path):
    folder = tmp_path / "given"
    shutil.copytree(saved / "vq-ldm", folder)
    if (folder / missing).is_dir():
        shutil.rmtree(folder / missing)
    else:
        (folder / missing).unlink()
    with pytest.raises(OSError, match=str(folder)):
        VQLDMDopplerPipeline.from_pretrained(folder)


def test_nothing_of_all_this_took_much_memory():
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 3_000_000  # kB; the suite itself takes most of it


@pytest.mark.parametrize("damage", [weights(".", poison(torch.nan)), truncate(WEIGHTS, 0.5), text(WEIGHTS, b"")])
@pytest.mark.parametrize("alone", [False, True], ids=["folder", "file"])
def test_an_encoder_is_refused_from_its_folder_and_from_its_file(
    damage: Damage, alone: bool, saved: Path, tmp_path: Path
):
    shutil.copytree(saved / "encoder-map", tmp_path / "given")
    damage(tmp_path / "given")
    with pytest.raises(ValueError, match="given"):
        load_encoder(tmp_path / "given" / WEIGHTS if alone else tmp_path / "given")


@pytest.mark.parametrize("change", [poison(torch.nan), drop("quantize.embedding")])
def test_the_code_in_the_folder_refuses_as_well(
    change: Callable[[dict[str, torch.Tensor]], object], saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(saved / "vq-ldm", tmp_path / "given")
    weights("vqvae", change)(tmp_path / "given")
    # As where echoform is not installed: only what travels is there.
    monkeypatch.setitem(sys.modules, "echoform.loading", None)
    with pytest.raises(ValueError, match="weights of VQModel must be"):
        DiffusionPipeline.from_pretrained(tmp_path / "given", trust_remote_code=True)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("vq-ldm", settings(INDEX, latent_std={"0": float("nan")}), "latent_std must be finite"),
        ("vq-ldm", settings(INDEX, latent_std={"0": 0.0}), "latent_std must be greater than 0"),
        ("vq-ldm", settings(INDEX, num_inference_steps=10**9), "num_inference_steps must be"),
        ("vq-ldm", settings("unet/config.json", num_users=10**12), "num_users must be"),
        ("vq-ldm", settings(INDEX, axes={"db_min": 0.0, "db_max": -50.0}), "db_min = 0.0 and db_max = -50.0"),
        ("vq-ldm", settings(INDEX, axes={"db_min": -50.0, "db_max": -50.0}), "axes must go upwards"),
        ("vq-ldm", settings(INDEX, axes={"db_min": float("nan")}), "axes must hold numbers"),
        ("vq-ldm", settings(INDEX, axes={"db_min": "low"}), "axes must hold numbers"),
        ("vq-ldm", settings(INDEX, axes={"doppler_min_hz": 9, "doppler_max_hz": -9}), "axes must go upwards"),
        ("vq-ldm", settings(INDEX, axes={"window_s": -3}), "window_s in axes must be greater than 0"),
        ("vq-ldm", settings(INDEX, axes=5), "axes must be a mapping"),
        ("vq-ldm", settings(INDEX, id2label={"0": ""}), "1 to 100 printable characters"),
        ("vq-ldm", settings(INDEX, id2label={"0": "  "}), "1 to 100 printable characters"),
        ("vq-ldm", settings(INDEX, id2label={"0": "a\0b"}), "printable"),
        ("vq-ldm", settings(INDEX, id2label={"0": "\x1b[31mred"}), "printable"),
        ("vq-ldm", settings(INDEX, id2label={"0": "a\u202eb"}), "printable"),
        ("vq-ldm", settings(INDEX, id2label={"0": "../../x"}), "a folder of images"),
        ("vq-ldm", settings(INDEX, id2label={"0": 7}), "must be text, got 7"),
        ("vq-ldm", settings(INDEX, id2label={"0": "ID_2"}), "3 different names"),
        ("vq-ldm", settings(INDEX, id2label={"0": "J\u00f6rg", "1": "Jo\u0308rg"}), "3 different names"),
        ("vq-ldm", settings(INDEX, id2label=None), "must name the ids '0'..'2'"),
        ("vq-ldm", settings(INDEX, condition_labels={"direction": {"0": "a\nb", "1": "c"}}), "printable"),
        ("vq-ldm", settings(INDEX, condition_labels=None), "must name the conditions"),
        ("vq-ldm", settings(INDEX, prediction_type="sample"), "scheduler must be for sample"),
        ("depth", settings("autoencoder/config.json", latent_dim=10**9), "latent_dim must be"),
        ("depth", weights("autoencoder", poison(torch.nan)), "weights of DepthAutoencoder must be finite"),
        ("conv", settings("autoencoder/config.json", block_out_channels=[10**9, 8]), "block_out_channels must be"),
        ("conv", weights("autoencoder", poison(torch.inf)), "weights of ConvAutoencoder must be finite"),
    ],
)
def test_without_echoform_the_code_in_the_folder_bounds_memory_and_refuses_what_is_not_finite(
    name: str, damage: Damage, message: str, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(saved / name, tmp_path / "given")
    damage(tmp_path / "given")
    monkeypatch.setitem(sys.modules, "echoform.loading", None)
    monkeypatch.setitem(sys.modules, "echoform.checks", None)
    with pytest.raises(ValueError, match=message):
        DiffusionPipeline.from_pretrained(tmp_path / "given", trust_remote_code=True)


@pytest.mark.parametrize("name", CLASSES)
def test_what_is_whole_is_loaded(name: str, saved: Path):
    CLASSES[name].from_pretrained(saved / name)


@pytest.mark.parametrize("name", ["ID_1", "user 1", "Jürgen", "田中", "with.dot", ".hidden", "a..b", "x" * 100])
def test_names_of_people_are_allowed(name: str):
    check_name("a user", name)


@pytest.mark.parametrize("steps", [1001, 100_000, 0, -1, 2.5, "8", 10**12])
def test_a_call_takes_at_most_as_many_steps_as_the_scheduler_was_trained_for(steps: Any):
    with pytest.raises(ValueError, match=r"num_inference_steps must be in 1\.\.1000, the scheduler's training steps"):
        tiny_pipeline()(["ID_1"], num_inference_steps=steps)


@pytest.mark.parametrize(
    "arguments",
    [{"guidance_scale": float("nan")}, {"guidance_scale": float("inf")}, {"guidance_scale": "2"},
     {"num_images_per_user": 1.5}, {"batch_size": "many"}, {"strength": float("nan")}],
)  # fmt: skip
def test_numbers_of_a_call_that_are_none_are_refused(arguments: dict[str, Any]):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        tiny_pipeline()(["ID_1"], num_inference_steps=1, **arguments)


@pytest.mark.parametrize("name", ["vq-ldm", "conv-unpool"])
def test_weights_that_became_nan_in_training_make_no_pipeline(name: str):
    pipeline = PIPELINES[name].make()
    parts = dict(pipeline.components)
    model: Any = parts.get("unet", parts.get("autoencoder"))
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] = torch.nan
    with pytest.raises(ValueError, match=f"weights of {type(model).__name__} must be finite"):
        type(pipeline)(**parts)
