"""``foundationx eval``."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.table import Table

from foundationx.cli.options import add_data_root, wide_console
from foundationx.types import Split

HELP = "evaluate every head of a checkpoint on one side of its split"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("checkpoint", type=Path, help="checkpoint, or a work directory for its newest one")
    add_data_root(parser)
    parser.add_argument("--split", choices=[split.value for split in Split], default="val")
    parser.add_argument("--model", choices=["student", "teacher", "both"], default="both")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, help="write the metric rows to this file")


def run(options: argparse.Namespace) -> None:
    """Evaluates and prints a table."""
    from foundationx.run.evaluate import evaluate_checkpoint
    from foundationx.workdir import write_metrics

    models = ("student", "teacher") if options.model == "both" else (options.model,)
    rows = evaluate_checkpoint(
        options.checkpoint, options.data_root, Split(options.split), models, device=options.device
    )
    table = Table(title=f"{options.checkpoint}, {options.split}")
    for column in ("head", "metric", "class", "n", *models):
        table.add_column(column)
    lines: dict[tuple, dict[str, float | None]] = {}
    for row in rows:
        lines.setdefault((f"{row.dataset}/{row.task}", row.metric, row.class_name, str(row.n)), {})[row.model] = (
            row.value
        )
    for name, values in lines.items():
        shown = ["-" if values.get(m) is None else f"{values[m]:.4f}" for m in models]
        table.add_row(*name, *shown)
    wide_console().print(table)
    if options.json:
        write_metrics(options.json, rows)
