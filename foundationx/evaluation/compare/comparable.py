"""Were two runs evaluated on the same images with the same truth? Figures of different test sets compare nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from foundationx.core.errors import DataError
from foundationx.evaluation.predictions import Predictions

SHOWN = 3
"""Names of images in a message."""


def check_same_test(heads: Sequence[tuple[Path, Predictions]]) -> None:
    """Compares one head of several runs with that of the first.

    Raises:
        DataError: other classes, images, patients, labels or boxes.
    """
    (folder, first), *others = heads
    for other_folder, other in others:
        where = f"{other_folder} and {folder}, {first.key}"
        _check_classes(where, first, other)
        _check_images(where, first, other)
        order, other_order = np.argsort(first.images), np.argsort(other.images)
        pairs = {"patients": (first.patients[order], other.patients[other_order])}
        place = [other.classes.index(name) for name in first.classes]
        pairs["labels"] = (first.labels[order], other.labels[other_order][:, place])
        if "true_classes" in first.recorded:
            pairs["numbers of true boxes"] = (_box_counts(first)[order], _box_counts(other)[other_order][:, place])
        for what, (one, two) in pairs.items():
            _check_equal(where, what, first.images[order], one, two)


def _check_classes(where: str, first: Predictions, other: Predictions) -> None:
    if set(first.classes) != set(other.classes):
        odd = ", ".join(sorted(set(first.classes) ^ set(other.classes)))
        raise DataError(where, f"have different classes: {odd} in one only", "the same classes", "use the same card")


def _check_images(where: str, first: Predictions, other: Predictions) -> None:
    odd = sorted(set(first.images) ^ set(other.images))
    if odd:
        counts = f"{len(other)} and {len(first)} images, {len(odd)} of them in one only"
        names = ", ".join(odd[:SHOWN]) + (", ..." if len(odd) > SHOWN else "")
        fix = "train with the same split (seed, fractions, datasets), or evaluate both on one official test list"
        raise DataError(where, f"have different test sets: {counts} ({names})", "the same images", fix)


def _check_equal(where: str, what: str, images: np.ndarray, one: np.ndarray, two: np.ndarray) -> None:
    """Compares two arrays, (N,) or (N, K), row by row; unknown equals unknown."""
    same = one == two
    if one.dtype.kind == "f":
        same |= np.isnan(one) & np.isnan(two)
    same = same.reshape(len(images), -1).all(axis=1)
    if not same.all():
        found = f"{what} of {(~same).sum()} images differ, {images[~same][0]} among them"
        raise DataError(where, found, "the same truth", "evaluate both with the same card and annotation files")


def _box_counts(predictions: Predictions) -> np.ndarray:
    """Number of true boxes by image and class, (N, K)."""
    counts = np.zeros((len(predictions), len(predictions.classes)), dtype=int)
    true = predictions.ragged("true_classes")
    np.add.at(counts, (true.images, true.values), 1)
    return counts
