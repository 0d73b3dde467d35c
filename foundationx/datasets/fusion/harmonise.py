"""Harmonisation: cards and rows of public tables become records of one form (phase 1 of MDFP).

A row that describes the dataset of a card is joined to it by name or address. The card has priority, and differences
are listed, since public tables often give a wrong disease, structure or licence. Facts that the card leaves unknown are
filled in from the row, except those three.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from foundationx.datasets.cards.card import Card
from foundationx.datasets.cards.vocabulary import Vocabulary
from foundationx.datasets.fusion.aliases import compact, modalities_of
from foundationx.datasets.fusion.licences import same_licence
from foundationx.datasets.fusion.record import Record

FILLED = (
    *("released", "organisations", "challenge", "dimensions", "modalities", "modality_detail"),
    *("volume", "valid_images", "storage_gb", "home"),
)
"""Fields that a row may fill in if the card leaves them unknown."""

UNREVIEWED = ("licence", "anatomy", "diseases")
"""Fields that are not filled in from rows, since tables are often wrong in them."""

COMPARED = (
    "released",
    "licence",
    "dimensions",
    "modalities",
    "anatomy",
    "diseases",
    "tasks",
    "label_presence",
    "images",
)
"""Fields in which card and row are compared."""

_GENERIC = re.compile(r"^(c|competitions|content|data|dataset|datasets|download|home|\d{1,2}(\.\d+)*)$")
"""Parts of an address that do not identify the dataset: ``c`` and ``data`` in ``kaggle.com/c/NAME/data``, versions."""


def record_of_card(card: Card, vocabulary: Vocabulary) -> Record:
    """A card as a record. A card has annotated tasks, so it counts as labelled unless it states something else.

    Among the concepts of its classes, findings and diseases become its diseases; organs and devices do not.
    """
    survey, expected = card.survey, card.expected
    total = {"total": expected.images} if expected.images else {}
    return Record(
        name=card.name,
        title=card.title,
        card=card.name,
        home=card.home,
        access=card.access,
        released=survey.released,
        organisations=survey.organisations,
        challenge=survey.challenge,
        licence=card.licence.name,
        spdx=card.licence.spdx,
        redistribution=card.licence.redistribution,
        commercial=card.licence.commercial,
        description=survey.description,
        dimensions=(survey.dimension,) if survey.dimension else (),
        modalities=modalities_of(survey.modality or ""),
        modality_detail=survey.modality_detail,
        anatomy=survey.anatomy,
        diseases=tuple(name for name in card.diseases if vocabulary[name].kind in ("finding", "disease")),
        volume=total | {split.value: count for split, count in expected.splits.items()},
        valid_images=expected.valid_images,
        label_presence=survey.label_presence or "labelled",
        tasks=tuple(task.value for task in card.tasks),
        classes_per_task={task.value: len(spec.classes) for task, spec in card.tasks.items()},
        annotations=tuple(task.facts.noun for task in card.tasks),
        storage_gb=survey.storage_gb,
        parent=card.parent,
        notes=card.notes,
        unverified=card.unverified,
    )


def harmonise(cards: Sequence[Card], vocabulary: Vocabulary, rows: Iterable[Record] = ()) -> list[Record]:
    """All datasets, each once: cards with the rows that describe them, then datasets that only tables list.

    Args:
        cards: Cards of the registry.
        vocabulary: Vocabulary of their concepts.
        rows: Rows of one or several tables.
    """
    records = [record_of_card(card, vocabulary) for card in cards]
    joined: dict[str, list[Record]] = defaultdict(list)
    without_card = []
    for row in merge_rows(rows):
        matches = [record for record in records if describes(row, record)]
        for record in matches:
            joined[record.name].append(row)
        if not matches:
            without_card.append(row)
    return [join(record, joined[record.name]) for record in records] + without_card


def describes(row: Record, card: Record) -> bool:
    """Whether a row describes the dataset of a card: they have the same name or address."""
    same_name = compact(row.title) in (compact(card.title), compact(card.name))
    address = address_of(row.home)
    return same_name or (address is not None and address == address_of(card.home))


def address_of(home: str | None) -> tuple[str, ...] | None:
    """Host and path of an address without its generic parts; None if only a host is left."""
    if not home:
        return None
    host, *path = re.sub(r"^https?://(www\.)?", "", home.strip().casefold()).split("/")
    parts = [part for part in path if part and not _GENERIC.match(part)]
    return (host, *parts) if parts or host.count(".") > 1 else None


def merge_rows(rows: Iterable[Record]) -> list[Record]:
    """Merges rows of one name and address: tables list a dataset with several modalities once per section.

    Lists are joined. For counts the largest value is used (sections count images or volumes), otherwise the first.
    """
    groups: dict[tuple[str, tuple[str, ...] | None], list[Record]] = defaultdict(list)
    for row in rows:
        groups[compact(row.title), address_of(row.home)].append(row)
    return [_merged(group) for group in groups.values()]


def _merged(rows: Sequence[Record]) -> Record:
    if len(rows) == 1:
        return rows[0]
    values: dict[str, Any] = {}
    for name in Record.__dataclass_fields__:
        answers = [getattr(row, name) for row in rows if _known(getattr(row, name))]
        if not answers:
            continue
        if isinstance(answers[0], tuple):
            values[name] = tuple(dict.fromkeys(item for answer in answers for item in answer))
        elif isinstance(answers[0], dict):
            keys = dict.fromkeys(key for answer in answers for key in answer)
            values[name] = {key: max(answer.get(key, 0) for answer in answers) for key in keys}
        else:
            values[name] = answers[0]
    return replace(rows[0], **values)


def join(card: Record, rows: Sequence[Record]) -> Record:
    """The card's record with the facts that its rows fill in, and a list of the differences."""
    filled: dict[str, Any] = {}
    differences = []
    for row in rows:
        where = ", ".join(row.rows)
        differences += [f"{where}: {text}" for text in differences_of(card, row)]
        for name in FILLED:
            if name not in filled and not _known(getattr(card, name)) and _known(getattr(row, name)):
                filled[name] = getattr(row, name)
    locations = tuple(location for row in rows for location in row.rows)
    return replace(card, **filled, rows=locations, differences=tuple(differences), filled=tuple(filled))


