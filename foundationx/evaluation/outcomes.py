"""What became of every image at the thresholds chosen on validation: right, false positive, false negative; how wrong.

The report takes its counts and the pictures that it shows from here: the worst, the median and the best images, and the
clearest false positives and negatives of each class.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from foundationx.core.arrays import AnyArray
from foundationx.evaluation.matching import match_boxes
from foundationx.evaluation.metrics.dice import pixel_counts
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.ranking import known_labels
from foundationx.evaluation.thresholds import HIT
from foundationx.tasks.definition import task_of

WORST, MEDIAN, BEST = "worst", "median", "best"
FALSE_POSITIVE, FALSE_NEGATIVE = "false positive", "false negative"


@dataclass(frozen=True)
class Counts:
    """One class at its threshold.

    Attributes:
        threshold: Score from which on an image, box or mask counts.
        true_positives, false_positives, false_negatives: Numbers of images, or of boxes.
        true_negatives: Number of images; None for boxes, of which nobody counts those that are rightly absent.
    """

    threshold: float
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int | None


@dataclass(frozen=True)
class Outcomes:
    """What became of N images and K classes.

    Attributes:
        unit: What ``counts`` counts: images or boxes.
        rule: What counts as found, in words.
        measure: What ``errors`` are, in words.
        counts: By class; classes without a threshold are left out.
        errors: (N,) how wrong each image is, in [0, 1]; NaN if nothing is known of it.
        false_positives, false_negatives: (N, K) how clear the mistake is, the higher the clearer; NaN where there is
            none.
    """

    unit: str
    rule: str
    measure: str
    counts: dict[str, Counts]
    errors: AnyArray
    false_positives: AnyArray
    false_negatives: AnyArray


@dataclass(frozen=True)
class Case:
    """An image that is worth a look.

    Attributes:
        index: Index of the image.
        kind: ``WORST``, ``MEDIAN``, ``BEST``, ``FALSE_POSITIVE`` or ``FALSE_NEGATIVE``.
        class_name: Class of a false positive or negative; "" else.
    """

    index: int
    kind: str
    class_name: str = ""


def outcomes(predictions: Predictions) -> Outcomes | None:
    """Outcomes of a head; None if its task records nothing that they are known for."""
    if "probabilities" in predictions.recorded:
        return _of_labels(predictions)
    if "scores" in predictions.recorded:
        return _of_boxes(predictions)
    if "predicted_masks" in predictions.recorded:
        return _of_masks(predictions)
    return None


def _empty(predictions: Predictions) -> AnyArray:
    return np.full((len(predictions), len(predictions.classes)), np.nan)


def _of_labels(predictions: Predictions) -> Outcomes:
    """The error of an image is the mean difference of probability and label over its known labels."""
    positives, negatives, counts = _empty(predictions), _empty(predictions), {}
    difference = np.abs(predictions.array("probabilities") - predictions.labels)
    for k, name in enumerate(predictions.classes):
        if name in predictions.thresholds:
            known, truth, probability = known_labels(predictions, k)
            called = probability >= predictions.thresholds[name]
            wrong, missed = known[called & ~truth], known[~called & truth]
            positives[wrong, k], negatives[missed, k] = difference[wrong, k], difference[missed, k]
            right = int((called & truth).sum())
            numbers = right, len(wrong), len(missed), int((~called & ~truth).sum())
            counts[name] = Counts(predictions.thresholds[name], *numbers)
    measure = "mean difference of probability and label over the known labels"
    rule = "a class is found from its threshold on; one for which validation could choose none is left out"
    return Outcomes("images", rule, measure, counts, _row_means(difference), positives, negatives)


def _of_boxes(predictions: Predictions) -> Outcomes:
    """The error of an image is 1 minus F1 of its boxes at the thresholds, hits as in AP40; 0 if it has none."""
    positives, negatives, counts = _empty(predictions), _empty(predictions), {}
    found, drawn, true = (np.zeros(len(predictions)) for _ in range(3))
    least = task_of(predictions.key.task).found_from
    for k, (name, matches) in enumerate(zip(predictions.classes, predictions.derive(match_boxes), strict=True)):
        threshold = predictions.thresholds.get(name, least)
        scores, hits, images = matches.counted(HIT)
        above = scores >= threshold
        of_true = np.bincount(matches.true_images, minlength=len(predictions))
        of_found = np.bincount(images[above & hits], minlength=len(predictions))
        wrong, missed = images[above & ~hits], np.flatnonzero(of_true > of_found)
        for image, score in zip(wrong[::-1], scores[above & ~hits][::-1], strict=True):
            positives[image, k] = score  # the best box of an image is the last one here
        negatives[missed, k] = (of_true - of_found)[missed]
        counts[name] = Counts(threshold, int(of_found.sum()), len(wrong), int(of_true.sum() - of_found.sum()), None)
        found += of_found
        true += of_true
        drawn += np.bincount(images[above], minlength=len(predictions))
    total = drawn + true
    errors = np.where(total > 0, 1 - 2 * found / np.maximum(total, 1), 0.0)
    errors[np.isnan(predictions.labels).all(axis=1)] = np.nan
    rule = f"a box counts from its class's threshold on, {least:g} if validation could choose none; hits as in AP40"
    return Outcomes("boxes", rule, "1 minus F1 of the image's boxes", counts, errors, positives, negatives)


def _of_masks(predictions: Predictions) -> Outcomes:
    """The error of an image is 1 minus the mean Dice of its known classes; both masks empty scores 1."""
    known, true, predicted, overlap = predictions.derive(pixel_counts)
    total = true + predicted
    dice = np.where(total == 0, 1.0, 2 * overlap / np.maximum(total, 1))
    dice = np.where(known > 0, dice, np.nan)
    positives = np.where((known > 0) & (true == 0) & (predicted > 0), predicted, np.nan)
    negatives = np.where((known > 0) & (true > 0) & (overlap == 0), true, np.nan)
    counts = {}
    for k, name in enumerate(predictions.classes):
        present, seen = (known[:, k] > 0) & (true[:, k] > 0), known[:, k] > 0
        missed, wrong = int((~np.isnan(negatives[:, k])).sum()), int((~np.isnan(positives[:, k])).sum())
        absent = int((seen & ~present).sum())
        threshold = task_of(predictions.key.task).found_from
        counts[name] = Counts(threshold, int(present.sum()) - missed, wrong, missed, absent - wrong)
    rule = "a class is found if any pixel is; where it is present, only a mask that touches the true one counts"
    return Outcomes("images", rule, "1 minus mean Dice", counts, 1 - _row_means(dice), positives, negatives)


def _row_means(values: AnyArray) -> AnyArray:
    """(N, K) -> (N,) mean without NaN; NaN where there is nothing else."""
    defined = ~np.isnan(values)
    total = np.where(defined, values, 0.0).sum(axis=1)
    return np.where(defined.any(axis=1), total / np.maximum(defined.sum(axis=1), 1), np.nan)


def choose_cases(predictions: Predictions, number: int) -> list[Case]:
    """What is worth a look in at most ``number`` images; an image may be there for several reasons.

    A third each of half of them are the worst, the median and the best; the others are the clearest false negatives and
    false positives of every class, in turn. Of images of equal error the one with the clearest mistake is worse.
    """
    outcome = predictions.derive(outcomes)
    if outcome is None or number <= 0:
        return []
    defined = np.flatnonzero(~np.isnan(outcome.errors))
    names = predictions.images[defined]
    mistakes = np.hstack([outcome.false_positives, outcome.false_negatives])
    clearest = np.where(np.isnan(mistakes), -np.inf, mistakes).max(axis=1)[defined]
    order = defined[np.lexsort((names, -clearest, -outcome.errors[defined]))]
    each = max(1, number // 6)
    cases, seen = [], set[int]()
    middle = max(0, (len(order) - each) // 2)
    for kind, indices in (
        (WORST, order[:each]),
        (BEST, order[::-1][:each]),
        (MEDIAN, order[middle : middle + each]),
    ):
        for index in indices.tolist():
            if index not in seen and len(seen) < number:
                seen.add(index)
                cases.append(Case(index, kind))
    for case in _mistakes(predictions, outcome, number):
        if case.index in seen or len(seen) < number:
            seen.add(case.index)
            cases.append(case)
    return cases


def _mistakes(predictions: Predictions, outcome: Outcomes, ranks: int) -> Iterator[Case]:
    """Mistakes in turn: the clearest false negative of each class, the clearest false positive, the second ..."""
    queues = [
        (kind, name, _clearest(table[:, k], predictions.images))
        for kind, table in ((FALSE_NEGATIVE, outcome.false_negatives), (FALSE_POSITIVE, outcome.false_positives))
        for k, name in enumerate(predictions.classes)
    ]
    for rank in range(ranks):
        for kind, name, order in queues:
            if rank < len(order):
                yield Case(order[rank], kind, name)


def _clearest(strength: AnyArray, names: AnyArray) -> list[int]:
    wrong = np.flatnonzero(~np.isnan(strength))
    ordered: list[int] = wrong[np.lexsort((names[wrong], -strength[wrong]))].tolist()
    return ordered
