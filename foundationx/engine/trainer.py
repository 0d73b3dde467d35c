"""The loop over the plan. Read it from top to bottom: there is nothing else to training.

The loop knows no dataset and no task by name. Every random number of a step is a function of (seed, step), so a run
that was stopped or killed goes on from its last checkpoint as if it had not been.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from foundationx.core import distributed
from foundationx.core.config.run import RunConfig
from foundationx.core.device import seed_generators
from foundationx.core.errors import CheckpointError, DamagedCheckpointError, DataError, DivergenceError
from foundationx.core.types import BadSample, Batch, StepOutput
from foundationx.data.loader import deaths_seen_when_reading, sample_seed
from foundationx.data.normalise import Normaliser
from foundationx.engine.agreement import Agreement, Flags
from foundationx.engine.batches import next_usable_batch
from foundationx.engine.checkpoint import FIX, Checkpoint, CheckpointManager, first_line
from foundationx.engine.exchange import GradientExchange
from foundationx.engine.feature_cache import FeatureCache
from foundationx.engine.filling import Filling
from foundationx.engine.hooks import Hook, Incident, LogRecord
from foundationx.engine.metric_logger import MetricLogger
from foundationx.engine.nonfinite import NonFiniteCheck
from foundationx.engine.optim import (
    adapted_state,
    build_optimizer,
    check_state,
    clipped_norm,
    learning_rate,
    set_learning_rate,
    trained_parameters,
    whole_state,
)
from foundationx.engine.schedule.curves import teacher_momentum
from foundationx.engine.schedule.plan import Phase, Plan
from foundationx.engine.signals import StopRequest, listening_for_stop
from foundationx.engine.step import TeacherGate, precision, training_losses
from foundationx.models.compile import compile_errors
from foundationx.models.ema_teacher import Teacher
from foundationx.models.foundation_model import FoundationModel
from foundationx.models.parameter_groups import lock

JUMP_LIMIT = 2.0
"""A head's task loss is reported if it exceeds this multiple of its loss at the end of the head's last visit."""


class Trainer:
    """Trains a student over a plan while a teacher follows it.

    Args:
        config: Configuration of the run.
        model: Student, on its device.
        plan: Phases, in order.
        batches: Gives the plan's batches from a step on (a loader).
        checkpoints: Folder for checkpoints.
        hooks: Called at every event, in this order.
        optimizer: Optimizer of the model's parameters; built by the configuration if it is None.

    Attributes:
        teacher: Follows the student. Between two steps of a lock phase some of its updates may be deferred: call
            ``teacher.flush()`` before reading ``teacher.model`` there.
        step: Steps done.
        visit: Number of the last finished visit.
        bad: Samples that were left out, by dataset, task, file and row.
        filling: What the teacher fills in the student's batches; set from outside, None for nothing.
        last_losses: Visit and task loss of each head's last record.
        exchange: Averages gradients in the present phase; None with one rank.
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
        self.momentum = teacher_momentum(config.teacher, plan.total_steps)
        self.gate = TeacherGate(config)
        self.features = FeatureCache(config, model, self.normalise)
        self.filling: Filling | None = None
        self.metric_logger = MetricLogger()
        self.nonfinite = NonFiniteCheck(model, self.optimizer, config.runtime.bad_steps)
        self.last_losses: dict[str, tuple[int, float]] = {}
        self.bad: dict[tuple[str, str, str, str], BadSample] = {}
        self.step = 0
        self.visit = 0
        self.stop = StopRequest()
        self.exchange: GradientExchange | None = None
        self._is_save_due = False
        self._left_out: tuple[BadSample, ...] = ()

    # ---------------------------------------------------------------- the loop

    @compile_errors()
    def train(self) -> bool:
        """Runs the plan from the present step to its end.

        Returns:
            Whether the end was reached; False if a stop was requested before.

        Raises:
            DataError: A sample is bad and ``on_bad_sample`` is ``raise``, or a worker has died; what was trained so far
                is saved first.
            DivergenceError: Too many steps in a row had no finite loss and gradient; the last checkpoint stays.
            CheckpointError: The last state could not be saved.
            CompileError: A part cannot be compiled, or had to be compiled more often than planned.
        """
        self.call_hooks("on_start", self.plan, self.step)
        self.checkpoint_manager.start_clock(self.step)
        with listening_for_stop(self.stop.ask), contextlib.ExitStack() as until_saved:
            source = iter(self.batches(self.features.start_of(self.plan, self.step)))
            until_saved.enter_context(deaths_seen_when_reading())
            try:
                self._run_phases(source)
            except DataError:
                if self.nonfinite.is_between_updates:
                    self.save()
                self.finish_saving()
                if not (self.stop.asked or self.stop.asked_elsewhere):  # else a worker was stopped along with us
                    raise
            else:
                self.save(final=True)
        self.teacher.flush()
        finished = self.step == self.plan.total_steps
        self.call_hooks("on_end", self.plan, finished)
        return finished

    def _run_phases(self, source: Iterator[Batch]) -> None:
        """Phase after phase, from the present step to the end or to a request to stop."""
        for phase in self.plan.from_step(self.step):
            self._run_phase(phase, source)
            if self.stop.is_agreed:
                break

    def _run_phase(self, phase: Phase, source: Iterator[Batch]) -> None:
        """Trains one phase's parameter groups for the steps it has left."""
        self.begin_phase(phase)
        self.metric_logger.start_clock()
        with lock(self.model, phase.trainable), self._exchanging():
            while self.step < phase.end_step and not (self.stop.is_agreed and self.nonfinite.is_between_updates):
                self._run_step(phase, source)
                if self.step < phase.end_step:  # after the last step the teacher follows first
                    self._save_if_due()
        self.features.drop()
        if self.step == phase.end_step:
            self.end_phase(phase)

    @contextlib.contextmanager
    def _exchanging(self) -> Iterator[None]:
        """Gradients are averaged over ranks inside, if there are several."""
        if distributed.world_size() > 1:
            is_compressed = self.config.runtime.gradients == "bf16"
            self.exchange = GradientExchange(self.model, self._own_losses, is_compressed)
        try:
            yield
        finally:
            self.exchange = None

    def begin_phase(self, phase: Phase) -> None:
        """What comes before the first step that is left of a phase."""
        if self.filling is not None:
            self.filling.begin_phase(phase, self.teacher)
        self.call_hooks("on_phase", phase)

    def _run_step(self, phase: Phase, source: Iterator[Batch]) -> None:
        """One batch: losses, gradients, update."""
        batch, trunk_output, agreement = self._read_step(phase, source)
        number = self.step * distributed.world_size() + distributed.rank()
        seed_generators(sample_seed(self.config.runtime.seed, number), self.device)
        self.nonfinite.begin()
        phase = self.gate.applied(phase, self.step, self.model, self.teacher, self.normalise, batch)
        accumulate = self.config.optimizer.accumulate
        done_here = self.step + 1 - phase.first_step
        is_last = done_here % accumulate == 0 or self.step + 1 == phase.end_step
        output = self._losses(batch, phase, trunk_output, agreement, is_last)
        with distributed.noticing_losses():
            (output.loss / accumulate).backward()
        self.step += 1
        finite = self.nonfinite.check(self.step, batch, output.loss)
        if is_last:
            self._update(phase)
        self.metric_logger.add(output.parts, finite, len(batch))
        self.call_hooks("on_step", phase, self.step)
        if self.step % self.config.runtime.log_every == 0 or self.step == phase.end_step:
            self._log(phase)

    def _read_step(self, phase: Phase, source: Iterator[Batch]) -> tuple[Batch, Any, Agreement]:
        """The step's batch on the device, the output of its trunk if that is frozen, and the message to all ranks.

        Raises:
            DataError: The batch cannot be read, here or on another rank.
        """
        self._left_out = ()
        try:
            batch, trunk_output = self.features.of_step(phase, self.step, lambda: self._read(source))
        except DataError as error:
            self._wait_for(Agreement(Flags(self.stop.asked, fault=True), {}, self._left_out, error))
            raise
        is_due = distributed.is_main_process() and self.checkpoint_manager.is_due(self.step + 1)
        flags = Flags(self.stop.asked, is_due, bool(self._left_out))
        return batch, trunk_output, Agreement(flags, batch.counts, self._left_out)

    def _read(self, source: Iterator[Batch]) -> Batch:
        """The next batch, on the device; the time that it took and its bad samples are noted."""
        start = time.perf_counter()
        batch = next_usable_batch(source, self.config.runtime.on_bad_sample)
        self.metric_logger.wait(time.perf_counter() - start)
        self._left_out += batch.bad
        if distributed.world_size() > 1:
            batch = replace(batch, counts={"images": len(batch)} | self.model.head(batch.key).counts(batch))
        return batch.to(self.device)

    def _losses(self, batch: Batch, phase: Phase, trunk_output: Any, agreement: Agreement, is_last: bool) -> StepOutput:
        """The losses of a batch; meanwhile the ranks agree. Raises DataError: another rank has no batch."""
        try:
            with precision(self.config.runtime, self.device), agreement.counts():
                if self.exchange is None:
                    output = self._own_losses(batch, phase, trunk_output)
                else:
                    output = self.exchange.losses(batch, phase, trunk_output, is_last)
        except DataError:
            self.nonfinite.undo()
            raise
        finally:
            self.stop.asked_elsewhere |= agreement.flags.stop
        self._is_save_due = agreement.flags.save
        self.add_bad_samples(agreement.bad)
        return output

    def _wait_for(self, agreement: Agreement) -> None:
        """Waits for a message that names a fault. Raises DataError."""
        try:
            agreement.wait()
        finally:
            self.stop.asked_elsewhere |= agreement.flags.stop

    def _own_losses(self, batch: Batch, phase: Phase, trunk_output: Any) -> StepOutput:
        output = training_losses(self.model, self.teacher, self.normalise, batch, phase, trunk_output)
        if self.filling is None:
            return output
        with distributed.no_known_totals():
            return self.filling.add(output, self.model, self.teacher, batch, phase, self.step / self.plan.total_steps)

    def _update(self, phase: Phase) -> None:
        """One optimizer step of the released parameters, and the teacher's if it is updated every step.

        Neither if a loss or the gradient is not finite.
        """
        set_learning_rate(self.optimizer, self.lr_factor(phase, self.step))
        finite_elsewhere = None if self.exchange is None else self.exchange.finish()
        limit, trained = self.config.optimizer.clip_norm, list(trained_parameters(self.optimizer))
        norm = clipped_norm(trained, limit, may_read=not self.nonfinite.fused)
        applied = self.nonfinite.update(norm, finite_elsewhere)
        self.optimizer.zero_grad(set_to_none=True)
        if self.config.teacher.update == "step":
            momentum = self.momentum((self.step - 0.5) / self.plan.total_steps)
            self.teacher.update(momentum, applied, phase.trainable if phase.is_head_only else None)

    def end_phase(self, phase: Phase) -> None:
        """What comes after the last step of a phase: the teacher follows, a visit or a cycle may end."""
        self.teacher.end_deferral()
        if phase.momentum is not None:
            self.teacher.update(phase.momentum)
        if phase.closes_visit:
            self.end_visit(phase)
        if phase.closes_cycle:
            self.save()
            self.call_hooks("on_cycle_end", phase)
        else:
            self._save_if_due()

    def end_visit(self, phase: Phase) -> None:
        """What comes after the last phase of a visit."""
        self.visit = phase.visit
        self.call_hooks("on_visit_end", phase)

    # ---------------------------------------------------------------- checkpoints

    def save(self, final: bool = False) -> None:
        """Writes a checkpoint of the present state, if there is none yet.

        If it cannot be written, training goes on; only a ``final`` one is an error.

        Raises:
            CheckpointError: A ``final`` checkpoint cannot be written.
        """
        if self.checkpoint_manager.saved_step == self.step:
            if final and (incident := self.checkpoint_manager.finish()):
                fix = "free disk space and start the same command again"
                raise CheckpointError(str(self.checkpoint_manager.folder), incident.message, fix=fix)
            return
        self._report_nonfinite()
        optimizer = whole_state(self.optimizer)
        self.teacher.flush()
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
        if incident := self.checkpoint_manager.save(self.step, state, final):
            self.report(incident)

    def finish_saving(self) -> None:
        """Waits for a checkpoint that is being written."""
        if incident := self.checkpoint_manager.finish():
            self.report(incident)

    def _save_if_due(self) -> None:
        """A checkpoint inside a cycle."""
        if self.nonfinite.is_between_updates and self._is_save_due:
            self.save()

    def _progress(self) -> dict[str, Any]:
        """What is stored beside the weights, so that a resumed run ends as one that was not interrupted."""
        return {
            "phase_ends": [phase.end_step for phase in self.plan.phases],
            "teacher": self.teacher.state(),
            "gate": self.gate.state(),
            "metric_logger": self.metric_logger.state(),
            "nonfinite": self.nonfinite.state(),
            "last_losses": self.last_losses,
            "bad": [asdict(sample) for sample in self.bad.values()],
        } | ({"filling": self.filling.state()} if self.filling is not None else {})

    def resume(self, checkpoint: Checkpoint) -> None:
        """Goes on from a checkpoint of the same model and plan, with the configuration's settings of the optimizer.

        Raises:
            CheckpointError: Its phases had other steps.
            DamagedCheckpointError: An entry is missing or does not fit.
        """
        where = f"checkpoint of step {checkpoint.step}"
        ends, stored = [phase.end_step for phase in self.plan.phases], checkpoint.progress.get("phase_ends")
        if isinstance(stored, list) and ends != stored and not self._is_continuation(stored, checkpoint.step):
            found = "the plan's steps differ from the checkpoint's"
            raise CheckpointError(
                where, found, "the same images and batch size", "use the data that the run began with"
            )
        try:
            self._restore(checkpoint)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            found = f"an entry is missing or does not fit ({first_line(error)})"
            raise DamagedCheckpointError(where, found, "a whole checkpoint", FIX) from error

    def _is_continuation(self, stored: list[int], step: int) -> bool:
        """Whether the plan goes on where a finished one ended, with the phases that this one had."""
        ends = [phase.end_step for phase in self.plan.phases]
        return bool(stored) and ends[: len(stored)] == stored and step == stored[-1]

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Takes over a checkpoint's state. Raises errors of many kinds: an entry is not what :meth:`save` wrote."""
        progress = checkpoint.progress
        if "phase_ends" not in progress or not 0 <= checkpoint.step <= self.plan.total_steps:
            raise ValueError(f"step {checkpoint.step} of {self.plan.total_steps}")
        self.model.load_state_dict(checkpoint.student, strict=True)
        self.teacher.model.load_state_dict(checkpoint.teacher, strict=True)
        self.teacher.restore(progress["teacher"])
        self.gate.restore(progress["gate"])
        self.load_optimizer_state(checkpoint.optimizer, checkpoint.config)
        self.step, self.visit = checkpoint.step, checkpoint.visit
        self.checkpoint_manager.saved_step = checkpoint.step
        self.metric_logger.restore(progress["metric_logger"], self.device)
        self.nonfinite.restore(progress["nonfinite"])
        self.last_losses = {
            str(key): (int(visit), float(loss)) for key, (visit, loss) in progress["last_losses"].items()
        }
        self.add_bad_samples(BadSample(**sample) for sample in progress["bad"])
        if self.filling is not None:
            self.filling.restore(progress["filling"])

    def load_optimizer_state(self, state: dict[str, Any], stored_under: RunConfig) -> None:
        """Loads a state of the optimizer; learning rates, weight decay and moments' decay are the configuration's.

        Raises ValueError, KeyError and others: the state is not one of this optimizer.
        """
        before, now = stored_under.optimizer, self.config.optimizer
        self.optimizer.load_state_dict(adapted_state(state, self.model, before, now, self.optimizer))
        check_state(self.optimizer)

    # ---------------------------------------------------------------- reports

    def call_hooks(self, event: str, *arguments: Any) -> None:
        """Calls a method of every hook, in the order of their list."""
        for hook in self.hooks:
            getattr(hook, event)(*arguments)

    def report(self, incident: Incident) -> None:
        """Reports something that went wrong and does not end the run."""
        self.call_hooks("on_incident", incident)

    def add_bad_samples(self, samples: Iterable[BadSample]) -> None:
        """Notes samples that were left out; each is listed once."""
        for sample in samples:
            self.bad.setdefault((sample.dataset, sample.task, sample.file, sample.row), sample)

    def _log(self, phase: Phase) -> None:
        """Reads the losses, the only time that the host waits for the device, and reports them."""
        self._report_nonfinite()
        losses, rate, waiting = self.metric_logger.read()
        if self.nonfinite.is_too_much:
            found = f"{self.nonfinite.longest} steps in a row without a finite loss and gradient; all were skipped"
            fix = "lower optimizer.lr or optimizer.clip_norm, look at the images named, and go on with --resume"
            raise DivergenceError(f"step {self.step}, {phase.key}, {phase.name.value}", found, "finite losses", fix)
        if not losses:
            return
        lr = self.config.optimizer.lr * self.lr_factor(phase, self.step)
        jump = self._jump(phase, losses["task"])
        self.call_hooks("on_log", LogRecord(self.step, phase, losses, lr, rate, waiting, jump))
        if jump is not None and jump > JUMP_LIMIT:
            message = f"task loss is {jump:.1f} times its value at the end of the head's last visit"
            self.report(Incident(self.step, "loss_jump", message, phase.key.dataset, phase.key.task.value))

    def _jump(self, phase: Phase, loss: float) -> float | None:
        """A visit's first task loss divided by the head's last one of the visit before; None inside a visit."""
        visit, before = self.last_losses.get(str(phase.key), (phase.visit, loss))
        self.last_losses[str(phase.key)] = (phase.visit, loss)
        return loss / before if visit != phase.visit and before > 0 else None

    def _report_nonfinite(self) -> None:
        """Reports the optimizer steps that were skipped since the last reading."""
        for incident in self.nonfinite.read():
            self.report(incident)
