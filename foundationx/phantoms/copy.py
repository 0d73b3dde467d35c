"""Phantom copies: a small folder of made-up films for any card, in the layout that the card describes.

A copy is what the card's reader reads backwards: file names, folders, columns, joins, sides and patients are those of
the published dataset, the films are phantoms. ``foundationx data check`` finds nothing wrong with it but the published
counts, and a configuration can be tried on copies of its datasets before anything is downloaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from foundationx.core.errors import CardError
from foundationx.datasets.cards.card import Card
from foundationx.datasets.cards.catalog import Catalog
from foundationx.phantoms.drafts import Drafts
from foundationx.phantoms.layouts._request import Request
from foundationx.phantoms.marks import LEAST_SIDE, Picture
from foundationx.phantoms.pool import Pool
from foundationx.phantoms.slots import Slot, pools_of, slots_of
from foundationx.phantoms.truth import Film


def write_copies(
    data_root: Path, names: Iterable[str], catalog: Catalog, *, films: int = 24, size: int = 256, seed: int = 0
) -> list[str]:
    """Writes copies of datasets; the same arguments give the same bytes.

    Cards that re-use one another's files are written together, whichever of them is named: those of one folder, and
    those that share a table. So a copy of VinDr-CXR also holds what CheXmask publishes about its images.

    Args:
        data_root: folder for the datasets.
        names: of cards.
        catalog: that holds them.
        films: to make for each set of images; more where it takes more to show every class on every side.
        size: side of a film in pixels; some cards hold their images to another.
        seed: draws other films.

    Returns:
        Names of all cards that were written, in alphabetical order.

    Raises:
        CardError: a card has something that cannot be imitated; names the key.
        DataError: a folder or file is there already, and no earlier copy.
    """
    if size < LEAST_SIDE:
        raise CardError("size", f"{size} pixels", f"at least {LEAST_SIDE}: smaller films show nothing")
    cards = _with_relatives([catalog.card(name) for name in names], catalog)
    slots = [slot for card in cards for slot in slots_of(card, catalog.vocabulary)]
    pools = [Pool(found, films, size, seed) for found in pools_of(slots)]
    drafts = Drafts(Path(data_root), [card.root for card in cards])
    for pool in pools:
        _write_pool(pool, drafts)
    lists: dict[str, list[str]] = {}
    for pool in pools:
        for card in pool.cards:
            _list_patients(pool, card, drafts)
            _list_sides(pool, card, lists)
    for file, lines in lists.items():
        drafts.lines(file, lines)
    drafts.finish()
    return sorted(card.name for card in cards)


def _with_relatives(cards: Sequence[Card], catalog: Catalog) -> list[Card]:
    """The cards and all others of the catalogue that share a folder or a file with one of them."""
    found = {card.name: card for card in cards}
    places = set().union(*(_places(card) for card in found.values()))
    others = [catalog.card(name) for name in catalog.names() if name not in found]
    while others:
        related = [card for card in others if _places(card) & places]
        if not related:
            break
        others = [card for card in others if card not in related]
        found |= {card.name: card for card in related}
        places = places.union(*(_places(card) for card in related))
    return [found[name] for name in sorted(found)]


def _places(card: Card) -> set[str]:
    """Folder and files of a card, relative to the data root."""
    files = [part.file for spec in card.tasks.values() for part in spec.files if part.file]
    files += [join.file for spec in card.tasks.values() for join in spec.join]
    files += [card.patient.table] if card.patient is not None and card.patient.table else []
    return {os.path.normpath(card.root), *(os.path.normpath(f"{card.root}/{file}") for file in files)}


def _write_pool(pool: Pool, drafts: Drafts) -> None:
    """Writes the films of a pool and the annotation files about them, tables aside."""
    groups: dict[tuple, list[Slot]] = {}
    for slot in pool.slots:
        key = (slot.file, slot.spec.reader) if slot.file else (slot.card.name, slot.task, slot.index)
        groups.setdefault(key, []).append(slot)
    pictures: dict[int, Picture] = {}
    for film in pool.films:
        pictures[film.number] = pool.picture(film)
        image = pictures[film.number].film(*pool.shape(film))
        file = f"{pool.root}/{pool.paths[film.number]}"
        drafts.image(file, image, f"{pool.slots[0].where}.image_suffix")
    for slots in groups.values():
        slots[0].layout.write(Request(slots, pool, drafts, pictures))


def _list_patients(pool: Pool, card: Card, drafts: Drafts) -> None:
    """Adds the films to the card's table of patients, beside what stands there of them already."""
    key = card.patient
    if key is None or key.table is None:
        return
    table = drafts.table(os.path.normpath(f"{card.root}/{key.table}"))
    for film in pool.films:
        if key.unlisted == "own" and film.patient % 2:
            continue
        image, patient = _written(pool.paths[film.number], key.image_value), pool.patient(card, film)
        same = [row for row in table.rows.values() if row.get(key.image_column) == image]
        for row in same:
            row[key.value_column] = patient
        if not same:
            table.put((card.name, image), {key.image_column: image, key.value_column: patient})


def _written(path: str, template: str) -> str:
    name = path.rpartition("/")[2]
    return template.format(image=path, image_name=name, image_stem=os.path.splitext(name)[0])


def _list_sides(pool: Pool, card: Card, lists: dict[str, list[str]]) -> None:
    """Adds the films to the card's lists of official sides."""
    if card.splits is None:
        return
    for side, file in card.splits.lists.items():
        named: Iterable[Film] = (film for film in pool.films if pool.side(card, film) is side)
        lines = [pool.paths[film.number].rpartition("/")[2] for film in named]
        lists.setdefault(os.path.normpath(f"{card.root}/{file}"), []).extend(lines)
