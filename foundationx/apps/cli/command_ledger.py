"""``foundationx ledger``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from foundationx.apps.cli.options import add_device, add_model, add_registry, wide_console

if TYPE_CHECKING:
    from foundationx.evaluation.ledger.judge import Ledger

HELP = "name the heads and sites that joint training helped or harmed, against runs that trained each head alone"
EXAMPLE = "foundationx ledger work_dirs/joint --alone work_dirs/joint_alone --data-root data"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("joint", nargs="+", type=Path, help="work directories of the joint run, one for each seed")
    parser.add_argument(
        "--alone",
        nargs="+",
        type=Path,
        required=True,
        metavar="RUN",
        help="runs that trained one head each, or folders of such runs; several of one head count as seeds",
    )
    parser.add_argument(
        "--data-root",
        type=Path,
        metavar="DIR",
        help="folder with the datasets, for groups of patients and for false positives on the images of other datasets "
        "(default: none, datasets are compared as a whole)",
    )
    add_registry(parser)
    parser.add_argument("--split", choices=["val", "test"], default="test", help="split to compare on")
    add_model(parser)
    add_device(parser)
    parser.add_argument(
        "--metric", nargs="+", metavar="NAME", help="metrics to test (default: the headline of each task)"
    )
    parser.add_argument("--classes", action="store_true", help="test every class beside the mean over classes")
    parser.add_argument("--repeats", type=int, default=1000, help="bootstrap samples, drawn by patient")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap")
    parser.add_argument("--all", action="store_true", help="show every test, not the heads alone")
    parser.add_argument(
        "--out", type=Path, nargs="+", default=[], metavar="FILE", help="further files to write: .md or .csv"
    )


def run(options: argparse.Namespace) -> None:
    """Compares, prints the ledger and writes it into the joint run's folder, for its report."""
    from foundationx.core.atomic_write import require_file, write_atomically
    from foundationx.core.workdir import WorkDir
    from foundationx.evaluation.ledger.table import COLUMNS, FILE, FORMATS, SUMMARY, as_json, cells, summary

    _check(options, tuple(FORMATS))
    for path in options.out:
        require_file(path)
    ledger, alone = _ledger(options)
    content = as_json(ledger, [str(path) for path in options.joint], [str(path) for path in alone])
    _print("joint training against each head alone", SUMMARY, summary(ledger), content["note"])
    if options.all:
        _print("every test", COLUMNS, [cells(entry) for entry in ledger.entries])
    for text in content["notes"]:
        print(f"note: {text}")
    WorkDir(options.joint[0]).write_json(FILE, content)
    for path in options.out:
        write_atomically(path, FORMATS[path.suffix](ledger))


def _ledger(options: argparse.Namespace) -> tuple[Ledger, list[Path]]:
    """The ledger, and the folders of the separate runs."""
    from dataclasses import replace

    from foundationx.core.types import Split
    from foundationx.datasets.cards.catalog import Catalog
    from foundationx.evaluation.ledger.absent import with_absent
    from foundationx.evaluation.ledger.judge import judge
    from foundationx.evaluation.ledger.read import read_heads, roots_of, with_groups

    split = Split(options.split)
    heads, missing, alone = read_heads(options.joint, options.alone, split, options.model)
    notes = []
    if options.data_root is None:
        notes.append("no --data-root: no groups of patients, no false positives on the images of other datasets")
    else:
        heads, notes = with_groups(heads, options.data_root, roots_of(options.joint[0]), Catalog())
        chosen = {"split": split, "model": options.model, "device": options.device}
        heads = with_absent(heads, options.joint, alone, options.data_root, **chosen)
    ledger = judge(heads, metrics=options.metric, by_class=options.classes, repeats=options.repeats, seed=options.seed)
    return replace(ledger, missing=missing, notes=notes), alone


def _print(title: str, columns: tuple[str, ...], rows: list[list[str]], caption: str | None = None) -> None:
    from rich.table import Table

    table = Table(title=title, caption=caption)
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    wide_console().print(table)


def _check(options: argparse.Namespace, endings: tuple[str, ...]) -> None:
    """Raises ConfigError: there are too few draws, or a file's name has an ending that is not known."""
    from foundationx.core.errors import ConfigError

    if options.repeats < 100:
        raise ConfigError("--repeats", f"found {options.repeats}", "100 draws or more", "leave it out for 1000")
    for path in options.out:
        if path.suffix not in endings:
            found, fix = f"found {path.name!r}", "give the file another name"
            raise ConfigError("--out", found, f"a name that ends in {' or '.join(endings)}", fix)
