"""Hostile models at the other doors: encoders, indices, folders to push and to verify, and ids of the Hub."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from hostile.corpus import Row
from hostile.inputs import depth_image, depth_images, spectrograms
from hostile.models import WEIGHTS, Spoil, copied, edited, header, made, tensors, written

Make = Callable[[Path], list[str]]
ENCODER = f"autoencoder/{WEIGHTS}"
NO_FILE = "is truncated or no safetensors file"
LISTENER = "could not be downloaded|could be read|connection to the Hub failed"


def good(_: Path) -> None:
    """Nothing is spoilt."""


def nan(found: dict[str, torch.Tensor]) -> None:
    next(value for value in found.values() if value.is_floating_point()).view(-1)[0] = float("nan")


def negative_variance(found: dict[str, torch.Tensor]) -> None:
    next(value for name, value in found.items() if name.endswith("running_var"))[:] = -1.0


def cut(name: str, size: int) -> Spoil:
    return lambda model: (model / name).write_bytes((model / name).read_bytes()[:size])


def fifo(name: str) -> Spoil:
    def spoil(model: Path) -> None:
        (model / name).unlink(missing_ok=True)
        os.mkfifo(model / name)

    return spoil


def at(model: str, spoil: Spoil, *words: str) -> Make:
    """Spoil a model; in the words, {model} is its folder, and {out} one that does not exist."""

    def make(folder: Path) -> list[str]:
        spoil(copied(model, folder))
        return [word.format(model=folder / model, out=folder / "out", folder=folder) for word in words]

    return make


def decode(spoil: Spoil, *flags: str) -> Make:
    return at("conv", spoil, "generate", "--decoder-only", "--pipeline", "{model}", "--output-dir", "{out}", *flags)


def push(spoil: Spoil, model: str = "doppler") -> Make:
    return at(model, spoil, "push", "{model}", "somebody/model")


def verify(spoil: Spoil, *flags: str) -> Make:
    return at("doppler", spoil, "verify", "{model}", *flags)


def extract(spoil: Spoil) -> Make:
    return at("depth", spoil, "extract-encoder", "{model}", "--output-dir", "{out}")


def extract_file(name: str, write: Callable[[Path], object]) -> Make:
    """A file of weights that `write` makes."""

    def make(folder: Path) -> list[str]:
        write(folder / name)
        return ["extract-encoder", str(folder / name), "--output-dir", str(folder / "out")]

    return make


def encode(spoil: Spoil) -> Make:
    def make(folder: Path) -> list[str]:
        spoil(copied("depth", folder))
        images = depth_images(folder / "data", 2)
        return ["encode", str(images), "--pipeline", str(folder / "depth"), "--output-dir", str(folder / "out")]

    return make


def query(spoil: Spoil) -> Make:
    """Spoil an index, and search it."""

    def make(folder: Path) -> list[str]:
        spoil(copied("index", folder))
        Image.fromarray(depth_image()).save(folder / "query.png")
        words = ["encode", "--query", str(folder / "query.png"), "--index", str(folder / "index")]
        return [*words, "--picture", str(folder / "nearest.png")]

    return make


def score(verb: str, model: str, spoil: Spoil) -> Make:
    return at(
        model, spoil, "score", verb, "{model}", "--data", "{folder}", "--output", "{out}", "--split-file", "{folder}/x"
    )


def augment(spoil: Spoil) -> Make:
    def make(folder: Path) -> list[str]:
        spoil(copied("doppler", folder))
        data = spectrograms(folder / "data")
        return ["augment", str(data), str(folder / "out"), "--pipeline", str(folder / "doppler")]

    return make


def space(spoil: Spoil, flag: str = "--doppler") -> Make:
    return at("doppler", spoil, "space", flag, "{model}")


def renamed_weights(path: Path) -> None:
    found = load_file(made() / "depth" / ENCODER)
    save_file({f"x.{name}": value for name, value in found.items()}, path)


def config_in_the_header(config: str) -> Callable[[Path], None]:
    return lambda path: save_file({"a": torch.ones(1)}, path, metadata={"config": config})


def packed(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": 1}))
        archive.writestr("archive/data/0", b"\0" * 50_000_000)


def many_files(model: Path) -> None:
    for number in range(1100):
        (model / f"{number}.txt").touch()


def stale_code(model: Path) -> None:
    code = next(model.glob("pipeline_*.py"))
    shutil.copyfile(code, model / "pipeline_vq_ldm_doppler_00000000.py")


def fingerprint(**values: object) -> Spoil:
    return edited("fingerprint.json", **values)


def arrow(model: Path) -> None:
    next(model.glob("*.arrow")).write_bytes(b"ARROW" * 50)


def no_features(model: Path) -> None:
    content = json.loads((model / "dataset_info.json").read_text())
    (model / "dataset_info.json").write_text(json.dumps(content | {"features": {}}))


def index_of_terabytes(model: Path) -> None:
    content = bytearray((model / "index.faiss").read_bytes())
    content[8:16] = (2**40).to_bytes(8, "little")
    content[37:45] = (2**44).to_bytes(8, "little")
    (model / "index.faiss").write_bytes(content)


_DECODER: dict[str, tuple[Make, str]] = {
    "weights cut short": (decode(cut(ENCODER, 3000)), NO_FILE),
    "NaN": (decode(tensors(ENCODER, nan)), "weights must be finite"),
    "a negative variance": (decode(tensors(ENCODER, negative_variance)), "variances must not be negative"),
    "10^9 channels": (decode(edited("autoencoder/config.json", block_out_channels=[10**9, 12])), "block_out_channels"),
    "10^6 pixels": (decode(edited("autoencoder/config.json", sample_size=10**6)), "sample_size must be"),
    "a deviation below 0": (
        decode(edited("model_index.json", latent_std={str(each): -1.0 for each in range(12)})),
        "latent_std|latent_mean",
    ),
    "a pipeline of spectrograms": (
        at("doppler", good, "generate", "--decoder-only", "--pipeline", "{model}", "--output-dir", "{out}"),
        "must be a ConvAutoencoderPipeline",
    ),
    "10^12 images": (decode(good, "--num-images", "1000000000000"), "--num-images must be in 0..10000"),
    "10^9 steps": (decode(good, "--steps", "1000000000"), "--steps must be in 2..10000"),
    "an image that is none": (
        decode(written("x.png", b"no"), "--images", "{model}/x.png", "{model}/x.png"),
        "cannot be decoded",
    ),
    "a pipe as an image": (
        decode(fifo("x.png"), "--images", "{model}/x.png", "{model}/x.png"),
        "must be a regular file",
    ),
}
_PUSH: dict[str, tuple[Make, str]] = {
    "a user that climbs": (push(edited("model_index.json", id2label={"0": "../../x", "1": "b"})), "must not hold /"),
    "a user of YAML": (
        push(edited("model_index.json", id2label={"0": "--- \nlicense: x", "1": "b"})),
        "control characters",
    ),
    "facts that are empty": (push(edited("facts.json", data=None)), "data in .* must be a table"),
    "facts that are a list": (push(written("facts.json", "[]")), "must hold a JSON object"),
    "facts with users of HTML": (
        push(edited("facts.json", data={"users": ["\x1b[1m"]})),
        "data in .* must have|control characters",
    ),
    "weights that are NaN": (push(tensors(f"unet/{WEIGHTS}", nan)), "weights must be finite"),
    "a pickle alone": (
        push(lambda model: (model / "unet" / WEIGHTS).rename(model / "unet" / "diffusion_pytorch_model.bin")),
        "may run code",
    ),
    "an auto_map that is a list": (push(edited("vqvae/config.json", auto_map=[1])), "auto_map|mappings"),
    "a card that is no text": (push(written("README.md", b"\xff\xfe")), "UTF-8"),
    "no model": (push(lambda model: shutil.rmtree(model) or model.mkdir()), "holds no model"),
    "no Hub": (push(good), "connection to the Hub failed"),
    "an id with spaces": (
        at("doppler", good, "push", "{model}", "some body/mo del"),
        "nothing|connection|no such name",
    ),
    "an id of three parts": (at("doppler", good, "push", "{model}", "a/b/c"), "nothing|connection|no such name"),
}
_VERIFY: dict[str, tuple[Make, str]] = {
    "a user that climbs": (verify(edited("model_index.json", id2label={"0": "../x", "1": "b"})), "must not hold /"),
    "a user of 300 letters": (verify(edited("model_index.json", id2label={"0": "x" * 300, "1": "b"})), "at most 100"),
    "NaN": (verify(tensors(f"unet/{WEIGHTS}", nan)), "weights must be finite"),
    "a tensor twice": (
        verify(written(f"unet/{WEIGHTS}", header('{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{}}'))),
        "names 'a' twice",
    ),
    "a header of 2^63 bytes": (verify(written(f"unet/{WEIGHTS}", header("{}", b"", 2**63))), NO_FILE),
    "1,100 files": (verify(many_files), "at most 1000 files"),
    "a pipe": (verify(fifo("x.txt")), "must be a regular file"),
    "a pipe as the index": (verify(fifo("model_index.json")), "must be a regular file"),
    "a second version of the code": (verify(stale_code), "is code that nothing in the repository names"),
    "a fingerprint that is empty": (verify(written("fingerprint.json", "{}")), "arguments in fingerprint.json must be"),
    "a fingerprint that is a list": (verify(written("fingerprint.json", "[]")), "must hold a JSON object"),
    "10^9 steps in the fingerprint": (
        verify(fingerprint(arguments={"seed": 0, "num_inference_steps": 10**9, "guidance_scale": 1.0})),
        "num_inference_steps in fingerprint.json must be in 1..100",
    ),
    "a seed of text": (
        verify(fingerprint(arguments={"seed": "x", "num_inference_steps": 4, "guidance_scale": 1.0})),
        "seed in fingerprint.json",
    ),
    "guidance of text": (
        verify(fingerprint(arguments={"seed": 0, "num_inference_steps": 4, "guidance_scale": "x"})),
        "guidance_scale in arguments in fingerprint.json must be a number",
    ),
    "outputs that are text": (verify(fingerprint(outputs={"image": "x"})), "image in outputs .* must be a list"),
    "a file outside in the fingerprint": (verify(fingerprint(files={"../../x": "00"})), "was"),
    "axes upside down": (verify(edited("model_index.json", axes={"db_min": 0, "db_max": -50})), "db_min below db_max"),
    "no time": (verify(good, "--time-limit-s", "0"), "--time-limit-s must be greater than 0"),
    "a moment": (verify(good, "--time-limit-s", "0.2"), "does not load and run within 0.2 s"),
    "an id that is none": (at("doppler", good, "verify", "a/b/c"), "there is no folder a/b/c"),
    "no Hub": (at("doppler", good, "verify", "somebody/model"), LISTENER),
}
_ENCODERS: dict[str, tuple[Make, str]] = {
    "weights cut short": (extract(cut(ENCODER, 3000)), NO_FILE),
    "weights of nothing": (extract(written(ENCODER, b"")), NO_FILE),
    "NaN": (extract(tensors(ENCODER, nan)), "weights must be finite"),
    "10^9 numbers": (extract(edited("autoencoder/config.json", latent_dim=10**9)), "latent_dim must be"),
    "a range upside down": (
        extract(edited("model_index.json", depth_range_mm={"min": 9.0, "max": 1.0})),
        "must hold a depth encoder: .*depth_range_mm|depth_range_mm",
    ),
    "facts that are empty": (extract(written("facts.json", "{}")), "facts.json must have"),
    "a pipe as facts": (extract(fifo("facts.json")), "must be a regular file"),
    "a folder of nothing": (
        extract(lambda model: shutil.rmtree(model) or model.mkdir()),
        "holds neither model_index.json nor config.json",
    ),
    "a pipeline of spectrograms": (
        at("doppler", good, "extract-encoder", "{model}", "--output-dir", "{out}"),
        "must hold a depth pipeline, autoencoder or encoder",
    ),
    "foreign weights": (extract_file("x.safetensors", renamed_weights), "must hold a depth encoder"),
    "a header of 2^63 bytes": (
        extract_file("x.safetensors", lambda path: path.write_bytes(header("{}", b"", 2**63))),
        NO_FILE,
    ),
    "a config that is no JSON": (extract_file("x.safetensors", config_in_the_header("{")), "must hold a depth encoder"),
    "a config that is a list": (
        extract_file("x.safetensors", config_in_the_header("[1]")),
        "must hold a depth encoder",
    ),
    "a config of 10^9 numbers": (
        extract_file("x.safetensors", config_in_the_header('{"latent_dim": 1000000000}')),
        "must hold a depth encoder: .*latent_dim must be",
    ),
    "a pipe of weights": (extract_file("x.safetensors", os.mkfifo), "must be a regular file"),
    "a pipe of pickled weights": (extract_file("x.pth", os.mkfifo), "there is no file|regular"),
    "code in a pickle": (
        extract_file("x.pth", lambda path: path.write_bytes(pickle.dumps(os.getcwd))),
        "must hold a depth encoder: .*code",
    ),
    "packed tensors": (extract_file("x.pth", packed), "are not compressed"),
    "a file of text": (
        extract_file("x.txt", lambda path: path.write_text("x")),
        "weights must be a file of .safetensors",
    ),
    "an id that is none": (at("depth", good, "extract-encoder", "a/b/c", "--output-dir", "{out}"), "there is no"),
    "no Hub": (at("depth", good, "extract-encoder", "somebody/model", "--output-dir", "{out}"), LISTENER),
}
_INDICES: dict[str, tuple[Make, str]] = {
    "no facts": (query(lambda index: (index / "embeddings.json").unlink()), "there is no file"),
    "facts that are empty": (query(written("embeddings.json", "{}")), "must hold pipeline"),
    "a pipeline that is a number": (query(edited("embeddings.json", pipeline=7)), "must hold pipeline"),
    "an index cut short": (query(cut("index.faiss", 100)), "index.faiss must have .* bytes"),
    "an empty index": (query(written("index.faiss", b"")), "index.faiss must have .* bytes"),
    "an index of terabytes": (query(index_of_terabytes), "must be a flat index of 6 embeddings"),
    "an index of text": (query(written("index.faiss", b"x" * 429)), "must be a flat index|must have"),
    "a pipe as the index": (query(fifo("index.faiss")), "holds no index.faiss|regular"),
    "no data set": (query(lambda index: (index / "state.json").unlink()), "must hold a data set"),
    "a state that is no JSON": (query(written("state.json", "{")), "must hold a data set"),
    "a state that is a list": (query(written("state.json", "[]")), "must hold a data set"),
    "a table that is none": (query(arrow), "must hold a data set"),
    "no columns": (query(no_features), "must hold a data set|must have the columns"),
}
_OTHERS = [
    *(
        Row(f"encode: {name}", "encode", encode(spoil), said)
        for name, (spoil, said) in {
            "weights cut short": (cut(ENCODER, 3000), NO_FILE),
            "NaN": (tensors(ENCODER, nan), "weights must be finite"),
            "units of 0": (edited("model_index.json", units_per_mm=0.0), "units_per_mm"),
            "units of text": (edited("model_index.json", units_per_mm="x"), "units_per_mm|cannot be loaded"),
            "a range of text": (edited("model_index.json", depth_range_mm="x"), "depth_range_mm|cannot be loaded"),
            "invalid values of text": (
                edited("model_index.json", invalid_values={"x": "y"}),
                "invalid_values|cannot be",
            ),
        }.items()
    ),
    Row("score depth-ae: NaN", "score depth-ae", score("depth-ae", "depth", tensors(ENCODER, nan)), "finite"),
    Row("score conv-ae: NaN", "score conv-ae", score("conv-ae", "conv", tensors(ENCODER, nan)), "finite"),
    Row("score depth-ae: another pipeline", "score depth-ae", score("depth-ae", "conv", good), "must be a DepthAuto"),
    Row("augment: NaN", "augment", augment(tensors(f"unet/{WEIGHTS}", nan)), "weights must be finite"),
    Row("augment: no users", "augment", augment(edited("model_index.json", id2label=None)), "id2label|split"),
    Row("space: NaN", "space", space(tensors(f"unet/{WEIGHTS}", nan)), "weights must be finite"),
    Row("space: another kind", "space", space(good, "--depth"), "--depth must be a pipeline of that kind"),
    Row("space: no folder", "space", at("doppler", good, "space", "--doppler", "{out}"), "there is no folder"),
    Row("space: a climbing user", "space", space(edited("model_index.json", id2label={"0": "../x"})), "must not hold"),
    Row(
        "generate: no Hub",
        "generate",
        at("doppler", good, "generate", "--pipeline", "somebody/model", "--output-dir", "{out}"),
        LISTENER,
    ),
    Row(
        "generate: no folder",
        "generate",
        at("doppler", good, "generate", "--pipeline", "{out}", "--output-dir", "{folder}/made"),
        "there is no folder",
    ),
    *(
        Row(
            f"distill: {name}",
            "distill",
            at("doppler", spoil, "distill", "--pipeline", "{model}", "--output-dir", "{out}", *flags),
            said,
        )
        for name, (spoil, flags, said) in {
            "no facts": (lambda model: (model / "facts.json").unlink(), (), "holds no facts.json"),
            "facts that are empty": (written("facts.json", "{}"), (), "facts.json must have"),
            "100,000 steps": (good, ("--teacher-steps", "100000"), "--teacher-steps must be in 1..1000"),
            "10^10 training steps": (
                edited("scheduler/scheduler_config.json", num_train_timesteps=10**10),
                (),
                "at most 100000",
            ),
        }.items()
    ),
]

ROWS = [
    *(
        Row(f"{door}: {name}", door, make, said)
        for door, rows in (
            ("generate", {f"decoder, {name}": row for name, row in _DECODER.items()}),
            ("push", _PUSH),
            ("verify", _VERIFY),
            ("extract-encoder", _ENCODERS),
            ("encode", {f"index, {name}": row for name, row in _INDICES.items()}),
        )
        for name, (make, said) in rows.items()
    ),
    *_OTHERS,
]
