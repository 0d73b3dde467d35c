"""Curricula: pure functions of the training_progress."""

from __future__ import annotations

from collections.abc import Sequence


def stage_at(lengths: Sequence[float], done: float) -> int:
    """Number of the stage, from 0, when a share ``done`` of training lies behind; ``lengths`` need not sum to 1."""
    reached, total = 0.0, sum(lengths)
    for number, length in enumerate(lengths):
        reached += length
        if done * total < reached:
            return number
    return len(lengths) - 1
