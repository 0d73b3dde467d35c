"""``foundationx data``."""

from __future__ import annotations

import argparse
from pathlib import Path

import yaml
from rich.progress import track
from rich.table import Table

from foundationx.cli import data_audit
from foundationx.cli.options import add_data_root, wide_console

HELP = "datasets: list cards, show one, check a download against it, find what is in two places, write phantoms"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    actions.add_parser("list", help="all cards of the registry")
    show = actions.add_parser("show", help="one card")
    show.add_argument("card")
    check = actions.add_parser("check", help="read every annotation and image of a dataset and list what is wrong")
    check.add_argument("card")
    check.add_argument("--root", help="the dataset's folder under the data root (the card's own)")
    add_data_root(check)
    data_audit.add_arguments(actions.add_parser("audit", help=data_audit.HELP))
    phantoms = actions.add_parser("phantoms", help="generate the phantom datasets")
    phantoms.add_argument("folder", type=Path)
    phantoms.add_argument("--images", type=int, default=300, help="images a dataset (300)")
    phantoms.add_argument("--size", type=int, default=256, help="side in pixels (256)")
    phantoms.add_argument("--seed", type=int, default=0)


def run(options: argparse.Namespace) -> int:
    """Carries out the action."""
    actions = {"list": _list, "show": _show, "check": _check, "audit": data_audit.run, "phantoms": _phantoms}
    return actions[options.action](options)


def _list(options: argparse.Namespace) -> int:
    from foundationx.registry.catalog import Catalog

    catalog = Catalog()
    table = Table(title="dataset cards")
    for column in ("card", "title", "tasks (classes)", "access", "licence"):
        table.add_column(column)
    for name in catalog.names():
        card = catalog.card(name)
        tasks = ", ".join(f"{task.value} ({len(spec.classes)})" for task, spec in card.tasks.items())
        table.add_row(name, card.title, tasks, str(card.access), card.licence.name)
    wide_console().print(table)
    return 0


def _show(options: argparse.Namespace) -> int:
    from foundationx.registry.catalog import Catalog

    values = Catalog().card(options.card).model_dump(mode="json", exclude_none=True)
    print(yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100), end="")
    return 0


def _check(options: argparse.Namespace) -> int:
    """Prints what is wrong, a line each; the exit code says whether anything is."""
    from foundationx.data.annotations import read_annotations
    from foundationx.data.augment import ViewPipeline
    from foundationx.data.dataset import CardDataset
    from foundationx.errors import DataError
    from foundationx.registry.catalog import Catalog

    console, faults = wide_console(), 0
    card = Catalog().card(options.card)
    folder = options.data_root / (options.root if options.root is not None else card.root)
    for task in card.tasks:
        table = read_annotations(card, task, options.data_root, root=options.root, on_bad_sample="skip")
        dataset = CardDataset(table, folder, ViewPipeline(224))
        found = list(table.bad)
        for index in track(range(len(table)), f"{card.name}/{task.value}", console=console, transient=True):
            try:
                dataset.sample(index, seed=0)
            except DataError as error:
                found.append(dataset.bad(index, error))
        console.print(f"{card.name}/{task.value}: {len(table):,} images, {len(found):,} faults", highlight=False)
        for entry in found:
            console.print(
                f"  {entry.file} ({entry.row}): {entry.reason}", highlight=False, markup=False, soft_wrap=True
            )
        faults += len(found)
    return 1 if faults else 0


def _phantoms(options: argparse.Namespace) -> int:
    from foundationx.data.phantom.write import write_phantom_datasets

    write_phantom_datasets(options.folder, options.images, size=options.size, seed=options.seed)
    print(f"phantom datasets: {options.folder}")
    return 0
