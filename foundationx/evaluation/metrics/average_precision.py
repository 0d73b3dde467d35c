"""Average precision of boxes as COCO defines it, class by class over the images where the class was annotated.

Boxes are matched as soon as an image is added, by overlaps that pycocotools computes; what is kept of an image is a
score and a few bits a box. ``tests/evaluation/metrics/test_average_precision.py`` holds the numbers against
pycocotools' own evaluator.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco

from foundationx.evaluation.metrics.score import Score, with_mean

IOUS = np.array([0.40, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.90, 0.95])
"""AP40 is the published mAP40 (``foundation_x.md`` section 4.1); AP is COCO's mean over 0.50 to 0.95."""

RECALLS = np.linspace(0.0, 1.0, 101)
"""Recalls at which precision is read, as in pycocotools."""

MAX_DETECTIONS = 100


class AveragePrecision:
    """Matches boxes; 101-point AP at IoU 0.40, at 0.50 and the mean over 0.50:0.05:0.95.

    Args:
        classes: K names.
    """

    def __init__(self, classes: Sequence[str]):
        self.classes = tuple(classes)
        self._scores: list[list[np.ndarray]] = [[] for _ in self.classes]
        self._hits: list[list[np.ndarray]] = [[] for _ in self.classes]
        self._true = np.zeros(len(self.classes), dtype=int)

    def add(
        self,
        boxes: np.ndarray,
        scores: np.ndarray,
        classes: np.ndarray,
        true_boxes: np.ndarray,
        true_classes: np.ndarray,
        known: np.ndarray,
    ) -> None:
        """One image.

        Args:
            boxes: (M, 4) predictions, x1 y1 x2 y2 in pixels.
            scores: (M,) of the predictions, the best highest.
            classes: (M,) class indices of the predictions.
            true_boxes: (N, 4) truth, x1 y1 x2 y2 in pixels.
            true_classes: (N,) class indices of the truth.
            known: (K,) bool, which classes were annotated in the image; the others are left out of it.
        """
        boxes, true_boxes = as_xywh(boxes), as_xywh(true_boxes)
        for k in np.flatnonzero(known):
            seen, true = classes == k, true_boxes[true_classes == k]
            best, hits = match_image(boxes[seen], scores[seen], true, IOUS)
            self._scores[k].append(np.asarray(scores[seen][best], dtype=np.float64))
            self._hits[k].append(np.packbits(hits, axis=0))
            self._true[k] += len(true)

    def rows(self) -> list[Score]:
        """AP40, AP50 and AP of each class and their means; None for a class without a true box."""
        values = [self._of_class(k) for k in range(len(self.classes))]
        rows = []
        for place, metric in enumerate(("AP40", "AP50", "AP")):
            scores = [
                Score(metric, name, value[place], int(n))
                for name, value, n in zip(self.classes, values, self._true, strict=True)
            ]
            rows += with_mean(metric, scores)
        return rows

    def _of_class(self, k: int) -> tuple[float | None, ...]:
        """AP at 0.40, at 0.50 and averaged."""
        if not self._true[k]:
            return None, None, None
        scores = np.concatenate(self._scores[k])
        hits = np.unpackbits(np.concatenate(self._hits[k], axis=1), axis=0, count=len(IOUS))
        order = np.argsort(-scores, kind="stable")
        precision = np.array([interpolated(hits[place, order], self._true[k]).mean() for place in range(len(IOUS))])
        return float(precision[0]), float(precision[1]), float(precision[1:].mean())


def interpolated(hits: np.ndarray, true: int) -> np.ndarray:
    """Precision at each of ``RECALLS``: the best at that recall or beyond, 0 where it is not reached.

    Args:
        hits: (M,) 0 or 1, the best box first.
        true: number of true boxes, at least 1.
    """
    found = np.cumsum(hits, dtype=np.float64)
    precision = found / (np.arange(1, len(hits) + 1) + np.spacing(1))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(found / true, RECALLS, side="left")
    return np.append(envelope, 0.0)[reached]


def match_image(
    boxes: np.ndarray, scores: np.ndarray, true: np.ndarray, ious: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of one class in one image matched with the truth as COCO does: greedily, from the best box down.

    A box takes the free true box that it overlaps most, at each of ``ious`` anew; of equal ones the last.

    Args:
        boxes: (M, 4) predictions, x y width height.
        scores: (M,).
        true: (N, 4) truth, likewise.
        ious: (T,) least overlaps of a match.

    Returns:
        Indices (m,) of the best 100 boxes, the best first, and whether each is a hit, (T, m) bool.
    """
    best = np.argsort(-np.asarray(scores), kind="stable")[:MAX_DETECTIONS]
    hits = np.zeros((len(ious), len(best)), dtype=bool)
    if not len(best) or not len(true):
        return best, hits
    overlaps = coco.iou(boxes[best], true, [0] * len(true))
    free = np.ones((len(ious), len(true)), dtype=bool)
    levels = np.arange(len(ious))
    for place in np.flatnonzero(overlaps.max(axis=1) >= ious.min()):
        possible = np.where(free & (overlaps[place] >= ious[:, None]), overlaps[place], -1.0)
        chosen = len(true) - 1 - possible[:, ::-1].argmax(axis=1)
        hits[:, place] = possible[levels, chosen] >= 0
        free[levels, chosen] &= ~hits[:, place]
    return best, hits


def as_xywh(boxes: np.ndarray) -> np.ndarray:
    """Corners (n, 4) x1 y1 x2 y2 as COCO's x, y, width, height."""
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
