"""A project of md.ai as it is exported: labels in groups, and one annotation per label or box of an image (RSNA)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field

from foundationx.core.errors import DataError, nearest
from foundationx.core.types import ReferenceSize
from foundationx.datasets.readers._geometry import box
from foundationx.datasets.readers._object_names import ObjectNames, OtherNames
from foundationx.datasets.readers._source import Source

PROVIDES = frozenset({"labels", "boxes"})

IMAGE = "SOPInstanceUID"
"""Key of an annotation that names its image; labels of a whole study or series lack it."""


class Options(OtherNames):
    """Which labels of the project count, and the meaning of an image without one of them."""

    label_group: str | None = Field(
        None,
        description="name of the group whose labels count, as that of the agreed labels; null: all groups",
        examples=["Calculated"],
    )
    absent: Literal["unknown", "negative"] = Field(
        "unknown", description="meaning of a class that no annotation of an image names"
    )


def read(source: Source, options: Options) -> None:
    """Adds every image with an annotation of the group; the columns of ``image_path`` are keys of the annotation.

    A class that is named without a box is present but not marked: it is unknown to detection. Boxes are in pixels of
    the size that the annotation gives.

    Raises:
        DataError: Not such a JSON, no such group, a label that is not in the project or that the card does not name, an
            annotation without an image, or one that is neither a label nor a box.
    """
    project = source.json_of(dict, "a project of md.ai: labelGroups and datasets")
    names, counted = _labels(source, options, project)
    images: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for where, annotation in _annotations(source, project):
        with source.guard(where, str(annotation.get(IMAGE))):
            label = annotation.get("labelId")
            if not isinstance(label, str) or label not in names:
                raise DataError(where, f"labelId is {label!r}", "a label of labelGroups", "download it again")
            if label in counted:
                images.setdefault(_image(annotation, where), []).append((where, annotation))
    for name, listed in images.items():
        with source.guard(listed[0][0], name):
            _add(source, options, name, listed, names)


def _labels(source: Source, options: Options, project: Mapping[str, Any]) -> tuple[dict[str, str], set[str]]:
    """The names of all labels by their identifiers, and the identifiers of those that count. Raises DataError."""
    names: dict[str, str] = {}
    groups: dict[str, set[str]] = {}
    for group in _list(project, "labelGroups", source.file):
        own = groups.setdefault(str(group.get("name")).strip(), set())
        for label in _list(group, "labels", f"{source.file} labelGroups"):
            identifier, name = label.get("id"), label.get("name")
            if not isinstance(identifier, str) or not isinstance(name, str):
                found = f"a label has the id {identifier!r} and the name {name!r}"
                raise DataError(f"{source.file} labelGroups", found, "two texts", "download it again")
            names[identifier] = name.strip()
            own.add(identifier)
    if options.label_group is None:
        return names, set(names)
    if options.label_group not in groups:
        found = f"there is no group of labels {options.label_group!r}"
        fix = "correct label_group in the card"
        raise DataError(f"{source.file} labelGroups", found, nearest(options.label_group, groups), fix)
    return names, groups[options.label_group]


def _annotations(source: Source, project: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Location and content of each annotation. Raises DataError."""
    for position, dataset in enumerate(_list(project, "datasets", source.file), start=1):
        inside = f"{source.file} dataset {position}"
        for number, annotation in enumerate(_list(dataset, "annotations", inside), start=1):
            yield f"{inside} annotation {number}", annotation


def _list(content: Mapping[str, Any], key: str, where: str) -> Sequence[Mapping[str, Any]]:
    """A list of objects under a key. Raises DataError."""
    value = content.get(key)
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise DataError(where, f"{key} is {str(value)[:40]}", "a list of objects", "download it again")
    return value


def _image(annotation: Mapping[str, Any], where: str) -> str:
    """The image of an annotation. Raises DataError if it is of a whole study or series."""
    name = annotation.get(IMAGE)
    if not isinstance(name, str) or not name:
        fix = "choose another label_group in the card, or remove the annotation"
        raise DataError(where, f"{IMAGE} is {name!r}", "a label of an image, not of a study", fix)
    return name


def _add(
    source: Source,
    options: Options,
    name: str,
    annotations: Sequence[tuple[str, Mapping[str, Any]]],
    names: Mapping[str, str],
) -> None:
    first, cells = annotations[0]
    found = ObjectNames(source, options)
    boxes: list[list[float]] = []
    classes: list[int] = []
    named: set[int] = set()
    sizes = {_size(annotation, where) for where, annotation in annotations} - {None}
    if len(sizes) > 1:
        raise DataError(first, f"annotations of {name} are in several sizes", "one size per image", "download it again")
    size = next(iter(sizes), None)
    for where, annotation in annotations:
        drawn = _box(annotation.get("data"), where, size)
        for index in found.classes(names[annotation["labelId"]], where):
            named.add(index)
            boxes += drawn
            classes += [index] * len(drawn)
    labels = found.labels(np.nan if options.absent == "unknown" else 0.0, searched=True)
    if source.needs("boxes"):
        labels[sorted(named - set(classes))] = np.nan
    image = source.image(name, first, cells)
    source.add(image, first, labels, cells, size, boxes=boxes, box_classes=classes)


def _size(annotation: Mapping[str, Any], where: str) -> ReferenceSize | None:
    """The size in whose pixels an annotation is; None if it gives none. Raises DataError."""
    height, width = annotation.get("height"), annotation.get("width")
    if height is None and width is None:
        return None
    if not (type(height) is type(width) is int) or min(height, width) <= 0:
        raise DataError(where, f"height and width are {height!r} and {width!r}", "pixels", "download it again")
    return ReferenceSize(height, width)


def _box(data: Any, where: str, size: ReferenceSize | None) -> list[list[float]]:
    """The box of an annotation in a list; an empty one for a label of the whole image. Raises DataError."""
    if data is None:
        return []
    if not isinstance(data, dict) or not {"x", "y", "width", "height"} <= data.keys():
        raise DataError(where, f"data is {str(data)[:60]}", "null, or x, y, width and height", "correct label_group")
    return [box([data["x"], data["y"], data["width"], data["height"]], "xywh", where, size)]
