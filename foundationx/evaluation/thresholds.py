"""Thresholds of image labels and boxes, chosen on one split (validation) and applied to another (test).

An image is positive, and a box counts, from the threshold on. Candidates are the scores that occur. Of equally good
ones for image labels the highest is chosen; of boxes the lowest with at most one false positive per image, as in
``FROC 1``. Nothing is chosen for a one-sided class, or for one without a true box.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from foundationx.core.arrays import AnyArray
from foundationx.core.errors import DataError
from foundationx.core.types import Split, TaskKey
from foundationx.evaluation.matching import Matches, match_boxes
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.ranking import counts_at_scores, known_labels

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
"""Rule for image labels unless the user chooses another."""

FALSE_POSITIVES = 1.0
"""False positives per image that boxes may have at their threshold."""

BOX_RULE = "1 false positive per image"
"""Name of the rule for boxes."""

HIT = 0
"""Index of the overlap (``matching.IOUS``) from which on a box is a hit: that of AP40."""


@dataclass(frozen=True)
class Threshold:
    """A class's threshold and its origin.

    Attributes:
        value: Score from which on an image is positive, or a box counts.
        rule: A name of ``RULES``, or ``BOX_RULE``.
        split: Split that it was chosen on.
        positives, negatives: Numbers of images with and without the class that the choice rests on.
        visit: Visits that the model had been trained for.
    """

    value: float
    rule: str
    split: str
    positives: int
    negatives: int
    visit: int = 0


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
    candidates, true, false = counts_at_scores(scores, truth)
    merit = np.round(RULES[rule](true, false, positives, negatives), 12)  # equal fractions may differ in the last bit
    return float(candidates[np.argmax(merit)])


def choose_thresholds(predictions: Predictions, rule: str = DEFAULT_RULE) -> dict[str, Threshold]:
    """Thresholds by class; a one-sided class has none, and neither has a head that predicts neither labels nor boxes.

    Args:
        predictions: Predictions of any split but test.
        rule: What thresholds of image labels maximise; those of boxes are chosen by ``BOX_RULE``.

    Raises:
        DataError: The predictions are those of the test split, or the rule is unknown.
    """
    if rule not in RULES:
        raise DataError("threshold rule", f"found {rule!r}", f"one of {', '.join(RULES)}", "choose one of them")
    if predictions.split is Split.TEST:
        fix = "evaluate the validation split as well"
        raise DataError(str(predictions.key), "thresholds must not be chosen on test", "validation predictions", fix)
    if "scores" in predictions.recorded:
        return _box_thresholds(predictions)
    if "probabilities" not in predictions.recorded:
        return {}
    chosen = {}
    for k, name in enumerate(predictions.classes):
        _, truth, scores = known_labels(predictions, k)
        value = choose_threshold(truth, scores, rule)
        if value is not None:
            chosen[name] = _threshold(predictions, value, rule, int(truth.sum()), int((~truth).sum()))
    return chosen


def _threshold(predictions: Predictions, value: float, rule: str, positives: int, negatives: int) -> Threshold:
    return Threshold(value, rule, predictions.split.value, positives, negatives, predictions.visit)


def _box_thresholds(predictions: Predictions) -> dict[str, Threshold]:
    """Thresholds of boxes by class, as far as the class has true boxes."""
    chosen = {}
    for name, matches in zip(predictions.classes, predictions.derive(match_boxes), strict=True):
        value = choose_box_threshold(matches)
        if value is not None:
            positives = len(np.unique(matches.true_images))
            chosen[name] = _threshold(predictions, value, BOX_RULE, positives, len(matches.images) - positives)
    return chosen


def choose_box_threshold(matches: Matches) -> float | None:
    """The lowest score at which a class has at most ``FALSE_POSITIVES`` per image in which it was annotated.

    Boxes of one score are in or out together. None without a true box, or if no score is high enough.
    """
    scores, hits, _ = matches.counted(HIT)
    if not len(matches.true_images) or not len(scores):
        return None
    last_of_score = np.append(scores[1:] != scores[:-1], True)
    few = np.cumsum(~hits) <= FALSE_POSITIVES * len(matches.images)
    possible = np.flatnonzero(last_of_score & few)
    return float(scores[possible[-1]]) if len(possible) else None
