"""Annotations of all selected datasets in one form: ``annotations-{task}.jsonl`` of Project Imaging-X.

One object per image and task, in four blocks: ``record`` (dataset and image, the key across tasks), ``context``
(patient, age, sex, modality, anatomy), ``media_geometry`` (task, kind of annotation, size, classes of left and right)
and ``tasks`` (labels, boxes, masks). A class that is present is 1, an absent one 0, an unknown one null; soft labels
lie between.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foundationx.core.atomic_write import replacing
from foundationx.core.errors import DataError
from foundationx.core.strict_json import read_json, to_json
from foundationx.core.types import Annotations, ReferenceSize, Split, Task, TaskKey
from foundationx.datasets.annotations import read_annotations
from foundationx.datasets.attributes import read_attributes
from foundationx.datasets.cards.card import Card
from foundationx.datasets.fusion.blueprint import Entry
from foundationx.datasets.location import dataset_folder

VARIANT = "image-1"
"""Version of the payload: labels by class name, and the objects of the task."""


def write_annotations(entries: Iterable[Entry], data_root: Path, folder: Path) -> dict[str, int]:
    """Writes one file per task with the annotations of all entries.

    Images that cannot be used are left out, as in training with ``on_bad_sample="skip"``.

    Args:
        entries: Selected datasets with their tasks.
        data_root: Folder of all datasets.
        folder: Output folder.

    Returns:
        Number of objects by file name.

    Raises:
        CardError: A reader or option is wrong.
        DataError: A file is missing or cannot be read.
    """
    cards: dict[Task, list[Card]] = {}
    for entry in entries:
        for task in entry.tasks:
            if entry.card is not None and task in entry.card.tasks:
                cards.setdefault(task, []).append(entry.card)
    counts = {}
    for task, own in cards.items():
        path, count = folder / f"annotations-{task.value}.jsonl", 0
        with replacing(path) as part, part.open("w", encoding="utf-8") as file:
            for card in own:
                for row in rows_of(card, task, data_root):
                    file.write(to_json(row, ascii_only=False) + "\n")
                    count += 1
        counts[path.name] = count
    return counts


def rows_of(card: Card, task: Task, data_root: Path) -> Iterator[dict[str, Any]]:
    """The objects of one task of a dataset, in the order of its files. Raises CardError or DataError."""
    table = read_annotations(card, task, data_root, on_bad_sample="skip")
    attributes = _attributes(card, data_root, table.images)
    survey, facts = card.survey, task.facts
    geometry = {
        "task_type": task.value,
        "leaf_task": str(table.key),
        "annotation_type": facts.noun,
        "dimension": survey.dimension,
        "mirror_pairs": [list(pair) for pair in table.mirror_pairs],
        "sided_classes": list(table.sided),
    }
    context = {"site": None, "modality": survey.modality, "anatomy": list(survey.anatomy)}
    for index, image in enumerate(table.images):
        own = {name: values[index] or None for name, values in attributes.items()}
        extra = {"card": card.name, "row": table.rows[index], "official_split": _split_name(table.splits[index])}
        who = {"subject_id": table.patients[index], "age": own.pop("age", None), "sex": own.pop("sex", None)}
        payload = facts.payload(table.targets[index], table.classes) if facts.has_targets else {}
        yield {
            "record": {"dataset_name": card.title, "image_path": f"{card.root}/{image}", "sample_id": image},
            "context": who | context | {"extra": extra | own},
            "media_geometry": geometry | _size(table.sizes.get(image)),
            "tasks": {
                survey.dimension or "2D": {
                    "schema_variant": VARIANT,
                    "class_labels": _labels(table.classes, table.labels[index]),
                    **payload,
                }
            },
        }


def read_rows(path: Path, task: Task) -> dict[str, Annotations]:
    """The annotations in a file of :func:`write_annotations`, by card.

    Raises:
        DataError: A line is no such object, or the classes of a dataset differ from line to line.
    """
    lines: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        where = f"{path.name} line {number}"
        try:
            row = read_json(line)
            lines.setdefault(row["context"]["extra"]["card"], []).append((where, row))
        except (ValueError, KeyError, TypeError):
            raise DataError(where, "is no object of annotations", "the four blocks", "write the file anew") from None
    return {name: _table(name, rows, task) for name, rows in lines.items()}


def _table(name: str, rows: Sequence[tuple[str, Mapping[str, Any]]], task: Task) -> Annotations:
    facts, classes = task.facts, None
    labels, targets, sizes = [], [], {}
    for where, row in rows:
        try:
            (payload,) = row["tasks"].values()
            given = payload["class_labels"]
            classes = classes or tuple(given)
            if tuple(given) != classes:
                raise ValueError(f"has the classes {', '.join(given)}, others have {', '.join(classes)}")
            labels.append([math.nan if value is None else float(value) for value in given.values()])
            targets += [facts.annotation(facts.parts_of(payload, classes))] if facts.has_targets else []
            if (size := row["media_geometry"]["height"]) is not None:
                any_aspect = row["media_geometry"]["any_aspect"]
                sizes[row["record"]["sample_id"]] = ReferenceSize(size, row["media_geometry"]["width"], any_aspect)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                where, f"cannot be read: {error}", "an object of annotations", "write the file anew"
            ) from None
    contexts = [row["context"] for _, row in rows]
    pairs, sided = _sides(name, rows[0], classes or ())
    splits = [context["extra"]["official_split"] for context in contexts]
    return Annotations(
        key=TaskKey(name, task),
        classes=classes or (),
        images=[row["record"]["sample_id"] for _, row in rows],
        patients=[context["subject_id"] for context in contexts],
        rows=[context["extra"]["row"] for context in contexts],
        labels=np.array(labels, dtype=np.float32),
        splits=[None if split is None else Split(split) for split in splits],
        targets=targets,
        sizes=sizes,
        sided=sided,
        mirror_pairs=pairs,
    )


def _sides(
    name: str, row: tuple[str, Mapping[str, Any]], classes: Sequence[str]
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Classes that change places in a flipped image, and all classes of one side, of a dataset's first object.

    Raises:
        DataError: They are missing, or name what is no class.
    """
    where, geometry = row[0], row[1]["media_geometry"]
    try:
        pairs = tuple((str(one), str(other)) for one, other in geometry["mirror_pairs"])
        sided = tuple(map(str, geometry["sided_classes"]))
    except (KeyError, TypeError, ValueError):
        found = f"says nothing of the sides of {name}"
        raise DataError(where, found, "mirror_pairs and sided_classes", "write the file anew") from None
    if unknown := {*sided, *(one for pair in pairs for one in pair)} - set(classes):
        found = f"names the side {min(unknown)!r}, which is no class of {name}"
        raise DataError(where, found, "classes of the dataset", "write the file anew")
    return pairs, sided


def _labels(classes: Sequence[str], labels: np.ndarray) -> dict[str, float | int | None]:
    values = [None if math.isnan(value) else value for value in labels.tolist()]
    return {
        name: int(value) if value in (0.0, 1.0) and value is not None else value
        for name, value in zip(classes, values, strict=True)
    }


def _size(size: ReferenceSize | None) -> dict[str, Any]:
    """Size in whose pixels the coordinates are, if the files name it."""
    if size is None:
        return {"height": None, "width": None}
    return {"height": size.height, "width": size.width, "any_aspect": size.any_aspect}


def _split_name(split: Split | None) -> str | None:
    return None if split is None else split.value


def _attributes(card: Card, data_root: Path, images: Sequence[str]) -> dict[str, list[str]]:
    """Age, sex and view of each image; empty if the card names no table, or it is not there."""
    if card.attributes is None:
        return {}
    try:
        return read_attributes(card, dataset_folder(card, data_root), images)
    except DataError:
        return {}
