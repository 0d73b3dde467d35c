"""Steps, loops and reading on a GPU, for ``gpu_readiness.py``: what is timed, and what is counted beside it."""

from __future__ import annotations

import contextlib
import itertools
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import small_world
import torch
from image_files import KEY, write_images
from measuring import in_turns, now, peak_bytes
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from foundationx.core.config.model import ModelConfig
from foundationx.core.config.run import RunConfig
from foundationx.core.types import Batch, PhaseName, Task, TaskKey
from foundationx.data.cache.fill import fill
from foundationx.data.cache.store import Store
from foundationx.data.dataset import CardDataset
from foundationx.data.loader import PooledDataset, in_order, make_loader, read_all
from foundationx.data.normalise import Normaliser
from foundationx.data.transforms.augment import ViewPipeline
from foundationx.engine.profile import matrix_speed
from foundationx.engine.schedule.plan import Plan
from foundationx.engine.step import training_losses
from foundationx.engine.trainer import Trainer
from foundationx.models.compile import compile_parts
from foundationx.models.ema_teacher import Teacher
from foundationx.models.parameter_groups import lock

MOST_WORKERS = 16
READ_IMAGES, READ_SIDE, READ_BATCHES = 64, 512, 40
"""Files that are written and cached, their side in pixels, and batches that are read of them."""

GIGABYTE = 1e9


@dataclass(frozen=True)
class Size:
    """How large the timed steps are.

    Attributes:
        config: Network.
        pixels: Height and width of the images.
        images: Images of a step, by task.
        runs: Timed steps.
    """

    config: ModelConfig
    pixels: int
    images: dict[Task, tuple[int, ...]]
    runs: int


@dataclass(frozen=True)
class Case:
    """One timed step: fp32 (without TF32), tf32 or bf16; perhaps compiled, perhaps with fused attention."""

    task: Task
    images: int
    arithmetic: str
    fused: bool = False
    compiled: bool = False


def cases(size: Size) -> list[Case]:
    """All steps, the most telling ones first: what is compiled comes last, since it takes longest."""
    plain = [
        Case(task, images, arithmetic)
        for arithmetic in ("bf16", "tf32", "fp32")
        for task, counts in size.images.items()
        for images in counts
    ]
    largest = {task: counts[-1] for task, counts in size.images.items()}
    fused = [Case(task, images, "bf16", fused=True) for task, images in largest.items()]
    compiled = [
        Case(task, images, "bf16", fused, compiled=True) for fused in (False, True) for task, images in largest.items()
    ]
    return [*plain, *fused, *compiled]


class Network:
    """Student and teacher of a configuration on a device, with random batches.

    Args:
        size: Network and size of images.
        device: Device to compute on.
        fused: With torch's fused attention inside windows.
    """

    def __init__(self, size: Size, device: torch.device, fused: bool = False):
        config = size.config.model_copy(update={"backbone": size.config.backbone | {"fused_attention": fused}})
        small_world.SIZE, small_world.CONFIG = size.pixels, config
        self.config, self.device, self.heads = config, device, small_world.keys(1)
        self.student = small_world.build(self.heads).to(device)
        self.teacher = Teacher(self.student)
        self.normalise = Normaliser(config, device)

    def batch(self, key: TaskKey, images: int) -> Batch:
        """A random batch on the device."""
        return small_world.draw_batch(key, images).to(self.device)

    def loss(self, batch: Batch, bf16: bool = False) -> torch.Tensor:
        """Loss of a release phase."""
        phase = small_world.phase_of(batch.key, PhaseName.RELEASE)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            return training_losses(self.student, self.teacher, self.normalise, batch, phase).loss

    def step(self, batch: Batch, bf16: bool = False) -> None:
        """Loss and gradients of a release phase."""
        with lock(self.student, small_world.phase_of(batch.key, PhaseName.RELEASE).trainable):
            self.loss(batch, bf16).backward()


def steps(device: torch.device, size: Size) -> Iterator[dict[str, Any]]:
    """A row for each case: images/s, share of the device's matrix speed, GPU busy, launches, host waits, memory."""
    peaks: dict[str, float] = {}
    network, kind = None, None
    for case in cases(size):
        if (case.fused, case.compiled) != kind:
            kind, network = (case.fused, case.compiled), None  # the one before is freed first
            network = Network(size, device, case.fused)
            if case.compiled:
                backend = "inductor" if device.type == "cuda" else "aot_eager"
                for model in (network.student, network.teacher.model):
                    compile_parts(model, backend, len(cases(size)))
        row = {"task": case.task.value, "images": case.images, "arithmetic": case.arithmetic}
        row |= {"fused": case.fused, "compiled": case.compiled}
        try:
            with arithmetic(case.arithmetic):
                yield row | timed_step(network, case, size.runs, peaks)
        except torch.OutOfMemoryError:
            yield row | {"holds": None, "out of memory": True}
            torch.cuda.empty_cache()


