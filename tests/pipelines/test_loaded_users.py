"""Users that are loaded into a pipeline: they change nobody else, and only their own pipeline takes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from echoform import VQLDMDopplerPipeline
from hub_server import Hub
from tiny_doppler import DTYPES, LAYERS, tiny_kl, tiny_pipeline, tiny_unet, user_folder
from without_echoform import UNINSTALLED, run_alone


def latents(pipeline: VQLDMDopplerPipeline, users: list[Any], **settings: Any) -> torch.Tensor:
    """Latents of one image per user, each from a seed of its place."""
    generators = [torch.Generator().manual_seed(place) for place in range(len(users))]
    settings = {"num_inference_steps": 2, "output_type": "latent"} | settings
    return pipeline(users, generator=generators, **settings).images


@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_known_users_stay_the_same_bit_for_bit_alone_and_beside_a_loaded_one(tmp_path: Path, guidance_scale: float):
    pipeline = tiny_pipeline()
    before = latents(pipeline, ["ID_1", "ID_2", "ID_10"], guidance_scale=guidance_scale)
    pipeline.load_user(user_folder(tmp_path / "a", pipeline))
    pipeline.load_user(user_folder(tmp_path / "b", pipeline, "anna"))
    assert latents(pipeline, ["ID_1", "ID_2", "ID_10"], guidance_scale=guidance_scale).equal(before)
    mixed = latents(pipeline, ["ID_1", "ID_32", "ID_10"], guidance_scale=guidance_scale)
    assert mixed[0].equal(before[0]) and mixed[2].equal(before[2]) and not mixed[1].allclose(before[1], atol=0.1)
    # Each loaded user is the same whoever is in the batch, and nothing of it stays in the network.
    alone = latents(pipeline, ["anna", "ID_32"], guidance_scale=guidance_scale)[1]
    assert torch.allclose(alone, mixed[1], atol=1e-4)
    pipeline.unload_user("ID_32")
    pipeline.unload_user("anna")
    assert latents(pipeline, ["ID_1", "ID_2", "ID_10"], guidance_scale=guidance_scale).equal(before)


def test_a_loaded_user_is_what_weights_with_the_product_added_make(tmp_path: Path):
    pipeline = tiny_pipeline()
    tensors = load_file(user_folder(tmp_path / "a", pipeline) / "user.safetensors")
    assert pipeline.load_user(tmp_path / "a" / "user.safetensors") == "ID_32"
    loaded = latents(pipeline, ["ID_32"], guidance_scale=1.0)
    changed = tiny_pipeline()
    with torch.no_grad():
        changed.unet.user_embedding.weight[0] = tensors["embedding"]
        for layer in LAYERS:
            changed.unet.get_submodule(layer).weight += tensors[f"{layer}.up"] @ tensors[f"{layer}.down"]
    assert torch.allclose(loaded, latents(changed, ["ID_1"], guidance_scale=1.0), atol=1e-4)


@pytest.mark.parametrize(
    "settings", [{"vqvae": tiny_kl}, {"unet": lambda: tiny_unet(conditioning="cross-attention")}], ids=["kl", "cross"]
)
def test_pipelines_of_every_kind_load_users(tmp_path: Path, settings: dict[str, Callable[[], Any]]):
    pipeline = tiny_pipeline(**{name: make() for name, make in settings.items()})
    before = latents(pipeline, ["ID_1", "ID_2"])
    pipeline.load_user(user_folder(tmp_path / "a", pipeline))
    mixed = latents(pipeline, ["ID_1", "ID_32"])
    assert mixed[0].equal(before[0]) and not mixed[1].allclose(before[1], atol=0.01)


def test_names_and_ids_of_loaded_users_are_known(tmp_path: Path):
    pipeline = tiny_pipeline()
    for user in ("ID_32", "J\u00f6rg"):
        pipeline.load_user(user_folder(tmp_path / user, pipeline, user))
    assert pipeline.id2label == {"0": "ID_1", "1": "ID_2", "2": "ID_10", "3": "ID_32", "4": "J\u00f6rg"}
    assert latents(pipeline, [4]).equal(latents(pipeline, ["Jo\u0308rg"]))
    with pytest.raises(ValueError, match="users must be among ID_1, ID_2, ID_10, ID_32"):
        latents(pipeline, ["ID_33"])
    with pytest.raises(ValueError, match="users must have different names, this pipeline has a Jo"):
        pipeline.load_user(user_folder(tmp_path / "again", pipeline, "Jo\u0308rg"))
    with pytest.raises(ValueError, match="only loaded users can be unloaded"):
        pipeline.unload_user("ID_1")
    pipeline.unload_user("Jo\u0308rg")
    assert "4" not in pipeline.id2label


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_base_is_known_again_in_every_type_of_weights(tmp_path: Path, dtype: torch.dtype):
    pipeline = tiny_pipeline()
    folder = user_folder(tmp_path / "a", pipeline)
    pipeline.save_pretrained(tmp_path / "pipeline")
    assert VQLDMDopplerPipeline.from_pretrained(tmp_path / "pipeline", dtype=dtype).load_user(folder) == "ID_32"


def _drop(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[f"{LAYERS[0]}.up"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda tensors: tensors["embedding"].fill_(torch.nan), "must be finite numbers, embedding"),
        (lambda tensors: tensors.update(embedding=torch.zeros(3)), "must fit the network, embedding does not"),
        (_drop, "must fit the network, middle.0.attention.to_qkv.up does not"),
        (lambda tensors: tensors.update({"conv_in.up": torch.zeros(1)}), "must fit the network, conv_in.up does not"),
        (lambda tensors: tensors.update({f"{LAYERS[0]}.down": torch.tensor(1.0)}), "must fit the network"),
    ],
)
def test_tensors_that_are_none_of_a_user_are_refused(tmp_path: Path, spoil: Callable[[Any], Any], message: str):
    pipeline = tiny_pipeline()
    path = user_folder(tmp_path / "a", pipeline) / "user.safetensors"
    tensors = load_file(path)
    spoil(tensors)
    save_file(tensors, path)
    with pytest.raises(ValueError, match=message):
        pipeline.load_user(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": {}}, "was learned for walkers, this is another pipeline"),
        ({"base": {"torch.float32": "0" * 64}}, "was learned for walkers, this is another pipeline"),
        ({"axes": {"db_min": -40.0, "db_max": 0.0}}, "was learned with axes .*-40.0.*, this pipeline has .*-50.0"),
        ({"user": "../up"}, "a name that a folder of images can have"),
        ({"user": 7}, "must be text, got 7"),
        ({"base_model": None, "base": None}, "this is another pipeline"),
    ],
)
def test_users_of_other_pipelines_are_refused_in_one_sentence(tmp_path: Path, changes: dict[str, Any], message: str):
    pipeline = tiny_pipeline()
    with pytest.raises(ValueError, match=message):
        pipeline.load_user(user_folder(tmp_path / "a", pipeline, **changes))
    assert len(pipeline.id2label) == 3


def test_another_training_or_other_statistics_are_another_base(tmp_path: Path):
    folder = user_folder(tmp_path / "a", tiny_pipeline())
    tuned = tiny_pipeline()
    with torch.no_grad():
        tuned.unet.conv_out.bias[0] += 1e-3
    for other in (tuned, tiny_pipeline(latent_mean=dict.fromkeys("0123", 0.0))):
        with pytest.raises(ValueError, match="this is another pipeline"):
            other.load_user(folder)


def test_a_pipeline_with_loaded_users_is_not_saved(tmp_path: Path):
    pipeline = tiny_pipeline()
    pipeline.load_user(user_folder(tmp_path / "a", pipeline))
    with pytest.raises(ValueError, match="unload_user must come first for ID_32"):
        pipeline.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
    pipeline.unload_user("ID_32")
    pipeline.save_pretrained(tmp_path / "saved")


def test_a_printed_pipeline_shows_no_colours():
    assert len(repr(tiny_pipeline())) < 1500 and '"rgb_hex": "256 colours"' in repr(tiny_pipeline())


WITHOUT_ECHOFORM = """
import torch
from diffusers import DiffusionPipeline
pipe = DiffusionPipeline.from_pretrained(base, trust_remote_code=True)
pipe.set_progress_bar_config(disable=True)
name = pipe.load_user(user)
generators = [torch.Generator().manual_seed(place) for place in range(2)]
made = pipe(["ID_1", name], generator=generators, num_inference_steps=2, output_type="latent").images
torch.save(made, "made.pt")
"""


def test_without_echoform_a_user_on_the_hub_is_loaded_and_is_the_same(hub: Hub, tmp_path: Path):
    pipeline = tiny_pipeline()
    folders = {"base": tmp_path / "base", "user": user_folder(tmp_path / "user", pipeline)}
    pipeline.save_pretrained(folders["base"])
    repos = {name: hub.repo_id(name) for name in folders}
    for name, folder in folders.items():
        for path in (path for path in folder.rglob("*") if path.is_file()):
            hub.write(repos[name], path.relative_to(folder).as_posix(), path.read_bytes())
    given = "".join(f"{name} = {repo!r}\n" for name, repo in repos.items())
    run_alone(UNINSTALLED + given + WITHOUT_ECHOFORM, tmp_path)
    pipeline.load_user(repos["user"])
    assert torch.load(tmp_path / "made.pt").equal(latents(pipeline, ["ID_1", "ID_32"]))
