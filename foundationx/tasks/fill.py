"""Limits from which on a teacher's answer counts as an annotation, chosen on validation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from foundationx.core.arrays import AnyArray
from foundationx.core.types import Batch, TaskKey

if TYPE_CHECKING:
    from torch import Tensor

LEAST = 5
"""True objects, images or pixels that a limit has to rest on."""


@dataclass(frozen=True)
class Evidence:
    """What a teacher answered on annotated images.

    Attributes:
        classes: (M,) class of each answer.
        scores: (M,) its score in [0, 1].
        truth: (M,) bool, whether it is right.
        missed: (K,) true objects without any answer.
    """

    classes: AnyArray
    scores: AnyArray
    truth: AnyArray
    missed: AnyArray

    @classmethod
    def joined(cls, parts: Iterable[Evidence]) -> Evidence:
        """The evidence of several batches."""
        whole = list(parts)
        classes, scores, truth = (
            np.concatenate([getattr(part, name) for part in whole]) for name in ("classes", "scores", "truth")
        )
        return cls(classes, scores, truth, np.sum([part.missed for part in whole], axis=0))


@dataclass(frozen=True)
class Limits:
    """Scores (K,) by class: from ``present`` on a class counts as present, below ``absent`` as absent.

    What lies between stays unknown. ``present`` is infinite and ``absent`` 0 for a class of which nothing is filled.
    """

    present: AnyArray
    absent: AnyArray

    def as_json(self) -> dict[str, list[float | None]]:
        """Plain values; None for infinity."""
        return {"present": [float(v) if np.isfinite(v) else None for v in self.present], "absent": self.absent.tolist()}

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Limits:
        """What :meth:`as_json` gave. Raises KeyError, TypeError or ValueError."""
        present = [np.inf if value is None else float(value) for value in values["present"]]
        return cls(np.array(present), np.array(values["absent"], dtype=np.float64))


def choose_limits(evidence: Evidence, classes: int, precision: float) -> Limits:
    """Limits of each class.

    Args:
        evidence: Answers on validation.
        classes: Number of classes K.
        precision: Share of the answers from ``present`` on that have to be right, and share of the true objects that
            may not lie below ``absent``.
    """
    pairs = [_limits(evidence, k, precision) for k in range(classes)]
    return Limits(np.array([present for present, _ in pairs]), np.array([absent for _, absent in pairs]))


def _limits(evidence: Evidence, k: int, precision: float) -> tuple[float, float]:
    own = evidence.classes == k
    scores, truth = evidence.scores[own], evidence.truth[own]
    positives = int(truth.sum() + evidence.missed[k])
    if positives < LEAST:
        return np.inf, 0.0
    candidates, index = np.unique(-scores, return_inverse=True)  # the best first
    right = np.cumsum(np.bincount(index[truth], minlength=len(candidates)))
    given = np.cumsum(np.bincount(index, minlength=len(candidates)))
    good = np.flatnonzero((right >= precision * given) & (right >= LEAST))
    if not len(good):  # absence alone would teach the student to find nothing
        return np.inf, 0.0
    present = float(-candidates[good[-1]])
    may_be_below = int((1 - precision) * positives + 1e-9) - int(evidence.missed[k])
    absent = float(np.sort(scores[truth])[may_be_below]) if 0 <= may_be_below < truth.sum() else 0.0
    return present, min(absent, present)


class FillRules(Protocol):
    """What ``fill.py`` of a task says: how a teacher's answers become annotations of another dataset's images."""

    def evidence(self, prediction: Any, batch: Any) -> Evidence:
        """What a prediction (on the host) says of annotated images, from which limits are chosen."""

    def filled(
        self, prediction: Any, batch: Batch, key: TaskKey, limits: Limits, open_: Tensor
    ) -> tuple[Batch, Tensor]:
        """A batch of another dataset with what a teacher's head predicts in place of annotations.

        Args:
            prediction: Of the teacher's head for the batch's images.
            batch: Batch of any task.
            key: The head.
            limits: From which scores on a class counts as present or absent.
            open_: (B, K) bool, the classes of which nothing is known; no other is filled.

        Returns:
            The batch for the head of ``key``, and how many labels, boxes or pixels were filled as present (B, K).
        """
