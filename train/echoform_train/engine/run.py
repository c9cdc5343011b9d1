"""The part that all trainings share: processes, batch order, optimizer steps, checkpoints, log and progress bar."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import parse_flag_from_env
from torch import Tensor, nn
from tqdm.auto import tqdm

from echoform_train.engine.checkpoint import (
    list_checkpoints,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from echoform_train.engine.config import RunConfig
from echoform_train.engine.files import CHECKPOINTS, FACTS, LOG
from echoform_train.engine.precision import autocast_dtype
from echoform_train.engine.processes import summed
from echoform_train.engine.schedules import Plateau, learning_rate_at
from echoform_train.engine.seeds import mix_seed
from echoform_train.engine.training_result import TrainingResult

RATE_FACTOR = "rate_factor"
"""Of a group of an optimizer's parameters: how many times the learning rate it learns with."""


@dataclass(frozen=True)
class Draw:
    """The images of one forward pass of this process, and one source of noise an image.

    Both are functions of (seed, images seen) alone: the same on one process or many, after a resume or without.
    """

    indices: Tensor
    """int64 [B], which training images."""
    generators: list[torch.Generator]
    """One CPU generator an image."""

    def randn(self, *shape: int) -> Tensor:
        """Normal noise float32 [B, *shape]."""
        return torch.stack([torch.randn(shape, generator=generator) for generator in self.generators])

    def rand(self) -> Tensor:
        """Uniform noise float32 [B] in [0, 1)."""
        return torch.stack([torch.rand((), generator=generator) for generator in self.generators])


