"""Relations between features of positions: interpolation, extrapolation, triangulation, symmetry, and a linear probe.

The published scripts differ: extrapolation there uses the formula of interpolation, a softmax before the cosine brings
all of them near 1, silhouettes are of clusters and not of landmarks, and the probe's best epoch is picked on its test
fold. Here the cosine is plain, and the probe has nothing to pick.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from foundationx.evaluation.anatomy.measures import cosines_of, ties

KINDS = ("interpolation", "extrapolation", "triangulation")

MARGIN = 1 / 8
"""Least distance of positions from the border, as a share of the image's side."""

APART = 1 / 5
"""Least distance between the positions that a feature is predicted from, as a share of the image's side."""

FOLDS = 5


@dataclass(frozen=True)
class Relations:
    """Positions whose features are predicted from those of others.

    Attributes:
        known: (n, a, 2) y and x of the known positions.
        weights: (n, a) their weights; each row sums to 1, and a weight is negative if the target lies beyond.
    """

    known: np.ndarray
    weights: np.ndarray

    @property
    def targets(self) -> np.ndarray:
        """(n, 2) weighted means of the known positions."""
        return (self.known * self.weights[..., None]).sum(axis=1)

    def predicted(self, features: Tensor) -> Tensor:
        """(n, D) weighted means of the known positions' features (n, a, D)."""
        weights = torch.from_numpy(self.weights).to(features.dtype)
        return (features * weights[..., None]).sum(dim=1)

    def nearest(self, features: Tensor) -> Tensor:
        """(n, D) features of the known position nearest to the target, out of (n, a, D)."""
        distances = np.linalg.norm(self.known - self.targets[:, None], axis=2)
        return features[torch.arange(len(features)), torch.from_numpy(distances.argmin(axis=1))]


def draw_relations(kind: str, count: int, size: int, random: np.random.Generator) -> Relations:
    """Positions of one kind in a square image; known ones and targets lie inside.

    Args:
        kind: Between two positions (rA + (1 - r)B), beyond the second ((1 + r)B - rA), or amid three (barycentric).
        count: n, the number of targets.
        size: Side of the image in pixels.
        random: Random generator.
    """
    relations: list[tuple[np.ndarray, np.ndarray]] = []
    while len(relations) < count:
        known = random.uniform(MARGIN * size, (1 - MARGIN) * size, (3 if kind == "triangulation" else 2, 2))
        weights = _weights(kind, random)
        target = weights @ known
        distances = np.linalg.norm(known[:, None] - known[None], axis=2)[np.triu_indices(len(known), 1)]
        inside = ((target >= MARGIN * size) & (target <= (1 - MARGIN) * size)).all()
        if inside and distances.min() >= APART * size:
            relations.append((known, weights))
    return Relations(np.stack([known for known, _ in relations]), np.stack([weights for _, weights in relations]))


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
    """(n,) cosines of corresponding rows of two (n, D), in double precision."""
    return F.cosine_similarity(first.double(), second.double(), dim=1)


def symmetry(features: Tensor, pairs: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """Whether E(right a) + E(left b) - E(right b) is nearest to E(left a), among the landmarks of one radiograph.

    The three that were added up are no candidates: one of them would nearly always be the nearest. Equally near
    candidates share the hit.

    Args:
        features: (m, D) features of the radiograph's landmarks.
        pairs: Right and left landmark by index; at least two pairs.

    Returns:
        Hits and chance, one each for every ordered pair of pairs.
    """
    hits, chances = [], []
    for index, (right_a, left_a) in enumerate(pairs):
        for other, (right_b, left_b) in enumerate(pairs):
            if index == other:
                continue
            candidates = [n for n in range(len(features)) if n not in (right_a, left_b, right_b)]
            target = features[right_a] + features[left_b] - features[right_b]
            best = ties(cosines_of(target[None], features[candidates]))[0].double()
            hits.append(best[candidates.index(left_a)] / best.sum())
            chances.append(1 / len(candidates))
    return torch.stack(hits), torch.tensor(chances, dtype=torch.float64)


def probe_hits(features: Tensor, landmarks: Sequence[int], patients: Sequence[int]) -> np.ndarray:
    """(n,) bool: whether a linear probe that was trained on other patients predicts the landmark.

    A logistic regression (C = 1) on standardised features, trained on the other folds until it has converged: there is
    no epoch and no strength to choose on the test fold.

    Args:
        features: (n, D) features of positions.
        landmarks: n numbers of landmarks.
        patients: n numbers of patients, at least two; a patient is in one fold.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

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
    """(n,) in [-1, 1] by cosine distance, with the true landmarks as clusters; 0 for constant features."""
    from sklearn.metrics import silhouette_samples

    distances = (1 - cosines_of(features, features)).clamp(min=0).numpy().round(9)
    np.fill_diagonal(distances, 0)
    return silhouette_samples(distances, np.asarray(landmarks), metric="precomputed")
