"""From the images of a run to pairs that are one patient, one file, one picture."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from pathlib import Path

from foundationx.core.types import Split
from foundationx.curation.audit.fingerprint import Fingerprint
from foundationx.curation.audit.search import candidates
from foundationx.curation.audit.verify import SAME, similarity

HELD_OUT = (Split.TEST, Split.VAL)
"""Sides that no training image may share an image with, the stricter first."""


class Kind(StrEnum):
    """What a pair shares, the strongest first."""

    EXACT = "exact"
    PIXELS = "pixels"
    PERCEPTUAL = "perceptual"
    PATIENT = "patient"


@dataclass(frozen=True, slots=True)
class Item:
    """An image of a dataset, whatever tasks use it.

    Attributes:
        dataset: name of the card.
        image: as the annotations name it.
        patient: with its namespace.
        split: side it is on.
        path: of the file.
    """

    dataset: str
    image: str
    patient: str
    split: Split
    path: Path


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images, or two groups of images of one patient of which these are the first.

    ``score`` is the correlation of detail for ``perceptual``, 1 for the other kinds.
    """

    kind: Kind
    first: Item
    second: Item
    score: float = 1.0

    @property
    def crosses(self) -> bool:
        """Whether one is trained on and the other is held out."""
        sides = {self.first.split, self.second.split}
        return Split.TRAIN in sides and len(sides) > 1


def patient_pairs(items: Sequence[Item]) -> list[Pair]:
    """One pair for every patient and every two places (dataset and side) in which the patient stands."""
    places: dict[str, dict[tuple[str, Split], Item]] = defaultdict(dict)
    for item in items:
        places[item.patient].setdefault((item.dataset, item.split), item)
    return [
        Pair(Kind.PATIENT, first, second)
        for patient in sorted(places)
        for first, second in combinations(places[patient].values(), 2)
    ]


def image_pairs(
    items: Sequence[Item],
    prints: Sequence[Fingerprint | None],
    searched: Callable[[int], None] = lambda count: None,
    compared: Callable[[int, int], None] = lambda count, total: None,
) -> list[Pair]:
    """Pairs of images that are one file, have the same pixels, or show one picture.

    Images with the same pixels are one group; only the first of each group is searched for. Of a group every image is
    paired with the first one in every place (dataset and side), so that each image's worst company is always found and
    a thousand equal images give no million pairs.

    Args:
        items: images.
        prints: their fingerprints; None leaves an image out.
        searched: told of every few images whose neighbours are known.
        compared: told of every few candidate pairs that were compared, and of their number.

    Returns:
        Pairs, each once, exact before pixels before perceptual, perceptual ones by falling score.
    """
    groups: dict[bytes, list[int]] = defaultdict(list)
    for index, value in enumerate(prints):
        if value is not None:
            groups[value.pixels].append(index)
    found = _Pairs(items, prints)
    for group in groups.values():
        found.add(group, group, 1.0)
    distinct = [group for group in groups.values() if not prints[group[0]].blank]
    thumbnails = [prints[group[0]].thumbnail for group in distinct]
    likely = candidates(thumbnails, searched)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        scores = pool.map(lambda pair: similarity(thumbnails[pair[0]], thumbnails[pair[1]]), likely)
        for (i, j), score in zip(likely, scores, strict=True):
            compared(1, len(likely))
            if score >= SAME:
                found.add(distinct[i], distinct[j], score)
    order = list(Kind)
    return sorted(found.pairs.values(), key=lambda pair: (order.index(pair.kind), -pair.score))


class _Pairs:
    """Collects pairs, each once."""

    def __init__(self, items: Sequence[Item], prints: Sequence[Fingerprint | None]):
        self.items, self.prints = items, prints
        self.pairs: dict[tuple[int, int], Pair] = {}

    def add(self, group: Sequence[int], other: Sequence[int], score: float) -> None:
        """Every image of each group with the first image of the other in every place."""
        for images, firsts in ((group, self._firsts(other)), (other, self._firsts(group))):
            for i in images:
                for j in firsts:
                    if i != j:
                        key = (min(i, j), max(i, j))
                        self.pairs.setdefault(key, self._pair(*key, score))

    def _firsts(self, group: Iterable[int]) -> list[int]:
        """The first image of the group in every place."""
        places: dict[tuple[str, Split], int] = {}
        for index in group:
            places.setdefault((self.items[index].dataset, self.items[index].split), index)
        return list(places.values())

    def _pair(self, i: int, j: int, score: float) -> Pair:
        first, second = self.prints[i], self.prints[j]
        if first.content == second.content:
            kind = Kind.EXACT
        elif first.pixels == second.pixels:
            kind = Kind.PIXELS
        else:
            kind = Kind.PERCEPTUAL
        return Pair(kind, self.items[i], self.items[j], round(score, 4))