@contextlib.contextmanager
def arithmetic(name: str) -> Iterator[None]:
    """TF32 for tf32 and bf16, none for fp32, while it is entered."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    matmul.allow_tf32 = cudnn.allow_tf32 = name != "fp32"
    try:
        yield
    finally:
        matmul.allow_tf32 = cudnn.allow_tf32 = False


def timed_step(network: Network, case: Case, runs: int, peaks: dict[str, float]) -> dict[str, Any]:
    """Times and counts of one case.

    Args:
        network: Network of the case.
        case: What is timed.
        runs: Timed steps.
        peaks: Speed of a matrix product by arithmetic; what is missing is measured and added.
    """
    device, bf16 = network.device, case.arithmetic == "bf16"
    if case.arithmetic not in peaks:
        peaks[case.arithmetic] = matrix_speed(device, torch.bfloat16 if bf16 else torch.float32)
    key = next(key for key in network.heads if key.task is case.task)
    batch = network.batch(key, case.images)

    def step() -> None:
        network.student.zero_grad(set_to_none=True)
        network.step(batch, bf16)

    start = time.perf_counter()
    step()
    step()
    first = time.perf_counter() - start
    seconds = statistics.median(timed(step, device) for _ in range(runs))
    row: dict[str, Any] = {"first two steps, s": first, "images/s": case.images / seconds}
    if not case.compiled:
        with FlopCounterMode(display=False) as counter:
            step()
        speed = counter.get_total_flops() / seconds
        row |= {"TFLOP/s": speed / 1e12, "share of matrix speed": speed / peaks[case.arithmetic]}
    memory = peak_bytes(step, device) / GIGABYTE if device.type == "cuda" else None
    return row | traced(step, device) | {"host waits": host_waits(step, device), "memory, GB": memory}


def timed(action: Callable[[], None], device: torch.device) -> float:
    """Seconds of an action."""
    start = now(device)
    action()
    return now(device) - start


def traced(action: Callable[[], None], device: torch.device) -> dict[str, Any]:
    """Share of the time in which kernels run, and how many are launched; None where there are none."""
    if device.type != "cuda":
        return {"GPU busy": None, "launches": None}
    torch.cuda.synchronize(device)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as trace:
        start = time.perf_counter()
        action()
        torch.cuda.synchronize(device)
        seconds = time.perf_counter() - start
    events = trace.events() or []
    busy = sum(event.time_range.elapsed_us() for event in events if event.device_type is DeviceType.CUDA) / 1e6
    launches = sum("LaunchKernel" in event.name for event in events if event.device_type is DeviceType.CPU)
    return {"GPU busy": min(1.0, busy / seconds), "launches": launches}


def host_waits(action: Callable[[], None], device: torch.device) -> int | None:
    """How often torch says that the host waits for the device; None where it does not say so."""
    if device.type != "cuda":
        return None
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            action()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in said)


def loops(device: torch.device, size: Size) -> Iterator[dict[str, Any]]:
    """Our loop and a plain one in turns on the same network and batch: losses, clipping, AdamW, EMA."""
    network = Network(size, device)
    for key in network.heads:
        images = size.images[key.task][-1]
        batch = network.batch(key, images)
        phase = replace(small_world.phase_of(key, PhaseName.RELEASE), steps=1_000_000)
        config = RunConfig(
            name="loop",
            image_size=size.pixels,
            model=network.config,
            datasets=[{"card": key.dataset}],
            schedule={"cycles": 1},
            consistency={"only_if_better": False},
            runtime={"precision": "bf16", "log_every": 1_000_000, "checkpoint_minutes": None},
        )
        trainer = Trainer(config, network.student, Plan((phase,)), lambda step: (), Path(tempfile.gettempdir()))
        optimizer = torch.optim.AdamW(network.student.parameters(), lr=1e-4, fused=device.type == "cuda" or None)

        def plain(batch: Batch = batch, optimizer: torch.optim.Optimizer = optimizer) -> None:
            network.loss(batch, bf16=True).backward()
            nn.utils.clip_grad_norm_(network.student.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            network.teacher.update(0.99)

        def ours(trainer: Trainer = trainer, phase: Any = phase, batch: Batch = batch) -> None:
            trainer._run_step(phase, itertools.repeat(batch))

        with lock(network.student, phase.trainable):
            seconds = in_turns({"ours": ours, "plain": plain}, size.runs, device)
        rates = {f"{name}, images/s": images / value for name, value in seconds.items()}
        yield {"task": key.task.value, "images": images} | rates | {"times": seconds["plain"] / seconds["ours"]}


def reading(device: torch.device, size: Size) -> Iterator[dict[str, Any]]:
    """Cached images of the training size, augmented and brought to the device, by a worker for each core."""
    images = size.images[Task.CLASSIFICATION][-1]
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        annotations, view = write_images(folder, READ_IMAGES, READ_SIDE), ViewPipeline(size.pixels)
        decoding = CardDataset(annotations, folder, view)
        indices = {KEY: np.arange(READ_IMAGES)}
        cache = fill(Store(folder / "cache", size.pixels), {KEY: decoding}, indices, 10**9)[KEY]
        pool = PooledDataset({KEY: CardDataset(annotations, folder, view, cache)}, indices)
        workers = min(MOST_WORKERS, len(os.sched_getaffinity(0)))
        batches = in_order(KEY, np.resize(np.arange(READ_IMAGES), READ_BATCHES * images), images)
        loader = make_loader(pool, batches, workers, device.type == "cuda")
        source = read_all(loader, "reading", "run again")
        next(source).to(device)  # the workers have been started
        start = time.perf_counter()
        count = sum(len(batch.to(device)) for batch in source)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        yield {"workers": workers, "images of a batch": images, "images/s": count / (time.perf_counter() - start)}
