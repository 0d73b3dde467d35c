"""UniHead for boxes: proposals and scattered points on a feature pyramid (``docs/methods/unihead.md``, "2.1 Boxes").

The pyramid is shared by all datasets; proposals and box head are a dataset's own. Classes are independent of each
other, so that one that a dataset did not annotate in an image is left out of the loss there.
"""

from __future__ import annotations

from torch import Tensor

from foundationx.core.types import Task
from foundationx.tasks.detection.boxes import to_corners
from foundationx.tasks.detection.head import TOP
from foundationx.tasks.detection.prediction import DetectionPrediction
from foundationx.tasks.detection.target import DetectionBatch
from foundationx.tasks.points.assignment import Truth
from foundationx.tasks.points.pyramid import Pyramid, PyramidTrunk
from foundationx.tasks.points.region_head import RegionHead
from foundationx.tasks.points.two_stage import TwoStageOutputs


class UniHeadDetectionHead(RegionHead[TwoStageOutputs, DetectionBatch]):
    """The best boxes of proposals and box head."""

    task = Task.DETECTION

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
