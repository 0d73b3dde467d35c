"""COCO's average precision of points: objects are matched by the similarity of their points (OKS), not by boxes.

``tests/evaluation/metrics/test_keypoint_metrics.py`` compares the values with pycocotools' own evaluator.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from foundationx.core.arrays import AnyArray
from foundationx.core.geometry.point_groups import Group, groups_of
from foundationx.evaluation.matching import IOUS, Matches
from foundationx.evaluation.metrics.average_precision import METRICS, mean_precision
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.statistic import Statistic

NEEDS = ("predicted_points", "true_points", "probabilities", "sizes")

MEANINGS = {"OKS AP": "average precision over similarities of points from 0.50 to 0.95, as in COCO"}

SIGMA = 0.025
"""COCO's constant per point, the same for all: a tenth of the largest image side off gives a similarity of exp(-2)."""


def statistics(predictions: Predictions) -> list[Statistic]:
    """``OKS AP`` of each group of points, over similarities 0.50:0.05:0.95; not defined without a true object.

    A group is one object in an image, its score the mean visibility of its points, and its area that of the image,
    since points alone have none. An image counts if a point of the group has a known place (it then holds the object)
    or all are known to be absent (it then holds none).
    """
    units, patients = predictions.units, predictions.patient_count
    result = []
    for group in groups_of(predictions.classes):
        matches = match_objects(predictions, group)
        of = partial(mean_precision, matches, METRICS["AP"], units, patients)
        result.append(Statistic("OKS AP", group.name, len(matches.true_images), of))
    return result


def match_objects(predictions: Predictions, group: Group) -> Matches:
    """What became of the one predicted object of every image in which the group was annotated."""
    own = list(group.indices)
    similar = similarities(predictions, own)
    holds = ~np.isnan(similar)
    images = np.flatnonzero(holds | (predictions.labels[:, own] == 0).all(axis=1))
    scores = predictions.array("probabilities")[:, own].mean(axis=1).astype(np.float32)[images]
    hits = np.nan_to_num(similar, nan=-1.0)[images] >= IOUS[:, None]
    order = np.argsort(-scores, kind="stable")
    packed = np.packbits(hits[:, order], axis=0)
    return Matches(images, scores[order], images[order].astype(np.int32), packed, None, np.flatnonzero(holds))


def similarities(predictions: Predictions, points: list[int]) -> AnyArray:
    """OKS (N,): mean over the points with a known place of exp(-d^2 / (2 area (2 sigma)^2)); NaN without such a one."""
    true = predictions.array("true_points")[:, points].astype(np.float64)
    off = predictions.array("predicted_points")[:, points] - true
    area = predictions.array("sizes").astype(np.float64).prod(axis=1)[:, None]
    similar = np.exp(-(off**2).sum(axis=2) / (2 * area * (2 * SIGMA) ** 2))
    known = ~np.isnan(similar)
    total, number = np.where(known, similar, 0.0).sum(axis=1), known.sum(axis=1)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)
