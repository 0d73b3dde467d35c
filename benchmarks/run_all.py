"""Runs every benchmark and writes docs/performance.md and docs/performance.json, with the machine they ran on.

python benchmarks/run_all.py [--only cache teacher] [--runs 5] [--device auto]

Where the device is no CPU, the benchmarks of whole steps run on it, in bf16; the others stay on the CPU.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
FIGURES = PAGE.with_suffix(".json")
SCRIPTS = (
    "cache",
    "detection_criterion",
    "attention",
    "teacher",
    "phases",
    "cycle",
    "datasets",
    "evaluation",
    "compile",
)

ON_DEVICE = ("phases", "compile")
"""Those that can run on a GPU."""

INTRO = """# Performance

Written by `python benchmarks/run_all.py`. `foundationx train CONFIG --profile` looks at a configuration of your own on
your machine: input wait, student, teacher, head and criterion, backward, optimizer, EMA and logging of each kind of
phase, how often the host waits for the device, and the floor that the arithmetic sets.

Times are CPU seconds of one thread, medians, of things that were run in turns in one process. What is compared gives
equal numbers, which is checked first (whole cycles apart: there the logic differs). Counts (operations, waits, bytes,
GFLOP) do not depend on the machine.

## What holds on any machine

- A step waits for the device 0 times in classification and segmentation and once in detection, between two readings
  of the losses (`tests/engine/test_host_traffic_step.py`).
- `runtime.cache` gives bit for bit the samples that decoding gives (`tests/data/test_cache.py`). It holds images at the
  training size, and as large as they are where self-supervised views are cut from them.
- In lock phases nothing below the trained head builds a graph, and the teacher is not run
  (`tests/models/test_teacher_rest.py`). With `schedule.reuse` the frozen part looks at a batch once for several uses
  (`tests/engine/test_reuse.py`); it is off, since a lock phase then sees fewer images (`docs/choices.md`).
- Locked parts of the teacher still converge towards the student. By default that is one update a phase; where the
  teacher follows every step, a lock phase moves the trained head alone and makes up for the rest in closed form.
- `fused_attention=True` of `mmdet.PublishedSwin` takes torch's fused kernel inside windows. It is off: numbers are
  equal to rounding only, and on the CPU a trained position bias makes torch fall back to the plain computation.
"""

LIMITS = """
## What these figures do not show

- No GPU: everything here ran on a CPU, where arithmetic hides the host's share of a step. On CUDA throughput, bf16
  and `torch.compile` are not measured (`bench_compile.py --device auto` would). The update that a flag on the device
  allows takes other calls on CUDA (three grouped ones); on the CPU they were only held against a plain loop.
- `runtime.compile` gains nothing on a CPU, and detection loses: compiled, its attention is one `grid_sample` a level
  instead of the rows below, which are a CPU's faster way.
- 2,000 augmented samples a second and core, in batches of 512 x 512 pixels: turned, cropped and toned views are made
  more often than that, but with the copy into a batch it stays below. OpenCV's warp of one image is two thirds of such
  a view; what is lost beside it is memory that the system has to clear.
- Deformable attention by rows is for the CPU. On CUDA and under `torch.compile` it is one `grid_sample` a level, which
  is not measured here.
- A cycle by the released logic differs from ours in reading, in evaluation after every visit, in recomputed backbones
  and in detection (a second copy and forward pass of the model). The arithmetic of classification steps, which are most
  of a cycle, is the same for both: without reading a cycle stays at about twice as fast. Nor can an evaluation leave
  out what has not changed: after a cycle every head has, through the backbone if not by itself.
- Evaluation gains by reading and decoding once, by batches and by one look of the backbone for all heads of an image.
  The larger the network and the smaller the films, the less of that counts: what remains is arithmetic that both ways
  need.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, default=SCRIPTS, help="print these; the page stays")
    parser.add_argument("--runs", type=int, help="timed runs of each thing; each script's own where not given")
    parser.add_argument("--device", default="cpu", help="of whole steps: cpu, cuda or auto")
    options = parser.parse_args()
    outputs = {}
    for name in options.only:
        start = time.perf_counter()
        outputs[name] = run(name, options.runs, options.device)
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        print(outputs[name], flush=True)
    if options.only == SCRIPTS:
        write(outputs)


def run(name: str, runs: int | None, device: str) -> str:
    """What one benchmark prints. Raises CalledProcessError where it fails."""
    command = [sys.executable, str(HERE / f"bench_{name}.py"), *(["--runs", str(runs)] if runs else [])]
    command += ["--device", device] if name in ON_DEVICE else []
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    text = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout.strip()
    return text if text.startswith("## ") else f"## {name.replace('_', ' ').capitalize()}\n\n{text}"


def write(outputs: dict[str, str]) -> None:
    """The page and the figures."""
    load = f"load average {os.getloadavg()[2]:.0f}"
    machine = f"{processor()}, {os.cpu_count()} cores, {load}, Python {platform.python_version()}"
    day = datetime.date.today().isoformat()
    measured = f"\nMeasured on {day}: {machine}.\n"
    PAGE.write_text(INTRO + LIMITS + measured + "\n" + "\n\n".join(outputs.values()) + "\n")
    figures = {name: tables(text) for name, text in outputs.items()}
    FIGURES.write_text(json.dumps({"day": day, "machine": machine, "benchmarks": figures}, indent=1) + "\n")
    print(f"written: {PAGE} and {FIGURES}", file=sys.stderr)


def processor() -> str:
    """The processor's name as the system gives it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def tables(text: str) -> list[dict[str, Any]]:
    """Rows of all markdown tables of a text, by column, with the title they stand under."""
    found: list[dict[str, Any]] = []
    title, columns = "", None
    for line in text.splitlines():
        if line.startswith("## "):
            title = line.removeprefix("## ")
        if not line.startswith("|"):
            columns = None
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if columns is None:
            columns = cells
        elif not set(line) <= set("|- "):
            found.append({"table": title} | dict(zip(columns, cells, strict=True)))
    return found


if __name__ == "__main__":
    main()
