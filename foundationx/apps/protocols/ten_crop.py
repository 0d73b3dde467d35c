"""Ten-crop: a classification head's probabilities averaged over the corners, the centre and their mirror images.

As in Ark, the image is resized to somewhat more than the network's input (256 for 224), and ten crops of the input's
size are predicted. It costs ten times as much as an evaluation.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from foundationx.apps.protocols.base import LABELS, Request, Result, Subject
from foundationx.apps.protocols.embedding import apply_to_all, predictions_of, probabilities_of
from foundationx.apps.protocols.linear import interval_rows
from foundationx.core.config.model import Section
from foundationx.core.errors import ConfigError, nearest
from foundationx.core.types import Split, TaskKey
from foundationx.data.dataset import CardDataset
from foundationx.data.loader import PooledDataset
from foundationx.data.transforms.augment import ViewPipeline
from foundationx.evaluation.predictions import Predictions


class Options(Section):
    """How large the image is before it is cropped."""

    resize: int | None = Field(None, gt=0, description="side in pixels; by default 8/7 of the network's input")


def run(request: Request, options: Options) -> Result:
    """Evaluates the dataset's own classification head on test.

    Raises:
        ConfigError: The model has no such head, or ``resize`` is smaller than its input.
    """
    subject, key = Subject(request), TaskKey(request.card, LABELS)
    if key not in subject.model.classes:
        raise ConfigError("--card", f"the model has no head {key}", nearest(str(key), map(str, subject.model.classes)))
    subject.need(key, (Split.TEST,))
    size = options.resize or round(subject.config.image_size * 8 / 7)
    if size < subject.config.image_size:
        expected = f"at least {subject.config.image_size}, the network's input"
        raise ConfigError("--with resize", f"found {size}", expected)
    predictions = _predict(subject, key, size)
    title = f"ten crops of {request.card} by {request.checkpoint} ({subject.name}), test"
    notes = [f"resized to {size}, crops of {subject.config.image_size}, images: {subject.sizes(key)}"]
    return Result(
        title, ("metric", "class", "n", "value", "95 % interval"), interval_rows(predictions), notes, [predictions]
    )


def _predict(subject: Subject, key: TaskKey, side: int) -> Predictions:
    table, chosen = subject.data_module.annotations[key], subject.data_module.indices[key][Split.TEST]
    dataset = CardDataset(table, subject.data_module.roots[key.dataset], ViewPipeline(side))

    def answer(inputs: Tensor) -> Tensor:
        crops = ten_crops(inputs, subject.config.image_size)
        return torch.stack([probabilities_of(subject.model, crop, key) for crop in crops]).mean(0)

    found = apply_to_all(subject, key, PooledDataset({key: dataset}, {key: chosen}), Split.TEST, answer)
    return predictions_of(subject, key, Split.TEST, found, found.features)


def ten_crops(images: Tensor, size: int) -> list[Tensor]:
    """Four corners and the centre of (B, C, H, W), each as it is and mirrored: ten of (B, C, size, size)."""
    height, width = images.shape[-2:]
    bottom, right = height - size, width - size
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    crops = [images[..., top : top + size, left : left + size] for top, left in corners]
    return crops + [crop.flip(-1) for crop in crops]
