"""COCO JSON: boxes, polygons and run-length masks. An image that is listed without annotations is a known negative."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from foundationx.core.errors import DataError, nearest
from foundationx.core.types import MaskPart
from foundationx.datasets.readers._geometry import box, numbers, polygon
from foundationx.datasets.readers._runs import runs_from_coco
from foundationx.datasets.readers._source import ReaderOptions, Source

GIVES = frozenset({"labels", "boxes", "masks"})


class Options(ReaderOptions):
    """Categories that are not classes."""

    ignore: tuple[str, ...] = Field((), description="categories that say nothing about the classes")


def read(source: Source, options: Options) -> None:
    """Adds every listed image with its boxes (xywh, turned into x1 y1 x2 y2) and outlines: polygons or
    runs.

    Images on disk that are not listed are unannotated and left out. A class is absent where the image has no
    annotation of it. It is unknown where only crowd regions of it are marked; in segmentation, where one of its
    annotations is a crowd region or has no outline (what is outlined is then present, the rest unknown). Keys beside
    the standard ones may be missing.

    Raises:
        DataError: not COCO; no category for a class; a repeated id or image; an annotation of no listed image or of an
            unknown category; a box without size or more than a pixel outside the declared image; an outline that is
            neither polygons nor runs.
    """
    file, content = source.file, source.json()
    if not isinstance(content, dict):
        raise DataError(file, f"holds a {type(content).__name__}", "images, annotations and categories", "check file")
    categories = {_id(item, file): str(item.get("name")) for item in _records(content, "categories", file)}
    _check_categories(source, set(categories.values()))
    images = _by_id(_records(content, "images", file), file)
    annotations = _by_image(_records(content, "annotations", file), images, source)
    for number, image in images.items():
        name = str(image.get("file_name") or "")
        where = f"{file} image {number}"
        with source.guard(where, name):
            path = source.image(name, where, image)
            frame = _frame(image, where)
            found = _Found(source, options, categories, frame)
            for annotation in annotations.get(number, ()):
                found.take(annotation, f"{file} annotation {annotation.get('id')}")
            size = (round(frame[1]), round(frame[0])) if frame else None
            parts = {"boxes": found.boxes, "box_classes": found.box_classes, "masks": found.masks}
            source.add(path, where, found.labels(), image, size, **parts)


class _Found:
    """What the annotations of one image come to."""

    def __init__(self, source: Source, options: Options, categories: Mapping[Any, str], frame: Sequence[float]):
        self.source, self.options, self.categories, self.frame = source, options, categories, frame
        self.vague: set[int] = set()
        self.boxes: list[list[float]] = []
        self.box_classes: list[int] = []
        self.masks: list[MaskPart] = []

    def take(self, annotation: Mapping[str, Any], where: str) -> None:
        """Adds one annotation. Raises DataError."""
        index = self._class(annotation, where)
        if index is None:
            return
        outlines = annotation.get("segmentation") or []
        wants_masks = self.source.wants("masks")
        if annotation.get("iscrowd") or (wants_masks and not outlines):
            # Something of the class is here, but not exactly where: what is not marked is unknown.
            self.vague.add(index)
            return
        self.boxes.append(box(annotation.get("bbox"), "xywh", where, *self.frame))
        self.box_classes.append(index)
        if wants_masks:
            self.masks += _outlines(outlines, index, where)

    def labels(self) -> np.ndarray:
        """(K,) present, absent or unknown."""
        labels = self.source.labels(0.0)
        labels[self.box_classes] = 1.0
        hidden = self.vague if self.source.wants("masks") else self.vague - set(self.box_classes)
        labels[sorted(hidden)] = np.nan
        return labels

    def _class(self, annotation: Mapping[str, Any], where: str) -> int | None:
        """Index of the annotation's class, None where its category is ignored."""
        number = annotation.get("category_id")
        if not isinstance(number, int | str) or number not in self.categories:
            raise DataError(where, f"category_id is {number!r}", f"one of {list(self.categories)}", "fix the file")
        name = self.categories[number]
        return None if name in self.options.ignore else self.source.class_index(name, where, self.options.ignore)


def _check_categories(source: Source, names: set[str]) -> None:
    """Raises DataError where the file has no category of a class: such a class was never looked for."""
    for name, published in zip(source.classes, source.published, strict=True):
        if not names & set(published):
            found = f"there is no category {' or '.join(map(repr, published))} for the class {name}"
            raise DataError(f"{source.file} categories", found, nearest(published[0], names), "correct the card")


def _frame(image: Mapping[str, Any], where: str) -> list[float]:
    """Declared width and height of an image; empty where the file does not say. Raises DataError."""
    size = [image.get("width"), image.get("height")]
    return [] if None in size else numbers(size, 2, where)


def _outlines(outlines: Any, index: int, where: str) -> list[MaskPart]:
    if isinstance(outlines, dict):
        return [MaskPart(index, runs=runs_from_coco(outlines, where))]
    if not isinstance(outlines, list):
        found = f"segmentation is {str(outlines)[:40]}"
        raise DataError(where, found, "polygons, or runs with size and counts", "fix the annotation")
    return [MaskPart(index, polygon=polygon(points, where)) for points in outlines]


def _records(content: Mapping[str, Any], key: str, file: str) -> list[Mapping[str, Any]]:
    """A list of records under ``key``. Raises DataError."""
    records = content.get(key)
    if not isinstance(records, list) or not all(isinstance(item, dict) for item in records):
        raise DataError(f"{file} {key}", "is no list of records", "the lists of the COCO format", "check the file")
    return records


def _id(record: Mapping[str, Any], file: str) -> Any:
    if not isinstance(record.get("id"), int | str):
        raise DataError(file, f"a record without id: {str(dict(record))[:80]}", "an id a record", "fix the file")
    return record["id"]


def _by_id(records: list[Mapping[str, Any]], file: str) -> dict[Any, Mapping[str, Any]]:
    found: dict[Any, Mapping[str, Any]] = {}
    for record in records:
        number = _id(record, file)
        if number in found:
            raise DataError(f"{file} image {number}", "the id stands twice", "each id once", "fix the file")
        found[number] = record
    return found


def _by_image(
    records: list[Mapping[str, Any]], images: Mapping[Any, Any], source: Source
) -> dict[Any, list[Mapping[str, Any]]]:
    """Annotations of each image; one of an image that is not listed is a fault of its own."""
    groups: dict[Any, list[Mapping[str, Any]]] = {}
    for record in records:
        number, where = record.get("image_id"), f"{source.file} annotation {record.get('id')}"
        with source.guard(where, str(number)):
            if not isinstance(number, int | str) or number not in images:
                raise DataError(where, f"image_id is {number!r}", "the id of a listed image", "fix the file")
            groups.setdefault(number, []).append(record)
    return groups
