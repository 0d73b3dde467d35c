"""What every head offers. The default head of a task is ``TASK/head.py``; ``model.heads.TASK.type`` chooses another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from pydantic import ValidationError
from torch import Tensor, nn

from foundationx.core.config.model import HeadConfig, ModelConfig, Section
from foundationx.core.errors import ConfigError
from foundationx.core.extensions import Extensions, one_class
from foundationx.core.types import Batch, Prediction, Task
from foundationx.core.validation import validation_error


class HeadOptions(Section):
    """Options of a head, ``model.heads.TASK.options``; the shipped heads have none."""


TrunkT = TypeVar("TrunkT", bound=nn.Module)
FeatureT = TypeVar("FeatureT")
OutputT = TypeVar("OutputT")
BatchT = TypeVar("BatchT", bound=Batch)


class Head(nn.Module, ABC, Generic[TrunkT, FeatureT, OutputT, BatchT]):
    """One task of one dataset, on top of the trunk that all datasets of the task share.

    Its types are those of the trunk, the trunk's output, the head's raw output and the task's batch.
    """

    task: ClassVar[Task]
    Options: ClassVar[type[HeadOptions]] = HeadOptions
    raw_stages: ClassVar[bool] = False  # whether the trunk takes the backbone's stages before their norms
    exclusive: bool | None = None  # whether classes exclude each other; None if the head knows no such choice
    begins_at_trivial: ClassVar[bool] = False  # whether it has to see the trivial answer before training

    @classmethod
    @abstractmethod
    def build_trunk(cls, channels: Sequence[int], config: ModelConfig) -> TrunkT:
        """The part that all heads of the task share, on a backbone with these ``channels``, finest stage first."""

    @classmethod
    @abstractmethod
    def build(cls, trunk: TrunkT, num_classes: int, config: ModelConfig, options: Any) -> Self:
        """A head for this trunk.

        Args:
            trunk: Output of :meth:`build_trunk`.
            num_classes: Number of outputs, K.
            config: Configuration of the network.
            options: Instance of the head's ``Options``.
        """

    @abstractmethod
    def forward(self, feature: FeatureT, trunk: TrunkT, batch: BatchT | None = None) -> OutputT:
        """The trunk's output to the head's raw outputs. ``batch`` is given in training (denoising queries need it)."""

    @abstractmethod
    def loss(self, outputs: OutputT, batch: BatchT) -> dict[str, Tensor]:
        """Named scalars whose sum is the task's loss; unknown labels give exactly zero gradient."""

    def counts(self, batch: BatchT) -> dict[str, int]:
        """Numbers of entries that the losses divide by, by name, as far as the batch alone gives them.

        With several processes they are added up in one message before the forward pass, and ``mean_count(..., name)``
        finds them; a loss whose number is not here sends a message of its own. At most eight; each rank has the same
        names.

        Args:
            batch: Batch on the host.
        """
        return {}

    def see_labels(self, labels: np.ndarray, weights: np.ndarray, datasets: np.ndarray) -> None:
        """Called once before training.

        Args:
            labels: (N, K) tri-state labels of the head's training images.
            weights: (N,) how often each image is drawn, with mean 1.
            datasets: (N,) name of each image's dataset; more than one, if datasets share the head.
        """
        return

    def see_trivial(self, learned: Sequence[Mapping[str, Any] | None]) -> None:
        """Called once before training, if ``begins_at_trivial``, the same on all ranks.

        Args:
            learned: For each of the K classes what ``learn_trivial`` of the task gave of the head's training images;
                None for a class of which they say nothing.
        """
        return

    @abstractmethod
    def predict(self, outputs: OutputT, size: tuple[int, int]) -> Prediction:
        """The head's prediction for input images of ``size`` (H, W)."""


def _head_name(path: PurePath) -> str:
    return path.parent.name if path.stem == "head" else path.stem.removeprefix("head_")


HEADS: Extensions[type[Head[Any, Any, Any, Any]]] = Extensions(
    "head",
    "foundationx.tasks",
    one_class(Head),  # type: ignore[type-abstract]  # the base of those that are looked for
    pattern="*/head*.py",
    name_of=_head_name,
)
"""Every head: ``TASK/head.py`` is the task's default, of the task's name; files ``head_*.py`` beside it are others."""


def head_name(task: Task, name: str) -> str:
    """Full name of a head: ``TASK_NAME`` may be called ``NAME`` where the task is known."""
    full = f"{task.value}_{name}"
    return full if name not in HEADS.names() and full in HEADS.names() else name


def open_head(task: Task, config: ModelConfig) -> tuple[type[Head[Any, Any, Any, Any]], HeadOptions]:
    """The head that a configuration chooses for a task, and its checked options.

    Raises:
        ConfigError: There is no such head, it is one of another task, or an option is unknown or wrong.
    """
    where = f"model.heads.{task.value}"
    chosen = config.heads.get(task, HeadConfig(type=task.value))
    head = HEADS.get(head_name(task, chosen.type), f"{where}.type")
    if head.task != task:
        fix = f"choose a head of {task.value}"
        raise ConfigError(f"{where}.type", f"{chosen.type!r} is a head of {head.task.value}", f"of {task.value}", fix)
    try:
        return head, head.Options.model_validate(chosen.options)
    except ValidationError as error:
        raise validation_error(error, head.Options, "", ConfigError, f"{where}.options") from None
