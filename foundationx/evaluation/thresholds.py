"""Thresholds of image labels, chosen on one split (validation) and applied to another (test).

An image is positive from the threshold on. Candidates are the scores that occur; of equally good ones the highest is
chosen. Nothing is chosen for a one-sided class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from foundationx.core.arrays import AnyArray
from foundationx.core.errors import DataError
from foundationx.core.types import Split, TaskKey
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.ranking import known_labels

Rule = Callable[[AnyArray, AnyArray, int, int], AnyArray]
"""Takes true positives and false positives (S,) at each candidate, positives and negatives in all; gives (S,) merit."""


def youden(true: AnyArray, false: AnyArray, positives: int, negatives: int) -> AnyArray:
    """Sensitivity plus specificity minus 1 (Youden's J)."""
    return true / positives - false / negatives


def f1(true: AnyArray, false: AnyArray, positives: int, negatives: int) -> AnyArray:
    """Harmonic mean of precision and sensitivity."""
    return 2 * true / (true + false + positives)


RULES: dict[str, Rule] = {"youden": youden, "f1": f1}
"""What a threshold maximises, by name."""

DEFAULT_RULE = "youden"
"""Rule unless the user chooses another."""


@dataclass(frozen=True)
class Threshold:
    """A class's threshold and its origin.

    Attributes:
        value: Score from which on an image is positive.
        rule: A name of ``RULES``.
        split: Split that it was chosen on.
        positives, negatives: Numbers of images that the choice rests on.
    """

    value: float
    rule: str
    split: str
    positives: int
    negatives: int


Thresholds = dict[tuple[TaskKey, str], dict[str, Threshold]]
"""Thresholds by class, of each head and model."""


def with_thresholds(predictions: Predictions, thresholds: Mapping[str, Threshold]) -> Predictions:
    """The predictions with thresholds by class."""
    return replace(predictions, thresholds={name: threshold.value for name, threshold in thresholds.items()})


def choose_threshold(truth: AnyArray, scores: AnyArray, rule: str) -> float | None:
    """The score of (n,) that maximises the rule's merit; None if ``truth`` (n,) is one-sided."""
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return None
    candidates, index = np.unique(-scores, return_inverse=True)
    true = np.cumsum(np.bincount(index[truth], minlength=len(candidates)))
    false = np.cumsum(np.bincount(index[~truth], minlength=len(candidates)))
    merit = np.round(RULES[rule](true, false, positives, negatives), 12)  # equal fractions may differ in the last bit
    return float(-candidates[np.argmax(merit)])


def choose_thresholds(predictions: Predictions, rule: str = DEFAULT_RULE) -> dict[str, Threshold]:
    """Thresholds by class; a one-sided class has none, and neither has a head that predicts no image labels.

    Raises:
        DataError: The predictions are those of the test split, or the rule is unknown.
    """
    if rule not in RULES:
        raise DataError("threshold rule", f"found {rule!r}", f"one of {', '.join(RULES)}", "choose one of them")
    if predictions.split is Split.TEST:
        fix = "evaluate the validation split as well"
        raise DataError(str(predictions.key), "thresholds must not be chosen on test", "validation predictions", fix)
    if "probabilities" not in predictions.recorded:
        return {}
    chosen = {}
    for k, name in enumerate(predictions.classes):
        _, truth, scores = known_labels(predictions, k)
        value = choose_threshold(truth, scores, rule)
        if value is not None:
            chosen[name] = Threshold(value, rule, predictions.split.value, int(truth.sum()), int((~truth).sum()))
    return chosen
