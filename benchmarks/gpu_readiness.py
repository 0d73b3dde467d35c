"""What a GPU has to show before it is trained on, in one call of at most ten minutes.

python benchmarks/gpu_readiness.py [--device auto] [--size full] [--minutes 9] [--out gpu.json]

In this order, so that what matters most is there when time runs out: losses and gradients on the device beside those of
the CPU, one rank of NCCL; steps of several sizes in bf16, TF32 and fp32, with fused attention, and compiled: images/s,
share of the device's matrix speed, share of the time in which kernels run, launches, host waits and memory; our loop
beside a plain one; reading of cached images. On the CPU (``--device cpu --size tiny``) the same parts run, and show
nothing but that they do.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import small_world
import torch
from gpu_steps import Network, Size, loops, reading, steps
from measuring import table

from foundationx.core.config.model import ModelConfig
from foundationx.core.device import pick_device
from foundationx.core.types import PhaseName, TaskKey
from foundationx.models.parameter_groups import lock

TASKS = CLASSIFICATION, DETECTION, SEGMENTATION = small_world.TASKS
PARTS = ("correctness", "one rank", "speed", "loops", "reading")
TOLERANCE = 1e-3
"""Largest difference from the CPU, relative to the largest entry of the tensor."""

FULL = ModelConfig(
    backbone=small_world.CONFIG.backbone | {"embed_dims": 128, "depths": (2, 2, 18, 2), "num_heads": (4, 8, 16, 32)},
    detection={"sharing": "decoder"},
    segmentation={"channels": 128},
)
"""Swin-B with the heads of the presets."""


SIZES = {
    "full": Size(FULL, 224, {CLASSIFICATION: (32, 128, 256), DETECTION: (8, 24), SEGMENTATION: (32,)}, 10),
    "small": Size(small_world.CONFIG, 128, dict.fromkeys(TASKS, (8,)), 5),
}
TINY_BACKBONE = {"embed_dims": 12, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2)}
SIZES["tiny"] = Size(
    ModelConfig(
        backbone=small_world.CONFIG.backbone | TINY_BACKBONE,
        detection={"embed_dims": 16, "num_heads": 2, "ffn_dims": 16, "encoder_layers": 1, "decoder_layers": 1}
        | {"queries": 8, "denoising": 4},
        segmentation={"channels": 8},
    ),
    64,
    dict.fromkeys(TASKS, (2,)),
    2,
)
STILL = replace(
    SIZES["tiny"],
    config=SIZES["tiny"].config.model_copy(
        update={"detection": SIZES["tiny"].config.detection.model_copy(update={"denoising": 0})}
    ),
)
"""Without denoising queries, which are drawn at random."""


def result(network: Network, key: TaskKey) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss of a step, and the gradients on the CPU."""
    with lock(network.student, small_world.phase_of(key, PhaseName.RELEASE).trainable):
        loss = network.loss(network.batch(key, 2))
        loss.backward()
        named = network.student.named_parameters()
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
        (loss, gradients), (true_loss, true_gradients) = result(there, key), result(here, key)
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
    parts: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "correctness": lambda: correctness(device),
        "one rank": lambda: one_rank(device),
    }
    parts |= {"speed": lambda: steps(device, size), "loops": lambda: loops(device, size)}
    parts["reading"] = lambda: reading(device, size)
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
    for part in PARTS:
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
