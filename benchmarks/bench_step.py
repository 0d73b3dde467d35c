"""What a training step on a CPU gains: freed memory that is kept, bf16, and the optimizer in one kernel.

The two ways of a comparison run in turns in one process. With its memory given back to the system, the allocator is as
glibc's settles in a process that leaves it alone; before each timed step an untimed one brings it there.

    python benchmarks/bench_step.py [--runs 5]
"""

from __future__ import annotations

import functools
import resource
from collections.abc import Callable

import torch
from measuring import give_memory_back, heading, in_turns, options, table, times
from small_world import DESCRIPTION, World, draw_batch, keys, phase_of
from torch import Tensor

from foundationx.core.config.run import OptimizerConfig
from foundationx.core.memory import keep_freed_memory
from foundationx.core.types import Batch, PhaseName
from foundationx.engine.optim import build_optimizer

IMAGES = (2, 16)
"""Images of a step, with memory given back and kept."""


class Step:
    """Losses, gradients and optimizer step of one batch in a release phase."""

    def __init__(self, world: World, batch: Batch):
        self.world, self.batch = world, batch
        self.phase = phase_of(batch.key, PhaseName.RELEASE)
        self.optimizer = build_optimizer(world.student, OptimizerConfig())

    def __call__(self, bf16: bool = False) -> None:
        """One step."""
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            self.world.step(self.phase, self.batch)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def faults(step: Callable[[], None]) -> int:
    """Page faults of a step."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def memory(world: World, runs: int) -> list[list[str]]:
    """Rows: task, images, page faults and milliseconds of a step with freed memory given back and kept."""
    rows = []
    for key in keys(1):
        for images in IMAGES:
            step = Step(world, draw_batch(key, images))

            def prepared(setting: Callable[[], object], step: Step = step) -> None:
                setting()
                step()

            before = {
                "given back": functools.partial(prepared, give_memory_back),
                "kept": functools.partial(prepared, keep_freed_memory),
            }
            seconds = in_turns(dict.fromkeys(before, step), runs, before=before)
            counts = {}
            for name, prepare in before.items():
                prepare()
                counts[name] = faults(step)
            rows.append(
                [key.task.value, str(images), *(f"{count:,}" for count in counts.values())]
                + [f"{1000 * value:.0f}" for value in seconds.values()]
                + [times(*seconds.values())]
            )
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
    heading("A step on a CPU", f"{DESCRIPTION} Release steps without teacher updates.")
    world = World(keys(1))
    columns = ["task", "images", "page faults, given back", "kept", "ms, given back", "kept", "times faster"]
    table(columns, memory(world, runs))
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
