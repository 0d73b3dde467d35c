"""``foundationx compare``."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.table import Table

from foundationx.apps.cli.options import add_model, wide_console

HELP = "print metrics of runs with confidence intervals, and test whether the others differ from the first"
EXAMPLE = "foundationx compare work_dirs/baseline work_dirs/new --out table.md compare.html"

PAGE = ".html"
"""Ending of the file that holds the comparison as a page; it has every class and metric."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "runs",
        nargs="+",
        type=seeds_of,
        help="work directories, or folders written by `eval --out`; the first is the baseline. A,B,C are three seeds "
        "of one run: their mean is compared, and intervals cover the spread between them",
    )
    parser.add_argument("--split", choices=["train", "val", "test"], default="test", help="split to compare on")
    add_model(parser)
    parser.add_argument(
        "--repeats", type=int, default=1000, help="bootstrap samples, drawn by patient; 0: no intervals"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap")
    parser.add_argument(
        "--threshold",
        choices=["youden", "f1"],
        default="youden",
        help="statistic whose maximum on validation chooses a class's threshold",
    )
    parser.add_argument("--all", action="store_true", help="show every class, and every point of FROC")
    parser.add_argument(
        "--metric", nargs="+", metavar="NAME", help="metrics to show, e.g. AUROC AP40 Dice (default: all)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="files to write: .md, .csv, .tex or .html",
    )


def seeds_of(text: str) -> Path | tuple[Path, ...]:
    """One folder, or several with commas between them."""
    parts = [Path(part) for part in text.split(",") if part]
    return Path(text) if len(parts) < 2 or Path(text).exists() else tuple(parts)


def run(options: argparse.Namespace) -> None:
    """Compares, prints a table and writes it."""
    from foundationx.apps.run.marks import as_low
    from foundationx.core.atomic_write import require_file, write_atomically
    from foundationx.core.types import Split
    from foundationx.evaluation.compare.compare import compare
    from foundationx.evaluation.compare.table import (
        FORMATS,
        chosen,
        count,
        difference,
        marked,
        metric_name,
        note,
        p_value,
        trivial,
        value,
    )
    from foundationx.evaluation.report.compare_page import render

    check(options, (*FORMATS, PAGE))
    for path in options.out:
        require_file(path)
    comparison = compare(
        options.runs,
        split=Split(options.split),
        model=options.model,
        repeats=options.repeats,
        seed=options.seed,
        rule=options.threshold,
    )
    everything = chosen(comparison, options.metric, True)
    comparison = chosen(comparison, options.metric, options.all)
    first, *others = comparison.runs
    table = Table(title=f"{options.model}, {options.split}", caption=note(comparison))
    columns = ["head", "metric", "class", "n", "trivial", first]
    for column in (*columns, *(c for name in others for c in (name, "difference", "p"))):
        table.add_column(column)
    for row in comparison.rows:
        values = [as_low(marked(row, cell)) if row.is_low(cell) else value(cell) for cell in row.cells]
        later = [
            text
            for shown, cell in zip(values[1:], row.cells[1:], strict=True)
            for text in (shown, difference(cell), p_value(cell))
        ]
        names = (str(row.head), metric_name(row), row.class_name, count(row), trivial(row))
        table.add_row(*names, values[0], *later)
    wide_console().print(table)
    for path in options.out:
        write_atomically(path, render(everything) if path.suffix == PAGE else FORMATS[path.suffix](comparison))


def check(options: argparse.Namespace, endings: tuple[str, ...]) -> None:
    """Checks options before anything is computed.

    Raises:
        ConfigError: a file's name has an ending that is not known, or there are fewer than 0 draws.
    """
    from foundationx.core.errors import ConfigError

    if options.repeats < 0:
        raise ConfigError("--repeats", f"found {options.repeats}", "0 or more draws")
    for path in options.out:
        if path.suffix not in endings:
            raise ConfigError("--out", f"found {path.name!r}", f"a name that ends in {', '.join(endings)}")
