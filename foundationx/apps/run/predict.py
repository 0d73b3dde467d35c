"""Predictions of a trained model for single images: JSON and a picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foundationx.core.config.run import RunConfig
from foundationx.core.errors import ConfigError, nearest
from foundationx.core.types import TaskKey
from foundationx.data.normalise import Normaliser
from foundationx.data.pixels.read import read_grey
from foundationx.data.transforms.augment import ViewPipeline
from foundationx.models.foundation_model import FoundationModel
from foundationx.tasks.definition import task_of
from foundationx.tasks.drawing import Overlay


@dataclass(frozen=True)
class ImagePrediction:
    """Predictions for one image: as JSON and as an RGB picture (H, W, 3) uint8."""

    path: Path
    values: dict[str, Any]
    picture: np.ndarray


def predicting_heads(model: FoundationModel) -> list[TaskKey]:
    """Heads that predict something for a single image: all but self-supervised ones."""
    return [key for key in model.classes if key.task.facts.needs_annotations]


def heads_named(model: FoundationModel, names: Iterable[str]) -> list[TaskKey]:
    """Keys of the heads of these names (``dataset/task``).

    Raises:
        ConfigError: The model has no head of such a name that predicts.
    """
    by_name = {str(key): key for key in predicting_heads(model)}
    for name in names:
        if name not in by_name:
            found = f"the model has no head {name!r} that predicts"
            raise ConfigError("heads", found, "a head of the model", nearest(name, by_name))
    return [by_name[name] for name in names]


class Preprocessor:
    """Prepares one image for the network exactly as evaluation does: resized to a square, then normalised.

    Args:
        config: Run configuration; holds the image size, the mean and the standard deviation.
        device: Device of the result.
    """

    def __init__(self, config: RunConfig, device: torch.device | str):
        self._view = ViewPipeline(config.image_size)
        self._normalise = Normaliser(config.model, device)
        self._device = device

    def __call__(self, image: np.ndarray) -> Tensor:
        """(H, W) uint8 pixels to a (1, 3, S, S) float tensor, S being the image size."""
        square = self._view(image, None, seed=0).image
        return self._normalise(torch.from_numpy(square.copy())[None, None].to(self._device))


def predict_images(
    model: FoundationModel,
    config: RunConfig,
    which: str,
    paths: Iterable[Path],
    *,
    heads: Sequence[TaskKey] = (),
    threshold: float = 0.3,
    device: torch.device | str = "cpu",
) -> Iterator[ImagePrediction]:
    """Runs every head (or those named) on every image.

    Args:
        model: Trained model in evaluation mode, on ``device``.
        config: Configuration of the run that trained it.
        which: ``student`` or ``teacher``, noted in the result.
        paths: Images in any readable format; each is resized to the model's square and back.
        heads: Keys of the heads to run; if empty, all that predict.
        threshold: Least score of a box, and least probability that is named in the picture.
        device: Device to compute on.

    Raises:
        DataError: An image cannot be read.
        KeyError: The model has no such head.
    """
    prepare = Preprocessor(config, device)
    for path in paths:
        image = read_grey(path)
        tensor = prepare(image)
        overlay, values = Overlay(image), {}
        for key in heads or predicting_heads(model):
            with torch.no_grad():
                prediction = model.predict(tensor, key)
            size = (image.shape[0], image.shape[1])
            values[str(key)] = task_of(key.task).describe(
                prediction, model.classes[key], size, threshold, overlay, str(key)
            )
        yield ImagePrediction(path, {"image": str(path), "model": which, "heads": values}, overlay.picture())
