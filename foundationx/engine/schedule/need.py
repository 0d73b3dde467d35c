"""Steps by need: how many steps each head has in a cycle.

By size, a head has one pass over its images in a cycle, so that a small set next to a large one hardly learns. A task
names the steps without which its heads have hardly learned (``needed_steps``); ``schedule.floor`` gives them to every
head, at the expense of those that have more, and the cycle keeps its length. If a run is too short for all needs, its
steps are shared in proportion to need.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from foundationx.core.config.run import RunConfig, ScheduleConfig
from foundationx.core.types import PhaseName, TaskKey
from foundationx.engine.schedule.plan import Plan

Lengths = dict[PhaseName, int]
"""Steps of the phases of one head in one cycle, in order; a phase without steps is left out."""


def head_lengths(config: RunConfig, sizes: Mapping[TaskKey, int], cycle: int) -> dict[TaskKey, Lengths]:
    """Steps of each head's phases in a cycle (from 1); a head without any is left out.

    Args:
        config: Configuration of the run.
        sizes: Training images of each head.
        cycle: Number of the cycle.
    """
    schedule = config.schedule
    passes = pass_sizes(schedule, sizes)
    by_size = {key: phase_lengths(schedule, key, passes[key], config.runtime.batch_size) for key in sizes}
    steps = with_floor(schedule, {key: sum(lengths.values()) for key, lengths in by_size.items()})
    asked = {TaskKey.parse(name): count for name, count in schedule.steps.items()}
    for key in asked.keys() & steps.keys():
        steps[key] = asked[key] * cycle // schedule.cycles - asked[key] * (cycle - 1) // schedule.cycles
    is_locked = (cycle - 1) / schedule.cycles < schedule.lock_until
    most = schedule.max_steps or max(steps.values())
    resized = {key: _resized(by_size[key], steps[key], is_locked) for key in sizes}
    limited = {key: {name: min(count, most) for name, count in own.items()} for key, own in resized.items()}
    return {key: lengths for key, lengths in limited.items() if lengths}


def _resized(lengths: Lengths, steps: int, is_locked: bool) -> Lengths:
    """The phases with so many steps in all, in their proportions; without lock phases if their time is over."""
    total, lock = sum(lengths.values()), lengths.get(PhaseName.LOCK, 0)
    if not is_locked and PhaseName.RELEASE in lengths:
        lock = 0
    locked = lock if steps == total else round(steps * lock / total)
    if lock and PhaseName.RELEASE not in lengths:
        locked = steps
    wanted = {PhaseName.LOCK: locked, PhaseName.RELEASE: steps - locked}
    return {name: count for name, count in wanted.items() if count > 0}


def with_floor(schedule: ScheduleConfig, steps: Mapping[TaskKey, int]) -> dict[TaskKey, int]:
    """Steps of each head in a cycle, none below its floor as far as the cycle's length allows.

    Heads above their floor give in proportion to what they have: each has max(floor, c * steps) with one c for all.

    Args:
        schedule: Gives floor and number of cycles.
        steps: Steps of each head by its size, at least one.
    """
    total = sum(steps.values())
    needed = {key: key.task.facts.needed_steps / schedule.cycles for key in steps}
    scale = schedule.floor * min(1.0, total / max(sum(needed.values()), 1e-9))
    floors = {key: scale * need for key, need in needed.items()}
    if schedule.order == "capped" or all(steps[key] >= floors[key] for key in steps):
        return dict(steps)
    raised: set[TaskKey] = set()
    while True:
        left = total - sum(floors[key] for key in raised)
        share = left / max(sum(count for key, count in steps.items() if key not in raised), 1)
        low = {key for key in steps if key not in raised and share * steps[key] < floors[key] - 1e-9}
        if not low:
            break
        raised |= low
    return _rounded({key: floors[key] if key in raised else share * steps[key] for key in steps}, total)


def _rounded(shares: Mapping[TaskKey, float], total: int) -> dict[TaskKey, int]:
    """Whole numbers near the shares, at least 1 each, that sum to ``total`` if there are enough for all."""
    counts = {key: max(1, int(share + 1e-9)) for key, share in shares.items()}
    order = sorted(shares, key=lambda key: counts[key] - shares[key])  # the largest remainder first
    for key in order[: max(0, total - sum(counts.values()))]:
        counts[key] += 1
    return counts


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


def phase_lengths(schedule: ScheduleConfig, key: TaskKey, size: int, batch_size: int) -> Lengths:
    """Steps of each phase of a pass by size alone; a phase with share 0 is left out.

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


def planned_steps(plan: Plan) -> dict[TaskKey, int]:
    """Steps of each head in the whole run."""
    steps: dict[TaskKey, int] = {}
    for phase in plan.phases:
        steps[phase.key] = steps.get(phase.key, 0) + phase.steps
    return steps


def short_heads(plan: Plan) -> Iterator[tuple[TaskKey, str]]:
    """Heads that get fewer steps than their task needs, and what is the matter."""
    for key, steps in planned_steps(plan).items():
        if steps < key.task.facts.needed_steps:
            yield key, f"{steps:,} steps in the whole run; {key.task.value} needs about {key.task.facts.needed_steps:,}"


def more_steps(schedule: ScheduleConfig, plan: Plan) -> str:
    """What to do about heads with too few steps."""
    needed = sum(key.task.facts.needed_steps for key in planned_steps(plan))
    if needed > plan.total_steps:
        cycles = -(-schedule.cycles * needed // plan.total_steps)
        return f"raise schedule.cycles to {cycles:,}" + ("" if schedule.floor == 1 else " and set schedule.floor=1")
    return "set schedule.floor=1 (not with order `capped`), or schedule.steps"
