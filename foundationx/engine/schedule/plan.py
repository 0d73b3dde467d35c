"""The plan: what is trained when. Nothing else decides what is trained.

A plan is a list of visits; a visit trains one task of one dataset in a lock phase (only the head) and a release phase
(everything the task uses). It is data: a pure function of the configuration and the sizes of the datasets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from foundationx.core.config.run import RunConfig
from foundationx.core.errors import ConfigError
from foundationx.core.extensions import Extensions, one_function
from foundationx.core.types import PhaseName, TaskKey
from foundationx.models.parameter_groups import task_groups


@dataclass(frozen=True)
class Phase:
    """Steps in which the same groups are trained.

    Attributes:
        name: lock or release.
        key: the head it trains.
        visit: number of the visit, from 1.
        cycle: number of the cycle, from 1.
        first_step: global step it begins with, from 0.
        steps: how many steps it has.
        trainable: names of the groups that are trained; all others are bit-identical after it.
        consistency: weight c of the consistency loss; 0 if nothing below it is trained.
        momentum: of the teacher's update at its end, or None if the teacher is not updated then.
        closes_visit: it is the visit's last phase.
        closes_cycle: it is the cycle's last phase.
        uses: how many steps share one reading of a batch; more than 1 in lock phases alone, where what lies below the
            head stays as it is (``engine/feature_cache.py``).
    """

    name: PhaseName
    key: TaskKey
    visit: int
    cycle: int
    first_step: int
    steps: int
    trainable: tuple[str, ...]
    consistency: float
    momentum: float | None
    closes_visit: bool
    closes_cycle: bool
    uses: int = 1

    @property
    def is_head_only(self) -> bool:
        """It learns a head from annotations and nothing else moves; its steps do not ask the teacher."""
        return self.name is PhaseName.LOCK and self.key.task.facts.needs_annotations

    @property
    def reads(self) -> int:
        """How many batches its steps read."""
        return -(-self.steps // self.uses)

    @property
    def end_step(self) -> int:
        """First global step after the phase."""
        return self.first_step + self.steps


@dataclass(frozen=True)
class Plan:
    """All phases of a run in order, and the rule by which datasets were ordered and passes sized."""

    phases: tuple[Phase, ...]
    order: str = "fixed"

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.phases[-1].end_step if self.phases else 0

    @property
    def total_visits(self) -> int:
        """Visits of the whole run."""
        return self.phases[-1].visit if self.phases else 0

    def from_step(self, step: int) -> Iterator[Phase]:
        """Phases that are not finished when ``step`` steps have been done."""
        return (phase for phase in self.phases if phase.end_step > step)

    def as_json(self) -> dict[str, Any]:
        """Visits with their phases, as written to ``plan.json``."""
        visits: dict[int, dict[str, Any]] = {}
        for phase in self.phases:
            head = {"cycle": phase.cycle, "dataset": phase.key.dataset, "task": phase.key.task.value, "phases": []}
            visit = visits.setdefault(phase.visit, {"index": phase.visit, **head})
            visit["phases"].append(
                {
                    "name": phase.name.value,
                    "first_step": phase.first_step,
                    "steps": phase.steps,
                    "reads": phase.reads,
                    "trainable": list(phase.trainable),
                    "consistency": phase.consistency,
                    "momentum": phase.momentum,
                }
            )
        return {"order": self.order, "visits": list(visits.values()), "total_steps": self.total_steps}


SCHEDULES: Extensions[Callable[[RunConfig, Mapping[TaskKey, int]], Iterable[Phase]]] = Extensions(
    "schedule", "foundationx.engine.schedule", one_function("plan"), shared=("curves", "need", "plan")
)
"""Every schedule: a function ``plan(config, sizes)`` that yields the phases of a run."""


def build_plan(config: RunConfig, sizes: Mapping[TaskKey, int]) -> Plan:
    """The plan of a run.

    Args:
        config: the run's configuration; ``config.schedule.type`` names a file of this folder with a function ``plan``.
        sizes: training images of each head, in the order of the cycle.

    Raises:
        ConfigError: there is no such schedule, or a head has no training image.
    """
    plan = SCHEDULES.get(config.schedule.type, "schedule.type")
    for key, size in sizes.items():
        if size == 0:
            raise ConfigError(
                f"dataset {key}", "no image is left to train on", "at least one", "check splits and limits"
            )
    phases = plan(config, sizes)
    if config.filling is not None:
        phases = (_with_filled_heads(phase, config, sizes) for phase in phases)
    return Plan(tuple(phases), config.schedule.order)


def _with_filled_heads(phase: Phase, config: RunConfig, keys: Iterable[TaskKey]) -> Phase:
    """A release phase also trains what the heads use that the teacher may fill: they learn from its images."""
    if phase.is_head_only or not phase.key.task.facts.needs_annotations or config.filling is None:
        return phase
    tasks = config.filling.tasks
    filled = [key for key in keys if key.task.facts.needs_annotations and (tasks is None or key.task in tasks)]
    groups = (group for key in filled for group in task_groups(key, config.model))
    return replace(phase, trainable=tuple(dict.fromkeys([*phase.trainable, *groups])))
