"""Group-balanced drawing: within each dataset, images with a class and images without it come equally often.

If a finding is frequent in one dataset and rare in another, whatever shows which dataset an image comes from predicts
the finding. Where all groups (dataset x label) come equally often it does not.
"""

from __future__ import annotations

import numpy as np

from foundationx.core.arrays import AnyArray

POSITIVE = 0.5
"""Soft labels from here on count as present."""


def label_weights(labels: AnyArray) -> AnyArray:
    """Weight (N,) of each image, with mean 1: how often it is drawn in a pass.

    A class with known labels of both kinds has two groups. An image's weight is the mean, over the known labels of such
    classes, of 1 / (2 * share of the label's group); 1 if it has no such label. With a single class both groups are
    drawn equally often.

    Args:
        labels: (N, K) tri-state labels.
    """
    known, present = ~np.isnan(labels), labels >= POSITIVE
    total, count = np.zeros(len(labels)), np.zeros(len(labels))
    for k in range(labels.shape[1]):
        groups = [known[:, k] & present[:, k], known[:, k] & ~present[:, k]]
        if all(group.any() for group in groups):
            for group in groups:
                total[group] += known[:, k].sum() / (2 * group.sum())
                count[group] += 1
    weights = np.where(count > 0, total / np.maximum(count, 1), 1.0)
    return weights / weights.mean()


def draw_balanced(images: AnyArray, weights: AnyArray, random: np.random.Generator) -> AnyArray:
    """As many images as there are, each its weight's times, rounded up or down by chance, in random order.

    Args:
        images: (N,) indices.
        weights: (N,) with mean 1.
        random: Generator.
    """
    order = random.permutation(len(images))
    ends = np.cumsum(weights[order])
    places = (random.random() + np.arange(len(images))) * (ends[-1] / len(images))
    drawn = order[np.minimum(np.searchsorted(ends, places, side="right"), len(images) - 1)]
    return images[random.permutation(drawn)]
