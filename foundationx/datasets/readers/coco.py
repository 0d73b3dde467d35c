"""COCO JSON: boxes, outlines, runs and keypoints. A listed image without annotations is a known negative."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from foundationx.core.errors import DataError, nearest
from foundationx.core.types import MaskPart, ReferenceSize
from foundationx.datasets.readers._coco_points import add_keypoints, classes_of, known_names, point_names
from foundationx.datasets.readers._geometry import box, no_outline, numbers, polygon
from foundationx.datasets.readers._object_names import ObjectNames, OtherNames
from foundationx.datasets.readers._points import ImagePoints, PointOptions
from foundationx.datasets.readers._runs import bounding_box, runs_from_coco
from foundationx.datasets.readers._source import Source

PROVIDES = frozenset({"labels", "boxes", "masks", "keypoints"})


class Options(OtherNames, PointOptions):
    """Categories that are not classes, and images without annotations."""

    leave_out: tuple[str, ...] = Field(
        (), description="file names of listed images that nobody annotated: they are left out, not negative"
    )


def read(source: Source, options: Options) -> None:
    """Adds every listed image with its boxes (xywh, converted to x1 y1 x2 y2) and outlines: polygons or runs.

    An id may be a number or text: 7, 7.0 and "7" are the same. A missing box is the bounds of the outlines.

    Images on disk that are not listed are unannotated and left out. A class without annotations in an image is absent.
    It is unknown if only crowd regions of it are marked, and in detection always inside these regions. In segmentation,
    it is unknown if any of its annotations is a crowd region or has no outline (the outlined pixels are then present,
    the others unknown). Of keypoints, one with v = 0 is unknown, and any with v = 1 or 2 has its place; an image has at
    most one object of a category. Only the required keys of the format must be there.

    Raises:
        DataError: Not COCO; no category for a class; a repeated id (of a category, image or annotation) or image; an
            annotation of an unlisted image or of an unknown category; a box without size or more than a pixel outside
            the declared image; neither box nor outline; an outline that is neither polygons nor runs.
    """
    file, content = source.file, source.json_of(dict, "images, annotations and categories")
    records = _by_id(_records(content, "categories", file), file, "category")
    categories = {number: str(item.get("name")).strip() for number, item in records.items()}
    points = point_names(records) if source.needs("keypoints") else {}
    own = {number: classes_of(source, names) for number, names in points.items()}
    _check_categories(source, known_names(points) if points else set(categories.values()))
    images = _by_id(_records(content, "images", file), file, "image")
    annotations, repeated = _by_image(_records(content, "annotations", file), images, source)
    for number, image in images.items():
        name = str(image.get("file_name") or "")
        where = f"{file} image {number}"
        if name in options.leave_out:
            continue
        with source.guard(where, name):
            if number in repeated:
                raise repeated[number]
            path = source.image(name, where, image)
            size = options.reference(image, where) or _declared_size(image, where, options.any_aspect)
            collected: _PointAnnotations | _ImageAnnotations
            if points:
                collected = _PointAnnotations(ImagePoints(source, options, image, where, 0.0, size), points, own)
            else:
                collected = _ImageAnnotations(source, options, categories, size)
            for annotation in annotations.get(number, ()):
                collected.add(annotation, f"{file} annotation {annotation.get('id')}")
            collected.add_to_source(path, where, image)


class _PointAnnotations:
    """The keypoints of one image.

    Args:
        points: Points of the image.
        names: Names of the points of each category.
        own: Classes of the card that are among them.
    """

    def __init__(self, points: ImagePoints, names: Mapping[Any, Sequence[str]], own: Mapping[Any, Sequence[int]]):
        self.points, self.names, self.own = points, names, own

    def add(self, annotation: Mapping[str, Any], where: str) -> None:
        """Adds one annotation. Raises DataError."""
        category = _category(annotation, self.names, where)
        add_keypoints(self.points, self.names[category], self.own[category], annotation, where)

    def add_to_source(self, path: str, where: str, image: Mapping[str, Any]) -> None:
        """Adds the image with its points to the source."""
        self.points.add_image(path)


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
        self.marked: set[int] = set()
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
        self.marked.add(index)
        if needs_masks:
            self.masks += _outlines(outlines, index, where)
        if self.source.needs("boxes") or not no_outline(annotation.get("bbox")):
            self.boxes.append(self._box(annotation, outlines, where))
            self.box_classes.append(index)

    def _box(self, annotation: Mapping[str, Any], outlines: Any, where: str) -> list[float]:
        """The box of an annotation; the bounds of its outlines if it has none."""
        given = annotation.get("bbox")
        if not no_outline(given):
            return box(given, "xywh", where, self.size)
        bounds = [_bounds(part) for part in _outlines(outlines, 0, where)]
        if not bounds:
            found, fix = "has neither a box nor an outline", "complete or remove the annotation"
            raise DataError(where, found, "bbox or segmentation", fix)
        low, high = np.min(bounds, axis=0)[:2], np.max(bounds, axis=0)[2:]
        return box([*low.tolist(), *high.tolist()], "xyxy", where, self.size)

    def _add_crowd(self, index: int, annotation: Mapping[str, Any], where: str) -> None:
        """Adds a region with objects that are not told apart. Without a box, nobody knows where it is."""
        self.incomplete.add(index)
        if not no_outline(annotation.get("bbox")):
            self.crowds.append(box(annotation.get("bbox"), "xywh", where, self.size))
            self.crowd_classes.append(index)
        else:
            self.unplaced.add(index)

    def labels(self) -> np.ndarray:
        """Labels (K,): 1 present, 0 absent, NaN unknown."""
        labels = self.names.labels(0.0)
        unknown = self.incomplete if self.source.needs("masks") else self.incomplete - self.marked
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
        return self.names.classes(self.categories[_category(annotation, self.categories, where)], where)


def _category(annotation: Mapping[str, Any], categories: Collection[Any], where: str) -> int | str:
    """Id of an annotation's category. Raises DataError: there is no such category."""
    number = _same(annotation.get("category_id"))
    if number is None or number not in categories:
        found = f"category_id is {annotation.get('category_id')!r}"
        raise DataError(where, found, f"one of {list(categories)}", "correct it, or add the category to the file")
    return number


