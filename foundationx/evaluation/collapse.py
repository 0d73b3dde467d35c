"""Whether features learned without labels have collapsed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from foundationx.core.types import MetricRow
from foundationx.evaluation.statistic import MEAN

COLLAPSED = 0.1
"""A spread below it: 99 % of the mean square of unit features is one vector, the same of every image."""


@dataclass(frozen=True)
class Score:
    """Value of one loss or monitor of a head; None if it is not defined. ``n`` is the number of images."""

    metric: str
    class_name: str
    value: float | None
    n: int


class ViewScores:
    """Losses of an objective and monitors of collapse, over all batches of one kind.

    ``loss``: each term. ``margin``: mean cosine of two views of one image minus that of views
    of different images, 0 if all images look alike. ``rank``: exp of the entropy of the singular values, in
    1 ... min(n, D). ``spread``: standard deviation of unit features times sqrt(D), 1 if they fill the sphere and 0 if
    they are one point. ``entropy``: entropy of the prototypes over all images, as a share of the greatest: 0 if all
    have one of them. ``information``: what an image's prototypes say of which image it is (that entropy less the mean
    entropy of an image), as a share of the most that they can: 0 if all have the same, be it one or all of them.
    """

    def __init__(self) -> None:
        self._losses: dict[str, list[tuple[float, int]]] = {}
        self._pairs: list[tuple[np.ndarray, np.ndarray]] = []
        self._target_sum: Tensor | None = None
        self._target_entropy = 0.0

    def add(self, losses: dict[str, Tensor], first: Tensor, second: Tensor, targets: Tensor | None) -> None:
        """One batch: losses (), features (B, D) of two views of the same images, and targets (B, K) or None."""
        for name, loss in losses.items():
            self._losses.setdefault(name, []).append((float(loss), len(first)))
        self._pairs.append((first.float().cpu().numpy(), second.float().cpu().numpy()))
        if targets is not None:
            targets = targets.double()
            total = targets.sum(dim=0)
            self._target_sum = total if self._target_sum is None else self._target_sum + total
            self._target_entropy += float(torch.special.entr(targets).sum())

    def rows(self) -> list[Score]:
        """All scores of what was added; at least one batch."""
        first, second = (np.concatenate(features) for features in zip(*self._pairs, strict=True))
        n = len(first)
        terms = {name: sum(loss * count for loss, count in values) / n for name, values in self._losses.items()}
        scores = [Score("loss", name, value, n) for name, value in terms.items()]
        monitors: dict[str, float | None] = {
            "margin": margin(first, second),
            "rank": effective_rank(second),
            "spread": spread(second),
        }
        if self._target_sum is not None:
            monitors |= self._prototypes(self._target_sum, n)
        return scores + [Score(name, MEAN, value, n) for name, value in monitors.items()]

    def _prototypes(self, total: Tensor, n: int) -> dict[str, float | None]:
        """``entropy`` and ``information`` of ``n`` images, whose distributions (K,) add up to ``total``."""
        over_all = float(torch.special.entr(total / total.sum()).sum())
        most = math.log(min(n, len(total)))
        return {
            "entropy": over_all / math.log(len(total)) if len(total) > 1 else None,
            "information": (over_all - self._target_entropy / n) / most if most else None,
        }


def collapsed(rows: Iterable[MetricRow], model: str) -> list[MetricRow]:
    """The spreads of a model's heads whose features of different images are nearly equal."""
    return [
        row
        for row in rows
        if row.metric == "spread" and row.model == model and row.n > 1
        if row.value is not None and row.value < COLLAPSED
    ]


def merged(kinds: list[list[Score]]) -> list[Score]:
    """Scores of batches of several kinds as one list: every loss and their sum (``total``), and mean monitors."""
    losses = [score for scores in kinds for score in scores if score.metric == "loss"]
    total = Score(
        "loss",
        "total",
        sum(score.value for score in losses if score.value is not None),
        max(score.n for score in losses),
    )
    monitors: dict[str, list[Score]] = {}
    for score in (score for scores in kinds for score in scores if score.metric != "loss"):
        monitors.setdefault(score.metric, []).append(score)
    return [*losses, total, *(_mean_score(scores) for scores in monitors.values())]


def _mean_score(scores: list[Score]) -> Score:
    """The mean of one monitor over kinds of batches; None if it is defined for none."""
    values = [score.value for score in scores if score.value is not None]
    return Score(scores[0].metric, MEAN, sum(values) / len(values) if values else None, max(s.n for s in scores))


def margin(first: np.ndarray, second: np.ndarray) -> float | None:
    """Mean cosine of rows with the same number minus that of rows with different ones; None for a single row."""
    if len(first) < 2:
        return None
    cosines = _unit(first) @ _unit(second).T
    same = np.eye(len(first), dtype=bool)
    return float(cosines[same].mean() - cosines[~same].mean())


def effective_rank(features: np.ndarray) -> float:
    """exp of the entropy of the singular values of centred features (n, D); 1 if all are equal."""
    features = features.astype(np.float64)
    values = np.linalg.svd(features - features.mean(axis=0), compute_uv=False)
    if values.sum() <= 1e-12:
        return 1.0
    shares = values / values.sum()
    return float(np.exp(-(shares * np.log(np.maximum(shares, 1e-300))).sum()))


def spread(features: np.ndarray) -> float:
    """Mean over dimensions of the standard deviation of unit features (n, D), times sqrt(D)."""
    return float(_unit(features).std(axis=0).mean() * math.sqrt(features.shape[1]))


def _unit(features: np.ndarray) -> np.ndarray:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
