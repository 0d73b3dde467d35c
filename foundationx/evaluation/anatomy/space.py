"""Measures of how features of places relate: between, beyond and amid other places, across the body, and by a probe.

What the published scripts do otherwise (traps of ``ssl.md`` section 6): extrapolation there uses the formula of
interpolation, a softmax before the cosine brings all of them near 1, silhouettes are of clusters and not of landmarks,
and the probe's best epoch is picked on its test fold. Here the cosine is plain, and the probe has nothing to pick.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import silhouette_samples
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional as F

from foundationx.evaluation.anatomy.measures import cosines_of, ties

KINDS = ("interpolation", "extrapolation", "triangulation")

MARGIN = 1 / 8
"""Of the image's side: places keep so far from its border."""

APART = 1 / 5
"""Of the image's side: places that a feature is predicted from are at least so far from each other."""

FOLDS = 5


@dataclass(frozen=True)
class Relations:
    """Places whose features are to follow from those of others.

    Attributes:
        known: (n, a, 2) y and x of the places that are given.
        weights: (n, a) of them; each row sums to 1, and a weight is negative where the target lies beyond.
    """

    known: np.ndarray
    weights: np.ndarray

    @property
    def targets(self) -> np.ndarray:
        """(n, 2): where the weighted mean of the known places is."""
        return (self.known * self.weights[..., None]).sum(axis=1)

    def predicted(self, features: Tensor) -> Tensor:
        """(n, D) of the known places' features (n, a, D), by the weights of the places."""
        weights = torch.from_numpy(self.weights).to(features.dtype)
        return (features * weights[..., None]).sum(dim=1)

    def nearest(self, features: Tensor) -> Tensor:
        """(n, D): the feature of the known place that is nearest to the target, out of (n, a, D)."""
        distances = np.linalg.norm(self.known - self.targets[:, None], axis=2)
        return features[torch.arange(len(features)), torch.from_numpy(distances.argmin(axis=1))]


def draw_relations(kind: str, count: int, size: int, random: np.random.Generator) -> Relations:
    """Places of one kind in a square image; known ones and targets lie inside.

    Args:
        kind: between two places (rA + (1 - r)B), beyond the second ((1 + r)B - rA), or amid three (barycentric).
        count: n.
        size: side of the image in pixels.
        random: source of chance.
    """
    found: list[tuple[np.ndarray, np.ndarray]] = []
    while len(found) < count:
        known = random.uniform(MARGIN * size, (1 - MARGIN) * size, (3 if kind == "triangulation" else 2, 2))
        weights = _weights(kind, random)
        target = weights @ known
        distances = np.linalg.norm(known[:, None] - known[None], axis=2)[np.triu_indices(len(known), 1)]
        inside = ((target >= MARGIN * size) & (target <= (1 - MARGIN) * size)).all()
        if inside and distances.min() >= APART * size:
            found.append((known, weights))
    return Relations(np.stack([known for known, _ in found]), np.stack([weights for _, weights in found]))


def _weights(kind: str, random: np.random.Generator) -> np.ndarray:
    share = random.uniform(0.25, 0.75)
    if kind == "interpolation":
        return np.array([share, 1 - share])
    if kind == "extrapolation":
        return np.array([-share, 1 + share])
    if kind == "triangulation":
        return random.dirichlet(np.full(3, 4.0))
    raise ValueError(f"{kind!r} is none of {', '.join(KINDS)}")


def paired_cosines(first: Tensor, second: Tensor) -> Tensor:
    """(n,) plain cosines of row and row of two (n, D), in double precision."""
    return F.cosine_similarity(first.double(), second.double(), dim=1)


def symmetry(features: Tensor, pairs: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """Whether E(right a) + E(left b) - E(right b) is nearest to E(left a), among the landmarks of one film.

    The three that were added up are no candidates: one of them would nearly always be the nearest. Of candidates that
    are equally near, each counts as a share of a hit.

    Args:
        features: (m, D) of the film's landmarks.
        pairs: right and left landmark, by their numbers; at least two of them.

    Returns:
        Hits and chance, one each for every ordered pair of pairs.
    """
    hits, chances = [], []
    for place, (right_a, left_a) in enumerate(pairs):
        for other, (right_b, left_b) in enumerate(pairs):
            if place == other:
                continue
            candidates = [n for n in range(len(features)) if n not in (right_a, left_b, right_b)]
            wanted = features[right_a] + features[left_b] - features[right_b]
            best = ties(cosines_of(wanted[None], features[candidates]))[0].double()
            hits.append(best[candidates.index(left_a)] / best.sum())
            chances.append(1 / len(candidates))
    return torch.stack(hits), torch.tensor(chances, dtype=torch.float64)


def probe_hits(features: Tensor, landmarks: Sequence[int], patients: Sequence[int]) -> np.ndarray:
    """(n,) bool: whether a linear probe that has not seen the place's patient names the landmark.

    A logistic regression (C = 1) on standardised features, trained until it has converged on the other folds: there is
    no epoch and no strength to choose, so that a fold is only tested on.

    Args:
        features: (n, D).
        landmarks: n numbers of landmarks.
        patients: n numbers of patients, two at least; a patient is in one fold.
    """
    names, inputs = np.asarray(landmarks), features.double().numpy()
    hits = np.zeros(len(names), dtype=bool)
    folds = GroupKFold(min(FOLDS, len(set(patients))))
    for train, test in folds.split(inputs, groups=np.asarray(patients)):
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            probe.fit(inputs[train], names[train])
        hits[test] = probe.predict(inputs[test]) == names[test]
    return hits


def silhouettes(features: Tensor, landmarks: Sequence[int]) -> np.ndarray:
    """(n,) in [-1, 1] by cosine distance, with the true landmarks as clusters; 0 where features say nothing."""
    distances = (1 - cosines_of(features, features)).clamp(min=0).numpy().round(9)
    np.fill_diagonal(distances, 0)
    return silhouette_samples(distances, np.asarray(landmarks), metric="precomputed")
