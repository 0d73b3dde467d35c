"""Boxes of one class matched with the truth, image by image, by pycocotools."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foundationx.evaluate.average_precision import MAX_DETECTIONS, as_xywh, coco_judge
from foundationx.evaluate.predictions import Predictions


@dataclass(frozen=True)
class Matches:
    """What became of every predicted box of a class, over the images where the class was annotated.

    Attributes:
        images: (n,) indices of those images.
        scores: (M,) of the predicted boxes, image by image, the best of an image first.
        box_images: (M,) image index of each.
        hits: (T, M) bool: at each overlap, whether the box is the best unused match of a true one.
        true_images: (N,) image index of each true box.
    """

    images: np.ndarray
    scores: np.ndarray
    box_images: np.ndarray
    hits: np.ndarray
    true_images: np.ndarray


def match(predictions: Predictions, k: int, ious: np.ndarray) -> Matches:
    """Matches class ``k`` at the overlaps (T,), greedily from the best box down, as COCO does.

    A second box on an object that is found already is no hit. The best 100 boxes of an image count.
    """
    images = np.flatnonzero(~np.isnan(predictions.labels[:, k]))
    true = np.flatnonzero((predictions.true_classes == k) & np.isin(predictions.true_images, images))
    seen = np.flatnonzero((predictions.box_classes == k) & np.isin(predictions.box_images, images))
    true_images = predictions.true_images[true]
    if not len(true) or not len(seen):
        kept = _best(predictions.scores[seen], predictions.box_images[seen])
        scores, owners = predictions.scores[seen][kept].astype(np.float64), predictions.box_images[seen][kept]
        return Matches(images, scores, owners, np.zeros((len(ious), len(kept)), dtype=bool), true_images)
    truth = _entries(predictions.true_boxes[true], true_images, k)
    for number, entry in enumerate(truth, start=1):
        entry |= {"id": number, "area": entry["bbox"][2] * entry["bbox"][3], "iscrowd": 0}
    found = _entries(predictions.boxes[seen], predictions.box_images[seen], k)
    for entry, score in zip(found, predictions.scores[seen], strict=True):
        entry["score"] = float(score)
    sizes = predictions.sizes.tolist()
    entries = [{"id": image, "height": sizes[image][0], "width": sizes[image][1]} for image in images.tolist()]
    judged = [image for image in coco_judge(entries, truth, found, ious).evalImgs if image is not None]
    scores = np.concatenate([np.asarray(image["dtScores"], dtype=np.float64) for image in judged])
    owners = np.concatenate([np.full(len(image["dtScores"]), image["image_id"]) for image in judged])
    hits = np.concatenate([image["dtMatches"].reshape(len(ious), -1) > 0 for image in judged], axis=1)
    return Matches(images, scores, owners.astype(int), hits, true_images)


def _entries(boxes: np.ndarray, images: np.ndarray, category: int) -> list[dict]:
    return [
        {"image_id": image, "category_id": category, "bbox": box}
        for box, image in zip(as_xywh(boxes).tolist(), images.tolist(), strict=True)
    ]


def _best(scores: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Indices of the best 100 boxes of each image, image by image."""
    order = np.lexsort((-scores, images))
    starts = np.searchsorted(images[order], images[order])
    return order[np.arange(len(order)) - starts < MAX_DETECTIONS]
