"""What a GPU has to show before it is trained on, in one call of at most ten minutes.

python benchmarks/gpu_readiness.py [--device auto] [--size full] [--minutes 9] [--out gpu.json]

In this order, so that what matters most is there when time runs out: losses and gradients on the device beside those of
the CPU, one rank of NCCL, steps in fp32, bf16 and compiled with images/s and the share of the device's matrix speed,
and how often the host waits for the device. On the CPU (``--device cpu --size tiny``) the same parts run, and show
nothing but that they do.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import socket
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import small_world
import torch
from measuring import now, table
from torch.utils.flop_counter import FlopCounterMode

from foundationx.core.config.model import ModelConfig
from foundationx.core.device import pick_device
from foundationx.core.types import PhaseName, TaskKey
from foundationx.data.normalise import Normaliser
from foundationx.engine.profile import matrix_speed
from foundationx.engine.step import training_losses
from foundationx.models.compile import compile_parts
from foundationx.models.ema_teacher import Teacher
from foundationx.models.parameter_groups import lock

TOLERANCE = 1e-3
"""Largest difference from the CPU, relative to the largest entry of the tensor."""

FULL = ModelConfig(
    backbone=small_world.CONFIG.backbone | {"embed_dims": 128, "depths": (2, 2, 18, 2), "num_heads": (4, 8, 16, 32)},
    detection={"sharing": "decoder"},
    segmentation={"channels": 128},
)
"""Swin-B with the heads of the presets."""


@dataclass(frozen=True)
class Size:
    """How large the timed steps are.

    Attributes:
        config: Network.
        pixels: Height and width of the images.
        images: Images of a step.
        runs: Timed steps.
    """

    config: ModelConfig
    pixels: int
    images: int
    runs: int


SIZES = {"full": Size(FULL, 224, 32, 10), "small": Size(small_world.CONFIG, 128, 8, 5)}
TINY_BACKBONE = {"embed_dims": 12, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2)}
SIZES["tiny"] = Size(
    ModelConfig(
        backbone=small_world.CONFIG.backbone | TINY_BACKBONE,
        detection={"embed_dims": 16, "num_heads": 2, "ffn_dims": 16, "encoder_layers": 1, "decoder_layers": 1}
        | {"queries": 8, "denoising": 4},
        segmentation={"channels": 8},
    ),
    64,
    2,
    2,
)
STILL = replace(
    SIZES["tiny"],
    config=SIZES["tiny"].config.model_copy(
        update={"detection": SIZES["tiny"].config.detection.model_copy(update={"denoising": 0})}
    ),
)


class Network:
    """Student and teacher of a size on a device, with one random batch per task; what is random in a step is off."""

    def __init__(self, size: Size, device: torch.device):
        small_world.SIZE, small_world.CONFIG = size.pixels, size.config
        self.device, self.heads = device, small_world.keys(1)
        self.student = small_world.build(self.heads).to(device)
        self.teacher = Teacher(self.student)
        self.normalise = Normaliser(size.config, device)
        self.batches = {key: small_world.draw_batch(key, size.images).to(device) for key in self.heads}

    def loss(self, key: TaskKey, bf16: bool = False) -> torch.Tensor:
        """Loss of a release phase."""
        phase, batch = small_world.phase_of(key, PhaseName.RELEASE), self.batches[key]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            return training_losses(self.student, self.teacher, self.normalise, batch, phase).loss

    def step(self, key: TaskKey, bf16: bool = False) -> None:
        """Loss and gradients of a release phase."""
        with lock(self.student, small_world.phase_of(key, PhaseName.RELEASE).trainable):
            self.loss(key, bf16).backward()

    def result(self, key: TaskKey) -> tuple[float, dict[str, torch.Tensor]]:
        """Loss of a step, and the gradients on the CPU."""
        with lock(self.student, small_world.phase_of(key, PhaseName.RELEASE).trainable):
            loss = self.loss(key)
            loss.backward()
            named = self.student.named_parameters()
            return loss.item(), {name: p.grad.cpu() for name, p in named if p.grad is not None}


def correctness(device: torch.device) -> Iterator[dict[str, Any]]:
    """Loss and gradients of a tiny network on the device beside those of the CPU, in fp32 without TF32.

    Dropout, drop path and denoising queries, which each device draws from a generator of its own, are left out.
    """
    there, here = Network(STILL, device), Network(STILL, torch.device("cpu"))
    there.student.load_state_dict(here.student.state_dict())
    there.teacher.model.load_state_dict(here.teacher.model.state_dict())
    for part in [*there.student.modules(), *here.student.modules()]:
        for name in ("p", "drop_prob"):
            if isinstance(getattr(part, name, None), float):
                setattr(part, name, 0.0)
    for key in here.heads:
        (loss, gradients), (true_loss, true_gradients) = there.result(key), here.result(key)
        worst = max(relative(gradients.get(name, value * 0), value) for name, value in true_gradients.items())
        row = {"task": key.task.value, "loss": abs(loss - true_loss) / abs(true_loss), "gradient": worst}
        same = gradients.keys() == true_gradients.keys()
        yield row | {"parameters": len(true_gradients), "holds": same and max(row["loss"], worst) <= TOLERANCE}


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest difference, relative to the largest entry, which counts as at least 1e-6."""
    return float((one - other).abs().max() / other.abs().max().clamp(min=1e-6))


