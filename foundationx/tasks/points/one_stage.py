"""One-stage UniHead: the regions are those around every cell of the pyramid (``docs/methods/unihead.md``, 2.5)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from foundationx.core import distributed
from foundationx.tasks.detection.boxes import focal_loss, generalised_iou, iou
from foundationx.tasks.points.assignment import Truth, judged, rows
from foundationx.tasks.points.blocks import (
    CLASS_STD,
    DenseScatter,
    PointEncoder,
    PointMover,
    TokenClassifier,
    hidden_layer,
    output_layer,
)
from foundationx.tasks.points.geometry import bounds, side_directions, start_biases
from foundationx.tasks.points.locations import Placed, place
from foundationx.tasks.points.options import BoxPointOptions
from foundationx.tasks.points.proposals import PRIOR, anchors_of
from foundationx.tasks.points.pyramid import Pyramid
from foundationx.tasks.points.suppression import Found, best_boxes


class OneStageOptions(BoxPointOptions):
    """Options of the head."""

    assign: Literal["atss", "fcos"] = Field(
        "atss", description="which regions belong to a box: the rule of ATSS or that of FCOS"
    )


@dataclass(slots=True)
class OneStageOutputs:
    """Outputs at all cells.

    Attributes:
        regions: (R, 4) x1 y1 x2 y2 as shares of the image.
        logits: (B, R, K).
        expected: (B, R), logit of the IoU that the box is expected to have.
        boxes: (B, R, 4).
        truth: What is known of the batch, in training.
        placed: Which regions belong to it.
    """

    regions: Tensor
    logits: Tensor
    expected: Tensor
    boxes: Tensor
    truth: Truth | None = None
    placed: Placed | None = None


class OneStage(nn.Module):
    """Classes, box and expected IoU of a square region of 8 cells around every cell.

    In training the encoders' inner values are not kept but computed again: a radiograph has 20,000 cells.

    Args:
        classes: Classes K of the dataset.
        options: Sizes and the rule of assignment.
    """

    def __init__(self, classes: int, options: OneStageOptions):
        super().__init__()
        self.rule = options.assign
        offsets, shifts = start_biases(side_directions(options.points))
        self.scatter = DenseScatter(options, offsets)
        self.class_encoder = PointEncoder(options, options.class_blocks)
        bias = -math.log((1 - PRIOR) / PRIOR)
        self.classifier = TokenClassifier(1 + options.points, classes, options, bias=bias)
        self.place_encoder = PointEncoder(options, options.place_blocks)
        self.expected_hidden = hidden_layer(options.channels, options.channels)
        self.expected = output_layer(options.channels, 1, CLASS_STD)
        self.mover = PointMover(options.points, options.place_hidden, shifts, options)

    def forward(self, pyramid: Pyramid, truth: Truth | None = None) -> OneStageOutputs:
        """Outputs at all cells; with ``truth`` also which of them belong to it."""
        regions, levels = anchors_of(pyramid, ratios=(1.0,))
        scattered = self.scatter(pyramid, regions, levels)
        logits = self.classifier(_encoded(self.class_encoder, scattered.features)).float()
        placed = _encoded(self.place_encoder, scattered.features)
        expected = self.expected(self.expected_hidden(placed[:, :, 0]).relu()).squeeze(-1).float()
        boxes = bounds(scattered.moved(self.mover(placed[:, :, 1:])[:, :, 0]))
        assigned = None if truth is None else place(self.rule, pyramid, regions, levels, truth)
        return OneStageOutputs(regions, logits, expected, boxes, truth, assigned)

    def losses(self, outputs: OneStageOutputs) -> dict[str, Tensor]:
        """Focal loss of classes and the loss of the expected IoU, divided by the number of regions with a truth; GIoU
        weighted by IoU, divided by the sum of the weights. All over all ranks."""
        truth, placed = outputs.truth, outputs.placed
        assert truth is not None and placed is not None, "outputs were computed without truth"
        may_be_empty = judged(outputs.regions.expand(len(outputs.logits), -1, -1), truth)
        entries = focal_loss(outputs.logits, placed.present.to(outputs.logits.dtype))
        entries = entries * (placed.present | may_be_empty)
        target = rows(truth.boxes, placed.index)
        overlap = torch.where(placed.positive, iou(outputs.boxes.detach(), target), 0.0)
        giou = (1 - generalised_iou(outputs.boxes, target)) * overlap
        expected = F.binary_cross_entropy_with_logits(outputs.expected, overlap, reduction="none") * placed.positive
        count = distributed.mean_count(torch.stack([placed.positive.sum().float(), overlap.sum()]))
        return {"class": entries.sum() / count[0], "giou": giou.sum() / count[1], "iou": expected.sum() / count[0]}

    def found(self, outputs: OneStageOutputs, top: int) -> Found:
        """The ``top`` best boxes of every image after suppression within each class."""
        return best_boxes(outputs.boxes[:, :, None], outputs.logits.sigmoid(), outputs.expected.sigmoid(), top)


def _encoded(encoder: PointEncoder, features: Tensor) -> Tensor:
    """Encoded tokens (B, R, 1 + P, C) of features (B, R, P, C)."""
    if not torch.is_grad_enabled():
        return encoder(features)
    return checkpoint(encoder, features, use_reentrant=False)
