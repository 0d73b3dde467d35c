"""Two gloo ranks on this machine: a training step, beside the way before, and what a rank waits for in an evaluation.

Before, gradients went in one message after the backward pass, and each flag and number in a message of its own; that
way is kept here, but for the losses, whose numbers had as many messages as they send now when nothing is counted ahead
(Dice had four more). Both ways take turns in the same processes. Prints markdown tables.

    python benchmarks/bench_ranks.py [--runs 7] [--images 2] [--radiographs 150 600] [--only-evaluation]
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import killing
import small_world
import torch
from torch import distributed as dist
from torch.nn.utils import get_total_norm

from foundationx.apps.run import hooks
from foundationx.apps.run.train import train
from foundationx.core import distributed
from foundationx.core.config.load import load_config
from foundationx.core.types import PhaseName
from foundationx.engine.agreement import Agreement, Flags
from foundationx.engine.exchange import GradientExchange
from foundationx.models.parameter_groups import lock
from foundationx.phantoms.write import write_phantom_datasets

PORT = "29611"


class Messages:
    """Counts what this rank sends by all-reduce."""

    def __init__(self) -> None:
        self.count = self.bytes = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Inside, messages are counted."""
        real = dist.all_reduce
        self.count = self.bytes = 0

        def all_reduce(tensor: torch.Tensor, *arguments: Any, **options: Any) -> Any:
            self.count += 1
            self.bytes += tensor.nbytes
            return real(tensor, *arguments, **options)

        dist.all_reduce = all_reduce
        try:
            yield
        finally:
            dist.all_reduce = real


def flag() -> None:
    """A flag in a message of its own."""
    dist.all_reduce(torch.zeros(1, dtype=torch.uint8), dist.ReduceOp.MAX)


def step_before(world: small_world.World, phase: Any, batch: Any) -> None:
    """Losses, backward pass, then gradients in one message; stop twice, batch, save, finite: a flag each."""
    flag()
    flag()
    world.loss(phase, batch).backward()
    parameters = [parameter for parameter in world.student.parameters() if parameter.requires_grad]
    used = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.uint8)
    dist.all_reduce(used, dist.ReduceOp.MAX)
    shared = [parameter for parameter, is_used in zip(parameters, used.tolist(), strict=True) if is_used]
    for parameter in shared:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    average([parameter.grad for parameter in shared if parameter.grad is not None])
    finite = torch.isfinite(get_total_norm([parameter.grad for parameter in shared if parameter.grad is not None]))
    dist.all_reduce(finite.float(), dist.ReduceOp.MIN)
    average([buffer for buffer in world.student.buffers() if buffer.is_floating_point()])
    flag()
    flag()


def average(tensors: list[torch.Tensor]) -> None:
    """One message for all."""
    if tensors:
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))


def step_now(exchange: GradientExchange, world: small_world.World, phase: Any, batch: Any) -> None:
    """One message beside the gradients, which go in buckets during the backward pass."""
    counts = {"images": len(batch)} | world.student.head(batch.key).counts(batch)
    with Agreement(Flags(), counts).counts():
        output = exchange.losses(batch, phase, None, is_last=True)
    output.loss.backward()
    finite = exchange.finish()
    get_total_norm([parameter.grad for parameter in world.student.parameters() if parameter.grad is not None])
    assert finite


def timed(step: Callable[[], None], world: small_world.World) -> float:
    """Seconds of a step that all ranks begin together."""
    world.student.zero_grad(set_to_none=True)
    dist.barrier()
    begun = time.perf_counter()
    step()
    return time.perf_counter() - begun


def steps(rank: int, runs: int, images: int, results: Any) -> None:
    """One rank that times steps in both ways, in turns."""
    _join(rank)
    with distributed.init_process_group():
        heads = small_world.keys(1)
        world = small_world.World(heads)
        for key in heads:
            batch = small_world.draw_batch(key, images)
            for name in (PhaseName.LOCK, PhaseName.RELEASE):
                phase = small_world.phase_of(key, name)
                with lock(world.student, phase.trainable):
                    rows = phase_rows(world, phase, batch, runs)
                if rank == 0:
                    results.put([f"{key.task.value}, {name.value}", *rows])
        if rank == 0:
            results.put(None)


