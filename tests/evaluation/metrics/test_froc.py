"""FROC against a loop over thresholds; AP under weights against pycocotools on copied images; degenerate cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundationx.evaluation.matching import match_boxes
from foundationx.evaluation.metrics import average_precision, froc
from foundationx.evaluation.metrics.froc import RATES
from tests.helpers.coco_reference import coco_values
from tests.helpers.predicted import boxed, values_of

BOX, FAR = [10, 10, 30, 30], [60, 60, 80, 80]


def values(predictions, module=froc):
    return values_of(module.statistics, predictions)


def draw_images(rng, number, classes=2, digits=2):
    """True boxes and found ones that lie near them or anywhere."""
    images = []
    for _ in range(number):
        true = [(_random_box(rng), int(rng.integers(classes))) for _ in range(rng.integers(0, 3))]
        near = [
            (np.array(box) + rng.uniform(-4, 4, 4), label) for box, label in true for _ in range(rng.integers(0, 3))
        ]
        far = [(_random_box(rng), int(rng.integers(classes))) for _ in range(rng.integers(0, 3))]
        images.append((true, [(box, label, rng.random().__round__(digits)) for box, label in near + far]))
    return images


def _random_box(rng):
    corner = rng.uniform(0, 70, 2)
    return np.concatenate([corner, corner + rng.uniform(12, 30, 2)])


def overlap(a, b):
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    area = sides.prod()
    return area / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - area)


def slow_froc(images, label, known, rate):
    """Greedy matching of each image and a sweep over all thresholds."""
    outputs, total = [], 0
    chosen = [image for image, yes in zip(images, known[:, label], strict=True) if yes]
    for true, result in chosen:
        free = [np.float32(box).astype(float) for box, k in true if k == label]
        total += len(free)
        for box, _, score in sorted((entry for entry in result if entry[1] == label), key=lambda entry: -entry[2]):
            fits = [overlap(np.float32(box).astype(float), other) for other in free]
            hit = bool(fits) and max(fits) >= 0.4
            if hit:
                free.pop(int(np.argmax(fits)))
            outputs.append((np.float32(score), hit))
    if not total:
        return None
    best = 0.0
    for threshold in {score for score, _ in outputs}:
        called = [hit for score, hit in outputs if score >= threshold]
        if called.count(False) <= rate * len(chosen):
            best = max(best, called.count(True) / total)
    return best


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 100_000), st.integers(1, 6), st.sampled_from([1, 6]))
def test_equals_a_loop_over_thresholds(seed, number, digits):
    rng = np.random.default_rng(seed)
    images, known = draw_images(rng, number, digits=digits), rng.random((number, 2)) < 0.8
    result = values(boxed(images, 2, known))
    for k, name in enumerate("ab"):
        each = []
        for text, rate in RATES.items():
            expected = slow_froc(images, k, known, rate)
            each.append(expected)
            value = result[f"FROC {text}", name][0]
            assert value == (None if expected is None else pytest.approx(expected))
        assert result["FROC", name][0] == (None if None in each else pytest.approx(np.mean(each)))


def test_hand_worked():
    # Four images. Best first: hit, miss, hit, miss, miss; three objects in all.
    images = [
        ([(BOX, 0)], [(BOX, 0, 0.9), (FAR, 0, 0.8)]), ([(BOX, 0)], [(BOX, 0, 0.7), (FAR, 0, 0.6)]),
        ([(BOX, 0)], [(FAR, 0, 0.5)]), ([], []),
    ]  # fmt: skip
    result = values(boxed(images))
    # One false alarm in four images is 1/4: below that only the first hit stands.
    assert result["FROC 1/8", "a"] == (pytest.approx(1 / 3), 3)
    assert result["FROC 1/4", "a"] == result["FROC 8", "a"] == (pytest.approx(2 / 3), 3)
    assert result["FROC", "a"][0] == pytest.approx((1 / 3 + 6 * 2 / 3) / 7)


def test_a_second_box_on_one_object_is_a_false_alarm():
    images = [([(BOX, 0), (FAR, 0)], [(BOX, 0, 0.9), (BOX, 0, 0.8), (FAR, 0, 0.7)])]
    result = values(boxed(images))
    assert result["FROC 1/2", "a"][0] == 0.5 and result["FROC 1", "a"][0] == 1.0


def test_nothing_is_defined_without_true_boxes_and_all_is_zero_without_predictions():
    for module in (froc, average_precision):
        nothing = values(boxed([([], [(BOX, 0, 0.5)]), ([], [])]), module)
        assert set(nothing.values()) == {(None, 0)}
        silent = values(boxed([([(BOX, 0)], []), ([], [])]), module)
        assert set(silent.values()) == {(0.0, 1)}
        unknown = values(boxed([([(BOX, 0)], [(BOX, 0, 0.5)])], known=[[False]]), module)
        assert set(unknown.values()) == {(None, 0)}


def evaluated(images, known):
    """AP40, AP50 and AP of each class by pycocotools' own evaluator."""
    plain = [
        (
            np.array([e[0] for e in result], np.float32).reshape(-1, 4), np.float32([e[2] for e in result]),
            np.array([e[1] for e in result], int), np.array([e[0] for e in true], np.float32).reshape(-1, 4),
            np.array([e[1] for e in true], int),
        )
        for true, result in images
    ]  # fmt: skip
    rows = {(metric, name): (None, 0) for metric in ("AP40", "AP50", "AP") for name in "ab"}
    for k, name in enumerate("ab"):
        counts = [(image[4] == k).sum() for image, yes in zip(plain, known[:, k], strict=True) if yes]
        boxes = [(image[2] == k).sum() for image, yes in zip(plain, known[:, k], strict=True) if yes]
        n = int(sum(counts))
        result = coco_values(plain, known, k) if n and sum(boxes) else (0.0 if n else None,) * 3
        rows |= {(metric, name): (value, n) for metric, value in zip(("AP40", "AP50", "AP"), result, strict=True)}
    return rows


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 100_000), st.integers(1, 6), st.sampled_from([1, 6]))
def test_precision_is_that_of_pycocotools(seed, number, digits):
    rng = np.random.default_rng(seed)
    images, known = draw_images(rng, number, digits=digits), rng.random((number, 2)) < 0.8
    result, expected = values(boxed(images, 2, known), average_precision), evaluated(images, known)
    assert list(result) == list(expected)
    for name, (value, n) in expected.items():
        assert result[name] == (value if value is None else pytest.approx(value, abs=1e-9), n), name


