"""What a view is: a box of the source image, what is done to its pixels, and when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

CELL = 32
"""Pixels of a view that one token covers: the stride of a hierarchical backbone's last stage."""


class TrainingProgress(NamedTuple):
    """Progress of a head's own training. Curricula are functions of it, so that they have no state to store.

    ``turn`` counts the batches of this head before, ``done`` is the share of its batches that lies behind, in [0, 1].
    """

    turn: int = 0
    done: float = 0.0


START = TrainingProgress()
"""Before a head's first batch."""


@dataclass(frozen=True)
class View:
    """One view that an objective asks for.

    Attributes:
        name: how the objective finds it again; views of one name have one size in a batch.
        window: (4,) y0 x0 y1 x1 in source pixels.
        size: Side of the square view in pixels.
        toned: brightness, contrast, noise and blur vary.
        rotate: it is turned by up to so many degrees; 0 for views whose tokens are matched.
        distorted: grey values and patches are distorted, to be restored (PEAC).
        order: (N,) the view's blocks are shuffled: block i shows what block ``order[i]`` showed.
    """

    name: str
    window: np.ndarray
    size: int
    toned: bool = True
    rotate: float = 0.0
    distorted: bool = False
    order: np.ndarray | None = None

    @property
    def cells(self) -> int:
        """Tokens per side."""
        return self.size // CELL


def identity_order(cells: int) -> np.ndarray:
    """The order (N,) of blocks that were not shuffled."""
    return np.arange(cells * cells, dtype=np.int64)


@dataclass(slots=True)
class ViewPixels:
    """One view of one image, for self-supervision.

    Attributes:
        image: (S, S) uint8.
        window: (4,) float32 y0 x0 y1 x1 in pixels of the source image.
        order: (N,) int64: block i shows what block ``order[i]`` showed before the view was shuffled, if it was.
    """

    image: np.ndarray
    window: np.ndarray
    order: np.ndarray


@dataclass(frozen=True, slots=True)
class ViewSet:
    """The views of one image by name, and the training progress at which they were asked for."""

    views: dict[str, ViewPixels]
    training_progress: TrainingProgress

    def resized(self, size: tuple[int, int], side: int) -> Self:
        """The same: views are cut from the source image."""
        return self

    def moved(self, move: object) -> Self:
        """The same: views are moved one by one when they are cut."""
        return self


@dataclass(slots=True)
class ViewBatch:
    """One view of every image of a batch: (B, 1, S, S) uint8 images, (B, 4) windows, (B, N) orders as in ViewPixels."""

    images: Tensor
    windows: Tensor
    order: Tensor
