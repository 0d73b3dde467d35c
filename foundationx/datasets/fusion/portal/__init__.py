"""The discovery portal: one HTML page that lists all datasets, with search, filters and export of a recipe.

The page contains its data and script and loads nothing else. Its facts are the records that ``foundationx data fuse``
decides on; unknown facts are shown as unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from foundationx.core.strict_json import to_json
from foundationx.datasets.cards.card import Card
from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.cards.vocabulary import Vocabulary
from foundationx.datasets.fusion.harmonise import harmonise
from foundationx.datasets.fusion.record import Record
from foundationx.datasets.fusion.tables import read_table

FOLDER = Path(__file__).parent
FACTS, SCRIPT = "/*FACTS*/null", "/*SCRIPT*/"
"""Placeholders in the page for facts and script."""

REPLACED = ("rows", "classes_per_task", "volume")
"""Fields of a record that the page has in another form."""


def portal_page(catalog: Catalog, tables: Sequence[Path] = ()) -> str:
    """The HTML of the page.

    Args:
        catalog: Catalog of the cards.
        tables: Public tables of datasets, as for ``data fuse``; their datasets are added to those of the cards.

    Raises:
        CardError: A card is invalid.
        RecipeError: A table cannot be read.
    """
    facts = portal_facts(catalog, tables)
    text = to_json(facts, ascii_only=False).replace("<", "\\u003c")  # a title must not end the script
    text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    page, script = ((FOLDER / name).read_text(encoding="utf-8") for name in ("portal.html", "portal.js"))
    return page.replace(SCRIPT, script).replace(FACTS, text)


def portal_facts(catalog: Catalog, tables: Sequence[Path] = ()) -> dict[str, Any]:
    """The data of the page: every dataset, and every concept with its broader ones.

    Generated datasets are left out, since they are for testing only.
    """
    rows = [record for path in tables for record in read_table(path, catalog.vocabulary)]
    cards = catalog.valid()
    public = [card for card in cards.values() if card.access != "generated"]
    records = harmonise(public, catalog.vocabulary, rows)
    return {
        "datasets": [_dataset(record, cards.get(record.card or ""), catalog.vocabulary) for record in records],
        "concepts": {name: _concept(name, catalog.vocabulary) for name in catalog.vocabulary.names()},
    }


def _concept(name: str, vocabulary: Vocabulary) -> dict[str, Any]:
    concept = vocabulary[name]
    return {
        "title": concept.title,
        "kind": concept.kind,
        "path": vocabulary.path(name),
        "synonyms": concept.synonyms,
    }


def _dataset(record: Record, card: Card | None, vocabulary: Vocabulary) -> dict[str, Any]:
    """A record in the form of the page: unknown facts are null or empty lists."""
    facts = {name: value for name, value in asdict(record).items() if name not in REPLACED}
    for permission in ("redistribution", "commercial"):
        facts[permission] = None if facts[permission] == "unknown" else facts[permission]
    return facts | {
        "images": record.images,
        "volume": record.volume,
        "year": int(record.released[:4]) if record.released else None,
        "classes": _classes(card, vocabulary) if card else [],
        "citation": card.citation if card else None,
        "patients": card.expected.patients if card else None,
        "table_rows": record.rows,
    }


def _classes(card: Card, vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """All classes of all tasks of a card."""
    return [
        {
            "task": task.value,
            "name": spec.name,
            "concept": spec.canonical,
            "relation": spec.relation,
            "polarity": spec.polarity,
            "within": vocabulary.path(spec.canonical) if spec.canonical else [],
        }
        for task, source in card.tasks.items()
        for spec in source.classes
    ]
