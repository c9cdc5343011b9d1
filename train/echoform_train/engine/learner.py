"""A model in training: its weights, their moving average, its optimizer, and all of them in checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import torch
from diffusers import ModelMixin
from torch import Tensor, nn

from echoform_train.engine.batches import Draw
from echoform_train.engine.ema import averaged, ema_tensors, make_ema, restore_ema
from echoform_train.engine.optimizers import build_optimizer
from echoform_train.engine.run import Run


class CheckpointPart(Protocol):
    """State of a training besides the model that checkpoints have to hold, such as a codebook."""

    def tensors(self) -> dict[str, Tensor]:
        """The present state; empty if there is none yet."""
        ...

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Inverse of `tensors`."""
        ...


class Learner:
    """A model in training; the trainer calls it in its loop.

    Args:
        run: The training run.
        name: Group of the model's weights in checkpoints.
        weights: The model whose weights are saved and averaged; moved to the device of the run.
        forward: Module that contains `weights` and computes what is differentiated; None is `weights` itself. Training
            in several processes needs this to be one module with one forward pass.
        ema_decay: Decay of the moving average of the weights at each optimizer step; None keeps no average.
        rate_factors: Factors of the learning rate, by name of a parameter of the forward module.
    """

    def __init__(
        self,
        run: Run,
        name: str,
        weights: ModelMixin,
        *,
        forward: nn.Module | None = None,
        ema_decay: float | None = None,
        rate_factors: Mapping[str, float] | None = None,
    ) -> None:
        self.run, self.name, self.weights = run, name, weights
        weights.to(run.device, memory_format=run.memory_format)  # pyright: ignore[reportCallIssue]
        if run.config.gradient_checkpointing:
            weights.enable_gradient_checkpointing()
        self.ema = None if ema_decay is None else make_ema(weights, ema_decay)
        module = weights if forward is None else forward
        self.model, self.optimizer = run.accelerator.prepare(module, build_optimizer(run.config, module, rate_factors))
        self.parts: dict[str, CheckpointPart] = {}
        """Further parts of a checkpoint, by name of their group in it; fill this before `resume`."""

    def resume(self) -> None:
        """Continue from the checkpoint that the settings name, if there is one.

        Raises:
            ValueError: If a setting that a resume must not change differs from that of the checkpoint.
        """
        groups = self.run.resume(self.optimizers())
        if groups is None:
            return
        self.weights.load_state_dict(groups[self.name])
        if self.ema is not None:
            restore_ema(self.ema, groups["ema"])
        for name, part in self.parts.items():
            if name in groups:
                part.restore(groups[name])

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Every optimizer, by the name of its group in checkpoints."""
        return {"optimizer": self.optimizer}

    def passes(self) -> Iterator[Draw]:
        """The draws of the next optimizer step, for a loop whose body is one forward pass and one call of `descend`.

        After the last pass the moving average is updated, the images are counted, and the log is written if it is due.
        """
        for draw in self.run.draws():
            with self.run.accelerator.accumulate(self.model):
                yield draw
        if self.ema is not None:
            self.ema.update_parameters(self.weights)
        self.run.advance()
        if self.run.due(self.run.config.logging_every):
            self.run.log_means()

    def descend(self, loss: Tensor, **parts: Tensor) -> None:
        """Backward pass for a scalar loss; the last pass of an optimizer step also takes the step.

        Call it in the loop over `passes`. `parts` are scalars that are logged beside the loss.
        """
        self.run.collect(loss=loss, **parts)
        self.run.descend(loss, self.optimizer, self.model)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Run the block with the averaged weights in the model, then put its own weights back."""
        assert self.ema is not None
        with averaged(self.weights, self.ema):
            yield

    def save_if_due(self) -> None:
        """Call `on_validation`, and write a checkpoint if one is due, the training is over or has to stop.

        Raises:
            Stopped: After a signal, when the checkpoint is written.
            BaseException: What a callback raised, when the checkpoint is written.
        """
        stop_signal, failed = self.run.stop_signal(), self.run.call_on_validation()
        if self.run.due(self.run.config.checkpointing_every) or self.run.done or stop_signal or failed:
            groups = {self.name: self.weights.state_dict()}
            if self.ema is not None:
                groups["ema"] = ema_tensors(self.ema)
            groups |= {name: tensors for name, part in self.parts.items() if (tensors := part.tensors())}
            self.run.save(self.optimizers(), groups)
            self.run.raise_of_callbacks()
        if stop_signal:
            self.run.stop(stop_signal)
