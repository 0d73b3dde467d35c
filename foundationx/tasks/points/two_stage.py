"""Two-stage UniHead: proposals, then points in each of them that give classes, a box and its expected IoU.

(``docs/methods/unihead.md``, "2.1 Boxes".) Detection and outlines of segmentation are built of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foundationx.core import distributed
from foundationx.tasks.detection.boxes import generalised_iou, iou
from foundationx.tasks.points.assignment import Assigned, Truth, assign, judged, rows, sample
from foundationx.tasks.points.blocks import (
    CLASS_STD,
    PointEncoder,
    PointMover,
    PointScatter,
    TokenClassifier,
    output_layer,
)
from foundationx.tasks.points.geometry import bounds, side_directions, start_biases
from foundationx.tasks.points.options import RegionOptions
from foundationx.tasks.points.proposals import PRIOR, Anchored, RegionProposals, Regions
from foundationx.tasks.points.pyramid import Pyramid
from foundationx.tasks.points.suppression import Found, best_boxes

STAGE_IOU, STAGE_WEIGHT = (0.5, 0.6, 0.7), (1.0, 0.5, 0.25)
"""IoU from which on a region is positive in each stage of a cascade, and the weights of their losses."""

POSITIVE_SHARE = 0.25
"""Most of an image's trained regions that are positive."""


@dataclass(slots=True)
class StageOutputs:
    """The outputs of one stage.

    Attributes:
        regions: (B, R, 4), what the stage looked at, x1 y1 x2 y2 as shares of the image.
        logits: (B, R, K), or (B, R, K + 1) with background last.
        expected: (B, R), logit of the IoU that the box is expected to have.
        boxes: (B, R, 1, 4), or (B, R, K, 4) with a box for each class.
    """

    regions: Tensor
    logits: Tensor
    expected: Tensor
    boxes: Tensor


@dataclass(slots=True)
class TwoStageOutputs:
    """Outputs at anchors and of every stage.

    Attributes:
        anchored: At all anchors.
        stages: Of each stage.
        is_valid: (B, R), regions that count.
        truth: What is known of the batch, in training.
    """

    anchored: Anchored
    stages: list[StageOutputs]
    is_valid: Tensor
    truth: Truth | None = None


class BoxStage(nn.Module):
    """Classes, box and expected IoU of regions, by two encoders on the same sampled points.

    Args:
        classes: Classes K of the dataset.
        options: Sizes.
    """

    def __init__(self, classes: int, options: RegionOptions):
        super().__init__()
        offsets, shifts = start_biases(side_directions(options.points))
        softmax = options.as_released
        self.scatter = PointScatter(options, offsets)
        self.class_encoder = PointEncoder(options, options.class_blocks)
        bias = 0.0 if softmax else -math.log((1 - PRIOR) / PRIOR)
        self.classifier = TokenClassifier(1 + options.points, classes + softmax, options, bias=bias)
        self.place_encoder = PointEncoder(options, options.place_blocks)
        self.expected = output_layer(options.channels, 1, CLASS_STD)
        copies = classes if options.class_boxes else 1
        self.mover = PointMover(options.points, options.place_hidden, shifts, options, copies=copies)

    def forward(self, pyramid: Pyramid, regions: Tensor) -> StageOutputs:
        """Looks at regions (B, R, 4)."""
        scattered = self.scatter(pyramid, regions)
        logits = self.classifier(self.class_encoder(scattered.features)).float()
        placed = self.place_encoder(scattered.features)
        expected = self.expected(placed[:, :, 0]).squeeze(-1).float()
        boxes = bounds(scattered.moved(self.mover(placed[:, :, 1:])))
        return StageOutputs(regions, logits, expected, boxes)


