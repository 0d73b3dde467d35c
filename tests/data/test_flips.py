"""A flip changes left and right: with classes of one side it is refused."""

from pathlib import Path

import numpy as np
import pytest

from foundationx.core.errors import ConfigError
from foundationx.core.types import Annotations, Task, TaskKey
from foundationx.data.dataset import CardDataset
from tests.helpers.view_pipelines import make_pipeline


def dataset(classes, hflip, task="segmentation"):
    labels = np.ones((1, len(classes)), np.float32)
    table = Annotations(TaskKey("x", Task(task)), tuple(classes), ["a.png"], ["x:1"], ["row"], labels, [None], [()])
    return CardDataset(table, Path(), make_pipeline(32, geometry={"hflip": hflip}))


@pytest.mark.parametrize(
    "classes", [["Left Lung", "Right Lung"], ["Heart", "left_clavicle"], ["Stomach on the right side"]]
)
@pytest.mark.parametrize("task", ["segmentation", "detection", "classification"])
def test_a_flip_with_classes_of_one_side_is_refused(classes, task):
    with pytest.raises(ConfigError) as caught:
        dataset(classes, 0.5, task)
    assert caught.value.where == f"views.{task}.geometry.hflip"
    assert classes[-1] in caught.value.found and caught.value.fix
    dataset(classes, 0.0, task)


def test_other_classes_may_be_flipped():
    dataset(["Lung", "Bright spot", "Cleft"], 1.0)
