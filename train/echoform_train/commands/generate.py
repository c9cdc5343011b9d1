"""`echoform generate`: generate spectrograms of chosen users with an exported pipeline, and write them as files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import tyro

import echoform
from echoform_train.data.colormap import FigureColormap
from echoform_train.data.reading import ReadingConfig
from echoform_train.engine.errors import UserError, refused_by
from echoform_train.engine.files import ADDED_USERS, AXES, METADATA, SETTINGS, TRAINED_ON
from echoform_train.engine.json_files import write_json
from echoform_train.engine.names import check_name, check_names, composed
from echoform_train.engine.output_folders import continue_folder
from echoform_train.engine.seeds import mix_seed
from echoform_train.engine.shown import ShownAsTable
from echoform_train.latent_diffusion.generated_folder import GeneratedFolder, PlannedImage
from echoform_train.latent_diffusion.sampling_limits import check_sampling

if TYPE_CHECKING:
    from accelerate import Accelerator

    from echoform_train.latent_diffusion.varied_images import VariedImages

MOST_IMAGES = 1_000_000
"""Most images per user."""
SAME_IN_A_FOLDER = ("seed", "conditions", "guidance_scale", "num_inference_steps", "dtype", "trust_remote_code")
"""Settings that all images of one output folder share, as well as the pipeline."""
MOST_SHOWN = 6
"""Most users whose names are printed."""
NUM_IMAGES, NUM_STEPS = 16, 8
"""Images of a user, and images on the way from one user to another, if --num-images does not say."""
STRENGTH = 0.6
"""How far variations go from their image, if --strength does not say."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Generate spectrograms; started again with the same flags, it goes on where it stopped."""

    pipeline: str
    """Folder of an exported pipeline, or its id on the Hub."""
    output_dir: Path
    """Folder for the images, metadata.jsonl and settings.json; new, empty, or begun with the same settings."""
    users: tuple[str, ...] = ()
    """Names of the users. Default: all."""
    user_file: tuple[str, ...] = ()
    """Users that `echoform add-user` learned for this pipeline: folders, or user/name on the Hub."""
    num_images: int | None = None
    """Images per user. Default: 16; with --image FOLDER one per image of it; with --interpolate 8, both ends among
    them."""
    conditions: tuple[str, ...] = ()
    """Conditions such as direction=towards, or direction=towards,away to alternate. Default: chosen by the model."""
    seed: int = 0
    """With the same seed, image k of a user is the same, however many users and images are generated."""
    image: Path | None = None
    """Make variations of this spectrogram (or of each in a folder, in turns) instead of images from noise alone. Its
    colour map, axes and shape must be those of the pipeline."""
    strength: float | None = None
    """How far variations go from --image, above 0; 1 keeps nothing of it. Default: 0.6."""
    interpolate: tuple[str, str] | None = None
    """Two users: images on the way from the first to the second in equal steps, all from one noise."""
    save_db: bool = False
    """Also write the decibels of each image beside it, float32 [Doppler, time] in .npy, the lowest Doppler first, and
    axes.json; `--read arrays` of other commands takes them."""
    guidance_scale: float | None = None
    """Strength of the guidance towards the user; 1 is none. Default: that of the pipeline, usually 1.5."""
    num_inference_steps: int | None = None
    """Denoising steps. Default: that of the pipeline, usually 8."""
    batch_size: int = 16
    """Images per forward pass."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the weights."""
    grid: bool = False
    """Also write grid.png: the first images of each user, one row per user, with axes, seeds and a bar in dB."""
    figure_format: Literal["png", "svg", "pdf"] = "png"
    """File format of the grid; svg and pdf are for papers."""
    figure_colormap: FigureColormap | None = None
    """Colour map of the grid only, such as viridis. Default: that of the images."""
    trust_remote_code: bool = False
    """Run the code of the repository instead of the installed echoform."""
    reading: Annotated[ReadingConfig, tyro.conf.arg(name="")] = field(default_factory=ReadingConfig)


@dataclass(frozen=True, repr=False)
class GenerationResult(ShownAsTable):
    """Outputs of `echoform generate`."""

    folder: Path
    """Folder of the images and metadata.jsonl."""
    rows: list[dict[str, Any]]
    """One row of metadata.jsonl per image: file_name, user, index, seed, image_seed, origin and the conditions; of a
    variation also recording (the image that was varied) and strength, between two users also share, 0..1."""


