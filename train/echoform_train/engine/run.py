"""One training run: processes, optimizer steps, log, best model, checkpoints and progress bar."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from diffusers import ModelMixin
from torch import Tensor, nn
from tqdm.auto import tqdm

from echoform_train.engine.atomic_files import copy_to_partial, replace_folder, sync
from echoform_train.engine.batches import BatchOrder, Draw
from echoform_train.engine.callbacks import NO_CALLBACKS, Callbacks, CallsOut
from echoform_train.engine.checkpoint import load_newest, optimizer_tensors, restore_optimizer, save_checkpoint
from echoform_train.engine.config import RunConfig
from echoform_train.engine.errors import DivergedError
from echoform_train.engine.files import CHECKPOINTS, FACTS
from echoform_train.engine.json_files import read_json_object, write_json
from echoform_train.engine.optimizers import set_learning_rate
from echoform_train.engine.precision import accelerate_precision
from echoform_train.engine.processes import summed
from echoform_train.engine.provenance import provenance
from echoform_train.engine.resume import compare_settings, find_checkpoints, launch
from echoform_train.engine.schedules import Plateau, learning_rate_at
from echoform_train.engine.seeds import mix_seed
from echoform_train.engine.stopping import Stopped, StopRequest
from echoform_train.engine.time_left import TimeLeft
from echoform_train.engine.trackers import folders_of, log_image, start_trackers, tracker
from echoform_train.engine.training_log import append_to_log, cut_log, sync_log
from echoform_train.engine.training_result import TrainingResult


class Run:
    """One training run; the trainer owns its loop and calls the run, the run never calls the trainer.

    Args:
        config: Settings of the run.
        num_images: Size of the training set.
        settings: What a resumed run is compared in, see `resume_settings`.
        callbacks: What the caller wants to be called.

    Raises:
        ValueError: If the output folder already holds another run, or the settings contradict one another.
        MissingPackageError: If the package of the tracker is not installed.
    """

    def __init__(
        self,
        config: RunConfig,
        num_images: int,
        settings: Mapping[str, Any],
        callbacks: Callbacks = NO_CALLBACKS,
    ) -> None:
        self.config, self.num_images = config, num_images
        self._calls = CallsOut(callbacks)
        # accelerate keeps one precision per process; an earlier run of this process may have had another.
        AcceleratorState._reset_state()
        self.accelerator = Accelerator(
            mixed_precision=accelerate_precision(config.mixed_precision),
            gradient_accumulation_steps=config.gradient_accumulation_steps,
            log_with=tracker(config.report_to),
            project_config=folders_of(config.output_dir),
        )
        self.device = self.accelerator.device
        # GPUs compute fastest with channels last; on CPUs it makes the backward pass of group norm many times slower.
        self.memory_format = torch.channels_last if self.device.type == "cuda" else torch.contiguous_format
        self.is_main = self.accelerator.is_main_process
        self.images_per_step = (
            config.train_batch_size * self.accelerator.num_processes * config.gradient_accumulation_steps
        )
        self.total_steps = -(-config.max_train_images // self.images_per_step)
        # Progress, which checkpoints keep.
        self.seen = 0
        self.best: float | None = None
        self.validations_without_best = 0
        self.plateau = Plateau(config.lr_plateau_patience)
        self._earlier_s = 0.0
        # What the machine and the length of the run make of some flags counts, not the flags.
        self.settings = {
            **settings,
            "--mixed-precision": self.accelerator.mixed_precision,
            "--lr-warmup-steps": self._warmup_steps,
            "number of processes": self.accelerator.num_processes,
        }
        # State that is not saved in checkpoints.
        self._started = time.perf_counter()
        self._order = BatchOrder(num_images, config.seed)
        self._sums: dict[str, tuple[Tensor, int]] = {}
        self._bar: tqdm[Any] | None = None
        self._stop_request = StopRequest()
        self._time_left = TimeLeft(self.total_steps, self.images_per_step)
        # An output folder with another run in it is refused before anything is written there.
        self._checkpoints = find_checkpoints(config.output_dir, config.resume_from_checkpoint)
        if self.is_main:
            config.output_dir.mkdir(parents=True, exist_ok=True)

    @property
    def step(self) -> int:
        """Optimizer steps taken so far."""
        return self.seen // self.images_per_step

    @property
    def stopped_early(self) -> bool:
        """Whether validations have brought no new best for as long as the patience allows."""
        patience = self.config.early_stopping_patience
        return patience > 0 and self.validations_without_best >= patience

    @property
    def done(self) -> bool:
        """Whether the training is over, by its length or by early stopping."""
        return self.step >= self.total_steps or self.stopped_early

    def due(self, every: int) -> bool:
        """Whether the last optimizer step passed a multiple of `every` images, or was the last of the training."""
        return self.seen // every > (self.seen - self.images_per_step) // every or self.step >= self.total_steps

    @property
    def elapsed_s(self) -> float:
        """Seconds of training so far, including those before a resume."""
        return self._earlier_s + time.perf_counter() - self._started

    def draws(self) -> list[Draw]:
        """Images and noise for each forward pass of this process in the next optimizer step."""
        self._stop_request.begin()
        torch.manual_seed(mix_seed(self.config.seed, self.seen, self.accelerator.process_index))  # for dropout
        size, world = self.config.train_batch_size, self.accelerator.num_processes
        first = self.seen + self.accelerator.process_index * size
        starts = [first + k * size * world for k in range(self.config.gradient_accumulation_steps)]
        return [self._order.draw(range(start, start + size)) for start in starts]

    def generator(self, purpose: int = 0) -> torch.Generator:
        """A CPU generator whose state depends only on the seed, the images seen and `purpose`."""
        return torch.Generator().manual_seed(mix_seed(self.config.seed, self.seen, -1 - purpose))

    def descend(self, loss: Tensor, optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
        """Backward pass; after the last one of an optimizer step also clip the gradients and step.

        Call it inside `run.accelerator.accumulate(model)`, with an optimizer from `build_optimizer`.
        """
        self.accelerator.backward(loss)
        if not self.accelerator.sync_gradients:
            return
        self.accelerator.clip_grad_norm_(model.parameters(), self.config.max_grad_norm)
        set_learning_rate(optimizer, self.learning_rate)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next optimizer step."""
        return learning_rate_at(
            self.step,
            peak=self.config.learning_rate,
            warmup_steps=self._warmup_steps,
            total_steps=self.total_steps,
            shape=self.config.lr_scheduler,
            decay=self.config.lr_decay,
            step_every=max(1, self.config.lr_step_every // self.images_per_step),
            plateaus=self.plateau.drops,
        )

    @property
    def _warmup_steps(self) -> int:
        return min(self.config.lr_warmup_steps, self.total_steps)

    def advance(self) -> None:
        """Count the images of one optimizer step."""
        self.seen += self.images_per_step
        if self._bar is None:
            self._bar = tqdm(
                total=self.total_steps * self.images_per_step,
                initial=self.seen - self.images_per_step,
                unit="image",
                desc=self.config.output_dir.name,
                disable=not self.accelerator.is_local_main_process,
                mininterval=1.0,
            )
        self._bar.update(self.images_per_step)
        if line := self._time_left.after_step(self.step, time.perf_counter()):
            self._tell(f"{self.config.output_dir.name}: {line}")

    def _tell(self, line: str) -> None:
        """Print a line of the main process above its progress bar."""
        if self.is_main:
            tqdm.write(line)
            sys.stdout.flush()

    def collect(self, **values: Tensor) -> None:
        """Add scalars of one forward pass to the means that the next `log_means` writes."""
        for name, value in values.items():
            total, count = self._sums.get(name, (torch.zeros((), device=self.device), 0))
            self._sums[name] = (total + value.detach().float(), count + 1)

    def log_means(self) -> None:
        """Log the means of the collected scalars since the last call, over all processes, and the learning rate.

        Raises:
            FloatingPointError: If a mean is not finite; nothing is saved after that.
        """
        means = {
            name: summed(total / count, self.accelerator).item() / self.accelerator.num_processes
            for name, (total, count) in self._sums.items()
        }
        self._sums = {}
        for name, value in means.items():
            if not math.isfinite(value):
                raise DivergedError(f"{name} is {value} after {self.seen} images")
        if self._bar is not None and "loss" in means:
            self._bar.set_postfix(loss=f"{means['loss']:.4f}")
        self.log({f"train/{name}": value for name, value in means.items()} | {"learning_rate": self.learning_rate})

    def log(self, values: dict[str, float]) -> None:
        """Write numbers to the tracker and to OUTPUT_DIR/log.jsonl."""
        self.accelerator.log(values, step=self.seen)
        if self.is_main:
            append_to_log(self.config.output_dir, self.seen, values)

    def start_trackers(self, kind: str, preset: str) -> None:
        """Begin to report to the tracker; call it after `resume`."""
        settings = {"preset": preset, "seed": self.config.seed}
        start_trackers(self.accelerator, kind, self.config.output_dir, settings)

    def log_sheet(self, path: Path) -> None:
        """Show a sheet of images, which lies in a folder of the output folder, in the tracker; main process only."""
        log_image(self.accelerator, path.parent.name, path, self.seen)

    def log_validation(self, scores: Mapping[str, float]) -> None:
        """Log the scores of a validation, by name."""
        self.log({f"validation/{name}": value for name, value in scores.items()})
        self._time_left.note_validation()
        self._calls.note_validation({"images_seen": self.seen, **scores})

    def keep_if_best(
        self,
        model: ModelMixin,
        folder: str,
        score: float,
        scores: Mapping[str, float],
        facts: Mapping[str, Any],
        reference_scores: Mapping[str, float] | None = None,
    ) -> None:
        """Log a validation; save the model and its facts if no earlier validation was better.

        Args:
            model: With the weights that were validated; saved in OUTPUT_DIR/`folder`.
            folder: Name of the folder.
            score: Score that is compared with the best so far; lower is better.
            scores: All scores of the validation, by name.
            facts: What the trainer knows of the run: kind, preset, data, ... Together with the scores, the provenance
                and what the run itself knows they become OUTPUT_DIR/facts.json.
            reference_scores: Scores to compare with that stay the same during the training: written to the facts, but
                not logged.
        """
        if not math.isfinite(score):
            raise DivergedError(f"the validation after {self.seen} images has a score of {score}")
        self.log_validation(scores)
        if not self._is_new_best(score) or not self.is_main:
            return
        measured = {
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "precision": self.accelerator.mixed_precision,
            "images_a_step": self.images_per_step,
            **provenance(),
            "validation": {**scores, **(reference_scores or {})},
            "best_after": self.seen,
        }
        partial = copy_to_partial(self.config.output_dir / folder)
        model.save_pretrained(partial)
        # Without facts meanwhile: a process killed between two steps leaves no facts that are of another model.
        facts_file = self.config.output_dir / FACTS
        facts_file.unlink(missing_ok=True)
        sync(self.config.output_dir)
        replace_folder(self.config.output_dir / folder, partial)
        write_json(facts_file, {**facts, **measured})

    def _is_new_best(self, score: float) -> bool:
        """Count a validation with this score, lower is better; whether it is the best so far."""
        improved = self.best is None or score < self.best
        self.best = score if improved else self.best
        self.validations_without_best = 0 if improved else self.validations_without_best + 1
        self.plateau.add_validation(improved)
        return improved

    def save(self, optimizers: dict[str, torch.optim.Optimizer], tensors: dict[str, dict[str, Tensor]]) -> None:
        """Write a checkpoint: groups of tensors by name, the optimizers, and the progress of the run."""
        # The sums of the next log line, of each process, which a resumed run finishes.
        sums = {
            name: [cast(Tensor, self.accelerator.gather(total.reshape(1))).tolist(), count]
            for name, (total, count) in self._sums.items()
        }
        if self.is_main:
            groups = tensors | {name: optimizer_tensors(optimizer) for name, optimizer in optimizers.items()}
            scaler = self.accelerator.scaler
            state = {
                "best": self.best,
                "validations_without_best": self.validations_without_best,
                "plateau": asdict(self.plateau),
                "sums": sums,
                "seconds": self.elapsed_s,
                "settings": self.settings,
                "launch": launch(),
                "scaler": None if scaler is None else scaler.state_dict(),
            }
            # First the lines of the log that a resume from this checkpoint will not write again.
            sync_log(self.config.output_dir)
            root = self.config.output_dir / CHECKPOINTS
            folder = save_checkpoint(root, self.seen, groups, state, self.config.checkpoints_total_limit)
            self._calls.checkpoint_written(folder)
        self.accelerator.wait_for_everyone()

    def call_on_validation(self) -> bool:
        """Call `on_validation` if there was a validation since the last call.

        Returns:
            Whether it raised an error, the same on all processes: a checkpoint must be written then, after which
            `raise_of_callbacks` raises the error.
        """
        if not self._calls.has_validation:
            return False
        self._calls.validated(self.is_main)
        return self._any_process(self._calls.error is not None)

    def raise_of_callbacks(self) -> None:
        """End the training with the error that a callback raised, if one did; all processes must ask.

        Raises:
            BaseException: What the callback raised; on other processes than the main one a RuntimeError.
        """
        if not self._calls.any or not self._any_process(self._calls.error is not None):
            return
        self._stop_request.end()
        if self._bar is not None:
            self._bar.close()
        self.accelerator.end_training()
        if self._calls.error is None:
            raise RuntimeError("a callback raised an error on the main process")
        print(
            f"{self.config.output_dir}: {self._calls.failed} raised {type(self._calls.error).__name__}; the training "
            f'stopped with a checkpoint after {self.seen} images, and resume_from_checkpoint="latest" goes on from it',
            file=sys.stderr,
        )
        raise self._calls.error

    def _any_process(self, value: bool) -> bool:
        if self.accelerator.num_processes == 1:
            return value
        return bool(cast(Tensor, self.accelerator.gather(torch.tensor([int(value)], device=self.device))).any())

    def stop_signal(self) -> int:
        """Number of the signal that asked any process of this run to end; 0 if there was none.

        All processes get the same answer; all of them must ask.
        """
        number = torch.tensor([self._stop_request.number], device=self.device)
        return (
            int(cast(Tensor, self.accelerator.gather(number)).max())
            if self.accelerator.num_processes > 1
            else int(number)
        )

    def stop(self, number: int) -> None:
        """End this process after a signal; the last checkpoint holds everything.

        Raises:
            Stopped: Always; its exit status is 128 plus the number of the signal.
        """
        stopped = Stopped(number, told=True)
        if self._bar is not None:
            self._bar.close()
        if self.is_main:
            print(
                f"{self.config.output_dir}: stopped by {stopped.name} with a checkpoint after {self.seen} images; "
                "--resume-from-checkpoint latest goes on from it",
                file=sys.stderr,
            )
        self._stop_request.end()
        self.accelerator.end_training()
        raise stopped

    def resume(self, optimizers: dict[str, torch.optim.Optimizer]) -> dict[str, dict[str, Tensor]] | None:
        """Restore optimizers and progress from the checkpoint of `--resume-from-checkpoint`, if there is one.

        Returns:
            The other groups of tensors that `save` got, or None without a checkpoint.

        Raises:
            UserError: If no checkpoint is whole, or a setting or an input that can change a number differs from that
                of the run that wrote it.
        """
        if not self._checkpoints:
            # Lines of a run that was killed before its first checkpoint are written again.
            if self.is_main:
                cut_log(self.config.output_dir, 0)
            return None
        (folder, tensors, state), skipped = load_newest(self._checkpoints)
        changed = compare_settings(state.get("settings"), self.settings, str(folder))
        for reason in skipped:
            self.accelerator.print(f"skipped a checkpoint: {reason}")
        about = f", with {changed}" if changed else ""
        self.accelerator.print(f"resumed after {state['seen']} images from {folder}{about}")
        for name, optimizer in optimizers.items():
            restore_optimizer(optimizer, tensors.pop(name))
        self.seen, self.best = state["seen"], state["best"]
        self.validations_without_best, self._earlier_s = state["validations_without_best"], state["seconds"]
        self.plateau = Plateau(**state["plateau"])
        rank = self.accelerator.process_index
        self._sums = {
            name: (torch.tensor(totals[rank], device=self.device), count)
            for name, (totals, count) in state["sums"].items()
        }
        if state["scaler"] is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        if self.is_main:
            cut_log(self.config.output_dir, self.seen)
        return tensors

    def finish(self, exported: Path) -> TrainingResult:
        """Close the run, add its length to the facts of the best model in OUTPUT_DIR/facts.json, and return the result.

        Args:
            exported: Folder that later commands take, for `TrainingResult.exported`; it may be written afterwards.
        """
        # A signal of the last step finds its checkpoint written already; after it, signals end the process at once.
        if number := self.stop_signal():
            self.stop(number)
        self._stop_request.end()
        facts_file = self.config.output_dir / FACTS
        facts = read_json_object(facts_file) | {"images_seen": self.seen, "seconds": self.elapsed_s}
        if facts["best_after"] == self.seen and not self.stopped_early:
            self._tell("The last validation was the best: a longer training (--max-train-images) may end better")
        # Every process has read the file before the main process writes it.
        self.accelerator.wait_for_everyone()
        if self._bar is not None:
            self._bar.close()
        self.accelerator.end_training()
        if self.is_main:
            write_json(facts_file, facts)
        return TrainingResult(
            output_dir=self.config.output_dir,
            exported=exported,
            metrics=facts["validation"],
            best_after=facts["best_after"],
            images_seen=self.seen,
            seconds=facts["seconds"],
            facts=facts,
        )
