"""`echoform distill`: a denoiser that does in a few steps what its teacher does in many.

From noise the teacher's sampler walks through many steps; the student, which starts as a copy of it, learns to jump
from each of a few way points to the next (Luhman and Luhman, 2021, cut into the steps of Salimans and Ho, 2022). It
needs no data: noise and names are all that goes in, so that it can be done to any exported pipeline.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import tyro
from diffusers import DDIMScheduler
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from echoform.pipeline_vq_ldm_doppler import VQLDMDopplerPipeline
from echoform.unet_doppler import DopplerUNet2DModel
from echoform_train.averaging import averaged, ema_tensors, restore_ema
from echoform_train.config import RunConfig
from echoform_train.export import BEST, PIPELINE, export_pipeline
from echoform_train.exported import find_pipeline
from echoform_train.fingerprint import sha256_of
from echoform_train.first_stage import FACTS
from echoform_train.provenance import provenance
from echoform_train.push import check_before_training, push_after_training
from echoform_train.run import Draw, Run
from echoform_train.seeds import mix_seed

HELD_OUT = 64
"""Images that validations make, from noise that no training step sees."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Make a pipeline of a few steps from one of many; what it learns from is the latter's own images."""

    preset: Literal["cpu", "gpu"] = "cpu"
    """Settings to start from; every other flag overrides them."""
    pipeline: str = tyro.MISSING
    """The teacher: folder of an exported pipeline that predicts v, or its id on the Hub."""
    run: tyro.conf.OmitArgPrefixes[RunConfig]

    steps: int = 4
    """Steps of the new pipeline."""
    teacher_steps: int = 16
    """Steps of the teacher's own sampler, a multiple of --steps."""
    guidance_scale: float = 1.0
    """Of the teacher. The new pipeline has it built in, and needs no second pass for it."""
    ema_decay: float = 0.99
    """Decay of the averaged weights at each optimizer step; the averaged ones are validated and exported."""


PRESETS = {
    "cpu": Config(
        preset="cpu",
        run=RunConfig(
            output_dir=tyro.MISSING,
            max_train_images=8_000,
            learning_rate=3e-4,
            lr_warmup_steps=20,
            validation_every=1_000,
            checkpointing_every=2_000,
            logging_every=200,
            early_stopping_patience=0,
        ),
    ),
    "gpu": Config(
        preset="gpu",
        run=RunConfig(
            output_dir=tyro.MISSING,
            max_train_images=200_000,
            train_batch_size=64,
            early_stopping_patience=0,
        ),
    ),
}