def main(config: Config) -> GenerationResult:
    """Generate the images that are not in the output folder yet; the processes of `accelerate launch` share the work.

    Raises:
        FileNotFoundError: If the folder holds no pipeline.
        ValueError: If the pipeline does not know a user or condition, or the output folder was begun with another
            pipeline or other settings, or holds files of somebody else.
    """
    import torch
    from accelerate import Accelerator

    from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
    from echoform_train.latent_diffusion.sampling import load_pipeline
    from echoform_train.publishing.added_user import learned_pixels, load_added_users
    from echoform_train.publishing.exported import find_pipeline

    _check(config)
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device must be auto or cpu: this machine has no GPU that torch can use")
    state = Accelerator(cpu=config.device == "cpu")
    source = find_pipeline(config.pipeline, VQLDMDopplerPipeline)
    pipeline = load_pipeline(str(source), getattr(torch, config.dtype), config.trust_remote_code).to(state.device)
    pipeline.set_progress_bar_config(disable=True)
    added = load_added_users(pipeline, config.user_file)
    if config.save_db:
        _check_decibels(pipeline, config.pipeline)
    varied = None if config.image is None else _read_image(config, pipeline, source, state.is_main_process)
    config = _with_defaults(config, pipeline, varied)
    images = plan(pipeline, config, varied, tuple(added))
    folder = GeneratedFolder(config.output_dir, images, save_db=config.save_db)

    # The main process checks the folder and merges the rows of an earlier run before the others read it.
    if state.is_main_process:
        continue_folder(config.output_dir, _shared_settings(config, source, varied, added), "--output-dir")
        folder.merge_metadata()
        if added:
            write_json(config.output_dir / ADDED_USERS, {user: learned_pixels(each) for user, each in added.items()})
        if config.save_db:
            write_json(config.output_dir / AXES, pipeline.config["axes"])
    state.wait_for_everyone()
    missing = folder.missing()
    with state.split_between_processes(missing) as mine:
        _generate(pipeline, cast(list[PlannedImage], mine), varied, folder, config, state)
    state.wait_for_everyone()
    if state.is_main_process:
        folder.merge_metadata()
        _tell(config, images, len(missing))
        if config.grid:
            path = folder.save_grid(
                pipeline.config["axes"],
                pipeline.config["colormap"],
                figure_colormap=config.figure_colormap,
                file_format=config.figure_format,
            )
            print(f"wrote {path}")
    return GenerationResult(config.output_dir, [image.row() for image in images])


def plan(
    pipeline: Any, config: Config, varied: VariedImages | None = None, added: Sequence[str] = ()
) -> list[PlannedImage]:
    """All images of the settings, user by user.

    Args:
        pipeline: The pipeline.
        config: The settings, with numbers for all that they leave to the pipeline.
        varied: The images of --image.
        added: Users that were loaded into the pipeline.

    Raises:
        ValueError: If the pipeline does not know a user or condition, or a condition is not written as name=value.
    """
    known = check_names(list(pipeline.config["id2label"].values()), "user", config.pipeline)
    # The seeds of an added user depend on the name alone, whichever others are loaded.
    ids = {name: index for index, name in enumerate(known)} | {name: _id_of_name(name) for name in added}
    known = known if config.interpolate else list(ids)
    users = tuple(dict.fromkeys(map(composed, config.interpolate or config.users))) or tuple(known)
    flag = "--users" if config.interpolate is None else "--interpolate"
    if unknown := [user for user in users if user not in known]:
        raise UserError(f"{flag} must be among {', '.join(known)}, got {', '.join(unknown)}")
    choices = _choices(pipeline, config.conditions)
    count = NUM_IMAGES if config.num_images is None else config.num_images
    if config.interpolate is not None:
        return _plan_way(known, users, count, choices, config.seed)
    images = []
    for user in users:
        for index in range(count):
            conditions = {name: labels[index % len(labels)] for name, labels in choices.items()}
            # The seed depends on user and index only, so that an image is the same whatever else is generated.
            image_seed = mix_seed(config.seed, ids[user], index)
            image = PlannedImage(user, index, config.seed, image_seed, conditions)
            if varied is not None:
                source = index % len(varied.names)
                # A split keeps images of one recording together, so that a variation never tests what was trained on.
                facts = {"recording": varied.names[source], "strength": config.strength}
                image = replace(image, source=source, facts=facts)
            images.append(image)
    return images


def _choices(pipeline: Any, conditions: Sequence[str]) -> dict[str, list[str]]:
    """Labels that take turns, by condition."""
    choices = dict(_parse_condition(composed(text)) for text in conditions)
    for name, labels in choices.items():
        condition_labels = pipeline.config["condition_labels"] or {}
        names = {each: [composed(label) for label in values.values()] for each, values in condition_labels.items()}
        if name not in names:
            known_names = ", ".join(sorted(names)) or "none"
            raise UserError(f"--conditions must be among {known_names}, got {name}")
        if unknown := [label for label in labels if label not in names[name]]:
            raise UserError(f"--conditions {name}= must be among {', '.join(names[name])}, got {', '.join(unknown)}")
    return choices


