"""The annotation files of a card's tasks, as a copy writes them, and the images that they share."""

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
from foundationx.phantoms.ground_truth import LabelSpace, concept_key, is_anatomy

LAYOUTS: Extensions[ModuleType] = Extensions(
    "layout", "foundationx.phantoms.layouts", module_with("CAPABILITIES", "write")
)
"""Writers of phantom copies by published format: one file of ``layouts/`` per reader, with the reader's name."""


@dataclass(frozen=True)
class Capabilities:
    """What a layout can express. Every layout has one as ``CAPABILITIES``.

    Attributes:
        scans: Whether every file of the image folder is read, so that it may hold nothing else.
        label_in: Part of the path that encodes the label of an image, if no file does.
        one_label: Function of the reader's options: whether an image has at most one label.
        none: Function of the reader's options: whether "none of the classes" can be expressed without such a class.
        size: Function of the reader's options: height and width that it prescribes for images.
    """

    scans: bool = False
    label_in: Literal["folder", "name"] | None = None
    one_label: Callable[[Any], bool] = field(default=lambda options: False)
    none: Callable[[Any], bool] = field(default=lambda options: True)
    size: Callable[[Any], tuple[int, int] | None] = field(default=lambda options: None)


@dataclass(frozen=True)
class TaskFile:
    """One annotation file of one task of a card.

    Attributes:
        card: Card of the dataset.
        task: Task of the card.
        index: Index of the file among the files of the task.
        part: The card's entry for the file.
        options: Options of the reader; each reader has a class of its own.
        layout: Module of ``layouts`` that writes the file.
        vocabulary: Vocabulary of concepts.
    """

    card: Card
    task: Task
    index: int
    part: AnnotationFile
    options: Any
    layout: ModuleType
    vocabulary: Vocabulary

    @property
    def spec(self) -> TaskSource:
        """The task."""
        return self.card.tasks[self.task]

    @property
    def capabilities(self) -> Capabilities:
        """Capabilities of its layout."""
        capabilities: Capabilities = self.layout.CAPABILITIES
        return capabilities

    @property
    def where(self) -> str:
        """The task in the card, for messages."""
        return f"{self.card.file}: tasks.{self.task.value}"

    @property
    def file(self) -> str:
        """The annotation file relative to the data root; empty if there is none."""
        return os.path.normpath(f"{self.card.root}/{self.part.file}") if self.part.file else ""

    @cached_property
    def folders(self) -> tuple[str, ...]:
        """Patterns of the folders of its images, relative to the dataset's.

        If the card names none, the images are beside the annotation file, and their names in it begin with its folder,
        as in CheXpert.
        """
        images = self.part.images or ("",)
        if images != ("",) or self.capabilities.scans or self.spec.image_path is not None:
            return images
        beside = str(PurePosixPath(self.part.file or "").parent)
        return ("images" if beside.startswith(".") else beside,)

    @property
    def label_space(self) -> LabelSpace:
        """The labels that the file can express for an image."""
        classes = [item for item in self.spec.classes if item.polarity == "presence"]
        keys = [concept_key(item, self.vocabulary) for item in classes if not is_anatomy(item, self.vocabulary)]
        none = self.capabilities.none(self.options) or len(classes) < len(self.spec.classes)
        return LabelSpace(tuple(keys), self.capabilities.one_label(self.options), none)


def task_files_of(card: Card, vocabulary: Vocabulary) -> list[TaskFile]:
    """All annotation files of a card.

    Raises:
        CardError: A reader or its options are wrong, or the reader has no layout.
    """
    files = []
    for task, spec in card.tasks.items():
        _, options = open_reader(card, task)
        layout = LAYOUTS.get(spec.reader, f"{card.file}: tasks.{task.value}.reader", CardError)
        for index, (part, chosen) in enumerate(zip(spec.files, options, strict=True)):
            files.append(TaskFile(card, task, index, part, chosen, layout, vocabulary))
    return files


def concrete(pattern: str) -> tuple[str, ...]:
    """Folders that match a pattern: two if it has a wildcard."""
    if not re.search(r"[*?]", pattern):
        return (pattern,)
    return tuple(re.sub(r"\*+|\?", number, pattern) for number in "12")


def split_in_path(card: Card, folder: str) -> tuple[bool, Split | None]:
    """Whether a folder determines the official split of its images, and the split."""
    if card.splits is None or card.splits.pattern is None:
        return False, None
    match = re.search(card.splits.pattern, f"{folder}/")
    splits = {value: split for split, values in card.splits.values.items() for value in values}
    return (True, splits[match.group(1)]) if match and match.group(1) in splits else (False, None)


def assigned_splits(card: Card, folder: str) -> tuple[Split | None, ...]:
    """Official splits to assign the images of one folder to; none if the folder determines it or there are none."""
    if card.splits is None or split_in_path(card, folder)[0]:
        return ()
    splits = tuple(card.splits.lists or card.splits.values)
    has_none = card.splits.unassigned or (card.splits.lists and len(splits) == 1)
    return (None, *splits) if has_none else splits


def group_by_images(task_files: Sequence[TaskFile]) -> list[list[TaskFile]]:
    """Groups annotation files that share images: those of one task, and those that read one folder of one dataset."""
    groups: list[list[TaskFile]] = []
    for task_file in task_files:
        sharing = [group for group in groups if any(_share(task_file, other) for other in group)]
        merged = [item for group in sharing for item in group] + [task_file]
        groups = [group for group in groups if group not in sharing] + [merged]
    return groups


def _share(one: TaskFile, two: TaskFile) -> bool:
    if (one.card.root, one.spec.image_path) != (two.card.root, two.spec.image_path):
        return False
    return (one.card.name, one.task) == (two.card.name, two.task) or bool(set(one.folders) & set(two.folders))
