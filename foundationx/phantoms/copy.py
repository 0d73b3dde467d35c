"""Phantom copies: a small folder of generated images for any card, in the layout that the card describes.

A copy is the inverse of the card's reader: file names, folders, columns, joins, splits and patients are as in the
published dataset, the images are phantoms. ``foundationx data check`` reports only the published counts, and a
configuration can be tried on copies of its datasets before anything is downloaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from foundationx.core.errors import CardError
from foundationx.datasets.cards.card import Card, PatientTable
from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.cards.schema import listed_name
from foundationx.phantoms.copy_writer import CopyWriter
from foundationx.phantoms.drawing import LEAST_SIDE, DrawnImage
from foundationx.phantoms.expressions import example
from foundationx.phantoms.ground_truth import ImageTruth
from foundationx.phantoms.image_set import ImageSet
from foundationx.phantoms.layouts._context import LayoutContext
from foundationx.phantoms.task_files import TaskFile, group_by_images, task_files_of


def write_copies(
    data_root: Path, names: Iterable[str], catalog: Catalog, *, images: int = 24, size: int = 256, seed: int = 0
) -> list[str]:
    """Writes copies of datasets; the same arguments give the same bytes.

    Cards that share a folder or a table are written together, whichever of them is named. A copy of VinDr-CXR therefore
    also holds the annotations that CheXmask publishes for its images.

    Args:
        data_root: Folder for the datasets.
        names: Names of cards.
        catalog: Catalogue with the cards.
        images: Least number of images per image set; more if every class in every split requires more.
        size: Side of an image in pixels; some cards prescribe another.
        seed: Seed; another one gives other images.

    Returns:
        Names of all cards that were written, in alphabetical order.

    Raises:
        CardError: A card has a key that cannot be imitated.
        DataError: A folder or file exists already and is no earlier copy.
    """
    if size < LEAST_SIDE:
        raise CardError(
            "size", f"{size} pixels", f"at least {LEAST_SIDE}: smaller images show nothing", "choose a larger size"
        )
    cards = _with_sharing([catalog.card(name).published_form() for name in names], catalog)
    task_files = [task_file for card in cards for task_file in task_files_of(card, catalog.vocabulary)]
    image_sets = [ImageSet(group, images, size, seed) for group in group_by_images(task_files)]
    writer = CopyWriter(Path(data_root), [card.root for card in cards])
    for image_set in image_sets:
        _write_image_set(image_set, writer)
    lists: dict[str, list[str]] = {}
    for image_set in image_sets:
        for card in image_set.cards:
            _list_patients(image_set, card, writer)
            _list_splits(image_set, card, writer, lists)
    for file, lines in lists.items():
        writer.lines(file, lines)
    writer.finish()
    return sorted(card.name for card in cards)


def _with_sharing(cards: Sequence[Card], catalog: Catalog) -> list[Card]:
    """The cards and all others of the catalogue that share a folder or a file with one of them."""
    chosen = {card.name: card for card in cards}
    paths = set().union(*(_paths(card) for card in chosen.values()))
    others = [card.published_form() for name, card in catalog.valid().items() if name not in chosen]
    while others:
        sharing = [card for card in others if _paths(card) & paths]
        if not sharing:
            break
        others = [card for card in others if card not in sharing]
        chosen |= {card.name: card for card in sharing}
        paths = paths.union(*(_paths(card) for card in sharing))
    return [chosen[name] for name in sorted(chosen)]


def _paths(card: Card) -> set[str]:
    """Folder and files of a card, relative to the data root."""
    files = [part.file for spec in card.tasks.values() for part in spec.files if part.file]
    files += [join.file for spec in card.tasks.values() for join in spec.join]
    files += [table.file[0] for table in card.patient.tables if table.required] if card.patient is not None else []
    files += [card.splits.table.file] if card.splits is not None and card.splits.table is not None else []
    return {os.path.normpath(card.root), *(os.path.normpath(f"{card.root}/{file}") for file in files)}


def _write_image_set(image_set: ImageSet, writer: CopyWriter) -> None:
    """Writes the images of a set and their annotation files, except tables, which several sets share."""
    groups: dict[tuple[object, ...], list[TaskFile]] = {}
    for task_file in image_set.task_files:
        own = (task_file.card.name, task_file.task, task_file.index)
        joined = tuple(join.file for join in task_file.spec.join)  # labels go there, in a form of its own
        key = (task_file.file, task_file.spec.reader, joined) if task_file.file else own
        groups.setdefault(key, []).append(task_file)
    drawn: dict[int, DrawnImage] = {}
    for image in image_set.images:
        drawn[image.number] = image_set.draw(image)
        pixels = drawn[image.number].resized(*image_set.shape(image))
        file = f"{image_set.root}/{image_set.paths[image.number]}"
        writer.image(file, pixels, f"{image_set.task_files[0].where}.image_suffix")
    for task_files in groups.values():
        task_files[0].layout.write(LayoutContext(task_files, image_set, writer, drawn))


def _list_patients(image_set: ImageSet, card: Card, writer: CopyWriter) -> None:
    """Adds the images to the tables of patients that the card requires, each to one of those that list images."""
    key = card.patient
    required = [table for table in key.tables if table.required] if key is not None else []
    if key is None or not required:
        return
    naming = [table for table in required if not table.translates]
    for image in image_set.images:
        if key.unlisted == "own" and image.patient % 2:
            continue
        path, value = image_set.paths[image.number], image_set.patient(card, image)
        if naming:
            table = naming[image.patient // 2 % len(naming)]
            _list_patient(table, listed_name(path, table.image_value), value, card, writer)
        for table in (table for table in required if table.translates):
            expression = next(iter(key.namespaces.values()), r"(\d{5})")
            other = example(expression, image.patient, image.patient)
            _list_patient(table, listed_name(path, table.image_value, value), other, card, writer)


def _list_patient(table: PatientTable, name: str, patient: str, card: Card, writer: CopyWriter) -> None:
    """Adds an image to a table of patients; rows that other cards have written for it get the patient, too."""
    column, value_column = table.image_column[0], table.value_column[0]
    buffer = writer.table(os.path.normpath(f"{card.root}/{table.file[0]}"))
    same = [row for row in buffer.rows.values() if row.get(column) == name]
    for row in same:
        row[value_column] = patient
    if not same:
        buffer.put((card.name, name), {column: name, value_column: patient})


def _list_splits(image_set: ImageSet, card: Card, writer: CopyWriter, lists: dict[str, list[str]]) -> None:
    """Adds the images to the card's lists or table of official splits."""
    if card.splits is None:
        return
    if table := card.splits.table:
        buffer = writer.table(os.path.normpath(f"{card.root}/{table.file}"))
        for image in image_set.images:
            name, split = listed_name(image_set.paths[image.number], table.image_value), image_set.split(card, image)
            value = card.splits.values[split][0] if split else ""
            same = [row for row in buffer.rows.values() if row.get(table.image_column) == name]
            for row in same:
                row[table.value_column] = value
            if not same:
                buffer.put((card.name, name), {table.image_column: name, table.value_column: value})
    for split, file in card.splits.lists.items():
        named: Iterable[ImageTruth] = (image for image in image_set.images if image_set.split(card, image) is split)
        lines = [image_set.paths[image.number].rpartition("/")[2] for image in named]
        lists.setdefault(os.path.normpath(f"{card.root}/{file}"), []).extend(lines)
