"""``foundationx data show``."""

from __future__ import annotations

import argparse

from foundationx.apps.cli.options import add_registry

HELP = "print one dataset card"
EXAMPLE = "foundationx data show vindr_cxr"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the action."""
    parser.add_argument("card", help="name of the card")
    add_registry(parser)


def run(options: argparse.Namespace) -> int:
    """Prints the card as YAML."""
    import yaml

    from foundationx.datasets.cards.catalog import Catalog

    values = Catalog().card(options.card).model_dump(mode="json", exclude_none=True)
    print(yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100), end="")
    return 0
