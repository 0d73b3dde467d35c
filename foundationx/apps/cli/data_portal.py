"""``foundationx data portal``."""

from __future__ import annotations

import argparse
from pathlib import Path

from foundationx.apps.cli.options import add_registry, add_tables, print_card_faults

HELP = "write the discovery portal, a page to find, compare and choose datasets"
EXAMPLE = "foundationx data portal --out portal.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the action."""
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="page to write, e.g. portal.html")
    add_tables(parser)
    add_registry(parser)


def run(options: argparse.Namespace) -> int:
    """Writes the page."""
    from foundationx.core.atomic_write import require_file, write_atomically
    from foundationx.datasets.cards.catalog import Catalog
    from foundationx.datasets.fusion.portal import portal_page

    require_file(options.out)
    catalog = Catalog()
    write_atomically(options.out, portal_page(catalog, options.table))
    print_card_faults(catalog)
    print(f"written: {options.out} (open it in a browser; it needs no server)")
    return 0
