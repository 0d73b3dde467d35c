"""``foundationx portal``."""

from __future__ import annotations

import argparse
from pathlib import Path

from foundationx.apps.cli.options import add_registry, add_tables, print_card_faults

HELP = "write the portal, a page to find, understand and compare datasets"
EXAMPLE = "foundationx portal --out portal.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="page to write, e.g. portal.html")
    add_tables(parser)
    add_registry(parser)


def run(options: argparse.Namespace) -> int:
    """Writes the page."""
    from foundationx.apps.portal.page import portal_page
    from foundationx.core.atomic_write import require_file, write_atomically
    from foundationx.datasets.cards.catalog import Catalog

    require_file(options.out)
    catalog = Catalog()
    write_atomically(options.out, portal_page(catalog, options.table))
    print_card_faults(catalog)
    print(f"written: {options.out} (open it in a browser; it needs no server)")
    return 0
