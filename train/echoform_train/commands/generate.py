"""`echoform generate`: generate spectrograms of chosen users with an exported pipeline, and write them as files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import echoform
from echoform_train.data.colormap import FigureColormap
from echoform_train.engine.errors import UserError, refused_by
from echoform_train.engine.files import TRAINED_ON
from echoform_train.engine.names import check_names, composed
from echoform_train.engine.output_folders import continue_folder
from echoform_train.engine.seeds import mix_seed
from echoform_train.latent_diffusion.generated_folder import GeneratedFolder, PlannedImage
from echoform_train.latent_diffusion.sampling_limits import check_sampling

if TYPE_CHECKING:
    from accelerate import Accelerator

MOST_IMAGES = 1_000_000
"""Most images per user."""
SAME_IN_A_FOLDER = ("seed", "conditions", "guidance_scale", "num_inference_steps", "dtype", "trust_remote_code")
"""Settings that all images of one output folder share, as well as the pipeline."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Generate spectrograms; started again with the same flags, it goes on where it stopped."""

    pipeline: str
    """Folder of an exported pipeline, or its id on the Hub."""
    output_dir: Path
    """Folder for the images, metadata.jsonl and settings.json; new, empty, or begun with the same settings."""
    users: tuple[str, ...] = ()
    """Names of the users. Default: all."""
    num_images: int = 16
    """Images per user."""
    conditions: tuple[str, ...] = ()
    """Conditions such as direction=towards, or direction=towards,away to alternate. Default: chosen by the model."""
    seed: int = 0
    """With the same seed, image k of a user is the same, however many users and images are generated."""
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


@dataclass(frozen=True)
class GenerationResult:
    """Outputs of `echoform generate`."""

    folder: Path
    """Folder of the images and metadata.jsonl."""
    rows: list[dict[str, Any]]
    """One row of metadata.jsonl per image: file_name, user, index, seed, image_seed, origin and the conditions."""


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
    from echoform_train.publishing.exported import find_pipeline

    for flag, value in (("--num-images", config.num_images), ("--batch-size", config.batch_size)):
        if not 1 <= value <= MOST_IMAGES:
            raise UserError(f"{flag} must be in 1..{MOST_IMAGES}, got {value}")
    if not config.grid and (config.figure_format != "png" or config.figure_colormap is not None):
        raise UserError("--figure-format and --figure-colormap are for the figure of --grid, which is missing")
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device must be auto or cpu: this machine has no GPU that torch can use")
    state = Accelerator(cpu=config.device == "cpu")
    source = find_pipeline(config.pipeline, VQLDMDopplerPipeline)
    pipeline = load_pipeline(str(source), getattr(torch, config.dtype), config.trust_remote_code).to(state.device)
    pipeline.set_progress_bar_config(disable=True)
    config = _with_defaults(config, pipeline)
    images = plan(pipeline, config)
    folder = GeneratedFolder(config.output_dir, images)

    # The main process checks the folder and merges the rows of an earlier run before the others read it.
    if state.is_main_process:
        continue_folder(config.output_dir, _shared_settings(config, source), "--output-dir")
        folder.merge_metadata()
    state.wait_for_everyone()
    missing = folder.missing()
    with state.split_between_processes(missing) as mine:
        _generate(pipeline, cast(list[PlannedImage], mine), folder, config, state)
    state.wait_for_everyone()
    if state.is_main_process:
        folder.merge_metadata()
        there = f", {len(images) - len(missing)} were there" if len(missing) < len(images) else ""
        print(f"wrote {len(missing)} spectrograms to {config.output_dir}{there}")
        if config.grid:
            path = folder.save_grid(
                pipeline.config["axes"],
                pipeline.config["colormap"],
                figure_colormap=config.figure_colormap,
                file_format=config.figure_format,
            )
            print(f"wrote {path}")
    return GenerationResult(config.output_dir, [image.row() for image in images])


