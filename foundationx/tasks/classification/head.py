"""Classification head of one dataset: a linear layer on the pooled feature.

See ``docs/methods/foundation_x.md``, "1.2 Classification heads".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from foundationx.core.config.model import ModelConfig, PlainDict
from foundationx.core.types import Batch, Task
from foundationx.tasks.base import Head, HeadOptions
from foundationx.tasks.classification.label_loss import open_label_loss
from foundationx.tasks.classification.losses import masked_bce, masked_ce
from foundationx.tasks.classification.prediction import ClassificationPrediction
from foundationx.tasks.classification.trunk import ClassificationTrunk


class ClassificationOptions(HeadOptions):
    """Options of the head: ``model.heads.classification.options``."""

    loss: PlainDict | None = Field(
        None,
        description="loss of independent classes: `type` is its name, the other keys are its options; null: "
        "binary cross-entropy",
    )
    shares: Literal["pooled", "dataset"] = Field(
        "pooled",
        description="where datasets share the head: `dataset` adds, in training, what a dataset's own share of images "
        "with a class differs by from the pooled one, so that telling datasets apart teaches nothing of a class",
    )


class ClassificationHead(Head[ClassificationTrunk, Tensor, Tensor, Batch]):
    """One logit per class. Classes are independent of each other unless ``exclusive`` is set.

    Args:
        num_features: D of the trunk's output.
        num_classes: K of the dataset's card.
        options: Loss of independent classes, and whose shares of images the logits of a shared head are relative to.
    """

    task = Task.CLASSIFICATION
    Options: ClassVar[type[HeadOptions]] = ClassificationOptions
    exclusive: bool | None = False
    shifts: Tensor

    def __init__(self, num_features: int, num_classes: int, options: ClassificationOptions | None = None):
        super().__init__()
        options = options or ClassificationOptions()
        self.label_loss = open_label_loss(options.loss, num_classes)
        self.shares = options.shares
        self.datasets: tuple[str, ...] = ()
        self.register_buffer("shifts", torch.zeros(0, num_classes), persistent=False)  # one row for each dataset
        self.classifier = nn.Linear(num_features, num_classes)
        nn.init.trunc_normal_(self.classifier.weight, std=0.02)
        nn.init.zeros_(self.classifier.bias)

    @classmethod
    def build_trunk(cls, channels: Sequence[int], config: ModelConfig) -> ClassificationTrunk:
        """Pooling and projector."""
        return ClassificationTrunk(channels, config.projector)

    @classmethod
    def build(cls, trunk: ClassificationTrunk, num_classes: int, config: ModelConfig, options: HeadOptions) -> Self:
        """A linear layer on the trunk's feature."""
        return cls(trunk.out_features, num_classes, options if isinstance(options, ClassificationOptions) else None)

    def see_labels(self, labels: np.ndarray, weights: np.ndarray, datasets: np.ndarray) -> None:
        """Begins at the share of the drawn images that have each class, or tells a loss with weights of its own.

        Rare findings, begun at even odds, would have hundreds of steps spent on learning how rare they are (of boxes:
        Lin et al., 2017, 4.1). A class of which no label is known begins at even odds.
        """
        if self.shares == "dataset":
            self._see_shares(labels, weights, datasets)
        if self.label_loss is not None:
            self.label_loss.see_labels(labels)
            return
        start = _log_shares(labels, weights) if self.exclusive else _log_odds(labels, weights)
        linear = [
            layer for layer in self.classifier.modules() if isinstance(layer, nn.Linear)
        ]  # a subclass has its own
        if linear and linear[-1].bias is not None and linear[-1].out_features == len(start):
            with torch.no_grad():
                linear[-1].bias.copy_(torch.from_numpy(start))

    def _see_shares(self, labels: np.ndarray, weights: np.ndarray, datasets: np.ndarray) -> None:
        """What every dataset's log-odds of each class differ by from those of all."""
        names = tuple(dict.fromkeys(datasets.tolist()))
        pooled = _log_odds(labels, weights)
        own = [_log_odds(labels[datasets == name], weights[datasets == name]) - pooled for name in names]
        self.datasets = names
        self.shifts = torch.from_numpy(np.stack(own)).to(self.shifts)

    def forward(self, feature: Tensor, trunk: ClassificationTrunk, batch: Batch | None = None) -> Tensor:
        """(B, D) to logits (B, K)."""
        return self.classifier(feature)

    def loss(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Loss of the options over the known labels; cross-entropy over images, if classes are exclusive."""
        if self.exclusive:
            return {"ce": masked_ce(outputs, batch.labels, "labels")}
        if batch.key.dataset in self.datasets:  # logit adjustment (Menon et al., 2021), by dataset
            outputs = outputs + self.shifts[self.datasets.index(batch.key.dataset)]
        if self.label_loss is not None:
            return {self.label_loss.options.type: self.label_loss(outputs, batch.labels)}
        return {"bce": masked_bce(outputs, batch.labels, "labels")}

    def counts(self, batch: Batch) -> dict[str, int]:
        """Known labels; images with complete labels and a present class, if classes are exclusive."""
        known = ~batch.labels.isnan()
        if self.exclusive:
            known = known.all(dim=1) & (batch.labels.nan_to_num(0.0).sum(dim=1) > 0)
        return {"labels": int(known.sum())}

    def predict(self, outputs: Tensor, size: tuple[int, int]) -> ClassificationPrediction:
        """Probabilities (B, K)."""
        logits = outputs.float()
        return ClassificationPrediction(logits.softmax(dim=1) if self.exclusive else logits.sigmoid())


def _log_shares(labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Logarithm (K,) of the number of drawn images that have each class, and half an image."""
    shares: np.ndarray = np.log(np.nansum(labels * weights[:, None], axis=0) + 0.5)
    return shares


def _log_odds(labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Log-odds (K,) of the drawn images that have each class, half an image added to either side."""
    return _log_shares(labels, weights) - _log_shares(1 - labels, weights)
