"""Distances of outlines against brute force over all pairs of pixels; unknown pixels; empty masks; Dice beside them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance
from scipy.ndimage import gaussian_filter

from foundationx.evaluation.metrics import dice, surface
from foundationx.evaluation.metrics.surface import border, distances, statistics, surface_distances
from tests.helpers.predicted import masked, values_of

MASK = arrays(bool, (7, 9))


def slow_border(mask, known):
    """Pixels with a neighbour (up, down, left, right) that is outside the image or known background."""
    result = []
    height, width = mask.shape
    for y, x in zip(*np.nonzero(mask), strict=True):
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            outside = not (0 <= v < height and 0 <= u < width)
            if outside or (known[v, u] and not mask[v, u]):
                result.append((y, x))
                break
    return result


def slow_distances(predicted, true, known):
    one, two = slow_border(predicted, known), slow_border(true, known)
    if not one or not two:
        return None
    directed = [[min(np.hypot(y - v, x - u) for v, u in b) for y, x in a] for a, b in ((one, two), (two, one))]
    return max(np.percentile(part, 95) for part in directed), np.mean(directed[0] + directed[1])


@settings(deadline=None, max_examples=40)
@given(MASK, MASK, MASK)
def test_equals_brute_force(predicted, true, unknown):
    for known in (np.ones_like(unknown), ~unknown):
        expected = slow_distances(predicted & known, true & known, known)
        result = surface_distances(predicted & known, true & known, known)
        same = None if expected is None else pytest.approx(expected)
        assert result == same == surface_distances(true & known, predicted & known, known)


@pytest.mark.parametrize("side", [30, 200, 900])
def test_both_ways_to_the_distances_are_exact(side, monkeypatch):
    """By a distance map and by a tree, equal to the last bit."""
    rng = np.random.default_rng(side)
    one, two = (gaussian_filter(rng.normal(size=(side, side)), side / 10) > 0 for _ in range(2))
    known = np.ones_like(one)
    result = []
    for limit in (0, 10**9):
        monkeypatch.setattr(surface, "PIXELS_PER_POINT", limit)
        result.append([distances(border(one, known), border(two, known)), surface_distances(one, two, known)])
    assert np.array_equal(result[0][0], result[1][0]) and result[0][1] == result[1][1]
    there, back = distances(border(one, known), border(two, known)), distances(border(two, known), border(one, known))
    assert result[0][1][0] == pytest.approx(max(np.percentile(part, 95) for part in (there, back)), rel=1e-12)


def test_distances_in_images_too_long_for_a_map_are_exact_too():
    """A distance map has single precision: 4500 across and 1 down would be 4500."""
    pixels, others = np.zeros((2, 9000), bool), np.zeros((2, 9000), bool)
    pixels[0, 0], others[1, 4500:] = True, True
    assert pixels.size <= surface.PIXELS_PER_POINT * others.sum(), "dense enough for a map"
    assert distances(pixels, others).tolist() == [np.sqrt(4500**2 + 1)] and np.sqrt(4500**2 + 1) > 4500


def test_hand_worked_squares():
    true, predicted, known = np.zeros((20, 20), bool), np.zeros((20, 20), bool), np.ones((20, 20), bool)
    true[5:10, 5:10] = True
    predicted[5:10, 8:13] = True
    assert border(true, known).sum() == 16
    hd95, average = surface_distances(predicted, true, known)
    assert hd95 == 3 and 1 < average < 3
    assert surface_distances(true, true, known) == (0, 0)


def test_a_cut_at_unknown_pixels_is_no_outline():
    """A bar that runs into the unknown: only its known sides are its border."""
    mask, known = np.zeros((9, 9), bool), np.ones((9, 9), bool)
    known[:, 6:] = False
    mask[3:6, 2:6] = True
    assert border(mask, known)[3, 5] and not border(mask, known)[4, 5]
    assert border(mask, np.ones_like(known))[4, 5]


def test_empty_masks_have_no_distance_and_are_counted():
    square = np.zeros((8, 8), bool)
    square[2:5, 2:5] = True
    empty = np.zeros_like(square)
    pairs = [(square, square), (empty, square), (square, empty), (empty, empty)]
    result = values_of(statistics, masked(*zip(*[([one], [two]) for one, two in pairs], strict=True)))
    assert result["HD95", "a"] == result["ASD", "a"] == (0.0, 1)
    assert result["HD95 defined", "a"] == (pytest.approx(1 / 3), 3)
    nothing = values_of(statistics, masked([[empty]], [[empty]]))
    assert set(nothing.values()) == {(None, 0)}


def test_unknown_images_do_not_count():
    full = np.ones((2, 1, 5, 5), bool)
    known = full.copy()
    known[1] = False
    result = values_of(statistics, masked(full, full, known))
    assert result["HD95", "a"] == (0.0, 1) and result["HD95 defined", "a"] == (1.0, 1)


def plain_dice(predicted, masks):
    """Values (N, K) of every metric of ``dice`` from the pixels themselves."""
    known, truth = masks != 255, masks == 1
    predicted = predicted & known
    overlap, total = (truth & predicted).sum((2, 3)), truth.sum((2, 3)) + predicted.sum((2, 3))
    overlapping = np.where(total == 0, 1.0, 2 * overlap / np.maximum(total, 1))
    union = np.where(total == 0, 1.0, overlap / np.maximum(total - overlap, 1))
    counted, present = known.any((2, 3)), truth.any((2, 3))
    return {
        "Dice": np.where(counted, overlapping, np.nan),
        "Dice positives": np.where(counted & present, overlapping, np.nan),
        "Dice empty": np.where(counted, ~present, np.nan),
        "IoU": np.where(counted, union, np.nan),
    }


@settings(deadline=None, max_examples=30)
@given(arrays(bool, (3, 2, 4, 5)), arrays(np.uint8, (3, 2, 4, 5), elements=st.sampled_from([0, 1, 255])))
def test_packed_masks_give_the_dice_of_their_pixels(predicted, masks):
    rows = {
        (metric, "ab"[k]): (table[~np.isnan(table[:, k]), k].mean() if (~np.isnan(table[:, k])).any() else None,
                            (~np.isnan(table[:, k])).sum())
        for metric, table in plain_dice(predicted, masks).items() for k in range(2)
    }  # fmt: skip
    result = values_of(dice.statistics, masked(predicted, masks == 1, masks != 255))
    assert list(result) == list(rows)
    for name, (value, n) in rows.items():
        assert result[name] == (value if value is None else pytest.approx(value, abs=1e-12), n), name


def test_weights_count_patients():
    """Two images of one patient, one of another, who is drawn three times."""
    predicted, true = np.zeros((3, 1, 4, 4), bool), np.ones((3, 1, 4, 4), bool)
    predicted[2] = True
    stored = masked(predicted, true, patients=["x", "x", "y"])
    by_name = {s.metric: s for s in dice.statistics(stored)}
    weights = np.array([[1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 3.0, 0.0]])
    expected = [1 / 3, 1.0, 3 / 5, np.nan]
    assert by_name["Dice"].of(weights) == pytest.approx(np.array(expected), nan_ok=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(12))
def test_equals_monai(seed):
    random = np.random.default_rng(seed)
    one, two = (gaussian_filter(random.normal(size=(40, 48)), 3) > 0.05 for _ in range(2))
    hd95, asd = surface_distances(one, two, np.ones_like(one))
    tensors = [torch.from_numpy(mask)[None, None].float() for mask in (one, two)]
    theirs = compute_hausdorff_distance(*tensors, include_background=True, percentile=95)
    assert hd95 == pytest.approx(theirs.item(), abs=1e-4)
    theirs = compute_average_surface_distance(*tensors, include_background=True, symmetric=True)
    assert asd == pytest.approx(theirs.item(), abs=1e-4)
