"""What a frozen backbone knows of anatomy, measured without training.

Cosines of features of radiographs are high for any network, so that every similarity is given beside, or minus, that of
unrelated pairs. Landmarks are named points (y, x) in pixels of the image. Measures of relations between positions are
in ``space.py``, all measures of one backbone in ``suite.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from foundationx.core.geometry.samplers import children, whole
from foundationx.core.geometry.views import CELL
from foundationx.data.transforms.view_sets import crop
from foundationx.tasks.self_supervision.objective import Tokens

_ROUNDING = 1e-12
"""Cosines of equal features differ by less."""

_MOST_VIEWS = 64
"""Views that are encoded together."""

Encoder = Callable[[Tensor], Tokens]
"""(B, 1, S, S) uint8 to tokens, without gradient; of a model in evaluation mode."""


def features_at(encoder: Encoder, image: np.ndarray, points: np.ndarray, size: int) -> Tensor:
    """Features (P, D) of positions: the middle token of a view of ``size`` pixels around each.

    Args:
        encoder: Encoder of the backbone.
        image: (H, W) uint8; one pixel of the view is one of the image. Its border is replicated.
        points: (P, 2) y and x in pixels.
        size: Side in pixels, an odd number of tokens, so that there is one in the middle.
    """
    if size // CELL % 2 == 0:
        raise ValueError(f"{size} pixels are {size // CELL} tokens: there is none in the middle")
    padded = cv2.copyMakeBorder(image, size, size, size, size, cv2.BORDER_REPLICATE)
    corners = np.asarray(points) + size / 2  # padding moves by a size, the middle is half of one
    views = [crop(padded, np.concatenate([corner, corner + size]), size) for corner in corners]
    tokens = _encode(encoder, views).values
    return tokens[:, tokens.shape[1] // 2]


def grid_of(size: int, step: int) -> np.ndarray:
    """Positions (M, 2) every ``step`` pixels of a square image, the first half a step from the border."""
    line = np.arange(step / 2, size, step)
    return np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)


def correspondence(queries: Tensor, keys: Tensor, positions: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Distances (P,) in pixels between the best match in another patient's image and the landmark there.

    If several positions match equally well, their mean distance: constant features have that of any position.

    Args:
        queries: (P, D) features of landmarks of one patient.
        keys: (M, D) features all over another patient's image.
        positions: (M, 2) positions of the keys.
        truth: (P, 2) positions of the same landmarks in the other image.
    """
    return (matches(queries, keys) * distances(positions, truth)).sum(axis=1)


def matches(queries: Tensor, keys: Tensor) -> np.ndarray:
    """(P, M) weights of positions: 1 for the most similar key, divided among equally similar ones; 0 for the others."""
    best = ties(cosines_of(queries, keys)).numpy()
    return best / best.sum(axis=1, keepdims=True)


def distances(positions: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(P, M) distances in pixels from true positions (P, 2) to all positions (M, 2)."""
    return np.linalg.norm(positions[None] - np.asarray(truth)[:, None], axis=2)


def cosines_of(first: Tensor, second: Tensor) -> Tensor:
    """Plain cosines (n, m) of rows (n, D) and (m, D), in double precision: no softmax, which would bring all near 1."""
    return F.normalize(first.double(), dim=1) @ F.normalize(second.double(), dim=1).T


def ties(cosines: Tensor) -> Tensor:
    """(n, m) bool: which of a row are its greatest, up to rounding."""
    return cosines >= cosines.amax(dim=1, keepdim=True) - _ROUNDING


def locality_hits(features: Tensor, landmarks: Sequence[int], patients: Sequence[int], neighbours: int = 5) -> Tensor:
    """(n,) bool: whether a position's nearest neighbours in other patients mostly are the same landmark.

    The landmarks are the true ones, not clusters of the features.

    Args:
        features: (n, D) features of positions.
        landmarks: n numbers of landmarks.
        patients: n numbers of patients; positions of the same patient do not count as neighbours.
        neighbours: Number of neighbours that vote; the nearest wins if votes are equal.
    """
    names, owners = torch.as_tensor(landmarks), torch.as_tensor(patients)
    unit = F.normalize(features, dim=1)
    cosines = (unit @ unit.T).masked_fill(owners[:, None] == owners[None], -torch.inf)
    votes = names[cosines.topk(neighbours, dim=1).indices]
    counts = F.one_hot(votes, int(names.max()) + 1).sum(dim=1) * neighbours
    counts.scatter_add_(1, votes[:, :1], torch.ones_like(votes[:, :1]))
    return counts.argmax(dim=1) == names


def composition_cosines(wholes: Tensor, parts: Tensor) -> tuple[Tensor, Tensor]:
    """Per whole, (n,) each: its cosine to the mean of its own parts, and the mean cosine to those of other images."""
    return own_and_others(cosines_of(wholes, parts.mean(dim=1)))


def own_and_others(cosines: Tensor) -> tuple[Tensor, Tensor]:
    """The diagonal (n,) of a square (n, n), n > 1, and the mean (n,) of the rest of each row."""
    own = cosines.diagonal()
    return own, (cosines.sum(dim=1) - own) / (len(cosines) - 1)


def decomposition_hits(wholes: Tensor, without: Tensor, removed: Tensor) -> Tensor:
    """(n,) shares: 1 if what an image loses by a blackened box is most similar to that box, among all n, the gallery.

    The mean over images is subtracted first: it would decide every search for the same box. Equally similar boxes share
    the hit.
    """
    lost = wholes - without
    lost, removed = (rows - rows.mean(dim=0) for rows in (lost, removed))
    best = ties(cosines_of(lost, removed)).double()
    return best.diagonal() / best.sum(dim=1)


def parts_of(encoder: Encoder, images: Sequence[np.ndarray], size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pooled features of wholes (n, D), of their quadrants (n, 4, D), and of wholes without each quadrant (n, 4, D).

    Args:
        encoder: Encoder of the backbone.
        images: n images (H, W) uint8.
        size: Side in pixels of every view.
    """
    wholes, quadrants, without = [], [], []
    for image in images:
        boxes = children(whole(image.shape), 2)
        views = [crop(image, whole(image.shape), size)]
        views += [crop(image, box, size) for box in boxes]
        views += [crop(_blackened(image, box), whole(image.shape), size) for box in boxes]
        pooled = _encode(encoder, views).pooled
        wholes.append(pooled[0])
        quadrants.append(pooled[1:5])
        without.append(pooled[5:])
    return torch.stack(wholes), torch.stack(quadrants), torch.stack(without)


def _blackened(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    top, left, bottom, right = np.round(box).astype(int)
    image = image.copy()
    image[top:bottom, left:right] = 0
    return image


def _encode(encoder: Encoder, views: Sequence[np.ndarray]) -> Tokens:
    """Tokens of square views of one size, on the host; a few views at a time."""
    values, grid = [], (0, 0)
    with torch.no_grad():
        for start in range(0, len(views), _MOST_VIEWS):
            tokens = encoder(torch.from_numpy(np.stack(views[start : start + _MOST_VIEWS]))[:, None])
            grid = tokens.grid
            values.append(tokens.values.float().cpu())
    return Tokens(torch.cat(values), grid)
