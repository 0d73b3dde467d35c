"""``foundationx data``."""

from __future__ import annotations

import argparse
from pathlib import Path

import yaml
from rich.table import Table

from foundationx.cli import data_audit, data_check, data_fuse, data_schema
from foundationx.cli.options import wide_console

HELP = "datasets: list cards, show one, check a download against it, find what is in two places, fuse, write phantoms"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    actions.add_parser("list", help="all cards of the registry")
    show = actions.add_parser("show", help="one card")
    show.add_argument("card")
    check = actions.add_parser("check", help="hold a downloaded dataset against its card and list what is wrong")
    data_check.add_arguments(check)
    data_audit.add_arguments(actions.add_parser("audit", help=data_audit.HELP))
    data_fuse.add_arguments(actions.add_parser("fuse", help=data_fuse.HELP))
    data_schema.add_arguments(actions.add_parser("schema", help=data_schema.HELP))
    phantoms = actions.add_parser("phantoms", help="generate the phantom datasets")
    phantoms.add_argument("folder", type=Path)
    phantoms.add_argument("--images", type=int, default=300, help="images a dataset (300)")
    phantoms.add_argument("--size", type=int, default=256, help="side in pixels (256)")
    phantoms.add_argument("--seed", type=int, default=0)


def run(options: argparse.Namespace) -> int:
    """Carries out the action."""
    checks = {"check": data_check.run, "audit": data_audit.run, "fuse": data_fuse.run, "schema": data_schema.run}
    return ({"list": _list, "show": _show, "phantoms": _phantoms} | checks)[options.action](options)


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


def _phantoms(options: argparse.Namespace) -> int:
    from foundationx.data.phantom.write import write_phantom_datasets

    write_phantom_datasets(options.folder, options.images, size=options.size, seed=options.seed)
    print(f"phantom datasets: {options.folder}")
    return 0