@settings(deadline=None, max_examples=6)
@given(st.integers(0, 100_000))
def test_weights_are_copies_of_images(seed):
    """Scores differ, so that copies of an image stand together in the ranking."""
    rng = np.random.default_rng(seed)
    images, patients = draw_images(rng, 5, digits=9), rng.choice(list("xyz"), size=5)
    units, count = np.unique(patients, return_inverse=True)[1], len(np.unique(patients))
    weights = rng.integers(0, 4, size=(count, 3)).astype(float)
    for statistic in average_precision.statistics(boxed(images, 2, patients=patients)):
        for value, column in zip(statistic.of(weights), weights.T, strict=True):
            drawn = [images[position] for position in np.repeat(np.arange(5), column[units].astype(int))]
            expected = evaluated(drawn, np.ones((len(drawn), 2), bool))[statistic.metric, statistic.class_name][0]
            assert value == pytest.approx(np.nan if expected is None else expected, nan_ok=True, abs=1e-9)
    for statistic in froc.statistics(boxed(images, 2, patients=patients)):
        for value, column in zip(statistic.of(weights), weights.T, strict=True):
            drawn = [images[position] for position in np.repeat(np.arange(5), column[units].astype(int))]
            expected = values(boxed(drawn, 2))[statistic.metric, statistic.class_name][0] if drawn else None
            assert value == pytest.approx(np.nan if expected is None else expected, nan_ok=True)


def test_more_than_a_hundred_boxes_an_image_do_not_count():
    images = [([(BOX, 0)], [(FAR, 0, 0.9)] * 100 + [(BOX, 0, 0.1)]), ([], [(FAR, 0, 0.5)] * 120)]
    (matches,) = match_boxes(boxed(images))
    assert len(matches.scores) == 200 and not matches.packed_hits.any()
    (alone,) = match_boxes(boxed([([], [(FAR, 0, s / 200) for s in range(150)])]))
    assert len(alone.scores) == 100 and alone.scores.min() == pytest.approx(0.25)
