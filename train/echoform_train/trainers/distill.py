"""`echoform distill`: a denoiser that does in a few steps what its teacher does in many.

The student starts as a copy of the teacher and goes through its few steps with the same sampler; the whole way is
differentiated, so that from the same noise it ends where the teacher's many steps end (after Luhman and Luhman, 2021,
whose student has one step). It needs no data: noise and names are all that goes in, so that it can be done to any
exported pipeline.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import Any, Literal

import torch
import tyro
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform.unet_doppler import DopplerUNet2DModel
from echoform_train.engine.config import RunConfig
from echoform_train.engine.ema import averaged, ema_tensors, make_ema, restore_ema
from echoform_train.engine.files import DENOISER, FACTS, PIPELINE
from echoform_train.engine.provenance import provenance
from echoform_train.engine.run import Draw, Run
from echoform_train.engine.seeds import mix_seed
from echoform_train.engine.training_result import TrainingResult
from echoform_train.latent_diffusion.export import export_pipeline
from echoform_train.publishing.exported import find_pipeline
from echoform_train.publishing.fingerprint import sha256_of
from echoform_train.publishing.push import check_before_training, push_after_training

HELD_OUT = 64
"""Images that validations make, from noise that no training step sees."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Make a pipeline of a few steps from one of many; what it learns from is the latter's own images."""

    preset: Literal["cpu", "gpu"] = "cpu"
    """Settings to start from; every other flag overrides them."""
    pipeline: str = tyro.MISSING
    """The teacher: folder of an exported pipeline, or its id on the Hub."""
    run: tyro.conf.OmitArgPrefixes[RunConfig]

    steps: int = 4
    """Steps of the new pipeline."""
    teacher_steps: int = 32
    """Steps of the teacher."""
    guidance_scale: float = 1.0
    """Of the teacher. The new pipeline has it built in, and needs no second pass for it."""
    ema_decay: float = 0.99
    """Decay of the averaged weights at each optimizer step; the averaged ones are validated and exported."""

    def __post_init__(self) -> None:
        if not 1 <= self.steps < self.teacher_steps:
            raise ValueError(
                f"--steps must be at least 1 and less than --teacher-steps, got {self.steps} and {self.teacher_steps}"
            )


PRESETS = {
    "cpu": Config(
        preset="cpu",
        run=RunConfig(
            output_dir=tyro.MISSING,
            max_train_images=2_000,
            learning_rate=2e-5,
            lr_warmup_steps=20,
            validation_every=250,
            checkpointing_every=500,
            logging_every=200,
            early_stopping_patience=0,
        ),
    ),
    "gpu": Config(
        preset="gpu",
        run=RunConfig(
            output_dir=tyro.MISSING,
            max_train_images=50_000,
            train_batch_size=64,
            learning_rate=2e-5,
            early_stopping_patience=0,
        ),
    ),
}


def main(config: Config) -> TrainingResult:
    """Distil, and export the pipeline to OUTPUT_DIR/pipeline.

    Raises:
        FileNotFoundError: If there is no exported pipeline, or nothing tells of its training.
        ValueError: If the teacher has no more steps than the student.
        FloatingPointError: If the loss stops being finite.
        PushError: If the result cannot be pushed where it should be; noticed before the training where possible.
    """
    folder = find_pipeline(config.pipeline)
    if not (folder / FACTS).is_file():
        raise FileNotFoundError(f"{config.pipeline} holds no {FACTS}, which tells what its images are of")
    of_teacher = json.loads((folder / FACTS).read_text())
    pipeline = VQLDMDopplerPipeline.from_pretrained(folder)
    settings = {"steps": config.steps, "teacher_steps": config.teacher_steps, "guidance_scale": config.guidance_scale}
    weights = [sha256_of(path) for path in sorted((folder / "unet").glob("*.safetensors"))]
    run = Run(config.run, 1, settings | {"ema_decay": config.ema_decay, "teacher": weights})
    if run.is_main:
        check_before_training(config.run)
    unet: DopplerUNet2DModel = copy.deepcopy(pipeline.unet).to(run.device)
    unet.eval()  # the teacher's answer is exact: dropout would only add noise to it
    if config.run.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    teacher = FewSteps(pipeline.to(run.device), config.teacher_steps, config.guidance_scale)
    student = FewSteps(with_unet(pipeline, unet, config.steps), config.steps)
    ema = make_ema(unet, config.ema_decay)
    model, optimizer = run.accelerator.prepare(student, run.optimizer(unet))
    resumed = run.resume({"optimizer": optimizer})
    if resumed is not None:
        unet.load_state_dict(resumed["unet"])
        restore_ema(ema, resumed["ema"])
    run.accelerator.init_trackers("distill", config={"preset": config.preset, "seed": config.run.seed})
    held_out = HeldOut(teacher, config.run.seed, run.device)
    undistilled = held_out.distance(FewSteps(pipeline, config.steps, config.guidance_scale))
    run.accelerator.print(
        f"{config.teacher_steps} steps to {config.steps}; in {config.steps} steps the teacher ends {undistilled:.4f} "
        f"away from where {config.teacher_steps} take it"
    )
    output_dir = config.run.output_dir
    while not run.done:
        for draw in run.draws():
            with run.accelerator.accumulate(model):
                asked = ask(unet, draw, run.device)
                with torch.no_grad(), run.accelerator.autocast():
                    target = teacher(asked)
                loss = F.mse_loss(model(asked), target)
                run.collect(loss=loss)
                run.descend(loss, optimizer, model)
        ema.update_parameters(unet)
        run.advance()
        if run.due(config.run.logging_every):
            run.log_means()
        if run.due(config.run.validation_every):
            with averaged(unet, ema):
                distance = held_out.distance(student)
                run.log({"validation/distance": distance})
                if run.judge_best(distance) and run.is_main:
                    unet.save_pretrained(output_dir / DENOISER)
                    measured = {"validation": {"distance": distance, "undistilled": undistilled}}
                    facts = _facts(run, of_teacher, settings) | measured | {"best_after": run.seen}
                    (output_dir / FACTS).write_text(json.dumps(facts, indent=1))
        if run.due(config.run.checkpointing_every) or run.done:
            run.save({"optimizer": optimizer}, {"unet": unet.state_dict(), "ema": ema_tensors(ema)})
    result = run.finish(output_dir / PIPELINE)
    facts = result.facts
    if run.is_main:
        best = DopplerUNet2DModel.from_pretrained(output_dir / DENOISER).to(run.device)
        export_pipeline(with_unet(pipeline, best, config.steps), facts, output_dir / PIPELINE)
    run.accelerator.print(
        f"best after {facts['best_after']} images, {facts['validation']['distance']:.4f} away; "
        f"pipeline in {output_dir / PIPELINE}"
    )
    if run.is_main:
        push_after_training(config.run, output_dir / PIPELINE)
    return result


