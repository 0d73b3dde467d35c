"""DeLong's test against loops over pairs, Obuchowski's form for patients with several images, and chance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from foundationx.evaluation.delong import delong


def psi(x, y):
    return 1.0 if x > y else 0.5 if x == y else 0.0


def slow_delong(truth, one, two):
    """Formulas (4) to (8) of DeLong 1988 by loops."""
    v10, v01, areas = [], [], []
    for scores in (one, two):
        positive, negative = scores[truth], scores[~truth]
        v10.append([np.mean([psi(x, y) for y in negative]) for x in positive])
        v01.append([np.mean([psi(x, y) for x in positive]) for y in negative])
        areas.append(np.mean(v10[-1]))
    s = np.cov(v10) / truth.sum() + np.cov(v01) / (~truth).sum()
    return areas[1] - areas[0], np.sqrt(max(s[0, 0] + s[1, 1] - 2 * s[0, 1], 0.0))


def slow_obuchowski(truth, one, two, patients):
    """Variance of the difference by loops over patients, from the paper's S10, S01 and S11."""
    parts, m, n = {}, truth.sum(), (~truth).sum()
    for scores in (one, two):
        x = {i: np.mean([psi(scores[i], y) for y in scores[~truth]]) for i in np.flatnonzero(truth)}
        y = {j: np.mean([psi(x_, scores[j]) for x_ in scores[truth]]) for j in np.flatnonzero(~truth)}
        area = np.mean(list(x.values()))
        for p in set(patients):
            of_x = [x[i] - area for i in x if patients[i] == p]
            of_y = [y[j] - area for j in y if patients[j] == p]
            parts.setdefault(p, []).append((sum(of_x), sum(of_y)))
    i10, i01 = (
        len({p for p, t in zip(patients, truth, strict=True) if t}),
        len({p for p, t in zip(patients, truth, strict=True) if not t}),
    )
    total = len(parts)
    cov = np.zeros((2, 2))
    for a in range(2):
        for b in range(2):
            s10 = i10 / ((i10 - 1) * m) * sum(part[a][0] * part[b][0] for part in parts.values())
            s01 = i01 / ((i01 - 1) * n) * sum(part[a][1] * part[b][1] for part in parts.values())
            s11 = total / (total - 1) * sum(part[a][0] * part[b][1] for part in parts.values())
            s11_back = total / (total - 1) * sum(part[b][0] * part[a][1] for part in parts.values())
            cov[a, b] = s10 / m + s01 / n + (s11 + s11_back) / (m * n)
    return np.sqrt(cov[0, 0] + cov[1, 1] - 2 * cov[0, 1])


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.integers(2, 8), st.integers(2, 8), st.sampled_from([1, 8]))
def test_equals_loops_over_pairs(seed, positives, negatives, digits):
    rng = np.random.default_rng(seed)
    truth = np.arange(positives + negatives) < positives
    one, two = rng.random((2, len(truth))).round(digits)
    difference, error = slow_delong(truth, one, two)
    result = delong(truth, one, two, np.arange(len(truth)))
    assert (result.difference, result.error) == pytest.approx((difference, error), abs=1e-9)
    assert result.difference == pytest.approx(roc_auc_score(truth, two) - roc_auc_score(truth, one))
    if error > 1e-9:
        assert result.p == pytest.approx(2 * norm.sf(abs(difference) / error))


def test_several_images_a_patient_equal_loops_over_patients():
    rng = np.random.default_rng(1)
    truth, patients = rng.random(30) < 0.4, rng.integers(9, size=30)
    one, two = rng.random((2, 30)).round(1)
    result = delong(truth, one, two, patients)
    assert result.error == pytest.approx(slow_obuchowski(truth, one, two, patients))


def test_copies_of_images_bring_no_certainty():
    rng = np.random.default_rng(2)
    truth, one, two = rng.random(40) < 0.5, rng.random(40), rng.random(40)
    single = delong(truth, one, two, np.arange(40))
    copied = [np.repeat(values, 5) for values in (truth, one, two)]
    together = delong(*copied, np.repeat(np.arange(40), 5))
    apart = delong(*copied, np.arange(200))
    assert together.error == pytest.approx(single.error) and apart.error < 0.6 * single.error


def test_alike_models_do_not_differ_and_opposite_ones_do():
    truth, scores = np.array([True, True, False, False]), np.array([0.9, 0.8, 0.2, 0.1])
    images = np.arange(4)
    assert delong(truth, scores, scores**2, images).p == 1.0, "another scale, the same ranking"
    result = delong(truth, scores, -scores, images)
    assert (result.difference, result.error, result.p) == (-1.0, 0.0, 0.0)


def test_one_sided_or_single_cases_are_not_defined():
    scores, images = np.array([0.1, 0.2, 0.3]), np.arange(3)
    for truth in ([True] * 3, [False] * 3, [True, False, False]):
        assert delong(np.array(truth), scores, scores, images) is None
    assert delong(np.array([True, True, False, False]), np.ones(4), np.ones(4), np.array([0, 0, 1, 2])) is None


def test_chance_gives_small_p_as_often_as_it_should():
    rng = np.random.default_rng(3)
    truth = np.arange(200) < 80
    result = []
    for _ in range(300):
        common = rng.normal(size=200) + truth
        one, two = (common + 0.7 * rng.normal(size=200) for _ in "ab")
        result.append(delong(truth, one, two, np.arange(200)).p)
    assert 5 <= sum(p < 0.05 for p in result) <= 27, "about 15 of 300"
    assert 0.4 < np.mean(result) < 0.6
