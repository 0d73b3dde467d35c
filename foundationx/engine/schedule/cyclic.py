"""Cycle through the datasets, dataset by dataset, with Lock-Release.

See ``docs/methods/foundation_x.md``, "2 Training cycle". A dataset's tasks follow each other: classification,
detection, segmentation, self-supervision. The teacher moves after every phase (Foundation X), every visit (Ark), every
cycle or every step. ``schedule.order`` sets in which order datasets are visited and how many images a pass over one
has, ``need.py`` how many steps a head gets, ``schedule.turns`` in how many visits of a cycle it has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from foundationx.core.config.run import RunConfig
from foundationx.core.types import PhaseName, TaskKey
from foundationx.engine.schedule.curves import build_curve, teacher_momentum
from foundationx.engine.schedule.need import Lengths, head_lengths
from foundationx.engine.schedule.plan import Phase
from foundationx.models.parameter_groups import lock_groups, task_groups


def plan(config: RunConfig, sizes: Mapping[TaskKey, int]) -> Iterator[Phase]:
    """Yields the phases of all cycles in order. ``sizes`` gives the order of the visits inside a cycle."""
    weight, momentum = build_curve(config.consistency.weight), teacher_momentum(config.teacher)
    cycles = [cycle_visits(config, sizes, cycle) for cycle in range(1, config.schedule.cycles + 1)]
    total_visits = sum(map(len, cycles))
    visit, step = 0, 0
    for cycle, visits in enumerate(cycles, start=1):
        for position, (key, lengths) in enumerate(visits, start=1):
            done = visit / total_visits
            visit += 1
            training_progress = Visit(key, visit, cycle, step, weight(done), momentum(done), position == len(visits))
            for phase in visit_phases(config, training_progress, lengths):
                yield phase
                step = phase.end_step


def cycle_visits(config: RunConfig, sizes: Mapping[TaskKey, int], cycle: int) -> list[tuple[TaskKey, Lengths]]:
    """The visits of a cycle (from 1) in order: the heads take turns until each has had its steps.

    With ``schedule.turns`` T, turn t of n steps is those from n (t - 1) / T to n t / T, rounded down; turns without
    steps are left out. Lock steps come first.
    """
    lengths, order = head_lengths(config, sizes, cycle), visit_order(config, sizes, cycle)
    turns = min(config.schedule.turns, max((sum(own.values()) for own in lengths.values()), default=1))
    visits = []
    for turn in range(turns):
        for key in (key for key in order if key in lengths):
            if own := _turn(lengths[key], turn, turns):
                visits.append((key, own))
    return visits


def _turn(lengths: Lengths, turn: int, turns: int) -> Lengths:
    """The steps of one turn (from 0)."""
    steps, lock = sum(lengths.values()), lengths.get(PhaseName.LOCK, 0)
    first, last = steps * turn // turns, steps * (turn + 1) // turns
    locked = max(0, min(last, lock) - first)
    counts = {PhaseName.LOCK: locked, PhaseName.RELEASE: last - first - locked}
    return {name: count for name, count in counts.items() if count > 0}


class Visit(NamedTuple):
    """Position and settings of a visit: number, cycle, first step, consistency, momentum."""

    key: TaskKey
    number: int
    cycle: int
    first_step: int
    consistency: float
    momentum: float
    closes_cycle: bool


def visit_phases(config: RunConfig, visit: Visit, lengths: Lengths) -> Iterator[Phase]:
    """The lock and the release phase of a visit, with the steps that ``lengths`` gives them."""
    step = visit.first_step
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
