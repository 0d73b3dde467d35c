"""Views of one image and of a batch, as an objective asks for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from foundationx.core.geometry.views import TrainingProgress, ViewBatch, ViewSet
from foundationx.core.types import Batch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True, kw_only=True)
class SelfSupervisionBatch(Batch):
    """Views of every image by name, and the training progress at which they were asked for."""

    views: dict[str, ViewBatch]
    training_progress: TrainingProgress


def collate(common: Mapping[str, Any], targets: Sequence[ViewSet]) -> SelfSupervisionBatch:
    """Views of one name one beside the other."""
    views = {
        name: ViewBatch(
            images=_stack([target.views[name].image for target in targets])[:, None],
            windows=_stack([target.views[name].window for target in targets]),
            order=_stack([target.views[name].order for target in targets]),
        )
        for name in targets[0].views
    }
    return SelfSupervisionBatch(**common, views=views, training_progress=targets[0].training_progress)


def _stack(arrays: Sequence[np.ndarray]) -> Tensor:
    import torch

    return torch.from_numpy(np.stack(arrays))
