"""Values that change over training, as pure functions of the share done: nothing to store, resume for free."""

from __future__ import annotations

import math
from collections.abc import Callable

from foundationx.core.config.run import Curve, TeacherConfig

Schedule = Callable[[float], float]
"""Maps the share of training done, in [0, 1], to a value."""


def linear(start: float, end: float) -> Schedule:
    """Straight line from ``start`` to ``end``."""
    return lambda done: start + (end - start) * done


def cosine(start: float, end: float) -> Schedule:
    """Half a cosine from ``start`` to ``end``: flat at both ends (Ark's momentum 0.9 to 1 and weight 0 to 0.5)."""
    return lambda done: start + (end - start) * (1 - math.cos(math.pi * done)) / 2


def warmup(curve: Schedule, share: float) -> Schedule:
    """Climbs linearly to the curve's start during the first ``share`` of training, then follows the curve.

    The very first step is not 0: callers pass the middle of a step, ``(step + 0.5) / total``.
    """

    def value(done: float) -> float:
        if done < share:
            return curve(0.0) * done / share
        return curve((done - share) / (1 - share))

    return value


CURVES: dict[str, Callable[[float, float], Schedule]] = {"linear": linear, "cosine": cosine}


def build_curve(config: Curve) -> Schedule:
    """A constant for a number, else the named curve."""
    if isinstance(config, int | float):
        return lambda done: float(config)
    return CURVES[config.type](config.start, config.end)


WINDOW = 0.05
"""Share of a run's steps that a teacher without a configured momentum is the mean over, about."""

SLOW_MOMENTUM = 0.8
"""Momentum of a teacher that is not updated every step, if none is configured."""


def teacher_momentum(config: TeacherConfig, steps: int = 0) -> Schedule:
    """Momentum of the teacher by the share of training done.

    Args:
        config: What is configured.
        steps: Steps of the whole run; of use to a teacher that is updated every step.
    """
    if config.momentum is not None:
        return build_curve(config.momentum)
    if config.update != "step":
        return lambda done: SLOW_MOMENTUM
    longest = 1 - 1 / max(1.0, WINDOW * steps)
    return lambda done: min(longest, (1 + done * steps) / (10 + done * steps))
