"""What configuration, cards, readers and schedules know of a task: facts, without torch or pixels.

A task is one folder of ``foundationx/tasks`` with one class in its ``task.py``; packages outside join through entry
points of the group ``foundationx.tasks``. The whole contract is ``TaskDefinition`` of ``tasks/definition.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar

from foundationx.core.extensions import Extensions, one_class

if TYPE_CHECKING:
    from foundationx.core.types import Example


class TaskFacts:
    """What configuration, cards, readers and schedules know of a task.

    Attributes:
        name: As configurations and cards spell it; also the folder's name.
        noun: What is annotated of one object, in messages ("image label", "box").
        headline: Metric that stands for the task, e.g. the one that chooses the best checkpoint.
        part: What a reader has to give of an image: ``labels``, ``boxes``, ``masks`` or another word.
        needs_annotations: False if images alone are learned from; such a task is named in the configuration.
        has_consistency: Whether release phases tie the student to the teacher.
        has_fixed_shape: Whether all its images have one size, so that compiled networks fit them.
        shares_head: Whether ``model.shared_head`` gives all datasets one head.
        needed_steps: Optimizer steps without which a head of this task has hardly learned; 0 if that is not known.
        lock_share: Default share of a pass in lock phases.
        release_share: Default share of a pass in release phases.
        chance: The headline metric without looking at an image, of a task that has no trivial answers; None if
            that is not known.
    """

    name: ClassVar[str]
    noun: ClassVar[str]
    headline: ClassVar[str]
    part: ClassVar[str] = "labels"
    needs_annotations: ClassVar[bool] = True
    has_consistency: ClassVar[bool] = True
    has_fixed_shape: ClassVar[bool] = True
    shares_head: ClassVar[bool] = False
    needed_steps: ClassVar[int] = 200
    lock_share: ClassVar[float] = 0.0
    release_share: ClassVar[float] = 1.0
    chance: ClassVar[float | None] = 0.0

    @property
    def has_targets(self) -> bool:
        """Whether an image has a target beside its labels."""
        return self.needs_annotations and self.part != "labels"

    def annotation(self, parts: Mapping[str, Any]) -> Any:
        """What is stored of one image's ``parts``, as a reader gives them; None if the labels are complete."""
        return None

    def count(self, annotation: Any) -> int:
        """Objects annotated in one image, as cards publish their number; 0 if objects are not counted."""
        return 0

    def files(self, annotation: Any) -> tuple[str, ...]:
        """Files that an annotation rests on, relative to the dataset's folder."""
        return ()

    def unknown_regions(self, annotation: Any) -> int:
        """Regions of one image in which a class is neither present nor absent."""
        return 0

    def payload(self, annotation: Any, classes: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """What is stored of one image as plain values for files of other tools; empty if the labels are complete."""
        return {}

    def parts_of(self, payload: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
        """The parts for :meth:`annotation` of what :meth:`payload` gave. Raises KeyError, TypeError or ValueError."""
        return {}

    def example_class(self) -> type[Example]:
        """Type of what the report keeps of an evaluated image."""
        raise NotImplementedError


TASKS: Extensions[type[TaskFacts]] = Extensions(
    "task",
    "foundationx.tasks",
    one_class(TaskFacts),
    pattern="*/task.py",
    name_of=lambda path: PurePath(path).parent.name,
)
"""Every task by name."""


@cache
def facts_of(name: str) -> TaskFacts:
    """The facts of a task. Raises ConfigError if there is no task of this name."""
    return TASKS.get(name)()
