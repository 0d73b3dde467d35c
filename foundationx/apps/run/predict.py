"""What a trained model says of single images: JSON and a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from foundationx.core.types import Prediction, Task, TaskKey
from foundationx.data.normalise import Normaliser
from foundationx.data.pixels.read import read_grey
from foundationx.data.transforms.augment import ViewPipeline
from foundationx.engine.checkpoint import Checkpoint
from foundationx.evaluation.report.overlay import Overlay
from foundationx.models.foundation_model import FoundationModel


@dataclass(frozen=True)
class Finding:
    """Predictions for one image: as JSON and as an RGB picture (H, W, 3) uint8."""

    path: Path
    values: dict[str, Any]
    picture: np.ndarray


def predicting_heads(checkpoint: Checkpoint) -> list[TaskKey]:
    """Heads that say something of a single image: all but self-supervised ones."""
    return [key for key in checkpoint.classes if key.task is not Task.SELF_SUPERVISION]


def predict_images(
    checkpoint: Checkpoint,
    which: str,
    paths: Sequence[Path],
    *,
    heads: Sequence[TaskKey] = (),
    threshold: float = 0.3,
    device: torch.device | str = "cpu",
) -> Iterator[Finding]:
    """Runs every head (or those named) on every image.

    Args:
        checkpoint: of a trained model.
        which: student or teacher.
        paths: images in any readable format; each is resized to the model's square and back.
        heads: keys of the heads to run; all that predict where empty.
        threshold: least score of a box, and least probability that is named in the picture.
        device: where to compute.

    Raises:
        DataError: an image cannot be read.
        KeyError: the model has no such head.
    """
    model = checkpoint.model(which).to(device)
    view = ViewPipeline(checkpoint.config.image_size)
    normalise = Normaliser(checkpoint.config.model, device)
    for path in paths:
        image = read_grey(path)
        small = view(image, None, None, None, seed=0).image
        tensor = normalise(torch.from_numpy(small)[None, None].to(device))
        overlay, values = Overlay(image), {}
        for key in heads or predicting_heads(checkpoint):
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
