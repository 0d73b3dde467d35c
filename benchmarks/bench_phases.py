"""Lock against release steps of each task: arithmetic, time, memory kept for the backward pass and at most.

Lock phases also with features that are used several times (`schedule.reuse`): a step is then the mean over all uses of
a batch, with the one in which it is read.

python benchmarks/bench_phases.py [--runs 7] [--device auto]
"""

from __future__ import annotations

import functools

import torch
from measuring import bytes_for_backward, heading, in_turns, matrix_product, options, peak_bytes, table, times
from small_world import DESCRIPTION, World, draw_batch, keys, phase_of
from torch.utils.flop_counter import FlopCounterMode

from foundationx.core.tensors import map_tensors
from foundationx.core.types import Batch, PhaseName
from foundationx.engine.schedule.plan import Phase
from foundationx.models.parameter_groups import lock

MEGABYTE = 2**20
USES = (4, 8)


def main() -> None:
    asked = options(__doc__, further={"device": "cpu"})
    runs, device = asked.runs, asked.device
    heading("Lock against release", f"{DESCRIPTION} Two images per step.", device)
    heads = keys(1)
    world = World(heads, device)
    speed = matrix_product(device)
    rows = []
    for key in heads:
        batch, phases = draw_batch(key).to(device), {name: phase_of(key, name) for name in PhaseName}
        kinds = {name.value: (functools.partial(world.step, phase, batch), 1) for name, phase in phases.items()}
        for uses in USES:
            again = functools.partial(use_again, world, phases[PhaseName.LOCK], batch, uses)
            kinds[f"lock, features used {uses} times"] = again, uses
        seconds = in_turns({name: step for name, (step, _) in kinds.items()}, runs, device)
        whole = {name: (gflop(step) / steps, seconds[name] / steps) for name, (step, steps) in kinds.items()}
        for name, (step, _) in kinds.items():
            arithmetic, time = whole[name]
            phase = phases[PhaseName.RELEASE if name == "release" else PhaseName.LOCK]
            known = features_of(world, phase, batch) if "times" in name else None
            backward = kept_for_backward(world, phase, batch, known)
            cells = [f"{arithmetic:.2f}", times(whole["release"][0], arithmetic)]
            cells += [f"{1000 * time:.1f}", times(whole["release"][1], time), f"{len(batch) / time:.1f}"]
            cells += [f"{1e9 * arithmetic / time / speed:.0%}", f"{backward:.1f}"]
            rows.append([key.task.value, name, *cells, f"{peak_bytes(step, device) / MEGABYTE:.1f}", megabytes(known)])
    columns = ["task", "step", "GFLOP", "times fewer", "ms", "times faster", "images/s", "share of matrix speed"]
    table([*columns, "kept for backward, MB", "peak, MB", "features of a batch, MB"], rows)
    print(f"The matrix speed is that of one large product: {speed / 1e9:,.0f} GFLOP/s.\n")
    print("By the arithmetic of Foundation X at full size (with teacher in release phases): classification 4 (only")
    print("heads trained), detection 2.3, segmentation 4; with features used k times detection comes near 3.6, the")
    print("others to 4 k.\n")


def features_of(world: World, phase: Phase, batch: Batch) -> object:
    """Output of the frozen part for a batch."""
    with lock(world.student, phase.trainable), torch.no_grad():
        return world.student.trunk(world.normalise(batch.images), batch.key)


def use_again(world: World, phase: Phase, batch: Batch, uses: int) -> None:
    """All steps of a lock phase that use one batch."""
    features = features_of(world, phase, batch)
    for _ in range(uses):
        with lock(world.student, phase.trainable):
            world.loss(phase, batch, features).backward()


def gflop(step) -> float:
    """Counted by torch, in 1e9."""
    with FlopCounterMode(display=False) as flops:
        step()
    return flops.get_total_flops() / 1e9


def kept_for_backward(world: World, phase: Phase, batch: Batch, features: object) -> float:
    """Megabytes that one step keeps for its backward pass."""
    with lock(world.student, phase.trainable):
        return bytes_for_backward(lambda: world.loss(phase, batch, features)) / MEGABYTE


def megabytes(features: object) -> str:
    """Size of kept features."""
    result: list[int] = []
    map_tensors(features, lambda tensor: result.append(tensor.nbytes) or tensor)
    return f"{sum(result) / MEGABYTE:.3f}" if result else "-"


if __name__ == "__main__":
    main()
