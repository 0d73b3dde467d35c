"""``foundationx data split``."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from rich.table import Table

from foundationx.apps.cli.data_audit import config_of
from foundationx.apps.cli.options import add_data_root, wide_console

HELP = "write a list of splits that meets the shares of every dataset and class, and keeps an earlier list"
EXAMPLE = "foundationx data split quickstart/phantom --data-root data/phantoms --out splits.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the action."""
    parser.add_argument("what", nargs="+", metavar="WHAT", help="a configuration, or cards: NAME or NAME=FOLDER")
    add_data_root(parser)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("splits.csv"),
        metavar="FILE",
        help="list to write, for split.file; if it exists, its patients keep their split and the new ones are added",
    )


def run(options: argparse.Namespace) -> None:
    """Writes the list and prints the patients of each dataset by split."""
    from foundationx.core.types import Split
    from foundationx.data.datamodule import open_datasets
    from foundationx.data.patient_splits import named_record
    from foundationx.datasets.split_lists import read_patient_list, write_split_list
    from foundationx.datasets.splits import deal_splits

    config = config_of(options.what)
    unlisted = config.split.model_copy(update={"file": None, "changes": "keep"})
    data_module = open_datasets(config.model_copy(update={"split": unlisted}), options.data_root)
    tables = list(data_module.annotations.values())
    settled = dict(named_record(config).splits)
    if options.out.exists():
        settled |= read_patient_list(options.out)
    splits = deal_splits(tables, config.split.fractions(), config.split.seed, settled)
    write_split_list(options.out, settled | splits)
    shown = Table(
        title=f"patients of {options.out}: {len(splits):,}, {len(splits.keys() - settled.keys()):,} of them new"
    )
    for column in ("dataset", *Split):
        shown.add_column(str(column), justify="left" if column == "dataset" else "right")
    members: dict[str, set[str]] = {}
    for table in tables:
        members.setdefault(table.key.dataset, set()).update(table.patients)
    for name, patients in members.items():
        counts = Counter(splits[patient] for patient in patients)
        shown.add_row(name, *(f"{counts[split]:,}" for split in Split))
    console = wide_console()
    console.print(shown)
    console.print(f"written: {options.out}; use it with split.file={options.out}", highlight=False)
