"""Bootstrap by patient: weighted statistics against scikit-learn on copied rows, intervals, pairing, repeatability."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from foundationx.evaluation import bootstrap
from foundationx.evaluation.bootstrap import estimate, interval, paired_p, resamples
from foundationx.evaluation.metrics.auroc import statistics
from foundationx.evaluation.statistic import Statistic, mean_over
from tests.helpers.predicted import labelled

NAN = float("nan")


def by_copies(labels, probabilities, units, weights, function):
    """A metric of scikit-learn of one class, over rows copied as often as their patient was drawn."""
    drawn = np.repeat(np.arange(len(units)), weights[units].astype(int))
    drawn = drawn[~np.isnan(labels[drawn])]
    truth = labels[drawn] >= 0.5
    return function(truth, probabilities[drawn]) if 0 < truth.sum() < len(truth) else NAN


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 12), st.sampled_from([1, 2, 8]), st.floats(0, 1))
def test_weighted_statistics_are_those_of_copied_rows(seed, number, digits, prevalence):
    rng = np.random.default_rng(seed)
    labels = (rng.random((number, 2)) < prevalence).astype(np.float32)
    labels[rng.random(labels.shape) < 0.2] = NAN
    probabilities = rng.random((number, 2)).round(digits).astype(np.float32)
    patients = rng.choice(list("xyzuvw"), size=number)
    units, count = np.unique(patients, return_inverse=True)[1], len(np.unique(patients))
    weights = rng.integers(0, 4, size=(count, 5)).astype(float)
    for statistic in statistics(labelled(labels, probabilities, patients)):
        function = {"AUROC": roc_auc_score, "AUPRC": average_precision_score}[statistic.metric]
        k = "ab".index(statistic.class_name)
        slow = [by_copies(labels[:, k], probabilities[:, k], units, column, function) for column in weights.T]
        assert statistic.of(weights) == pytest.approx(np.array(slow), nan_ok=True, abs=1e-12)
        assert statistic.n == (~np.isnan(labels[:, k])).sum()


def test_values_are_those_of_scikit_learn():
    rng = np.random.default_rng(5)
    labels = rng.choice([0, 1, NAN], size=(80, 3))
    labels[:, 2] = 1
    probabilities = rng.random((80, 3)).astype(np.float32).round(2)
    result = estimate(statistics(labelled(labels, probabilities)), 80, repeats=0)
    rows = []
    for metric, function in (("AUROC", roc_auc_score), ("AUPRC", average_precision_score)):
        counts, values = [], []
        for k in range(3):
            known = ~np.isnan(labels[:, k])
            counts.append(known.sum())
            if 0 < labels[known, k].sum() < known.sum():
                values.append(function(labels[known, k], probabilities[known, k]))
            rows.append((metric, "abc"[k], counts[-1], values[-1] if len(values) == k + 1 else None))
        rows.append((metric, "mean", sum(counts), np.mean(values)))
    for entry, (metric, name, n, value) in zip(result, rows, strict=True):
        assert (entry.metric, entry.class_name, entry.n) == (metric, name, n)
        assert entry.value == (None if value is None else pytest.approx(value, abs=1e-12))
        assert entry.low is None and entry.high is None, "no draws, no interval"


def test_interval_of_a_mean_is_that_of_theory():
    """Mean of 400 draws of standard deviation s: the interval is the value plus or minus 1.96 s / 20."""
    values = np.random.default_rng(1).normal(size=400)
    (entry, mean) = estimate([mean_over("M", "a", values, np.arange(400), 400)], 400, repeats=4000)
    half = 1.96 * values.std() / 20
    assert (entry.low, entry.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)
    assert (mean.low, mean.high) == (entry.low, entry.high), "the mean over one class is that class"


def test_images_of_a_patient_are_drawn_together():
    """Ten equal images of each patient say no more than one: the interval is not narrower."""
    values = np.random.default_rng(2).normal(size=50)
    one = estimate([mean_over("M", "a", values, np.arange(50), 50)], 50)[0]
    ten = estimate([mean_over("M", "a", np.repeat(values, 10), np.repeat(np.arange(50), 10), 50)], 50)[0]
    apart = estimate([mean_over("M", "a", np.repeat(values, 10), np.arange(500), 500)], 500)[0]
    assert (ten.low, ten.high) == pytest.approx((one.low, one.high)) and ten.n == 10 * one.n
    assert apart.high - apart.low < 0.5 * (ten.high - ten.low)


def test_draws_depend_on_the_seed_and_not_on_the_block(monkeypatch):
    whole = np.concatenate(list(resamples(7, 20, seed=3)), axis=1)
    assert (whole.sum(0) == 7).all() and len({tuple(column) for column in whole.T}) > 10
    monkeypatch.setattr(bootstrap, "BLOCK", 7 * 6)
    blocks = list(resamples(7, 20, seed=3))
    assert [block.shape[1] for block in blocks] == [6, 6, 6, 2]
    assert np.array_equal(np.concatenate(blocks, axis=1), whole)
    assert not np.array_equal(np.concatenate(list(resamples(7, 20, seed=4)), axis=1), whole)


def test_a_metric_that_is_rarely_defined_has_no_interval():
    assert interval(np.array([NAN, NAN, 1.0, 2.0])) is None and interval(np.zeros(0)) is None
    assert interval(np.array([NAN] + [1.0] * 9)) == (1, 1)
    (entry, mean) = estimate(statistics(labelled([[1], [0], [0], [0]], [[0.9], [0.1], [0.2], [0.3]])), 4)[:2]
    assert entry.value == 1 and entry.low is None and mean.low is None, "one positive: absent from a third of the draws"


def test_nothing_known_gives_nothing():
    for entry in estimate(statistics(labelled([[NAN], [NAN]], [[0.1], [0.2]])), 2):
        assert (entry.value, entry.low, entry.high, entry.n) == (None, None, None, 0)


def test_paired_p_counts_draws_on_either_side():
    one, two = np.zeros(99), np.concatenate([np.full(4, -1.0), np.full(95, 1.0)])
    assert paired_p(one, two) == paired_p(two, one) == pytest.approx(2 * 5 / 100)
    assert paired_p(one, one) == 1.0
    assert paired_p(one, np.full(99, NAN)) is None
    assert paired_p(one, one + 1) == pytest.approx(2 / 100), "never 0"


def test_paired_p_is_uniform_where_two_models_do_not_differ():
    """Of 200 pairs of models that are equally good, about one in twenty differs at the level 0.05."""
    rng, result = np.random.default_rng(9), []
    weights = np.concatenate(list(resamples(150, 400, seed=0)), axis=1)
    for _ in range(200):
        one, two = (mean_over("M", "a", rng.normal(size=150), np.arange(150), 150) for _ in "ab")
        result.append(paired_p(one.of(weights), two.of(weights)))
    assert 2 <= sum(p < 0.05 for p in result) <= 20
    assert 0.4 < np.mean(result) < 0.6


def test_the_mean_is_over_the_classes_defined_in_a_draw():
    first = Statistic("M", "a", 1, lambda weights: np.where(weights[0] > 0, 1.0, NAN))
    second = Statistic("M", "b", 1, lambda weights: np.zeros(weights.shape[1]))
    mean = estimate([first, second], 3, repeats=200)[-1]
    drawn = np.concatenate(list(resamples(3, 200, seed=0)), axis=1)[0] > 0
    assert mean.class_name == "mean" and mean.value == 0.5 and mean.n == 2
    assert np.array_equal(mean.draws, np.where(drawn, 0.5, 0.0))
