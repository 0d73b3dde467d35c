"""Test of two AUROCs on the same images: DeLong et al., Biometrics 1988; by patient: Obuchowski, Biometrics 1997."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

ROUNDING = 1e-12
"""Differences and errors below this are 0."""


@dataclass(frozen=True)
class DeLong:
    """Difference of two AUROCs, second less first.

    Attributes:
        difference: Difference of the AUROCs.
        error: Standard error of the difference.
        p: Two-sided p. If the error is 0 it is 1 for models that rank alike, else 0, the limit of the formula.
    """

    difference: float
    error: float
    p: float


def delong(truth: np.ndarray, one: np.ndarray, two: np.ndarray, patients: np.ndarray) -> DeLong | None:
    """Compares two models.

    Images of one patient may be correlated: their components are summed before variances are taken (Obuchowski). With
    one image per patient this is DeLong's test.

    Args:
        truth: (N,) bool.
        one: (N,) scores of the first model.
        two: (N,) scores of the second.
        patients: (N,) patient index of each image.

    Returns:
        None if the test is not defined: fewer than two patients with a positive or with a negative image.
    """
    least = min(len(np.unique(patients[truth])), len(np.unique(patients[~truth])))
    if least < 2:
        return None
    components = [_components(truth, scores) for scores in (one, two)]
    difference = components[1][0].mean() - components[0][0].mean()
    positive, negative = (components[1][model] - components[0][model] for model in (0, 1))
    error = float(np.sqrt(max(_variance(truth, positive, negative, patients), 0.0)))
    if error < ROUNDING:
        return DeLong(float(difference), 0.0, float(abs(difference) < ROUNDING))
    return DeLong(float(difference), error, float(2 * norm.sf(abs(difference) / error)))


def _components(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each positive the share of negatives below it, of each negative the share of positives above it; ties half."""
    positive, negative = scores[truth], scores[~truth]
    ranks = rankdata(scores)
    below = (ranks[truth] - rankdata(positive)) / len(negative)
    above = 1 - (ranks[~truth] - rankdata(negative)) / len(positive)
    return below, above


def _variance(truth: np.ndarray, positive: np.ndarray, negative: np.ndarray, patients: np.ndarray) -> float:
    """Variance of a mean of components (M,) of the positives and (N,) of the negatives, summed by patient."""
    number = int(patients.max()) + 1
    mean = positive.mean()
    by_positive = np.bincount(patients[truth], positive - mean, number)
    by_negative = np.bincount(patients[~truth], negative - mean, number)
    counts = (len(np.unique(patients[chosen])) for chosen in (truth, ~truth, np.ones_like(truth)))
    with_positive, with_negative, everyone = counts
    m, n = len(positive), len(negative)
    return (
        with_positive / (with_positive - 1) * (by_positive**2).sum() / m**2
        + with_negative / (with_negative - 1) * (by_negative**2).sum() / n**2
        + 2 * everyone / (everyone - 1) * (by_positive * by_negative).sum() / (m * n)
    )