class FewSteps(nn.Module):
    """The sampler of a pipeline in so many steps as one network, from noise to latents.

    Args:
        pipeline: What samples.
        steps: Of its scheduler.
        guidance_scale: Pull towards the users and conditions; 1 is none.
    """

    def __init__(self, pipeline: VQLDMDopplerPipeline, steps: int, guidance_scale: float = 1.0) -> None:
        super().__init__()
        self.unet: DopplerUNet2DModel = pipeline.unet
        self.pipeline, self.steps, self.guidance_scale = pipeline, steps, guidance_scale

    def forward(self, asked: Asked) -> Tensor:
        """Standardised latents, float32 [B, D, h, w]."""
        return self.pipeline.denoise(
            asked.noise,
            self.pipeline.set_timesteps(self.steps, 1.0, asked.noise.device),
            self.unet.embed_users(asked.users),
            asked.conditions,
            self.guidance_scale,
            asked.generators,
            None,
            tqdm(disable=True),
        )


@dataclass(frozen=True)
class Asked:
    """Noise, and whom it shall become."""

    noise: Tensor
    """float32 [B, D, h, w]."""
    users: Tensor
    """int64 [B]."""
    conditions: dict[str, Tensor]
    """int64 [B] each."""
    generators: list[torch.Generator]
    """One an image, where the noise came from."""


def ask(unet: DopplerUNet2DModel, draw: Draw, device: torch.device) -> Asked:
    """Noise for anyone; each label of a condition, and none at all, comes equally often."""
    side, channels = unet.config["sample_size"], unet.config["in_channels"]
    users = (draw.rand() * unet.config["num_users"]).long()
    conditions = {
        name: (draw.rand() * (null + 1)).long().clamp(max=null) for name, null in sorted(unet.null_conditions.items())
    }
    return Asked(
        noise=draw.randn(channels, side, side).to(device),
        users=users.to(device),
        conditions={name: labels.to(device) for name, labels in conditions.items()},
        generators=draw.generators,
    )


class HeldOut:
    """The teacher's latents from noise that training does not see, as what a student should make of it.

    Args:
        teacher: In its many steps.
        seed: Of the run.
        device: Where to compute.
    """

    def __init__(self, teacher: FewSteps, seed: int, device: torch.device) -> None:
        generators = [torch.Generator().manual_seed(mix_seed(seed, -1, number)) for number in range(HELD_OUT)]
        self.asked = ask(teacher.unet, Draw(torch.arange(HELD_OUT), generators), device)
        self.latents = torch.no_grad()(teacher)(self.asked)

    @torch.no_grad()
    def distance(self, student: FewSteps) -> float:
        """Mean squared distance of the student's latents to the teacher's; of two unrelated images it is some 2."""
        return F.mse_loss(student(self.asked), self.latents).item()


def with_unet(teacher: VQLDMDopplerPipeline, unet: DopplerUNet2DModel, steps: int) -> VQLDMDopplerPipeline:
    """The teacher's pipeline with another denoiser, made for so many steps without guidance."""
    facts = ("id2label", "condition_labels", "latent_mean", "latent_std", "colormap", "axes")
    return VQLDMDopplerPipeline(
        vqvae=teacher.vqvae,
        unet=unet,
        scheduler=copy.deepcopy(teacher.scheduler),
        **{name: teacher.config[name] for name in facts},
        num_inference_steps=steps,
        guidance_scale=1.0,
    )


def _facts(run: Run, teacher: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    kept = ("kind", "preset", "parameters", "objective", "data", "first_stage")
    return {
        **{name: teacher[name] for name in kept},
        "teacher": teacher,
        "distilled": settings,
        "precision": run.accelerator.mixed_precision,
        "images_a_step": run.images_a_step,
        **provenance(),
    }
