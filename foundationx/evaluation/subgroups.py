"""The headline metric of a head in groups of its patients: by sex, age, view, hospital, whatever the card names.

A gap between small groups is mostly chance: every group has its interval, and groups of few patients are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from foundationx.core.arrays import AnyArray
from foundationx.evaluation.bootstrap import estimate
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.statistic import MEAN
from foundationx.evaluation.trivial import headline_statistics

LEAST = 10
"""Patients that a group needs to be shown."""


@dataclass(frozen=True)
class GroupScore:
    """The headline metric, mean over classes, of one group of images.

    Attributes:
        attribute: What the images are grouped by.
        group: Value of the attribute.
        images, patients: Their numbers.
        value, low, high: Value and interval; None if not defined.
    """

    attribute: str
    group: str
    images: int
    patients: int
    value: float | None
    low: float | None
    high: float | None


def score(predictions: Predictions, attribute: str, group: str, repeats: int = 1000) -> GroupScore:
    """The score of all images of ``predictions``, with an interval by patient."""
    headline = predictions.key.task.facts.headline
    wanted = [statistic for statistic in headline_statistics(predictions) if statistic.metric == headline]
    entries = estimate(wanted, predictions.patient_count, repeats)
    mean = next((entry for entry in entries if entry.class_name == MEAN), None)
    values = (None, None, None) if mean is None else (mean.value, mean.low, mean.high)
    return GroupScore(attribute, group, len(predictions), predictions.patient_count, *values)


def scores(predictions: Predictions, groups: Mapping[str, AnyArray], least: int = LEAST) -> list[GroupScore]:
    """Scores of all groups with at least ``least`` patients.

    Args:
        predictions: One head of one model.
        groups: By attribute the group of each image, (N,) names; "" is unknown.
        least: Patients that a group needs.
    """
    found = []
    for attribute, names in groups.items():
        for group in sorted(set(names.tolist()) - {""}):
            part = predictions.take(names == group)
            if part.patient_count >= least:
                found.append(score(part, attribute, group))
    return found
