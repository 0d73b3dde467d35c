"""AUROC and AUPRC of tri-state labels: scikit-learn, counting pairs, and properties."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from foundationx.evaluation.metrics.auroc import CURVE_POINTS, curves, statistics
from tests.helpers.predicted import labelled, scores_of

NAN = float("nan")


def scores(predictions, name="AUROC"):
    return scores_of(statistics, predictions, name)


def pairs_auroc(truth, probability):
    """Share of (positive, negative) pairs in the right order; ties count half."""
    pairs = [(p > n) + 0.5 * (p == n) for p in probability[truth] for n in probability[~truth]]
    return sum(pairs) / len(pairs)


def measure(labels, probabilities, classes=("a",)):
    return replace(labelled(labels, probabilities), classes=classes)


def test_hand_worked():
    # Positives 0.9 and 0.4, negatives 0.6 and 0.1: three of four pairs stand in order.
    metric = measure([[1], [1], [0], [0]], [[0.9], [0.4], [0.6], [0.1]])
    assert scores(metric)["a"] == (pytest.approx(0.75), 4)
    # Precision at the two positives: 1/1 and 2/3, each worth half of the recall.
    assert scores(metric, "AUPRC")["a"] == (pytest.approx((1 + 2 / 3) / 2), 4)


def test_equals_scikit_learn_over_the_known_labels():
    rng = np.random.default_rng(0)
    labels = rng.choice([0.0, 1.0, NAN], size=(90, 3), p=[0.5, 0.3, 0.2])
    probabilities = rng.random((90, 3)).round(1)  # rounded: ties
    metric = measure(labels, probabilities, ("a", "b", "c"))
    for name, function in (("AUROC", roc_auc_score), ("AUPRC", average_precision_score)):
        result = scores(metric, name)
        expected = []
        for k, label in enumerate("abc"):
            known = ~np.isnan(labels[:, k])
            expected.append(function(labels[known, k], probabilities[known, k].astype(np.float32)))
            assert result[label] == (pytest.approx(expected[-1]), known.sum())
        assert result["mean"][0] == pytest.approx(np.mean(expected))


def test_unknown_is_not_negative():
    known = measure([[1], [0], [0]], [[0.8], [0.3], [0.9]])
    with_unknown = measure([[1], [0], [0], [NAN], [NAN]], [[0.8], [0.3], [0.9], [0.1], [0.2]])
    assert scores(with_unknown) == scores(known) == {"a": (0.5, 3), "mean": (0.5, 3)}


def test_soft_labels_are_positive_from_one_half_on():
    soft = measure([[0.5], [0.7], [0.49], [0.0]], [[0.9], [0.4], [0.6], [0.1]])
    hard = measure([[1], [1], [0], [0]], [[0.9], [0.4], [0.6], [0.1]])
    for name in ("AUROC", "AUPRC"):
        assert scores(soft, name) == scores(hard, name)


def test_one_sided_classes_have_no_value_and_are_in_no_mean():
    labels = [[1, 1, NAN, 0], [0, 1, NAN, 0], [1, NAN, NAN, 0]]
    metric = measure(
        labels, np.array([[0.9, 0.5, 0.5, 0.1]] * 3) * [[1], [0.5], [0.8]], ("both", "ones", "none", "zeros")
    )
    for name in ("AUROC", "AUPRC"):
        assert scores(metric, name) == {
            "both": (1.0, 3), "ones": (None, 2), "none": (None, 0), "zeros": (None, 3), "mean": (1.0, 8)
        }  # fmt: skip
    assert list(curves(metric)) == ["both"]


def test_nothing_known():
    metric = measure([[NAN, NAN]], [[0.1, 0.2]], ("a", "b"))
    assert scores(metric) == {"a": (None, 0), "b": (None, 0), "mean": (None, 0)}
    assert curves(metric) == {}


def test_curves_are_thin_run_from_corner_to_corner_and_hold_the_area():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, (5000, 1)).astype(float)
    probabilities = np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1)
    metric = measure(labels, probabilities)
    curve = curves(metric)["a"]
    fpr, tpr = np.array(curve["fpr"]), np.array(curve["tpr"])
    assert len(fpr) == len(tpr) == CURVE_POINTS == 200
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert (np.diff(fpr) >= 0).all() and (np.diff(tpr) >= 0).all()
    assert np.trapezoid(tpr, fpr) == pytest.approx(curve["auroc"], abs=5e-3)
    assert curve["auroc"] == scores(metric)["a"][0]


samples = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0, NAN]), st.integers(0, 20)), min_size=2, max_size=25
).filter(lambda rows: {0.0, 1.0} <= {label for label, _ in rows})  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(samples)
def test_is_the_share_of_ordered_pairs(rows):
    labels, probability = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    known = ~np.isnan(labels)
    expected = pairs_auroc(labels[known] == 1, probability[known])
    assert scores(measure(labels[:, None], probability[:, None] / 20))["a"][0] == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(samples, st.randoms(use_true_random=False))
def test_only_the_order_of_probabilities_counts_and_not_that_of_images(rows, random):
    plain = measure(*([[value] for value in column] for column in zip(*rows, strict=True)))
    bent = measure([[label] for label, _ in rows], [[(value / 20) ** 3 / 2] for _, value in rows])
    assert scores(bent)["a"] == pytest.approx(scores(plain)["a"])
    random.shuffle(rows)
    shuffled = measure(*([[value] for value in column] for column in zip(*rows, strict=True)))
    for name in ("AUROC", "AUPRC"):
        assert scores(shuffled, name)["a"] == pytest.approx(scores(plain, name)["a"])
