"""All datasets at once in place of one after the other: an ablation of cycling.

See ``docs/methods/ark.md``, "1.4 Concurrent ablation". A visit is one step of one head, and the visits of a cycle are
mixed. ``schedule.order`` sets how: with ``fixed`` the heads take turns until their passes are used up, with any other
order they are drawn without replacement, so that a head comes as often as its size has it (or as ``temperature`` or
``capped`` make it). The released ablation mixes images of all datasets inside a batch and never moves its curves; here
a batch has one head, as everywhere, and curves move with every step. The teacher follows every step, or once a cycle
(``teacher.update="cycle"``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from foundationx.core.config.run import RunConfig
from foundationx.core.errors import ConfigError
from foundationx.core.types import PhaseName, TaskKey
from foundationx.engine.schedule.curves import build_curve, teacher_momentum
from foundationx.engine.schedule.need import head_lengths
from foundationx.engine.schedule.plan import Phase
from foundationx.models.parameter_groups import task_groups


def plan(config: RunConfig, sizes: Mapping[TaskKey, int]) -> Iterator[Phase]:
    """Yields phases of one step each. Raises ConfigError if a lock phase is asked for: there is no visit to lock."""
    cycles = []
    for cycle in range(1, config.schedule.cycles + 1):
        lengths = head_lengths(config, sizes, cycle)
        for key, phases in lengths.items():
            if PhaseName.LOCK in phases:
                found = f"is not 0 for {key.task.value}"
                raise ConfigError(
                    "schedule.lock", found, "0: concurrent training has no lock phases", "set the shares to 0"
                )
        cycles.append(mixed(config, {key: phases[PhaseName.RELEASE] for key, phases in lengths.items()}, cycle))
    weight, momentum = build_curve(config.consistency.weight), teacher_momentum(config.teacher)
    total, step = sum(map(len, cycles)), -1
    for cycle, keys in enumerate(cycles, start=1):
        for position, key in enumerate(keys, start=1):
            step += 1
            done = step / total
            closes = position == len(keys)
            moves = {"phase": True, "visit": True, "cycle": closes, "step": False}[config.teacher.update]
            yield Phase(
                name=PhaseName.RELEASE,
                key=key,
                visit=step + 1,
                cycle=cycle,
                first_step=step,
                steps=1,
                trainable=task_groups(key, config.model),
                consistency=weight(done) if key.task.facts.has_consistency else 0.0,
                momentum=momentum(done) if moves else None,
                closes_visit=True,
                closes_cycle=closes,
            )


def mixed(config: RunConfig, steps: Mapping[TaskKey, int], cycle: int) -> list[TaskKey]:
    """The heads of a cycle's steps, each as often as it has steps; drawn by (seed, cycle) unless they take turns."""
    if config.schedule.order == "fixed":
        return [key for turn in range(max(steps.values())) for key, count in steps.items() if count > turn]
    in_blocks = [key for key, count in steps.items() for _ in range(count)]
    drawn = np.random.default_rng((config.runtime.seed, cycle)).permutation(len(in_blocks))
    return [in_blocks[index] for index in drawn]
