"""Decisions at thresholds, and the images that are worth a look, against slow loops and by hand."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from foundationx.evaluation.outcomes import BEST, FALSE_NEGATIVE, FALSE_POSITIVE, MEDIAN, WORST, choose_cases, outcomes
from tests.helpers.predicted import boxed, labelled, masked

NAN = np.nan


@pytest.fixture(scope="module")
def stored():
    generator = np.random.default_rng(1)
    labels = (generator.random((60, 3)) < 0.3).astype(float)
    labels[generator.random(labels.shape) < 0.2] = NAN
    scores = np.clip(np.nan_to_num(labels) * 0.3 + generator.random(labels.shape) * 0.7, 0, 1)
    return replace(labelled(labels, scores), thresholds={"a": 0.4, "b": 0.6})


def test_counts_of_labels_are_scikit_learns(stored):
    found = outcomes(stored)
    assert set(found.counts) == {"a", "b"}, "the third class has no threshold"
    for k, name in enumerate("ab"):
        known = ~np.isnan(stored.labels[:, k])
        calls = stored.array("probabilities")[known, k].astype(float) >= stored.thresholds[name]
        table = confusion_matrix(stored.labels[known, k] >= 0.5, calls)
        counts = found.counts[name]
        numbers = counts.true_negatives, counts.false_positives, counts.false_negatives, counts.true_positives
        assert numbers == tuple(table.ravel())
        assert (~np.isnan(found.false_positives[:, k])).sum() == table[0, 1]
        assert (~np.isnan(found.false_negatives[:, k])).sum() == table[1, 0]


def test_the_error_of_an_image_is_the_mean_difference_over_what_is_known(stored):
    errors = outcomes(stored).errors
    for image, labels in enumerate(stored.labels):
        known = [k for k in range(3) if not np.isnan(labels[k])]
        gaps = [abs(stored.array("probabilities")[image, k] - labels[k]) for k in known]
        assert errors[image] == pytest.approx(np.mean(gaps), nan_ok=True) if known else np.isnan(errors[image])


def test_the_worst_median_and_best_are_chosen_and_the_clearest_mistakes_of_each_class(stored):
    errors = outcomes(stored).errors
    cases = choose_cases(stored, 12)
    by_kind = {kind: [case.index for case in cases if case.kind == kind] for kind in (WORST, MEDIAN, BEST)}
    order = sorted(np.flatnonzero(~np.isnan(errors)), key=lambda image: -errors[image])
    assert by_kind[WORST] == order[:2] and set(by_kind[BEST]) == set(order[-2:])
    middle = np.nanmedian(errors)
    below, above = max(errors[errors <= middle]), min(errors[errors >= middle])
    assert all(below <= errors[image] <= above for image in by_kind[MEDIAN])
    for kind, present in ((FALSE_NEGATIVE, 1.0), (FALSE_POSITIVE, 0.0)):
        for k, name in enumerate("ab"):
            chosen = [case.index for case in cases if (case.kind, case.class_name) == (kind, name)]
            truth, scores = stored.labels[:, k], stored.array("probabilities")[:, k]
            called = scores >= stored.thresholds[name]
            wrong = [i for i in range(60) if truth[i] == present and called[i] == (present == 0)]
            clearest = max(wrong, key=lambda image: abs(scores[image] - truth[image]))
            assert clearest in chosen
    assert len({case.index for case in cases}) <= 12


def test_fewer_pictures_are_among_more(stored):
    """A report of many heads shows some of the images that were kept."""
    more = {case.index for case in choose_cases(stored, 24)}
    assert {case.index for case in choose_cases(stored, 6)} <= more


def test_counts_of_boxes_by_hand():
    box, near, far = [10, 10, 30, 30], [11, 11, 31, 31], [60, 60, 80, 80]
    images = [
        ([(box, 0)], [(near, 0, 0.9), (near, 0, 0.8)]),  # found, and a second box on it
        ([(box, 0), (far, 0)], [(near, 0, 0.2)]),  # both missed: the score is too low
        ([], [(far, 0, 0.7)]),  # nothing there
        ([], []),
    ]
    found = outcomes(replace(boxed(images), thresholds={"a": 0.5}))
    counts = found.counts["a"]
    assert (counts.true_positives, counts.false_positives, counts.false_negatives) == (1, 2, 2)
    assert counts.true_negatives is None and found.unit == "boxes"
    assert found.errors == pytest.approx([1 - 2 / 3, 1, 1, 0])
    assert found.false_positives[:, 0] == pytest.approx([0.8, NAN, 0.7, NAN], nan_ok=True)
    assert found.false_negatives[:, 0] == pytest.approx([NAN, 2, NAN, NAN], nan_ok=True)


def test_an_image_in_which_no_class_was_annotated_is_not_judged():
    images = [([], []), ([], [([0, 0, 9, 9], 0, 0.9)])]
    stored = boxed(images, known=np.array([[True], [False]]))
    assert outcomes(stored).errors == pytest.approx([0, NAN], nan_ok=True)
    assert {case.index for case in choose_cases(stored, 6)} == {0}


def test_counts_of_masks_by_hand():
    true, drawn = (np.zeros((5, 1, 4, 4), bool) for _ in range(2))
    true[0, 0, :2], drawn[0, 0, :2] = True, True  # found: error 0
    true[1, 0, :2], drawn[1, 0, 1:3] = True, True  # half of it: Dice 0.5
    true[2, 0, 0], drawn[2, 0, 3] = True, True  # beside it
    drawn[3, 0, 0, 0] = True  # nothing there
    found = outcomes(masked(drawn, true))
    counts = found.counts["a"]
    assert (counts.true_positives, counts.false_positives) == (2, 1)
    assert (counts.false_negatives, counts.true_negatives) == (1, 1)
    assert found.errors == pytest.approx([0, 0.5, 1, 1, 0])


def test_a_task_that_records_something_else_is_not_judged(stored):
    other = replace(stored, recorded={"points": np.zeros((60, 3, 2))})
    assert outcomes(other) is None and choose_cases(other, 9) == []
