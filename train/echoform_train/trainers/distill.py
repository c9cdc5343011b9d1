"""`echoform distill`: train a student denoiser that reaches in a few sampling steps what its teacher reaches in many.

The student starts as a copy of the teacher. Both get the same noise, and gradients flow through all sampling steps of
the student, so that its few steps learn to end at the latents of the teacher's many steps. The method follows Luhman
and Luhman (2021), whose student has one step. Any exported pipeline can be distilled, because training images are not
needed: the only inputs are noise, users and conditions.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform.unet_doppler import DopplerUNet2DModel
from echoform_train.data.facts import SpectrogramFacts
from echoform_train.engine.batches import Draw
from echoform_train.engine.callbacks import NO_CALLBACKS, Callbacks
from echoform_train.engine.content import pipeline_content
from echoform_train.engine.errors import MissingFileError, UserError
from echoform_train.engine.files import DENOISER, FACTS
from echoform_train.engine.learner import Learner
from echoform_train.engine.resume import resume_settings
from echoform_train.engine.run import Run
from echoform_train.engine.seeds import mix_seed
from echoform_train.engine.training_result import TrainingResult
from echoform_train.latent_diffusion.card_gallery import write_gallery
from echoform_train.latent_diffusion.distill_config import PRESETS, Config
from echoform_train.latent_diffusion.latents import PipelineFacts
from echoform_train.publishing.cards.common import hub_id_of_source
from echoform_train.publishing.cards.spectrogram import DenoiserTraining
from echoform_train.publishing.export import finish_training
from echoform_train.publishing.exported import find_pipeline, load_pipeline
from echoform_train.publishing.push import check_before_training
from echoform_train.publishing.training_facts import read_training

__all__ = ["PRESETS", "Config", "main"]

INHERITED = ("people", "hub_dataset")
"""Facts of the teacher's card that the student's card repeats."""
HELD_OUT = 64
"""Number of images in a validation; their noise is never used in training."""


def main(config: Config, callbacks: Callbacks = NO_CALLBACKS) -> TrainingResult:
    """Distil, and export the pipeline to OUTPUT_DIR/pipeline.

    Raises:
        FileNotFoundError: If there is no exported pipeline, or it has no facts.json.
        ValueError: If it is a pipeline of another class.
    """
    folder = find_pipeline(config.pipeline, VQLDMDopplerPipeline)
    teacher_facts = read_facts(folder, config.pipeline)
    settings = {"steps": config.steps, "teacher_steps": config.teacher_steps, "guidance_scale": config.guidance_scale}
    pipeline: VQLDMDopplerPipeline = load_pipeline(folder, VQLDMDopplerPipeline)
    inputs = {"--pipeline": f"content {pipeline_content(pipeline)}"}
    run = Run(config.run, 1, resume_settings(config, inputs), callbacks)
    check_before_training(run)

    unet: DopplerUNet2DModel = copy.deepcopy(pipeline.unet)
    unet.eval()  # without dropout, because the target is exact
    teacher = FewSteps(pipeline.to(run.device), config.teacher_steps, config.guidance_scale)
    student = FewSteps(with_unet(pipeline, unet, config.steps), config.steps)
    learner = Learner(run, DENOISER, unet, forward=student, ema_decay=config.ema_decay)
    learner.resume()
    run.start_trackers("distill", config.preset)

    # The error of the teacher itself with so few steps is the baseline that distillation has to improve.
    held_out = HeldOut(teacher, config.run.seed, run.device)
    undistilled = held_out.distance(FewSteps(pipeline, config.steps, config.guidance_scale))
    run.accelerator.print(
        f"{config.teacher_steps} steps to {config.steps}: before training, the latents of {config.steps} steps have "
        f"a mean squared distance of {undistilled:.4f} to those of {config.teacher_steps} steps"
    )
    # What was said of the people of the teacher holds for its student.
    said = {name: value for name, value in teacher_facts["teacher"].get("card", {}).items() if name in INHERITED}
    facts = {**teacher_facts, "distilled": settings, **hub_id_of_source(config.pipeline)}
    if said:
        facts["card"] = said
    while not run.done:
        for draw in learner.passes():
            inputs = draw_inputs(unet, draw, run.device)
            # The teacher computes in the precision of the student, so that they do not differ by rounding.
            with torch.no_grad(), run.accelerator.autocast():
                target = teacher(inputs)
            learner.descend(F.mse_loss(learner.model(inputs), target))
        if run.due(config.run.validation_every):
            with learner.averaged():
                scores = {"distance": held_out.distance(student)}
                run.keep_if_best(unet, DENOISER, scores["distance"], scores, facts, {"undistilled": undistilled})
        learner.save_if_due()

    def best_pipeline() -> VQLDMDopplerPipeline:
        best = DopplerUNet2DModel.from_pretrained(config.run.output_dir / DENOISER)
        return with_unet(pipeline, best, config.steps)

    return finish_training(run, best_pipeline, write_gallery)


def read_facts(folder: Path, source: str) -> dict[str, Any]:
    """Facts of the student from those of its teacher: the shared ones, and all facts of the teacher under "teacher".

    Raises:
        FileNotFoundError: If there are no facts.
    """
    if not (folder / FACTS).is_file():
        raise MissingFileError(f"{source} holds no {FACTS}, which describes its training data")
    facts = cast(dict[str, Any], read_training(folder / FACTS, DenoiserTraining, SpectrogramFacts))
    shared = ("kind", "preset", "objective", "data", "first_stage")
    if missing := [name for name in shared if name not in facts]:
        raise UserError(f"{folder / FACTS} must have {', '.join(missing)}; is it the facts of a denoiser?")
    return {**{name: facts[name] for name in shared}, "teacher": facts}


@dataclass(frozen=True)
class SamplingInputs:
    """Noise, and the users and conditions that it should be denoised to."""

    noise: Tensor
    """Standard normal, float32 [B, D, h, w]."""
    users: Tensor
    """Class ids, int64 [B]."""
    conditions: dict[str, Tensor]
    """Label ids by name of the condition, int64 [B]."""
    generators: list[torch.Generator]
    """One per image, for samplers that add noise."""


class FewSteps(nn.Module):
    """All sampling steps of a pipeline as one network, from noise to latents.

    Args:
        pipeline: The pipeline.
        steps: Number of sampling steps.
        guidance_scale: Strength of the classifier-free guidance; 1 is none.
    """

    def __init__(self, pipeline: VQLDMDopplerPipeline, steps: int, guidance_scale: float = 1.0) -> None:
        super().__init__()
        self.unet: DopplerUNet2DModel = pipeline.unet
        self.pipeline, self.steps, self.guidance_scale = pipeline, steps, guidance_scale

    def forward(self, inputs: SamplingInputs) -> Tensor:
        """Standardised latents, float32 [B, D, h, w]."""
        return self.pipeline.denoise(
            inputs.noise,
            self.pipeline.set_timesteps(self.steps, 1.0, inputs.noise.device),
            self.unet.embed_users(inputs.users),
            inputs.conditions,
            self.guidance_scale,
            inputs.generators,
            None,
            tqdm(disable=True),
        )


def draw_inputs(unet: DopplerUNet2DModel, draw: Draw, device: torch.device) -> SamplingInputs:
    """Draw noise, a user and a label of each condition per image.

    All users are equally likely; so are all labels of a condition and its null class.
    """
    size, channels = unet.config["sample_size"], unet.config["in_channels"]
    height, width = (size, size) if isinstance(size, int) else size
    users = (draw.rand() * unet.config["num_users"]).long()
    conditions = {
        name: (draw.rand() * (null + 1)).long().clamp(max=null).to(device)
        for name, null in sorted(unet.null_conditions.items())
    }
    noise = draw.randn(channels, height, width)
    return SamplingInputs(noise.to(device), users.to(device), conditions, draw.generators)


class HeldOut:
    """Held-out noise and the teacher's latents from it, which are the target of the student in validations.

    Args:
        teacher: The teacher with its many steps.
        seed: Seed of the run.
        device: Where to compute.
    """

    def __init__(self, teacher: FewSteps, seed: int, device: torch.device) -> None:
        generators = [torch.Generator().manual_seed(mix_seed(seed, -1, number)) for number in range(HELD_OUT)]
        self.inputs = draw_inputs(teacher.unet, Draw(torch.arange(HELD_OUT), generators), device)
        self.latents = torch.no_grad()(teacher)(self.inputs)

    @torch.no_grad()
    def distance(self, student: FewSteps) -> float:
        """Mean squared distance between the student's and the teacher's latents; about 2 for unrelated images."""
        return F.mse_loss(student(self.inputs), self.latents).item()


def with_unet(teacher: VQLDMDopplerPipeline, unet: DopplerUNet2DModel, steps: int) -> VQLDMDopplerPipeline:
    """The teacher's pipeline with another denoiser, which by default takes `steps` steps without guidance."""
    return VQLDMDopplerPipeline(
        vqvae=teacher.vqvae,
        unet=unet,
        scheduler=copy.deepcopy(teacher.scheduler),
        **{name: teacher.config[name] for name in PipelineFacts.__annotations__},
        num_inference_steps=steps,
        guidance_scale=1.0,
    )
