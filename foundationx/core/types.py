"""The data contract: what one package passes to the next.

Shape letters used in every docstring:

    B  images in a batch          H, W  height and width in pixels
    C  channels                   K     classes of one task of one dataset
    N  annotated objects          T     objects padded to the batch's largest count
    Q  object queries             D     feature dimension
    L  decoder layers             P     points (of a polygon, of a sampling pattern)

Tri-state labels: every class of every image is positive (1), negative (0) or **unknown** (NaN; 255 in masks); between
0 and 1 they are soft. Unknown entries give no gradient and are left out of metrics.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np

from foundationx.core.runs import Runs
from foundationx.core.task import TASKS, TaskFacts, facts_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor

UNKNOWN_PIXEL = 255  # nothing is known of this mask pixel; 0 is background, 1 is foreground


class Task(str):
    """Name of a task. Equal names are one object, so that ``is`` compares them.

    Raises:
        ValueError: No task has this name.
    """

    __slots__ = ()
    CLASSIFICATION: ClassVar[Task]
    DETECTION: ClassVar[Task]
    SEGMENTATION: ClassVar[Task]
    SELF_SUPERVISION: ClassVar[Task]

    def __new__(cls, name: str) -> Task:
        """The one object of this name."""
        if name not in _known:
            if name not in TASKS.names():
                raise ValueError(f"{name!r} is not a task; tasks: {', '.join(TASKS.names())}")
            _known[str(name)] = str.__new__(cls, name)
        return _known[name]

    @property
    def value(self) -> str:
        """The plain name."""
        return str.__str__(self)

    @property
    def facts(self) -> TaskFacts:
        """What is known of the task."""
        return facts_of(self.value)

    def __repr__(self) -> str:
        return f"Task({self.value!r})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import PydanticCustomError, core_schema

        def parse(value: Any) -> Task:
            try:
                return cls(value)
            except (TypeError, ValueError):
                *others, last = (repr(name) for name in task_names())
                expected = f"{', '.join(others)} or {last}"
                raise PydanticCustomError("enum", "Input should be {expected}", {"expected": expected}) from None

        to_text = core_schema.plain_serializer_function_ser_schema(str.__str__)
        return core_schema.no_info_plain_validator_function(parse, serialization=to_text)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return {"type": "string", "enum": list(task_names())}


_known: dict[str, Task] = {}
for _name in ("classification", "detection", "segmentation", "self_supervision"):
    _known[_name] = str.__new__(Task, _name)
    setattr(Task, _name.upper(), _known[_name])


def all_tasks() -> tuple[Task, ...]:
    """Every task, in the order of tasks inside a dataset's turn: those of this package, then others, each by name."""
    own = {name: not kind.__module__.startswith("foundationx.") for name, kind in TASKS.all().items()}
    return tuple(Task(name) for name in sorted(own, key=lambda name: (own[name], name)))


def annotated_tasks() -> tuple[Task, ...]:
    """Tasks that are learned from annotations, in the same order."""
    return tuple(task for task in all_tasks() if task.facts.needs_annotations)


def task_names() -> tuple[str, ...]:
    """Names of all tasks, in the same order."""
    return tuple(task.value for task in all_tasks())


class PhaseName(StrEnum):
    """The two halves of a visit: only the head trained (lock), then everything (release)."""

    LOCK = "lock"
    RELEASE = "release"


