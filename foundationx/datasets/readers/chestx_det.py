"""ChestX-Det JSON: one record per image, with lists ``syms``, ``boxes`` (x1 y1 x2 y2) and ``polygons``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from foundationx.core.errors import DataError
from foundationx.core.types import MaskPart
from foundationx.datasets.readers._geometry import box, no_outline, polygon
from foundationx.datasets.readers._object_names import ObjectNames, OtherNames
from foundationx.datasets.readers._reference import SizedOptions
from foundationx.datasets.readers._source import Source

PROVIDES = frozenset({"labels", "boxes", "masks"})
LISTS = ("syms", "boxes", "polygons")


class Options(OtherNames, SizedOptions):
    """Findings that are not classes."""


def read(source: Source, options: Options) -> None:
    """Adds every record. All images were annotated for all classes: what is not marked is absent.

    In an image with nothing but ignored findings every class is unknown. In segmentation, a class with a finding
    without polygon is unknown but for its outlined pixels.

    Raises:
        DataError: Not such a JSON, lists of different lengths, an unknown finding, an invalid box or polygon.
    """
    file, records = source.file, source.json()
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise DataError(
            file, "is not a list of records", "records of file_name, syms, boxes, polygons", "download it again"
        )
    for number, record in enumerate(records, start=1):
        name = str(record.get("file_name") or "")
        where = f"{file} record {number}"
        with source.guard(where, name):
            _add(source, options, record, name, where)


def _add(source: Source, options: Options, record: Mapping[str, Any], name: str, where: str) -> None:
    path = source.image(name, where, record)
    size = options.reference(record, where)
    boxes, box_classes, masks, incomplete = [], [], [], set[int]()
    names = ObjectNames(source, options)
    for item, (published, corners, points) in enumerate(_findings(record, where), start=1):
        location = f"{where} finding {item}"
        for index in names.classes(str(published), location):
            boxes.append(box(corners, "xyxy", location, size))
            box_classes.append(index)
            if source.needs("masks") and no_outline(points):
                incomplete.add(index)
            elif source.needs("masks"):
                masks.append(MaskPart(index, polygon=polygon(points, location)))
    labels = names.labels(0.0)
    labels[sorted(incomplete)] = np.nan
    source.add(path, where, labels, record, size, boxes=boxes, box_classes=box_classes, masks=masks)


def _findings(record: Mapping[str, Any], where: str) -> list[tuple[Any, Any, Any]]:
    """Finding, box and polygon of each item. Raises DataError if the lists differ in length."""
    lengths = {key: len(record[key]) if isinstance(record.get(key), list) else "missing" for key in LISTS}
    if "missing" in lengths.values() or len(set(lengths.values())) != 1:
        found = f"lists of different lengths: {', '.join(f'{key} {length}' for key, length in lengths.items())}"
        raise DataError(where, found, "one box and one polygon per finding", "fix the record")
    return list(zip(*(record[key] for key in LISTS), strict=True))
