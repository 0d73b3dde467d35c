"""Expected calibration error: hand-worked, a loop over bins, chance, degenerate cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundationx.evaluation.metrics.calibration import BINS, statistics
from foundationx.evaluation.metrics.statistic import number_patients
from tests.helpers.predicted import labelled

NAN = float("nan")


def ece(labels, probabilities, weights=None, patients=None):
    predictions = labelled(np.asarray(labels)[:, None], np.asarray(probabilities)[:, None], patients)
    (statistic,) = statistics(predictions)
    if weights is not None:
        return statistic.of(weights)
    return statistic.value(number_patients(predictions.patients)[1])


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


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 60))
def test_equals_a_loop_over_bins_also_with_weights(seed, number):
    rng = np.random.default_rng(seed)
    truth, probabilities = rng.random(number) < 0.5, rng.random(number).astype(np.float32).astype(float)
    patients = rng.integers(4, size=number)
    units, count = number_patients(patients)
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


def test_unknown_is_left_out_and_one_side_is_defined():
    assert ece([1, 0, NAN], [0.9, 0.3, 0.5]) == ece([1, 0], [0.9, 0.3])
    assert ece([NAN, NAN], [0.9, 0.3]) is None
    assert ece([1, 1], [0.75, 0.75]) == pytest.approx(0.25)
