"""Where one would put the points of an image without looking at it: the mean training place of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from foundationx.core.arrays import AnyArray, Recorded
from foundationx.tasks.keypoints.target import KeypointsBatch

MIDDLE = (0.5, 0.5)
"""Place of a point that no training image shows."""


def learn(batches: Iterable[KeypointsBatch], classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The mean training place of every point; one that no image shows is left out.

    Returns:
        By class ``point``: x y as shares of the image; ``score``: share of the images that say so in which it is
        visible.
    """
    sums, placed = np.zeros((len(classes), 2)), np.zeros(len(classes))
    seen, known = np.zeros(len(classes)), np.zeros(len(classes))
    for batch in batches:
        points, visible = batch.points.numpy().astype(np.float64), batch.visible.numpy()
        sums += np.nan_to_num(points).sum(axis=0)
        placed += np.isfinite(points).all(axis=2).sum(axis=0)
        seen += np.nan_to_num(visible).sum(axis=0)
        known += np.isfinite(visible).sum(axis=0)
    return {
        name: {"point": (sums[k] / placed[k]).tolist(), "score": float(seen[k] / known[k])}
        for k, name in enumerate(classes)
        if placed[k]
    }


def answer(learned: Mapping[str, Mapping[str, Any]], classes: Sequence[str], sizes: AnyArray) -> dict[str, Recorded]:
    """``predicted_points``, ``probabilities``: the same shares of every image; sizes are (N, 2) height and width."""
    shares = np.array([learned.get(name, {"point": MIDDLE})["point"] for name in classes], dtype=np.float32)
    scores = np.array([learned.get(name, {"score": 0.0})["score"] for name in classes], dtype=np.float32)
    sides = np.asarray(sizes, dtype=np.float32)[:, None, ::-1]
    return {"predicted_points": shares * sides, "probabilities": np.tile(scores, (len(sizes), 1))}
