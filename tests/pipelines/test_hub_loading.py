"""The way back from a Hub: every door that loads what was pushed, in fresh processes over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import HfApi

from code_names import travelling_stem
from echoform import (
    DepthAutoencoder,
    DepthAutoencoderPipeline,
    DopplerUNet2DModel,
    VQLDMDopplerPipeline,
    pipeline_vq_ldm_doppler,
)
from hub_server import Hub
from without_echoform import UNINSTALLED, run_alone

PREAMBLE = """
import json, os, sys
import numpy as np, torch
from diffusers import DDIMScheduler, DiffusionPipeline

def pixels(pipe):
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    return pipe(["ID_10"], generator=generator, num_inference_steps=2, output_type="np").images

def error_of(call):
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"

told = {}
"""
NO_TRUST = """
told["without trust"] = error_of(lambda: DiffusionPipeline.from_pretrained(first))
told["code that ran"] = [name for name in sys.modules if name.startswith("diffusers_modules")]
"""
THREE_IN_ONE_PROCESS = """
a = DiffusionPipeline.from_pretrained(first, trust_remote_code=True)
told["first"] = pixels(a).tolist()
b = DiffusionPipeline.from_pretrained(second, trust_remote_code=True)
told["second"] = pixels(b).tolist()
c = DiffusionPipeline.from_pretrained(depth, trust_remote_code=True)
c.set_progress_bar_config(disable=True)
image = np.full((32, 32), 1000, np.uint16)
embedding = c(image).latents
told["undisturbed"] = bool(
    np.array_equal(pixels(a), told["first"])
    and np.array_equal(pixels(b), told["second"])
    and torch.equal(c(image).latents, embedding)
)
"""
PUSH_AGAIN = """
a.push_to_hub(again)
d = DiffusionPipeline.from_pretrained(again, trust_remote_code=True)
told["pushed again"] = bool(np.array_equal(pixels(d), told["first"]))
c.save_pretrained("depth")
e = DiffusionPipeline.from_pretrained("depth", trust_remote_code=True)
e.set_progress_bar_config(disable=True)
told["saved again"] = bool(torch.equal(e(image).latents, embedding))
told["echoform"] = "echoform" in sys.modules
"""
INSTALLED = """
from echoform import VQLDMDopplerPipeline
from huggingface_hub import snapshot_download

def load(**settings):
    return VQLDMDopplerPipeline.from_pretrained(repo, **settings)

def labels(**settings):
    return list(load(**settings).config["id2label"].values())

told["tag"], told["branch"], told["commit"] = labels(revision="v1"), labels(revision="trial"), labels(revision=sha)
pipe = load()
told["main"] = list(pipe.config["id2label"].values())
told["classes"] = [f"{type(one).__module__}.{type(one).__name__}" for one in (pipe, pipe.unet, pipe.vqvae)]
told["name"] = pipe.name_or_path
told["bfloat16"] = str(load(torch_dtype=torch.bfloat16).unet.dtype)
half = load(variant="fp16", torch_dtype=torch.float16, cache_dir="half")
told["half"] = [str(half.unet.dtype), str(half.vqvae.dtype)]
told["files"] = sorted({name for _, _, names in os.walk("half") for name in names if "safetensors" in name})
half.to(torch.float32)
told["difference"] = float(abs(pixels(pipe) - pixels(half)).max())
scheduler = DDIMScheduler(clip_sample=False, prediction_type="v_prediction")
told["scheduler"] = type(load(scheduler=scheduler).scheduler).__name__
told["no variant"] = error_of(lambda: load(variant="int8"))
"""
HOSTILE = """
snapshot_download(repo)  # all of it, the card too: what OFFLINE needs
told["pickles"] = error_of(lambda: VQLDMDopplerPipeline.from_pretrained(pickles))
told["code"] = bool(np.array_equal(pixels(VQLDMDopplerPipeline.from_pretrained(code)), pixels(pipe)))
"""
OFFLINE = """
from echoform import VQLDMDopplerPipeline
from huggingface_hub import snapshot_download

