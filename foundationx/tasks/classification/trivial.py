"""What one would say of an image without looking at it: the prior of every class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foundationx.core.arrays import AnyArray, Recorded

UNDECIDED = 0.5
"""Probability of a class of which no training label is known."""


def learn(labels: AnyArray, classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The prior of every class: the mean of its known training labels; a class without any is left out."""
    known = {name: column[~np.isnan(column)] for name, column in zip(classes, labels.T, strict=True)}
    return {name: {"prior": float(values.mean(dtype=float))} for name, values in known.items() if len(values)}


def answer(learned: Mapping[str, Mapping[str, Any]], classes: Sequence[str], images: int) -> dict[str, Recorded]:
    """``probabilities``: the same for every image."""
    priors = [learned[name]["prior"] if name in learned else UNDECIDED for name in classes]
    return {"probabilities": np.tile(np.array(priors, dtype=np.float32), (images, 1))}
