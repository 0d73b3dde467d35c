"""ChestX-Det JSON: one record an image with lists ``syms``, ``boxes`` (x1 y1 x2 y2) and ``polygons``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from foundationx.core.errors import DataError
from foundationx.core.types import MaskPart
from foundationx.datasets.readers._geometry import box, polygon
from foundationx.datasets.readers._source import ReaderOptions, Source

GIVES = frozenset({"labels", "boxes", "masks"})
LISTS = ("syms", "boxes", "polygons")


class Options(ReaderOptions):
    """Findings that are not classes."""

    ignore: tuple[str, ...] = Field((), description="findings that say nothing about the classes")


def read(source: Source, options: Options) -> None:
    """Adds every record. All classes were looked for in every image: what is not marked is absent.

    Raises:
        DataError: not such a JSON, lists of different lengths, an unknown finding, a faulty box or polygon.
    """
    file, records = source.file, source.json()
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise DataError(file, "is no list of records", "records of file_name, syms, boxes, polygons", "check the file")
    for number, record in enumerate(records, start=1):
        name = str(record.get("file_name") or "")
        where = f"{file} record {number}"
        with source.guard(where, name):
            _add(source, options, record, name, where)


def _add(source: Source, options: Options, record: Mapping[str, Any], name: str, where: str) -> None:
    path = source.image(name, where, record)
    labels = source.labels(0.0)
    boxes, box_classes, masks = [], [], []
    for item, (published, corners, points) in enumerate(_findings(record, where), start=1):
        finding = str(published)
        place = f"{where} finding {item}"
        if finding in options.ignore:
            continue
        index = source.class_index(finding, place, options.ignore)
        labels[index] = 1.0
        boxes.append(box(corners, "xyxy", place))
        box_classes.append(index)
        if source.wants("masks"):
            masks.append(MaskPart(index, polygon=polygon(points, place)))
    source.add(path, where, labels, record, boxes=boxes, box_classes=box_classes, masks=masks)


def _findings(record: Mapping[str, Any], where: str) -> list[tuple[Any, Any, Any]]:
    """Finding, box and polygon, item by item. Raises DataError where the lists do not match."""
    lists = [record.get(key) for key in LISTS]
    if not all(isinstance(values, list) for values in lists) or len({len(values) for values in lists}) != 1:
        lengths = ", ".join(
            f"{key} {len(values) if isinstance(values, list) else 'missing'}"
            for key, values in zip(LISTS, lists, strict=True)
        )
        raise DataError(where, f"lists of different lengths: {lengths}", "one box and polygon a finding", "fix it")
    return list(zip(*lists, strict=True))
