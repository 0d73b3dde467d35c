"""What a trained model says of single images: JSON and a picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from foundationx.core.config.run import RunConfig
from foundationx.core.errors import ConfigError, nearest
from foundationx.core.types import Prediction, Task, TaskKey
from foundationx.data.normalise import Normaliser
from foundationx.data.pixels.read import read_grey
from foundationx.data.transforms.augment import ViewPipeline
from foundationx.evaluation.report.overlay import Overlay
from foundationx.models.foundation_model import FoundationModel


@dataclass(frozen=True)
class Finding:
    """Predictions for one image: as JSON and as an RGB picture (H, W, 3) uint8."""

    path: Path
    values: dict[str, Any]
    picture: np.ndarray


def predicting_heads(model: FoundationModel) -> list[TaskKey]:
    """Heads that predict something for a single image: all but self-supervised ones."""
    return [key for key in model.classes if key.task is not Task.SELF_SUPERVISION]


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
        square = self._view(image, None, None, None, seed=0).image
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
) -> Iterator[Finding]:
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
            values[str(key)] = _describe(prediction, model, key, image.shape, threshold, overlay)
        yield Finding(path, {"image": str(path), "model": which, "heads": values}, overlay.picture())


def _describe(
    prediction: Prediction,
    model: FoundationModel,
    key: TaskKey,
    size: tuple[int, int],
    threshold: float,
    overlay: Overlay,
) -> Any:
    """One head's prediction in plain values, drawn on the overlay as well."""
    names = model.classes[key]
    if key.task is Task.CLASSIFICATION:
        found = dict(zip(names, prediction.probabilities[0].tolist(), strict=True))
        overlay.note([f"{name} {value:.2f}" for name, value in found.items() if value >= threshold], str(key))
        return {name: round(value, 4) for name, value in found.items()}
    if key.task is Task.DETECTION:
        return _boxes(prediction, names, size, threshold, overlay)
    return _masks(prediction, names, size, overlay)


def _boxes(
    prediction: Prediction, names: Sequence[str], size: tuple[int, int], threshold: float, overlay: Overlay
) -> list[dict[str, Any]]:
    """Boxes of at least ``threshold``, x1 y1 x2 y2 in pixels of the source image."""
    height, width = size
    scale = np.array([width, height, width, height])
    found = []
    for box, score, label in zip(
        prediction.boxes[0].tolist(), prediction.scores[0].tolist(), prediction.box_classes[0].tolist(), strict=True
    ):
        if score >= threshold:
            corners = np.round(np.clip(box, 0, 1) * scale, 1)
            overlay.box(corners, f"{names[label]} {score:.2f}", label)
            found.append({"class": names[label], "score": round(score, 4), "box": corners.tolist()})
    return found


def _masks(
    prediction: Prediction, names: Sequence[str], size: tuple[int, int], overlay: Overlay
) -> list[dict[str, Any]]:
    """Share of the image that each mask covers, with its outline as polygons in pixels of the source image."""
    found = []
    for index, name in enumerate(names):
        probability = cv2.resize(prediction.masks[0, index].cpu().numpy(), (size[1], size[0]))
        mask = (probability >= 0.5).astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        polygons = [outline[:, 0].tolist() for outline in outlines if len(outline) >= 3]
        overlay.mask(mask, name, index)
        found.append({"class": name, "share_of_image": round(float(mask.mean()), 4), "polygons": polygons})
    return found