def one_rank(device: torch.device) -> Iterator[dict[str, Any]]:
    """A process group of one rank: NCCL on CUDA, gloo elsewhere. The sum over one rank is what was sent."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    backend = "nccl" if device.type == "cuda" else "gloo"
    torch.distributed.init_process_group(backend, init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1)
    try:
        sent = torch.arange(2**20, dtype=torch.float32, device=device)
        received = sent.clone()
        torch.distributed.all_reduce(received)
        yield {"backend": backend, "holds": bool(torch.equal(sent, received))}
    finally:
        torch.distributed.destroy_process_group()


def speeds(device: torch.device, size: Size) -> Iterator[dict[str, Any]]:
    """Steps of each task in fp32, bf16 and bf16 compiled: images/s, share of the matrix speed, memory, host waits."""
    peaks = {bf16: matrix_speed(device, torch.bfloat16 if bf16 else torch.float32) for bf16 in (False, True)}
    network = Network(size, device)
    ways = [("fp32", False, False), ("bf16", True, False), ("bf16, compiled", True, True)]
    for name, bf16, compiled in ways:
        if compiled:
            for model in (network.student, network.teacher.model):
                compile_parts(model, "inductor" if device.type == "cuda" else "aot_eager", 16)
        for key in network.heads:
            start = time.perf_counter()
            network.step(key, bf16)
            network.step(key, bf16)
            first = time.perf_counter() - start
            seconds = [timed(lambda key=key, bf16=bf16: network.step(key, bf16), device) for _ in range(size.runs)]
            step = statistics.median(seconds)
            row = {"task": key.task.value, "way": name, "first two steps, s": first, "images/s": size.images / step}
            if not compiled:
                flops = floating_point_operations(network, key)
                row |= {"TFLOP/s": flops / step / 1e12, "share of matrix speed": flops / step / peaks[bf16]}
            yield row | {"host waits": host_waits(lambda key=key, bf16=bf16: network.step(key, bf16), device)}


def timed(action: Callable[[], None], device: torch.device) -> float:
    """Seconds of an action."""
    start = now(device)
    action()
    return now(device) - start


def floating_point_operations(network: Network, key: TaskKey) -> int:
    """Operations of a step as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        network.step(key)
    return counter.get_total_flops()


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


def measure(device: torch.device, size: Size, seconds: float) -> dict[str, Any]:
    """All parts, until the time is over; what was not reached is named.

    Args:
        device: Device to measure.
        size: Size of the timed steps.
        seconds: Time for everything.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    deadline = time.monotonic() + seconds
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU"
    found: dict[str, Any] = {"device": name, "torch": torch.__version__, "cuda": torch.version.cuda}
    parts = {"correctness": lambda: correctness(device), "one rank": lambda: one_rank(device)}
    parts["speed"] = lambda: speeds(device, size)
    for part, rows in parts.items():
        found[part] = []
        with contextlib.closing(rows()) as source:
            while time.monotonic() < deadline:
                try:
                    found[part].append(next(source))
                except StopIteration:
                    break
                except Exception as error:  # the other parts are measured all the same
                    found[part].append({"error": f"{type(error).__name__}: {str(error)[:300]}", "holds": False})
                    break
            else:
                found[part].append({"not reached": "the time was over"})
    return found


def show(found: dict[str, Any]) -> None:
    """Tables in markdown."""
    print(f"{found['device']}, torch {found['torch']}, CUDA {found['cuda']}\n")
    for part in ("correctness", "one rank", "speed"):
        rows = found[part]
        columns = list(dict.fromkeys(column for row in rows for column in row))
        print(f"## {part}\n")
        table(columns, [[cell(row.get(column)) for column in columns] for row in rows])


def cell(value: Any) -> str:
    """A cell of a table."""
    return "-" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def main() -> int:
    """The command line; 1 if a comparison does not hold or a part fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", help="device of torch; auto: a GPU if there is one")
    parser.add_argument("--size", choices=sorted(SIZES), default="full", help="size of the timed steps")
    parser.add_argument("--minutes", type=float, default=9.0, help="time for everything")
    parser.add_argument("--out", type=Path, help="file for the numbers, JSON")
    options = parser.parse_args()
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "4")
    found = measure(pick_device(options.device), SIZES[options.size], 60 * options.minutes)
    show(found)
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return int(any(row.get("holds") is False for part in found.values() if isinstance(part, list) for row in part))


if __name__ == "__main__":
    raise SystemExit(main())