class Run:
    """One training run; the script owns its loop and calls this, it never calls the script.

    Args:
        config: Settings.
        num_images: Size of the training set.
        settings: What a resumed run must share with the one that it continues, beside seed and batch; JSON-able.

    Raises:
        ValueError: If the output folder already holds another run, or the settings contradict one another.
    """

    def __init__(self, config: RunConfig, num_images: int, settings: dict[str, Any]) -> None:
        self.config, self.num_images, self.settings = config, num_images, settings
        AcceleratorState._reset_state()  # it keeps one precision a process, and an earlier run may have had another
        self.accelerator = Accelerator(
            mixed_precision=_precision(config.mixed_precision),
            gradient_accumulation_steps=config.gradient_accumulation_steps,
            log_with=None if config.report_to == "none" else config.report_to,
            project_dir=config.output_dir,
        )
        self.device = self.accelerator.device
        # GPUs compute fastest with channels last; on CPUs the backward pass of group norm is many times slower so.
        self.memory_format = torch.channels_last if self.device.type == "cuda" else torch.contiguous_format
        self.is_main = self.accelerator.is_main_process
        self.images_a_step = (
            config.train_batch_size * self.accelerator.num_processes * config.gradient_accumulation_steps
        )
        self.total_steps = -(-config.max_train_images // self.images_a_step)
        self.seen = 0
        self.best: float | None = None
        self.checks_without_best = 0
        self.plateau = Plateau(config.lr_plateau_patience)
        self.seconds = 0.0
        self._started = time.perf_counter()
        self._means: dict[str, tuple[Tensor, int]] = {}
        self._order: tuple[int, Tensor] | None = None
        self._bar: tqdm[Any] | None = None
        self._checkpoint = self._find_checkpoint()
        if self.is_main:
            config.output_dir.mkdir(parents=True, exist_ok=True)

    # Progress -----------------------------------------------------------------------------------------------------

    @property
    def step(self) -> int:
        """Optimizer steps taken."""
        return self.seen // self.images_a_step

    @property
    def stopped_early(self) -> bool:
        """Whether validation has stopped improving for longer than the patience."""
        patience = self.config.early_stopping_patience
        return patience > 0 and self.checks_without_best >= patience

    @property
    def done(self) -> bool:
        """Whether training is over, by length or by early stopping."""
        return self.step >= self.total_steps or self.stopped_early

    def due(self, every: int) -> bool:
        """Whether the last optimizer step crossed a multiple of `every` images, or was the last one."""
        return self.seen // every > (self.seen - self.images_a_step) // every or self.step >= self.total_steps

    # Batches ------------------------------------------------------------------------------------------------------

    def draws(self) -> list[Draw]:
        """This process's forward passes of the next optimizer step."""
        torch.manual_seed(mix_seed(self.config.seed, self.seen, self.accelerator.process_index))  # dropout
        size, world = self.config.train_batch_size, self.accelerator.num_processes
        first = self.seen + self.accelerator.process_index * size
        passes = range(self.config.gradient_accumulation_steps)
        return [self._draw(range(first + k * size * world, first + k * size * world + size)) for k in passes]

    def generator(self, purpose: int = 0) -> torch.Generator:
        """A CPU generator in a state that depends on (seed, images seen, purpose) alone."""
        return torch.Generator().manual_seed(mix_seed(self.config.seed, self.seen, -1 - purpose))

    def _draw(self, counters: range) -> Draw:
        indices = torch.tensor([self._image(counter) for counter in counters])
        generators = [torch.Generator().manual_seed(mix_seed(self.config.seed, counter)) for counter in counters]
        return Draw(indices, generators)

    def _image(self, counter: int) -> int:
        epoch, position = divmod(counter, self.num_images)
        if self._order is None or self._order[0] != epoch:
            generator = torch.Generator().manual_seed(mix_seed(self.config.seed, -1, epoch))
            self._order = (epoch, torch.randperm(self.num_images, generator=generator))
        return int(self._order[1][position])

    # Optimizer ----------------------------------------------------------------------------------------------------

    def optimizer(self, model: nn.Module, faster: Mapping[str, float] | None = None) -> torch.optim.Optimizer:
        """The optimizer of the settings over the trainable parameters; biases and norms are not decayed.

        Args:
            model: What learns.
            faster: By the name of a parameter, how many times the learning rate it learns with; it is not decayed.
        """
        faster = faster or {}
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        usual = [p for name, p in trained.items() if name not in faster]
        groups = [
            {"params": [p for p in usual if p.ndim > 1], "weight_decay": self.config.adam_weight_decay},
            {"params": [p for p in usual if p.ndim <= 1], "weight_decay": 0.0},
            *({"params": [trained[name]], "weight_decay": 0.0, RATE_FACTOR: factor} for name, factor in faster.items()),
        ]
        rate = self.config.learning_rate
        if self.config.optimizer == "sgd":
            return torch.optim.SGD(groups, lr=rate, momentum=0.9, nesterov=True)
        kind = torch.optim.AdamW if self.config.optimizer == "adamw" else torch.optim.Adam
        return kind(groups, lr=rate, betas=(0.9, 0.99))

    def descend(self, loss: Tensor, optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
        """Backward pass; on the last pass of an optimizer step also clip and step. Call inside `accumulate`."""
        self.accelerator.backward(loss)
        if not self.accelerator.sync_gradients:
            return
        self.accelerator.clip_grad_norm_(model.parameters(), self.config.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate * group.get(RATE_FACTOR, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    @property
    def learning_rate(self) -> float:
        """Rate of the next optimizer step."""
        return learning_rate_at(
            self.step,
            peak=self.config.learning_rate,
            warmup_steps=min(self.config.lr_warmup_steps, self.total_steps),
            total_steps=self.total_steps,
            shape=self.config.lr_scheduler,
            decay=self.config.lr_decay,
            step_every=max(1, self.config.lr_step_every // self.images_a_step),
            plateaus=self.plateau.drops,
        )

    def advance(self) -> None:
        """Count the images of one optimizer step."""
        self.seen += self.images_a_step
        if self._bar is None:
            self._bar = tqdm(
                total=self.total_steps * self.images_a_step,
                initial=self.seen - self.images_a_step,
                unit="image",
                desc=self.config.output_dir.name,
                disable=not self.accelerator.is_local_main_process,
                mininterval=1.0,
            )
        self._bar.update(self.images_a_step)

    # Log ----------------------------------------------------------------------------------------------------------

    def collect(self, **values: Tensor) -> None:
        """Add scalars of one forward pass to the means that the next `log` writes."""
        for name, value in values.items():
            total, count = self._means.get(name, (torch.zeros((), device=self.device), 0))
            self._means[name] = (total + value.detach().float(), count + 1)

    def log_means(self) -> None:
        """Write the means of what was collected since the last call, over all processes.

        Raises:
            FloatingPointError: If a mean is not finite; nothing is saved after that.
        """
        means = {
            name: summed(total / count, self.accelerator).item() / self.accelerator.num_processes
            for name, (total, count) in self._means.items()
        }
        self._means = {}
        for name, value in means.items():
            if not math.isfinite(value):
                raise FloatingPointError(f"{name} is {value} after {self.seen} images")
        if self._bar is not None and "loss" in means:
            self._bar.set_postfix(loss=f"{means['loss']:.4f}")
        self.log({f"train/{name}": value for name, value in means.items()} | {"learning_rate": self.learning_rate})

    def log(self, values: dict[str, float]) -> None:
        """Write numbers to the tracker and to OUTPUT_DIR/log.jsonl."""
        self.accelerator.log(values, step=self.seen)
        if self.is_main:
            with (self.config.output_dir / LOG).open("a") as file:
                file.write(json.dumps({"seen": self.seen, **values}) + "\n")

    def judge_best(self, score: float) -> bool:
        """Take the score of a validation (lower is better); True where it is the best so far."""
        improved = self.best is None or score < self.best
        self.best = score if improved else self.best
        self.checks_without_best = 0 if improved else self.checks_without_best + 1
        self.plateau.judge(improved)
        return improved

    # Checkpoints --------------------------------------------------------------------------------------------------

    def save(self, optimizers: dict[str, torch.optim.Optimizer], tensors: dict[str, dict[str, Tensor]]) -> None:
        """Write a checkpoint: `tensors` by group, the optimizers, and the progress of the run."""
        if self.is_main:
            groups = tensors | {name: optimizer_tensors(optimizer) for name, optimizer in optimizers.items()}
            scaler = self.accelerator.scaler
            state = {
                "seen": self.seen,
                "best": self.best,
                "checks_without_best": self.checks_without_best,
                "plateau": asdict(self.plateau),
                "seconds": self.elapsed_s,
                "fixed": self._fixed,
                "scaler": None if scaler is None else scaler.state_dict(),
            }
            root = self.config.output_dir / CHECKPOINTS
            save_checkpoint(root, self.seen, groups, state, self.config.checkpoints_total_limit)
        self.accelerator.wait_for_everyone()

    def resume(self, optimizers: dict[str, torch.optim.Optimizer]) -> dict[str, dict[str, Tensor]] | None:
        """Restore optimizers and progress from the checkpoint asked for and return the other tensors, if there is one.

        Raises:
            ValueError: If the run had another seed, batch, precision, data or model, so that its numbers could not be
                the same.
        """
        if self._checkpoint is None:
            return None
        tensors, state = load_checkpoint(self._checkpoint)
        for name, value in self._fixed.items():
            if state["fixed"].get(name) != value:
                raise ValueError(
                    f"a run resumes with the {name} it began with, {state['fixed'].get(name)}, got {value}; "
                    f"for another, choose another --output-dir than {self.config.output_dir}"
                )
        for name, optimizer in optimizers.items():
            restore_optimizer(optimizer, tensors.pop(name))
        self.seen, self.best = state["seen"], state["best"]
        self.checks_without_best, self.seconds = state["checks_without_best"], state["seconds"]
        self.plateau = Plateau(**state["plateau"] | {"patience": self.config.lr_plateau_patience})
        if state["scaler"] is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        if self.is_main:
            self._forget_log_after(self.seen)
        return tensors

    @property
    def elapsed_s(self) -> float:
        """Seconds of training so far, those before a resume counted in."""
        return self.seconds + time.perf_counter() - self._started

    def finish(self, exported: Path) -> TrainingResult:
        """Close the run, add its length to the facts of the best model in OUTPUT_DIR/facts.json, and return the result.

        Args:
            exported: Folder that later commands take, for `TrainingResult.exported`; it may be written afterwards.
        """
        facts_file = self.config.output_dir / FACTS
        facts = json.loads(facts_file.read_text()) | {"images_seen": self.seen, "seconds": self.elapsed_s}
        # Every process has read the file before the main process writes it.
        self.accelerator.wait_for_everyone()
        self.close()
        if self.is_main:
            facts_file.write_text(json.dumps(facts, indent=1))
        return TrainingResult(
            output_dir=self.config.output_dir,
            exported=exported,
            validation=facts["validation"],
            best_after=facts["best_after"],
            images_seen=self.seen,
            seconds=facts["seconds"],
            facts=facts,
        )

    def close(self) -> None:
        """End the progress bar and the trackers."""
        if self._bar is not None:
            self._bar.close()
        self.accelerator.end_training()

    @property
    def _fixed(self) -> dict[str, Any]:
        own = {
            "seed": self.config.seed,
            "images_a_step": self.images_a_step,
            "mixed_precision": self.accelerator.mixed_precision,
            "optimizer": self.config.optimizer,
            "num_images": self.num_images,
        }
        return own | self.settings

    def _find_checkpoint(self) -> Path | None:
        found = list_checkpoints(self.config.output_dir / CHECKPOINTS)
        asked = self.config.resume_from_checkpoint
        if asked is None:
            if found:
                raise ValueError(
                    f"{self.config.output_dir} holds a run of {found[-1].name}; continue it with "
                    "--resume-from-checkpoint latest, or choose another --output-dir"
                )
            return None
        if asked == "latest":
            return found[-1] if found else None
        return Path(asked)

    def _forget_log_after(self, seen: int) -> None:
        path = self.config.output_dir / LOG
        if path.is_file():
            lines = [line for line in path.read_text().splitlines() if json.loads(line)["seen"] <= seen]
            path.write_text("".join(f"{line}\n" for line in lines))


def _precision(asked: str) -> str:
    if asked != "auto":
        return asked
    # Asking accelerate for the device would fix its state before it has heard of precision and processes.
    on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available()
    return "bf16" if autocast_dtype("cpu" if on_cpu else "cuda") == torch.bfloat16 else "no"


def read_log(output_dir: Path) -> list[dict[str, float]]:
    """Lines of a run's log, in order of images seen."""
    return [json.loads(line) for line in (output_dir / LOG).read_text().splitlines()]
