"""Lock against release steps of each task: arithmetic, time, memory kept for the backward pass and at most.

python benchmarks/bench_phases.py [--runs 7]
"""

from __future__ import annotations

import functools

from measuring import bytes_for_backward, heading, in_turns, options, peak_bytes, table, times
from small_world import DESCRIPTION, World, draw_batch, keys, phase_of
from torch.utils.flop_counter import FlopCounterMode

from foundationx.models.scopes import lock
from foundationx.types import PhaseName

MEGABYTE = 2**20


def main() -> None:
    runs = options(__doc__).runs
    heading("Lock against release", f"{DESCRIPTION} Two images a step.")
    heads = keys(1)
    world = World(heads)
    rows = []
    for key in heads:
        batch, phases = draw_batch(key), {name: phase_of(key, name) for name in PhaseName}
        things = {name.value: functools.partial(world.step, phase, batch) for name, phase in phases.items()}
        seconds = in_turns(things, runs)
        counted = {name: count(world, phase, batch) for name, phase in phases.items()}
        for name in PhaseName:
            gflop, kept, peak = counted[name]
            faster = times(seconds["release"], seconds[name.value])
            fewer = times(counted[PhaseName.RELEASE][0], gflop)
            cells = [f"{gflop:.1f}", fewer, f"{1000 * seconds[name.value]:.0f}", faster, f"{kept:.1f}", f"{peak:.1f}"]
            rows.append([key.task.value, name.value, *cells])
    columns = ["task", "step", "GFLOP", "times fewer", "ms", "times faster", "kept for backward, MB", "peak, MB"]
    table(columns, rows)
    print("By the arithmetic of Foundation X at full size (teacher beside release): classification 4 (only heads")
    print("trained), detection 2.3, segmentation 4.\n")


def count(world: World, phase, batch) -> tuple[float, float, float]:
    """GFLOP, megabytes kept for the backward pass, and at most."""
    with FlopCounterMode(display=False) as flops:
        world.step(phase, batch)
    with lock(world.student, phase.trainable):
        kept = bytes_for_backward(lambda: world.loss(phase, batch))
    peak = peak_bytes(lambda: world.step(phase, batch))
    return flops.get_total_flops() / 1e9, kept / MEGABYTE, peak / MEGABYTE


if __name__ == "__main__":
    main()
