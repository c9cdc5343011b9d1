"""`echoform add-user`: learn one more user for a trained pipeline or classifier from a few spectrograms."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from echoform_train.data.reading import ReadingConfig
from echoform_train.engine.errors import UserError
from echoform_train.engine.licences import check_licence
from echoform_train.engine.names import check_model_name
from echoform_train.engine.sources import is_hub_id, resolve_source

if TYPE_CHECKING:
    from echoform_train.latent_diffusion.added_user import LearnedUser
    from echoform_train.latent_diffusion.user_images import FirstStageFit
    from echoform_train.latent_diffusion.varied_images import VariedImages

FEW, MANY = 5, 1000
"""Fewest images that are learned from without a word, and most that are learned from at all."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Learn one more user; everybody whom the model knows already stays the same. Run again, it gives the same."""

    pipeline: tyro.conf.Positional[str]
    """Folder of an exported pipeline or of a classifier, or its id on the Hub."""
    data: tyro.conf.Positional[Path]
    """Folder of spectrograms of this one person, 5 to 50, in any subfolders."""
    output_dir: tyro.conf.Positional[Path]
    """New or empty folder: what was learned for a pipeline, to be loaded into it; or the classifier with one more
    user."""
    name: str
    """Name of the user."""
    rank: int = 8
    """Rank of the updates of linear layers, which act on images of this user alone; 0 learns the embedding alone."""
    max_train_images: int = 3000
    """Images seen in the training; 3,000 of 64x64 take about a minute."""
    train_batch_size: int = 16
    """Images per optimizer step."""
    learning_rate: float = 0.01
    """Peak learning rate of the updates; that of the embedding is five times as high."""
    seed: int = 0
    """Seed of the training; the same seed gives the same numbers on the same machine."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    base_model: str | None = None
    """Id on the Hub of the pipeline, if it was loaded from a folder; the card names it and `echoform verify` loads it.
    Default: the id that it was loaded from."""
    license: str | None = None
    """Licence in the card, by its identifier on the Hub, such as cc-by-4.0. Default: the card says that none is named;
    of a classifier, that of the classifier."""
    people: Literal["simulated", "recorded"] | None = None
    """Whether this person is simulated or recorded, for the card. Default: the card carries the same warning as for
    recorded people."""
    push_to_hub: str | None = None
    """Repository on the Hub, user/name, to push what was learned to."""
    private: bool = False
    """Make that repository private if it is new."""
    token: str | None = None
    """Token of the Hub. Default: HF_TOKEN, or the token that `hf auth login` stored."""
    reading: Annotated[ReadingConfig, tyro.conf.arg(name="")] = field(default_factory=ReadingConfig)


@dataclass(frozen=True)
class AddedUser:
    """Outputs of `echoform add-user`."""

    folder: Path
    """Folder of what was learned, or of the classifier with one more user."""
    user: str
    """Name of the user."""
    images: int
    """Number of images that were learned from."""
    seconds: float
    psnr_db: float | None = None
    """PSNR with which the first stage of the pipeline gives the images back; None for a classifier, and for a pipeline
    of pixels that loses nothing of them."""
    known_psnr_db: float | None = None
    """That of held-out images of the people whom it was trained on; None for a classifier, or if not known."""


def main(config: Config) -> AddedUser:
    """Learn the user, write the folder, and push it if the settings ask for that.

    Raises:
        FileNotFoundError: If there is no such pipeline or folder.
        UserError: If the name is taken, an image cannot be used, or the pipeline cannot learn users.
        PushError: If the push failed; the message says which command tries again.
    """
    from echoform_train.engine.output_folders import require_empty
    from echoform_train.publishing.exported import class_name
    from echoform_train.publishing.snapshot import download_model

    _check(config)
    require_empty(config.output_dir, "--output-dir")
    place = resolve_source(config.pipeline)
    folder = place if isinstance(place, Path) else download_model(place.repo, place.revision, config.token)
    if config.push_to_hub is not None:
        from echoform.hub import check_access

        check_access(config.push_to_hub, private=config.private or None, token=config.token)
    if class_name(folder) == "SpectrogramClassifier":
        from echoform_train.engine.files import FACTS
        from echoform_train.publishing.card import write_card
        from echoform_train.publishing.cards.common import hub_id_of_source
        from echoform_train.publishing.classifier_user import add_to_classifier

        added = add_to_classifier(folder, config.data, config.output_dir, config.name)
        base = config.base_model or hub_id_of_source(config.pipeline).get("base_model")
        if (config.output_dir / FACTS).is_file():
            write_card(config.output_dir, license=config.license, people=config.people, base_model=base)
        result = AddedUser(config.output_dir, config.name, added.images, added.seconds)
        print(added.summary(config.name))
    else:
        result = _add_to_pipeline(config, folder)
    print(f"wrote {config.output_dir}")
    if config.push_to_hub is not None:
        from echoform_train.publishing.push import push

        print(push(config.output_dir, config.push_to_hub, private=config.private, token=config.token))
    return result


def _check(config: Config) -> None:
    check_model_name(config.name, "user", "--name")
    if config.name != config.name.strip():
        raise UserError(f"--name must not begin or end with a space, got {config.name!r}")
    check_licence(config.license)
    for flag, value, low, high in (
        ("--rank", config.rank, 0, 64),
        ("--train-batch-size", config.train_batch_size, 1, 1024),
        ("--max-train-images", config.max_train_images, config.train_batch_size, 10_000_000),
        ("--learning-rate", config.learning_rate, 1e-8, 1),
        ("--seed", config.seed, 0, 2**63 - 1),
    ):
        if not low <= value <= high:
            raise UserError(f"{flag} must be in {low}..{high}, got {value}")
    if config.base_model is not None and not is_hub_id(config.base_model):
        raise UserError(f"--base-model must be user/name on the Hub, got {config.base_model!r}")
    if config.private and config.push_to_hub is None:
        raise UserError("--private is for the Hub: it must go with --push-to-hub")


def _add_to_pipeline(config: Config, folder: Path) -> AddedUser:
    import time

    import torch

    from echoform import VQLDMDopplerPipeline
    from echoform_train.engine.files import FACTS
    from echoform_train.engine.json_files import read_json_object
    from echoform_train.engine.names import composed
    from echoform_train.engine.output_folders import new_folder
    from echoform_train.latent_diffusion.added_user import LearningSettings, learn_user
    from echoform_train.latent_diffusion.user_images import encode_images, first_stage_fit, read_user_images
    from echoform_train.publishing.added_user import base_name, write_added_user
    from echoform_train.publishing.exported import load_pipeline

    started, name = time.monotonic(), composed(config.name)
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device must be auto or cpu: this machine has no GPU that torch can use")
    pipeline: Any = load_pipeline(folder, VQLDMDopplerPipeline, dtype=torch.float32)
    if name in {composed(known) for known in pipeline.id2label.values()}:
        raise UserError(f"--name must be that of a new user, the pipeline knows {name} already")
    pipeline_facts = read_json_object(folder / FACTS) if (folder / FACTS).is_file() else {}
    if "distilled" in pipeline_facts:
        raise UserError(f"a user cannot be added to a distilled pipeline, {config.pipeline}: add it to its teacher")
    # The images become latents as those of the training did.
    images, conditions = read_user_images(config.data, pipeline, config.reading)
    for note in (*images.notes, *conditions.notes):
        print(note)
    if not 1 <= len(images.files) <= MANY:
        raise UserError(f"a user is learned from at most {MANY} images, {config.data} holds {len(images.files)}")
    if len(images.files) < FEW:
        print(f"only {len(images.files)} images: what they do not show is not learned; 5 to 50 are meant")
    device = "cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu"
    pipeline.to(device)
    latents = encode_images(pipeline, images, conditions.ids)
    fit = first_stage_fit(pipeline, images, latents, pipeline_facts)
    print(fit.summary())
    settings = LearningSettings(
        rank=config.rank,
        max_train_images=config.max_train_images,
        train_batch_size=config.train_batch_size,
        embedding_rate=5 * config.learning_rate,
        low_rank_rate=config.learning_rate,
        condition_dropout=0.1,
        seed=config.seed,
    )
    learned = learn_user(pipeline, latents, settings)
    seconds = time.monotonic() - started
    base = config.base_model or base_name(config.pipeline)
    pipeline.to("cpu")
    with new_folder(config.output_dir, "--output-dir") as written:
        said = {"license": config.license, "people": config.people}
        card = {name: value for name, value in said.items() if value is not None}
        facts = _facts(config, images, conditions.labels, learned, fit, seconds) | ({"card": card} if card else {})
        write_added_user(written, pipeline, name, learned.tensors, facts, base)
    print(
        f"{name}: {len(images.files)} images, {learned.parameters:,} numbers, loss {learned.loss_before:.4f} with the "
        f"mean of all users, {learned.loss:.4f} now, {seconds:.0f} s"
    )
    return AddedUser(config.output_dir, name, len(images.files), seconds, fit.psnr_db, fit.known_psnr_db)


def _facts(
    config: Config,
    images: VariedImages,
    conditions: dict[str, list[str]],
    learned: LearnedUser,
    fit: FirstStageFit,
    seconds: float,
) -> dict[str, Any]:
    from echoform_train.engine.provenance import provenance
    from echoform_train.engine.resolution import resolution_of
    from echoform_train.latent_diffusion.user_images import pixel_hash

    return {
        "kind": "added user",
        "seed": config.seed,
        "added_user": {
            "rank": config.rank,
            "loss_before": learned.loss_before,
            "loss": learned.loss,
            "learning_rate": config.learning_rate,
            "psnr_db": fit.psnr_db,
            "known_psnr_db": fit.known_psnr_db,
            "draws_pixels": fit.draws_pixels,
        },
        "learned_pixels": [pixel_hash(pixels) for pixels in images.pixels],
        "data": {
            "source": str(config.data),
            "resolution": resolution_of(*images.pixels.shape[-2:]),
            "channels": images.pixels.shape[1],
            "colormap": images.colormap,
            "colormap_residual": images.residual,
            "reading": images.reading,
            "users": [config.name],
            "conditions": conditions,
            "images": {"train": len(images.files)},
            "split": "all images",
            "images_sha256": images.sha256,
            "images_per_user": {config.name: len(images.files)},
        },
        "parameters": learned.parameters,
        "images_seen": learned.images_seen,
        "seconds": seconds,
        **provenance(),
    }
