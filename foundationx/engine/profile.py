"""Time of the parts of a training step, beside the floor that its arithmetic sets.

The loop is left as it is: for the time of a profile its parts are wrapped, each in a stopwatch. On CUDA a stopwatch
waits for the device when it starts and stops, so that work is counted where it belongs; the whole step is timed in
steps of its own, without stopwatches.

The floor is the time that the step's multiplications would take at the speed of one large
matrix product on this machine: images * (6 * trained + 2 * frozen + 2 * teacher multiply-adds) / speed. They are
counted, not estimated, by torch's own counter: matrix products, convolutions and fused attention.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from foundationx.core.device import computes_in_bf16
from foundationx.core.types import Batch
from foundationx.engine.schedule.plan import Phase
from foundationx.engine.trainer import Trainer
from foundationx.models.parameter_groups import lock

FORWARD = ("student", "teacher", "head and criterion")
PARTS = ("input wait", *FORWARD, "backward", "optimizer", "EMA", "logging")
"""Student and teacher up to the consistency point; the optimizer with clipping; what lies between forward and backward
(the consistency loss) counts as backward."""

WARM, TIMED = 2, 5
STEPS = WARM + 2 * TIMED + 2
"""Steps of a profiled phase: unmeasured, whole, in parts, counted, traced."""

_WAITING = ("item", "tolist", "cpu", "__bool__", "__int__", "__float__", "nonzero", "unique")


@dataclass(frozen=True)
class PhaseProfile:
    """One phase of a run.

    Attributes:
        name: Head and phase.
        images: Images of a step.
        milliseconds: Median time of a whole step.
        parts: Milliseconds of each of ``PARTS``, medians; of logging, once.
        host_syncs: How often the host waits for the device in a step, outside logging. On the CPU, where the optimizer
            is not fused and reads what is on the host anyway, without the optimizer's.
        gflop: Floating-point operations of a step in 10^9, all images together, a multiply-add being two.
        floor: Milliseconds that they take at the machine's speed.
    """

    name: str
    images: int
    milliseconds: float
    parts: dict[str, float]
    host_syncs: int
    gflop: float
    floor: float


class HostSyncs(TorchFunctionMode):
    """Counts calls whose result the host must have."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, function: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += getattr(function, "__name__", "") in _WAITING
        return function(*args, **(kwargs or {}))

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """What is inside does not count."""
        before = self.count
        yield
        self.count = before


@dataclass
class Stopwatches:
    """Seconds by part, without those of a part inside it; ``started``, ``ended``: each part's last times."""

    device: torch.device
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    started: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    _running: list[str] = field(default_factory=list)

    def now(self) -> float:
        """Host time when the device has done all it was asked to."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Times what is inside."""
        start = self.started[name] = self.now()
        self._running.append(name)
        try:
            yield
        finally:
            self._running.pop()
            end = self.ended[name] = self.now()
            self.seconds[name] += end - start
            if self._running:
                self.seconds[self._running[-1]] -= end - start

    def wrap(self, owner: Any, method: str, name: str) -> Callable[[], None]:
        """Times a method of one object until the function returned is called."""
        return _within(owner, method, lambda: self.part(name))


def _within(owner: Any, method: str, context: Callable[[], contextlib.AbstractContextManager]) -> Callable[[], None]:
    """Runs a method of one object inside a context until the function returned is called."""
    original = getattr(owner, method)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with context():
            return original(*args, **kwargs)

    setattr(owner, method, wrapped)
    return lambda: delattr(owner, method)


@contextlib.contextmanager
def watched(trainer: Trainer, clocks: Stopwatches) -> Iterator[None]:
    """The trainer's parts under stopwatches."""
    restore = [
        clocks.wrap(trainer.model, "trunk", "student"),
        clocks.wrap(trainer.model, "head_loss", "head and criterion"),
        clocks.wrap(trainer.teacher.model, "trunk", "teacher"),
        clocks.wrap(trainer.nonfinite, "check", "check"),
        clocks.wrap(trainer, "_update", "optimizer"),
        clocks.wrap(trainer.teacher, "update", "EMA"),
        clocks.wrap(trainer, "_log", "logging"),
    ]
    try:
        yield
    finally:
        for undo in restore:
            undo()


