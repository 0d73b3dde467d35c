"""``foundationx data schema``."""

from __future__ import annotations

import argparse

HELP = "print the JSON schema of a card, for editors that complete and check YAML"
EXAMPLE = "foundationx data schema > card.schema.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the action: none."""


def run(options: argparse.Namespace) -> int:
    """Prints the schema."""
    from foundationx.core.strict_json import to_json
    from foundationx.datasets.card_schema import card_schema

    print(to_json(card_schema(), indent=2, ascii_only=False))
    return 0
