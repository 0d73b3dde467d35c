"""What the detector of mmdet and the segmentor of mmseg share: the network, and the way of an image into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from foundationx.core.config.model import ModelConfig
from foundationx.core.types import TaskKey
from foundationx.data.pixels.read import read_grey
from foundationx.data.transforms.augment import ViewPipeline
from foundationx.models.foundation_model import FoundationModel
from foundationx.tasks.definition import task_of


def build_network(
    backbone: Mapping[str, Any], network: Mapping[str, Any], heads: Mapping[str, Sequence[str]]
) -> FoundationModel:
    """The network of a configuration, in evaluation mode.

    Args:
        backbone: ``model.backbone`` of a run.
        network: The rest of ``model``.
        heads: Classes of each head, by its name.
    """
    config = ModelConfig.model_validate(_plain({**network, "backbone": backbone}))
    return FoundationModel(config, {TaskKey.parse(name): tuple(classes) for name, classes in heads.items()}).eval()


def _plain(value: Any) -> Any:
    """Dictionaries and lists of mmengine as those of Python."""
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def part_of(model: FoundationModel, key: TaskKey) -> FoundationModel:
    """The model with one head, and with the one that guides it if there is such a head."""
    guide = task_of(key.task).guide(model.config)
    heads = {key: model.classes[key]}
    if guide is not None and TaskKey(key.dataset, guide) in model.classes:
        guiding = TaskKey(key.dataset, guide)
        heads = {guiding: model.classes[guiding], **heads}
    exclusive = tuple(name for name in model.config.softmax if name in map(str, heads))
    config = model.config.model_copy(update={"softmax": exclusive, "init": None, "init_heads": {}})
    part = FoundationModel(config, heads)
    weights = model.state_dict()
    part.load_state_dict({name: weights[name] for name in part.state_dict()})
    return part.eval()


class LoadRadiograph:
    """Reads a file of any format that ``foundationx predict`` reads."""

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Adds the image at ``img_path`` as (H, W, 3), three equal channels. Raises DataError."""
        grey = read_grey(Path(results["img_path"]))
        results["img"] = np.repeat(grey[:, :, None], 3, axis=2)
        results["img_shape"] = results["ori_shape"] = grey.shape
        return results


class StretchRadiograph:
    """Stretches an image to the network's square, as in training; colours become grey.

    Args:
        side: Side of the square in pixels.
    """

    def __init__(self, side: int):
        self.side = side

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Replaces ``img``."""
        image, side = np.asarray(results["img"]), self.side
        grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        square = ViewPipeline(side)(grey, None, seed=0).image
        results["img"] = np.repeat(square[:, :, None], 3, axis=2)
        results["img_shape"] = square.shape
        results["scale_factor"] = (side / grey.shape[1], side / grey.shape[0])
        results["keep_ratio"] = False
        return results
