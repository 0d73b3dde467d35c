"""What every loss of image labels offers. A loss is one file of ``label_losses/``, named by its file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from pydantic import Field, ValidationError
from torch import Tensor, nn

from foundationx.core import distributed
from foundationx.core.config.model import Section
from foundationx.core.errors import ConfigError
from foundationx.core.extensions import Extensions, one_class
from foundationx.core.validation import validation_error


class LabelLossOptions(Section):
    """Options of every loss; each adds its own."""

    type: str = Field(description="name of the loss")


OptionsT = TypeVar("OptionsT", bound=LabelLossOptions)


class LabelLoss(nn.Module, ABC, Generic[OptionsT]):
    """Loss of independent classes with tri-state labels. It has no parameters; what it knows of classes are buffers.

    Args:
        classes: Number of classes K.
        options: Instance of its ``Options``.
    """

    Options: ClassVar[type[LabelLossOptions]]
    same_on_all_ranks = True

    def __init__(self, classes: int, options: OptionsT):
        super().__init__()
        self.classes, self.options = classes, options

    def see_labels(self, labels: np.ndarray) -> None:
        """Called once before training with the (N, K) tri-state labels of the training images."""
        return

    @abstractmethod
    def entries(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss (B, K) of every entry; ``labels`` are in [0, 1], 0 if unknown (such entries do not count)."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean over the entries whose label is known.

        Args:
            logits: (B, K).
            labels: (B, K) in [0, 1]; NaN is unknown and gives exactly zero gradient.

        Returns:
            A scalar; 0 (still part of the graph) if nothing is known. Its mean over ranks is that over all entries.
        """
        known = ~labels.isnan()
        entries = self.entries(logits, labels.nan_to_num(0.0).to(logits.dtype))
        return (entries * known).sum() / distributed.mean_count(known.sum(), "labels")


LABEL_LOSSES: Extensions[type[LabelLoss[Any]]] = Extensions(
    "label loss",
    "foundationx.tasks.classification.label_losses",
    one_class(LabelLoss),  # type: ignore[type-abstract]  # the base of those that are looked for
    group="label_losses",
)
"""Every loss of image labels: the files of ``label_losses/`` and the entry points of ``foundationx.label_losses``."""


def open_label_loss(config: Mapping[str, Any] | None, classes: int) -> LabelLoss[Any] | None:
    """The loss that a head's option ``loss`` asks for; None for the default, binary cross-entropy.

    Raises:
        ConfigError: Its ``type`` is missing or unknown, or an option is wrong.
    """
    if config is None:
        return None
    where = "model.heads.classification.options.loss"
    if "type" not in config:
        names = ", ".join(LABEL_LOSSES.names())
        raise ConfigError(where, "has no `type`", f"one of {names}", "for example loss=dict(type='asymmetric')")
    chosen = LABEL_LOSSES.get(str(config["type"]), f"{where}.type")
    try:
        return chosen(classes, chosen.Options.model_validate(config))
    except ValidationError as error:
        raise validation_error(error, chosen.Options, "", ConfigError, where) from None
