"""``foundationx data list``."""

from __future__ import annotations

import argparse

from foundationx.apps.cli.options import add_registry, print_card_faults, wide_console

HELP = "list all dataset cards"
EXAMPLE = "foundationx data list"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the action."""
    add_registry(parser)


def run(options: argparse.Namespace) -> int:
    """Prints a table with one row per card."""
    from rich.table import Table

    from foundationx.datasets.cards.catalog import Catalog

    catalog = Catalog()
    table = Table(title="dataset cards")
    for column in ("card", "title", "tasks (classes)", "access", "licence"):
        table.add_column(column)
    for name, card in catalog.valid().items():
        tasks = ", ".join(f"{task.value} ({len(spec.classes)})" for task, spec in card.tasks.items())
        table.add_row(name, card.title, tasks, str(card.access), card.licence.name)
    wide_console().print(table)
    print_card_faults(catalog)
    return 0
