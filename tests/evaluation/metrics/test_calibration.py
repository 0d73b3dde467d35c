"""Expected calibration error: hand-worked, a loop over bins, chance, degenerate cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundationx.evaluation.metrics.calibration import BINS, statistics
from tests.helpers.predicted import labelled

NAN = float("nan")


def ece(labels, probabilities, weights=None, patients=None):
    predictions = labelled(np.asarray(labels)[:, None], np.asarray(probabilities)[:, None], patients)
    (statistic,) = statistics(predictions)
    if weights is not None:
        return statistic.of(weights)
    return statistic.value(predictions.patient_count)


def slow(truth, probabilities):
    total = 0.0
    for b in range(BINS):
        chosen = [min(int(p * BINS), BINS - 1) == b for p in probabilities]
        if any(chosen):
            gap = abs(np.mean(probabilities[chosen]) - np.mean(truth[chosen]))
            total += sum(chosen) / len(truth) * gap
    return total


def test_hand_worked():
    # One bin of 0.8 with half its images positive: 0.3. One of 0.1 with none: 0.1. Two images of four each.
    assert ece([1, 0, 0, 0], [0.8, 0.8, 0.1, 0.1]) == pytest.approx(0.5 * 0.3 + 0.5 * 0.1, abs=1e-6)
    assert ece([1, 0], [1.0, 0.0]) == 0.0
    assert ece([0, 1], [1.0, 0.0]) == 1.0


def test_there_are_fifteen_bins():
    """0.61 and 0.65 lie in one fifteenth, [9/15, 10/15), whose mean is 0.63: half positive gives 0.13, twice.

    Ten bins would join them too, twenty would not. 0.30 and 0.35 lie in two fifteenths, [4/15, 5/15) and [5/15, 6/15),
    but in one tenth: apart their gaps are 0.70 and 0.35, together it would be |0.325 - 0.5| = 0.175.
    """
    assert ece([1, 0], [0.61, 0.65]) == pytest.approx(0.13, abs=1e-6)
    assert ece([1, 0], [0.30, 0.35]) == pytest.approx((0.70 + 0.35) / 2, abs=1e-6)
    # Two images in every bin, beside its edges, the left one positive.
    left, right = np.arange(15) / 15 + 0.005, np.arange(1, 16) / 15 - 0.005
    gaps = [abs(a + b - 1) for a, b in zip(left, right, strict=True)]  # sums of a bin's two images, one positive
    assert ece([1] * 15 + [0] * 15, [*left, *right]) == pytest.approx(sum(gaps) / 30, abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 60))
def test_equals_a_loop_over_bins_also_with_weights(seed, number):
    rng = np.random.default_rng(seed)
    truth, probabilities = rng.random(number) < 0.5, rng.random(number).astype(np.float32).astype(float)
    patients = rng.integers(4, size=number)
    units, count = np.unique(patients, return_inverse=True)[1], len(np.unique(patients))
    weights = rng.integers(0, 3, size=(count, 3)).astype(float)
    assert ece(truth.astype(float), probabilities, patients=patients) == pytest.approx(slow(truth, probabilities))
    for value, column in zip(ece(truth.astype(float), probabilities, weights, patients), weights.T, strict=True):
        drawn = np.repeat(np.arange(number), column[units].astype(int))
        expected = slow(truth[drawn], probabilities[drawn]) if len(drawn) else NAN
        assert value == pytest.approx(expected, nan_ok=True)


def test_labels_drawn_from_their_probabilities_are_calibrated():
    rng = np.random.default_rng(0)
    probabilities = rng.random(20_000)
    truth = (rng.random(20_000) < probabilities).astype(float)
    assert ece(truth, probabilities) < 0.02 < 0.2 < ece(truth, probabilities**3)


def test_unknown_labels_are_left_out_and_equal_labels_are_defined():
    assert ece([1, 0, NAN], [0.9, 0.3, 0.5]) == ece([1, 0], [0.9, 0.3])
    assert ece([NAN, NAN], [0.9, 0.3]) is None
    assert ece([1, 1], [0.75, 0.75]) == pytest.approx(0.25)
