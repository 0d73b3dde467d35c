"""Metrics of points: hand-worked numbers, and pycocotools' own evaluator of keypoints."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from foundationx.core.types import Split, Task, TaskKey
from foundationx.evaluation.measure import fitting, metric_rows
from foundationx.evaluation.metrics import object_keypoint_similarity, point_distance
from foundationx.evaluation.predictions import Predictions

NAN = np.nan
SIZE = (100, 200)


def pointed(true, predicted, probabilities=None, labels=None, extents=None, classes=None, sizes=None):
    """Predictions of points (N, K, 2) in pixels of images of 200 x 100 pixels."""
    true, predicted = np.array(true, np.float32), np.array(predicted, np.float32)
    number, count = true.shape[:2]
    placed = np.where(np.isfinite(true).all(axis=2), 1.0, NAN)
    recorded = {
        "true_points": true,
        "predicted_points": predicted,
        "probabilities": np.array(np.ones((number, count)) if probabilities is None else probabilities, np.float32),
        "sizes": np.array([SIZE] * number if sizes is None else sizes),
        "extents": np.array([[NAN, NAN]] * number if extents is None else extents, np.float32),
    }
    return Predictions(
        TaskKey("made", Task("keypoints")), "teacher", Split.TEST, 1, tuple(classes or "abcdefgh"[:count]),
        np.array([f"{n}.png" for n in range(number)]), np.array([f"p{n}" for n in range(number)]),
        np.array(placed if labels is None else labels, np.float32), recorded,
    )  # fmt: skip


def values(module, predictions):
    count = predictions.patient_count
    return {(s.metric, s.class_name): s.value(count) for s in module.statistics(predictions)}


def test_distances_by_hand():
    true = [[[50, 50], [10, 10]], [[20, 20], [NAN, NAN]], [[NAN, NAN], [0, 0]]]
    predicted = [[[53, 54], [10, 10]], [[20, 40], [1, 1]], [[0, 0], [0, 8]]]
    extents = [[100.0, 25.0], [NAN, NAN], [NAN, NAN]]  # 0.5 mm across and 0.25 mm down per pixel
    found = values(point_distance, pointed(true, predicted, extents=extents))
    assert found["MRE", "a"] == pytest.approx((100 * 5 / 200 + 100 * 20 / 200) / 2)
    assert found["MRE", "b"] == pytest.approx((0 + 4) / 2)
    assert found["MRE mm", "a"] == pytest.approx(np.hypot(1.5, 1.0))
    assert found["PCK 2", "a"] == 0 and found["PCK 5", "a"] == 0.5
    assert found["PCK 2", "b"] == 0.5 and found["PCK 5", "b"] == 1


def test_without_a_spacing_there_are_no_millimetres():
    found = values(point_distance, pointed([[[1, 1]]], [[[1, 2]]]))
    assert {metric for metric, _ in found} == {"MRE", "PCK 2", "PCK 5"}


def test_every_metric_of_points_is_computed_and_the_means_are_there():
    predictions = pointed([[[50, 50]], [[NAN, NAN]]], [[[52, 50]], [[0, 0]]], [[0.9], [0.2]], [[1], [0]])
    names = {module.__name__.rpartition(".")[2] for module in fitting(predictions)}
    assert {"point_distance", "object_keypoint_similarity", "auroc"} <= names
    rows = {(row.metric, row.class_name): row.value for row in metric_rows(predictions)}
    assert rows["MRE", "mean"] == pytest.approx(1.0) and rows["AUROC", "mean"] == 1.0


def coco_value(predictions, group):
    """AP of pycocotools, of one group of points as one object per image with the image's area."""
    own, recorded = list(group.indices), predictions.recorded
    images, truth, said = [], [], []
    for n, (height, width) in enumerate(recorded["sizes"].tolist()):
        placed = np.isfinite(recorded["true_points"][n, own]).all(axis=1)
        if not placed.any() and not (predictions.labels[n, own] == 0).all():
            continue
        images.append({"id": n + 1, "height": height, "width": width})
        flags = np.where(placed[:, None], np.c_[recorded["true_points"][n, own], np.full(len(own), 2)], 0)
        if placed.any():
            truth.append({
                "id": len(truth) + 1, "image_id": n + 1, "category_id": 1, "keypoints": flags.ravel().tolist(),
                "num_keypoints": int(placed.sum()), "area": float(height * width), "iscrowd": 0,
                "bbox": [0, 0, width, height],
            })  # fmt: skip
        shown = np.c_[recorded["predicted_points"][n, own], np.ones(len(own))]
        score = float(recorded["probabilities"][n, own].mean())
        said.append({"image_id": n + 1, "category_id": 1, "keypoints": shown.ravel().tolist(), "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": images, "annotations": truth, "categories": [{"id": 1, "name": "x"}]}
        coco.createIndex()
        evaluator = COCOeval(coco, coco.loadRes(said), "keypoints")
        evaluator.params.kpt_oks_sigmas = np.full(len(own), object_keypoint_similarity.SIGMA)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator.stats[0]


@pytest.mark.parametrize("seed", range(6))
def test_the_average_precision_is_that_of_pycocotools(seed):
    rng = np.random.default_rng(seed)
    number, classes = 25, ("Lung/apex", "Lung/base", "Lung/hilum", "carina")
    sizes = rng.integers(80, 300, (number, 2))
    true = rng.uniform(0, 1, (number, 4, 2)) * sizes[:, None, ::-1]
    predicted = true + rng.normal(0, rng.uniform(1, 8, (number, 1, 1)), true.shape)
    labels = rng.choice([1.0, 1.0, 0.0, NAN], (number, 4))
    labels[:3] = [[0, 0, 0, 0], [NAN, NAN, NAN, NAN], [1, 1, 1, 1]]
    true[labels != 1] = NAN
    scores = np.round(rng.uniform(0, 1, (number, 4)), 1)
    predictions = pointed(true, predicted, scores, labels, classes=classes, sizes=sizes)
    found = values(object_keypoint_similarity, predictions)
    assert list(found) == [("OKS AP", "Lung"), ("OKS AP", "points")]
    for group in object_keypoint_similarity.groups_of(classes):
        assert found["OKS AP", group.name] == pytest.approx(coco_value(predictions, group), abs=1e-9)
        assert 0 < found["OKS AP", group.name] < 1


def test_similarity_by_hand():
    """A twentieth of the square root of the area off: exp(-0.5)."""
    side = np.sqrt(100 * 200) * 0.05
    predictions = pointed([[[50, 50], [NAN, NAN], [20, 20]]], [[[50 + side, 50], [0, 0], [20, 20]]])
    assert object_keypoint_similarity.similarities(predictions, [0, 1, 2]) == pytest.approx([(np.exp(-0.5) + 1) / 2])
    assert np.isnan(object_keypoint_similarity.similarities(predictions, [1])).all()
