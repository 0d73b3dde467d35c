"""``foundationx data export``: a card in a format that other tools read."""

from __future__ import annotations

import argparse
from pathlib import Path

from foundationx.apps.cli.options import add_registry

HELP = "write a card's description for other tools (Croissant 1.0)"
EXAMPLE = "foundationx data export vindr_cxr --to croissant --data-root data"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the action."""
    parser.add_argument("card", help="name of the card")
    parser.add_argument("--to", choices=("croissant",), required=True, help="format")
    parser.add_argument("--out", type=Path, metavar="FILE", help="file to write (default: CARD.croissant.json)")
    parser.add_argument(
        "--data-root",
        type=Path,
        metavar="DIR",
        help="folder that holds the datasets; adds checksums of the annotation files (default: none)",
    )
    add_registry(parser)


def run(options: argparse.Namespace) -> None:
    """Writes the file and prints its name."""

    from foundationx.core.atomic_write import write_json
    from foundationx.datasets.cards.catalog import Catalog
    from foundationx.datasets.croissant import croissant_of

    card = Catalog().card(options.card)
    out = options.out or Path(f"{card.name}.croissant.json")
    values = croissant_of(card, options.data_root)
    write_json(out, values, ascii_only=False)
    print(f"written: {out}")
