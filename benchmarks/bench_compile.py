"""Steps with backbone and trunks compiled (`runtime.compile`) against plain ones, and how often torch compiles.

A cycle is a lock and a release step of every head of two datasets a task; the second one must compile nothing. Images
a second and the share of the speed of one large matrix product (of the type that the device computes in) go by the
step's arithmetic, counted by torch. Where the backend cannot compile (no C++ compiler, no Triton) that is all it says.

    python benchmarks/bench_compile.py [--runs 5] [--device auto] [--backend inductor] [--images 2]
"""

from __future__ import annotations

import argparse
import functools
import os
import tempfile
import time

import torch
from measuring import heading, in_turns, matrix_product, now, options, peak_bytes, table, times
from small_world import DESCRIPTION, World, draw_batch, keys, phase_of
from torch._dynamo.utils import counters
from torch.utils.flop_counter import FlopCounterMode

from foundationx.core.errors import ConfigError
from foundationx.core.types import Batch, PhaseName
from foundationx.engine.schedule.plan import Phase
from foundationx.models.compile import check_backend, compile_parts, parts_of

LIMIT = 8
"""Most graphs of one part: one a task with a backward pass, and a few without."""

Step = tuple[Phase, Batch]


def main() -> None:
    asked = options(__doc__, runs=5, further={"device": "cpu", "backend": "inductor", "images": 2})
    heading("Compiled steps", f"{DESCRIPTION} {asked.images} images a step. Backend {asked.backend}.", asked.device)
    try:
        check_backend(asked.backend, asked.device)
    except ConfigError as error:
        print(f"{error.found}: nothing was measured.\n")
        return
    with tempfile.TemporaryDirectory() as empty:  # what an earlier run has compiled does not count
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = empty
        measure(asked)


def measure(asked: argparse.Namespace) -> None:
    """Compilations first, then equality, then times."""
    heads = keys(2)
    plain, compiled = World(heads, asked.device), World(heads, asked.device)
    for model in (compiled.student, compiled.teacher.model):
        compile_parts(model, asked.backend, LIMIT)
    batches = {key: draw_batch(key, asked.images).to(asked.device) for key in heads}
    cycle = [(phase_of(key, name), batches[key]) for key in heads for name in PhaseName]
    tell_compilations(compiled, cycle)
    check(plain, compiled, cycle)
    tell_times(plain, compiled, cycle[: len(cycle) // 2], asked.runs)


def tell_compilations(world: World, cycle: list[Step]) -> None:
    """What two cycles compile, and how long the compiling one takes longer."""
    rows = []
    for number in ("first", "second"):
        counters.clear()
        start = time.perf_counter()
        for step in cycle:
            world.step(*step)
        now(world.device)
        seconds = time.perf_counter() - start
        graphs, breaks = counters["stats"]["unique_graphs"], sum(counters["graph_break"].values())
        rows.append([number, str(graphs), str(breaks), f"{seconds:.0f}"])
    print(f"Compiled of student and teacher: {', '.join(parts_of(world.student))}.\n")
    table(["cycle", "graphs compiled", "graph breaks", "seconds, compiling included"], rows)


def check(plain: World, compiled: World, cycle: list[Step]) -> None:
    """The losses of both are the same to rounding. Raises AssertionError."""
    for model, other in ((plain.student, compiled.student), (plain.teacher.model, compiled.teacher.model)):
        model.load_state_dict(other.state_dict())  # running statistics have moved
    tolerance = 1e-4 if plain.device.type == "cpu" else 0.05  # bf16
    for phase, batch in cycle:
        losses = [loss_without_chance(world, phase, batch) for world in (plain, compiled)]
        torch.testing.assert_close(losses[1], losses[0], rtol=tolerance, atol=tolerance)


def loss_without_chance(world: World, phase: Phase, batch: Batch) -> torch.Tensor:
    """The loss in evaluation mode: backends draw other random numbers for drop path."""
    world.student.eval()
    torch.manual_seed(0)  # for what the head draws
    with torch.no_grad():
        return world.loss(phase, batch)


def tell_times(plain: World, compiled: World, steps: list[Step], runs: int) -> None:
    """Milliseconds, memory, images a second and share of the matrix product's speed of each kind of step."""
    device = plain.device
    speed = matrix_product(device)
    rows = []
    for phase, batch in steps:
        things = {
            "plain": functools.partial(plain.step, phase, batch),
            "compiled": functools.partial(compiled.step, phase, batch),
        }
        seconds = in_turns(things, runs, device)
        with FlopCounterMode(display=False) as flops:
            things["plain"]()
        peaks = [
            f"{peak_bytes(thing, device) / 2**20:.1f}" if device.type == "cuda" else "-" for thing in things.values()
        ]
        cells = [f"{1000 * seconds[name]:.1f}" for name in things] + [times(seconds["plain"], seconds["compiled"])]
        for name in things:
            share = flops.get_total_flops() / seconds[name] / speed
            cells.append(f"{len(batch) / seconds[name]:.1f} ({100 * share:.0f} %)")
        rows.append([phase.key.task.value, phase.name.value, *cells, *peaks])
    columns = ["task", "step", "eager, ms", "compiled, ms", "times faster", "eager, images/s", "compiled, images/s"]
    print(f"In brackets: the share of {speed / 1e9:,.0f} GFLOP/s, the measured speed of a matrix product.\n")
    table([*columns, "eager, peak MB", "compiled, peak MB"], rows)


if __name__ == "__main__":
    main()
