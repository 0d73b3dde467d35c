"""Predictions of a trained model for single images: JSON and a picture."""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from foundationx.apps.run.operating_points import DEFAULT, OperatingPoints, fixed_points
from foundationx.core.config.run import RunConfig
from foundationx.core.errors import ConfigError, DataError, nearest
from foundationx.core.types import Prediction, TaskKey
from foundationx.data.normalise import Normaliser
from foundationx.data.pixels.read import read_grey
from foundationx.data.transforms.augment import ViewPipeline
from foundationx.evaluation.evaluator import predict_each
from foundationx.models.foundation_model import FoundationModel
from foundationx.tasks.definition import task_of
from foundationx.tasks.drawing import NoOverlay, Overlay

READERS, READ_AHEAD = 2, 16
"""Threads that read images, and images that are read before they are asked for."""

T = TypeVar("T")


@dataclass(frozen=True)
class ImagePrediction:
    """Predictions for one image: as JSON and, if it is wanted, as an RGB picture (H, W, 3) uint8."""

    path: Path
    values: dict[str, Any]
    picture: np.ndarray | None


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
    points: OperatingPoints | None = None,
    device: torch.device | str = "cpu",
    batch_size: int = 8,
    pictures: bool = True,
    on_bad: Callable[[Path, DataError], None] | None = None,
) -> Iterator[ImagePrediction]:
    """Runs every head (or those named) on every image.

    Images are read by threads while the network computes.

    Args:
        model: Trained model in evaluation mode, on ``device``.
        config: Configuration of the run that trained it.
        which: ``student`` or ``teacher``, noted in the result.
        paths: Images in any readable format; each is resized to the model's square and back.
        heads: Keys of the heads to run; if empty, all that predict.
        points: Least score of a box, and least probability that is named in the picture, by head and class;
            ``operating_points.DEFAULT`` for all if None.
        device: Device to compute on.
        batch_size: Images that go through the network at once.
        pictures: Whether pictures are drawn.
        on_bad: Called with an image that cannot be read, which is then passed over; None: it raises.

    Raises:
        DataError: An image cannot be read, and ``on_bad`` is None.
        KeyError: The model has no such head.
    """
    prepare = Preprocessor(config, device)
    keys, points = heads or predicting_heads(model), points or fixed_points(model, DEFAULT)
    for batch in _batches(_read_ahead(paths, on_bad), batch_size):
        tensors = torch.cat([prepare(image) for _, image in batch])
        predictions = predict_each(model, tensors, keys, batch_size)
        for index, (path, image) in enumerate(batch):
            one = {key: _one(predictions[key], index) for key in keys}
            yield _described(path, image, which, one, model, points, Overlay(image) if pictures else NoOverlay())


def _described(
    path: Path,
    image: np.ndarray,
    which: str,
    predictions: Mapping[TaskKey, Prediction],
    model: FoundationModel,
    points: OperatingPoints,
    overlay: Overlay,
) -> ImagePrediction:
    """The predictions of all heads for one image, in words and as a picture."""
    values: dict[str, Any] = {}
    for key, prediction in predictions.items():
        overlay.section(str(key))
        values[str(key)] = task_of(key.task).describe(
            prediction,
            model.classes[key],
            (image.shape[0], image.shape[1]),
            points.values[key],
            overlay,
            str(key),
        )
    overlay.footnote(points.note)
    picture = None if isinstance(overlay, NoOverlay) else overlay.picture()
    return ImagePrediction(path, {"image": str(path), "model": which, "heads": values}, picture)


def _one(prediction: Any, index: int) -> Prediction:
    """The prediction (a dataclass of tensors) for one image of a batch, as a batch of one."""
    values = {field.name: getattr(prediction, field.name) for field in dataclasses.fields(prediction)}
    tensors = {name: value[index : index + 1] for name, value in values.items() if isinstance(value, Tensor)}
    one: Prediction = dataclasses.replace(prediction, **tensors)
    return one


def _read_ahead(
    paths: Iterable[Path], on_bad: Callable[[Path, DataError], None] | None
) -> Iterator[tuple[Path, np.ndarray]]:
    """Images in the order of their paths; a few are read before they are asked for."""
    pending: deque[tuple[Path, Future[np.ndarray]]] = deque()
    remaining = iter(paths)
    with ThreadPoolExecutor(READERS) as pool:
        while True:
            for path in itertools.islice(remaining, READ_AHEAD - len(pending)):
                pending.append((path, pool.submit(read_grey, path)))
            if not pending:
                return
            path, image = pending.popleft()
            try:
                pixels = image.result()
            except DataError as error:
                if on_bad is None:
                    raise
                on_bad(path, error)
            else:
                yield path, pixels


def _batches(images: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(images)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
