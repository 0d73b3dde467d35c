"""What the portal's page knows: every dataset with its classes, sources and relatives, and the rows of public tables.

The facts are the records that ``foundationx data fuse`` decides on; what is unknown is null or an empty list.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from foundationx.datasets.cards.card import Card
from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.cards.vocabulary import Vocabulary
from foundationx.datasets.fusion.harmonise import differences_of, harmonise, merge_rows, record_of_card
from foundationx.datasets.fusion.licences import conditions_of
from foundationx.datasets.fusion.record import Record
from foundationx.datasets.fusion.tables import read_table

DETAILS = ("evidence", "notes", "citation", "sources", "table_rows")
"""Facts that only some views show."""

REPLACED = ("rows", "differences", "classes_per_task")
"""Fields of a record that the page has in another form."""

ROW_FIELDS = (
    *("title", "released", "organisations", "licence", "dimensions", "modalities", "anatomy", "diseases"),
    *("tasks", "label_presence", "images"),
)
"""Fields of a table's row that the page shows."""


def portal_facts(catalog: Catalog, tables: Sequence[Path] = ()) -> dict[str, Any]:
    """The data of the page: ``datasets``, ``concepts`` by name, and ``tables``, the names of the public tables.

    Generated datasets are left out, since they are for testing only.

    Args:
        catalog: Catalog of the cards.
        tables: Public tables of datasets, as for ``data fuse``.

    Raises:
        CardError: A card is invalid.
        RecipeError: A table cannot be read.
    """
    vocabulary = catalog.vocabulary
    rows = merge_rows(record for path in tables for record in read_table(path, vocabulary))
    cards = {name: card for name, card in catalog.valid().items() if card.access != "generated"}
    records = harmonise(list(cards.values()), vocabulary, rows)
    relatives = relatives_of(list(cards.values()))
    joined = _Rows(rows, records)
    datasets = []
    for record in records:
        card = cards.get(record.card or "")
        about_card = _card_facts(card, vocabulary) | {"shares": relatives[card.name]} if card else {}
        datasets.append(_record_facts(record) | _NO_CARD | about_card | joined.facts(record, card, vocabulary))
    return {
        "datasets": datasets,
        "concepts": {name: _concept(name, vocabulary) for name in vocabulary.names()},
        "tables": [path.name for path in tables],
    }


def _concept(name: str, vocabulary: Vocabulary) -> dict[str, Any]:
    concept = vocabulary[name]
    return {
        "title": concept.title,
        "kind": concept.kind,
        "path": vocabulary.path(name),
        "synonyms": concept.synonyms,
    }


def _record_facts(record: Record) -> dict[str, Any]:
    facts = {name: value for name, value in asdict(record).items() if name not in REPLACED}
    for permission in ("redistribution", "commercial"):
        facts[permission] = None if facts[permission] == "unknown" else facts[permission]
    return facts | {
        "images": record.images,
        "year": int(record.released[:4]) if record.released else None,
        "conditions": conditions_of(record.licence, record.spdx),
    }


_NO_CARD: dict[str, Any] = {
    **{"classes": [], "citation": None, "patients": None, "evidence": {}, "sources": {}, "root": None},
    **{"held_out_by": [], "readers": [], "official_splits": None, "patient_key": None, "shares": []},
}
"""Facts that only a card has, as a dataset without one has them."""


def _card_facts(card: Card, vocabulary: Vocabulary) -> dict[str, Any]:
    """What a card says beyond the record of the survey."""
    return {
        "classes": _classes(card),
        "citation": card.citation,
        "patients": card.expected.patients,
        "evidence": dict(card.evidence),
        "sources": {task.value: _source(card, task) for task in card.tasks},
        "readers": list(dict.fromkeys(source.reader for source in card.tasks.values())),
        "root": card.root,
        "held_out_by": card.held_out_by,
        "official_splits": _official_splits(card),
        "patient_key": _patient_key(card),
        "anatomy": [name for name in card.survey.anatomy if name in vocabulary],
    }


def _classes(card: Card) -> list[dict[str, Any]]:
    """All classes of all tasks of a card, with the published numbers of images that have them."""
    return [
        {
            "task": task.value,
            "name": spec.name,
            "concept": spec.canonical,
            "relation": spec.relation,
            "polarity": spec.polarity,
            "positives": source.expected.positives.get(spec.name),
        }
        for task, source in card.tasks.items()
        for spec in source.classes
    ]


