"""What a training step on a CPU gains: freed memory that is kept, bf16, and the optimizer in one kernel.

The two ways of a comparison run in turns in one process; with memory given back to the system and kept, in turns in
processes of their own.

    python benchmarks/bench_step.py [--runs 5]
"""

from __future__ import annotations

import functools
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable

import torch
from measuring import heading, in_turns, options, table, times
from small_world import DESCRIPTION, World, draw_batch, keys, phase_of
from torch import Tensor

from foundationx.core.memory import keep_freed_memory
from foundationx.core.types import Batch, PhaseName
from foundationx.engine.step import training_losses
from foundationx.models.parameter_groups import lock

IMAGES, TIMED = 16, 4
"""Images of a step, and timed steps of a process, with memory given back and kept."""

CHILD = """
import json, resource, sys, time
import bench_step, torch
from foundationx.core.memory import keep_freed_memory
torch.set_num_threads(1)
if sys.argv[1] == "kept":
    keep_freed_memory()
step = bench_step.Step(*bench_step.classification())
step(), step()
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.process_time()
for _ in range(bench_step.TIMED):
    step()
seconds, used = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([(used.ru_minflt - before) / bench_step.TIMED, seconds / bench_step.TIMED, used.ru_maxrss / 1024]))
"""
"""What a process of its own measures: page faults, seconds of the processor and megabytes at most."""


class Step:
    """Losses and gradients of one batch in a release phase."""

    def __init__(self, world: World, batch: Batch):
        self.world, self.batch = world, batch
        self.phase = phase_of(batch.key, PhaseName.RELEASE)

    def __call__(self, bf16: bool = False) -> None:
        """One step."""
        world = self.world
        with lock(world.student, self.phase.trainable):
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                output = training_losses(world.student, world.teacher, world.normalise, self.batch, self.phase)
            output.loss.backward()


def classification() -> tuple[World, Batch]:
    """A network and a batch of the step whose memory is looked at."""
    key = keys(1)[0]
    return World([key]), draw_batch(key, IMAGES)


def memory(runs: int) -> list[list[str]]:
    """Rows: what happens to freed memory; page faults, milliseconds and memory of a step, medians of several processes.

    An allocator's state is that of its process: each way has processes of its own, which are started in turns.
    """
    found: dict[str, list[list[float]]] = {"given back": [], "kept": []}
    path = os.pathsep.join(path for path in sys.path if path)
    for _ in range(runs):
        for name, values in found.items():
            command = [sys.executable, "-c", CHILD, name]
            environment = os.environ | {"PYTHONPATH": path}
            values.append(
                json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment).stdout)
            )
    rows = []
    for name, values in found.items():
        faults, seconds, megabytes = (statistics.median(column) for column in zip(*values, strict=True))
        rows.append([name, f"{faults:,.0f}", f"{1000 * seconds:.0f}", f"{megabytes:,.0f}"])
    return rows


def precisions(world: World, runs: int) -> list[list[str]]:
    """Rows: task, milliseconds of a step in fp32 and in bf16."""
    keep_freed_memory()
    rows = []
    for key in keys(1):
        step = Step(world, draw_batch(key, 8))
        seconds = in_turns({"fp32": step, "bf16": functools.partial(step, bf16=True)}, runs)
        rows.append([key.task.value, *(f"{1000 * value:.0f}" for value in seconds.values()), times(*seconds.values())])
    return rows


def optimizers(world: World, runs: int) -> list[str]:
    """Milliseconds of AdamW over all parameters, tensor by tensor and in one kernel, and how far apart they come."""
    start = [parameter.detach().clone() for parameter in world.student.parameters()]
    gradients = [torch.randn_like(value) / 100 for value in start]

    def built(fused: bool) -> tuple[list[Tensor], Callable[[], None]]:
        parameters = [torch.nn.Parameter(value.clone()) for value in start]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        return parameters, torch.optim.AdamW(parameters, lr=1e-4, fused=fused).step

    (one, plain), (other, fused) = built(False), built(True)
    seconds = in_turns({"tensor by tensor": plain, "fused": fused}, runs)
    apart = max(float((a - b).detach().abs().max()) for a, b in zip(one, other, strict=True))
    millions = sum(value.numel() for value in start) / 1e6
    milliseconds = (f"{1000 * value:.1f}" for value in seconds.values())
    return [f"{millions:.1f}", str(len(start)), *milliseconds, times(*seconds.values()), f"{apart:.0e}"]


def main() -> None:
    runs = options(__doc__, runs=5).runs
    heading("A step on a CPU", f"{DESCRIPTION} Losses and gradients of release steps.")
    world = World(keys(1))
    print(f"Classification, {IMAGES} images. Freed memory is:\n")
    table(["", "page faults of a step", "ms", "most memory, MB"], memory(max(1, runs // 2)))
    print("In bf16 (`runtime.precision`), 8 images, memory kept:\n")
    table(["task", "fp32, ms", "bf16, ms", "times faster"], precisions(world, runs))
    print("AdamW (`optimizer.fused`):\n")
    columns = [
        "million parameters",
        "tensors",
        "tensor by tensor, ms",
        "fused, ms",
        "times faster",
        "largest difference",
    ]
    table(columns, [optimizers(world, runs)])


if __name__ == "__main__":
    main()
