"""One value of one metric."""

from __future__ import annotations

from dataclasses import dataclass

HEADLINE = {"classification": "AUROC", "detection": "AP40", "segmentation": "Dice", "self_supervision": "margin"}
"""The metric that stands for each task."""

MEAN = "mean"
"""Class name of the mean over classes."""


@dataclass(frozen=True)
class Score:
    """``value`` is None where the metric is not defined; ``n`` counts what it rests on."""

    metric: str
    class_name: str
    value: float | None
    n: int


def with_mean(metric: str, scores: list[Score]) -> list[Score]:
    """The scores of all classes and their mean over the classes where the metric is defined."""
    values = [score.value for score in scores if score.value is not None]
    mean = sum(values) / len(values) if values else None
    return [*scores, Score(metric, MEAN, mean, sum(score.n for score in scores))]