def differences_of(card: Record, row: Record) -> list[str]:
    """Differences between a row and a card in fields that both give; licences are compared by name.

    Licences, diseases and structures that the card leaves unknown are listed, too, so that somebody can check them.
    """
    differences = []
    for name in COMPARED:
        of_card, of_row = getattr(card, name), getattr(row, name)
        if _known(of_row) and not _agree(name, card, row) and (_known(of_card) or name in UNREVIEWED):
            differences.append(f"{name} is {_shown(of_row)}, the card has {_shown(of_card)}")
    return differences


def _agree(name: str, card: Record, row: Record) -> bool:
    of_card, of_row = getattr(card, name), getattr(row, name)
    if name == "licence":
        return any(same_licence(of_row, text) for text in (card.licence, card.spdx) if text)
    if name == "released" and of_card and of_row:
        return of_card.startswith(of_row) or of_row.startswith(of_card)
    if name == "images" and of_card and of_row:
        return abs(of_card - of_row) <= max(50, 0.01 * max(of_card, of_row))  # tables round to 0.1k
    return set(of_row) <= set(of_card) if isinstance(of_row, tuple) else of_card == of_row


def _known(value: Any) -> bool:
    return value not in (None, (), {}, "unknown")


def _shown(value: Any) -> str:
    if not _known(value):
        return "nothing"
    return ", ".join(value) if isinstance(value, tuple) else f"{value:,}" if isinstance(value, int) else repr(value)
