"""One training step's losses. No logging and no host sync: everything stays on the device."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import torch

from foundationx.core import distributed
from foundationx.core.config.run import RunConfig, RuntimeConfig
from foundationx.core.device import computes_in_bf16
from foundationx.core.types import Batch, StepOutput
from foundationx.data.loader import sample_seed
from foundationx.data.normalise import Normaliser
from foundationx.engine.schedule.plan import Phase
from foundationx.models.consistency import consistency_loss
from foundationx.models.ema_teacher import Teacher
from foundationx.models.foundation_model import FoundationModel
from foundationx.models.views import look_at_views


def precision(runtime: RuntimeConfig, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """bf16 autocast if the configuration asks for it, or the device is made for it; it needs no loss scaling."""
    if computes_in_bf16(runtime.precision, device):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


class TeacherGate:
    """Decides whether a head follows the teacher: if the teacher's task loss is below the student's.

    Asked once per head and cycle, on the first batch of a phase with consistency; the answer holds for the cycle. Both
    networks see the teacher's view without dropout and draw the same random numbers, which are a function of (seed,
    step) and leave those of the step as they are. Of several processes each decides by its share of the batch.

    Args:
        config: Configuration of the run.
    """

    def __init__(self, config: RunConfig):
        self.config = config
        self._answers: dict[str, tuple[int, bool]] = {}

    def applied(
        self,
        phase: Phase,
        step: int,
        student: FoundationModel,
        teacher: Teacher,
        normalise: Normaliser,
        batch: Batch,
    ) -> Phase:
        """The phase; without consistency if the teacher is not worth following."""
        if phase.consistency == 0 or not self.config.consistency.only_if_better:
            return phase
        head = str(phase.key)
        if self._answers.get(head, (0, False))[0] != phase.cycle:
            state = torch.get_rng_state()
            seed = sample_seed(self.config.runtime.seed, step)
            losses = [_plain_loss(model, normalise, batch, seed) for model in (teacher.model, student)]
            torch.set_rng_state(state)
            self._answers[head] = (phase.cycle, bool(losses[0] < losses[1]))
        return phase if self._answers[head][1] else replace(phase, consistency=0.0)

    def state(self) -> dict[str, tuple[int, bool]]:
        """Cycle and answer of each head, for a checkpoint."""
        return dict(self._answers)

    def restore(self, state: dict[str, tuple[int, bool]]) -> None:
        """Takes over :meth:`state`."""
        self._answers = {str(head): (int(cycle), bool(answer)) for head, (cycle, answer) in state.items()}


@torch.no_grad()
def _plain_loss(model: FoundationModel, normalise: Normaliser, batch: Batch, seed: int) -> torch.Tensor:
    """Task loss () of a batch as the teacher sees it, in evaluation mode, which is left as it was found."""
    trained = [module for module in model.modules() if module.training]
    model.eval()
    torch.manual_seed(seed)
    parts = model.losses(normalise(batch.teacher_images), batch)[1]
    for module in trained:
        module.training = True
    return torch.stack([part.float() for part in parts.values()]).sum()


def training_losses(
    student: FoundationModel,
    teacher: Teacher,
    normalise: Normaliser,
    batch: Batch,
    phase: Phase,
    trunk_output: Any = None,
) -> StepOutput:
    """(1 - c) * task + c * consistency of a batch (``docs/methods/foundation_x.md``).

    If c is 0 (lock phases: nothing that the consistency point depends on is trained) the teacher is not run.

    Args:
        student: Model that is trained, locked as in the phase.
        teacher: Follows the student; run without a graph.
        normalise: Makes the network's input of images.
        batch: Batch on the model's device.
        phase: Phase that gives the weight c.
        trunk_output: Output of the student's trunk for the batch, if it is known (``feature_cache.py``).
    """
    if not batch.key.task.facts.needs_annotations:
        return self_supervised_losses(student, teacher, normalise, batch)
    images = normalise(batch.images) if trunk_output is None else None
    trunk_output, parts = student.losses(images, batch, trunk_output)
    task = torch.stack([part.float() for part in parts.values()]).sum()
    logged = {name: part.detach() for name, part in parts.items()} | {"task": task.detach()}
    loss = task
    if phase.consistency > 0:
        with torch.no_grad():
            target = teacher.model.trunk(normalise(batch.teacher_images), batch.key)
        consistency = consistency_loss(trunk_output, target)
        loss = (1 - phase.consistency) * task + phase.consistency * consistency
        logged["consistency"] = consistency.detach()
    return StepOutput(loss, logged | {"total": loss.detach()})


def self_supervised_losses(
    student: FoundationModel, teacher: Teacher, normalise: Normaliser, batch: Batch
) -> StepOutput:
    """The losses of the batch's objective: their sum. Teacher and student meet inside it."""
    parts = look_at_views(student, teacher.model, normalise, batch).losses
    task = torch.stack([part.float() for part in parts.values()]).sum()
    loss = task * distributed.batch_share(len(batch), task.device, "images")
    logged = {name: part.detach() for name, part in parts.items()} | {"task": task.detach()}
    return StepOutput(loss, logged | {"total": loss.detach()})
