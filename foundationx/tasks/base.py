"""What every head offers. A head is one file of this folder; the model finds it by its ``task``."""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar

from torch import Tensor, nn

from foundationx import tasks as room
from foundationx.core.config.model import ModelConfig
from foundationx.core.types import Batch, Prediction, Task


class Head(nn.Module, ABC):
    """One task of one dataset, on top of the trunk that all datasets of the task share."""

    task: ClassVar[Task]

    @classmethod
    @abstractmethod
    def build_trunk(cls, channels: Sequence[int], config: ModelConfig) -> nn.Module:
        """The part that all heads of the task share, on a backbone with these ``channels``, finest stage first."""

    @classmethod
    @abstractmethod
    def build(cls, trunk: nn.Module, num_classes: int, config: ModelConfig) -> Head:
        """A head with ``num_classes`` outputs for this trunk."""

    @abstractmethod
    def forward(self, feature: Any, trunk: nn.Module, batch: Batch | None = None) -> Any:
        """The trunk's output to the head's raw outputs. ``batch`` is given in training (denoising queries need it)."""

    @abstractmethod
    def loss(self, outputs: Any, batch: Batch) -> dict[str, Tensor]:
        """Named scalars whose sum is the task's loss; unknown labels give exactly zero gradient."""

    @abstractmethod
    def predict(self, outputs: Any, size: tuple[int, int]) -> Prediction:
        """What the head says, for input images of ``size`` (H, W)."""


@cache
def head_classes() -> dict[Task, type[Head]]:
    """Every head of this folder by its task."""
    found: dict[Task, type[Head]] = {}
    for module in pkgutil.iter_modules(room.__path__):
        if not module.ispkg:
            continue
        members = vars(importlib.import_module(f"{room.__name__}.{module.name}.head")).values()
        for member in members:
            if isinstance(member, type) and issubclass(member, Head) and "task" in vars(member):
                found[member.task] = member
    return found
