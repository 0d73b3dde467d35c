"""Classification head of one dataset: a linear layer on the pooled feature.

See ``docs/methods/foundation_x.md``, "1.2 Classification heads".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

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


class ClassificationHead(Head[ClassificationTrunk, Tensor, Tensor, Batch]):
    """One logit per class. Classes are independent of each other unless ``exclusive`` is set.

    Args:
        num_features: D of the trunk's output.
        num_classes: K of the dataset's card.
        loss: Loss of independent classes and its options; None for binary cross-entropy.
    """

    task = Task.CLASSIFICATION
    Options: ClassVar[type[HeadOptions]] = ClassificationOptions
    exclusive: bool | None = False

    def __init__(self, num_features: int, num_classes: int, loss: Mapping[str, Any] | None = None):
        super().__init__()
        self.label_loss = open_label_loss(loss, num_classes)
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
        return cls(trunk.out_features, num_classes, getattr(options, "loss", None))

    def see_labels(self, labels: np.ndarray, weights: np.ndarray) -> None:
        """Begins at the share of the drawn images that have each class, or tells a loss with weights of its own.

        Rare findings, begun at even odds, would have hundreds of steps spent on learning how rare they are (of boxes:
        Lin et al., 2017, 4.1). A class of which no label is known begins at even odds.
        """
        if self.label_loss is not None:
            self.label_loss.see_labels(labels)
            return
        present, absent = (np.nansum(side * weights[:, None], axis=0) for side in (labels, 1 - labels))
        start = np.log(present + 0.5) - (0 if self.exclusive else np.log(absent + 0.5))
        linear = [
            layer for layer in self.classifier.modules() if isinstance(layer, nn.Linear)
        ]  # a subclass has its own
        if linear and linear[-1].bias is not None and linear[-1].out_features == len(start):
            with torch.no_grad():
                linear[-1].bias.copy_(torch.from_numpy(start))

    def forward(self, feature: Tensor, trunk: ClassificationTrunk, batch: Batch | None = None) -> Tensor:
        """(B, D) to logits (B, K)."""
        return self.classifier(feature)

    def loss(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Loss of the options over the known labels; cross-entropy over images, if classes are exclusive."""
        if self.exclusive:
            return {"ce": masked_ce(outputs, batch.labels, "labels")}
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