told["installed"] = pixels(VQLDMDopplerPipeline.from_pretrained(repo)).shape
told["half"] = pixels(VQLDMDopplerPipeline.from_pretrained(repo, variant="fp16", cache_dir="half")).shape
# Given an id, DiffusionPipeline asks the Hub for the commit of the code even where all of it is cached.
travelled = DiffusionPipeline.from_pretrained(snapshot_download(repo), trust_remote_code=True)
told["travelled"] = pixels(travelled).shape
told["module"] = type(travelled).__module__
"""


def told_by(script: str, tmp_path: Path, variables: dict[str, str], **environment: str) -> dict[str, Any]:
    """What a script puts into `told`, run in a fresh process."""
    given = "".join(f"{name} = {value!r}\n" for name, value in variables.items())
    done = run_alone(f"{PREAMBLE}{given}{script}\nprint(json.dumps(told))", tmp_path, **environment)
    return json.loads(done.stdout.splitlines()[-1])


def upload(pipeline: Any, repo: str, folder: Path, variant: str | None = None) -> str:
    """Save a pipeline and upload the folder in one commit."""
    pipeline.save_pretrained(folder, variant=variant)
    HfApi().create_repo(repo, exist_ok=True)
    HfApi().upload_folder(repo_id=repo, folder_path=folder)
    return repo


def tiny_depth_pipeline() -> DepthAutoencoderPipeline:
    torch.manual_seed(0)
    autoencoder = DepthAutoencoder(sample_size=32, latent_dim=16, block_out_channels=(8, 8, 16, 16))
    return DepthAutoencoderPipeline(autoencoder.eval(), {"min": 300.0, "max": 5000.0})


def test_without_echoform_pipelines_load_save_push_and_load_again_and_several_live_in_one_process(
    hub: Hub,
    make_pipeline: Callable[..., VQLDMDopplerPipeline],
    make_unet: Callable[..., DopplerUNet2DModel],
    tmp_path: Path,
):
    pipelines = {
        "first": make_pipeline(),
        "second": make_pipeline(unet=make_unet(block_out_channels=(16, 16))),
        "depth": tiny_depth_pipeline(),
    }
    repos = {name: upload(pipe, hub.repo_id(name), tmp_path / f"{name}-here") for name, pipe in pipelines.items()}
    repos["again"] = hub.repo_id("again")
    hub.write(repos["again"], "README.md", b"# Mine\n\nwritten by hand\n")
    told = told_by(UNINSTALLED + NO_TRUST + THREE_IN_ONE_PROCESS + PUSH_AGAIN, tmp_path, repos)
    assert "contains custom code" in told["without trust"]
    assert "Pass `trust_remote_code=True` to allow loading remote code modules." in told["without trust"]
    assert told["code that ran"] == []
    assert told["undisturbed"]
    assert told["pushed again"]
    assert told["saved again"]
    assert not told["echoform"]
    for name in ("first", "second"):
        seeded = torch.Generator().manual_seed(0)
        here = pipelines[name](["ID_10"], generator=seeded, num_inference_steps=2, output_type="np").images
        assert np.allclose(here, told[name], atol=1e-4)
    before, after = hub.files(repos["first"]), hub.files(repos["again"])
    assert {name: content for name, content in after.items() if name in before} == before
    # diffusers, which pushes there, may add metadata above a text.
    assert after["README.md"].endswith(b"# Mine\n\nwritten by hand\n")


def test_the_installed_class_loads_revisions_variants_and_dtypes_without_trust_and_offline(
    hub: Hub, make_pipeline: Callable[..., VQLDMDopplerPipeline], tmp_path: Path
):
    repo = upload(make_pipeline(), hub.repo_id("revisions"), tmp_path / "old")
    sha = hub.commits(repo)[0].sha
    HfApi().create_tag(repo, tag="v1")
    HfApi().create_branch(repo, branch="trial")
    new = make_pipeline(id2label={"0": "a", "1": "b", "2": "ID_10"})
    upload(new, repo, tmp_path / "new")
    for model in (new.unet, new.vqvae):
        model.half()
    upload(new, repo, tmp_path / "new", variant="fp16")
    hub.write(repo, "README.md", b"# Walkers")
    pickles, code = hub.repo_id("pickles"), hub.repo_id("code")
    for path, content in hub.files(repo).items():
        hub.write(pickles, path.replace(".safetensors", ".bin"), content)
        hub.write(code, path, b"raise SystemExit('this was run')" if path.endswith(".py") else content)

    variables = {"repo": repo, "sha": sha, "pickles": pickles, "code": code}
    told = told_by(INSTALLED + HOSTILE, tmp_path, variables)
    assert told["tag"] == told["branch"] == told["commit"] == ["ID_1", "ID_2", "ID_10"]
    assert told["main"] == ["a", "b", "ID_10"]
    assert told["classes"] == [
        "echoform.pipeline_vq_ldm_doppler.VQLDMDopplerPipeline",
        "echoform.unet_doppler.DopplerUNet2DModel",
        "diffusers.models.autoencoders.vq_model.VQModel",
    ]
    assert told["name"] == repo
    assert told["bfloat16"] == "torch.bfloat16"
    assert told["half"] == ["torch.float16", "torch.float16"]
    assert told["scheduler"] == "DDIMScheduler"
    assert told["files"] == ["diffusion_pytorch_model.fp16.safetensors"]
    assert 0 < told["difference"] < 0.02
    assert "variant=int8" in told["no variant"]
    assert "Could not find the necessary `safetensors` weights" in told["pickles"]
    assert told["code"]

    hub.requests.clear()
    told = told_by(OFFLINE, tmp_path, {"repo": repo}, HF_HUB_OFFLINE="1")
    assert told["installed"] == told["half"] == told["travelled"] == [1, 16, 16, 1]
    assert told["module"] == f"diffusers_modules.local.{travelling_stem(pipeline_vq_ldm_doppler)}"
    assert hub.requests == []
