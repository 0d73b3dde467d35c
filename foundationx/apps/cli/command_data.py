"""``foundationx data``."""

from __future__ import annotations

import argparse

import yaml
from rich.table import Table

from foundationx.apps.cli import data_audit, data_check, data_fuse, data_phantoms, data_portal, data_schema
from foundationx.apps.cli.options import wide_console

HELP = "datasets: list and show cards, check a download, find what is in two places, fuse, write portal or phantoms"


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
    data_portal.add_arguments(actions.add_parser("portal", help=data_portal.HELP))
    data_schema.add_arguments(actions.add_parser("schema", help=data_schema.HELP))
    data_phantoms.add_arguments(actions.add_parser("phantoms", help=data_phantoms.HELP))


def run(options: argparse.Namespace) -> int:
    """Carries out the action."""
    known = {"list": _list, "show": _show, "check": data_check.run, "audit": data_audit.run, "fuse": data_fuse.run}
    known |= {"portal": data_portal.run, "schema": data_schema.run, "phantoms": data_phantoms.run}
    return known[options.action](options)


def _list(options: argparse.Namespace) -> int:
    from foundationx.datasets.cards.catalog import Catalog

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
    from foundationx.datasets.cards.catalog import Catalog

    values = Catalog().card(options.card).model_dump(mode="json", exclude_none=True)
    print(yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100), end="")
    return 0
