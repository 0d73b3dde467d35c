"""Runs every benchmark and writes docs/performance.md and docs/performance.json, with the machine they ran on.

python benchmarks/run_all.py [--only cache teacher] [--runs 5] [--device auto]

With ``--only``, the other sections stay as they are; each says when and where it was measured.

On another device than the CPU, the benchmarks of whole steps run in bf16; the others stay on the CPU.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
FIGURES = PAGE.with_suffix(".json")
SCRIPTS = (
    "start",
    "cache",
    "detection_criterion",
    "attention",
    "teacher",
    "phases",
    "step",
    "cycle",
    "datasets",
    "evaluation",
    "report",
    "demo",
    "compile",
)

OTHERS = ("setup", "predict")
"""Sections of scripts that are run by hand, one in a fresh clone and one since it takes long; they stay on the page."""

ON_DEVICE = ("phases", "compile")
"""Benchmarks that can run on a GPU."""

INTRO = """# Performance

Written by `python benchmarks/run_all.py`. `foundationx train CONFIG --profile` profiles your own configuration on your
machine: time for input, student, teacher, head and criterion, backward pass, optimizer, EMA and logging in each kind of
phase, the number of host-device syncs, and the lower bound set by the arithmetic.

Times are medians of CPU seconds on one thread; the variants of a comparison run alternately in one process. Variants
give equal results, which is checked first (except for whole cycles, whose logic differs). Counts (operations, syncs,
bytes, GFLOP) do not depend on the machine.

## What holds on any machine

- Between two reads of the losses, a step has no host-device sync in classification and segmentation and one in
  detection (`tests/engine/test_host_traffic_step.py`).
- A step finds the memory of the step before: with glibc's allocator a process that trains, evaluates or predicts keeps
  what it frees, so that the system need not clear it again; a classification step has a thousand page faults
  or so at most, instead of more than ten times as many (`tests/engine/test_step_costs.py`, which also bounds the
  operations of a detection step). If `MALLOC_TRIM_THRESHOLD_`, `MALLOC_MMAP_THRESHOLD_` or `GLIBC_TUNABLES` is set,
  that stands; `run.json` (`freed_memory`) and `foundationx doctor` say which it is.
- Samples from `runtime.cache` equal decoded samples bit for bit (`tests/data/test_cache.py`). The cache holds images at
  the training size, or at full size if self-supervised views are cropped from them.
- Query, key and value of Swin's windows are parts of one tensor, so that no gradient is laid into zeros and added: the
  same bits as mmdet's (`tests/models/test_speed_twins.py`).
- In lock phases no graph is built below the trained head, and the teacher does not run
  (`tests/models/test_teacher_rest.py`). With `schedule.reuse`, the frozen part computes the features of a batch once
  for several steps (`tests/engine/test_reuse.py`); it is off by default, since a lock phase then sees fewer images
  (`docs/choices.md`).
- Locked parts of the teacher still converge towards the student. The default is one update per phase; if the teacher is
  updated at every step, a lock phase updates the trained head alone and applies the deferred updates of the rest in
  closed form.
- `fused_attention=True` of `mmdet.PublishedSwin` uses torch's fused kernel inside windows. It is off by default:
  results agree up to rounding only, and on the CPU a trained position bias makes torch fall back to the plain
  computation.
"""

LIMITS = """
## What these figures do not show

- A load average above the number of cores: other programs ran meanwhile. They share caches and cores' units with what
  is measured, so that seconds are longer than on a quiet machine; what is compared was slowed alike.
- No GPU: all measurements ran on a CPU, where arithmetic hides the host's share of a step. Throughput, bf16 and
  `torch.compile` on CUDA are not measured (`bench_compile.py --device auto` measures them). The conditional update on
  a device flag uses other calls on CUDA (three grouped ones); on the CPU they were only compared with a plain loop.
- `runtime.compile` gains nothing on a CPU, and detection gets slower: when compiled, attention uses one `grid_sample`
  per level, which is slower on CPUs than the row-sum kernel below.
- 2,000 augmented samples per second and core, in batches of 512 x 512 pixels: views with geometric and photometric
  transforms are faster than that, but the copy into a batch brings them below it. OpenCV's warp of one image takes two
  thirds of such a view; most of the rest is memory that the system has to clear.