def _source(card: Card, task: Any) -> dict[str, Any]:
    """Reader, annotation files and published counts of one task."""
    source = card.tasks[task]
    files = [str(name) for name in (source.file, *(part.file for part in source.parts)) if name]
    return {
        "reader": source.reader,
        "files": files,
        "images": source.expected.images,
        "boxes": source.expected.boxes,
        "annotation": task.facts.noun,
    }


def _official_splits(card: Card) -> str | None:
    """Where the official split of an image is published; None if the card names no such place."""
    if any(part.split for source in card.tasks.values() for part in source.parts):
        return "one annotation file per split"
    if card.splits is None:
        return None
    given = {
        "column": f"column {card.splits.column}",
        "pattern": "the path of an image",
        "table": f"table {card.splits.table.file}" if card.splits.table else "",
        "lists": "lists of images",
    }
    return next(text for name, text in given.items() if getattr(card.splits, name))


def _patient_key(card: Card) -> str | None:
    """How the patient of an image is known; None: each image counts as its own patient."""
    key = card.patient
    if key is None:
        return None
    given = {"column": f"column {key.column}", "pattern": "the path of an image", "dicom": f"DICOM {key.dicom}"}
    return next((text for name, text in given.items() if getattr(key, name)), "a published table")


def relatives_of(cards: Sequence[Card]) -> dict[str, list[dict[str, str]]]:
    """The cards that show films or patients of each card: ``name`` and ``what``, ``films`` or ``patients``.

    Films are shared by a card with its parent, and by cards of one parent; patients, where both name them alike.
    """
    holders: dict[tuple[str, str], list[str]] = defaultdict(list)
    for card in cards:
        for key in _keys(card):
            holders[key].append(card.name)
    relatives: dict[str, list[dict[str, str]]] = {}
    for card in cards:
        others = {name: what for what, key in sorted(_keys(card), reverse=True) for name in holders[what, key]}
        relatives[card.name] = [
            {"name": name, "what": what} for name, what in sorted(others.items()) if name != card.name
        ]
    return relatives


def _keys(card: Card) -> set[tuple[str, str]]:
    """What two cards must have in common to be related."""
    films = {("films", card.name)} | ({("films", card.parent)} if card.parent else set())
    if card.patient is None:
        return films | {("patients", card.name)}
    names = {card.patient.namespace or card.name} | card.patient.all_namespaces
    return films | {("patients", name) for name in names}


class _Rows:
    """The rows of public tables beside the records that they were joined to.

    Args:
        rows: Merged rows.
        records: Harmonised records.
    """

    def __init__(self, rows: Sequence[Record], records: Sequence[Record]):
        self._rows = {where: row for row in rows for where in row.rows}
        self._cards: dict[int, list[str]] = defaultdict(list)
        for record in records:
            for row in self._of(record):
                self._cards[id(row)] += [record.card] if record.card else []

    def _of(self, record: Record) -> list[Record]:
        return list({id(self._rows[where]): self._rows[where] for where in record.rows}.values())

    def facts(self, record: Record, card: Card | None, vocabulary: Vocabulary) -> dict[str, Any]:
        """The rows of a record with their errors; the count of a whole collection is not that of one of its cards."""
        rows = self._of(record)
        original = record_of_card(card, vocabulary) if card else None
        shown = [self._row(row, original) for row in rows]
        errors = sum(len(row["errors"]) for row in shown)
        facts: dict[str, Any] = {"table_rows": shown, "rows": len(shown), "row_errors": errors}
        if {"volume", "valid_images"} & set(record.filled) and any(len(self._cards[id(row)]) > 1 for row in rows):
            facts |= {"images": None, "volume": {}, "collection_images": record.images}
        return facts

    def _row(self, row: Record, card: Record | None) -> dict[str, Any]:
        errors = differences_of(card, row) if card else _contradictions(row)
        return {
            "where": row.rows,
            "says": {name: getattr(row, name) for name in ROW_FIELDS if getattr(row, name) not in (None, (), {})},
            "errors": [{"field": text.split(" ", 1)[0], "text": text} for text in errors],
            "gaps": [name for name in ("tasks", "modalities", "anatomy", "images") if not getattr(row, name)],
            "cards": self._cards[id(row)],
        }


def _contradictions(row: Record) -> list[str]:
    """What a row says against itself; only a card can say more."""
    if row.label_presence == "unlabelled" and row.tasks:
        return [f"label_presence is 'unlabelled', and the row has the tasks {', '.join(row.tasks)}"]
    return []