def main(config: Config) -> None:
    """Distil, and export the pipeline to OUTPUT_DIR/pipeline.

    Raises:
        FileNotFoundError: If there is no exported pipeline, or nothing tells of its training.
        ValueError: If the pipeline is not one of v-prediction, or its way points are no steps of the new one.
        FloatingPointError: If the loss stops being finite.
        PushError: If the result cannot be pushed where it should be; noticed before the training where possible.
    """
    folder = find_pipeline(config.pipeline)
    teacher = VQLDMDopplerPipeline.from_pretrained(folder)
    if not (folder / FACTS).is_file():
        raise FileNotFoundError(f"{config.pipeline} holds no {FACTS}, which tells what its images are of")
    facts = json.loads((folder / FACTS).read_text())
    course = Course(teacher, config)
    settings = {"steps": config.steps, "teacher_steps": config.teacher_steps, "guidance_scale": config.guidance_scale}
    weights = [sha256_of(path) for path in sorted((folder / "unet").glob("*.safetensors"))]
    run = Run(config.run, 1, settings | {"ema_decay": config.ema_decay, "teacher": weights})
    if run.is_main:
        check_before_training(config.run)
    teacher.to(run.device)
    student: DopplerUNet2DModel = copy.deepcopy(teacher.unet)
    student.eval()  # the teacher's answer is exact: dropout would only add noise to it
    if config.run.gradient_checkpointing:
        student.enable_gradient_checkpointing()
    ema = EMAModel(student.parameters(), decay=config.ema_decay, foreach=True)
    model, optimizer = run.accelerator.prepare(student, run.optimizer(student))
    resumed = run.resume({"optimizer": optimizer})
    if resumed is not None:
        student.load_state_dict(resumed["student"])
        restore_ema(ema, resumed["ema"])
    run.accelerator.init_trackers("distill", config={"preset": config.preset, "seed": config.run.seed})
    held_out = HeldOut(course, config)
    run.accelerator.print(
        f"{config.teacher_steps} steps to {config.steps}; the teacher itself in {config.steps} steps is "
        f"{held_out.undistilled:.4f} away from its own images"
    )
    output_dir = config.run.output_dir
    while not run.done:
        for draw in run.draws():
            with run.accelerator.accumulate(model):
                with run.accelerator.autocast():
                    states, users, conditions = course.walk(draw)
                loss = course.loss(model, states, users, conditions)
                run.collect(loss=loss)
                run.descend(loss, optimizer, model)
        ema.step(student.parameters())
        run.advance()
        if run.due(config.run.logging_every):
            run.log_means()
        if run.due(config.run.validation_every):
            with averaged(student, ema):
                score = held_out.distance(student)
                run.log({"validation/distance": score})
                if run.judge_best(score) and run.is_main:
                    student.save_pretrained(output_dir / BEST)
                    measured = {"distance": score, "undistilled": held_out.undistilled}
                    told = _facts(run, facts, settings) | {"validation": measured, "best_after": run.seen}
                    (output_dir / FACTS).write_text(json.dumps(told, indent=1))
        if run.due(config.run.checkpointing_every) or run.done:
            run.save({"optimizer": optimizer}, {"student": student.state_dict(), "ema": ema_tensors(ema)})
    facts = run.finish(output_dir / FACTS)
    if run.is_main:
        best = DopplerUNet2DModel.from_pretrained(output_dir / BEST)
        export_pipeline(course.pipeline(best.to(run.device)), facts, output_dir / PIPELINE)
    run.accelerator.print(
        f"best after {facts['best_after']} images, {facts['validation']['distance']:.4f} away from the teacher's "
        f"images; pipeline in {output_dir / PIPELINE}"
    )
    if run.is_main:
        push_after_training(config.run, output_dir / PIPELINE)


