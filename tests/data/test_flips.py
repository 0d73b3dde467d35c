"""A flip changes left and right: classes of one side are swapped if the card pairs them, else it is refused."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from foundationx.core.errors import ConfigError
from foundationx.core.types import Annotations, MaskPart, Task, TaskKey, is_sided
from foundationx.data.dataset import CardDataset
from foundationx.datasets.cards.tasks import TaskSource
from foundationx.tasks.detection.target import Boxes
from tests.helpers.cards import all_cards
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


def sided(hflip, task, targets):
    classes, labels = ("Heart", "L1", "R1", "L2", "R2"), np.array([[1, 0, 1, np.nan, 0]], np.float32)
    table = Annotations(TaskKey("x", Task(task)), classes, ["a.png"], ["x:1"], ["row"], labels, [None], targets)
    table.sided = classes[1:]
    table.mirror_pairs = (("L1", "R1"), ("R2", "L2"))
    view = make_pipeline(32, geometry={"hflip": hflip})
    return CardDataset(table, Path(), view, reader=lambda path: np.tile(np.arange(32, dtype=np.uint8), (32, 1)))


def test_a_flip_swaps_the_labels_of_paired_classes():
    upright, flipped = (sided(chance, "classification", []).sample(0, seed=3) for chance in (0.0, 1.0))
    assert np.array_equal(flipped.image, upright.image[:, ::-1])
    assert np.array_equal(upright.labels, [1, 0, 1, np.nan, 0], equal_nan=True)
    assert np.array_equal(flipped.labels, [1, 1, 0, 0, np.nan], equal_nan=True)


def test_a_flip_swaps_the_masks_of_paired_classes():
    left_half = np.array([[0, 0], [16, 0], [16, 32], [0, 32]], np.float32)
    dataset = sided(1.0, "segmentation", [(MaskPart(1, polygon=left_half),)])
    masks = dataset.sample(0, seed=3).target.masks
    assert not masks[1].any() and not masks[2, :, :16].any() and (masks[2, :, 16:] == 1).all()
    assert (masks[4] == 255).all() and not masks[3].any(), "what is unknown changes places, too"


def test_a_flip_swaps_the_classes_of_boxes_and_of_disputed_regions():
    corners = np.array([[0, 0, 10, 10], [4, 4, 8, 8]], np.float32)
    boxes = Boxes(corners, np.array([1, 0]), corners[:1], np.array([4]))
    target = sided(1.0, "detection", [boxes]).sample(0, seed=3).target
    assert target.box_classes.tolist() == [2, 0] and target.ignored_classes.tolist() == [3]
    assert target.boxes[0].tolist() == [22, 0, 32, 10]


def test_a_concept_of_one_side_without_a_partner_is_refused_whatever_its_name():
    table = Annotations(TaskKey("x", Task("detection")), ("L1",), ["a.png"], ["x:1"], ["row"], np.ones((1, 1)), [None])
    table.sided = ("L1",)
    with pytest.raises(ConfigError, match="mirror_pairs"):
        CardDataset(table, Path(), make_pipeline(32, geometry={"hflip": 0.5}))


UNEQUAL = {"Right Lung": 44, "Left Lung": 50}
"""Points of CheXmask's outlines: they cannot be paired one by one, so runs that train on them may not flip."""


def test_every_card_pairs_its_sides_or_has_only_one_of_them():
    for name in all_cards().names():
        for source in all_cards().card(name).tasks.values():
            paired = {one for pair in source.mirror_pairs for one in pair}
            alone = [item.name for item in source.classes if item.name not in paired and is_sided(item.canonical or "")]
            if alone and all("/" in one for one in alone):
                assert Counter(one.partition("/")[0] for one in alone) == UNEQUAL, f"{name}: points of one side alone"
                continue
            assert set(alone) <= {"right atrium", "Stomach on the right side"}, f"{name}: of one side alone"


def test_a_pair_names_two_classes_of_the_task_once():
    values = {"reader": "coco", "classes": ["L", "R"]}
    for pairs in ([["L", "X"]], [["L", "L"]], [["L", "R"], ["R", "L"]]):
        with pytest.raises(ValueError, match="mirror_pairs"):
            TaskSource.model_validate(values | {"mirror_pairs": pairs})
    assert TaskSource.model_validate(values | {"mirror_pairs": [["L", "R"]]}).mirror_pairs == (("L", "R"),)
