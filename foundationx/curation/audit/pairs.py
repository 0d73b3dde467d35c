"""From the images of a run to pairs that are one patient, one file, one picture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from pathlib import Path

import numpy as np

from foundationx.core.device import usable_cores
from foundationx.core.types import Split
from foundationx.curation.audit.fingerprint import Fingerprint
from foundationx.curation.audit.search import Candidate, candidates, turned
from foundationx.curation.audit.verify import SAME, similarity

HELD_OUT = (Split.TEST, Split.VAL)
"""Splits that no training image may share an image with, the stricter first."""


class Match(StrEnum):
    """What the images of a pair share, the strongest first."""

    EXACT = "exact"
    PIXELS = "pixels"
    PERCEPTUAL = "perceptual"
    PATIENT = "patient"


@dataclass(frozen=True, slots=True)
class Item:
    """An image of a dataset, whatever tasks use it.

    Attributes:
        dataset: Name of the card.
        image: Path as in the annotations.
        patient: Patient with its namespace.
        split: Split of the image.
        path: File of the image.
    """

    dataset: str
    image: str
    patient: str
    split: Split
    path: Path


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images, or the first images of two groups that show one patient.

    Attributes:
        match: What the images share.
        first: One image.
        second: The other image.
        score: Correlation of fine detail for ``perceptual``, 1 otherwise.
    """

    match: Match
    first: Item
    second: Item
    score: float = 1.0

    @property
    def crosses(self) -> bool:
        """Whether one image is trained on and the other is held out."""
        splits = {self.first.split, self.second.split}
        return Split.TRAIN in splits and len(splits) > 1


def patient_pairs(items: Sequence[Item]) -> list[Pair]:
    """One pair per patient and pair of groups (dataset and split) that contain the patient."""
    groups: dict[str, dict[tuple[str, Split], Item]] = defaultdict(dict)
    for item in items:
        groups[item.patient].setdefault((item.dataset, item.split), item)
    return [
        Pair(Match.PATIENT, first, second)
        for patient in sorted(groups)
        for first, second in combinations(groups[patient].values(), 2)
    ]


def image_pairs(
    items: Sequence[Item],
    prints: Sequence[Fingerprint | None],
    searched: Callable[[int], None] = lambda count: None,
    compared: Callable[[int, int], None] = lambda count, total: None,
) -> list[Pair]:
    """Pairs of images that are one file, have the same pixels, or show one picture.

    Images with the same pixels form a group; only the first of each group is searched for. Every image of a group is
    paired with the group's first image of every dataset and split, so that every leak of an image is listed, and a
    thousand equal images do not give a million pairs.

    Args:
        items: Images.
        prints: Fingerprint of each image; None to leave the image out.
        searched: Callback with the number of further images whose neighbours are known.
        compared: Callback with the number of further candidate pairs compared, and the number of all.

    Returns:
        Pairs, each once, exact before pixels before perceptual, perceptual ones by falling score.
    """
    known = {index: value for index, value in enumerate(prints) if value is not None}
    groups: dict[bytes, list[int]] = defaultdict(list)
    for index, value in known.items():
        groups[value.pixels].append(index)
    pairs = _Pairs(items, known)
    for group in groups.values():
        pairs.add(group, group, 1.0)
    distinct = [group for group in groups.values() if not known[group[0]].blank]
    views = [(index, view) for index, group in enumerate(distinct) for view in _views(known[group[0]])]
    owners, thumbnails = [index for index, _ in views], [view for _, view in views]
    likely = candidates(thumbnails, owners, searched)
    with ThreadPoolExecutor(usable_cores()) as pool:
        scores = pool.map(lambda one: _score(one, thumbnails), likely)
        for candidate, score in zip(likely, scores, strict=True):
            compared(1, len(likely))
            if score >= SAME:
                pairs.add(distinct[owners[candidate.first]], distinct[owners[candidate.second]], score)
    order = list(Match)
    return sorted(pairs.pairs.values(), key=lambda pair: (order.index(pair.match), -pair.score))


def _views(value: Fingerprint) -> list[np.ndarray]:
    """The whole image, and the image without margins if it has some."""
    return [value.thumbnail] if value.inner is None else [value.thumbnail, value.inner]


def _score(candidate: Candidate, thumbnails: Sequence[np.ndarray]) -> float:
    """Correlation of detail of both thumbnails, the first as the candidate turns and inverts it."""
    first = turned(thumbnails[candidate.first], candidate.orientation)
    if candidate.inverted:
        first = 255 - first
    return similarity(np.ascontiguousarray(first), thumbnails[candidate.second], candidate.scale)


class _Pairs:
    """Collects pairs, each once."""

    def __init__(self, items: Sequence[Item], prints: Mapping[int, Fingerprint]):
        self.items, self.prints = items, prints
        self.pairs: dict[tuple[int, int], Pair] = {}

    def add(self, group: Sequence[int], other: Sequence[int], score: float) -> None:
        """Pairs every image of each group with the other group's first image of every dataset and split."""
        for images, firsts in ((group, self._firsts(other)), (other, self._firsts(group))):
            for i in images:
                for j in firsts:
                    if i != j:
                        first, second = min(i, j), max(i, j)
                        known = self.pairs.get((first, second))
                        if known is None or known.score < score:
                            self.pairs[first, second] = self._pair(first, second, score)

    def _firsts(self, group: Iterable[int]) -> list[int]:
        """The group's first image of every dataset and split."""
        firsts: dict[tuple[str, Split], int] = {}
        for index in group:
            firsts.setdefault((self.items[index].dataset, self.items[index].split), index)
        return list(firsts.values())

    def _pair(self, i: int, j: int, score: float) -> Pair:
        first, second = self.prints[i], self.prints[j]
        if first.content == second.content:
            match = Match.EXACT
        elif first.pixels == second.pixels:
            match = Match.PIXELS
        else:
            match = Match.PERCEPTUAL
        return Pair(match, self.items[i], self.items[j], round(score, 4))
