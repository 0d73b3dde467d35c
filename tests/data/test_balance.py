"""Group-balanced drawing against a plain count, and that plain drawing stays as it is."""

from pathlib import Path

import numpy as np
import pytest

from foundationx.core.types import Task, TaskKey
from foundationx.data.balance import draw_balanced, label_weights
from foundationx.data.loader import PlanSampler, SamplerSegment

KEY = TaskKey("d", Task.CLASSIFICATION)


def slow_weights(labels):
    """Image by image and class by class."""
    weights = []
    for row in labels:
        terms = []
        for k, value in enumerate(row):
            column = [v for v in labels[:, k] if not np.isnan(v)]
            same = [v for v in column if (v >= 0.5) == (value >= 0.5)]
            if not np.isnan(value) and 0 < len(same) < len(column):
                terms.append(len(column) / (2 * len(same)))
        weights.append(np.mean(terms) if terms else 1.0)
    return np.array(weights) / np.mean(weights)


def test_weights_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    labels = (rng.random((60, 4)) < [0.1, 0.5, 0.9, 0.0]).astype(float)
    labels[rng.random(labels.shape) < 0.2] = np.nan
    np.testing.assert_allclose(label_weights(labels), slow_weights(labels))


def test_a_rare_class_comes_as_often_as_its_absence():
    labels = np.zeros((200, 1))
    labels[:10] = 1
    images = np.arange(200) + 1000
    drawn = draw_balanced(images, label_weights(labels), np.random.default_rng(3))
    assert len(drawn) == 200 and abs((drawn < 1010).sum() - 100) <= 1
    counts = np.bincount(drawn - 1000, minlength=200)
    assert counts[:10].min() >= 9 and counts[:10].max() <= 11 and counts[10:].max() <= 1


def test_the_sampler_draws_by_weight_and_else_as_before():
    images = np.arange(40)
    weights = label_weights((np.arange(40) < 4).astype(float)[:, None])
    segments = [SamplerSegment(KEY, 0, 10, 0), SamplerSegment(KEY, 10, 10, 1)]

    def drawn(**more):
        return [[ref.index for ref in batch] for batch in PlanSampler(segments, {KEY: images}, 4, 7, **more)]

    balanced = drawn(weights={KEY: weights})
    assert balanced == drawn(weights={KEY: weights}) and balanced[12:] == drawn(weights={KEY: weights}, start_step=12)
    assert sum(index < 4 for batch in balanced for index in batch) == pytest.approx(40, abs=2)
    random = np.random.default_rng([7, 0])
    assert [index for batch in drawn()[:10] for index in batch] == random.permutation(images).tolist()


def test_configurations_ask_for_it():
    from foundationx.core.config.load import load_config

    config = Path(__file__).resolve().parents[1] / "helpers" / "tiny_config.py"
    assert load_config(config).schedule.balance == "none"
    assert load_config(config, {"schedule.balance": "labels"}).schedule.balance == "labels"
