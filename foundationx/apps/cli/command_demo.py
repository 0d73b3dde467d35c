"""``foundationx demo``."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

from rich.table import Table

from foundationx.apps.cli.options import wide_console

HELP = "train, evaluate, report, export and predict on generated radiographs (minutes on two cores)"
EXAMPLE = "foundationx demo --folder work_dirs/demo"
CONFIG = "quickstart/demo"
IMAGES = {"phantom_labels": 900, "phantom_boxes": 500, "phantom_masks": 150, "phantom_all": 8}
"""Images in each phantom dataset: more for harder tasks. The last is not trained on: it gives the image to predict."""
SIZE = 128
"""Height and width of a generated image in pixels: that at which the configuration reads it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "--folder", type=Path, default=Path("work_dirs/demo"), metavar="DIR", help="output folder (overwritten)"
    )
    parser.add_argument(
        "--images",
        type=int,
        metavar="N",
        help="images per generated dataset (default: 900 with labels, 500 with boxes, 150 with masks, 8 with all)",
    )
    parser.add_argument(
        "--size", type=int, default=SIZE, metavar="PIXELS", help="height and width of the generated images"
    )
    parser.add_argument("--cycles", type=int, metavar="N", help="cycles to train (default: those of quickstart/demo)")


def run(options: argparse.Namespace) -> int:
    """Generates phantoms, trains on them and shows what was learned."""
    from foundationx.apps.cli.main import STOPPED, main
    from foundationx.apps.run.train import train
    from foundationx.core.config.load import load_config
    from foundationx.core.resources import find_config
    from foundationx.phantoms.write import write_phantom_datasets

    data, run_folder = options.folder / "phantoms", options.folder / "run"
    for folder in (data, run_folder):
        shutil.rmtree(folder, ignore_errors=True)
    console, watch = wide_console(), _Watch()
    console.print(f"generating phantom radiographs in {data}")
    write_phantom_datasets(data, options.images or IMAGES, size=options.size)
    console.print(f"generated in {watch.lap()}")
    config_file, changes = find_config(CONFIG), _changes(options.cycles)
    config = load_config(config_file, changes)
    if not train(config, data, run_folder, config_file=config_file):
        words = ["foundationx", "train", CONFIG, "--data-root", data, "--work-dir", run_folder]
        words += ["--cfg-options", *(f"{key}={value}" for key, value in changes.items())] if changes else []
        print(f"stopped; go on with: {shlex.join(map(str, words))}")
        return STOPPED
    console.print(f"trained, evaluated and reported in {watch.lap()}")
    console.print(_gains(run_folder))
    image = sorted((data / "phantom_all" / "images").glob("*.png"))[0]
    main(["predict", str(run_folder), str(image), "--out", str(options.folder / "predictions")])
    console.print(f"open {run_folder / 'report.html'}")
    return 0


class _Watch:
    """Says how long a part of the demo took: by the clock, and of this and its ended processes' time."""

    def __init__(self) -> None:
        self.last = os.times()

    def lap(self) -> str:
        """The time since the last call, in words."""
        before, self.last = self.last, os.times()
        processor = sum(self.last[:4]) - sum(before[:4])
        return f"{self.last.elapsed - before.elapsed:.0f} s, {processor:.0f} s of processor time"


def _changes(cycles: int | None) -> dict[str, Any]:
    """What differs from the configuration: cycles that were asked for, and bf16 where a CPU has instructions for it.

    Not by a stopwatch: the same command would give other results on a busy machine.
    """
    from foundationx.core.device import has_bf16_instructions, pick_device

    changes: dict[str, Any] = {"schedule.cycles": cycles} if cycles else {}
    if pick_device("auto").type == "cpu" and has_bf16_instructions():
        print("trains in bf16, for which this processor has instructions")
        changes["runtime.precision"] = "bf16"
    return changes


def _gains(run_folder: Path) -> Table:
    """The test split: trivial answer, untrained model and teacher, head by head."""
    from foundationx.apps.run.marks import marked
    from foundationx.core.types import TaskKey
    from foundationx.core.workdir import WorkDir
    from foundationx.evaluation.measure import is_headline
    from foundationx.evaluation.trivial import best_trivial

    rows = [row for row in WorkDir(run_folder).read_metrics() if row.split == "test" and is_headline(row)]
    last = max(row.visit for row in rows)
    table = Table(title="held-out phantoms")
    for column in ("head", "metric", "trivial", "untrained", "teacher"):
        table.add_column(column, justify="left" if column in ("head", "metric") else "right")
    for row in rows:
        if row.visit == last and row.model == "teacher":
            before = next(r for r in rows if r.visit == 0 and (r.dataset, r.task) == (row.dataset, row.task))
            head = f"{row.dataset}/{row.task}"
            trivial = best_trivial(rows, TaskKey.parse(head), "test")
            cells = [marked(value, []) for value in (trivial, before.value)]
            table.add_row(head, row.metric, *cells, marked(row.value, [trivial], metric=row.metric))
    return table