def profile_phases(trainer: Trainer, folder: Path) -> Iterator[PhaseProfile]:
    """Profiles every phase of a trainer's plan; each must have ``STEPS`` steps. Nothing is saved or evaluated.

    Args:
        trainer: fresh; it trains.
        folder: a trace of one step of each phase is written here, for chrome://tracing or Perfetto.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # torch's profiler would print its progress
    is_bf16 = computes_in_bf16(trainer.config.runtime.precision, trainer.device)
    speed = matrix_speed(trainer.device, torch.bfloat16 if is_bf16 else torch.float32)
    clocks = Stopwatches(trainer.device)
    source = _timed_source(trainer.batches(0), clocks)
    folder.mkdir(parents=True, exist_ok=True)
    for phase in trainer.plan.phases:
        with lock(trainer.model, phase.trainable):
            yield _profile_phase(trainer, phase, source, clocks, speed, folder)
        trainer.end_phase(phase)


def _profile_phase(
    trainer: Trainer, phase: Phase, source: Iterator[Batch], clocks: Stopwatches, speed: float, folder: Path
) -> PhaseProfile:
    def step() -> None:
        trainer._run_step(phase, source)

    for _ in range(WARM):
        step()
    steps_timed = [_seconds(step, clocks) for _ in range(TIMED)]
    parts = [_parts(trainer, step, clocks) for _ in range(TIMED)]
    host_syncs, gflop = _counted(trainer, step)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if trainer.device.type == "cuda" else [])]
    with watched(trainer, clocks), profile(activities=activities) as traced:
        step()  # the phase's last: the losses are read
    traced.export_chrome_trace(str(folder / f"{str(phase.key).replace('/', '_')}_{phase.name.value}.json.gz"))
    medians = {name: 1000 * statistics.median(part[name] for part in parts) for name in PARTS}
    return PhaseProfile(
        name=f"{phase.key} {phase.name.value}",
        images=trainer.config.runtime.batch_size,
        milliseconds=1000 * statistics.median(steps_timed),
        parts=medians | {"logging": 1000 * clocks.seconds["logging"]},
        host_syncs=host_syncs,
        gflop=gflop,
        floor=1e12 * gflop / speed,
    )


def _counted(trainer: Trainer, step: Callable[[], None]) -> tuple[int, float]:
    """Host syncs and GFLOP of one step."""
    with HostSyncs() as syncs, FlopCounterMode(display=False) as flops:
        undo = [_within(trainer, "_log", syncs.paused)]
        if not trainer.nonfinite.fused:
            undo.append(_within(trainer, "_update", syncs.paused))
        step()
        for restore in undo:
            restore()
    return syncs.count, flops.get_total_flops() / 1e9


def _seconds(step: Callable[[], object], clocks: Stopwatches) -> float:
    start = clocks.now()
    step()
    return clocks.now() - start


def _parts(trainer: Trainer, step: Callable[[], None], clocks: Stopwatches) -> defaultdict[str, float]:
    """Seconds of one step by part."""
    clocks.seconds.clear()
    with watched(trainer, clocks):
        step()
    forward_ended = max(clocks.ended.get(name, 0.0) for name in FORWARD)
    return defaultdict(float, clocks.seconds | {"backward": clocks.started["check"] - forward_ended})


def _timed_source(batches: Iterable[Batch], clocks: Stopwatches) -> Iterator[Batch]:
    """The batches; the time that each one is waited for is that of the input."""
    waiting = iter(batches)
    while True:
        with clocks.part("input wait"):
            batch = next(waiting, None)
        if batch is None:
            return
        yield batch


def matrix_speed(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large matrix product, as measured: the best of five."""
    side = 8192 if device.type == "cuda" else 1024
    matrix = torch.randn(side, side, device=device, dtype=dtype)
    clocks = Stopwatches(device)
    return 2 * side**3 / min(_seconds(lambda: matrix @ matrix, clocks) for _ in range(5))
