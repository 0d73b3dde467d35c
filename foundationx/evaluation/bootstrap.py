"""Percentile bootstrap by patient: intervals of any statistic, and of the difference of two models on one test set.

Images of one patient are no independent draws, so patients are resampled, each with all of its images. A draw is a
column of weights (how often each patient was drawn): no array is copied, and every statistic of a run sees the same
draws. Draw ``b`` is a function of (seed, b) and of the number of patients alone, so two models evaluated on the same
patients are resampled alike, and their difference is a paired one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from foundationx.evaluation.statistic import MEAN, Statistic

LEVEL = 0.95
"""Share of the draws that an interval holds."""

LEAST_DEFINED = 0.9
"""Least share of draws in which a metric must be defined for an interval to be given."""

BLOCK = 4_000_000
"""Weights (patients times draws) held at one time; the result does not depend on it."""


@dataclass(frozen=True)
class Estimate:
    """A metric with its uncertainty.

    Attributes:
        metric, class_name: Names; ``mean`` for the mean over classes.
        n: Number of images or boxes that it rests on.
        value: Value; None if it is not defined.
        low, high: Ends of the percentile interval; None if it is not defined.
        draws: (R,) value in each draw, NaN if it is not defined.
    """

    metric: str
    class_name: str
    n: int
    value: float | None
    low: float | None
    high: float | None
    draws: np.ndarray


def resamples(patients: int, repeats: int, seed: int) -> Iterator[np.ndarray]:
    """Blocks of weights (patients, r): how often each patient was drawn; ``repeats`` columns in all."""
    width = max(1, BLOCK // max(patients, 1))
    for first in range(0, repeats, width):
        yield _weights(patients, range(first, min(first + width, repeats)), seed)


@lru_cache(maxsize=1)
def _weights(patients: int, numbers: range, seed: int) -> np.ndarray:
    """(patients, r) weights of the draws of these numbers, which nobody may change; heads of the same test patients,
    and models that are compared, ask for the same ones in turn.
    """
    columns = [np.random.default_rng((seed, b)).integers(patients, size=patients) for b in numbers]
    weights = np.stack([np.bincount(column, minlength=patients) for column in columns], axis=1).astype(np.float64)
    weights.flags.writeable = False
    return weights


def draws_of(statistics: Sequence[Statistic], patients: int, repeats: int, seed: int) -> np.ndarray:
    """(n, R) value of each statistic in each draw, NaN where it is not defined."""
    draws = np.full((len(statistics), repeats), np.nan)
    first = 0
    for weights in resamples(patients, repeats, seed):
        last = first + weights.shape[1]
        for row, statistic in zip(draws, statistics, strict=True):
            row[first:last] = statistic.of(weights)
        first = last
    return draws


def estimate(statistics: Sequence[Statistic], patients: int, repeats: int = 1000, seed: int = 0) -> list[Estimate]:
    """Value and interval of each statistic, and of the mean over classes of each metric.

    In every draw the mean is taken over the classes that are defined in it.

    Args:
        statistics: Statistics of one head; the classes of a metric stand together.
        patients: U, the number of patients.
        repeats: Number of draws; 0 gives values without intervals.
        seed: Seed of the draws.
    """
    draws = draws_of(statistics, patients, repeats, seed)
    values = np.array([np.nan if (v := s.value(patients)) is None else v for s in statistics])
    estimates = []
    for metric in dict.fromkeys(statistic.metric for statistic in statistics):
        indices = [index for index, statistic in enumerate(statistics) if statistic.metric == metric]
        for index in indices:
            statistic = statistics[index]
            estimates.append(_estimate(metric, statistic.class_name, statistic.n, values[index], draws[index]))
        total = sum(statistics[index].n for index in indices)
        value = mean_defined(values[indices, None])[0]
        estimates.append(_estimate(metric, MEAN, total, value, mean_defined(draws[indices])))
    return estimates


def mean_defined(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis without NaN; NaN if there is nothing else."""
    defined = ~np.isnan(values)
    return np.where(
        defined.any(axis=0), np.where(defined, values, 0.0).sum(axis=0) / np.maximum(defined.sum(axis=0), 1), np.nan
    )


def interval(draws: np.ndarray, level: float = LEVEL) -> tuple[float, float] | None:
    """Percentile interval of the draws that are defined; None if too few are (``LEAST_DEFINED``)."""
    defined = draws[~np.isnan(draws)]
    if not len(defined) or len(defined) < LEAST_DEFINED * len(draws):
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_p(one: np.ndarray, two: np.ndarray) -> float | None:
    """Two-sided p value of the hypothesis that two metrics do not differ, from draws (R,) made alike.

    Twice the smaller share of draws whose difference lies on one side of 0, draws at 0 lying on both; one is added to
    the counts, so that p is never 0. None if too few draws are defined in both.
    """
    difference = two - one
    defined = difference[~np.isnan(difference)]
    if not len(defined) or len(defined) < LEAST_DEFINED * len(difference):
        return None
    least = min((defined <= 0).sum(), (defined >= 0).sum())
    return float(min(1.0, 2 * (least + 1) / (len(defined) + 1)))


def _estimate(metric: str, class_name: str, n: int, value: float, draws: np.ndarray) -> Estimate:
    ends = interval(draws) if not np.isnan(value) else None
    low, high = ends or (None, None)
    return Estimate(metric, class_name, n, None if np.isnan(value) else float(value), low, high, draws)
