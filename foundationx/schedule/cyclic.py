"""Cycle through the datasets, dataset by dataset, with Lock-Release (``foundation_x.md`` section 2).

A dataset's tasks follow each other: classification, detection, segmentation, self-supervision. The teacher moves
after every phase (Foundation X), after every visit (Ark) or after every step. ``schedule.order`` says in which order
datasets are visited and how many images a pass over one has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from foundationx.config import RunConfig, ScheduleConfig
from foundationx.models.scopes import head_scope, task_scopes
from foundationx.schedule.curves import build_curve
from foundationx.schedule.plan import Phase
from foundationx.types import PhaseName, Task, TaskKey


def plan(config: RunConfig, sizes: Mapping[TaskKey, int]) -> Iterator[Phase]:
    """Yields the phases of all cycles in order. ``sizes`` gives the order of the visits inside a cycle."""
    weight, momentum = build_curve(config.consistency.weight), build_curve(config.teacher.momentum)
    total_visits = config.schedule.cycles * len(sizes)
    passes = pass_sizes(config.schedule, sizes)
    visit, step = 0, 0
    for cycle in range(1, config.schedule.cycles + 1):
        for place, key in enumerate(visit_order(config, sizes, cycle), start=1):
            done = visit / total_visits
            visit += 1
            lengths = phase_lengths(config.schedule, key, passes[key], config.runtime.batch_size)
            for number, (name, steps) in enumerate(lengths.items(), start=1):
                closes_visit = number == len(lengths)
                moves = config.teacher.update == "phase" or (config.teacher.update == "visit" and closes_visit)
                locked = name is PhaseName.LOCK
                tied = not locked and key.task is not Task.SELF_SUPERVISION  # that one has a teacher of its own
                yield Phase(
                    name=name,
                    key=key,
                    visit=visit,
                    cycle=cycle,
                    first_step=step,
                    steps=steps,
                    trainable=(head_scope(key),) if locked else task_scopes(key, config.model),
                    consistency=weight(done) if tied else 0.0,
                    momentum=momentum(done) if moves else None,
                    closes_visit=closes_visit,
                    closes_cycle=closes_visit and place == len(sizes),
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
    """Images of one pass over each head, at least one; a head's own size unless the order says otherwise.

    Temperature T (``mdfp.md`` A.2: temperature-based or capped sampling): the sum of all sizes is shared out in
    proportion to size ** (1 / T) and rounded, so that small sets are seen more often and large ones in part.
    """
    if schedule.order == "capped":
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
        share = getattr(shares, key.task.value)
        if share > 0:
            steps = max(1, int(one_pass * share + 1e-9))
            lengths[name] = min(steps, schedule.max_steps or steps)
    return lengths
