"""Points of curves against scikit-learn and slow loops."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import precision_recall_curve

from foundationx.evaluation.curves import calibration, froc, precision_recall
from foundationx.evaluation.metrics import average_precision
from foundationx.evaluation.metrics import froc as froc_metric
from tests.helpers.predicted import boxed, labelled, masked, values_of

IMAGES, CLASSES = 120, 3


@pytest.fixture(scope="module")
def predictions():
    generator = np.random.default_rng(3)
    labels = (generator.random((IMAGES, CLASSES)) < 0.3).astype(float)
    labels[generator.random(labels.shape) < 0.1] = np.nan
    scores = np.round(np.clip(np.nan_to_num(labels) * 0.2 + generator.random(labels.shape) * 0.8, 0, 1), 2)
    return labelled(labels, scores), labels, scores.astype(np.float32)


def known(labels, scores, k):
    rows = ~np.isnan(labels[:, k])
    return labels[rows, k] >= 0.5, scores[rows, k].astype(float)


def test_precision_and_recall_are_those_of_scikit_learn(predictions):
    stored, labels, scores = predictions
    for k, name in enumerate(stored.classes):
        precision, recall, _ = precision_recall_curve(*known(labels, scores, k))
        curve = precision_recall(stored)[name]
        assert curve.x[1:] == pytest.approx(recall[:-1][::-1])
        assert curve.y[1:] == pytest.approx(precision[:-1][::-1])
        assert (curve.x[0], curve.y[0]) == (0, curve.y[1])


def test_calibration_is_that_of_scikit_learn(predictions):
    stored, labels, scores = predictions
    for k, name in enumerate(stored.classes):
        truth, probability = known(labels, scores, k)
        inside = probability < 1  # scikit-learn's bins hold their upper end, ours their lower one: shift by nothing
        share, mean = calibration_curve(truth[inside], np.nextafter(probability[inside], 2), n_bins=15)
        curve = calibration(labelled(labels[:, [k]][~np.isnan(labels[:, k])][inside], probability[inside, None]))["a"]
        assert curve.y == pytest.approx(share) and curve.x == pytest.approx(mean, abs=1e-6)
        assert curve.number.sum() == inside.sum()
        assert calibration(stored)[name].number.sum() == len(truth)


def test_a_class_that_is_never_present_has_no_precision_but_a_calibration():
    stored = labelled([[0, 1], [0, 0]], [[0.2, 0.9], [0.4, 0.1]])
    assert set(precision_recall(stored)) == {"b"}
    assert set(calibration(stored)) == {"a", "b"}


@pytest.fixture(scope="module")
def boxes():
    generator = np.random.default_rng(5)
    images = []
    for _ in range(30):
        corner = generator.uniform(0, 60, (generator.integers(0, 3), 2))
        true = [(np.append(c, c + 30), 0) for c in corner]
        found = [(box + generator.normal(0, 3, 4), 0, round(generator.beta(3, 2), 2)) for box, _ in true]
        wrong = [(np.append(c, c + 20), 0, round(generator.beta(2, 3), 2)) for c in generator.uniform(60, 75, (2, 2))]
        images.append((true, found + wrong))
    return images, boxed(images)


def overlap(one, two):
    inner = np.maximum(0, np.minimum(one[2:], two[2:]) - np.maximum(one[:2], two[:2])).prod()
    return inner / ((one[2:] - one[:2]).prod() + (two[2:] - two[:2]).prod() - inner)


def slow_counts(images, threshold):
    """True boxes found and false boxes from a score on, box by box."""
    found = false = 0
    for true, drawn in images:
        free = [np.float32(box) for box, _ in true]
        for box, _, score in sorted(drawn, key=lambda entry: -entry[2]):
            overlaps = [overlap(np.float32(box).astype(float), other.astype(float)) for other in free]
            hit = bool(overlaps) and max(overlaps) >= 0.4
            if hit:
                free.pop(int(np.argmax(overlaps)))
            if np.float32(score) >= np.float32(threshold):
                found, false = found + hit, false + (not hit)
    return found, false


def test_froc_is_what_a_slow_loop_counts(boxes):
    images, stored = boxes
    total = sum(len(true) for true, _ in images)
    scores = sorted({score for _, drawn in images for *_, score in drawn}, reverse=True)
    expected = [slow_counts(images, score) for score in scores]
    curve = froc(stored)["a"]
    assert curve.x == pytest.approx([false / len(images) for _, false in expected])
    assert curve.y == pytest.approx([found / total for found, _ in expected])
    values = values_of(froc_metric.statistics, stored)
    for name, rate in froc_metric.RATES.items():
        assert values[f"FROC {name}", "a"][0] == pytest.approx(curve.y[curve.x <= rate].max(initial=0))


def test_the_area_below_precision_and_recall_of_boxes_is_near_their_average_precision(boxes):
    _, stored = boxes
    curve = precision_recall(stored)["a"]
    envelope = np.maximum.accumulate(curve.y[::-1])[::-1]
    reached = np.searchsorted(curve.x, np.linspace(0, 1, 101))
    area = envelope[reached[reached < len(envelope)]].sum() / 101
    assert area == pytest.approx(values_of(average_precision.statistics, stored)["AP40", "a"][0], abs=0.02)


def test_tasks_without_scores_have_no_such_curves():
    stored = masked(np.ones((2, 1, 4, 4)), np.ones((2, 1, 4, 4)))
    assert not precision_recall(stored) and not calibration(stored) and not froc(stored)
