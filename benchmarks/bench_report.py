"""Size of the report of a run with many heads, and what drawing it costs.

    python benchmarks/bench_report.py [--heads 100] [--images 200] [--classes 14] [--keep FOLDER]

A made-up run (``report_run.py``) has labels, boxes and masks in turn. The report is drawn by the command in a process
of its own; the processor time is that process's, imports included.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from report_run import TASKS, write_run

from foundationx.core.types import TaskKey


def main() -> None:
    """Makes the run, draws its report and prints a line of a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=100, help="heads of the run")
    parser.add_argument("--images", type=int, default=200, help="test images of each head")
    parser.add_argument("--classes", type=int, default=14, help="classes of image labels; boxes and masks have three")
    parser.add_argument("--keep", type=Path, help="folder that the run stays in (default: it is deleted)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        heads = [TaskKey(f"dataset_{number:03}", TASKS[number % len(TASKS)]) for number in range(options.heads)]
        write_run(folder, heads, options.images, options.classes)
        seconds = drawing_seconds(folder)
        html = (folder / "report.html").read_text(encoding="utf-8")
    pictures = sum(len(address) for address in re.findall(r"src=.(data:image/[^'\"]+)", html))
    drawings = sum(len(svg) for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    print(
        f"A made-up run with {options.images} test images of each head; `foundationx report`, a process of its own.\n"
    )
    print("| heads | MB | of it pictures | charts | pictures | charts | CPU seconds |")
    print("|---|---|---|---|---|---|---|")
    counts = f"{html.count('<img')} | {html.count('<svg')}"
    sizes = f"{len(html.encode()) / 1e6:.1f} | {pictures / 1e6:.1f} | {drawings / 1e6:.1f}"
    print(f"| {options.heads} | {sizes} | {counts} | {seconds:.1f} |")


def drawing_seconds(folder: Path) -> float:
    """Processor seconds of ``foundationx report``."""
    before = os.times()
    command = [sys.executable, "-m", "foundationx.apps.cli.main", "report", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


if __name__ == "__main__":
    main()
