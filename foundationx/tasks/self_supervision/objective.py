"""What every self-supervised objective offers. An objective is one file of ``objectives/``, named by its file.

It chooses the views of an image at a point of training, holds its heads and what it remembers, and gives named
losses. It knows neither files nor datasets nor a backbone: ``data/transforms/view_sets.py`` cuts the pixels and the
tokens are passed in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from pydantic import Field, ValidationError
from torch import Tensor, nn

from foundationx.core.config.model import Section
from foundationx.core.config.views import PhotometryConfig
from foundationx.core.errors import ConfigError
from foundationx.core.extensions import Extensions, one_class
from foundationx.core.geometry.boxes import Grid
from foundationx.core.geometry.views import TrainingProgress, View, ViewBatch
from foundationx.core.validation import validation_error

CLEAN = "_clean"
"""Ends the name of the teacher's copy of a view: the same box without any change of its pixels."""


class ObjectiveOptions(Section):
    """Options of every objective; each adds its own."""

    type: str = Field(description="name of the objective")
    as_released: bool = Field(
        False, description="follow the published code if it differs from the recommended settings"
    )
    photometry: PhotometryConfig = Field(
        PhotometryConfig(), description="photometric transforms of the student's views"
    )


@dataclass(frozen=True)
class Tokens:
    """A view as the backbone sees it: ``values`` (B, N, D), row by row over a ``grid`` of rows and columns."""

    values: Tensor
    grid: Grid

    @property
    def pooled(self) -> Tensor:
        """(B, D), the mean over all tokens."""
        return self.values.mean(dim=1)

    def __getitem__(self, images: slice) -> Tokens:
        """Some images of the batch."""
        return Tokens(self.values[images], self.grid)


OptionsT = TypeVar("OptionsT", bound=ObjectiveOptions)
ObjectiveT = TypeVar("ObjectiveT", bound="Objective[Any]")


@dataclass(frozen=True)
class ObjectiveBatch(Generic[ObjectiveT]):
    """A batch of views, with the encoders of student and teacher.

    Attributes:
        views: by name.
        training_progress: when they were asked for.
        student: (B, 1, S, S) uint8 images to tokens; trained.
        teacher: the same without gradient, by the teacher's backbone.
        target: the teacher's copy of the objective, for its heads.
        normalise: (B, 1, S, S) uint8 to normalised (B, 3, S, S).
        dataset: Dataset of the images.
    """

    views: Mapping[str, ViewBatch]
    training_progress: TrainingProgress
    student: Callable[[Tensor], Tokens]
    teacher: Callable[[Tensor], Tokens]
    target: ObjectiveT
    normalise: Callable[[Tensor], Tensor]
    dataset: str = ""

    def clean(self, name: str) -> ViewBatch:
        """The teacher's copy of a view; the view itself if there is none."""
        return self.views.get(name + CLEAN, self.views[name])

    def seen_by_student(self, *names: str) -> list[Tokens]:
        """Tokens of views of one size, in one pass."""
        return _look(self.student, [self.views[name] for name in names])

    def seen_by_teacher(self, *names: str) -> list[Tokens]:
        """Tokens of the teacher's copies of views of one size, in one pass; without gradient."""
        with torch.no_grad():
            return _look(self.teacher, [self.clean(name) for name in names])


@dataclass(frozen=True)
class ObjectiveOutput:
    """What an objective computes from a batch.

    Attributes:
        losses: named scalars; their sum is what is differentiated.
        first, second: (B, D) backbone features of two views of the same images, by the student and by the teacher: what
            should be alike. Watched for collapse.
        assigned: (B, K) the teacher's distribution over prototypes, if the objective has any.
    """

    losses: dict[str, Tensor]
    first: Tensor
    second: Tensor
    assigned: Tensor | None = None


class Objective(nn.Module, ABC, Generic[OptionsT]):
    """Views, heads, memory and losses of one method.

    Args:
        features: D of the backbone's tokens.
        options: of its ``Options``.
    """

    Options: ClassVar[type[ObjectiveOptions]]
    is_shared: ClassVar[bool] = False  # whether all datasets share one; else each dataset has its own

    def __init__(self, features: int, options: OptionsT):
        super().__init__()
        self.options = options

    @property
    def turns(self) -> int:
        """How many kinds of batches it takes in turn."""
        return 1

    @classmethod
    @abstractmethod
    def views(
        cls, options: OptionsT, size: tuple[int, int], training_progress: TrainingProgress, random: np.random.Generator
    ) -> Sequence[View]:
        """Views of an image of ``size`` (height, width); their names and sizes depend on the progress alone."""

    @abstractmethod
    def forward(self, batch: ObjectiveBatch[Any]) -> ObjectiveOutput:
        """Losses of a batch. In training mode, what is remembered moves on."""


def for_both(view: View, options: ObjectiveOptions) -> list[View]:
    """A view for student and teacher: with the teacher's clean copy, or as released the very same one."""
    if options.as_released or not (view.toned or view.rotate or view.distorted or view.order is not None):
        return [view]
    return [view, View(view.name + CLEAN, view.window, view.size, toned=False)]


def _look(encoder: Callable[[Tensor], Tokens], views: Sequence[ViewBatch]) -> list[Tokens]:
    """One pass over several views; tokens of each."""
    seen = encoder(torch.cat([view.images for view in views]))
    count = len(views[0].images)
    return [seen[index * count : (index + 1) * count] for index in range(len(views))]


OBJECTIVES: Extensions[type[Objective[Any]]] = Extensions(
    "objective",
    "foundationx.tasks.self_supervision.objectives",
    one_class(Objective),  # type: ignore[type-abstract]  # the base of those that are looked for
)
"""Every objective: the files of ``objectives/`` and the entry points of ``foundationx.objectives``."""


def open_objective(config: Mapping[str, Any] | None) -> tuple[type[Objective[Any]], Any]:
    """The class and the checked options that a configuration's ``model.objective`` asks for.

    Raises:
        ConfigError: there is none, its ``type`` is unknown or an option is wrong.
    """
    if config is None:
        fix = f"set model.objective=dict(type=...), one of {', '.join(OBJECTIVES.names())}"
        raise ConfigError("model.objective", "is missing, though a dataset's tasks name self_supervision", fix=fix)
    chosen = OBJECTIVES.get(str(config["type"]), "model.objective.type")
    try:
        return chosen, chosen.Options.model_validate(config)
    except ValidationError as error:
        raise validation_error(error, chosen.Options, "", ConfigError, "model.objective") from None
