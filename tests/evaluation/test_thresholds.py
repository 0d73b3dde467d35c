"""Thresholds chosen on validation, and what is counted at them: scikit-learn, hand-worked and degenerate cases."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from foundationx.core.errors import DataError
from foundationx.core.types import Split
from foundationx.evaluation.matching import match_boxes
from foundationx.evaluation.metrics.confusion import METRICS, statistics
from foundationx.evaluation.metrics.froc import statistics as froc
from foundationx.evaluation.thresholds import Threshold, choose_threshold, choose_thresholds, with_thresholds
from tests.helpers.predicted import boxed, labelled, values_of

NAN = float("nan")


def at(value):
    return Threshold(value, "youden", "val", 1, 1)


def values(predictions, thresholds):
    result = values_of(statistics, with_thresholds(predictions, thresholds))
    return {name: value for name, (value, _) in result.items()}


def test_hand_worked_youden_and_f1():
    # From 0.6 on: two of three positives, one of four negatives: J = 2/3 - 1/4. From 0.3: J = 1 - 2/4, which is more.
    truth = np.array([1, 0, 1, 0, 1, 0, 0], dtype=bool)
    scores = np.array([0.9, 0.8, 0.6, 0.4, 0.3, 0.2, 0.1])
    assert choose_threshold(truth, scores, "youden") == 0.3
    # F1 from 0.9 on 2/4, from 0.6 on 4/6, from 0.3 on 6/8.
    assert choose_threshold(truth, scores, "f1") == 0.3
    assert choose_threshold(truth, np.array([0.9, 0.8, 0.6, 0.4, 0.05, 0.2, 0.1]), "f1") == 0.6


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(2, 30), st.sampled_from([1, 6]))
@example(1380, 26, 6)  # two candidates whose merits are equal fractions, not equal floats
def test_choice_equals_scikit_learn_and_a_loop(seed, number, digits):
    rng = np.random.default_rng(seed)
    truth, scores = rng.random(number) < 0.4, rng.random(number).round(digits)
    if 0 < truth.sum() < number:
        fpr, tpr, candidates = sk.roc_curve(truth, scores, drop_intermediate=False)
        chosen = choose_threshold(truth, scores, "youden")
        gain = tpr[1:] - fpr[1:]  # the first point lies above all scores
        assert (scores >= chosen)[truth].mean() - (scores >= chosen)[~truth].mean() == pytest.approx(gain.max())
        assert chosen == max(c for c, g in zip(candidates[1:], gain, strict=True) if g > gain.max() - 1e-12)
        best = max(sk.f1_score(truth, scores >= candidate) for candidate in scores)
        assert sk.f1_score(truth, scores >= choose_threshold(truth, scores, "f1")) == pytest.approx(best)
    else:
        assert choose_threshold(truth, scores, "youden") is None


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 10_000), st.integers(1, 20), st.floats(0, 1), st.sampled_from([0.0, 0.3, 0.5, 1.5]))
def test_counts_equal_scikit_learn(seed, number, prevalence, threshold):
    rng = np.random.default_rng(seed)
    labels = (rng.random((number, 1)) < prevalence).astype(float)
    labels[rng.random((number, 1)) < 0.2] = NAN
    scores = rng.random((number, 1)).round(1)
    known = ~np.isnan(labels[:, 0])
    truth, called = labels[known, 0] == 1, scores[known, 0].astype(np.float32) >= threshold
    result = values(labelled(labels, scores), {"a": at(threshold)})
    both = 0 < truth.sum() < len(truth)
    expected = {
        "Accuracy": sk.accuracy_score(truth, called) if len(truth) else None,
        "F1": sk.f1_score(truth, called) if truth.any() or called.any() else None,
        "MCC": sk.matthews_corrcoef(truth, called) if both else None,
        "Sensitivity": sk.recall_score(truth, called) if truth.any() else None,
        "Specificity": sk.recall_score(~truth, ~called) if (~truth).any() else None,
    }
    assert set(expected) == set(METRICS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for metric, value in expected.items():
            assert result[metric, "a"] == (None if value is None else pytest.approx(value, abs=1e-12)), metric


def test_unknown_labels_move_no_threshold():
    labels, scores = [[1], [0], [1], [0]], [[0.9], [0.7], [0.6], [0.1]]
    plain = choose_thresholds(labelled(labels, scores, split=Split.VAL))
    more = choose_thresholds(labelled([*labels, [NAN], [NAN]], [*scores, [0.95], [0.65]], split=Split.VAL))
    assert plain == more and plain["a"].value == pytest.approx(0.9) and plain["a"].split == "val"
    assert (plain["a"].rule, plain["a"].positives, plain["a"].negatives) == ("youden", 2, 2)


def test_thresholds_of_validation_are_applied_to_test():
    val = labelled([[1, 1], [0, 1]], [[0.8, 0.5], [0.4, 0.6]], split=Split.VAL)
    test = labelled([[1, 1], [1, 0], [0, 0]], [[0.9, 0.9], [0.7, 0.1], [0.2, 0.3]])
    thresholds = choose_thresholds(val)
    assert list(thresholds) == ["a"], "class b is one-sided in validation"
    result = values(test, thresholds)
    assert result["Sensitivity", "a"] == 0.5 and result["Specificity", "a"] == 1.0
    assert result["Accuracy", "a"] == pytest.approx(2 / 3) and result["F1", "a"] == pytest.approx(2 / 3)
    assert {name for _, name in result} == {"a"}


def test_test_may_not_choose_and_rules_have_names():
    with pytest.raises(DataError, match="must not be chosen on test"):
        choose_thresholds(labelled([[1], [0]], [[0.8], [0.4]]))
    with pytest.raises(DataError, match="youden, f1"):
        choose_thresholds(labelled([[1], [0]], [[0.8], [0.4]], split=Split.VAL), "best")


def box(x, score=None):
    corners = (x, 0, x + 10, 10)
    return (corners, 0) if score is None else (corners, 0, score)


def test_boxes_have_at_most_one_false_positive_per_image_at_their_threshold():
    """Two images: from 0.5 on there are two false positives, from 0.4 on three."""
    images = [
        ([box(0)], [box(0, 0.3), box(50, 0.9), box(80, 0.5)]),
        ([], [box(50, 0.4), box(80, 0.2)]),
    ]
    (chosen,) = choose_thresholds(replace(boxed(images), split=Split.VAL)).values()
    assert chosen == Threshold(pytest.approx(0.5), "1 false positive per image", "val", 1, 1, 3)


def test_boxes_of_one_score_are_in_or_out_together_and_nothing_is_chosen_without_a_true_box():
    tied = [([box(0)], [box(0, 0.8), box(50, 0.6), box(80, 0.6)])]
    assert choose_thresholds(replace(boxed(tied), split=Split.VAL))["a"].value == pytest.approx(0.8)
    none_is_enough = [([box(0)], [box(50, 0.6), box(80, 0.6)])]
    assert choose_thresholds(replace(boxed(none_is_enough), split=Split.VAL)) == {}
    assert choose_thresholds(replace(boxed([([], [box(0, 0.6)])]), split=Split.VAL)) == {}
    with pytest.raises(DataError):
        choose_thresholds(boxed(tied))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000))
def test_sensitivity_at_the_box_threshold_is_that_of_froc_at_one(seed):
    """A second way: FROC's own value at 1 false positive per image."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(rng.integers(1, 6)):
        true = [box(20 * k) for k in range(rng.integers(0, 4))]
        images.append((true, [box(20 * int(rng.integers(0, 8)), rng.random().__round__(1)) for _ in range(6)]))
    predictions = replace(boxed(images), split=Split.VAL)
    chosen, (value, number) = choose_thresholds(predictions), values_of(froc, predictions)["FROC 1", "a"]
    if not number:
        assert not chosen
        return
    (matches,) = match_boxes(predictions)
    scores, hits, _ = matches.counted(0)
    found = hits[scores >= chosen["a"].value].sum() if chosen else 0
    assert found / number == pytest.approx(value)
