"""What is to be seen in films that are made up for a card: which classes are present, absent and doubtful."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foundationx.datasets.cards.tasks import ClassSpec
from foundationx.datasets.cards.vocabulary import Vocabulary

EXTRA_SHARE = 0.1
"""Chance of a finding beside those that a film is dealt."""

CYCLE, DEALT = 3, 5
"""A finding is dealt to every third film, to fewer where films would show more than ``DEALT`` of them."""


@dataclass(frozen=True)
class Film:
    """One film, before anything is drawn or written.

    Attributes:
        number: of the film, from 1, in its dataset.
        patient: number of its patient: that of the patient's first film, so that no other film has it.
        place: which of the places of the images it stands in.
        variant: which of the annotation files and official sides that share a place it belongs to.
        present, doubtful: keys of meanings; what is in neither is absent.
        unread: nobody has read it, where a layout can say so.
    """

    number: int
    patient: int
    place: int = 0
    variant: int = 0
    present: frozenset[str] = frozenset()
    doubtful: frozenset[str] = frozenset()
    unread: bool = False


def meaning(spec: ClassSpec, vocabulary: Vocabulary) -> str:
    """Key of what a class is about: two classes of one key are present in the same films.

    The concept where the class stands for exactly that; elsewhere the published name, marked as no concept.
    """
    exact = spec.relation == "exact" and spec.polarity == "presence" and spec.canonical in vocabulary
    return spec.canonical if exact else f"={spec.published[0]}"


def wider(spec: ClassSpec, vocabulary: Vocabulary) -> frozenset[str]:
    """Keys of the concepts that are present wherever the class is."""
    if spec.canonical not in vocabulary or spec.polarity == "absence" or spec.relation not in ("exact", "narrower"):
        return frozenset()
    return frozenset(vocabulary.path(spec.canonical)) - {meaning(spec, vocabulary)}


def is_anatomy(spec: ClassSpec, vocabulary: Vocabulary) -> bool:
    """Whether every film shows the class."""
    return spec.canonical in vocabulary and vocabulary[spec.canonical].kind == "anatomy"


@dataclass(frozen=True)
class Choice:
    """What one annotation file can say of an image.

    Attributes:
        findings: keys of its classes that a film may lack.
        one_label: an image has one class at most.
        none: an image may have none of the classes.
    """

    findings: tuple[str, ...]
    one_label: bool
    none: bool

    @property
    def outputs(self) -> int:
        """Films that it takes to show everything it can say."""
        return len(self.findings) + self.none if self.one_label else 2 + self.none


class Deal:
    """Deals findings to the films of one place so that each occurs, and each is absent somewhere.

    Args:
        choices: of all annotation files that read these films.
        widenings: keys that are present wherever a key is, by key.
    """

    def __init__(self, choices: Sequence[Choice], widenings: dict[str, frozenset[str]]):
        self.choices = tuple(dict.fromkeys(choices))
        known = {key for choice in self.choices for key in choice.findings}
        self.widenings = {key: wide & known for key, wide in widenings.items()}
        self.normal = all(choice.none for choice in self.choices)
        self.single = tuple(choice for choice in self.choices if choice.one_label and choice.findings)
        fixed = {key for choice in self.single for key in choice.findings}
        self.free = tuple(sorted(known - fixed))

    @property
    def least(self) -> int:
        """Fewest films that show everything."""
        return max([4, *(choice.outputs for choice in self.choices)])

    def findings(self, count: int, random: np.random.Generator) -> list[tuple[frozenset[str], frozenset[str]]]:
        """Keys that are present and doubtful in each of ``count`` films; the first are normal where that can be."""
        kinds = max([len(choice.findings) for choice in self.single], default=3)
        normal = max(1, count // (1 + kinds)) if self.normal else 0
        films = [self._film(index, count - normal, random) for index in range(count - normal)]
        return [(frozenset(), frozenset())] * normal + films

    def _film(self, index: int, count: int, random: np.random.Generator) -> tuple[frozenset[str], frozenset[str]]:
        labels = {choice.findings[index % len(choice.findings)] for choice in self.single}
        present, doubtful = set(labels), set()
        cycle = min(count, max(CYCLE, -(-len(self.free) // DEALT)))
        for place, key in enumerate(self.free):
            dealt, absent = place % cycle == index % cycle, (place + 1) % cycle == index % cycle
            if dealt or (not absent and random.random() < EXTRA_SHARE):
                present.add(key)
            elif absent and place % 3 == 0:
                doubtful.add(key)
        present = self._consistent(present, labels, index, count)
        for choice in self.choices:
            if not choice.none and not present & set(choice.findings):
                present.add(choice.findings[index % len(choice.findings)])
        return frozenset(present), frozenset(doubtful - present)

    def _consistent(self, present: set[str], labels: set[str], index: int, count: int) -> set[str]:
        """With every kind of a thing the thing; without kinds of a label that the film does not have."""
        fixed = {key for choice in self.single for key in choice.findings}
        kept = {key for key in present if not (self.widenings.get(key, frozenset()) & fixed) - labels}
        for place, key in enumerate(self.free):
            needed = self.widenings.get(key, frozenset()) & fixed
            turn = self._round(index)
            if needed and needed <= labels and (turn == 0 or (place + turn) % 2 == 0):
                kept.add(key)
        return kept.union(*(self.widenings.get(key, frozenset()) for key in kept))

    def _round(self, index: int) -> int:
        """How many times the label of a film was dealt before it."""
        return index // math.lcm(*(len(choice.findings) for choice in self.single)) if self.single else 0
