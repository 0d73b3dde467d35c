"""A metric as a function of patients' weights: all weights 1 give its value, resampled weights its uncertainty.

Shape letters beside those of ``types``: U patients, R columns of weights (bootstrap draws), S steps of a ranking.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from foundationx.core.arrays import AnyArray
from foundationx.evaluation.predictions import Predictions

MEAN = "mean"
"""Class name of the mean over classes."""


@dataclass(frozen=True)
class Statistic:
    """One metric of one class.

    Attributes:
        metric: Name of the metric.
        class_name: Name of the class; ``MEAN`` for a metric of the head as a whole.
        n: Number of images or boxes that the value rests on.
        of: Function of weights (U, R) of the patients; returns (R,) values, NaN if the metric is not defined.
    """

    metric: str
    class_name: str
    n: int
    of: Callable[[AnyArray], AnyArray]

    def value(self, patients: int) -> float | None:
        """Value with each of ``patients`` counted once; None if the metric is not defined."""
        value = float(self.of(np.ones((patients, 1)))[0])
        return None if np.isnan(value) else value


def sum_by(rows: AnyArray, units: AnyArray, shape: tuple[int, int], values: AnyArray | None = None) -> csr_matrix:
    """Matrix of sums: entry (row, patient) is the sum of ``values`` of that row and patient.

    Multiplied by weights (U, R) it gives the weighted sum of every row, (rows, R).

    Args:
        rows: (N,) row index of each item.
        units: (N,) patient index of each item.
        shape: Number of rows and of patients.
        values: (N,) summands; 1 each if None.
    """
    return csr_matrix((np.ones(len(rows)) if values is None else values, (rows, units)), shape=shape, dtype=np.float64)


def ratio(above: AnyArray, below: AnyArray) -> AnyArray:
    """``above / below``, NaN if ``below`` is 0."""
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below != 0)


def mean_over_images(predictions: Predictions, tables: Mapping[str, AnyArray]) -> list[Statistic]:
    """Means over images, class by class.

    Args:
        predictions: Give classes and patients.
        tables: (N, K) value of each image and class by metric, NaN if the image does not count.
    """
    units, patients = predictions.units, predictions.patient_count
    return [
        mean_over(metric, name, table[:, k], units, patients)
        for metric, table in tables.items()
        for k, name in enumerate(predictions.classes)
    ]


def mean_over(metric: str, class_name: str, values: AnyArray, units: AnyArray, patients: int) -> Statistic:
    """Mean of one value per image over the images whose value is not NaN.

    Args:
        metric: Name of the metric.
        class_name: Name of the class.
        values: (N,) value of each image, NaN if the image does not count.
        units: (N,) patient index of each image.
        patients: U, the number of patients.
    """
    counted = ~np.isnan(values)
    units, values = units[counted], values[counted]
    zero = np.zeros(len(values), dtype=int)
    total, number = sum_by(zero, units, (1, patients), values), sum_by(zero, units, (1, patients))
    return Statistic(
        metric, class_name, len(values), lambda weights: ratio((total @ weights)[0], (number @ weights)[0])
    )
