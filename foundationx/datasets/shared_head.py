"""Labels of all datasets in one list of classes, for one head (ablation of Ark: ``ark.md`` section 1, SingleHead).

The released ablation has a list merged by hand, in which some of the datasets' own names are missing. Here the cards
name the concepts: classes that are exactly one concept of the vocabulary, of one polarity, are one class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from foundationx.core.types import Annotations, TaskKey
from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.cards.tasks import ClassSpec


def shared_classes(annotations: Mapping[TaskKey, Annotations], catalog: Catalog) -> dict[TaskKey, Annotations]:
    """The tables, those of classification with the union of all their classes, in order of appearance.

    What a dataset does not annotate is unknown there.
    """
    tables = {key: table for key, table in annotations.items() if key.task.facts.shares_head}
    names = {key: _names(key, table, catalog) for key, table in tables.items()}
    union = tuple(dict.fromkeys(name for own in names.values() for name in own))
    pooled = {
        key: replace(table, classes=union, labels=gather(table.labels, names[key], union))
        for key, table in tables.items()
    }
    return {key: pooled.get(key, table) for key, table in annotations.items()}


def shared_name(dataset: str, item: ClassSpec) -> str:
    """Name of a class in the union: its concept's, or its own with its dataset's where it is not exactly a concept."""
    if item.canonical is None or item.relation != "exact":
        return f"{dataset}: {item.name}"
    return item.canonical if item.polarity == "presence" else f"no {item.canonical}"


def gather(labels: np.ndarray, names: tuple[str, ...], union: tuple[str, ...]) -> np.ndarray:
    """(N, K) labels of classes ``names`` to (N, U), by name; NaN where the dataset has no such class.

    Where several of a dataset's classes are one of the union it is as positive as the most positive one; it is negative
    only where all of them are known.
    """
    gathered = np.full((len(labels), len(union)), np.nan, dtype=np.float32)
    for place, name in enumerate(union):
        own = labels[:, [column for column, other in enumerate(names) if other == name]]
        if own.shape[1]:
            highest = np.where(np.isnan(own), -np.inf, own).max(axis=1)
            settled = (highest >= 0.5) | ~np.isnan(own).any(axis=1)
            gathered[settled, place] = highest[settled]
    return gathered


def _names(key: TaskKey, table: Annotations, catalog: Catalog) -> tuple[str, ...]:
    """Names in the union of the table's classes, in its order."""
    items = {item.name: item for item in catalog.card(key.dataset).tasks[key.task].classes}
    return tuple(shared_name(key.dataset, items[name]) for name in table.classes)
