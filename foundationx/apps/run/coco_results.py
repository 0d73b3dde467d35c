"""Predicted boxes and points of many images in COCO's form, as other tools and the ``coco`` reader take them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from foundationx.core.geometry.point_groups import Group, groups_of

Result = tuple[str, Mapping[str, Any]]
"""Name of an image, and what its JSON file holds."""

FOUND, NOT_FOUND = 2, 0
"""COCO's flags of a point."""


def coco_boxes(results: Iterable[Result]) -> dict[str, Any] | None:
    """Boxes of all images; None if no head finds boxes."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    categories: dict[tuple[str, str], int] = {}
    found = False
    for index, (name, values) in enumerate(results, start=1):
        images.append({"id": index, "file_name": name})
        for head, findings in values["heads"].items():
            found |= head.endswith("/detection")
            for row in findings if isinstance(findings, list) else ():
                if "box" not in row:
                    continue
                label = categories.setdefault((head, row["class"]), len(categories) + 1)
                annotations.append(_annotation(annotations, index, label, row["box"], row["score"]))
    kinds = [{"id": id, "name": name, "supercategory": head} for (head, name), id in categories.items()]
    return {"images": images, "annotations": annotations, "categories": kinds} if found else None


def coco_keypoints(results: Iterable[Result], classes: Mapping[str, Sequence[str]]) -> dict[str, Any] | None:
    """Points of all images; None if no head finds points.

    A group of points is a category, and an object in every image in which one of them was found. Its score is the mean
    of the found ones, its box theirs.

    Args:
        results: Of all images.
        classes: Names of the classes of each head.
    """
    heads = {head: groups_of(names) for head, names in classes.items() if head.endswith("/keypoints")}
    categories = [_category(head, classes[head], group) for head, groups in heads.items() for group in groups]
    for number, category in enumerate(categories, start=1):
        category["id"] = number
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, (name, values) in enumerate(results, start=1):
        images.append({"id": index, "file_name": name})
        label = 0
        for head, groups in heads.items():
            rows = {row["class"]: row for row in values["heads"].get(head, ())}
            for group in groups:
                label += 1
                own = [rows.get(classes[head][k]) for k in group.indices]
                if any(own):
                    annotations.append(_object(annotations, index, label, own))
    return {"images": images, "annotations": annotations, "categories": categories} if heads else None


def _category(head: str, classes: Sequence[str], group: Group) -> dict[str, Any]:
    """A group of points; numbered ones are joined to their neighbours."""
    names = [classes[k].rpartition("/")[2] for k in group.indices]
    joined = [[number, number + 1] for number in range(1, len(names))] if group.is_line else []
    return {"name": group.name, "supercategory": head, "keypoints": names, "skeleton": joined}


def _object(before: Sequence[Any], image: int, label: int, rows: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
    """The points of a group in one image."""
    found = [row for row in rows if row is not None]
    across, down = zip(*(row["point"] for row in found), strict=True)
    box = (min(across), min(down), max(across), max(down))
    score = round(sum(row["score"] for row in found) / len(found), 4)
    flat = [value for row in rows for value in ((*row["point"], FOUND) if row else (0, 0, NOT_FOUND))]
    return _annotation(before, image, label, box, score) | {"keypoints": flat, "num_keypoints": len(found)}


def _annotation(before: Sequence[Any], image: int, label: int, box: Sequence[float], score: float) -> dict[str, Any]:
    """The common part of an object; ``box`` is x1 y1 x2 y2."""
    x1, y1, x2, y2 = box
    return {
        "id": len(before) + 1,
        "image_id": image,
        "category_id": label,
        "bbox": [x1, y1, round(x2 - x1, 1), round(y2 - y1, 1)],
        "area": round((x2 - x1) * (y2 - y1), 2),
        "iscrowd": 0,
        "score": score,
    }
