"""Dice and IoU of masks: hand-worked numbers, a slow loop, unknown pixels, the trivial baseline."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from foundationx.evaluation.metrics.dice import statistics
from foundationx.tasks.segmentation.record import FOREGROUND
from tests.helpers.predicted import masked, scores_of

METRICS = ("Dice", "Dice positives", "Dice empty", "IoU")


def scores(predictions, name="Dice"):
    return scores_of(statistics, predictions, name)


def measure(probabilities, masks):
    masks = np.asarray(masks, dtype=np.uint8)
    return masked(np.asarray(probabilities, dtype=np.float32) >= FOREGROUND, masks == 1, masks != 255)


def slow(probabilities, masks):
    """Each metric's value and count of one class by loops over pixels; (N, H, W) each."""
    kept = {name: [] for name in METRICS}
    for probability, mask in zip(probabilities, masks, strict=True):
        pixels = [(p >= 0.5, m == 1) for p, m in zip(probability.flat, mask.flat, strict=True) if m != 255]
        if not pixels:
            continue
        result, true = sum(p for p, _ in pixels), sum(t for _, t in pixels)
        both = sum(p and t for p, t in pixels)
        dice = 2 * both / (result + true) if result + true else 1
        kept["Dice"].append(dice)
        kept["IoU"].append(both / (result + true - both) if result + true else 1)
        kept["Dice empty"].append(0 if true else 1)
        if true:
            kept["Dice positives"].append(dice)
    return {name: (np.mean(values) if values else None, len(values)) for name, values in kept.items()}


def test_hand_worked():
    # Two true pixels, three predicted, one in common: Dice 2/5, IoU 1/4.
    metric = measure([[[[0.9, 0.8, 0.5, 0.1]]]], [[[[1, 0, 0, 1]]]])
    assert scores(metric) == {"a": (pytest.approx(0.4), 1), "mean": (pytest.approx(0.4), 1)}
    assert scores(metric, "IoU")["a"] == (pytest.approx(0.25), 1)
    assert scores(metric, "Dice empty")["a"] == (0.0, 1)


def test_empty_prediction_of_an_absent_class_scores_one_but_is_no_positive():
    metric = measure(np.zeros((3, 1, 2, 2)), [np.zeros((1, 2, 2)), np.zeros((1, 2, 2)), np.eye(2)[None]])
    assert scores(metric)["a"] == scores(metric, "Dice empty")["a"] == (pytest.approx(2 / 3), 3)
    assert scores(metric, "Dice positives")["a"] == (0.0, 1)


def test_unknown_pixels_count_in_neither_mask():
    # Known: one hit, one miss. The unknown ones are predicted and would lower the score as background.
    metric = measure([[[[0.9, 0.1, 0.9, 0.9]]]], [[[[1, 1, 255, 255]]]])
    assert scores(metric)["a"] == (pytest.approx(2 / 3), 1)


def test_image_of_a_class_that_is_wholly_unknown_does_not_count():
    masks = np.stack([np.stack([np.eye(2), np.full((2, 2), 255)]), np.stack([np.eye(2), np.eye(2)])])
    metric = measure(masks == 1, masks)
    assert scores(metric) == {"a": (1.0, 2), "b": (1.0, 1), "mean": (1.0, 3)}
    only_unknown = measure(np.ones((1, 1, 2, 2)), np.full((1, 1, 2, 2), 255))
    for name in METRICS:
        assert scores(only_unknown, name) == {"a": (None, 0), "mean": (None, 0)}


def test_class_without_value_is_in_no_mean():
    masks = np.stack([np.ones((2, 2)), np.full((2, 2), 255)])[None]
    assert scores(measure(np.ones((1, 2, 2, 2)), masks))["mean"] == (1.0, 1)


shape = (3, 2, 3, 4)


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, shape, elements=st.sampled_from([0.0, 0.3, 0.5, 1.0])),
       arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 255])), st.permutations(range(3)))  # fmt: skip
def test_equals_a_slow_loop_in_any_order(probabilities, masks, order):
    whole, single = measure(probabilities, masks), measure(probabilities[order], masks[order])
    for k, label in enumerate("ab"):
        expected = slow(probabilities[:, k], masks[:, k])
        for name in METRICS:
            assert scores(whole, name)[label] == pytest.approx(expected[name])
            assert scores(single, name)[label] == pytest.approx(expected[name])


@settings(max_examples=40, deadline=None)
@given(arrays(np.uint8, (2, 1, 4, 4), elements=st.sampled_from([0, 1, 255])))
def test_baseline_is_the_score_of_predicting_nothing_and_truth_scores_one(masks):
    nothing, perfect = measure(np.zeros(masks.shape), masks), measure(masks == 1, masks)
    assert scores(nothing, "Dice") == scores(nothing, "Dice empty") == scores(perfect, "Dice empty")
    assert scores(perfect)["a"][0] in (1.0, None)
