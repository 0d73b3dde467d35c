"""JSON with one object per image: ``{IMAGE: {CLASS: outlines}}``, as polygons or run-length masks (CheXlocalize)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from foundationx.core.errors import DataError
from foundationx.core.types import MaskPart, ReferenceSize
from foundationx.datasets.readers._geometry import no_outline, numbers, polygon
from foundationx.datasets.readers._object_names import ObjectNames, OtherNames
from foundationx.datasets.readers._runs import bounding_box, runs_from_coco
from foundationx.datasets.readers._source import Source

PROVIDES = frozenset({"labels", "boxes", "masks"})


class Options(OtherNames):
    """How a key names an image, and the meaning of a class without outlines."""

    key_separator: str = Field("", description="what stands in a key in place of the / between folders, e.g. _")
    key_folders: int = Field(0, ge=0, description="number of folders in front of the image's name in a key")
    size_key: str | None = Field(None, description="key of height and width of the image; null: there is none")
    absent: Literal["unknown", "negative"] = Field(
        "unknown", description="meaning of a class that a listed image has no outlines of"
    )

    @model_validator(mode="after")
    def _folders_have_a_separator(self) -> Options:
        if bool(self.key_separator) != bool(self.key_folders):
            raise ValueError("key_separator and key_folders must be given together")
        return self


def read(source: Source, options: Options) -> None:
    """Adds every image of the file: a class with outlines is present. A run-length mask without pixels says absent.

    A class holds one list of polygons, or one run-length mask of COCO; each is one object, with its bounds as box.

    Raises:
        DataError: Not such a JSON, a key that is neither a class nor named by the options, or an invalid outline.
    """
    for key, record in source.json_of(dict, "an object with one object per image").items():
        where = f"{source.file} image {key}"
        with source.guard(where, key):
            if not isinstance(record, dict):
                raise DataError(where, f"holds {str(record)[:40]}", "an object of classes", "download it again")
            _add(source, options, key, record, where)


def _add(source: Source, options: Options, key: str, record: Mapping[str, Any], where: str) -> None:
    names = ObjectNames(source, options)
    boxes: list[list[float]] = []
    masks: list[MaskPart] = []
    empty: set[int] = set()
    for published, outlines in record.items():
        if published == options.size_key or no_outline(outlines):
            continue
        parts = list(_parts(outlines, f"{where} {published}"))
        if not parts:
            empty.update(source.class_indices(published, where, (*options.ignore, *options.other)))
            continue
        for index in names.classes(published, where):
            masks += [MaskPart(index, polygon=part.polygon, runs=part.runs) for part in parts]
            boxes += map(_box, parts)
    labels = names.labels(np.nan if options.absent == "unknown" else 0.0, searched=bool(empty))
    labels[[index for index in sorted(empty) if labels[index] != 1]] = 0.0
    image = source.image(_name(key, options), where)
    classes = [part.class_index for part in masks]
    source.add(image, where, labels, {}, _size(record, options, where), boxes=boxes, box_classes=classes, masks=masks)


def _name(key: str, options: Options) -> str:
    """The image's name: the first separators of a key stand for folders."""
    return "/".join(key.split(options.key_separator, options.key_folders)) if options.key_separator else key


def _parts(outlines: Any, where: str) -> Iterator[MaskPart]:
    """The objects of one class, of class 0; none if a run-length mask has no pixels. Raises DataError."""
    if isinstance(outlines, dict):
        runs = runs_from_coco(outlines, where)
        if len(runs.lengths):
            yield MaskPart(0, runs=runs)
    elif isinstance(outlines, list):
        for points in outlines:
            yield MaskPart(0, polygon=polygon(points, where))
    else:
        raise DataError(where, f"holds {str(outlines)[:40]}", "polygons, or runs with size and counts", "fix the file")


def _box(part: MaskPart) -> list[float]:
    """The bounds of one object."""
    if part.polygon is not None:
        return [*part.polygon.min(axis=0).tolist(), *part.polygon.max(axis=0).tolist()]
    assert part.runs is not None and part.runs.height is not None and part.runs.width is not None  # a COCO mask
    return bounding_box(part.runs, part.runs.height, part.runs.width)


def _size(record: Mapping[str, Any], options: Options, where: str) -> ReferenceSize | None:
    """The size of the image that the file gives. Raises DataError."""
    if options.size_key is None:
        return None
    height, width = map(round, numbers(record.get(options.size_key), 2, f"{where} {options.size_key}"))
    return ReferenceSize(height, width)