- The row-sum kernel of deformable attention is for the CPU. On CUDA and under `torch.compile` attention uses one
  `grid_sample` per level, which is not measured here.
- A cycle by the released logic differs from ours in reading, in evaluation after every visit, in recomputed backbones,
  in a teacher whose graph is run backward, and in detection (a second copy and forward pass of the model). At equal
  settings only the copy, the matching layer by layer, lock phases without a teacher and the loop are left: a visit is
  about as many times faster as its arithmetic is less (the table of counts). The arithmetic of classification steps,
  which are most of a cycle, is the same for both; only other arithmetic makes those faster: bf16. Evaluation cannot
  skip unchanged heads: after a cycle every head has changed, at least through the backbone.
- The demo takes about 200 processor seconds on one thread, and its scores differ between seeds by 0.04 of AUROC and
  0.2 of AP40: one of three seeds has an AUROC of 0.893. A seventh more passes of labels did not raise it (0.930, 0.947,
  0.869). On two threads its training takes 144 s by the clock and 277 of processor time: operations of so small a
  network gain little from a second thread, which waits actively.
- The report of 100 heads: a third of its time goes to metrics and intervals, which it measures anew from the
  predictions, a fifth to drawing, shrinking and packing 600 pictures, a sixth to charts, a sixth to reading the run.
- Evaluation gains by reading and decoding once, by batches, and by one backbone pass shared by all heads. The larger
  the network and the smaller the images, the smaller the gain: the remaining arithmetic is the same for both.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, default=SCRIPTS, help="run only these; the others stay")
    parser.add_argument("--runs", type=int, help="timed runs per variant (default: each script's own)")
    parser.add_argument("--device", default="cpu", help="device of whole steps: cpu, cuda or auto (cpu)")
    options = parser.parse_args()
    outputs = {}
    for name in options.only:
        start = time.perf_counter()
        outputs[name] = run(name, options.runs, options.device)
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        print(outputs[name], flush=True)
    write(outputs)


def run(name: str, runs: int | None, device: str) -> str:
    """The output of one benchmark. Raises CalledProcessError if it fails."""
    command = [sys.executable, str(HERE / f"bench_{name}.py"), *(["--runs", str(runs)] if runs else [])]
    command += ["--device", device] if name in ON_DEVICE else []
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    text = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout.strip()
    return text if text.startswith("## ") else f"## {name.replace('_', ' ').capitalize()}\n\n{text}"


def write(outputs: dict[str, str]) -> None:
    """Writes the page and the figures: new sections, and those that they hold of the others."""
    load = f"load average {os.getloadavg()[2]:.0f}"
    machine = f"{processor()}, {os.cpu_count()} cores, {load}, Python {platform.python_version()}"
    day = datetime.date.today().isoformat()
    texts = sections(PAGE.read_text()) | {
        name: f"{text}\n\nMeasured on {day}: {machine}." for name, text in outputs.items()
    }
    known = [name for name in (*SCRIPTS, *OTHERS) if name in texts]
    page = "\n\n".join(f"<!-- {name} -->\n\n{texts[name]}" for name in known)
    PAGE.write_text(f"{INTRO}{LIMITS}\n{page}\n")
    figures = json.loads(FIGURES.read_text()) | {
        name: {"day": day, "machine": machine, "tables": tables(text)} for name, text in outputs.items()
    }
    FIGURES.write_text(json.dumps({name: figures[name] for name in known if name in figures}, indent=1) + "\n")
    print(f"written: {PAGE} and {FIGURES}", file=sys.stderr)


def sections(page: str) -> dict[str, str]:
    """Text of each script on a page, by its name."""
    parts = re.split(r"^<!-- (\w+) -->$", page, flags=re.MULTILINE)[1:]
    return {name: text.strip() for name, text in zip(parts[::2], parts[1::2], strict=True)}


def processor() -> str:
    """Name of the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def tables(text: str) -> list[dict[str, Any]]:
    """Rows of all markdown tables of a text, by column, with the title above them."""
    result: list[dict[str, Any]] = []
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
            result.append({"table": title} | dict(zip(columns, cells, strict=True)))
    return result


if __name__ == "__main__":
    main()
