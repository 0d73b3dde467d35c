"""A metric as a function of patients' weights: all weights 1 give its value, resampled weights its uncertainty.

Shape letters beside those of ``types``: U patients, R columns of weights (bootstrap repeats), S steps of a ranking.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix


@dataclass(frozen=True)
class Statistic:
    """One metric of one class.

    Attributes:
        metric: its name.
        class_name: of the class.
        n: what it rests on (images with a known label, true boxes, images).
        of: takes weights (U, R) of patients, gives (R,) values, NaN where the metric is not defined.
    """

    metric: str
    class_name: str
    n: int
    of: Callable[[np.ndarray], np.ndarray]

    def value(self, patients: int) -> float | None:
        """Value with every patient counted once; None where the metric is not defined."""
        value = float(self.of(np.ones((patients, 1)))[0])
        return None if np.isnan(value) else value


def number_patients(names: Sequence[str]) -> tuple[np.ndarray, int]:
    """Index of each image's patient (N,), patients in alphabetical order, and the number U of patients."""
    unique, index = np.unique(np.asarray(names), return_inverse=True)
    return index, len(unique)


def sum_by(rows: np.ndarray, units: np.ndarray, shape: tuple[int, int], values: np.ndarray | None = None) -> csr_matrix:
    """Matrix of sums: entry (row, patient) is the sum of ``values`` (1 where None) of that row and patient.

    Multiplied with weights (U, R) it gives the weighted sum of every row, (rows, R).

    Args:
        rows: (N,) row index of each item.
        units: (N,) patient index of each item.
        shape: number of rows and of patients.
        values: (N,) what is summed.
    """
    return csr_matrix((np.ones(len(rows)) if values is None else values, (rows, units)), shape=shape, dtype=np.float64)


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """``above / below``, NaN where ``below`` is 0."""
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below != 0)


def mean_over(metric: str, class_name: str, values: np.ndarray, units: np.ndarray, patients: int) -> Statistic:
    """Mean of one value an image over the images where it is not NaN.

    Args:
        metric: name of the metric.
        class_name: of the class.
        values: (N,) one an image, NaN where it does not count.
        units: (N,) patient index of each image.
        patients: U.
    """
    counted = ~np.isnan(values)
    units, values = units[counted], values[counted]
    zero = np.zeros(len(values), dtype=int)
    total, number = sum_by(zero, units, (1, patients), values), sum_by(zero, units, (1, patients))
    return Statistic(
        metric, class_name, len(values), lambda weights: ratio((total @ weights)[0], (number @ weights)[0])
    )
