"""Labels of all datasets with one common list of classes, for one shared head (the single-head ablation of Ark).

The released ablation merges the classes by hand, and some names of the datasets are missing. Here the cards decide:
classes with the relation ``exact`` to one concept of the vocabulary and with the same polarity become one class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from foundationx.core.types import Annotations, TaskKey
from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.cards.tasks import ClassSpec


def shared_classes(annotations: Mapping[TaskKey, Annotations], catalog: Catalog) -> dict[TaskKey, Annotations]:
    """Gives all classification tables the union of their classes, in order of appearance; others stay unchanged.

    Classes that a dataset does not annotate are unknown.
    """
    tables = {key: table for key, table in annotations.items() if key.task.facts.shares_head}
    names = {key: _names(key, table, catalog) for key, table in tables.items()}
    union = tuple(dict.fromkeys(name for own in names.values() for name in own))
    pairs = tuple(dict.fromkeys(pair for key, table in tables.items() for pair in _pairs(table, names[key])))
    pooled = {
        key: replace(table, classes=union, labels=gather(table.labels, names[key], union), mirror_pairs=pairs)
        for key, table in tables.items()
    }
    return {key: pooled.get(key, table) for key, table in annotations.items()}


def shared_name(dataset: str, item: ClassSpec) -> str:
    """Name of a class in the union: that of its concept, or ``dataset: name`` if it is not exactly a concept."""
    if item.canonical is None or item.relation != "exact":
        return f"{dataset}: {item.name}"
    return item.canonical if item.polarity == "presence" else f"no {item.canonical}"


def gather(labels: np.ndarray, names: tuple[str, ...], union: tuple[str, ...]) -> np.ndarray:
    """Labels (N, K) of the classes ``names`` as labels (N, U) of the union; NaN if the dataset has no such class.

    If several classes become one, its label is the maximum of theirs; it is negative only if all of them are known.
    """
    gathered = np.full((len(labels), len(union)), np.nan, dtype=np.float32)
    for index, name in enumerate(union):
        own = labels[:, [column for column, other in enumerate(names) if other == name]]
        if own.shape[1]:
            highest = np.where(np.isnan(own), -np.inf, own).max(axis=1)
            known = (highest >= 0.5) | ~np.isnan(own).any(axis=1)
            gathered[known, index] = highest[known]
    return gathered


def _names(key: TaskKey, table: Annotations, catalog: Catalog) -> tuple[str, ...]:
    """Names of the table's classes in the union, in the order of the table."""
    items = {item.name: item for item in catalog.card(key.dataset).tasks[key.task].classes}
    return tuple(shared_name(key.dataset, items[name]) for name in table.classes)


def _pairs(table: Annotations, names: tuple[str, ...]) -> list[tuple[str, str]]:
    """The table's pairs of sides by their names in the union, each in alphabetical order."""
    name_of = dict(zip(table.classes, names, strict=True))
    return [(first, second) for pair in table.mirror_pairs for first, second in [sorted(name_of[one] for one in pair)]]
