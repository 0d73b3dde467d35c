"""Average precision by pycocotools' own evaluator, called class by class over the images where it was annotated."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from foundationx.evaluation.matching import IOUS


def coco_evaluator(images, known, k, regions=None):
    """COCOeval of class ``k`` after matching and accumulating; None where it has no true or no predicted box.

    ``images``: boxes (M, 4) x1 y1 x2 y2, scores, classes, true boxes, true classes each; ``known``: (N, K) bool;
    ``regions``: of some images by number the crowd regions as (box, class).
    """
    chosen = [number for number in range(len(images)) if known[number][k]]
    truth, result = [], []
    for number in chosen:
        boxes, confidences, classes, true_boxes, true_classes = images[number]
        for box in xywh(true_boxes[true_classes == k]):
            entry = {"id": len(truth) + 1, "image_id": number, "category_id": k, "bbox": box}
            truth.append(entry | {"area": box[2] * box[3], "iscrowd": 0})
        for box in xywh([box for box, label in (regions or {}).get(number, []) if label == k]):
            entry = {"id": len(truth) + 1, "image_id": number, "category_id": k, "bbox": box}
            truth.append(entry | {"area": box[2] * box[3], "iscrowd": 1})
        seen = classes == k
        for box, score in zip(xywh(boxes[seen]), confidences[seen].tolist(), strict=True):
            result.append({"image_id": number, "category_id": k, "bbox": box, "score": score})
    if not truth or not result:
        return None
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": [{"id": n} for n in chosen], "annotations": truth, "categories": [{"id": k}]}
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(result), "bbox")
        judge.params.iouThrs = IOUS
        judge.params.areaRng, judge.params.areaRngLbl, judge.params.maxDets = [[0, 1e10]], ["all"], [100]
        judge.evaluate()
        judge.accumulate()
    return judge


def coco_values(images, known, k, regions=None):
    """AP40, AP50 and AP of a class that has true and predicted boxes."""
    precision = coco_evaluator(images, known, k, regions).eval["precision"][:, :, 0, 0, 0].mean(axis=1)
    return precision[0], precision[1], precision[1:].mean()


def xywh(boxes):
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()
