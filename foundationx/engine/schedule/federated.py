"""Rounds of federated training: client after client, each over its own datasets.

See ``docs/methods/ark.md``, "6 Federated training". A cycle is a round. In it every client visits its datasets once, in
the order of ``datasets``, as ``cyclic.py`` would. Momentum and consistency weight are curves over rounds: all clients
of a round have the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from foundationx.core.config.run import RunConfig
from foundationx.core.types import TaskKey
from foundationx.engine.schedule.curves import build_curve, teacher_momentum
from foundationx.engine.schedule.cyclic import Visit, visit_order, visit_phases
from foundationx.engine.schedule.need import head_lengths
from foundationx.engine.schedule.plan import Phase


def plan(config: RunConfig, sizes: Mapping[TaskKey, int]) -> Iterator[Phase]:
    """Yields the phases of all rounds; the visits of one client follow each other."""
    assert config.federation is not None  # RunConfig refuses this schedule without clients
    weight, momentum = build_curve(config.consistency.weight), teacher_momentum(config.teacher)
    visit, step = 0, 0
    for number in range(1, config.schedule.cycles + 1):
        done = (number - 1) / config.schedule.cycles
        order, lengths = visit_order(config, sizes, number), head_lengths(config, sizes, number)
        with_steps = [key for key in order if key in lengths]
        by_client = [key for client in config.federation.clients for key in with_steps if key.dataset in client]
        for position, key in enumerate(by_client, start=1):
            visit += 1
            training_progress = Visit(
                key, visit, number, step, weight(done), momentum(done), position == len(by_client)
            )
            for phase in visit_phases(config, training_progress, lengths[key]):
                yield phase
                step = phase.end_step
