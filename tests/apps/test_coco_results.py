"""Predicted points in COCO's form: by hand, and as our own reader takes them again."""

import json

import numpy as np
import pytest

from foundationx.apps.run.coco_results import coco_keypoints
from tests.datasets.test_readers_points import card, same
from tests.helpers.reader_cards import Folder

HEAD = "d/keypoints"
CLASSES = {HEAD: ("Lung/apex", "carina", "Lung/base", "Tube/1", "Tube/2"), "d/classification": ("mass",)}
RESULTS = [
    (
        "a.png",
        {
            "heads": {
                HEAD: [
                    {"class": "Lung/base", "score": 0.75, "point": [10.0, 40.5]},
                    {"class": "Lung/apex", "score": 0.5, "point": [12.5, 4.0]},
                    {"class": "Tube/2", "score": 1.0, "point": [1.0, 2.0]},
                ],
                "d/classification": {"mass": 0.1},
            }
        },
    ),
    ("b.png", {"heads": {HEAD: []}}),
    ("c.png", {"heads": {HEAD: [{"class": "carina", "score": 0.9, "point": [7.0, 8.0]}]}}),
]


def test_groups_are_categories_and_objects():
    made = coco_keypoints(iter(RESULTS), CLASSES)
    assert [image["file_name"] for image in made["images"]] == ["a.png", "b.png", "c.png"]
    assert made["categories"] == [
        {"id": 1, "name": "Lung", "supercategory": HEAD, "keypoints": ["apex", "base"], "skeleton": []},
        {"id": 2, "name": "points", "supercategory": HEAD, "keypoints": ["carina"], "skeleton": []},
        {"id": 3, "name": "Tube", "supercategory": HEAD, "keypoints": ["1", "2"], "skeleton": [[1, 2]]},
    ]
    lung, tube, carina = made["annotations"]
    assert lung == {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [10.0, 4.0, 2.5, 36.5],
        "area": 91.25,
        "iscrowd": 0,
        "score": 0.625,
        "keypoints": [12.5, 4.0, 2, 10.0, 40.5, 2],
        "num_keypoints": 2,
    }
    assert tube["keypoints"] == [0, 0, 0, 1.0, 2.0, 2] and tube["num_keypoints"] == 1
    assert (carina["image_id"], carina["category_id"], carina["keypoints"]) == (3, 2, [7.0, 8.0, 2])


@pytest.mark.parametrize("classes", [{}, {"d/classification": ("mass",)}])
def test_heads_without_points_give_no_file(classes):
    assert coco_keypoints(iter(RESULTS), classes) is None


def test_our_reader_takes_them_again(tmp_path):
    folder = Folder(tmp_path)
    folder.files("images/a.png", "images/b.png", "images/c.png")
    folder.write("points.csv", json.dumps(coco_keypoints(iter(RESULTS), CLASSES)))
    lung = {"name": "Lung", "points": ["apex", "base"]}
    found = folder.read(card("coco", [lung, "carina", {"name": "Tube", "points": 2}]))
    assert found.classes == ("Lung/apex", "Lung/base", "carina", "Tube/1", "Tube/2")
    points = np.stack([target.points for target in found.targets])
    nan = [np.nan, np.nan]
    assert same(points[0], [[12.5, 4.0], [10.0, 40.5], nan, nan, [1.0, 2.0]]) and same(points[1], [nan] * 5)
    assert same(points[2], [nan, nan, [7.0, 8.0], nan, nan])
