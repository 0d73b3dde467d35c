"""How well an image's origin can be told from a vector of numbers: a linear probe, cross-validated by patient.

Nothing is fitted on the patients that are scored: not the standardisation, not the strength of regularisation. Balanced
accuracy is the mean over origins of the share of their images that are recognised, so that a large dataset does not
hide small ones; guessing gives 1 / origins.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from foundationx.core.arrays import AnyArray
from foundationx.evaluation.bootstrap import draws_of, interval, mean_defined
from foundationx.evaluation.statistic import mean_over

THUMBNAIL = 16
"""Side of a thumbnail in pixels."""

FOLDS, INNER = 5, 3
"""Folds by patient, and inner folds that choose the strength of regularisation."""

STRENGTHS = (1e-4, 1e-2, 1.0)
"""Inverse strengths C of regularisation to choose from."""

LEAST_PATIENTS = 10
"""Patients that an origin needs."""


@dataclass(frozen=True)
class Recognised:
    """Result of a probe.

    Attributes:
        accuracy, low, high: Balanced accuracy with its 95 % interval by patient.
        recalls: Share of the images of each origin that are recognised.
    """

    accuracy: float
    low: float | None
    high: float | None
    recalls: dict[str, float]


def thumbnails(images: AnyArray) -> AnyArray:
    """(N, H, W) uint8 to (N, 256): what a picture of 16 x 16 pixels shows, mean grey levels of areas."""
    small = [cv2.resize(image, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA) for image in images]
    return np.stack(small).reshape(len(images), -1).astype(np.float64)


def recognise(
    features: AnyArray, origins: AnyArray, patients: AnyArray, repeats: int = 1000, seed: int = 0
) -> Recognised:
    """Probes for the origin.

    Args:
        features: (N, D).
        origins: (N,) names, each with at least ``LEAST_PATIENTS`` patients.
        patients: (N,) names; a patient's images stay in one fold.
        repeats: Bootstrap draws, by patient.
        seed: Seed of folds and draws.
    """
    predicted = cross_predicted(features, origins, patients, seed)
    names, right = np.unique(origins), (predicted == origins).astype(np.float64)
    units = np.unique(patients, return_inverse=True)[1]
    number = int(units.max()) + 1
    measured = [mean_over("recall", name, np.where(origins == name, right, np.nan), units, number) for name in names]
    draws = draws_of(measured, number, repeats, seed)
    low, high = interval(mean_defined(draws)) or (None, None)
    recalls = {s.class_name: float(s.value(number) or 0.0) for s in measured}
    return Recognised(float(np.mean(list(recalls.values()))), low, high, recalls)


def cross_predicted(features: AnyArray, origins: AnyArray, patients: AnyArray, seed: int = 0) -> AnyArray:
    """(N,) predicted origin of every image, by a probe that has not seen its patient."""
    predicted = np.empty_like(origins)
    for train, test in _folds(FOLDS, seed).split(features, origins, patients):
        strength = _chosen(features[train], origins[train], patients[train], seed)
        predicted[test] = _probe(strength).fit(features[train], origins[train]).predict(features[test])
    return predicted


def _chosen(features: AnyArray, origins: AnyArray, patients: AnyArray, seed: int) -> float:
    """The strength with the best balanced accuracy in inner folds; of equal ones the smallest C."""
    names = np.unique(origins)
    scores = []
    for strength in STRENGTHS:
        right = np.zeros(len(origins), dtype=bool)
        for train, test in _folds(INNER, seed).split(features, origins, patients):
            right[test] = _probe(strength).fit(features[train], origins[train]).predict(features[test]) == origins[test]
        scores.append(np.mean([right[origins == name].mean() for name in names]))
    return STRENGTHS[int(np.argmax(scores))]


def _folds(count: int, seed: int) -> StratifiedGroupKFold:
    return StratifiedGroupKFold(count, shuffle=True, random_state=seed)


def _probe(strength: float):  # type: ignore[no-untyped-def]  # scikit-learn has no types
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, class_weight="balanced", max_iter=1000))