def _check_categories(source: Source, names: set[str]) -> None:
    """Raises DataError if the file has no category for a class: the class was not annotated at all."""
    for name, published in zip(source.classes, source.published, strict=True):
        if not names & set(published):
            found = f"there is no category {' or '.join(map(repr, published))} for the class {name}"
            raise DataError(f"{source.file} categories", found, nearest(published[0], names), "correct the card")


def _declared_size(image: Mapping[str, Any], where: str, any_aspect: bool) -> ReferenceSize | None:
    """Declared size of an image; None if the file does not give it. Raises DataError."""
    size = [image.get("width"), image.get("height")]
    if None in size or not any(size):
        return None
    width, height = map(round, numbers(size, 2, where))
    if min(width, height) < 1:
        raise DataError(where, f"width and height are {size}", "a size in pixels, or none", "fix the file")
    return ReferenceSize(height, width, any_aspect)


def _outlines(outlines: Any, index: int, where: str) -> list[MaskPart]:
    if isinstance(outlines, dict):
        return [MaskPart(index, runs=runs_from_coco(outlines, where))]
    if not isinstance(outlines, list):
        found = f"segmentation is {str(outlines)[:40]}"
        raise DataError(where, found, "polygons, or runs with size and counts", "fix the annotation")
    if outlines and all(isinstance(value, int | float) for value in outlines):  # one polygon without its list
        outlines = [outlines]
    return [MaskPart(index, polygon=polygon(points, where)) for points in outlines if not no_outline(points)]


def _bounds(part: MaskPart) -> list[float]:
    """The box x1 y1 x2 y2 around a part."""
    if part.runs is not None:
        return bounding_box(part.runs, part.runs.height or 0, part.runs.width or 0)
    assert part.polygon is not None
    return [*part.polygon.min(axis=0).tolist(), *part.polygon.max(axis=0).tolist()]


def _records(content: Mapping[str, Any], key: str, file: str) -> list[Mapping[str, Any]]:
    """The list of records under ``key``. Raises DataError."""
    records = content.get(key)
    if not isinstance(records, list) or not all(isinstance(item, dict) for item in records):
        raise DataError(
            f"{file} {key}", "is not a list of records", "the lists of the COCO format", "download it again"
        )
    return records


def _same(value: object) -> int | str | None:
    """An id in one form: 7 for 7, 7.0 and "7"; None if it is no id."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and str(value).isascii() and value.isdigit() and str(int(value[:20])) == value:
        return int(value)
    return value if isinstance(value, int | str) and not isinstance(value, bool) and value != "" else None


def _by_id(records: list[Mapping[str, Any]], file: str, what: str) -> dict[int | str, Mapping[str, Any]]:
    """Records by id. Raises DataError if one has none, or the id of another."""
    by_id: dict[int | str, Mapping[str, Any]] = {}
    for record in records:
        number = _same(record.get("id"))
        if number is None:
            found = f"a record has no id: {str(dict(record))[:80]}"
            raise DataError(file, found, "an id in each record", "fix the file")
        if number in by_id:
            raise _repeated(f"{file} {what} {number}")
        by_id[number] = record
    return by_id


def _by_image(
    records: list[Mapping[str, Any]], images: Mapping[int | str, Any], source: Source
) -> tuple[dict[int | str, list[Mapping[str, Any]]], dict[int | str, DataError]]:
    """Annotations by image, and the error of each image that has an annotation whose id is repeated.

    An annotation of an unlisted image is an error. An annotation may have no id.
    """
    groups: dict[int | str, list[Mapping[str, Any]]] = {}
    repeated: dict[int | str, DataError] = {}
    first: dict[int | str, int | str] = {}
    for record in records:
        where = f"{source.file} annotation {record.get('id')}"
        with source.guard(where, str(record.get("image_id"))):
            image, number = _same(record.get("image_id")), _same(record.get("id"))
            if image is None or image not in images:
                found = f"image_id is {record.get('image_id')!r}"
                raise DataError(where, found, "the id of a listed image", "correct it, or add the image to the file")
            groups.setdefault(image, []).append(record)
            if number is not None and number in first:
                repeated |= {image: _repeated(where), first[number]: _repeated(where)}
            elif number is not None:
                first[number] = image
    return groups, repeated


def _repeated(where: str) -> DataError:
    fix = "number the records anew, as a merge of two files needs, or remove one of the two"
    return DataError(where, "the id is repeated", "each id once", fix)