def plan(pipeline: Any, config: Config) -> list[PlannedImage]:
    """All images of the settings, user by user.

    Raises:
        ValueError: If the pipeline does not know a user or condition, or a condition is not written as name=value.
    """
    known = check_names(list(pipeline.config["id2label"].values()), "user", config.pipeline)
    users = tuple(dict.fromkeys(map(composed, config.users))) or tuple(known)
    if unknown := [user for user in users if user not in known]:
        raise UserError(f"--users must be among {', '.join(known)}, got {', '.join(unknown)}")
    choices = dict(_parse_condition(composed(text)) for text in config.conditions)
    for name, labels in choices.items():
        condition_labels = pipeline.config["condition_labels"] or {}
        names = {each: [composed(label) for label in values.values()] for each, values in condition_labels.items()}
        if name not in names:
            known_names = ", ".join(sorted(names)) or "none"
            raise UserError(f"--conditions must be among {known_names}, got {name}")
        if unknown := [label for label in labels if label not in names[name]]:
            raise UserError(f"--conditions {name}= must be among {', '.join(names[name])}, got {', '.join(unknown)}")
    images = []
    for user in users:
        for index in range(config.num_images):
            conditions = {name: labels[index % len(labels)] for name, labels in choices.items()}
            # The seed depends on user and index only, so that an image is the same whatever else is generated.
            image_seed = mix_seed(config.seed, known.index(user), index)
            images.append(PlannedImage(user, index, config.seed, image_seed, conditions))
    return images


def _with_defaults(config: Config, pipeline: Any) -> Config:
    """Fill in the guidance scale and the steps of the pipeline where the user chose none."""
    steps, guidance = config.num_inference_steps, config.guidance_scale
    steps = pipeline.config.get("num_inference_steps", 8) if steps is None else steps
    guidance = pipeline.config.get("guidance_scale", 1.5) if guidance is None else guidance
    check_sampling(steps, guidance)
    return replace(config, num_inference_steps=steps, guidance_scale=guidance)


def _shared_settings(config: Config, pipeline: Path) -> dict[str, Any]:
    """What all images of the output folder share, by flag."""
    from echoform_train.publishing.exported import training_data_of
    from echoform_train.publishing.identity import model_identity

    flags = {f"--{name.replace('_', '-')}": getattr(config, name) for name in SAME_IN_A_FOLDER}
    trained_on = training_data_of(pipeline) or {}
    return {
        "--pipeline": model_identity(pipeline),
        **flags,
        "version of echoform": echoform.__version__,
        # By these, scores refuse real images of another split; names of images stay out of the folder.
        TRAINED_ON: {name: trained_on.get(name) for name in ("split_sha256", "images_sha256")}
        | ({"reading": trained_on["reading"]} if trained_on.get("reading") else {}),
    }


def _parse_condition(text: str) -> tuple[str, list[str]]:
    name, equals, labels = text.partition("=")
    if not (name and equals and labels):
        raise UserError(f"a condition is written name=value or name=value,value, got {text!r}")
    return name, labels.split(",")


def _generate(
    pipeline: Any, images: Sequence[PlannedImage], folder: GeneratedFolder, config: Config, state: Accelerator
) -> None:
    """Generate this process's images in batches and write each batch to the folder."""
    import torch
    from tqdm.auto import tqdm

    from echoform_train.latent_diffusion.sampling import check_finite, refuse_not_finite

    with tqdm(total=len(images), unit="image", delay=2, disable=not state.is_local_main_process) as bar:
        for start in range(0, len(images), config.batch_size):
            batch = images[start : start + config.batch_size]
            conditions = {name: [image.conditions[name] for image in batch] for name in batch[0].conditions}
            with refused_by(f"{config.pipeline} cannot generate this"):
                pixels = pipeline(
                    users=[image.user for image in batch],
                    conditions=conditions or None,
                    guidance_scale=config.guidance_scale,
                    num_inference_steps=config.num_inference_steps,
                    generator=[torch.Generator().manual_seed(image.image_seed) for image in batch],
                    batch_size=config.batch_size,
                    callback_on_step_end=refuse_not_finite,
                    output_type="pt",
                ).images
            check_finite(pixels, "images")
            generated = pipeline.postprocess(pixels, "pil")
            folder.add(batch, generated, state.process_index)
            bar.update(len(batch))
