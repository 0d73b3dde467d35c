"""``foundationx data list``."""

from __future__ import annotations

import argparse

HELP = "list all dataset cards"
EXAMPLE = "foundationx data list"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the action: none."""


def run(options: argparse.Namespace) -> int:
    """Prints a table with one row per card."""
    from rich.table import Table

    from foundationx.apps.cli.options import wide_console
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
