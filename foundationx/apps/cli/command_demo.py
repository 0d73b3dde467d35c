"""``foundationx demo``."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from rich.table import Table

from foundationx.apps.cli.options import wide_console
from foundationx.core.config.load import load_config
from foundationx.core.errors import ConfigError

HELP = "the main job on generated radiographs: train, evaluate, report, export, predict (minutes on two cores)"
CONFIG = Path(__file__).resolve().parents[3] / "configs" / "quickstart" / "phantom.py"
IMAGES = {"phantom_labels": 900, "phantom_boxes": 500, "phantom_masks": 200, "phantom_all": 8}
"""Films in each phantom dataset: more for harder tasks. The last is not trained on: it gives the film to predict."""
SIZE = 192
"""Side of a film in pixels."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--folder", type=Path, default=Path("work_dirs/demo"), help="everything goes here; made anew")


def run(options: argparse.Namespace) -> int:
    """Generates phantoms, trains on them and shows what was learned."""
    from foundationx.apps.cli.main import main
    from foundationx.apps.run.train import train
    from foundationx.phantoms.write import write_phantom_datasets

    if not CONFIG.is_file():
        raise ConfigError(str(CONFIG), "is not there", "the configurations of a clone", "run the demo inside a clone")
    data, run_folder = options.folder / "phantoms", options.folder / "run"
    for folder in (data, run_folder):
        shutil.rmtree(folder, ignore_errors=True)
    console = wide_console()
    console.print(f"generating phantom radiographs in {data}")
    write_phantom_datasets(data, IMAGES, size=SIZE)
    config = load_config(CONFIG)
    if not train(config, data, run_folder, config_file=CONFIG):
        return 1
    console.print(_gains(run_folder))
    film = sorted((data / "phantom_all" / "images").glob("*.png"))[0]
    main(["predict", str(run_folder), str(film), "--out", str(options.folder / "predictions")])
    console.print(f"open {run_folder / 'report.html'}")
    return 0


def _gains(run_folder: Path) -> Table:
    """The test side: untrained model and teacher, head by head."""
    from foundationx.core.workdir import WorkDir
    from foundationx.evaluation.metrics.score import HEADLINE

    rows = [r for r in WorkDir(run_folder).read_metrics() if r.split == "test" and r.class_name == "mean"]
    rows = [row for row in rows if row.metric == HEADLINE[row.task]]
    last = max(row.visit for row in rows)
    table = Table(title="held-out phantoms")
    for column in ("head", "metric", "untrained", "teacher"):
        table.add_column(column, justify="left" if column in ("head", "metric") else "right")
    for row in rows:
        if row.visit == last and row.model == "teacher":
            before = next(r for r in rows if r.visit == 0 and (r.dataset, r.task) == (row.dataset, row.task))
            table.add_row(f"{row.dataset}/{row.task}", row.metric, f"{before.value:.3f}", f"{row.value:.3f}")
    return table
