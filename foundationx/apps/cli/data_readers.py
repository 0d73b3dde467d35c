"""``foundationx data readers``."""

from __future__ import annotations

import argparse
import inspect
from typing import Any

from foundationx.apps.cli.options import wide_console

HELP = "list the readers of annotation formats; with a name, every option of one with type, default and example"
EXAMPLE = "foundationx data readers bbox_csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the action."""
    parser.add_argument("name", nargs="?", help="reader whose options to print (default: a list of all readers)")


def run(options: argparse.Namespace) -> int:
    """Prints one row per reader, or one row per option of a reader.

    Raises:
        CardError: There is no such reader.
    """
    if options.name is None:
        _print_all()
    else:
        _print_one(options.name)
    return 0


def _print_all() -> None:
    from rich.table import Table

    from foundationx.datasets.annotations import READERS

    table = Table(title="readers (`foundationx data readers NAME` explains the options)")
    for column in ("reader", "format", "gives", "options"):
        table.add_column(column, overflow="fold")
    for row in READERS.listing():
        if row.value is None:
            table.add_row(row.name, f"broken: {row.error}", "", "")
        else:
            gives, names = ", ".join(sorted(row.value.PROVIDES)), ", ".join(row.value.Options.model_fields)
            table.add_row(row.name, _first_line(row.value), gives, names)
    wide_console().print(table, markup=False)


def _print_one(name: str) -> None:
    from rich.table import Table

    from foundationx.core.errors import CardError
    from foundationx.datasets.annotations import READERS
    from foundationx.datasets.card_schema import option_rows

    reader, console = READERS.get(name, "reader", CardError), wide_console()
    for text in (f"{name}: {_first_line(reader)}", "", inspect.getdoc(reader.read) or ""):
        console.print(text, highlight=False, markup=False)
    table = Table(title=f"options of {name}")
    rows = option_rows(name)
    for column in rows[0]:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row.values())
    console.print(table, markup=False)


def _first_line(reader: Any) -> str:
    return (inspect.getdoc(reader) or "").partition("\n\n")[0].replace("\n", " ")
