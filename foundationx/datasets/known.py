"""What a dataset's annotations say of the classes of another one: known present, known absent, or unknown.

Concepts of the vocabulary, relations and polarities of the cards decide. A class that is a kind of a concept shows that
the concept is present; a class that includes more shows that it is absent. Presence holds for all broader concepts,
absence for all narrower ones: an image without lung opacity has no consolidation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from foundationx.core.arrays import AnyArray
from foundationx.core.types import Annotations
from foundationx.datasets.cards.tasks import ClassSpec
from foundationx.datasets.cards.vocabulary import Vocabulary

POSITIVE = 0.5
"""Soft labels from here on count as present."""


def says_something(spec: ClassSpec, other: ClassSpec, vocabulary: Vocabulary) -> bool:
    """Whether a label of class ``other`` can make class ``spec`` known."""
    return any(implied is not None for implied in _implications(spec, other, vocabulary))


def known_labels_of(
    spec: ClassSpec,
    sources: Iterable[tuple[Annotations, Sequence[ClassSpec]]],
    images: Sequence[str],
    vocabulary: Vocabulary,
) -> AnyArray:
    """Labels (n,) of a class in images of another dataset: 1 present, 0 absent, NaN unknown or contradictory.

    Args:
        spec: The class.
        sources: The other dataset's tables, each with the classes of its columns.
        images: Images of the other dataset; those that a table does not list are unknown.
        vocabulary: Concepts.
    """
    present: AnyArray = np.zeros(len(images), dtype=bool)
    absent = present.copy()
    for table, specs in sources:
        row_of = {image: row for row, image in enumerate(table.images)}
        rows = np.array([row_of.get(image, -1) for image in images], dtype=np.int64)
        for column, other in enumerate(specs):
            if_present, if_absent = _implications(spec, other, vocabulary)
            if if_present is None and if_absent is None:
                continue
            labels = np.where(rows >= 0, table.labels[rows, column], np.nan)
            for holds, implied in ((labels >= POSITIVE, if_present), (labels < POSITIVE, if_absent)):
                if implied is not None:
                    present, absent = present | (holds & (implied == 1)), absent | (holds & (implied == 0))
    known = np.full(len(images), np.nan, dtype=np.float32)
    known[present & ~absent], known[absent & ~present] = 1.0, 0.0
    return known


def _implications(spec: ClassSpec, other: ClassSpec, vocabulary: Vocabulary) -> tuple[int | None, int | None]:
    """What a positive and what a negative label of ``other`` say of ``spec``: 1 positive, 0 negative, None nothing."""
    if spec.canonical is None or other.canonical is None or "related" in (spec.relation, other.relation):
        return None, None
    if spec.canonical not in vocabulary or other.canonical not in vocabulary:
        return None, None
    shows = other.relation != "broader" and vocabulary.within(other.canonical, spec.canonical)
    excludes = other.relation != "narrower" and vocabulary.within(spec.canonical, other.canonical)
    if_there = 1 if shows and spec.relation != "narrower" else None
    if_gone = 0 if excludes and spec.relation != "broader" else None
    if spec.polarity == "absence":
        if_there, if_gone = (None if side is None else 1 - side for side in (if_there, if_gone))
    return (if_gone, if_there) if other.polarity == "absence" else (if_there, if_gone)
