"""The contract of a task: one class in ``task.py`` of its folder answers what everything outside asks about it.

Facts that configuration, cards and readers need are those of ``core/task.py``; what is here concerns pixels, tensors,
networks, evaluation and the report. Defaults are those of a task without targets beside its labels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np

from foundationx.core.arrays import Recorded
from foundationx.core.config.model import ModelConfig
from foundationx.core.config.views import PhotometryConfig
from foundationx.core.errors import DataError
from foundationx.core.geometry.views import TrainingProgress, View
from foundationx.core.task import TaskFacts
from foundationx.core.types import Batch, Example, ReferenceSize, Target, Task
from foundationx.tasks.drawing import Canvas, ClassSummary, Overlay
from foundationx.tasks.fill import FillRules
from foundationx.tasks.table import TableRow

if TYPE_CHECKING:
    from torch import Tensor

OUTSIDE_TOLERANCE = 1.0
"""Pixels by which a published coordinate may lie outside its image (rounding); more is an error."""


@dataclass(frozen=True, slots=True)
class SourceImage:
    """The image that an annotation belongs to, as published.

    Attributes:
        file: Path relative to the dataset's folder.
        row: Position of the annotation, for messages.
        size: Height and width in pixels.
        labels: (K,) float32, tri-state.
        read_mask: Pixels (H, W) uint8 of a mask file relative to the dataset's folder; errors name the row.
    """

    file: str
    row: str
    size: tuple[int, int]
    labels: np.ndarray
    read_mask: Callable[[str], np.ndarray]

    def outside(self, what: str) -> DataError:
        """The error that ``what`` lies outside this image."""
        return DataError(
            f"{self.row} ({self.file})",
            f"{what} lies outside the image of {self.size[1]} x {self.size[0]} pixels",
            "all coordinates inside the image",
            "if the images are a resized copy, name the published size with reference_size in the reader's options; "
            "else correct the annotation, or train with on_bad_sample='skip'",
        )


ViewPlan = Callable[[tuple[int, int], TrainingProgress, np.random.Generator], Sequence[View]]
"""Height and width of an image, training progress and a random generator -> the views of that image."""


class TaskDefinition(TaskFacts, ABC):
    """Everything that is particular to one task.

    Attributes:
        is_cached: Whether targets are stored in the image cache, because drawing them takes long.
        found_from: Image score from which on a class counts as found in an image, unless validation chose one.
        legend: What solid, dashed and so on mean in the report's pictures.
        hub_task: What the Hugging Face Hub calls the task, in model cards.
        library: Library of OpenMMLab whose functions run whole models of the task; empty if there is none.
        columns: Columns of a table of predictions beside ``image`` and ``class``; empty if the task takes no tables.
        every_class: Whether such a table has one row for each image and class; else as many as were found.
    """

    is_cached: ClassVar[bool] = False
    found_from: ClassVar[float] = 0.5
    legend: ClassVar[str] = ""
    hub_task: ClassVar[str] = "image-feature-extraction"
    library: ClassVar[str] = ""
    columns: ClassVar[tuple[str, ...]] = ()
    every_class: ClassVar[bool] = True

    def target(self, annotation: Any, source: SourceImage) -> Target | None:
        """The target of one image in its own pixels; None if labels say everything.

        Raises:
            DataError: The annotation does not fit the image, or a file of it cannot be used.
        """
        return None

    def scaled(self, annotation: Any, reference: ReferenceSize, size: tuple[int, int]) -> Any:
        """An annotation in pixels of ``reference`` for a copy of the image of another ``size`` (height, width).

        A task without coordinates has nothing to scale.
        """
        return annotation

    def target_facts(self, annotation: Any, labels: np.ndarray, file_state: Callable[[str], str]) -> list[str]:
        """All that a cached target is drawn from, as text; ``file_state`` gives the state of one of its files."""
        raise NotImplementedError

    def pack(self, target: Any) -> bytes:
        """A resized target as the cache keeps it."""
        raise NotImplementedError

    def unpack(self, content: np.ndarray, side: int) -> Target:
        """The target, for a square of ``side`` pixels, of what :meth:`pack` made."""
        raise NotImplementedError

    def batch(self, common: Mapping[str, Any], targets: Sequence[Any], size: tuple[int, int]) -> Batch:
        """A batch of samples.

        Args:
            common: Fields of ``Batch``.
            targets: One target per image.
            size: Height and width of the images in pixels.
        """
        return Batch(**common)

    def view_plan(self, config: ModelConfig) -> tuple[ViewPlan, PhotometryConfig]:
        """For a task without annotations: the views it asks for, and photometric transforms of those that have any."""
        raise NotImplementedError

    def trunk_groups(self) -> Mapping[str, str]:
        """Submodule of the trunk ("" for all of it) -> name of its parameters' group; the longest prefix wins."""
        return {"": f"trunk.{self.name}"}

    def has_one_head(self, config: ModelConfig) -> bool:
        """Whether all datasets share one head."""
        return config.shared_head and self.shares_head

    def shared_groups(self, config: ModelConfig) -> tuple[str, ...]:
        """Scopes of the trunk that this configuration trains, from the image upwards."""
        return tuple(dict.fromkeys(self.trunk_groups().values()))

    def guide(self, config: ModelConfig) -> Task | None:
        """Task of the same dataset whose prediction guides this one's features; None for none."""
        return None

    def guided(
        self, features: Sequence[Tensor], prediction: Any, size: tuple[int, int], config: ModelConfig
    ) -> Sequence[Tensor]:
        """The backbone's feature maps, changed by what the guide's head predicts for images of ``size`` (H, W)."""
        return features

    @abstractmethod
    def record_truth(self, batch: Any) -> dict[str, Recorded]:
        """What stored predictions hold of the truth beside labels: arrays with one entry per image, by name."""

    def record_rows(
        self, rows: Sequence[TableRow], side: int, read_mask: Callable[[Path], np.ndarray]
    ) -> dict[str, Recorded]:
        """As :meth:`record_prediction`, for one image, from rows of a table.

        Args:
            rows: Rows of the image; one for each class in their order if ``every_class``.
            side: Side in pixels of the square at which masks are compared.
            read_mask: Reads a mask file (H, W) uint8.

        Raises:
            DataError: A cell makes no sense.
        """
        raise NotImplementedError

    @abstractmethod
    def record_prediction(self, prediction: Any, batch: Any) -> dict[str, Recorded]:
        """What stored predictions hold of a head's output, likewise."""

    def check_recorded(self, recorded: Mapping[str, Recorded], images: int, classes: int) -> None:
        """Checks stored predictions, which may come from others, before metrics are computed of them.

        Args:
            recorded: What the file holds.
            images: Number of images N.
            classes: Number of classes K.

        Raises:
            ValueError: An array is missing or not of the type, shape and range that metrics rely on.
        """

    @property
    def scores_images(self) -> bool:
        """Whether a prediction gives each class a score in each image as a whole."""
        return type(self).image_scores is not TaskDefinition.image_scores

    def image_scores(self, prediction: Any, classes: int) -> Tensor:
        """Score (B, K) of each class in each image as a whole, in [0, 1].

        Args:
            prediction: For a batch of B images.
            classes: Number of classes K.
        """
        raise NotImplementedError

    def fill_rules(self) -> FillRules | None:
        """How a teacher answers for classes that a dataset does not annotate; None if it cannot."""
        return None

    @abstractmethod
    def example(self, prediction: Any, batch: Any, index: int) -> Example:
        """Image ``index`` of a batch as the report shows it."""

    def draw(self, canvas: Canvas, example: Any) -> None:
        """Draws truth and prediction over an example's image."""
        return

    @abstractmethod
    def findings(self, example: Any, classes: Sequence[str]) -> list[ClassSummary]:
        """Truth and prediction in words, class by class."""

    def learn_trivial(
        self, labels: np.ndarray, batches: Iterable[Any], classes: Sequence[str]
    ) -> dict[str, dict[str, Any]]:
        """What training annotations say of an image that nobody has looked at, by class, as values for JSON.

        Args:
            labels: (N, K) float32, tri-state, of all training images.
            batches: Training images with their targets, as evaluation sees them; not read unless iterated over.
            classes: K names.
        """
        return {}

    def trivial_answers(
        self,
        learned: Mapping[str, Mapping[str, Any]],
        classes: Sequence[str],
        images: int,
        truth: Mapping[str, Recorded],
    ) -> dict[str, dict[str, Recorded]]:
        """What is predicted without looking: by name of the answer what :meth:`record_prediction` gives.

        Args:
            learned: What :meth:`learn_trivial` gave; empty if there was nothing to learn from.
            classes: K names.
            images: Number of images N.
            truth: What :meth:`record_truth` gave for them.
        """
        return {}

    @abstractmethod
    def describe(
        self,
        prediction: Any,
        classes: Sequence[str],
        size: tuple[int, int],
        thresholds: Mapping[str, float],
        overlay: Overlay,
        head: str,
    ) -> Any:
        """The prediction for one image as values for JSON, drawn on the overlay as well.

        Args:
            prediction: For a batch of one image.
            classes: K names.
            size: Height and width of the source image in pixels.
            thresholds: By class, the least score or probability that is named.
            overlay: Picture of the source image.
            head: The head's name, ``dataset/task``.
        """


def task_of(task: Task) -> TaskDefinition:
    """The definition of a task."""
    return cast(TaskDefinition, task.facts)