class Split(StrEnum):
    """The splits, made by patient. Validation is not test."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class TaskKey(NamedTuple):
    """Names one head: one task of one dataset. Printed as ``dataset/task``."""

    dataset: str
    task: Task

    def __str__(self) -> str:
        return f"{self.dataset}/{self.task.value}"

    @classmethod
    def parse(cls, text: str) -> TaskKey:
        """Reads ``dataset/task`` back. Raises ValueError if it is not of that form."""
        dataset, slash, task = text.rpartition("/")
        if not slash or not dataset:
            raise ValueError(f"{text!r} is not of the form dataset/task")
        return cls(dataset, Task(task))


@dataclass(frozen=True, slots=True)
class BadSample:
    """An image or annotation row that could not be used, and why. Listed in the report, never silent."""

    dataset: str
    task: str
    file: str
    row: str
    reason: str


@dataclass(frozen=True, slots=True)
class MaskPart:
    """One piece of one class's mask: a mask file, a polygon or runs. Parts of one class are united.

    ``file`` is relative to the dataset's root. Pixels equal to ``positive`` (None: any but 0) are foreground, to
    ``ignore`` unknown. ``polygon``: (P, 2) x, y in source pixels. A ``scaled`` mask may differ from its image in size.
    """

    class_index: int
    file: str | None = None
    positive: int | None = None
    ignore: int | None = None
    polygon: np.ndarray | None = None
    runs: Runs | None = None
    scaled: bool = False


class ReferenceSize(NamedTuple):
    """Size of the image in whose pixels coordinates are published; 1 x 1 if they are shares.

    Attributes:
        height: In pixels.
        width: In pixels.
        any_aspect: Whether the image may have another aspect ratio.
    """

    height: int
    width: int
    any_aspect: bool = False

    @property
    def tolerance(self) -> float:
        """By how much a coordinate may lie outside because of rounding: a pixel, or a hundredth of the image."""
        return 0.01 if (self.height, self.width) == (1, 1) else 1.0

    def fits(self, size: tuple[int, int]) -> bool:
        """Whether an image of ``size`` (height, width) is the published one, or it at another scale."""
        across, down = self.width * size[0], self.height * size[1]
        return self.any_aspect or abs(across - down) <= max(self.width, self.height)  # a pixel of rounding


@dataclass(slots=True)
class Annotations:
    """One task of one dataset as its published files give it, one entry per image; no pixel has been read yet.

    Attributes:
        key: dataset and task.
        classes: K class names, in the card's order.
        images: N paths relative to the dataset's root, each once.
        patients: N patient names with namespace (``nih:1``); equal names are one patient across datasets.
        rows: N positions of the images' annotations (``Data_Entry_2017.csv row 12``), for messages.
        labels: (N, K) float32: 1 present, 0 absent, NaN unknown (of boxes and masks: not annotated in the image).
        splits: N official splits, None if the card names none.
        targets: N targets of the task's own type in source pixels; empty if the labels are complete.
        bad: what was left out under ``on_bad_sample='skip'``.
        sizes: sizes in which the coordinates of an image are given, if the card or the annotation file names them; else
            they are in pixels of the image. Empty for image labels.
        sided: classes that are one side of the patient by the card's concept (R1: right_rib_1), whatever their names.
        mirror_pairs: pairs of classes that a flipped image shows as each other (left and right lung).
    """

    key: TaskKey
    classes: tuple[str, ...]
    images: list[str]
    patients: list[str]
    rows: Sequence[str]
    labels: np.ndarray
    splits: list[Split | None]
    targets: list[Any] = field(default_factory=list)
    bad: list[BadSample] = field(default_factory=list)
    sizes: dict[str, ReferenceSize] = field(default_factory=dict)
    sided: tuple[str, ...] = ()
    mirror_pairs: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.images)


def is_sided(name: str) -> bool:
    """Whether a name has a side of the patient as a word of its own: ``Left Lung``, ``right_rib_1``."""
    return re.search(r"(?<![a-z])(left|right)(?![a-z])", name.lower()) is not None


@dataclass(frozen=True, slots=True)
class SampleMeta:
    """Source of a sample. ``height`` and ``width`` are those of the source image in pixels."""

    key: TaskKey
    image: str
    patient: str
    row: str
    height: int
    width: int


class Move(Protocol):
    """What one view does to a square image: a target is moved by the same."""

    @property
    def size(self) -> int:
        """Side of the image and of the view in pixels."""

    def points(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 2), x and y in pixels from the image's corner, to points of the view; also outside of it."""

    def masks(self, masks: np.ndarray) -> np.ndarray:
        """Masks (K, size, size) uint8 to masks of the view; what comes in from outside the image is unknown."""


