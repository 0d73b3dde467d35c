"""``foundationx portal``."""

from __future__ import annotations

import argparse
from pathlib import Path

from foundationx.apps.cli.options import add_data_root, add_tables, print_card_faults

HELP = "find, understand, compare and fuse datasets, launch and watch training, in a browser"
EXAMPLE = "foundationx portal --data-root data"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write the part that needs no server as one page, e.g. portal.html (default: serve)",
    )
    parser.add_argument(
        "--work-dirs", type=Path, default=Path("work_dirs"), metavar="DIR", help="folder of the runs to show and launch"
    )
    parser.add_argument("--host", metavar="HOST", help="address or host name to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8766, help="port to listen on; 0: any that is free")
    parser.add_argument("--token", help="secret of 16 or more letters that opens the portal (default: a random one)")
    add_data_root(parser)
    add_tables(parser)


def run(options: argparse.Namespace) -> int:
    """Serves the portal, or writes the page."""
    if options.out is not None:
        return _write(options)
    from foundationx.core.distribution import install_hint
    from foundationx.core.errors import ConfigError

    try:
        from foundationx.apps.portal.server import address_of, place_of, serve
    except ModuleNotFoundError as error:
        found = f"needs the package {error.name}, which is not installed"
        raise ConfigError("portal", found, "the extra 'portal'", install_hint("portal")) from None
    address = address_of(options.host, options.port, options.token)
    serve(address, place_of(options.data_root, options.work_dirs, options.table))
    return 0


def _write(options: argparse.Namespace) -> int:
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
