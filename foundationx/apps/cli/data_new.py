"""``foundationx data new``: a draft of a dataset card."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "draft a dataset card"
EXAMPLE = "foundationx data new --croissant dataset.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the action."""
    parser.add_argument(
        "--croissant", type=Path, required=True, metavar="FILE", help="description in Croissant (JSON-LD) to start from"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="card to write (default: NAME.yaml)")


def run(options: argparse.Namespace) -> None:
    """Writes the draft and prints its name.

    Raises:
        CardError: The file is no Croissant description, or the card exists already.
    """
    from foundationx.core.atomic_write import write_atomically
    from foundationx.core.errors import CardError
    from foundationx.datasets.cards.card import load_card
    from foundationx.datasets.croissant import draft_of
    from foundationx.datasets.drafts import draft_text

    values = draft_of(options.croissant)
    out = options.out or Path(f"{values['name']}.yaml")
    if out.exists():
        raise CardError(str(out), "exists already", "a new file", "name another one with --out, or remove it")
    write_atomically(out, draft_text(values | {"name": out.stem}, options.croissant.name))
    load_card(out)
    print(f"written: {out}; fill in what its comments ask for")
