"""Phase 1 of MDFP (``mdfp.md`` A.2): cards and rows of public tables become records of one shape.

A row that describes a card is joined to it by name or address. The card is believed: what the row says otherwise is
listed, because a third of the reviewed rows carried a wrong disease, structure or licence (``mdfp.md`` A.4). What the
card leaves unknown is filled from the row, except those three.
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
"""Fields that a row may fill where the card leaves them unknown."""

UNREVIEWED = ("licence", "anatomy", "diseases")
"""Fields that no row fills: tables are wrong in them too often."""

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
"""Fields whose difference between card and row is listed."""

_PLACES = re.compile(r"^(c|competitions|content|data|dataset|datasets|download|home|\d{1,2}(\.\d+)*)$")
"""Parts of an address that do not say which dataset it is: ``kaggle.com/c/NAME/data``, a version."""


def record_of_card(card: Card, vocabulary: Vocabulary) -> Record:
    """A card as a record. A card has annotated tasks, so that it counts as labelled where it does not say.

    Of the concepts of its classes, findings and diseases count as what it is about; organs and devices do not.
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
    """All datasets, each once: the cards with the rows that describe them, then datasets that only tables list.

    Args:
        cards: the registry's.
        vocabulary: of their concepts.
        rows: of one or several tables.
    """
    records = [record_of_card(card, vocabulary) for card in cards]
    joined: dict[str, list[Record]] = defaultdict(list)
    alone = []
    for row in unite_rows(rows):
        matches = [record for record in records if describes(row, record)]
        for record in matches:
            joined[record.name].append(row)
        if not matches:
            alone.append(row)
    return [join(record, joined[record.name]) for record in records] + alone


def describes(row: Record, card: Record) -> bool:
    """Whether a row is about the card's dataset: the same name, or the same address."""
    same_name = compact(row.title) in (compact(card.title), compact(card.name))
    address = address_of(row.home)
    return same_name or (address is not None and address == address_of(card.home))


def address_of(home: str | None) -> tuple[str, ...] | None:
    """Host and path of an address, without what does not say which dataset it is; None where only a host is left."""
    if not home:
        return None
    host, *path = re.sub(r"^https?://(www\.)?", "", home.strip().casefold()).split("/")
    parts = [part for part in path if part and not _PLACES.match(part)]
    return (host, *parts) if parts or host.count(".") > 1 else None


def unite_rows(rows: Iterable[Record]) -> list[Record]:
    """Rows of one name and address, as a dataset of several modalities stands once in each section of the table.

    Lists are united, of volumes the largest count stays (sections count images or volumes), else the first answer.
    """
    groups: dict[tuple, list[Record]] = defaultdict(list)
    for row in rows:
        groups[compact(row.title), address_of(row.home)].append(row)
    return [_united(group) for group in groups.values()]


def _united(rows: Sequence[Record]) -> Record:
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
            sides = dict.fromkeys(side for answer in answers for side in answer)
            values[name] = {side: max(answer.get(side, 0) for answer in answers) for side in sides}
        else:
            values[name] = answers[0]
    return replace(rows[0], **values)


def join(card: Record, rows: Sequence[Record]) -> Record:
    """The card's record with what its rows add, and the list of what they say otherwise."""
    filled: dict[str, Any] = {}
    differences = []
    for row in rows:
        where = ", ".join(row.rows)
        differences += [f"{where}: {text}" for text in differences_of(card, row)]
        for name in FILLED:
            if name not in filled and not _known(getattr(card, name)) and _known(getattr(row, name)):
                filled[name] = getattr(row, name)
    places = tuple(place for row in rows for place in row.rows)
    return replace(card, **filled, rows=places, differences=tuple(differences), filled=tuple(filled))


def differences_of(card: Record, row: Record) -> list[str]:
    """What a row says that the card does not, as far as both say something; licences are compared by their letters.

    A disease or a structure that the card leaves open is listed too: it is not believed, somebody may check it.
    """
    found = []
    for name in COMPARED:
        ours, theirs = getattr(card, name), getattr(row, name)
        if _known(theirs) and not _agree(name, card, row) and (_known(ours) or name in UNREVIEWED):
            found.append(f"{name} is {_shown(theirs)}, the card has {_shown(ours)}")
    return found


def _agree(name: str, card: Record, row: Record) -> bool:
    ours, theirs = getattr(card, name), getattr(row, name)
    if name == "licence":
        return any(same_licence(theirs, text) for text in (card.licence, card.spdx) if text)
    if name == "released" and ours and theirs:
        return ours.startswith(theirs) or theirs.startswith(ours)
    if name == "images" and ours and theirs:
        return abs(ours - theirs) <= max(50, 0.01 * max(ours, theirs))  # tables round to 0.1k
    return set(theirs) <= set(ours) if isinstance(theirs, tuple) else ours == theirs


def _known(value: Any) -> bool:
    return value not in (None, (), {}, "unknown")


def _shown(value: Any) -> str:
    if not _known(value):
        return "nothing"
    return ", ".join(value) if isinstance(value, tuple) else f"{value:,}" if isinstance(value, int) else repr(value)