def _plan_way(
    known: Sequence[str], ends: Sequence[str], count: int, choices: dict[str, list[str]], seed: int
) -> list[PlannedImage]:
    """Images in equal steps from one user to another, from the noise of the first image of the first one."""
    if len(ends) != 2:
        raise UserError(f"--interpolate must name two different users, got {ends[0]} twice")
    if several := [name for name, labels in choices.items() if len(labels) > 1]:
        raise UserError(f"--interpolate takes one value of each condition, got {', '.join(choices[several[0]])}")
    user, image_seed = check_name(" to ".join(ends), "user", "--interpolate"), mix_seed(seed, known.index(ends[0]), 0)
    if user in known:
        raise UserError(f"--interpolate writes a folder {user!r}, which is the name of a user of the pipeline")
    conditions = {name: labels[0] for name, labels in choices.items()}
    shares = [index / (count - 1) for index in range(count)]
    return [
        PlannedImage(user, index, seed, image_seed, conditions, share=share, facts={"share": round(share, 6)})
        for index, share in enumerate(shares)
    ]


def _check(config: Config) -> None:
    """Refuse flags that are out of range, or that contradict one another."""
    least = 1 if config.interpolate is None else 2
    for flag, value, low in (("--num-images", config.num_images, least), ("--batch-size", config.batch_size, 1)):
        if value is not None and not low <= value <= MOST_IMAGES:
            raise UserError(f"{flag} must be in {low}..{MOST_IMAGES}, got {value}")
    if not config.grid and (config.figure_format != "png" or config.figure_colormap is not None):
        raise UserError("--figure-format and --figure-colormap are for the figure of --grid, which is missing")
    if config.interpolate is not None and config.users:
        raise UserError("--interpolate names its two users itself, it cannot go with --users")
    if config.interpolate is not None and config.image is not None:
        raise UserError("--image makes variations and --interpolate goes from one user to another: give one of them")
    if config.image is None:
        if config.strength is not None:
            raise UserError("--strength is for variations of --image, which is missing")
        config.reading.only_pictures("images that are made from noise; they tell how --image is read")
    elif config.strength is not None and not 0 < config.strength <= 1:
        raise UserError(f"--strength must be above 0 and at most 1, got {config.strength}")


def _check_decibels(pipeline: Any, source: str) -> None:
    axes, channels = pipeline.config["axes"] or {}, pipeline.vqvae.config.out_channels
    if not {"db_min", "db_max"} <= axes.keys():
        raise UserError(f"--save-db needs a pipeline whose axes hold db_min and db_max, those of {source} do not")
    if channels != 1:
        raise UserError(f"--save-db needs a pipeline of one channel, {source} makes images of {channels}")


def _read_image(config: Config, pipeline: Any, source: Path, is_main: bool) -> VariedImages:
    """Read --image, and tell what was found."""
    from echoform_train.latent_diffusion.varied_images import read_varied_images
    from echoform_train.publishing.exported import training_data_of

    assert config.image is not None
    trained_on = training_data_of(source) or {}
    residual = trained_on.get("colormap_residual")
    usual = float(residual) if isinstance(residual, int | float) and 0 <= residual <= 255 else 0.0
    varied = read_varied_images(config.image, pipeline, config.reading, usual)
    theirs = trained_on.get("reading", "")
    if is_main:
        count = f"{len(varied.names)} image{'s' if len(varied.names) > 1 else ''} to vary"
        print("\n".join([f"{config.image}: {count}", *varied.notes]))
        if theirs != varied.reading:
            print(
                f"Note: the pipeline was trained on images that were read with {theirs or 'no crop'}, these are read "
                f"with {varied.reading or 'no crop'}"
            )
    return varied


def _with_defaults(config: Config, pipeline: Any, varied: VariedImages | None) -> Config:
    """Fill in the guidance scale and the steps of the pipeline, and other numbers, where the user chose none."""
    steps, guidance = config.num_inference_steps, config.guidance_scale
    steps = pipeline.config.get("num_inference_steps", 8) if steps is None else steps
    guidance = pipeline.config.get("guidance_scale", 1.5) if guidance is None else guidance
    check_sampling(steps, guidance)
    is_folder = config.image is not None and config.image.is_dir()
    count = len(varied.names) if varied is not None and is_folder else NUM_IMAGES
    count = count if config.interpolate is None else NUM_STEPS
    return replace(
        config,
        num_inference_steps=steps,
        guidance_scale=guidance,
        num_images=count if config.num_images is None else config.num_images,
        strength=STRENGTH if config.image is not None and config.strength is None else config.strength,
    )


