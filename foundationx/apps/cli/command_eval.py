"""``foundationx eval``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Literal

from rich.table import Table

from foundationx.apps.cli.eval_protocol import add_protocols, run_protocol
from foundationx.apps.cli.options import add_allow_code, add_data_root, add_device, wide_console

HELP = "evaluate every head of a checkpoint, or its backbone by a protocol"
EXAMPLE = "foundationx eval work_dirs/phantom --data-root data/phantoms --split test"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("checkpoint", type=Path, help="checkpoint, or a work directory for its newest one")
    add_data_root(parser)
    parser.add_argument(
        "--split",
        choices=["train", "val", "test", "all"],
        default="val",
        help="split to evaluate on, as splits.json of the run has it; all: every image of an outside cohort",
    )
    parser.add_argument(
        "--model", choices=["student", "teacher", "both"], default="both", help="which of the two models to evaluate"
    )
    add_device(parser)
    parser.add_argument("--all", action="store_true", help="show every class, and every point of FROC")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write metrics.json, predictions/ and thresholds.json, for `foundationx compare` (default: nothing)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the metrics as JSON (default: nothing)")
    parser.add_argument(
        "--exclude",
        type=Path,
        metavar="FILE",
        help="list of training images to leave out; the one that the checkpoint names is not read (default: none)",
    )
    add_allow_code(parser)
    add_protocols(parser)


def run(options: argparse.Namespace) -> None:
    """Evaluates the heads, or carries out a protocol, and prints a table."""
    from foundationx.core.atomic_write import require_file, require_folder

    if options.out is not None:
        require_folder(options.out)
    if options.json is not None:
        require_file(options.json)
    if options.protocol is None:
        _evaluate_heads(options)
    else:
        run_protocol(options)


def _evaluate_heads(options: argparse.Namespace) -> None:
    """Every class of the headline metrics, means of the others."""
    from foundationx.apps.run.marks import marked
    from foundationx.core.types import MetricRow, Split, Task, TaskKey
    from foundationx.core.workdir import write_metrics
    from foundationx.evaluation.checkpoint import evaluate_checkpoint
    from foundationx.evaluation.measure import details
    from foundationx.evaluation.statistic import MEAN
    from foundationx.evaluation.trivial import EMPTY, TRIVIAL

    models = ("student", "teacher") if options.model == "both" else (options.model,)
    split: Split | Literal["all"] = "all" if options.split == "all" else Split(options.split)
    rows = evaluate_checkpoint(
        options.checkpoint,
        options.data_root,
        split,
        models,
        options.device,
        options.out,
        cards=[options.card] if options.card else [],
        exclude=options.exclude,
        allow_code=options.allow_code,
    )
    answers = [name for name in (TRIVIAL, EMPTY) if any(row.model == name for row in rows)]
    table = Table(title=f"{options.checkpoint}, {options.split}")
    for column in ("head", "metric", "class", "n", *models, *answers):
        table.add_column(column)
    lines: dict[tuple[str, str, str], dict[str, MetricRow]] = {}
    heads, hidden = list(dict.fromkeys((row.dataset, row.task) for row in rows)), details()
    for row in sorted(rows, key=lambda row: heads.index((row.dataset, row.task))):
        brief = row.metric == Task(row.task).facts.headline or (row.class_name == MEAN and row.metric not in hidden)
        if options.all or brief:
            lines.setdefault((f"{row.dataset}/{row.task}", row.metric, row.class_name), {})[row.model] = row
    for name, by_model in lines.items():
        counts = dict.fromkeys(str(row.n) for row in by_model.values())
        values = {model: by_model[model].value if model in by_model else None for model in (*models, *answers)}
        is_headline = name[1] == TaskKey.parse(name[0]).task.facts.headline
        trivial = [values[answer] for answer in answers] if is_headline else []
        cells = [marked(values[model], trivial, 4, name[1]) for model in models]
        cells += [marked(values[answer], [], 4) for answer in answers]
        table.add_row(*name, "/".join(counts), *cells)
    wide_console().print(table)
    if options.json:
        write_metrics(options.json, rows)
