"""The loop over the plan. Read it from top to bottom: there is nothing else to training.

The loop knows no dataset and no task by name. Every random number of a step is a function of (seed, step), so a run
that was stopped goes on as if it had not been.
"""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_

from foundationx.config import RunConfig
from foundationx.data.device import Normaliser
from foundationx.data.loader import sample_seed, usable
from foundationx.engine.checkpoint import Checkpoint, save_checkpoint
from foundationx.engine.events import LogRecord, Watcher
from foundationx.engine.meter import Meter
from foundationx.engine.optim import build_optimiser, lr_schedule, set_learning_rate, trained_parameters
from foundationx.engine.step import training_losses
from foundationx.errors import DataError, DivergenceError
from foundationx.model import FoundationModel
from foundationx.models.scopes import lock
from foundationx.models.teacher import Teacher
from foundationx.schedule.curves import build_curve
from foundationx.schedule.plan import Phase, Plan
from foundationx.types import BadSample, Batch


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
        self.checkpoints = checkpoints
        self.watchers = list(watchers)
        self.device = next(model.parameters()).device
        self.normalise = Normaliser(config.model, self.device)
        self.optimiser = optimiser or build_optimiser(model, config.optimiser)
        self.lr_factor = lr_schedule(config.optimiser)
        self.momentum = build_curve(config.teacher.momentum)
        self.meter = Meter()
        self.bad: dict[tuple[str, str, str], BadSample] = {}
        self.step = 0
        self.visit = 0
        self.stop_requested = False

    # ---------------------------------------------------------------- the loop

    def train(self) -> bool:
        """Runs the plan from the present step to its end. Returns False where it was asked to stop before.

        Raises:
            DataError: a sample is bad and ``on_bad_sample`` is ``raise``; what was trained so far is saved first.
            DivergenceError: a loss is not finite; nothing is saved, the last checkpoint stays.
        """
        self._tell("on_start", self.plan, self.step)
        try:
            with self._stopping_cleanly():
                self._run_phases()
        except DataError:
            self.save()
            raise
        finished = self.step == self.plan.total_steps
        self.save()
        self._tell("on_end", self.plan, finished)
        return finished

    def _run_phases(self) -> None:
        """Phase after phase, from the present step to the end or to a request to stop."""
        source = iter(self.batches(self.step))
        for phase in self.plan.from_step(self.step):
            self._run_phase(phase, source)
            if self.stop_requested:
                break

    def _run_phase(self, phase: Phase, source: Iterator[Batch]) -> None:
        """Trains one phase's scopes for the steps it has left."""
        self._tell("on_phase", phase)
        self.meter = Meter()
        with lock(self.model, phase.trainable):
            while self.step < phase.last_step and not self._may_stop(phase):
                self._run_step(phase, source)
        if self.step == phase.last_step:
            self._close(phase)

    def _run_step(self, phase: Phase, source: Iterator[Batch]) -> None:
        """One batch: losses, gradients, update."""
        asked = time.perf_counter()
        batch = usable(next(source), self.config.runtime.on_bad_sample)
        waited = time.perf_counter() - asked
        self._note_bad(batch)
        torch.manual_seed(sample_seed(self.config.runtime.seed, self.step))
        with self._precision():
            output = training_losses(self.model, self.teacher, self.normalise, batch.to(self.device), phase)
        accumulate = self.config.optimiser.accumulate
        (output.loss / accumulate).backward()
        self.step += 1
        done_here = self.step - phase.first_step
        if done_here % accumulate == 0 or self.step == phase.last_step:
            self._update()
        self.meter.add(output.parts, len(batch), waited)
        self._tell("on_step", phase, self.step)
        if self.step % self.config.runtime.log_every == 0 or self.step == phase.last_step:
            self._log(phase)

    def _update(self) -> None:
        """One optimiser step of the released parameters, and the teacher's where it follows every step."""
        done = (self.step - 0.5) / self.plan.total_steps
        set_learning_rate(self.optimiser, self.lr_factor(done))
        if self.config.optimiser.clip_norm is not None:
            clip_grad_norm_(list(trained_parameters(self.optimiser)), self.config.optimiser.clip_norm)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        if self.config.teacher.update == "step":
            self.teacher.update(self.momentum(done))

    def _close(self, phase: Phase) -> None:
        """The end of a phase: the teacher follows; at the end of a visit or a cycle the watchers are told."""
        if phase.momentum is not None:
            self.teacher.update(phase.momentum)
        if phase.closes_visit:
            self.visit = phase.visit
            self._tell("on_visit_end", phase)
        if phase.closes_cycle:
            self.save()
            self._tell("on_cycle_end", phase)

    # ---------------------------------------------------------------- around it

    def save(self) -> Path:
        """Writes a checkpoint of the present state."""
        return save_checkpoint(
            self.checkpoints,
            self.config.runtime.keep_checkpoints,
            config=self.config,
            model=self.model,
            teacher=self.teacher.model,
            optimiser=self.optimiser,
            step=self.step,
            visit=self.visit,
        )

    def resume(self, checkpoint: Checkpoint) -> None:
        """Goes on from a checkpoint of the same model and plan."""
        self.model.load_state_dict(checkpoint.student, strict=True)
        self.teacher.model.load_state_dict(checkpoint.teacher, strict=True)
        self.optimiser.load_state_dict(checkpoint.optimiser)
        self.step, self.visit = checkpoint.step, checkpoint.visit

    def _may_stop(self, phase: Phase) -> bool:
        """Asked to stop, and no gradient is half accumulated."""
        return self.stop_requested and (self.step - phase.first_step) % self.config.optimiser.accumulate == 0

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        """bf16 autocast where it is asked for; it needs no loss scaling."""
        if self.config.runtime.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def _log(self, phase: Phase) -> None:
        """Reads the losses (the only time that the host waits for the device) and tells the watchers."""
        losses, rate, waiting = self.meter.read()
        if not all(map(math.isfinite, losses.values())):
            found = ", ".join(f"{name} is {value}" for name, value in losses.items() if not math.isfinite(value))
            mend = "lower optimiser.lr or optimiser.clip_norm, and go on with --resume"
            raise DivergenceError(f"step {self.step}, {phase.key}, {phase.name.value}", found, "finite losses", mend)
        lr = self.config.optimiser.lr * self.lr_factor((self.step - 0.5) / self.plan.total_steps)
        self._tell("on_log", LogRecord(self.step, phase, losses, lr, rate, waiting))

    def _note_bad(self, batch: Batch) -> None:
        for entry in batch.bad:
            self.bad.setdefault((entry.dataset, entry.task, entry.file), entry)

    def _tell(self, event: str, *facts: Any) -> None:
        for watcher in self.watchers:
            getattr(watcher, event)(*facts)

    @contextlib.contextmanager
    def _stopping_cleanly(self) -> Iterator[None]:
        """On SIGINT or SIGTERM the step at hand is finished and a checkpoint written; a second signal ends at once."""

        def ask(number: int, frame: FrameType | None) -> None:
            if self.stop_requested:
                raise KeyboardInterrupt
            self.stop_requested = True

        try:
            previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not in the main thread: whoever runs us there handles signals
            previous = {}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
