"""Writes the tables of docs/datasets.md from the cards: ``python tools/dataset_table.py [FILE]``.

What stands above the mark is written by hand and stays.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from foundationx.datasets.cards.card import Card
from foundationx.datasets.cards.catalog import Catalog, default_folders
from foundationx.datasets.cards.schema import alternatives

MARK = "<!-- Below: python tools/dataset_table.py -->"


def tables() -> str:
    """One table of all cards of public data, then what is to be known of each."""
    catalog = Catalog(default_folders()[:1])
    cards = [card for card in map(catalog.card, catalog.names()) if card.access != "generated"]
    head = "| card | data | tasks (classes) | images | access | redistribution, commercial use | images of |\n"
    rows = "\n".join(map(row, cards))
    return f"{head}|---|---|---|---:|---|---|---|\n{rows}\n" + "".join(
        "\n" + "\n".join(details(card)) for card in cards
    )


def row(card: Card) -> str:
    """A card in the table."""
    tasks = ", ".join(f"{task.value} ({len(source.classes)})" for task, source in card.tasks.items())
    images = card.expected.images or max((source.expected.images or 0) for source in card.tasks.values())
    permissions = f"{card.licence.redistribution}, {card.licence.commercial}"
    cells = [f"[`{card.name}`](#{card.name})", f"[{card.title}]({card.home})", tasks, f"{images:,}" if images else "?"]
    return f"| {' | '.join([*cells, card.access, permissions, card.parent or ''])} |"


def details(card: Card) -> Iterator[str]:
    """What a user should know of one dataset."""
    yield f"### {card.name}\n"
    yield f"{card.title}. {card.citation}.\n"
    if card.notes:
        yield f"{card.notes}\n"
    yield f"- Licence: {card.licence.name}"
    yield f"- Folder under the data root: `{card.root}`"
    files = {part.file: None for source in card.tasks.values() for part in source.files if part.file}
    if files:
        yield f"- Files: {', '.join(' or '.join(f'`{name}`' for name in alternatives(file)) for file in files)}"
    for key, where in card.evidence.items():
        yield f"- `{key}`: {where}"
    if card.unverified:
        yield f"- Not checked: {', '.join(f'`{key}`' for key in card.unverified)}"
    yield ""


if __name__ == "__main__":
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/datasets.md")
    above, mark, _ = path.read_text(encoding="utf-8").partition(MARK)
    path.write_text(f"{above}{mark}\n\n{tables()}", encoding="utf-8")
