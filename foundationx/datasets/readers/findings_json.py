"""JSON list of images, each with a list of findings that have labels and boxes (PadChest-GR)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field

from foundationx.core.errors import DataError
from foundationx.datasets.readers._geometry import box
from foundationx.datasets.readers._object_names import ObjectNames, OtherNames
from foundationx.datasets.readers._reference import SizedOptions
from foundationx.datasets.readers._source import Source

PROVIDES = frozenset({"labels", "boxes"})


class Options(OtherNames, SizedOptions):
    """Keys of an image and of its findings."""

    image_key: str = Field(description="key of the image's name")
    findings_key: str = Field(description="key of the image's list of findings")
    labels_key: str = Field(description="key of a finding's labels: a list, or one text")
    boxes_key: str = Field(description="key of a finding's boxes")
    present_key: str | None = Field(None, description="findings count if they have true here; null: all count")
    box_layout: Literal["xywh", "xyxy", "cxcywh"] = Field(
        description="xywh: corner and size, xyxy: two corners, cxcywh: centre and size"
    )
    absent: Literal["unknown", "negative"] = Field("unknown", description="meaning of a class that no finding is of")


def read(source: Source, options: Options) -> None:
    """Adds every image: classes that a finding is of are present, each with the boxes of the finding.

    A class that a finding names without a box is present but not marked: it is unknown to detection.

    Raises:
        DataError: Not such a JSON, a label that the card does not name, or an invalid box.
    """
    for number, record in enumerate(source.json_of(list, "a list with one object per image"), start=1):
        where = f"{source.file} record {number}"
        name = record.get(options.image_key) if isinstance(record, dict) else None
        with source.guard(where, str(name)):
            if not isinstance(name, str):
                raise DataError(where, f"{options.image_key} is {name!r}", "the name of an image", "fix the file")
            _add(source, options, name, record, where)


def _add(source: Source, options: Options, name: str, record: Mapping[str, Any], where: str) -> None:
    names = ObjectNames(source, options)
    boxes: list[list[float]] = []
    classes: list[int] = []
    unmarked: set[int] = set()
    size = options.reference(record, where)
    for finding in _list(record.get(options.findings_key), f"{where} {options.findings_key}"):
        if not isinstance(finding, dict):
            raise DataError(where, f"a finding is {str(finding)[:40]}", "an object", "fix the file")
        if options.present_key is not None and finding.get(options.present_key) is not True:
            continue
        given = finding.get(options.labels_key)
        labels = [given] if isinstance(given, str) else _list(given, f"{where} {options.labels_key}")
        corners = _list(finding.get(options.boxes_key), f"{where} {options.boxes_key}")
        marked = [box(values, options.box_layout, where, size) for values in corners]
        for index in sorted({index for label in labels for index in names.classes(str(label), where)}):
            boxes += marked
            classes += [index] * len(marked)
            if not marked:
                unmarked.add(index)
    values = names.labels(np.nan if options.absent == "unknown" else 0.0, searched=True)
    if source.needs("boxes"):
        values[sorted(unmarked)] = np.nan
    source.add(source.image(name, where, record), where, values, record, size, boxes=boxes, box_classes=classes)


def _list(value: object, where: str) -> list[Any]:
    """A list; nothing is an empty one. Raises DataError."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise DataError(where, f"is {str(value)[:40]}", "a list", "fix the file")
    return value
