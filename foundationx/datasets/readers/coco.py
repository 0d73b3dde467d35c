"""COCO JSON: boxes, polygons and run-length masks. A listed image without annotations is a known negative."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from foundationx.core.errors import DataError, nearest
from foundationx.core.types import MaskPart, ReferenceSize
from foundationx.datasets.readers._geometry import box, no_outline, numbers, polygon
from foundationx.datasets.readers._object_names import ObjectNames, OtherNames
from foundationx.datasets.readers._reference import SizedOptions
from foundationx.datasets.readers._runs import runs_from_coco
from foundationx.datasets.readers._source import Source

PROVIDES = frozenset({"labels", "boxes", "masks"})


class Options(OtherNames, SizedOptions):
    """Categories that are not classes, and images without annotations."""

    leave_out: tuple[str, ...] = Field(
        (), description="file names of listed images that nobody annotated: they are left out, not negative"
    )


def read(source: Source, options: Options) -> None:
    """Adds every listed image with its boxes (xywh, converted to x1 y1 x2 y2) and outlines: polygons or runs.

    Images on disk that are not listed are unannotated and left out. A class without annotations in an image is absent.
    It is unknown if only crowd regions of it are marked, and in detection always inside these regions. In segmentation,
    it is unknown if any of its annotations is a crowd region or has no outline (the outlined pixels are then present,
    the others unknown). Only the required keys of the format must be there.

    Raises:
        DataError: Not COCO; no category for a class; a repeated id or image; an annotation of an unlisted image or of
            an unknown category; a box without size or more than a pixel outside the declared image; an outline that is
            neither polygons nor runs.
    """
    file, content = source.file, source.json()
    if not isinstance(content, dict):
        raise DataError(
            file, f"contains a {type(content).__name__}", "images, annotations and categories", "download it again"
        )
    categories = {_id(item, file): str(item.get("name")) for item in _records(content, "categories", file)}
    _check_categories(source, set(categories.values()))
    images = _by_id(_records(content, "images", file), file)
    annotations = _by_image(_records(content, "annotations", file), images, source)
    for number, image in images.items():
        name = str(image.get("file_name") or "")
        where = f"{file} image {number}"
        if name in options.leave_out:
            continue
        with source.guard(where, name):
            path = source.image(name, where, image)
            size = options.reference(image, where) or _declared_size(image, where, options.any_aspect)
            collected = _ImageAnnotations(source, options, categories, size)
            for annotation in annotations.get(number, ()):
                collected.add(annotation, f"{file} annotation {annotation.get('id')}")
            collected.add_to_source(path, where, image)


class _ImageAnnotations:
    """The annotations of one image.

    Args:
        source: Source that the image is added to.
        options: Options of the reader.
        categories: Names of the categories by id.
        size: Size in which the coordinates are given: the image's, as the file declares it; None if unknown.
    """

    def __init__(self, source: Source, options: Options, categories: Mapping[Any, str], size: ReferenceSize | None):
        self.source, self.categories, self.size = source, categories, size
        self.names = ObjectNames(source, options)
        self.incomplete: set[int] = set()
        self.unplaced: set[int] = set()
        self.crowds: list[list[float]] = []
        self.crowd_classes: list[int] = []
        self.boxes: list[list[float]] = []
        self.box_classes: list[int] = []
        self.masks: list[MaskPart] = []

    def add(self, annotation: Mapping[str, Any], where: str) -> None:
        """Adds one annotation. Raises DataError."""
        for index in self._classes(annotation, where):
            self._add(index, annotation, where)

    def _add(self, index: int, annotation: Mapping[str, Any], where: str) -> None:
        outlines = annotation.get("segmentation")
        outlines = [] if no_outline(outlines) else outlines
        needs_masks = self.source.needs("masks")
        if annotation.get("iscrowd"):
            self._add_crowd(index, annotation, where)
            return
        if needs_masks and not outlines:
            # The class is present, but not all of it is marked: unmarked pixels are unknown.
            self.incomplete.add(index)
            return
        self.boxes.append(box(annotation.get("bbox"), "xywh", where, self.size))
        self.box_classes.append(index)
        if needs_masks:
            self.masks += _outlines(outlines, index, where)

    def _add_crowd(self, index: int, annotation: Mapping[str, Any], where: str) -> None:
        """Adds a region with objects that are not told apart. Without a box, nobody knows where it is."""
        self.incomplete.add(index)
        if annotation.get("bbox") is not None:
            self.crowds.append(box(annotation.get("bbox"), "xywh", where, self.size))
            self.crowd_classes.append(index)
        else:
            self.unplaced.add(index)

    def labels(self) -> np.ndarray:
        """Labels (K,): 1 present, 0 absent, NaN unknown."""
        labels = self.names.labels(0.0)
        unknown = self.incomplete if self.source.needs("masks") else self.incomplete - set(self.box_classes)
        if self.source.needs("boxes"):
            unknown = unknown | self.unplaced
        labels[sorted(unknown)] = np.nan
        return labels

    def add_to_source(self, path: str, where: str, image: Mapping[str, Any]) -> None:
        """Adds the image with its annotations to the source."""
        parts = {"boxes": self.boxes, "box_classes": self.box_classes, "masks": self.masks}
        parts |= {"ignored_boxes": self.crowds, "ignored_classes": self.crowd_classes}
        self.source.add(path, where, self.labels(), image, self.size, **parts)

    def _classes(self, annotation: Mapping[str, Any], where: str) -> list[int]:
        """Indices of the annotation's classes, none if its category is not one."""
        number = annotation.get("category_id")
        if not isinstance(number, int | str) or number not in self.categories:
            raise DataError(where, f"category_id is {number!r}", f"one of {list(self.categories)}", "fix the file")
        return self.names.classes(self.categories[number], where)


