"""Ground truth of the images of a copy: which classes are present, absent and doubtful."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foundationx.datasets.cards.tasks import ClassSpec
from foundationx.datasets.cards.vocabulary import Vocabulary

EXTRA_SHARE = 0.1
"""Probability of a finding beyond those allocated to an image."""

PERIOD, MOST_FINDINGS = 3, 5
"""A finding is allocated to every third image; to fewer if an image would show more than ``MOST_FINDINGS``."""


@dataclass(frozen=True)
class ImageTruth:
    """One image, before anything is drawn or written.

    Attributes:
        number: Number of the image in its dataset, from 1.
        patient: Number of the patient: that of the patient's first image.
        folder_index: Index of the image's folder pattern in the image set.
        variant: Index of the image's annotation file or official split among those that share the folder.
        present: Concept keys of the classes that are present.
        doubtful: Concept keys of the classes that are uncertain; all others are absent.
        unlabelled: Whether the image has no labels, if a layout can express that.
    """

    number: int
    patient: int
    folder_index: int = 0
    variant: int = 0
    present: frozenset[str] = frozenset()
    doubtful: frozenset[str] = frozenset()
    unlabelled: bool = False


def concept_key(spec: ClassSpec, vocabulary: Vocabulary) -> str:
    """Key of the concept of a class: two classes of one key are present in the same images.

    The concept's name if the class has exactly that meaning; otherwise the published name, with a leading ``=``.
    """
    name = spec.canonical
    exact = spec.relation == "exact" and spec.polarity == "presence"
    return name if exact and name is not None and name in vocabulary else f"={spec.published[0]}"


def wider_concepts(spec: ClassSpec, vocabulary: Vocabulary) -> frozenset[str]:
    """Keys of the concepts that are present whenever the class is."""
    name = spec.canonical
    if name is None or name not in vocabulary or spec.polarity == "absence":
        return frozenset()
    if spec.relation not in ("exact", "narrower"):
        return frozenset()
    return frozenset(vocabulary.path(name)) - {concept_key(spec, vocabulary)}


def is_anatomy(spec: ClassSpec, vocabulary: Vocabulary) -> bool:
    """Whether every image shows the class."""
    name = spec.canonical
    return name is not None and name in vocabulary and vocabulary[name].kind == "anatomy"


@dataclass(frozen=True)
class LabelSpace:
    """The labels that one annotation file can express for an image.

    Attributes:
        findings: Concept keys of its classes, except anatomy.
        one_label: Whether an image has at most one class.
        none: Whether an image can have none of the classes.
    """

    findings: tuple[str, ...]
    one_label: bool
    none: bool

    @property
    def outputs(self) -> int:
        """Number of images that cover everything it can express."""
        return len(self.findings) + self.none if self.one_label else 2 + self.none


class FindingAllocator:
    """Allocates findings to the images of one folder so that each finding is present in some and absent in others.

    Args:
        label_spaces: Label spaces of all annotation files of these images.
        widenings: Key -> keys that are present whenever it is.
    """

    def __init__(self, label_spaces: Sequence[LabelSpace], widenings: dict[str, frozenset[str]]):
        self.label_spaces = tuple(dict.fromkeys(label_spaces))
        known = {key for space in self.label_spaces for key in space.findings}
        self.widenings = {key: wide & known for key, wide in widenings.items()}
        self.normal = all(label_space.none for label_space in self.label_spaces)
        self.single = tuple(
            label_space for label_space in self.label_spaces if label_space.one_label and label_space.findings
        )
        fixed = {key for label_space in self.single for key in label_space.findings}
        self.free = tuple(sorted(known - fixed))

    @property
    def least(self) -> int:
        """Least number of images that cover everything."""
        return max([4, *(label_space.outputs for label_space in self.label_spaces)])

    def allocate(self, count: int, random: np.random.Generator) -> list[tuple[frozenset[str], frozenset[str]]]:
        """Keys that are present and doubtful in each of ``count`` images; the first images are normal, if possible."""
        kinds = max([len(label_space.findings) for label_space in self.single], default=3)
        normal = max(1, count // (1 + kinds)) if self.normal else 0
        images = [self._image(index, count - normal, random) for index in range(count - normal)]
        return [(frozenset(), frozenset())] * normal + images

    def _image(self, index: int, count: int, random: np.random.Generator) -> tuple[frozenset[str], frozenset[str]]:
        labels = {label_space.findings[index % len(label_space.findings)] for label_space in self.single}
        present, doubtful = set(labels), set()
        cycle = min(count, max(PERIOD, -(-len(self.free) // MOST_FINDINGS)))
        for position, key in enumerate(self.free):
            chosen, absent = position % cycle == index % cycle, (position + 1) % cycle == index % cycle
            if chosen or (not absent and random.random() < EXTRA_SHARE):
                present.add(key)
            elif absent and position % 3 == 0:
                doubtful.add(key)
        present = self._consistent(present, labels, index, count)
        for label_space in self.label_spaces:
            if not label_space.none and not present & set(label_space.findings):
                present.add(label_space.findings[index % len(label_space.findings)])
        return frozenset(present), frozenset(doubtful - present)

    def _consistent(self, present: set[str], labels: set[str], index: int, count: int) -> set[str]:
        """Adds wider concepts of present ones; removes narrower concepts of labels that the image does not have."""
        fixed = {key for label_space in self.single for key in label_space.findings}
        consistent = {key for key in present if not (self.widenings.get(key, frozenset()) & fixed) - labels}
        for position, key in enumerate(self.free):
            needed = self.widenings.get(key, frozenset()) & fixed
            turn = self._round(index)
            if needed and needed <= labels and (turn == 0 or (position + turn) % 2 == 0):
                consistent.add(key)
        return consistent.union(*(self.widenings.get(key, frozenset()) for key in consistent))

    def _round(self, index: int) -> int:
        """How often the label of an image was allocated before it."""
        return index // math.lcm(*(len(label_space.findings) for label_space in self.single)) if self.single else 0
