"""Predicted boxes matched with the true ones, image by image, as COCO does it.

Overlaps are pycocotools' own. ``tests/evaluation/metrics/test_average_precision.py`` compares every hit with
pycocotools' evaluator.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco

from foundationx.core.arrays import AnyArray
from foundationx.evaluation.predictions import Predictions

IOUS = np.array([0.40, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.90, 0.95])
"""Least overlaps of a hit: AP40's (the published mAP40), then COCO's ten."""

MAX_DETECTIONS = 100
"""Boxes of one class that count in one image, the best first."""


@dataclass(frozen=True)
class Matches:
    """What became of every predicted box of a class, over the images in which the class was annotated.

    Attributes:
        images: (n,) indices of those images.
        scores: (M,) float32, scores of the predicted boxes, the best first; equal ones in the order of their images.
        box_images: (M,) int32, image index of each.
        packed_hits: (2, M) uint8, ``hits`` as bits.
        packed_ignored: (2, M) uint8, likewise, the boxes that do not count; None if all count.
        true_images: (T,) image index of each true box.
    """

    images: AnyArray
    scores: AnyArray
    box_images: AnyArray
    packed_hits: AnyArray
    packed_ignored: AnyArray | None
    true_images: AnyArray

    def hits(self, iou: int) -> AnyArray:
        """(M,) bool: whether each box is the best unused match of a true one at the overlap ``IOUS[iou]``."""
        return _bits(self.packed_hits, iou)

    def counted(self, iou: int) -> tuple[AnyArray, AnyArray, AnyArray]:
        """Scores, hits and image indices of the boxes that count at the overlap ``IOUS[iou]``.

        A box that is no hit does not count if it lies in a region in which the class is unknown.
        """
        counted = (self.scores, self.hits(iou), self.box_images)
        if self.packed_ignored is None:
            return counted
        kept = ~_bits(self.packed_ignored, iou)
        scores, hits, images = (values[kept] for values in counted)
        return scores, hits, images


def _bits(packed: AnyArray, iou: int) -> AnyArray:
    """Row ``iou`` of packed bits, (M,) bool."""
    return (packed[iou // 8] >> (7 - iou % 8)) & 1 == 1


def match_boxes(predictions: Predictions) -> list[Matches]:
    """Matches of each class at all of ``IOUS``, greedily from the best box down."""
    scores, classes = predictions.ragged("scores"), predictions.ragged("box_classes")
    boxes, true_boxes = predictions.ragged("boxes"), predictions.ragged("true_boxes")
    true_classes = predictions.ragged("true_classes")
    regions, of_region = predictions.ragged("ignored_boxes"), predictions.ragged("ignored_classes")
    collected: list[list[tuple[AnyArray, ...]]] = [[] for _ in predictions.classes]
    for image, known in enumerate(~np.isnan(predictions.labels)):
        of_image = classes.image(image)
        confidences, predicted = scores.image(image), as_xywh(boxes.image(image))
        true, of_true = as_xywh(true_boxes.image(image)), true_classes.image(image)
        unknown, of_unknown = as_xywh(regions.image(image)), of_region.image(image)
        for k in np.flatnonzero(known):
            own = of_image == k
            best, hits = match_image(predicted[own], confidences[own], true[of_true == k], IOUS)
            ignored = ~hits & in_regions(predicted[own][best], unknown[of_unknown == k], IOUS)
            collected[k].append((confidences[own][best], np.packbits(hits, axis=0), np.packbits(ignored, axis=0)))
    return [_join(predictions, k, parts) for k, parts in enumerate(collected)]


def _join(predictions: Predictions, k: int, parts: list[tuple[AnyArray, ...]]) -> Matches:
    """Matches of class ``k`` from the scores, packed hits and packed ignored boxes of each annotated image."""
    images = np.flatnonzero(~np.isnan(predictions.labels[:, k]))
    true_classes = predictions.ragged("true_classes")
    true = true_classes.images[true_classes.values == k]
    scores = np.concatenate([np.zeros(0, np.float32), *(confidences for confidences, *_ in parts)])
    none = np.zeros((-(-len(IOUS) // 8), 0), np.uint8)
    hits = np.concatenate([none, *(packed for _, packed, _ in parts)], axis=1)
    ignored = np.concatenate([none, *(packed for *_, packed in parts)], axis=1)
    box_images = np.repeat(images, [len(confidences) for confidences, *_ in parts]).astype(np.int32)
    order = np.argsort(-scores, kind="stable")
    return Matches(
        images,
        scores[order],
        box_images[order],
        hits.take(order, axis=1),
        ignored.take(order, axis=1) if ignored.any() else None,
        true[np.isin(true, images)],
    )


def in_regions(boxes: AnyArray, regions: AnyArray, shares: AnyArray) -> AnyArray:
    """Whether regions cover boxes, (I, m) bool, as COCO's crowd regions do: by a share of the box's own area.

    Args:
        boxes: (m, 4) predictions, x y width height.
        regions: (R, 4) regions, likewise.
        shares: (I,) least shares.
    """
    if not len(boxes) or not len(regions):
        return np.zeros((len(shares), len(boxes)), dtype=bool)
    return coco.iou(boxes, regions, [1] * len(regions)).max(axis=1) >= shares[:, None]


def match_image(boxes: AnyArray, scores: AnyArray, true: AnyArray, ious: AnyArray) -> tuple[AnyArray, AnyArray]:
    """Matches the boxes of one class in one image: greedily, from the best box down.

    A box takes the free true box that it overlaps most, separately at each of ``ious``; of equal ones the last.

    Args:
        boxes: (M, 4) predictions, x y width height.
        scores: (M,) scores of the predictions.
        true: (T, 4) true boxes, likewise.
        ious: (I,) least overlaps of a hit.

    Returns:
        Indices (m,) of the best 100 boxes, the best first, and whether each is a hit, (I, m) bool.
    """
    best = np.argsort(-np.asarray(scores), kind="stable")[:MAX_DETECTIONS]
    hits = np.zeros((len(ious), len(best)), dtype=bool)
    if not len(best) or not len(true):
        return best, hits
    overlaps = coco.iou(boxes[best], true, [0] * len(true))
    free = np.ones((len(ious), len(true)), dtype=bool)
    levels = np.arange(len(ious))
    for box in np.flatnonzero(overlaps.max(axis=1) >= ious.min()):
        possible = np.where(free & (overlaps[box] >= ious[:, None]), overlaps[box], -1.0)
        chosen = len(true) - 1 - possible[:, ::-1].argmax(axis=1)
        hits[:, box] = possible[levels, chosen] >= 0
        free[levels, chosen] &= ~hits[:, box]
    return best, hits


def as_xywh(boxes: AnyArray) -> AnyArray:
    """Corners (n, 4) x1 y1 x2 y2 as COCO's x, y, width, height."""
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