class Target(Protocol):
    """What is to be predicted of one image, in that image's pixels."""

    def resized(self, size: tuple[int, int], side: int) -> Self:
        """The target of the image of ``size`` (height, width) after it was stretched to a square of ``side`` pixels."""

    def moved(self, move: Move) -> Self:
        """The target in the view; parts outside the view are removed."""

    def mirrored(self, order: np.ndarray) -> Self:
        """The target of a flipped image: class k is what was class ``order[k]``, (K,), before."""


@dataclass(slots=True)
class Sample:
    """One image with its target, on the host.

    Attributes:
        image: (H, W) uint8, the student's view.
        labels: (K,) float32, tri-state.
        meta: Source of the sample.
        teacher_image: (H, W) uint8, the teacher's view; None if it is the student's.
        target: Target of the task's own type in pixels of ``image``; None if the labels are complete.
    """

    image: np.ndarray
    labels: np.ndarray
    meta: SampleMeta
    teacher_image: np.ndarray | None = None
    target: Any = None


@dataclass(slots=True)
class Batch:
    """Samples of one task of one dataset; a task with a target has a subclass that holds it.

    Images are grey uint8 until ``data.normalise.Normaliser`` makes the network's input of them.

    Attributes:
        key: Dataset and task.
        images: (B, 1, H, W) uint8, the student's view.
        teacher_images: (B, 1, H, W) uint8; the same tensor as ``images`` if both see one view.
        labels: (B, K) float32, tri-state.
        metas: Source of each sample.
        bad: Samples that were skipped while this batch was read.
        counts: What the head's losses divide by (``Head.counts``), if several processes share the batch.
    """

    key: TaskKey
    images: Tensor
    teacher_images: Tensor
    labels: Tensor
    metas: tuple[SampleMeta, ...]
    bad: tuple[BadSample, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.images.shape[0]

    def to(self, device: torch.device | str, non_blocking: bool = True) -> Self:
        """The same batch with its tensors on ``device``; views that were one tensor stay one."""
        from foundationx.core.tensors import map_tensors

        return map_tensors(self, lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """Page-locked copy, so that the copy to a CUDA device can overlap with computing."""
        from foundationx.core.tensors import map_tensors

        return map_tensors(self, lambda tensor: tensor.pin_memory())


class Prediction:
    """What a head predicts for a batch; each task has a dataclass of its own."""

    __slots__ = ()


@dataclass(slots=True)
class StepOutput:
    """Losses of one step, on the device. ``loss`` is what is differentiated, ``parts`` what is logged (detached)."""

    loss: Tensor
    parts: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One row of ``metrics.json``.

    ``class_name`` is ``"mean"`` for the mean over classes. ``n`` counts what the value rests on: images with a known
    label (AUROC), true boxes (AP), images (Dice). ``value`` is None if the metric is not defined (one-sided labels).
    ``visit`` counts the visits trained so far: 0 is the untrained model.
    """

    dataset: str
    task: str
    metric: str
    class_name: str
    value: float | None
    n: int
    model: str
    visit: int
    split: str


@dataclass(slots=True)
class Example:
    """One evaluated image, stored for the report's pictures; a task's subclass adds truth and prediction as arrays.

    Attributes:
        image: (H, W) uint8.
        name: File the image came from.
        labels: (K,) float32 tri-state truth.
    """

    image: np.ndarray
    name: str
    labels: np.ndarray

    def check(self, classes: int) -> None:
        """Checks what a file that may come from others holds; a task's subclass checks its own arrays too.

        Args:
            classes: Number of the head's classes.

        Raises:
            ValueError: An array has another shape, type or range than it is said to have.
        """
        from foundationx.core.arrays import check_array

        check_array(self.image, (None, None), 0, 255, "u")
        if not self.image.size:
            raise ValueError("an image has no pixel")
        check_array(np.nan_to_num(self.labels), (classes,), 0, 1)