def phase_rows(world: small_world.World, phase: Any, batch: Any, runs: int) -> list[str]:
    """Time, messages and bytes of a step of a phase, before and now."""
    exchange = GradientExchange(
        world.student, lambda batch, phase, trunk: small_losses(world, batch, phase), compressed=False
    )
    ways = {
        "before": lambda: step_before(world, phase, batch),
        "now": lambda: step_now(exchange, world, phase, batch),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(runs + 2):
        for name, step in ways.items():
            taken = timed(step, world)
            if turn > 1:
                seconds[name].append(taken)
    cells = [f"{1000 * statistics.median(values):.0f}" for values in seconds.values()]
    sent = Messages()
    counts, sizes = [], []
    for step in ways.values():
        world.student.zero_grad(set_to_none=True)
        with sent.counted():
            step()
        counts.append(str(sent.count))
        sizes.append(f"{sent.bytes / 1e6:.3f}")
    world.student.zero_grad(set_to_none=True)
    return [*cells, *counts, *sizes]


def small_losses(world: small_world.World, batch: Any, phase: Any) -> Any:
    """The losses of the loop."""
    from foundationx.engine.step import training_losses

    return training_losses(world.student, world.teacher, world.normalise, batch, phase)


def _join(rank: int) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": PORT}
    torch.set_num_threads(1)


def evaluation(rank: int, data: Path, work: Path, results: Any) -> None:
    """One rank of a run that is evaluated often; notes its processor time between two messages of evaluations.

    Of the thread that trains and evaluates, and of all others: of the one that draws.
    """
    _join(rank)
    spans: list[tuple[str, float, float]] = []
    state: dict[str, Any] = {"where": "", "since": (0.0, 0.0)}

    def end_span(where: str) -> None:
        now = (time.thread_time(), time.process_time())
        if state["where"]:
            own, every = (new - old for new, old in zip(now, state["since"], strict=True))
            spans.append((state["where"], own, every - own))
        state.update(where=where, since=now)

    def bounded(real: Callable[..., Any], begin: str | None) -> Callable[..., Any]:
        """Ends a span before a message, and begins the next one after it."""

        def call(*arguments: Any, **options: Any) -> Any:
            where = state["where"]
            if where:
                end_span("")
            result = real(*arguments, **options)
            if where and begin is None:
                end_span(where)
            return result

        return call

    real = hooks.EvaluateAndReport._evaluate

    def evaluate(*arguments: Any, **options: Any) -> Any:
        end_span("inside")
        result = real(*arguments, **options)
        end_span("after")
        return result

    hooks.EvaluateAndReport._evaluate = evaluate
    for name in ("gather_object", "all_gather_object"):
        setattr(distributed, name, bounded(getattr(distributed, name), None))
    Agreement.wait = bounded(Agreement.wait, "")
    options = {"evaluate.every": 1, "evaluate.final": ["val"], "schedule.max_steps": 4, "schedule.cycles": 2}
    config = load_config("quickstart/phantom", options | {"runtime.workers": 0, "runtime.eval_batch_size": 2})
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (until the process ends)
    train(config, data, work)
    results.put((rank, spans))


def in_two(target: Callable[..., None], *arguments: Any) -> Iterator[Any]:
    """Runs a function in two processes; gives what they put into their queue until it is None."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    ranks = [context.Process(target=target, args=(rank, *arguments, results)) for rank in range(2)]
    for process in ranks:
        process.start()
    try:
        while (result := results.get(timeout=1200)) is not None:
            yield result
    finally:
        for process in ranks:
            process.join(timeout=60)


def show(options: argparse.Namespace, folder: Path) -> bool:
    """Times and prints."""
    if not options.only_evaluation:
        columns = ["phase", "ms before", "ms now", "messages before", "now", "MB sent before", "now"]
        print(f"Two ranks of {options.images} images each. {small_world.DESCRIPTION}\n")
        killing.table(columns, list(in_two(steps, options.runs, options.images)))
    columns = ["images per dataset", "s of evaluation", "second rank waits", "inside, s", "afterwards, s", "drawing, s"]
    print(f"\nEvaluations of a run, medians of {options.runs} runs.\n")
    killing.table(columns, [waiting(images, options.runs, folder / str(images)) for images in options.radiographs])
    print("\nAfterwards: until the first message of training, while the first rank writes metrics. Processor time of")
    print("the thread that trains and evaluates, so that waiting for a core does not count: of each span between two")
    print("messages the longer of both ranks' times, and what of it the second one has not. Drawing: what a second")
    print("thread of the first rank has taken in the same spans.")
    return True


def waiting(images: int, runs: int, folder: Path) -> list[str]:
    """What the second rank waits in the evaluations of a run.

    Args:
        images: Images of each of three datasets; what is evaluated is the validation split.
        runs: Runs; of each span and rank the median counts.
        folder: Where phantoms and runs are written.
    """
    datasets = dict.fromkeys(("phantom_labels", "phantom_boxes", "phantom_masks"), images)
    write_phantom_datasets(folder / "data", datasets, size=128)
    seconds: dict[int, list[list[float]]] = {0: [], 1: []}
    drawing: list[float] = []
    places: list[str] = []
    for number in range(runs):
        spans = dict(itertools.islice(in_two(evaluation, folder / "data", folder / f"run{number}"), 2))
        for rank, of_rank in seconds.items():
            of_rank.append([own for _, own, _ in spans[rank][:-1]])  # nobody waits for the last report
        places = [where for where, _, _ in spans[0][:-1]]
        drawing.append(sum(beside for _, _, beside in spans[0][:-1]))
    first, second = ([statistics.median(taken) for taken in zip(*seconds[rank], strict=True)] for rank in (0, 1))
    whole = sum(map(max, first, second))
    waits = {"inside": 0.0, "after": 0.0}
    for where, of_first, of_second in zip(places, first, second, strict=True):
        waits[where] += max(0.0, of_first - of_second)
    share = sum(waits.values()) / whole
    seconds_of = (waits["inside"], waits["after"], statistics.median(drawing))
    return [str(images), f"{whole:.1f}", f"{share:.1%}", *(f"{taken:.2f}" for taken in seconds_of)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7, help="timed steps of each way, and runs that are evaluated")
    parser.add_argument("--images", type=int, default=2, help="images of each rank")
    parser.add_argument("--radiographs", type=int, nargs="+", default=[150, 600], help="images of each dataset")
    parser.add_argument("--only-evaluation", action="store_true", help="leave out the steps")
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(not show(parser.parse_args(), Path(folder)))
