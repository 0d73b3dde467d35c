"""UniHead for masks: each part of a mask is a box with an outline (``docs/methods/unihead.md``, "2.2 Contours").

Boxes are found as in detection; points in each of them begin on its rim and are moved onto the outline. Predicted
outlines are filled, since masks are what segmentation is measured by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from foundationx.core import distributed
from foundationx.core.config.model import Whole
from foundationx.core.tensors import map_tensors
from foundationx.core.types import Task
from foundationx.tasks.base import HeadOptions
from foundationx.tasks.points.assignment import Truth, assign, rows, sample
from foundationx.tasks.points.blocks import PointEncoder, PointMover, PointScatter
from foundationx.tasks.points.geometry import rectangle_directions, start_biases
from foundationx.tasks.points.options import RegionOptions
from foundationx.tasks.points.pyramid import UNIT_CELLS, Pyramid, PyramidTrunk
from foundationx.tasks.points.region_head import RegionHead
from foundationx.tasks.points.suppression import Found
from foundationx.tasks.points.two_stage import STAGE_IOU, TwoStageOutputs
from foundationx.tasks.segmentation.outlines import outline_distance, outline_truth, painted
from foundationx.tasks.segmentation.prediction import SegmentationPrediction
from foundationx.tasks.segmentation.target import SegmentationBatch

OUTLINE_WEIGHT = 2.0
"""Weight of the loss of outlines."""

TRAINED = 128
"""Most regions of an image whose outlines are trained."""


class OutlineOptions(RegionOptions):
    """Options of the head: ``model.heads.segmentation.options``."""

    outline_points: Whole = Field(36, ge=4, le=512, multiple_of=4, description="points of an outline, a multiple of 4")
    outline_blocks: Whole = Field(3, ge=1, le=24, description="blocks of the encoder of outlines")
    outline_hidden: Whole = Field(1024, ge=1, le=16_384, description="width before the shifts of an outline's points")
    outlines: Whole = Field(20, ge=1, le=500, description="outlines of an image at test, the best ones")


@dataclass(slots=True)
class OutlineOutputs:
    """Boxes and outlines.

    Attributes:
        two_stage: Outputs of proposals and boxes.
        outlines: (B, M, P, 2) as shares of the image.
        regions: (B, M, 4), what the outlines are of.
        is_valid: (B, M), outlines that count.
        unit: (B, M, 2), ``UNIT_CELLS`` of their level as shares of the image.
        found: What the regions hold, at test.
    """

    two_stage: TwoStageOutputs
    outlines: Tensor
    regions: Tensor
    is_valid: Tensor
    unit: Tensor
    found: Found | None


class OutlineStage(nn.Module):
    """Points on the rim of a region, moved onto an outline by an encoder of their own.

    Args:
        options: Sizes.
    """

    def __init__(self, options: OutlineOptions):
        super().__init__()
        points = options.outline_points
        offsets, shifts = start_biases(rectangle_directions(points))
        self.scatter = PointScatter(options, offsets)
        self.encoder = PointEncoder(options, options.outline_blocks, has_token=False)
        self.mover = PointMover(points, options.outline_hidden, shifts, options)

    def forward(self, pyramid: Pyramid, regions: Tensor) -> Tensor:
        """Outlines (B, M, P, 2) of regions (B, M, 4)."""
        scattered = self.scatter(pyramid, regions)
        return scattered.moved(self.mover(self.encoder(scattered.features))[:, :, 0])


class UniHeadSegmentationHead(RegionHead[OutlineOutputs, SegmentationBatch]):
    """Outlines of the regions that proposals and box head find.

    Args:
        num_classes: K of the dataset's card.
        options: Sizes.
    """

    task = Task.SEGMENTATION
    Options: ClassVar[type[HeadOptions]] = OutlineOptions

    def __init__(self, num_classes: int, options: OutlineOptions):
        super().__init__(num_classes, options)
        self.num_classes, self.options = num_classes, options
        self.outline_stage = OutlineStage(options)

    def forward(self, feature: Pyramid, trunk: PyramidTrunk, batch: SegmentationBatch | None = None) -> OutlineOutputs:
        """The pyramid to boxes and outlines: of the best boxes; with ``batch`` of a sample of those with a truth."""
        truth = None if batch is None else self.truth(batch)
        outputs = self.two_stage(feature, truth)
        found = None
        if truth is None:
            found = self.two_stage.found(outputs, self.options.outlines)
            regions, is_valid = found.boxes, found.scores > 0
        else:
            regions = outputs.stages[0].regions
            positive = (assign(regions, truth).best >= STAGE_IOU[0]) & outputs.is_valid
            index, is_valid = sample(positive, torch.zeros_like(positive), TRAINED, 1.0)
            regions = rows(regions, index)
        finer = feature.levels(len(feature.spatial_shapes) - 1)
        unit = UNIT_CELLS / finer.sizes()[finer.level_of(regions)]
        return OutlineOutputs(outputs, self.outline_stage(finer, regions), regions, is_valid, unit, found)

    def truth(self, batch: SegmentationBatch) -> Truth:
        """Boxes and outlines of a batch's masks, found on the host."""
        options = self.options
        found = outline_truth(batch.masks.cpu().numpy(), options.outline_points, by_angle=options.as_released)
        on_device: Truth = map_tensors(found, lambda tensor: tensor.to(batch.masks.device, non_blocking=True))
        return on_device

    def loss(self, outputs: OutlineOutputs, batch: SegmentationBatch) -> dict[str, Tensor]:
        """Losses of proposals, classes, boxes, expected IoU and outlines."""
        truth = outputs.two_stage.truth
        assert truth is not None and truth.outlines is not None, "outputs were computed without truth"
        target = assign(outputs.regions, truth).of(truth.outlines)
        distance = outline_distance(outputs.outlines, target, outputs.unit, in_order=self.options.as_released)
        count = distributed.mean_count(outputs.is_valid.sum())
        outline = OUTLINE_WEIGHT * (distance * outputs.is_valid).sum() / count
        return self.two_stage.losses(outputs.two_stage) | {"outline": outline}

    def predict(self, outputs: OutlineOutputs, size: tuple[int, int]) -> SegmentationPrediction:
        """Masks (B, K, H, W): the filled outlines, at the probability of their class."""
        found = outputs.found
        assert found is not None, "outputs were computed for a loss"
        probabilities = found.probabilities * outputs.is_valid
        masks = painted(outputs.outlines, probabilities, found.classes, self.num_classes, size)
        return SegmentationPrediction(masks=masks)