class Course:
    """The way from noise to latents: the teacher's steps, and the way points between which the student jumps.

    Args:
        teacher: A pipeline of v-prediction.
        config: Steps of both, and the teacher's guidance.

    Raises:
        ValueError: If a way point is no step of the teacher, or the pipeline does not predict v.
    """

    def __init__(self, teacher: VQLDMDopplerPipeline, config: Config) -> None:
        self.teacher, self.config = teacher, config
        settings = teacher.scheduler.config
        if settings.get("prediction_type") != "v_prediction":
            raise ValueError(
                f"{config.pipeline} must predict v to be distilled, its sampler is {type(teacher.scheduler).__name__}"
            )
        if min(config.steps, config.teacher_steps) < 1 or config.teacher_steps % config.steps:
            raise ValueError(
                f"--teacher-steps must be a multiple of --steps, got {config.teacher_steps} and {config.steps}"
            )
        self.jumps = cast(DDIMScheduler, DDIMScheduler.from_config(settings))
        self.jumps.set_timesteps(config.steps)
        self.timesteps = self.jumps.timesteps
        walked = teacher.set_timesteps(config.teacher_steps, 1.0, torch.device("cpu"))
        if not torch.equal(walked[:: config.teacher_steps // config.steps], self.timesteps):
            raise ValueError(
                f"--steps must stop where --teacher-steps do, {self.timesteps.tolist()} are not all among "
                f"{walked.tolist()}"
            )
        clean = torch.cat([self.jumps.alphas_cumprod[self.timesteps], torch.ones(1)])
        self.alpha, self.sigma = clean.sqrt(), (1 - clean).sqrt()
        """Of signal and noise at each way point, float32 [steps + 1]; the last is the finished image."""

    @torch.no_grad()
    def walk(self, draw: Draw) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The teacher's way points from the noise of a draw, float32 [steps + 1, B, D, h, w], and whom they show."""
        unet, device = self.teacher.unet, self.teacher.unet.device
        side = unet.config.sample_size
        users = (draw.rand() * unet.config.num_users).long().to(device)
        conditions = {
            # Each label, and none at all, equally often.
            name: (draw.rand() * (count + 1)).long().clamp(max=unet.null_conditions[name]).to(device)
            for name, count in sorted((unet.config.conditions or {}).items())
        }
        states = [draw.randn(unet.config.in_channels, side, side).to(device)]

        def record(_pipe: Any, _step: int, _timestep: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            states.append(tensors["latents"].float())
            return tensors

        self.teacher.denoise(
            states[0],
            self.teacher.set_timesteps(self.config.teacher_steps, 1.0, device),
            unet.embed_users(users),
            conditions,
            self.config.guidance_scale,
            draw.generators,
            record,
            tqdm(disable=True),
        )
        return torch.stack(states[:: self.config.teacher_steps // self.config.steps]), users, conditions

    def loss(self, model: nn.Module, states: Tensor, users: Tensor, conditions: dict[str, Tensor]) -> Tensor:
        """Squared error of the velocity that takes each way point to the next in one step of DDIM.

        Args:
            model: The student.
            states: From `walk`, float32 [steps + 1, B, D, h, w].
            users: int64 [B].
            conditions: int64 [B] each.
        """
        steps, batch = self.config.steps, len(users)
        predicted = model(
            states[:-1].flatten(0, 1),
            self.timesteps.repeat_interleave(batch).to(states.device),
            users=users.repeat(steps),
            conditions={name: labels.repeat(steps) for name, labels in conditions.items()},
        ).sample
        return F.mse_loss(predicted.float(), self.velocities(states).flatten(0, 1))

    def velocities(self, states: Tensor) -> Tensor:
        """What a network must predict at each way point for DDIM to reach the next, float32 [steps, B, D, h, w].

        DDIM keeps the noise it believes in: z' = alpha' x + sigma' (z - alpha x) / sigma, which gives the image x that
        leads from z to z'; its velocity is (alpha z - x) / sigma.
        """
        alpha, sigma = (values.to(states.device).view(-1, 1, 1, 1, 1) for values in (self.alpha, self.sigma))
        shrunk = sigma[1:] / sigma[:-1]
        image = (states[1:] - shrunk * states[:-1]) / (alpha[1:] - shrunk * alpha[:-1])
        return (alpha[:-1] * states[:-1] - image) / sigma[:-1]

    def pipeline(self, unet: DopplerUNet2DModel) -> VQLDMDopplerPipeline:
        """The teacher's pipeline with another denoiser, made for the few steps."""
        facts = ("id2label", "condition_labels", "latent_mean", "latent_std", "colormap", "axes")
        return VQLDMDopplerPipeline(
            vqvae=self.teacher.vqvae,
            unet=unet,
            scheduler=self.jumps,
            **{name: self.teacher.config[name] for name in facts},
            sampling={"num_inference_steps": self.config.steps, "guidance_scale": 1.0},
        )


class HeldOut:
    """The teacher's latents from noise that training does not see, as what a student should make of it.

    Args:
        course: Way points.
        config: Seed, and what the teacher does with as few steps as the student.
    """

    def __init__(self, course: Course, config: Config) -> None:
        self.course, self.seed = course, config.run.seed
        draw = Draw(torch.arange(HELD_OUT), self._generators())
        states, self.users, self.conditions = course.walk(draw)
        self.noise, self.latents = states[0], states[-1]
        self.undistilled = self._distance(course.teacher, config.guidance_scale)
        """Distance of the teacher itself in the student's number of steps."""

    def distance(self, student: DopplerUNet2DModel) -> float:
        """Mean squared distance of the student's latents to the teacher's; of two unrelated images it is some 2."""
        return self._distance(self.course.pipeline(student), 1.0)

    @torch.no_grad()
    def _distance(self, pipeline: VQLDMDopplerPipeline, guidance_scale: float) -> float:
        timesteps = pipeline.set_timesteps(self.course.config.steps, 1.0, self.noise.device)
        users = pipeline.unet.embed_users(self.users)
        latents = pipeline.denoise(
            self.noise, timesteps, users, self.conditions, guidance_scale, self._generators(), None, tqdm(disable=True)
        )
        return F.mse_loss(latents, self.latents).item()

    def _generators(self) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(mix_seed(self.seed, -1, number)) for number in range(HELD_OUT)]


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
