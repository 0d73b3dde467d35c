"""``foundationx conformal``."""

from __future__ import annotations

import argparse
from pathlib import Path

from foundationx.apps.cli.options import add_model, add_registry, wide_console

HELP = "prediction sets of image labels with a promised coverage, and their coverage by class and site"
EXAMPLE = "foundationx conformal work_dirs/phantom --alpha 0.1 --data-root data/phantoms"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("run_folder", type=Path, help="work directory, or a folder written by `eval --out`")
    parser.add_argument("--alpha", type=float, default=0.1, help="share of labels that may be outside of their set")
    parser.add_argument(
        "--data-root",
        type=Path,
        metavar="DIR",
        help="folder with the datasets, for coverage by the attributes that cards name (default: none)",
    )
    add_registry(parser)
    add_model(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write the sets of all test images as .csv (default: nothing)"
    )


def run(options: argparse.Namespace) -> None:
    """Calibrates on validation, prints coverage on test, and writes the sets."""
    from rich.table import Table

    from foundationx.core.atomic_write import require_file, write_csv
    from foundationx.core.errors import ConfigError
    from foundationx.evaluation.conformal import coverage_of, prediction_sets, read_pairs, set_rows, sites_of
    from foundationx.evaluation.ledger.read import roots_of

    if not 0 < options.alpha < 1:
        raise ConfigError("--alpha", f"found {options.alpha}", "a number between 0 and 1", "0.1 promises 90 %")
    if options.out is not None:
        require_file(options.out)
    table = Table(title=f"coverage of sets that promise {1 - options.alpha:.0%}, {options.model}, test")
    columns = ("head", "site", "class", "n", "coverage", "of present", "of absent", "both answers", "neither")
    for column in columns:
        table.add_column(column)
    rows = []
    for validation, test in read_pairs(options.run_folder, options.model):
        sets = prediction_sets(validation, test, options.alpha)
        sites = sites_of(test, options.data_root, roots_of(options.run_folder).get(test.key.dataset))
        for row in coverage_of(sets, test, sites):
            shares = (row.coverage, row.present, row.absent, row.unsure, row.empty)
            texts = ("-" if value is None else f"{value:.3f}" for value in shares)
            table.add_row(str(test.key), row.site, row.class_name, f"{row.n:,}", *texts)
        rows += set_rows(sets, test)
    wide_console().print(table)
    if options.out is not None:
        write_csv(options.out, ["head", "image", "patient", "class", "probability", "set"], rows)
