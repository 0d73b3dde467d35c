"""Lines of points."""

from __future__ import annotations

import numpy as np


def evenly_spaced(line: np.ndarray, count: int) -> np.ndarray:
    """Points at equal distances along a line, from its first to its last; distances are those along straight pieces.

    Args:
        line: (P, 2).
        count: Number of points N, at least 2.

    Returns:
        (N, 2).
    """
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    steps = np.linspace(0.0, along[-1], count)
    return np.stack([np.interp(steps, along, line[:, axis]) for axis in (0, 1)], axis=1)
