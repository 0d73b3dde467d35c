"""Cycle through the datasets, dataset by dataset, with Lock-Release.

See ``docs/methods/foundation_x.md``, "2 Training cycle". A dataset's tasks follow each other: classification,
detection, segmentation, self-supervision. The teacher moves after every phase (Foundation X), every visit (Ark), every
cycle or every step. ``schedule.order`` sets in which order datasets are visited and how many images a pass over one
has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from foundationx.core.config.run import RunConfig, ScheduleConfig
from foundationx.core.types import PhaseName, TaskKey
from foundationx.engine.schedule.curves import build_curve
from foundationx.engine.schedule.plan import Phase
from foundationx.models.parameter_groups import lock_groups, task_groups


def plan(config: RunConfig, sizes: Mapping[TaskKey, int]) -> Iterator[Phase]:
    """Yields the phases of all cycles in order. ``sizes`` gives the order of the visits inside a cycle."""
    weight, momentum = build_curve(config.consistency.weight), build_curve(config.teacher.momentum)
    total_visits = config.schedule.cycles * len(sizes)
    passes = pass_sizes(config.schedule, sizes)
    visit, step = 0, 0
    for cycle in range(1, config.schedule.cycles + 1):
        for position, key in enumerate(visit_order(config, sizes, cycle), start=1):
            done = visit / total_visits
            visit += 1
            training_progress = Visit(key, visit, cycle, step, weight(done), momentum(done), position == len(sizes))
            for phase in visit_phases(config, training_progress, passes[key]):
                yield phase
                step = phase.end_step


class Visit(NamedTuple):
    """Position and settings of a visit: number, cycle, first step, consistency, momentum."""

    key: TaskKey
    number: int
    cycle: int
    first_step: int
    consistency: float
    momentum: float
    closes_cycle: bool


def visit_phases(config: RunConfig, visit: Visit, one_pass: int) -> Iterator[Phase]:
    """The lock and the release phase of a visit; ``one_pass`` images are a whole pass over its head."""
    step = visit.first_step
    lengths = phase_lengths(config.schedule, visit.key, one_pass, config.runtime.batch_size)
    for number, (name, steps) in enumerate(lengths.items(), start=1):
        closes_visit = number == len(lengths)
        closes_cycle = closes_visit and visit.closes_cycle
        moves = {"phase": True, "visit": closes_visit, "cycle": closes_cycle, "step": False}[config.teacher.update]
        locked = name is PhaseName.LOCK
        again = config.schedule.reuse if locked and visit.key.task.facts.needs_annotations else None
        tied = not locked and visit.key.task.facts.has_consistency
        yield Phase(
            name=name,
            key=visit.key,
            visit=visit.number,
            cycle=visit.cycle,
            first_step=step,
            steps=steps,
            trainable=lock_groups(visit.key, config.model) if locked else task_groups(visit.key, config.model),
            consistency=visit.consistency if tied else 0.0,
            momentum=visit.momentum if moves else None,
            closes_visit=closes_visit,
            closes_cycle=closes_cycle,
            uses=again.uses if again is not None else 1,
        )
        step += steps


def visit_order(config: RunConfig, sizes: Mapping[TaskKey, int], cycle: int) -> list[TaskKey]:
    """Heads in the order in which the cycle (from 1) visits them; the tasks of a dataset always follow each other."""
    if config.schedule.order != "shuffled":
        return list(sizes)
    datasets = list(dict.fromkeys(key.dataset for key in sizes))
    drawn = np.random.default_rng((config.runtime.seed, cycle)).permutation(len(datasets))
    return [key for index in drawn for key in sizes if key.dataset == datasets[index]]


def pass_sizes(schedule: ScheduleConfig, sizes: Mapping[TaskKey, int]) -> dict[TaskKey, int]:
    """Images of one pass over each head, at least one; a head's own size by default.

    Temperature T (``docs/methods/mdfp.md``, "2.5 Limits and sampling": temperature-based or capped sampling): the sum
    of all sizes is shared out in proportion to size ** (1 / T) and rounded, so that small sets are seen more often and
    large ones in part.
    """
    if schedule.order == "capped" and schedule.cap is not None:
        return {key: min(size, schedule.cap) for key, size in sizes.items()}
    if schedule.order != "temperature" or schedule.temperature == 1:
        return dict(sizes)
    weights = {key: size ** (1 / schedule.temperature) for key, size in sizes.items()}
    share = sum(sizes.values()) / sum(weights.values())
    return {key: max(1, round(weight * share)) for key, weight in weights.items()}


def phase_lengths(schedule: ScheduleConfig, key: TaskKey, size: int, batch_size: int) -> dict[PhaseName, int]:
    """Steps of each phase of a visit; a phase with share 0 is left out.

    One pass is ``ceil(size / batch_size)`` steps. A share that is not 0 gives at least one step.
    """
    one_pass = -(-size // batch_size)
    lengths = {}
    for name, shares in ((PhaseName.LOCK, schedule.lock), (PhaseName.RELEASE, schedule.release)):
        share = shares[key.task]
        if share > 0:
            steps = max(1, int(one_pass * share + 1e-9))
            lengths[name] = min(steps, schedule.max_steps or steps)
    return lengths
