"""UniHead for boxes without proposals, on the regions of ATSS or FCOS (``docs/methods/unihead.md``, 2.5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

from torch import Tensor

from foundationx.core.config.model import ModelConfig
from foundationx.core.types import Task
from foundationx.tasks.base import Head, HeadOptions, open_head
from foundationx.tasks.detection.head import TOP
from foundationx.tasks.detection.head_detection_unihead import truth_of
from foundationx.tasks.detection.prediction import DetectionPrediction
from foundationx.tasks.detection.target import DetectionBatch
from foundationx.tasks.points.one_stage import OneStage, OneStageOptions, OneStageOutputs
from foundationx.tasks.points.pyramid import Pyramid, PyramidTrunk


class UniHeadOneStageHead(Head[PyramidTrunk, Pyramid, OneStageOutputs, DetectionBatch]):
    """The best boxes of all cells of a pyramid that begins at stride 8.

    Args:
        num_classes: K of the dataset's card.
        options: Sizes and the rule of assignment.
    """

    task = Task.DETECTION
    Options: ClassVar[type[HeadOptions]] = OneStageOptions

    def __init__(self, num_classes: int, options: OneStageOptions):
        super().__init__()
        self.one_stage = OneStage(num_classes, options)

    @classmethod
    def build_trunk(cls, channels: Sequence[int], config: ModelConfig) -> PyramidTrunk:
        """A feature pyramid of the head's width, from the second stage on and with two levels more."""
        _, options = open_head(cls.task, config)
        assert isinstance(options, OneStageOptions)
        return PyramidTrunk(channels, options.channels, norm=not options.as_released, start=1, extra=2)

    @classmethod
    def build(cls, trunk: PyramidTrunk, num_classes: int, config: ModelConfig, options: Any) -> Self:
        """A head on the pyramid."""
        return cls(num_classes, options)

    def forward(self, feature: Pyramid, trunk: PyramidTrunk, batch: DetectionBatch | None = None) -> OneStageOutputs:
        """The pyramid to classes and boxes of all cells; with ``batch`` also which of them belong to a box."""
        outputs: OneStageOutputs = self.one_stage(feature, None if batch is None else truth_of(batch))
        return outputs

    def loss(self, outputs: OneStageOutputs, batch: DetectionBatch) -> dict[str, Tensor]:
        """Losses of classes, boxes and expected IoU."""
        return self.one_stage.losses(outputs)

    def predict(self, outputs: OneStageOutputs, size: tuple[int, int]) -> DetectionPrediction:
        """The best boxes after suppression within each class, best first."""
        found = self.one_stage.found(outputs, TOP)
        return DetectionPrediction(relative_boxes=found.boxes, scores=found.scores, box_classes=found.classes)
