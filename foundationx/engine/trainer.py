"""The loop over the plan. Read it from top to bottom: there is nothing else to training.

The loop knows no dataset and no task by name. Every random number of a step is a function of (seed, step), so a run
that was stopped or killed goes on from its last checkpoint as if it had not been.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_, get_total_norm

from foundationx.core import distributed
from foundationx.core.config.run import RunConfig
from foundationx.core.errors import CheckpointError, DataError, DivergenceError
from foundationx.core.types import BadSample, Batch
from foundationx.data.loader import sample_seed
from foundationx.data.normalise import Normaliser
from foundationx.engine.batches import gather_bad_samples, next_synchronized_batch
from foundationx.engine.checkpoint import Checkpoint
from foundationx.engine.checkpoint_manager import CheckpointManager
from foundationx.engine.feature_cache import FeatureCache
from foundationx.engine.hooks import Hook, Incident, LogRecord
from foundationx.engine.metric_logger import MetricLogger
from foundationx.engine.nonfinite import NonFiniteCheck
from foundationx.engine.optim import build_optimizer, learning_rate, set_learning_rate, trained_parameters, whole_state
from foundationx.engine.schedule.curves import build_curve
from foundationx.engine.schedule.plan import Phase, Plan
from foundationx.engine.signals import StopRequest, deaths_seen_when_reading, listening_for_stop
from foundationx.engine.step import precision, training_losses
from foundationx.models.compile import compile_errors
from foundationx.models.ema_teacher import Teacher
from foundationx.models.foundation_model import FoundationModel
from foundationx.models.parameter_groups import lock

JUMP_LIMIT = 2.0
"""A head whose task loss is more than so many times what it was at its last visit is told of."""


class Trainer:
    """Trains a student over a plan while a teacher follows it.

    Args:
        config: of the run.
        model: the student, on its device.
        plan: what is trained when.
        batches: gives the plan's batches from a step on (a loader).
        checkpoints: folder for checkpoints.
        hooks: are told what happens.
        optimizer: AdamW by the configuration where it is None.
    """

    def __init__(
        self,
        config: RunConfig,
        model: FoundationModel,
        plan: Plan,
        batches: Callable[[int], Iterable[Batch]],
        checkpoints: Path,
        hooks: Sequence[Hook] = (),
        optimizer: torch.optim.Optimizer | None = None,
    ):
        self.config = config
        self.model = model
        self.teacher = Teacher(model)
        self.plan = plan
        self.batches = batches
        self.checkpoint_manager = CheckpointManager(checkpoints, config.runtime)
        self.hooks = list(hooks)
        self.device = next(model.parameters()).device
        self.normalise = Normaliser(config.model, self.device)
        self.optimizer = optimizer or build_optimizer(model, config.optimizer)
        self.lr_factor = learning_rate(config.optimizer, plan)
        self.momentum = build_curve(config.teacher.momentum)
        self.features = FeatureCache(config, model, self.normalise)
        self.metric_logger = MetricLogger()
        self.nonfinite = NonFiniteCheck(model, self.optimizer, config.runtime.bad_steps)
        self.last_losses: dict[str, tuple[int, float]] = {}  # visit and task loss of each head's last record
        self.bad: dict[tuple[str, str, str], BadSample] = {}
        self.step = 0
        self.visit = 0
        self.stop = StopRequest()

    # ---------------------------------------------------------------- the loop

    @compile_errors()
    def train(self) -> bool:
        """Runs the plan from the present step to its end. Returns False where it was asked to stop before.

        Raises:
            DataError: a sample is bad and ``on_bad_sample`` is ``raise``, or a worker has died; what was trained so far
                is saved first.
            DivergenceError: too many steps in a row had no finite loss and gradient; the last checkpoint stays.
            CheckpointError: the last state could not be saved.
            CompileError: a part cannot be compiled, or had to be compiled more often than planned.
        """
        self._tell("on_start", self.plan, self.step)
        self.checkpoint_manager.start_clock(self.step)
        with listening_for_stop(self.stop.ask), contextlib.ExitStack() as until_saved:
            source = iter(self.batches(self.features.start_of(self.plan, self.step)))
            until_saved.enter_context(deaths_seen_when_reading())
            try:
                self._run_phases(source)
            except DataError:
                if self.nonfinite.is_between_updates:
                    self.save()
                if not self.stop.asked:  # else a worker was stopped along with us
                    raise
            else:
                self.save(final=True)
        finished = self.step == self.plan.total_steps
        self._tell("on_end", self.plan, finished)
        return finished

    def _run_phases(self, source: Iterator[Batch]) -> None:
        """Phase after phase, from the present step to the end or to a request to stop."""
        for phase in self.plan.from_step(self.step):
            self._run_phase(phase, source)
            if self.stop.is_agreed():
                break

    def _run_phase(self, phase: Phase, source: Iterator[Batch]) -> None:
        """Trains one phase's scopes for the steps it has left."""
        self._tell("on_phase", phase)
        self.metric_logger.start_clock()
        with lock(self.model, phase.trainable):
            while self.step < phase.end_step and not (self.stop.is_agreed() and self.nonfinite.is_between_updates):
                self._run_step(phase, source)
                if self.step < phase.end_step:  # after the last step the teacher follows first
                    self._save_if_due()
        self.features.drop()
        if self.step == phase.end_step:
            self._close(phase)

    def _run_step(self, phase: Phase, source: Iterator[Batch]) -> None:
        """One batch: losses, gradients, update."""
        batch, trunk_output = self.features.of_step(phase, self.step, lambda: self._read(source))
        torch.manual_seed(
            sample_seed(self.config.runtime.seed, self.step * distributed.world_size() + distributed.rank())
        )
        self.nonfinite.begin()
        with precision(self.config.runtime, self.device):
            output = training_losses(self.model, self.teacher, self.normalise, batch, phase, trunk_output)
        accumulate = self.config.optimizer.accumulate
        (output.loss / accumulate).backward()
        self.step += 1
        finite = self.nonfinite.check(self.step, batch, output.loss)
        done_here = self.step - phase.first_step
        if done_here % accumulate == 0 or self.step == phase.end_step:
            self._update(phase)
        self.metric_logger.add(output.parts, finite, len(batch))
        self._tell("on_step", phase, self.step)
        if self.step % self.config.runtime.log_every == 0 or self.step == phase.end_step:
            self._log(phase)

    def _update(self, phase: Phase) -> None:
        """One optimizer step of the released parameters, and the teacher's where it follows every step.

        Neither where a loss or the gradient is not finite.
        """
        set_learning_rate(self.optimizer, self.lr_factor(phase, self.step))
        distributed.all_reduce_gradients(
            [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        )
        trained = list(trained_parameters(self.optimizer))
        if self.config.optimizer.clip_norm is not None:
            norm = clip_grad_norm_(trained, self.config.optimizer.clip_norm)
        else:
            norm = get_total_norm([parameter.grad for parameter in trained])
        applied = self.nonfinite.update(norm)
        self.optimizer.zero_grad(set_to_none=True)
        distributed.all_reduce_mean_([buffer for buffer in self.model.buffers() if buffer.is_floating_point()])
        if self.config.teacher.update == "step":
            momentum = self.momentum((self.step - 0.5) / self.plan.total_steps)
            self.teacher.update(momentum, applied, phase.trainable if phase.is_head_only else None)

    def _close(self, phase: Phase) -> None:
        """The end of a phase: the teacher follows; at the end of a visit or a cycle the hooks are told."""
        self.teacher.settle()
        if phase.momentum is not None:
            self.teacher.update(phase.momentum)
        if phase.closes_visit:
            self.visit = phase.visit
            self._tell("on_visit_end", phase)
        if phase.closes_cycle:
            self.save()
            self._tell("on_cycle_end", phase)
        else:
            self._save_if_due()

    # ---------------------------------------------------------------- around it

    def save(self, final: bool = False) -> None:
        """Writes a checkpoint of the present state, if there is none yet.

        Where the disk does not take it, training goes on; only a ``final`` one is an error.

        Raises:
            CheckpointError: a ``final`` checkpoint cannot be written.
        """
        if self.checkpoint_manager.saved_step == self.step:
            return
        self._read_nonfinite()
        optimizer = whole_state(self.optimizer)
        if not distributed.is_main_process():
            self.checkpoint_manager.saved_step = self.step
            return
        state = {
            "config": self.config,
            "model": self.model,
            "teacher": self.teacher.model,
            "optimizer": optimizer,
            "visit": self.visit,
            "progress": self._progress(),
        }
        if fault := self.checkpoint_manager.save(self.step, state, final):
            self.report(fault)

    def _save_if_due(self) -> None:
        """A checkpoint inside a cycle."""
        if self.nonfinite.is_between_updates:
            (is_due,) = distributed.all_reduce_any(
                distributed.is_main_process() and self.checkpoint_manager.is_due(self.step)
            )
            if is_due:
                self.save()

    def _progress(self) -> dict[str, Any]:
        """What is kept beside the weights, so that nothing shows where a run was interrupted."""
        return {
            "phase_ends": [phase.end_step for phase in self.plan.phases],
            "teacher": self.teacher.state(),
            "metric_logger": self.metric_logger.state(),
            "nonfinite": self.nonfinite.state(),
            "last_losses": self.last_losses,
            "bad": [(key, asdict(entry)) for key, entry in self.bad.items()],
        }

    def resume(self, checkpoint: Checkpoint) -> None:
        """Goes on from a checkpoint of the same model and plan.

        Raises:
            CheckpointError: its phases had other steps.
        """
        progress = checkpoint.progress
        if progress["phase_ends"] != self._progress()["phase_ends"]:
            found = "the plan's steps differ from the checkpoint's"
            raise CheckpointError(f"step {checkpoint.step}", found, "the same images and batch size")
        self.model.load_state_dict(checkpoint.student, strict=True)
        self.teacher.model.load_state_dict(checkpoint.teacher, strict=True)
        self.teacher.restore(progress.get("teacher"))
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self.step, self.visit = checkpoint.step, checkpoint.visit
        self.checkpoint_manager.saved_step = checkpoint.step
        self.metric_logger.restore(progress["metric_logger"], self.device)
        self.nonfinite.restore(progress["nonfinite"])
        self.last_losses = progress["last_losses"]
        self.bad.update({key: BadSample(**entry) for key, entry in progress["bad"]})

    def report(self, incident: Incident) -> None:
        """Tells the hooks of something that went wrong."""
        self._tell("on_incident", incident)

    def _log(self, phase: Phase) -> None:
        """Reads the losses (the only time that the host waits for the device) and tells the hooks."""
        self._read_nonfinite()
        losses, rate, waiting = self.metric_logger.read()
        if self.nonfinite.is_too_much:
            found = (
                f"{self.nonfinite.longest} steps in a row without a finite loss and gradient; none of them was taken"
            )
            fix = "lower optimizer.lr or optimizer.clip_norm, look at the images named, and go on with --resume"
            raise DivergenceError(f"step {self.step}, {phase.key}, {phase.name.value}", found, "finite losses", fix)
        if not losses:
            return
        lr = self.config.optimizer.lr * self.lr_factor(phase, self.step)
        jump = self._jump(phase, losses["task"])
        self._tell("on_log", LogRecord(self.step, phase, losses, lr, rate, waiting, jump))
        if jump is not None and jump > JUMP_LIMIT:
            message = f"task loss is {jump:.1f} times what it was at the end of the head's last visit"
            self.report(Incident(self.step, "loss_jump", message, phase.key.dataset, phase.key.task.value))

    def _jump(self, phase: Phase, loss: float) -> float | None:
        """A visit's first task loss divided by the head's last one of the visit before; None inside a visit."""
        visit, before = self.last_losses.get(str(phase.key), (phase.visit, loss))
        self.last_losses[str(phase.key)] = (phase.visit, loss)
        return loss / before if visit != phase.visit and before > 0 else None

    def _read_nonfinite(self) -> None:
        for incident in self.nonfinite.read():
            self.report(incident)

    def _read(self, source: Iterator[Batch]) -> Batch:
        """The next batch, on the device; how long it took and what was wrong with it is noted."""
        asked = time.perf_counter()
        batch = next_synchronized_batch(source, self.config.runtime.on_bad_sample)
        self.metric_logger.wait(time.perf_counter() - asked)
        for entry in gather_bad_samples(batch, self.config.runtime.on_bad_sample):
            self.bad.setdefault((entry.dataset, entry.task, entry.file), entry)
        return batch.to(self.device)

    def _tell(self, event: str, *facts: Any) -> None:
        for hook in self.hooks:
            getattr(hook, event)(*facts)
