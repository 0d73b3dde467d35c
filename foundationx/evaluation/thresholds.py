"""Thresholds of image labels, chosen on one side of the split (validation) and applied to another (test).

An image is called positive from the threshold on. Candidates are the scores that occur; of equally good ones the
highest is taken. Nothing is chosen for a class of which only one side is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from foundationx.core.errors import DataError
from foundationx.evaluation.metrics.ranking import known_labels
from foundationx.evaluation.predictions import Predictions

Rule = Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]
"""Takes true positives and false positives (S,) at each candidate, positives and negatives in all; gives (S,) merit."""


def youden(true: np.ndarray, false: np.ndarray, positives: int, negatives: int) -> np.ndarray:
    """Sensitivity plus specificity less 1 (Youden's J)."""
    return true / positives - false / negatives


def f1(true: np.ndarray, false: np.ndarray, positives: int, negatives: int) -> np.ndarray:
    """Harmonic mean of precision and sensitivity."""
    return 2 * true / (true + false + positives)


RULES: dict[str, Rule] = {"youden": youden, "f1": f1}
"""What a threshold maximises, by name."""


@dataclass(frozen=True)
class Threshold:
    """A class's threshold and where it comes from.

    Attributes:
        value: images are positive from here on.
        rule: a name of ``RULES``.
        split: side that it was chosen on.
        positives, negatives: images that the choice rests on.
    """

    value: float
    rule: str
    split: str
    positives: int
    negatives: int


def choose_threshold(truth: np.ndarray, scores: np.ndarray, rule: str) -> float | None:
    """The score of (n,) that maximises the rule's merit; None where ``truth`` (n,) has one side only."""
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return None
    candidates, place = np.unique(-scores, return_inverse=True)
    true = np.cumsum(np.bincount(place[truth], minlength=len(candidates)))
    false = np.cumsum(np.bincount(place[~truth], minlength=len(candidates)))
    merit = np.round(RULES[rule](true, false, positives, negatives), 12)  # equal fractions may differ in the last bit
    return float(-candidates[np.argmax(merit)])


def choose_thresholds(predictions: Predictions, rule: str = "youden") -> dict[str, Threshold]:
    """Thresholds of a classification head by class; a one-sided class has none.

    Raises:
        DataError: the predictions are those of the test side, or the rule is unknown.
    """
    if rule not in RULES:
        raise DataError("threshold rule", f"found {rule!r}", f"one of {', '.join(RULES)}")
    if predictions.split == "test":
        raise DataError(str(predictions.key), "thresholds must not be chosen on test", "validation predictions")
    found = {}
    for k, name in enumerate(predictions.classes):
        _, truth, scores = known_labels(predictions, k)
        value = choose_threshold(truth, scores, rule)
        if value is not None:
            found[name] = Threshold(value, rule, predictions.split.value, int(truth.sum()), int((~truth).sum()))
    return found
