"""UniHead for boxes: proposals and scattered points on a feature pyramid (``docs/methods/unihead.md``, "2.1 Boxes").

The pyramid is shared by all datasets; proposals and box head are a dataset's own. Classes are independent of each
other, so that one that a dataset did not annotate in an image is left out of the loss there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

from torch import Tensor

from foundationx.core.config.model import ModelConfig
from foundationx.core.types import Task
from foundationx.tasks.base import Head, HeadOptions, open_head
from foundationx.tasks.detection.boxes import to_corners
from foundationx.tasks.detection.head import TOP
from foundationx.tasks.detection.prediction import DetectionPrediction
from foundationx.tasks.detection.target import DetectionBatch
from foundationx.tasks.points.assignment import Truth
from foundationx.tasks.points.options import RegionOptions
from foundationx.tasks.points.pyramid import Pyramid, PyramidTrunk
from foundationx.tasks.points.two_stage import TwoStage, TwoStageOutputs


class UniHeadDetectionHead(Head[PyramidTrunk, Pyramid, TwoStageOutputs, DetectionBatch]):
    """Proposals and box head of one dataset.

    Args:
        num_classes: K of the dataset's card.
        options: Sizes.
    """

    task = Task.DETECTION
    Options: ClassVar[type[HeadOptions]] = RegionOptions

    def __init__(self, num_classes: int, options: RegionOptions):
        super().__init__()
        self.two_stage = TwoStage(num_classes, options)

    @classmethod
    def build_trunk(cls, channels: Sequence[int], config: ModelConfig) -> PyramidTrunk:
        """A feature pyramid of the head's width."""
        _, options = open_head(cls.task, config)
        assert isinstance(options, RegionOptions)
        return PyramidTrunk(channels, options.channels, norm=not options.as_released)

    @classmethod
    def build(cls, trunk: PyramidTrunk, num_classes: int, config: ModelConfig, options: Any) -> Self:
        """A head on the pyramid."""
        return cls(num_classes, options)

    def forward(self, feature: Pyramid, trunk: PyramidTrunk, batch: DetectionBatch | None = None) -> TwoStageOutputs:
        """The pyramid to classes and boxes of proposals; with ``batch`` of a sample of them and of true boxes."""
        outputs: TwoStageOutputs = self.two_stage(feature, None if batch is None else truth_of(batch))
        return outputs

    def loss(self, outputs: TwoStageOutputs, batch: DetectionBatch) -> dict[str, Tensor]:
        """Losses of proposals, classes, boxes and expected IoU."""
        return self.two_stage.losses(outputs)

    def predict(self, outputs: TwoStageOutputs, size: tuple[int, int]) -> DetectionPrediction:
        """The best boxes after suppression within each class, best first."""
        found = self.two_stage.found(outputs, TOP)
        return DetectionPrediction(relative_boxes=found.boxes, scores=found.scores, box_classes=found.classes)


def truth_of(batch: DetectionBatch) -> Truth:
    """The boxes of a batch and what is known of its classes."""
    ignored = batch.ignored_boxes
    return Truth(
        to_corners(batch.centred_boxes),
        batch.box_classes,
        ~batch.labels.isnan(),
        None if ignored is None else to_corners(ignored),
        batch.ignored_classes,
    )
