"""Annotation files of cards, and the places of images that they share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from types import ModuleType
from typing import Any, Literal

from foundationx.core.errors import CardError
from foundationx.core.extensions import Extensions, module_with
from foundationx.core.types import Split, Task
from foundationx.datasets.annotations import open_reader
from foundationx.datasets.cards.card import Card
from foundationx.datasets.cards.tasks import AnnotationFile, TaskSource
from foundationx.datasets.cards.vocabulary import Vocabulary
from foundationx.datasets.readers._source import ReaderOptions
from foundationx.phantoms.truth import Choice, is_anatomy, meaning

LAYOUTS: Extensions[ModuleType] = Extensions("layout", "foundationx.phantoms.layouts", module_with("MANNER", "write"))
"""How phantoms are written in each published format: one file of ``layouts/`` per reader, of the reader's name."""


@dataclass(frozen=True)
class Manner:
    """How a layout says what is in an image. Every layout has one as ``MANNER``.

    Attributes:
        scans: every file of the images folder is read, so that nothing else may stand in it.
        label_in: where the label of an image stands, if not in a file.
        one_label: whether an image has one label at most, from the reader's options.
        none: whether the layout can say "none of the classes" without a class of that meaning, from the options.
        size: height and width that the reader holds images to, from the options.
    """

    scans: bool = False
    label_in: Literal["folder", "name"] | None = None
    one_label: Callable[[Any], bool] = field(default=lambda options: False)
    none: Callable[[Any], bool] = field(default=lambda options: True)
    size: Callable[[Any], tuple[int, int] | None] = field(default=lambda options: None)


@dataclass(frozen=True)
class Slot:
    """One annotation file of one task of a card."""

    card: Card
    task: Task
    index: int
    part: AnnotationFile
    options: ReaderOptions
    layout: ModuleType
    vocabulary: Vocabulary

    @property
    def spec(self) -> TaskSource:
        """The task."""
        return self.card.tasks[self.task]

    @property
    def manner(self) -> Manner:
        """Of its layout."""
        return self.layout.MANNER

    @property
    def where(self) -> str:
        """The task in the card, for messages."""
        return f"{self.card.file}: tasks.{self.task.value}"

    @property
    def file(self) -> str:
        """The annotation file relative to the data root; empty where there is none."""
        return os.path.normpath(f"{self.card.root}/{self.part.file}") if self.part.file else ""

    @cached_property
    def places(self) -> tuple[str, ...]:
        """Patterns of the folders of its images, relative to the dataset's.

        Where the card names none, images stand beside the annotation file, whose names for them then begin with its
        folder, as CheXpert's do.
        """
        if self.part.images != ("",) or self.manner.scans or self.spec.image_path is not None:
            return self.part.images
        beside = str(PurePosixPath(self.part.file).parent)
        return ("images" if beside.startswith(".") else beside,)

    @property
    def choice(self) -> Choice:
        """What it can say of an image."""
        classes = [item for item in self.spec.classes if item.polarity == "presence"]
        keys = [meaning(item, self.vocabulary) for item in classes if not is_anatomy(item, self.vocabulary)]
        none = self.manner.none(self.options) or len(classes) < len(self.spec.classes)
        return Choice(tuple(keys), self.manner.one_label(self.options), none)


def slots_of(card: Card, vocabulary: Vocabulary) -> list[Slot]:
    """All annotation files of a card.

    Raises:
        CardError: a reader or its options are wrong, or there is no layout that writes for the reader.
    """
    found = []
    for task, spec in card.tasks.items():
        _, options = open_reader(card, task)
        layout = LAYOUTS.get(spec.reader, f"{card.file}: tasks.{task.value}.reader", CardError)
        for index, (part, chosen) in enumerate(zip(spec.files, options, strict=True)):
            found.append(Slot(card, task, index, part, chosen, layout, vocabulary))
    return found


def concrete(pattern: str) -> tuple[str, ...]:
    """Folders that a pattern of folders matches: two where it leaves the choice."""
    if not re.search(r"[*?]", pattern):
        return (pattern,)
    return tuple(re.sub(r"\*+|\?", number, pattern) for number in "12")


def side_in_path(card: Card, folder: str) -> tuple[bool, Split | None]:
    """Whether a folder decides the official side of its images, and the side."""
    if card.splits is None or card.splits.pattern is None:
        return False, None
    match = re.search(card.splits.pattern, f"{folder}/")
    sides = {value: side for side, values in card.splits.values.items() for value in values}
    return (True, sides[match.group(1)]) if match and match.group(1) in sides else (False, None)


def dealt_sides(card: Card, folder: str) -> tuple[Split | None, ...]:
    """Official sides that films of one folder are dealt to; none where the folder or nothing decides."""
    if card.splits is None or side_in_path(card, folder)[0]:
        return ()
    sides = tuple(card.splits.lists or card.splits.values)
    return sides if len(sides) > 1 or not card.splits.lists else (None, *sides)


def pools_of(slots: Sequence[Slot]) -> list[list[Slot]]:
    """Slots that share images or follow one another: of one task, or looking in one place of one dataset's folder."""
    pools: list[list[Slot]] = []
    for slot in slots:
        sharing = [pool for pool in pools if any(_share(slot, other) for other in pool)]
        merged = [item for pool in sharing for item in pool] + [slot]
        pools = [pool for pool in pools if pool not in sharing] + [merged]
    return pools


def _share(one: Slot, two: Slot) -> bool:
    if (one.card.root, one.spec.image_path) != (two.card.root, two.spec.image_path):
        return False
    return (one.card.name, one.task) == (two.card.name, two.task) or bool(set(one.places) & set(two.places))
