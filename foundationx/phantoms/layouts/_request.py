"""What every layout works with: one annotation file to write, the films that it is about, and where rows go.

A layout is one file here, named like the reader whose files it writes, with ``MANNER`` (a Manner) and
``write(request)``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foundationx.datasets.cards.tasks import ClassSpec
from foundationx.phantoms.drafts import Drafts, TableDraft
from foundationx.phantoms.marks import Picture
from foundationx.phantoms.phantom import bounds
from foundationx.phantoms.pool import Pool
from foundationx.phantoms.slots import Slot, concrete
from foundationx.phantoms.truth import Film, meaning


class Request:
    """One annotation file to write.

    Args:
        slots: tasks that read the file by one reader; the classes of all of them are in it.
        pool: images that it is about.
        drafts: tables to add rows to.
        pictures: of the pool's films, by their number.
    """

    def __init__(self, slots: Sequence[Slot], pool: Pool, drafts: Drafts, pictures: Mapping[int, Picture]):
        self.slots, self.pool, self.drafts = tuple(slots), pool, drafts
        self.slot = slots[0]
        self.options: Any = self.slot.options
        self.spec, self.card = self.slot.spec, self.slot.card
        films = {film.number: film for slot in slots for film in pool.films_of(slot)}
        self.films = [films[number] for number in sorted(films)]
        self.classes = tuple({item.published: item for slot in slots for item in slot.spec.classes}.values())
        self._pictures = pictures

    def word(self, film: Film, item: ClassSpec) -> str:
        """A published name of a class: another one from film to film where there are several."""
        return item.published[film.number % len(item.published)]

    def state(self, film: Film, item: ClassSpec) -> bool | None:
        """Whether a class is present in a film, None where that is doubtful."""
        if self.pool.shows(self.slot, film, item):
            return True
        return None if meaning(item, self.slot.vocabulary) in film.doubtful else False

    def present(self, film: Film) -> list[ClassSpec]:
        """Classes that are present in a film."""
        return [item for item in self.classes if self.state(film, item)]

    def shape(self, film: Film) -> tuple[int, int]:
        """Height and width of a film in pixels."""
        return self.pool.shape(film)

    def drawn_shape(self, film: Film) -> tuple[int, int]:
        """Height and width in which a film was drawn: of masks that may have another size than their image."""
        return self._pictures[film.number].image.shape

    def instances(self, film: Film, item: ClassSpec, shape: tuple[int, int] | None = None) -> list[np.ndarray]:
        """Masks (H, W) bool of every instance of a class in a film; none of a class that says what is not there.

        They have the film's size, or ``shape`` (height and width).
        """
        return self._pictures[film.number].masks(meaning(item, self.slot.vocabulary), *(shape or self.shape(film)))

    def boxes(self, film: Film, item: ClassSpec) -> list[tuple[int, int, int, int]]:
        """x1 y1 x2 y2 of every instance in pixels."""
        return [bounds(mask) for mask in self.instances(film, item)]

    def path(self, film: Film) -> str:
        """Path of a film relative to the dataset's folder."""
        return self.pool.paths[film.number]

    def name(self, film: Film) -> str:
        """A film as the annotation file names it: from the images folder on, without the suffix that the card adds."""
        template = self.pool.template_cells(self.slot, film).get(getattr(self.options, "image_column", ""))
        if template is not None:
            return template
        path, folder = self.path(film), self.pool.folder(film)
        named = any(folder in concrete(pattern) for pattern in self.slot.part.images)
        if named and folder:
            path = path.removeprefix(f"{folder}/")
        return path.removesuffix(self.slot.part.image_suffix)

    def cells(self, film: Film) -> dict[str, str]:
        """Cells of a film's row that the card itself asks for: path, patient, side and what makes a row count."""
        cells = self.pool.template_cells(self.slot, film)
        for slot in self.slots:
            card = slot.card
            if card.patient is not None and card.patient.column is not None:
                cells[card.patient.column] = self.pool.patient(card, film)
            if card.splits is not None and card.splits.column is not None:
                side = self.pool.side(card, film)
                cells[card.splits.column] = card.splits.values[side][0] if side else ""
            cells |= {column: values[0] for column, values in slot.spec.keep.items()}
        return cells

    def row(self, film: Film, tag: object, cells: Mapping[str, str], labels: Mapping[str, str] | None = None) -> None:
        """Adds a row about a film; its labels stand in the first joined table where there is one.

        Args:
            film: the row is about.
            tag: tells the rows of one film apart.
            cells: by column.
            labels: further cells, the same in every row of the film.
        """
        cells = {self.options.image_column: self.name(film)} | self.cells(film) | dict(cells)
        labels = dict(labels or {})
        for number, join in enumerate(self.spec.join):
            key = {column: cells.get(column, f"{film.number:05d}") for column in join.on}
            cells |= key
            other = self.drafts.table(os.path.normpath(f"{self.card.root}/{join.file}"))
            other.put(tuple(key.values()), key | (labels if number == 0 else {}))
        self.draft.put((self.path(film), tag), cells if self.spec.join else cells | labels)

    @property
    def draft(self) -> TableDraft:
        """The annotation file as a table."""
        return self.drafts.table(self.slot.file, self.spec.table)

    def add_rows_that_do_not_count(self) -> None:
        """Adds a row for each column that the card keeps rows by, with another value; nothing is to become of it."""
        for column in self.spec.keep:
            first = dict(next(iter(self.draft.rows.values())))
            first |= {column: "not kept", self.options.image_column: f"not_kept_{column}"}
            self.draft.put(("not kept", column), first)

    def json(self, content: Any) -> None:
        """Writes the annotation file as JSON."""
        self.drafts.json(self.slot.file, content)

    def mask(self, path: str, values: np.ndarray) -> None:
        """Writes a mask file (H, W) uint8; the path is relative to the dataset's folder."""
        self.drafts.image(f"{self.card.root}/{path}", values, f"{self.slot.where}.options")

    def folder(self, path: str) -> None:
        """Makes a folder of the dataset, which may stay empty."""
        (self.drafts.root / self.card.root / path).mkdir(parents=True, exist_ok=True)
