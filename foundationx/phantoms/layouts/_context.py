"""The context of a layout: one annotation file to write, its images, and the tables to extend.

A layout is one file of this folder, named like the reader whose files it writes, with ``CAPABILITIES`` (a
``Capabilities``) and ``write(context)``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foundationx.datasets.cards.class_names import ClassNames
from foundationx.datasets.cards.tasks import ClassSpec
from foundationx.phantoms.copy_writer import CopyWriter, TableBuffer
from foundationx.phantoms.drawing import DrawnImage
from foundationx.phantoms.ground_truth import ImageTruth, concept_key
from foundationx.phantoms.image_set import ImageSet
from foundationx.phantoms.phantom import bounds
from foundationx.phantoms.task_files import TaskFile, concrete


class LayoutContext:
    """One annotation file to write.

    Args:
        task_files: Tasks that read the file with one reader; the file has the classes of all of them.
        image_set: Images of the file.
        writer: Writer with the tables to extend.
        drawn: Drawn images by their numbers.
    """

    def __init__(
        self, task_files: Sequence[TaskFile], image_set: ImageSet, writer: CopyWriter, drawn: Mapping[int, DrawnImage]
    ):
        self.task_files, self.image_set, self.writer = tuple(task_files), image_set, writer
        self.task_file = task_files[0]
        self.options: Any = self.task_file.options
        self.spec, self.card = self.task_file.spec, self.task_file.card
        images = {image.number: image for task_file in task_files for image in image_set.images_of(task_file)}
        self.images = [images[number] for number in sorted(images)]
        classes = [item for task_file in task_files for item in task_file.spec.classes]
        self.classes = tuple({item.published: item for item in classes}.values())
        self._names = ClassNames(self.spec.model_copy(update={"classes": self.classes}))
        self._drawn = drawn

    def word(self, image: ImageTruth, item: ClassSpec) -> str:
        """A published name of a class and of no other one; varies from image to image if there are several."""
        own = [name for name in item.published if len(self._names.indices(name)) == 1] or item.published
        return own[image.number % len(own)]

    def state(self, image: ImageTruth, item: ClassSpec) -> bool | None:
        """Whether a class is present in an image; None if that is doubtful."""
        if self.image_set.shows(self.task_file, image, item):
            return True
        return None if concept_key(item, self.task_file.vocabulary) in image.doubtful else False

    def present(self, image: ImageTruth) -> list[ClassSpec]:
        """Classes that are present in an image."""
        return [item for item in self.classes if self.state(image, item)]

    def shape(self, image: ImageTruth) -> tuple[int, int]:
        """Height and width of an image in pixels."""
        return self.image_set.shape(image)

    def drawn_shape(self, image: ImageTruth) -> tuple[int, int]:
        """Height and width in which an image was drawn, for masks that may differ in size from their image."""
        height, width = self._drawn[image.number].image.shape
        return height, width

    def instances(self, image: ImageTruth, item: ClassSpec, shape: tuple[int, int] | None = None) -> list[np.ndarray]:
        """Masks (H, W) bool of every instance of a class in an image; none for a class that denotes an absence.

        They have the image's size, or ``shape`` (height and width).
        """
        return self._drawn[image.number].masks(
            concept_key(item, self.task_file.vocabulary), *(shape or self.shape(image))
        )

    def boxes(self, image: ImageTruth, item: ClassSpec) -> list[tuple[int, int, int, int]]:
        """Box x1 y1 x2 y2 of every instance, in pixels."""
        return [bounds(mask) for mask in self.instances(image, item)]

    def centre(self, image: ImageTruth, item: ClassSpec) -> list[float] | None:
        """x and y of the middle of what is drawn for a class, in pixels; None if it is not in the image."""
        boxes = self.boxes(image, item)
        return [round((low + high) / 2, 2) for low, high in (boxes[0][::2], boxes[0][1::2])] if boxes else None

    def path(self, image: ImageTruth) -> str:
        """Path of an image relative to the dataset's folder."""
        return self.image_set.paths[image.number]

    def name(self, image: ImageTruth) -> str:
        """Name of an image in the annotation file: relative to the image folder, without the card's suffix."""
        template = self.image_set.template_cells(self.task_file, image).get(getattr(self.options, "image_column", ""))
        if template is not None:
            return template
        path, folder = self.path(image), self.image_set.folder(image)
        named = any(folder in concrete(pattern) for pattern in self.task_file.part.images or ())
        if named and folder:
            path = path.removeprefix(f"{folder}/")
        return path.removesuffix(self.task_file.part.image_suffix or "")

    def cells(self, image: ImageTruth) -> dict[str, str]:
        """Cells of an image's row that the card requires: path, patient, split and the columns of ``keep``."""
        cells = self.image_set.template_cells(self.task_file, image)
        for task_file in self.task_files:
            card = task_file.card
            if card.patient is not None and card.patient.column is not None:
                cells[card.patient.column] = self.image_set.patient(card, image)
            if card.splits is not None and card.splits.column is not None:
                split = self.image_set.split(card, image)
                cells[card.splits.column] = (*(card.splits.values[split] if split else card.splits.unassigned), "")[0]
            cells |= {column: values[0] for column, values in task_file.spec.keep.items()}
        return cells

    def row(
        self, image: ImageTruth, tag: object, cells: Mapping[str, str], labels: Mapping[str, str] | None = None
    ) -> None:
        """Adds a row of an image; its labels go into the first joined table if there is one.

        Args:
            image: Image of the row.
            tag: Key of the row among the rows of the image.
            cells: Cells by column.
            labels: Further cells, equal in every row of the image.
        """
        named = dict.fromkeys(self.spec.leave_out, "") | {self.options.image_column: self.name(image)}
        cells = named | self.cells(image) | dict(cells)
        labels = dict(labels or {})
        joins = [(file.card.root, *item) for file in self.task_files for item in enumerate(file.spec.join)]
        for root, number, join in joins:
            key = {column: cells.get(column, f"{image.number:05d}") for column in join.on}
            cells |= key
            other = self.writer.table(os.path.normpath(f"{root}/{join.file}"), join.table)
            other.put((self.path(image), ""), key | (labels if number == 0 else {}))
        self.table.put((self.path(image), tag), cells if self.spec.join else cells | labels)

    def quality(self, image: ImageTruth) -> dict[str, str]:
        """The cell of an estimated quality, if the reader asks for one: of the last image it is below the least."""
        options = self.options
        if options.quality_column is None:
            return {}
        poor = image is self.images[-1] and len(self.images) > 2
        return {options.quality_column: f"{options.quality_least + (-0.1 if poor else 0.2):.3f}"}

    @property
    def table(self) -> TableBuffer:
        """The annotation file as a table."""
        return self.writer.table(self.task_file.file, self.spec.table)

    def add_filtered_rows(self) -> None:
        """Adds a row for each column of the card's ``keep`` with another value, which the reader must ignore."""
        for column in self.spec.keep:
            first = dict(next(iter(self.table.rows.values())))
            first |= {column: "not kept", self.options.image_column: f"not_kept_{column}"}
            self.table.put(("not kept", column), first)

    def json(self, content: Any) -> None:
        """Writes the annotation file as JSON."""
        self.writer.json(self.task_file.file, content)

    def mask(self, path: str, values: np.ndarray) -> None:
        """Writes a mask file (H, W) uint8; the path is relative to the dataset's folder."""
        self.writer.image(f"{self.card.root}/{path}", values, f"{self.task_file.where}.options", deep=False)

    def folder(self, path: str) -> None:
        """Creates a folder of the dataset, which may stay empty."""
        (self.writer.root / self.card.root / path).mkdir(parents=True, exist_ok=True)
