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

from foundationx.core import distributed as ranks
from foundationx.core.config.run import RunConfig
from foundationx.core.errors import CheckpointError, DataError, DivergenceError
from foundationx.core.types import BadSample, Batch
from foundationx.data.loader import sample_seed
from foundationx.data.normalise import Normaliser
from foundationx.engine.batches import agreed_batch, bad_anywhere
from foundationx.engine.checkpoint import Checkpoint
from foundationx.engine.checkpoint_manager import Keeper
from foundationx.engine.feature_cache import KeptFeatures
from foundationx.engine.hooks import Incident, LogRecord, Watcher
from foundationx.engine.metric_logger import Meter
from foundationx.engine.nonfinite import Guard
from foundationx.engine.optim import build_optimiser, learning_rate, set_learning_rate, trained_parameters, whole_state
from foundationx.engine.schedule.curves import build_curve
from foundationx.engine.schedule.plan import Phase, Plan
from foundationx.engine.signals import StopRequest, deaths_seen_when_reading, listening_for_stop
from foundationx.engine.step import precision, training_losses
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
        watchers: are told what happens.
        optimiser: AdamW by the configuration where it is None.
    """

    def __init__(
        self,
        config: RunConfig,
        model: FoundationModel,
        plan: Plan,
        batches: Callable[[int], Iterable[Batch]],
        checkpoints: Path,
        watchers: Sequence[Watcher] = (),
        optimiser: torch.optim.Optimizer | None = None,
    ):
        self.config = config
        self.model = model
        self.teacher = Teacher(model)
        self.plan = plan
        self.batches = batches
        self.keeper = Keeper(checkpoints, config.runtime)
        self.watchers = list(watchers)
        self.device = next(model.parameters()).device
        self.normalise = Normaliser(config.model, self.device)
        self.optimiser = optimiser or build_optimiser(model, config.optimiser)
        self.lr_factor = learning_rate(config.optimiser, plan)
        self.momentum = build_curve(config.teacher.momentum)
        self.features = KeptFeatures(config, model, self.normalise)
        self.meter = Meter()
        self.guard = Guard(model, self.optimiser, config.runtime.bad_steps)
        self.last_losses: dict[str, tuple[int, float]] = {}  # visit and task loss of each head's last record
        self.bad: dict[tuple[str, str, str], BadSample] = {}
        self.step = 0
        self.visit = 0
        self.stop = StopRequest()

    # ---------------------------------------------------------------- the loop

    def train(self) -> bool:
        """Runs the plan from the present step to its end. Returns False where it was asked to stop before.

        Raises:
            DataError: a sample is bad and ``on_bad_sample`` is ``raise``, or a worker has died; what was trained so far
                is saved first.
            DivergenceError: too many steps in a row had no finite loss and gradient; the last checkpoint stays.
            CheckpointError: the last state could not be saved.
        """
        self._tell("on_start", self.plan, self.step)
        self.keeper.start_clock(self.step)
        with listening_for_stop(self.stop.ask), contextlib.ExitStack() as until_saved:
            source = iter(self.batches(self.features.start_of(self.plan, self.step)))
            until_saved.enter_context(deaths_seen_when_reading())
            try:
                self._run_phases(source)
            except DataError:
                if self.guard.is_between_updates:
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
        self.meter.start_clock()
        with lock(self.model, phase.trainable):
            while self.step < phase.last_step and not (self.stop.is_agreed() and self.guard.is_between_updates):
                self._run_step(phase, source)
                if self.step < phase.last_step:  # after the last step the teacher follows first
                    self._save_if_due()
        self.features.drop()
        if self.step == phase.last_step:
            self._close(phase)

    def _run_step(self, phase: Phase, source: Iterator[Batch]) -> None:
        """One batch: losses, gradients, update."""
        batch, trunk_output = self.features.of_step(phase, self.step, lambda: self._read(source))
        torch.manual_seed(sample_seed(self.config.runtime.seed, self.step * ranks.count() + ranks.index()))
        self.guard.begin()
        with precision(self.config.runtime, self.device):
            output = training_losses(self.model, self.teacher, self.normalise, batch, phase, trunk_output)
        accumulate = self.config.optimiser.accumulate
        (output.loss / accumulate).backward()
        self.step += 1
        finite = self.guard.judge(self.step, batch, output.loss)
        done_here = self.step - phase.first_step
        if done_here % accumulate == 0 or self.step == phase.last_step:
            self._update(phase)
        self.meter.add(output.parts, finite, len(batch))
        self._tell("on_step", phase, self.step)
        if self.step % self.config.runtime.log_every == 0 or self.step == phase.last_step:
            self._log(phase)

    def _update(self, phase: Phase) -> None:
        """One optimiser step of the released parameters, and the teacher's where it follows every step.

        Neither where a loss or the gradient is not finite.
        """
        set_learning_rate(self.optimiser, self.lr_factor(phase, self.step))
        ranks.average_gradients([parameter for parameter in self.model.parameters() if parameter.requires_grad])
        trained = list(trained_parameters(self.optimiser))
        if self.config.optimiser.clip_norm is not None:
            norm = clip_grad_norm_(trained, self.config.optimiser.clip_norm)
        else:
            norm = get_total_norm([parameter.grad for parameter in trained])
        applied = self.guard.update(norm)
        self.optimiser.zero_grad(set_to_none=True)
        ranks.average_([buffer for buffer in self.model.buffers() if buffer.is_floating_point()])
        if self.config.teacher.update == "step":
            momentum = self.momentum((self.step - 0.5) / self.plan.total_steps)
            self.teacher.update(momentum, applied, phase.trainable if phase.is_head_only else None)

    def _close(self, phase: Phase) -> None:
        """The end of a phase: the teacher follows; at the end of a visit or a cycle the watchers are told."""
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
        if self.keeper.saved_step == self.step:
            return
        self._read_guard()
        optimiser = whole_state(self.optimiser)
        if not ranks.is_first():
            self.keeper.saved_step = self.step
            return
        state = {
            "config": self.config,
            "model": self.model,
            "teacher": self.teacher.model,
            "optimiser": optimiser,
            "visit": self.visit,
            "progress": self._progress(),
        }
        if fault := self.keeper.save(self.step, state, final):
            self.report(fault)

    def _save_if_due(self) -> None:
        """A checkpoint inside a cycle."""
        if self.guard.is_between_updates:
            (is_due,) = ranks.anywhere(ranks.is_first() and self.keeper.is_due(self.step))
            if is_due:
                self.save()

    def _progress(self) -> dict[str, Any]:
        """What is kept beside the weights, so that nothing shows where a run was interrupted."""
        return {
            "phase_ends": [phase.last_step for phase in self.plan.phases],
            "teacher": self.teacher.state(),
            "meter": self.meter.state(),
            "guard": self.guard.state(),
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
        self.optimiser.load_state_dict(checkpoint.optimiser)
        self.step, self.visit = checkpoint.step, checkpoint.visit
        self.keeper.saved_step = checkpoint.step
        self.meter.restore(progress["meter"], self.device)
        self.guard.restore(progress["guard"])
        self.last_losses = progress["last_losses"]
        self.bad.update({key: BadSample(**entry) for key, entry in progress["bad"]})

    def report(self, incident: Incident) -> None:
        """Tells the watchers of something that went wrong."""
        self._tell("on_incident", incident)

    def _log(self, phase: Phase) -> None:
        """Reads the losses (the only time that the host waits for the device) and tells the watchers."""
        self._read_guard()
        losses, rate, waiting = self.meter.read()
        if self.guard.is_too_much:
            found = f"{self.guard.longest} steps in a row without a finite loss and gradient; none of them was taken"
            mend = "lower optimiser.lr or optimiser.clip_norm, look at the images named, and go on with --resume"
            raise DivergenceError(f"step {self.step}, {phase.key}, {phase.name.value}", found, "finite losses", mend)
        if not losses:
            return
        lr = self.config.optimiser.lr * self.lr_factor(phase, self.step)
        jump = self._jump(phase, losses["task"])
        self._tell("on_log", LogRecord(self.step, phase, losses, lr, rate, waiting, jump))
        if jump is not None and jump > JUMP_LIMIT:
            message = f"task loss is {jump:.1f} times what it was at the end of the head's last visit"
            self.report(Incident(self.step, "seam", message, phase.key.dataset, phase.key.task.value))

    def _jump(self, phase: Phase, loss: float) -> float | None:
        """A visit's first task loss divided by the head's last one of the visit before; None inside a visit."""
        visit, before = self.last_losses.get(str(phase.key), (phase.visit, loss))
        self.last_losses[str(phase.key)] = (phase.visit, loss)
        return loss / before if visit != phase.visit and before > 0 else None

    def _read_guard(self) -> None:
        for incident in self.guard.read():
            self.report(incident)

    def _read(self, source: Iterator[Batch]) -> Batch:
        """The next batch, on the device; how long it took and what was wrong with it is noted."""
        asked = time.perf_counter()
        batch = agreed_batch(source, self.config.runtime.on_bad_sample)
        self.meter.wait(time.perf_counter() - asked)
        for entry in bad_anywhere(batch, self.config.runtime.on_bad_sample):
            self.bad.setdefault((entry.dataset, entry.task, entry.file), entry)
        return batch.to(self.device)

    def _tell(self, event: str, *facts: Any) -> None:
        for watcher in self.watchers:
            getattr(watcher, event)(*facts)