def _shared_settings(
    config: Config, pipeline: Path, varied: VariedImages | None, added: Mapping[str, Path]
) -> dict[str, Any]:
    """What all images of the output folder share, by flag."""
    from echoform_train.publishing.exported import training_data_of
    from echoform_train.publishing.identity import model_identity

    flags = {f"--{name.replace('_', '-')}": getattr(config, name) for name in SAME_IN_A_FOLDER}
    if varied is not None:
        flags |= {"--image": varied.sha256, "--strength": config.strength}
        flags |= {"how --image is read": varied.reading} if varied.reading else {}
    if config.interpolate is not None:  # another number of steps moves them all
        flags |= {"--interpolate": config.interpolate, "--num-images": config.num_images}
    flags |= {"--save-db": True} if config.save_db else {}
    flags |= {f"--user-file {user}": model_identity(folder) for user, folder in sorted(added.items())}
    trained_on = training_data_of(pipeline) or {}
    return {
        "--pipeline": model_identity(pipeline),
        **flags,
        "version of echoform": echoform.__version__,
        # By these, scores refuse real images of another split; names of images stay out of the folder.
        TRAINED_ON: {name: trained_on.get(name) for name in ("split_sha256", "images_sha256")}
        | ({"reading": trained_on["reading"]} if trained_on.get("reading") else {}),
    }


def _id_of_name(name: str) -> int:
    return int.from_bytes(hashlib.sha256(composed(name).encode()).digest()[:4], "big")


def _parse_condition(text: str) -> tuple[str, list[str]]:
    name, equals, labels = text.partition("=")
    if not (name and equals and labels):
        raise UserError(f"a condition is written name=value or name=value,value, got {text!r}")
    return name, labels.split(",")


def _generate(
    pipeline: Any,
    images: Sequence[PlannedImage],
    varied: VariedImages | None,
    folder: GeneratedFolder,
    config: Config,
    state: Accelerator,
) -> None:
    """Generate this process's images in batches and write each batch to the folder."""
    import torch
    from tqdm.auto import tqdm

    from echoform_train.latent_diffusion.sampling import check_finite, refuse_not_finite

    with tqdm(total=len(images), unit="image", delay=2, disable=not state.is_local_main_process) as bar:
        for start in range(0, len(images), config.batch_size):
            batch = images[start : start + config.batch_size]
            conditions = {name: [image.conditions[name] for image in batch] for name in batch[0].conditions}
            source: dict[str, Any] = {}
            if varied is not None:
                sources = [varied.image(cast(int, image.source)) for image in batch]
                source = {"image": sources, "strength": config.strength}
            with refused_by(f"{config.pipeline} cannot generate this"):
                pixels = pipeline(
                    **_users_of(pipeline, batch, config),
                    **source,
                    conditions=conditions or None,
                    guidance_scale=config.guidance_scale,
                    num_inference_steps=config.num_inference_steps,
                    generator=[torch.Generator().manual_seed(image.image_seed) for image in batch],
                    batch_size=config.batch_size,
                    callback_on_step_end=refuse_not_finite,
                    output_type="pt",
                ).images
            check_finite(pixels, "images")
            decibels = pipeline.postprocess(pixels, "db") if config.save_db else None
            folder.add(batch, pipeline.postprocess(pixels, "pil"), state.process_index, decibels)
            bar.update(len(batch))


def _users_of(pipeline: Any, batch: Sequence[PlannedImage], config: Config) -> dict[str, Any]:
    """The argument of the pipeline that says who walks in each image of a batch."""
    import torch

    if config.interpolate is None:
        return {"users": [image.user for image in batch]}
    ids = {composed(name): int(key) for key, name in pipeline.config["id2label"].items()}
    ends = torch.tensor([ids[composed(user)] for user in config.interpolate], device=pipeline.device)
    with torch.no_grad():
        first, last = pipeline.unet.embed_users(ends)
        shares = torch.tensor([image.share for image in batch], device=first.device)
        return {"user_embeds": pipeline.unet.mix_users(first, last, shares)}


def _tell(config: Config, images: Sequence[PlannedImage], written: int) -> None:
    """Say what was written, and where."""
    users = list(dict.fromkeys(image.user for image in images))
    shown = ", ".join(users) if len(users) <= MOST_SHOWN else f"{users[0]} to {users[-1]}"
    of_users = f" of {shown}" if len(users) == 1 else f", {len(images) // len(users)} for each of {shown},"
    there = f", {len(images) - written} were there" if written < len(images) else ""
    print(f"wrote {written} spectrograms{of_users} to {config.output_dir}{there}")
    beside = f", decibels as .npy beside each image, {AXES}" if config.save_db else ""
    print(f"beside them: {METADATA} with one line per image, {SETTINGS}{beside}")
