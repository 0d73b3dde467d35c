"""Average precision of boxes by pycocotools, class by class over the images where the class was annotated."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from foundationx.evaluate.score import Score, with_mean

IOUS = np.array([0.40, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.90, 0.95])
"""AP40 is the published mAP40 (``foundation_x.md`` section 4.1); AP is COCO's mean over 0.50 to 0.95."""

MAX_DETECTIONS = 100


class AveragePrecision:
    """Collects boxes; 101-point AP at IoU 0.40, at 0.50 and the mean over 0.50:0.05:0.95.

    Args:
        classes: K names.
    """

    def __init__(self, classes: Sequence[str]):
        self.classes = tuple(classes)
        self._images: list[dict] = []
        self._truth: list[dict] = []
        self._found: list[dict] = []
        self._known: list[np.ndarray] = []

    def add(
        self,
        boxes: np.ndarray,
        scores: np.ndarray,
        classes: np.ndarray,
        true_boxes: np.ndarray,
        true_classes: np.ndarray,
        known: np.ndarray,
        size: tuple[int, int],
    ) -> None:
        """One image.

        Args:
            boxes: (M, 4) predictions, x1 y1 x2 y2 in pixels.
            scores: (M,) of the predictions, the best highest.
            classes: (M,) class indices of the predictions.
            true_boxes: (N, 4) truth, x1 y1 x2 y2 in pixels.
            true_classes: (N,) class indices of the truth.
            known: (K,) bool, which classes were annotated in the image; the others are left out of it.
            size: height and width in pixels.
        """
        image = len(self._images) + 1
        self._images.append({"id": image, "height": size[0], "width": size[1]})
        self._known.append(known)
        for box, label in zip(as_xywh(true_boxes), true_classes, strict=True):
            entry = {"id": len(self._truth) + 1, "image_id": image, "category_id": int(label), "bbox": box.tolist()}
            self._truth.append(entry | {"area": float(box[2] * box[3]), "iscrowd": 0})
        for box, score, label in zip(as_xywh(boxes), scores, classes, strict=True):
            entry = {"image_id": image, "category_id": int(label), "bbox": box.tolist(), "score": float(score)}
            self._found.append(entry)

    def rows(self) -> list[Score]:
        """AP40, AP50 and AP of each class and their means; None for a class without a true box."""
        values = [self._of_class(k) for k in range(len(self.classes))]
        rows = []
        for place, metric in enumerate(("AP40", "AP50", "AP")):
            scores = [
                Score(metric, name, value[place], n) for name, (value, n) in zip(self.classes, values, strict=True)
            ]
            rows += with_mean(metric, scores)
        return rows

    def _of_class(self, k: int) -> tuple[tuple[float | None, ...], int]:
        """AP at 0.40, at 0.50 and averaged, and the number of true boxes."""
        images = {image["id"] for image, known in zip(self._images, self._known, strict=True) if known[k]}
        truth = [entry for entry in self._truth if entry["category_id"] == k and entry["image_id"] in images]
        found = [entry for entry in self._found if entry["category_id"] == k and entry["image_id"] in images]
        if not truth:
            return (None, None, None), 0
        if not found:
            return (0.0, 0.0, 0.0), len(truth)
        judge = coco_judge(self._images, truth, found, IOUS)
        with contextlib.redirect_stdout(io.StringIO()):
            judge.accumulate()
        precision = judge.eval["precision"][:, :, 0, 0, 0].mean(axis=1)
        return (float(precision[0]), float(precision[1]), float(precision[1:].mean())), len(truth)


def coco_judge(images: list[dict], truth: list[dict], found: list[dict], ious: np.ndarray) -> COCOeval:
    """pycocotools' evaluator of one class, boxes of all areas, after it has matched image by image.

    Args:
        images: ids and sizes.
        truth: true boxes of one category, at least one box in COCO's form.
        found: predicted boxes of that category, likewise.
        ious: overlaps to match at.
    """
    (category,) = {entry["category_id"] for entry in truth}
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": images,
            "annotations": truth,
            "categories": [{"id": category, "name": "class"}],
        }
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(found), "bbox")
        judge.params.iouThrs = ious
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
        judge.params.maxDets = [MAX_DETECTIONS]
        judge.evaluate()
    return judge


def as_xywh(boxes: np.ndarray) -> np.ndarray:
    """Corners (n, 4) x1 y1 x2 y2 as COCO's x, y, width, height."""
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