def _check_categories(source: Source, names: set[str]) -> None:
    """Raises DataError if the file has no category for a class: the class was not annotated at all."""
    for name, published in zip(source.classes, source.published, strict=True):
        if not names & set(published):
            found = f"there is no category {' or '.join(map(repr, published))} for the class {name}"
            raise DataError(f"{source.file} categories", found, nearest(published[0], names), "correct the card")


def _declared_size(image: Mapping[str, Any], where: str, any_aspect: bool) -> ReferenceSize | None:
    """Declared size of an image; None if the file does not give it. Raises DataError."""
    size = [image.get("width"), image.get("height")]
    if None in size:
        return None
    width, height = map(round, numbers(size, 2, where))
    return ReferenceSize(height, width, any_aspect)


def _outlines(outlines: Any, index: int, where: str) -> list[MaskPart]:
    if isinstance(outlines, dict):
        return [MaskPart(index, runs=runs_from_coco(outlines, where))]
    if not isinstance(outlines, list):
        found = f"segmentation is {str(outlines)[:40]}"
        raise DataError(where, found, "polygons, or runs with size and counts", "fix the annotation")
    return [MaskPart(index, polygon=polygon(points, where)) for points in outlines if not no_outline(points)]


def _records(content: Mapping[str, Any], key: str, file: str) -> list[Mapping[str, Any]]:
    """The list of records under ``key``. Raises DataError."""
    records = content.get(key)
    if not isinstance(records, list) or not all(isinstance(item, dict) for item in records):
        raise DataError(
            f"{file} {key}", "is not a list of records", "the lists of the COCO format", "download it again"
        )
    return records


def _id(record: Mapping[str, Any], file: str) -> Any:
    if not isinstance(record.get("id"), int | str):
        raise DataError(file, f"a record has no id: {str(dict(record))[:80]}", "an id in each record", "fix the file")
    return record["id"]


def _by_id(records: list[Mapping[str, Any]], file: str) -> dict[Any, Mapping[str, Any]]:
    by_id: dict[Any, Mapping[str, Any]] = {}
    for record in records:
        number = _id(record, file)
        if number in by_id:
            raise DataError(f"{file} image {number}", "the id is repeated", "each id once", "fix the file")
        by_id[number] = record
    return by_id


def _by_image(
    records: list[Mapping[str, Any]], images: Mapping[Any, Any], source: Source
) -> dict[Any, list[Mapping[str, Any]]]:
    """Annotations by image. An annotation of an unlisted image is an error."""
    groups: dict[Any, list[Mapping[str, Any]]] = {}
    for record in records:
        number, where = record.get("image_id"), f"{source.file} annotation {record.get('id')}"
        with source.guard(where, str(number)):
            if not isinstance(number, int | str) or number not in images:
                raise DataError(where, f"image_id is {number!r}", "the id of a listed image", "fix the file")
            groups.setdefault(number, []).append(record)
    return groups
