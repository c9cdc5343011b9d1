"""Hostile spectrogram pipelines and first stages: weights, configs, names and facts."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hostile.corpus import Row
from hostile.inputs import spectrograms
from hostile.models import WEIGHTS, Spoil, copied, edited, header, tensors, written

UNET, VQVAE, SCHEDULER = f"unet/{WEIGHTS}", f"vqvae/{WEIGHTS}", "scheduler/scheduler_config.json"
INDEX = "model_index.json"
NO_FILE = "is truncated or no safetensors file"
ONE = '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'


def generate(spoil: Spoil, *flags: str) -> Callable[[Path], list[str]]:
    """Spoil a pipeline, and generate with it."""

    def make(folder: Path) -> list[str]:
        pipeline = copied("doppler", folder)
        spoil(pipeline)
        words = ["generate", "--pipeline", str(pipeline), "--output-dir", str(folder / "out"), "--num-images", "1"]
        return [*words, *flags]

    return make


def train(spoil: Spoil) -> Callable[[Path], list[str]]:
    """Spoil a first stage, and train on it."""

    def make(folder: Path) -> list[str]:
        stage = copied("stage", folder)
        spoil(stage)
        words = ["train", "ldm", "--first-stage", str(stage), "--data", str(spectrograms(folder / "data"))]
        return [*words, "--output-dir", str(folder / "out")]

    return make


def fifo(name: str) -> Spoil:
    def spoil(model: Path) -> None:
        (model / name).unlink()
        os.mkfifo(model / name)

    return spoil


def a_folder(name: str) -> Spoil:
    def spoil(model: Path) -> None:
        (model / name).unlink()
        (model / name).mkdir()

    return spoil


def removed(name: str) -> Spoil:
    return lambda model: shutil.rmtree(model / name) if (model / name).is_dir() else (model / name).unlink()


def cut(name: str, size: int) -> Spoil:
    return lambda model: (model / name).write_bytes((model / name).read_bytes()[:size])


def pickled(model: Path) -> None:
    (model / UNET).unlink()
    (model / "unet" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps({"a": 1}))


def a_value(value: float) -> Callable[[dict[str, torch.Tensor]], object]:
    def change(found: dict[str, torch.Tensor]) -> None:
        next(iter(found.values())).view(-1)[0] = value

    return change


def reshaped(found: dict[str, torch.Tensor]) -> None:
    name = max(found, key=lambda each: found[each].numel())
    found[name] = found[name].flatten()


def whole_numbers(found: dict[str, torch.Tensor]) -> None:
    name = next(iter(found))
    found[name] = found[name].to(torch.int32)


def users(first: object, second: object = "ID_2") -> Spoil:
    return edited(INDEX, id2label={"0": first, "1": second})


def entry(name: str, value: Any) -> Spoil:
    return edited(INDEX, **{name: value})


def deep(model: Path) -> None:
    (model / INDEX).write_text("[" * 100_000)


WEIGHT_ROWS: dict[str, tuple[Spoil, str]] = {
    "weights cut in the middle": (cut(UNET, 5000), NO_FILE),
    "weights cut in the header": (cut(UNET, 30), NO_FILE),
    "weights of seven bytes": (cut(UNET, 7), NO_FILE),
    "empty weights": (written(UNET, b""), NO_FILE),
    "no weights": (removed(UNET), "unet holds no safetensors weights"),
    "weights as a pickle alone": (pickled, "diffusion_pytorch_model.bin may run code"),
    "a pickle under the name of weights": (written(UNET, pickle.dumps([1] * 99)), NO_FILE),
    "a header of 2^63 bytes": (written(UNET, header(ONE, b"1234", 2**63)), NO_FILE),
    "a header of 2^64 - 1 bytes": (written(UNET, header(ONE, b"1234", 2**64 - 1)), NO_FILE),
    "a header longer than the file": (written(UNET, header(ONE, b"1234", 4000)), NO_FILE),
    "a header of no bytes": (written(UNET, header("", b"1234")), NO_FILE),
    "a header that is no JSON": (written(UNET, header("{{{", b"1234")), NO_FILE),
    "a header that is a list": (written(UNET, header("[1, 2]", b"1234")), NO_FILE),
    "a header of bytes": (written(UNET, header(b"\xff\xfe\x00", b"1234")), NO_FILE),
    "a deep header": (written(UNET, header("[" * 200_000, b"1234")), NO_FILE),
    "a header of 17 MB": (
        written(UNET, header(ONE + " " * 17_000_000, b"1234")),
        "header of .* at most 16777216 bytes",
    ),
    "no tensors": (written(UNET, header("{}")), "holds no tensors"),
    "offsets outside of the file": (written(UNET, header(ONE.replace("[0,4]", "[0,4000]"), b"1234")), NO_FILE),
    "offsets that leave a hole": (written(UNET, header(ONE.replace("[0,4]", "[4,8]"), b"12345678")), NO_FILE),
    "negative offsets": (written(UNET, header(ONE.replace("[0,4]", "[-4,4]"), b"1234")), NO_FILE),
    "bytes behind the last tensor": (written(UNET, header(ONE, b"12345678")), NO_FILE),
    "a negative shape": (written(UNET, header(ONE.replace("[1]", "[-1]"), b"1234")), NO_FILE),
    "a shape that overflows": (written(UNET, header(ONE.replace("[1]", "[4611686018427387904,8]"), b"1234")), NO_FILE),
    "an unknown type": (written(UNET, header(ONE.replace("F32", "Q7"), b"1234")), NO_FILE),
    "a tensor twice": (written(UNET, header(f"{ONE[:-1]},{ONE[1:]}", b"1234")), "names 'a' twice"),
    "one foreign tensor": (written(UNET, header(ONE, b"1234")), "must hold the weights of a DopplerUNet2DModel"),
    "a weight that is NaN": (tensors(UNET, a_value(float("nan"))), "weights must be finite numbers"),
    "a weight that is infinite": (tensors(UNET, a_value(float("inf"))), "weights must be finite numbers"),
    "a first stage whose images are NaN": (
        tensors(VQVAE, lambda found: [found.update({name: value * 1e30}) for name, value in found.items()]),
        "computes images that are NaN",
    ),
    "a U-Net whose latents are NaN": (
        tensors(UNET, lambda found: [found.update({name: value * 1e30}) for name, value in found.items()]),
        "computes latents that are NaN",
    ),
    "a first stage with NaN": (tensors(VQVAE, a_value(float("nan"))), "weights must be finite numbers"),
    "a weight too many": (tensors(UNET, lambda found: found.update(x=torch.ones(1))), "1 are unknown: x"),
    "a weight too few": (tensors(UNET, lambda found: found.popitem()), "1 are missing"),
    "a weight of another shape": (tensors(UNET, reshaped), "must have the shape .* of its config"),
    "a weight of whole numbers": (tensors(UNET, whole_numbers), "must be of type F64, F32, F16, BF16, it is I32"),
    "no codebook": (tensors(VQVAE, lambda found: found.pop("quantize.embedding.weight")), "missing: quantize"),
    "a pipe as weights": (fifo(UNET), "must be a regular file"),
    "a folder as weights": (a_folder(UNET), "must be a regular file"),
    "an index of shards that are not there": (
        written(f"unet/{WEIGHTS}.index.json", '{"weight_map": {"a": "b.safetensors"}}'),
        "names 'b.safetensors', which does not lie beside it",
    ),
    "an index of shards outside": (
        written(f"unet/{WEIGHTS}.index.json", '{"weight_map": {"a": "../../b.safetensors"}}'),
        "must name safetensors files beside it",
    ),
    "an index of shards without a map": (written(f"unet/{WEIGHTS}.index.json", "{}"), "weight_map in"),
    "an index of shards that is no JSON": (written(f"unet/{WEIGHTS}.index.json", "{"), "must be JSON"),
}

CONFIG_ROWS: dict[str, tuple[Spoil, str]] = {
    "10^12 users in the U-Net": (edited("unet/config.json", num_users=10**12), "num_users must be"),
    "images of 10^6 pixels a side": (edited("unet/config.json", sample_size=10**6), "sample_size must be"),
    "10^9 channels in the U-Net": (
        edited("unet/config.json", block_out_channels=[10**9, 16]),
        "block_out_channels must",
    ),
    "negative channels": (edited("unet/config.json", block_out_channels=[-16, 16]), "block_out_channels must"),
    "channels as text": (edited("unet/config.json", block_out_channels="many"), "block_out_channels must"),
    "10^9 layers": (edited("unet/config.json", layers_per_block=10**9), "layers_per_block must be"),
    "other users in the U-Net than in its weights": (edited("unet/config.json", num_users=3), "must have the shape"),
    "unknown attention": (edited("unet/config.json", attention_types=["os.system", "axial"]), "attention types must"),
    "10^9 channels in the first stage": (edited("vqvae/config.json", block_out_channels=[10**9, 8]), "at most 1048576"),
    "10^12 codes": (edited("vqvae/config.json", num_vq_embeddings=10**12), "num_vq_embeddings .* at most 1048576"),
    "10^6 layers in the first stage": (edited("vqvae/config.json", layers_per_block=10**6), "at most 64"),
    "1,000 levels": (edited("vqvae/config.json", block_out_channels=[8] * 1000), "at most 64 entries"),
    "no groups": (edited("vqvae/config.json", norm_num_groups=0), "must hold the settings of a VQModel"),
    "a first stage of text": (edited("vqvae/config.json", in_channels="x"), "must hold the settings of a VQModel"),
    "unknown blocks": (edited("vqvae/config.json", down_block_types=["os.system"] * 2), "settings of a VQModel"),
    "another class in the config": (edited("vqvae/config.json", _class_name="AutoencoderKL"), "must be of a VQModel"),
    "a config that is no JSON": (written("unet/config.json", "{"), "unet/config.json must be JSON"),
    "a config that is a list": (written("unet/config.json", "[]"), "must hold a JSON object, it holds a list"),
    "an empty config": (written("unet/config.json", ""), "unet/config.json must be JSON"),
    "a config of bytes": (written("unet/config.json", b"\xff\xfe\xff"), "must be UTF-8"),
    "a config with NaN": (written("vqvae/config.json", '{"a": NaN}'), "must be JSON with finite numbers"),
    "no config": (removed("unet/config.json"), "there is no file .*unet/config.json"),
    "a pipe as a config": (fifo("unet/config.json"), "must be a regular file"),
    "a folder as a config": (a_folder("unet/config.json"), "must be a regular file"),
    "a scheduler that is no JSON": (written(SCHEDULER, "nothing"), "scheduler_config.json must be JSON"),
    "10^10 training steps": (edited(SCHEDULER, num_train_timesteps=10**10), "num_train_timesteps .* at most 100000"),
    "training steps as text": (edited(SCHEDULER, num_train_timesteps="x"), "settings of a DPMSolverMultistepScheduler"),
    "no training steps": (edited(SCHEDULER, num_train_timesteps=0), "scheduler|num_inference_steps|Scheduler"),
    "negative noise": (edited(SCHEDULER, beta_start=-5.0, beta_end=-1.0), "betas of the .* must be in 0..1"),
    "unknown noise": (edited(SCHEDULER, beta_schedule="x"), "settings of a DPMSolverMultistepScheduler"),
    "unknown prediction": (edited(SCHEDULER, prediction_type="x"), "must be for v_prediction"),
    "unknown spacing": (edited(SCHEDULER, timestep_spacing="x"), "must be able to take 2 steps"),
    "steps that begin outside": (
        edited(SCHEDULER, steps_offset=90_000, timestep_spacing="leading"),
        "must begin within",
    ),
    "a pipe as the scheduler": (fifo(SCHEDULER), "must be a regular file"),
    "no scheduler": (removed("scheduler"), "holds no folder scheduler"),
    "no index": (removed(INDEX), "holds no model_index.json"),
    "an index that is no JSON": (written(INDEX, "{"), "model_index.json must be JSON"),
    "an index that is a list": (written(INDEX, "[]"), "must hold a JSON object"),
    "an index that is empty": (written(INDEX, "{}"), "_class_name in .* must name a class"),
    "a deep index": (deep, "nested deeper than 64"),
    "an index with a number of 400 digits": (written(INDEX, '{"a": 1e400}'), "must be JSON with finite numbers"),
    "a pipe as the index": (fifo(INDEX), "must be a regular file"),
    "a folder as the index": (a_folder(INDEX), "must be a regular file"),
    "another pipeline": (entry("_class_name", "StableDiffusionPipeline"), "must be a VQLDMDopplerPipeline"),
    "a class that is a number": (entry("_class_name", 7), "_class_name in .* must name a class"),
    "a component of os": (entry("unet", ["os", "system"]), "must be a class among"),
    "a component of subprocess": (entry("vqvae", ["subprocess", "Popen"]), "must be a class among"),
    "a scheduler of subprocess": (entry("scheduler", ["subprocess", "Popen"]), "must be a class among"),
    "a component outside": (entry("unet", ["../../x", "DopplerUNet2DModel"]), "must be a class among"),
    "another U-Net": (entry("unet", ["diffusers", "UNet2DModel"]), "must be a class among"),
    "a pipeline as a component": (entry("unet", ["diffusers", "DiffusionPipeline"]), "must be a class among"),
    "a component of three words": (entry("unet", ["a", "b", "c"]), r"must be \[library or file stem, class\]"),
    "a component of numbers": (entry("unet", [1, 2]), r"must be \[library or file stem, class\]"),
    "a component with a path as its name": (entry("../../x", ["diffusers", "VQModel"]), "must name components plainly"),
    "no U-Net": (removed("unet"), "holds no folder unet"),
    "10^5 steps by default": (entry("num_inference_steps", 100_000), "num_inference_steps .* in 1..1000"),
    "no steps by default": (entry("num_inference_steps", 0), "num_inference_steps .* in 1..1000"),
    "steps as text": (entry("num_inference_steps", "8"), "num_inference_steps .* in 1..1000"),
    "negative guidance": (entry("guidance_scale", -1.0), "guidance_scale in .* must be a number in 0..1000"),
    "latent_std of 0": (
        entry("latent_std", {str(each): 0.0 for each in range(4)}),
        "latent_std must be greater than 0",
    ),
    "latent_std below 0": (entry("latent_std", {str(each): -1.0 for each in range(4)}), "latent_std must be greater"),
    "latent_std of three channels": (entry("latent_std", {"0": 1.0, "1": 1.0, "2": 1.0}), "latent_std must hold"),
    "latent_std as text": (entry("latent_std", "one"), "latent_std must hold"),
    "latent_mean missing": (entry("latent_mean", None), "latent_mean must hold"),
    "latent_mean of 10^308": (entry("latent_mean", {str(each): 1e308 for each in range(4)}), "at most 1048576"),
    "axes upside down": (
        entry("axes", {"doppler_min_hz": 9, "doppler_max_hz": -9}),
        "doppler_min_hz below doppler_max",
    ),
    "decibels upside down": (entry("axes", {"db_min": 9, "db_max": -9}), "db_min below db_max"),
    "axes as a list": (entry("axes", [1]), r"axes|must be \[library"),
    "axes as text": (entry("axes", "x"), "axes in .* must be a table"),
    "a colour map of three colours": (entry("colormap", {"name": "jet", "rgb_hex": "ff00ff"}), "rgb_hex must hold"),
    "a colour map that is no hex": (entry("colormap", {"name": "jet", "rgb_hex": "x" * 1536}), "rgb_hex|hex"),
}

NAME_ROWS: dict[str, tuple[Spoil, str]] = {
    "a user that climbs": (users("../../x"), r"must not hold /"),
    "a user that climbs with backslashes": (users("..\\x"), r"must not hold /"),
    "a user with an absolute path": (users("/tmp/x"), "must not hold /"),
    "a user that is two dots": (users(".."), "must not start with a dot"),
    "a user that is empty": (users(""), "must not be empty"),
    "a user that is blank": (users("   "), "must not be empty"),
    "a user of 300 letters": (users("x" * 300), "at most 100 characters"),
    "a user with NUL": (users("a\0b"), "control characters"),
    "a user with a line break": (users("--- \nlicense: x"), "control characters"),
    "a user with escape codes": (users("\x1b[31mred"), "control characters"),
    "a user that reads backwards": (users("a\u202eb"), "control characters"),
    "a user called metadata.jsonl": (users("metadata.jsonl"), "must not be called as a file"),
    "a user that is a number": (users(7), "must be a text, got 7"),
    "a user that is null": (users(None), "must be a text, got None"),
    "a user that is a list": (users(["ID_1"]), "must be a text"),
    "a user twice": (users("ID_2"), "must come once"),
    "ids that are no numbers": (entry("id2label", {"a": "ID_1", "b": "ID_2"}), "must name the ids 0..1"),
    "ids with a hole": (entry("id2label", {"0": "ID_1", "2": "ID_2"}), "must name the ids 0..1"),
    "no users": (entry("id2label", {}), "must be a table of names"),
    "users as text": (entry("id2label", "ID_1"), "must be a table of names"),
    "users that are missing": (entry("id2label", None), "id2label"),
    "more users than the U-Net has": (entry("id2label", {"0": "a", "1": "b", "2": "c"}), "id2label must name"),
    "a condition that climbs": (entry("condition_labels", {"../x": {"0": "a", "1": "b"}}), "must not hold /"),
    "a condition called file_name": (
        entry("condition_labels", {"file_name": {"0": "a", "1": "b"}}),
        "must not be called file_name",
    ),
    "a value of a condition with a line break": (
        entry("condition_labels", {"direction": {"0": "a\nb", "1": "b"}}),
        "control characters",
    ),
    "a value of a condition that is a number": (
        entry("condition_labels", {"direction": {"0": 1, "1": 2}}),
        "must be a text",
    ),
    "conditions as text": (entry("condition_labels", "direction"), "must be a table"),
    "a condition that the U-Net lacks": (
        entry("condition_labels", {"speed": {"0": "a", "1": "b"}}),
        "condition_labels must name",
    ),
}

_FLAGS: dict[str, tuple[tuple[str, ...], str]] = {
    "100,000 steps": (("--num-inference-steps", "100000"), "--num-inference-steps must be in 1..1000"),
    "negative steps": (("--num-inference-steps", "-3"), "--num-inference-steps must be in 1..1000"),
    "guidance that is NaN": (("--guidance-scale", "nan"), "--guidance-scale must be a number from 0"),
    "guidance that is infinite": (("--guidance-scale", "inf"), "--guidance-scale must be a number from 0"),
    "a user that is not known": (("--users", "../../x"), "users must be among ID_1, ID_2"),
    "a condition that is not known": (("--conditions", "speed=fast"), "conditions must be among direction"),
    "a value that is not known": (("--conditions", "direction=up"), "direction= must be among"),
    "no images": (("--num-images", "0"), "--num-images must be in 1"),
    "10^12 images": (("--num-images", "1000000000000"), "--num-images must be in 1"),
    "a batch of none": (("--batch-size", "0"), "--batch-size must be in 1"),
}

_STAGE_FACTS: dict[str, tuple[Spoil, str]] = {
    "facts that are empty": (written("facts.json", "{}"), "facts.json must have"),
    "facts that are a list": (written("facts.json", "[]"), "must hold a JSON object"),
    "facts that are no JSON": (written("facts.json", ""), "facts.json must be JSON"),
    "facts of another kind": (edited("facts.json", kind=7), "kind in .* must be a text"),
    "facts without data": (edited("facts.json", data={}), "data in .* must have"),
    "facts of 10^6 pixels": (edited("facts.json", data={"resolution": 10**6}), "data in .* must have"),
    "facts without a codebook": (edited("facts.json", quantized="yes"), "quantized in .* must be true or false"),
    "a pipe as facts": (fifo("facts.json"), "must be a regular file|holds no facts.json"),
    "no facts": (removed("facts.json"), "holds no facts.json"),
    "no model": (removed("vqvae"), "holds no vqvae"),
    "a stage cut short": (cut(VQVAE, 3000), NO_FILE),
    "a stage without its codebook": (
        tensors(VQVAE, lambda found: found.pop("quantize.embedding.weight")),
        "missing: quantize.embedding.weight",
    ),
    "a stage with NaN": (tensors(VQVAE, a_value(float("nan"))), "weights must be finite numbers"),
    "a stage with 10^9 channels": (edited("vqvae/config.json", block_out_channels=[10**9, 8]), "at most 1048576"),
    "a stage of another class": (edited("vqvae/config.json", _class_name="UNet2DModel"), "must be a VQModel or an"),
    "a stage of a class that is a number": (edited("vqvae/config.json", _class_name=7), "must name its class"),
}

ROWS = [
    Row("a good pipeline", "generate", generate(lambda _: None), "", accepted=True),
    *(
        Row(name, "generate", generate(spoil), sentence)
        for rows in (WEIGHT_ROWS, CONFIG_ROWS, NAME_ROWS)
        for name, (spoil, sentence) in rows.items()
    ),
    *(
        Row(f"flag: {name}", "generate", generate(lambda _: None, *words), said)
        for name, (words, said) in _FLAGS.items()
    ),
    *(Row(f"train ldm: {name}", "train ldm", train(spoil), said) for name, (spoil, said) in _STAGE_FACTS.items()),
]
