"""Arrays of files: choosing some indices, and masks whose runs are checked without looping over them."""

import numpy as np
import pytest

from foundationx.core.arrays import Masks, check_masks, spaced

SIDE = 12


@pytest.mark.parametrize(("number", "most", "expected"), [(5, 9, [0, 1, 2, 3, 4]), (9, 3, [0, 4, 8]), (9, 1, [0])])
def test_some_of_the_indices_are_evenly_spaced(number, most, expected):
    assert (spaced(10 * np.arange(number), most) == 10 * np.array(expected)).all()
    assert len(spaced(np.arange(number), 0)) == len(spaced(np.arange(0), most)) == 0


def decoded(runs, pixels):
    """Run lengths of one mask in COCO's notation, number by number; None if they are no mask of so many pixels."""
    lengths, digits = [], []
    for byte in runs:
        digits.append(int(byte) - 48)
        if not digits[-1] & 32:
            value = sum((digit & 31) << (5 * place) for place, digit in enumerate(digits))
            value -= 1 << (5 * len(digits)) if digits[-1] & 16 else 0
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            digits = []
    whole = all(0 <= length <= pixels for length in lengths) and sum(lengths) == pixels
    return lengths if whole and not digits else None


def test_masks_are_accepted_and_refused_as_by_a_loop_over_their_runs():
    generator = np.random.default_rng(0)
    found = []
    for _ in range(300):
        stacks = generator.random((3, 2, SIDE, SIDE)) < generator.choice([0.0, 0.03, 0.5, 1.0])
        masks = Masks.encode(stacks)
        runs = masks.runs.copy()
        if generator.random() < 0.7:  # another number, which may be one of a valid mask by chance
            runs[generator.integers(len(runs))] = generator.integers(48, 80)
        spans = zip(masks.starts[:-1], masks.starts[1:], strict=True)
        good = all(decoded(runs[first:last], SIDE * SIDE) is not None for first, last in spans)
        found.append(good)
        if good:
            check_masks(Masks(runs, masks.counts, masks.sizes), 3, 2)
        else:
            with pytest.raises(ValueError, match="mask"):
                check_masks(Masks(runs, masks.counts, masks.sizes), 3, 2)
    assert 60 < sum(found) < 240