class TwoStage(nn.Module):
    """Proposals and one or three stages.

    Args:
        classes: Classes K of the dataset.
        options: Sizes.
    """

    def __init__(self, classes: int, options: RegionOptions):
        super().__init__()
        self.options, self.classes = options, classes
        self.proposals = RegionProposals(options.channels, 1 if options.as_released else classes, options)
        self.stages = nn.ModuleList(BoxStage(classes, options) for _ in range(3 if options.cascade else 1))

    def forward(self, pyramid: Pyramid, truth: Truth | None = None) -> TwoStageOutputs:
        """Outputs at the proposals of a pyramid; with ``truth`` at a sample of proposals and true boxes."""
        anchored = self.proposals(pyramid)
        found = self.proposals.select(anchored)
        found = found if truth is None else self._sampled(found, truth)
        finer = pyramid.levels(len(pyramid.spatial_shapes) - 1)  # the coarsest level has proposals alone
        regions, stages = found.boxes, []
        for stage in self.stages:
            stages.append(stage(finer, regions))
            regions = self._refined(stages[-1])
        return TwoStageOutputs(anchored, stages, found.is_valid, truth)

    def probabilities(self, stage: StageOutputs) -> Tensor:
        """Probability (B, R, K) of each class."""
        return stage.logits.softmax(2)[..., :-1] if self.options.as_released else stage.logits.sigmoid()

    def losses(self, outputs: TwoStageOutputs) -> dict[str, Tensor]:
        """Losses of proposals and stages, each divided by its number of regions over all ranks."""
        truth = outputs.truth
        assert truth is not None, "outputs were computed without truth"
        proposal_class, proposal_box, anchors = self.proposals.losses(outputs.anchored, truth)
        sums, numbers = [], [anchors, outputs.is_valid.sum()]
        for stage, least in zip(outputs.stages, STAGE_IOU, strict=False):
            parts, own = self._stage_losses(stage, truth, outputs.is_valid, least)
            sums.append(parts)
            numbers += own
        count = distributed.mean_count(torch.stack([number.float() for number in numbers]))  # one message for all
        losses = {"proposals": (proposal_class + proposal_box) / count[0]}
        names = ("class", "giou", "iou")
        for name in names:
            losses[name] = proposal_class.new_zeros(())
        for number, (parts, weight) in enumerate(zip(sums, STAGE_WEIGHT, strict=False)):
            divisors = (count[1], count[2 + 2 * number], count[3 + 2 * number])
            for name, part, divisor in zip(names, parts, divisors, strict=True):
                losses[name] = losses[name] + weight * part / divisor
        return losses

    @torch.no_grad()
    def found(self, outputs: TwoStageOutputs, top: int) -> Found:
        """The ``top`` best boxes of every image after suppression within each class."""
        by_class = torch.stack([self.probabilities(stage) for stage in outputs.stages]).mean(0)
        expected = torch.stack([stage.expected.sigmoid() for stage in outputs.stages]).mean(0)
        return best_boxes(outputs.stages[-1].boxes, by_class, expected * outputs.is_valid, top)

    @torch.no_grad()
    def _sampled(self, found: Regions, truth: Truth) -> Regions:
        """A sample of proposals and true boxes."""
        boxes = torch.cat([truth.boxes, found.boxes], dim=1)
        is_valid = torch.cat([truth.classes >= 0, found.is_valid], dim=1)
        positive = (assign(boxes, truth).best >= STAGE_IOU[0]) & is_valid
        index, counts = sample(positive, ~positive & is_valid, self.options.sampled, POSITIVE_SHARE)
        return Regions(rows(boxes, index), counts)

    @torch.no_grad()
    def _refined(self, stage: StageOutputs) -> Tensor:
        """The boxes (B, R, 4) of a stage, those of the likeliest class if there are several, as regions of the next."""
        boxes = stage.boxes.clamp(0, 1)
        if boxes.shape[2] == 1:
            return boxes[:, :, 0]
        likeliest = self.probabilities(stage).argmax(dim=2)
        return boxes.gather(2, likeliest[..., None, None].expand(-1, -1, 1, 4))[:, :, 0]

    def _stage_losses(
        self, stage: StageOutputs, truth: Truth, is_valid: Tensor, least: float
    ) -> tuple[tuple[Tensor, Tensor, Tensor], list[Tensor]]:
        """Sums of class loss, of GIoU weighted by IoU, and of the loss of the expected IoU; what to divide by."""
        assigned = assign(stage.regions, truth)
        positive = (assigned.best >= least) & is_valid
        entries = self._class_entries(stage, assigned, truth, least)
        target = assigned.of(truth.boxes)
        box = _own(stage.boxes, assigned.of(truth.classes[..., None])[..., 0].clamp(min=0))
        overlap = torch.where(positive, iou(box.detach(), target), 0.0)
        giou = 1 - generalised_iou(box, target)
        expected = F.binary_cross_entropy_with_logits(stage.expected, overlap, reduction="none")
        sums = ((entries * is_valid).sum(), (giou * overlap).sum(), (expected * positive).sum())
        return sums, [overlap.sum(), positive.sum()]

    def _class_entries(self, stage: StageOutputs, assigned: Assigned, truth: Truth, least: float) -> Tensor:
        """Class loss (B, R) of every region; 0 where nothing is known.

        Classes are independent of each other, and a region may hold several. Softmax (as released) cannot leave one
        class out: a region without a truth then counts if no class at all is unknown there.
        """
        may_be_empty = judged(stage.regions, truth)
        present = assigned.by_class >= least
        if not self.options.as_released:
            entries = F.binary_cross_entropy_with_logits(stage.logits, present.to(stage.logits.dtype), reduction="none")
            return (entries * (present | may_be_empty)).sum(dim=2)
        own = assigned.of(truth.classes[..., None])[..., 0]
        target = torch.where(assigned.best >= least, own, self.classes)
        entries = F.cross_entropy(stage.logits.flatten(0, 1), target.flatten(), reduction="none").view_as(target)
        return entries * ((assigned.best >= least) | may_be_empty.all(dim=2))


def _own(boxes: Tensor, classes: Tensor) -> Tensor:
    """The box (B, R, 4) of each region that belongs to its class (B, R)."""
    if boxes.shape[2] == 1:
        return boxes[:, :, 0]
    return boxes.gather(2, classes[..., None, None].expand(-1, -1, 1, 4))[:, :, 0]
