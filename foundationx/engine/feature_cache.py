"""Lock phases: what lies below the head is computed without a graph, and once for a batch that is used several times.

In a lock phase everything below the head is frozen and in evaluation mode, without dropout or drop path, so a batch's
features do not change as long as its pixels do not. With ``schedule.reuse`` a phase of n steps reads ceil(n / k)
batches and uses each k times. Batches are cached in chunks of as many as the budget holds; a chunk is gone through in
rounds, its batches in one order, then the next chunk is read. Which batch a step uses is a function of the plan and of
the chunk's size, so that nothing has to be stored: after a resume the chunk's batches are read again and looked at once
more.

Whatever a head draws (denoising queries) is drawn again in every step, by that step's seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from foundationx.core.config.run import RunConfig
from foundationx.core.errors import ConfigError
from foundationx.core.tensors import map_tensors
from foundationx.core.types import Batch, TaskKey
from foundationx.data.normalise import Normaliser
from foundationx.engine.schedule.plan import Phase, Plan
from foundationx.engine.step import precision
from foundationx.models.compile import eager_mode
from foundationx.models.foundation_model import FoundationModel
from foundationx.models.parameter_groups import lock

GIGABYTE = 1e9


@dataclass(frozen=True)
class FeatureChunk:
    """Batches of a phase that are cached at the same time.

    Attributes:
        first: number of its first batch within the phase, from 0.
        size: how many batches.
        done: steps that have used it.
    """

    first: int
    size: int
    done: int

    @property
    def place(self) -> int:
        """Which of its batches is next."""
        return self.done % self.size

    @property
    def needed(self) -> int:
        """How many of its batches must have been read: one more a step in the first round, then all."""
        return min(self.done + 1, self.size)


def chunk_of(phase: Phase, step: int, capacity: int) -> FeatureChunk:
    """The chunk that global ``step`` of a phase uses, if ``capacity`` batches can be cached."""
    done = step - phase.first_step
    first = done // (capacity * phase.uses) * capacity
    return FeatureChunk(first, min(capacity, phase.reads - first), done - first * phase.uses)


class FeatureCache:
    """Gives every step its batch, and the frozen features of it if they are known.

    Args:
        config: Configuration of the run.
        model: Student.
        normalise: Makes the network's input of images.
    """

    def __init__(self, config: RunConfig, model: FoundationModel, normalise: Normaliser):
        self.config, self.model, self.normalise = config, model, normalise
        self.device = next(model.parameters()).device
        self._capacities: dict[str, int] = {}
        self._begins: int | None = None
        self._kept: list[tuple[Batch, Any]] = []

    def start_of(self, plan: Plan, step: int) -> int:
        """Step at which the plan's batches begin for a training that resumes at ``step``: with the chunk's first.

        Raises:
            ConfigError: the budget does not hold one batch of a phase that is still to come.
        """
        again = [phase for phase in plan.from_step(step) if phase.uses > 1]
        if not again:
            return step
        with lock(self.model, ()):
            capacities = [self.capacity(phase.key) for phase in again]
        if again[0].first_step > step:
            return step
        return again[0].first_step + chunk_of(again[0], step, capacities[0]).first

    def of_step(self, phase: Phase, step: int, read: Callable[[], Batch]) -> tuple[Batch, Any]:
        """The batch of a step on the model's device, and the output of its trunk, or None if the trunk is trained.

        Args:
            phase: Phase of the step, under its lock.
            step: Global steps done.
            read: Gives the next batch; called only if the step needs one that was not read.
        """
        if phase.uses == 1:
            batch = read()
            return batch, self._look(batch.images, batch.key) if phase.is_head_only else None
        chunk = chunk_of(phase, step, self.capacity(phase.key))
        if self._begins != phase.first_step + chunk.first:
            self.drop()
            self._begins = phase.first_step + chunk.first
        while len(self._kept) < chunk.needed:
            batch = read()
            self._kept.append((without_pixels(batch), self._look(batch.images, batch.key)))
        return self._kept[chunk.place]

    def describe(self, plan: Plan) -> Iterator[str]:
        """One line per task whose lock phases reuse batches: how often, how many are cached, and their size.

        Raises:
            ConfigError: the budget does not hold one batch.
        """
        again = [phase for phase in plan.phases if phase.uses > 1]
        longest = {phase.key.task: phase for phase in sorted(again, key=lambda phase: phase.reads)}
        with lock(self.model, ()):
            for task, phase in longest.items():
                cached = min(phase.reads, self.capacity(phase.key))
                size = cached * self.config.runtime.batch_size * self.bytes_per_image(phase.key) / 1e6
                yield f"{task}: each batch is used {phase.uses} times, {cached:,} are cached at a time ({size:,.1f} MB)"

    def drop(self) -> None:
        """Forgets all features."""
        self._begins, self._kept = None, []

    def capacity(self, key: TaskKey) -> int:
        """How many batches of a head the budget holds; all processes' shares of a batch count together.

        Found by looking at one black image; the model has to be in evaluation mode.

        Raises:
            ConfigError: not one.
        """
        if key.task.value not in self._capacities:
            reuse = self.config.schedule.reuse
            assert reuse is not None  # no phase uses a batch twice without it
            a_batch = self.bytes_per_image(key) * self.config.runtime.batch_size
            fitting = int(reuse.memory_gb * GIGABYTE // a_batch)
            if fitting == 0:
                found = f"{1000 * reuse.memory_gb:g} MB; features of one batch of {key.task} take {a_batch / 1e6:.3g}"
                raise ConfigError(
                    "schedule.reuse.memory_gb", found, "memory for one batch", "raise it, or leave reuse out"
                )
            self._capacities[key.task.value] = fitting
        return self._capacities[key.task.value]

    def bytes_per_image(self, key: TaskKey) -> int:
        """Bytes of the cached features of one image, in the type in which they are computed."""
        size = self.config.image_size
        black = torch.zeros(1, 1, size, size, dtype=torch.uint8, device=self.device)
        sizes: list[int] = []

        def note_size(tensor: Tensor) -> Tensor:
            sizes.append(tensor.nbytes)
            return tensor

        with eager_mode(self.model):
            map_tensors(self._look(black, key, gate=False), note_size)
        return sum(sizes)

    @torch.no_grad()
    def _look(self, images: Tensor, key: TaskKey, gate: bool = True) -> Any:
        """Grey images to the output of the task's trunk, without a graph."""
        with precision(self.config.runtime, self.device):
            return self.model.trunk(self.normalise(images), key, gate=gate)


def without_pixels(batch: Batch) -> Batch:
    """The batch with its targets alone; images of no pixels stand for its own."""
    none = batch.images.new_empty((len(batch), 1, 0, 0))
    return replace(batch, images=none, teacher_images=none)
