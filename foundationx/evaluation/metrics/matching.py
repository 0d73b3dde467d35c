"""Boxes of one class matched with the truth, image by image, as COCO does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foundationx.evaluation.metrics.average_precision import as_xywh, match_image
from foundationx.evaluation.predictions import Predictions


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
    true_images, box_images = predictions.true_images[true], predictions.box_images[seen]
    truth, found = as_xywh(predictions.true_boxes[true]), as_xywh(predictions.boxes[seen])
    kept, hits = [np.zeros(0, dtype=int)], [np.zeros((len(ious), 0), dtype=bool)]
    by_image = np.argsort(box_images, kind="stable")
    present, starts = np.unique(box_images[by_image], return_index=True)
    for image, own in zip(present, np.split(by_image, starts[1:]), strict=False):
        best, matched = match_image(found[own], predictions.scores[seen][own], truth[true_images == image], ious)
        kept.append(own[best])
        hits.append(matched)
    chosen = np.concatenate(kept)
    scores = predictions.scores[seen][chosen].astype(np.float64)
    return Matches(images, scores, box_images[chosen].astype(int), np.concatenate(hits, axis=1), true_images)
