"""Cycle through the datasets, dataset by dataset, with Lock-Release (``foundation_x.md`` section 2).

A dataset's tasks follow each other: classification, detection, segmentation. The teacher moves after every phase
(Foundation X), after every visit (Ark) or after every step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from foundationx.config import RunConfig, ScheduleConfig
from foundationx.models.scopes import head_scope, task_scopes
from foundationx.schedule.curves import build_curve
from foundationx.schedule.plan import Phase
from foundationx.types import PhaseName, TaskKey


def plan(config: RunConfig, sizes: Mapping[TaskKey, int]) -> Iterator[Phase]:
    """Yields the phases of all cycles in order. ``sizes`` gives the order of the visits inside a cycle."""
    weight, momentum = build_curve(config.consistency.weight), build_curve(config.teacher.momentum)
    total_visits = config.schedule.cycles * len(sizes)
    visit, step = 0, 0
    for cycle in range(1, config.schedule.cycles + 1):
        for place, (key, size) in enumerate(sizes.items(), start=1):
            done = visit / total_visits
            visit += 1
            lengths = phase_lengths(config.schedule, key, size, config.runtime.batch_size)
            for number, (name, steps) in enumerate(lengths.items(), start=1):
                closes_visit = number == len(lengths)
                moves = config.teacher.update == "phase" or (config.teacher.update == "visit" and closes_visit)
                locked = name is PhaseName.LOCK
                yield Phase(
                    name=name,
                    key=key,
                    visit=visit,
                    cycle=cycle,
                    first_step=step,
                    steps=steps,
                    trainable=(head_scope(key),) if locked else task_scopes(key, config.model),
                    consistency=0.0 if locked else weight(done),
                    momentum=momentum(done) if moves else None,
                    closes_visit=closes_visit,
                    closes_cycle=closes_visit and place == len(sizes),
                )
                step += steps


def phase_lengths(schedule: ScheduleConfig, key: TaskKey, size: int, batch_size: int) -> dict[PhaseName, int]:
    """Steps of each phase of a visit; a phase with share 0 is left out.

    One pass is ``ceil(size / batch_size)`` steps. A share that is not 0 gives at least one step.
    """
    one_pass = -(-size // batch_size)
    lengths = {}
    for name, shares in ((PhaseName.LOCK, schedule.lock), (PhaseName.RELEASE, schedule.release)):
        share = getattr(shares, key.task.value)
        if share > 0:
            steps = max(1, int(one_pass * share + 1e-9))
            lengths[name] = min(steps, schedule.max_steps or steps)
    return lengths
