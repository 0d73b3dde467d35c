"""What a teacher fills in: limits and filled batches against slow loops."""

import numpy as np
import pytest
import torch

from foundationx.core.types import Batch, SampleMeta, Task, TaskKey
from foundationx.tasks.classification import fill as labels
from foundationx.tasks.classification.prediction import ClassificationPrediction
from foundationx.tasks.detection import fill as boxes
from foundationx.tasks.detection.prediction import DetectionPrediction
from foundationx.tasks.detection.target import DetectionBatch
from foundationx.tasks.fill import LEAST, Evidence, Limits, choose_limits
from foundationx.tasks.segmentation import fill as masks
from foundationx.tasks.segmentation.prediction import SegmentationPrediction
from foundationx.tasks.segmentation.target import SegmentationBatch


def batch(task, number, classes, kind=Batch, **more):
    images = torch.zeros(number, 1, 8, 8, dtype=torch.uint8)
    key = TaskKey("visited", task)
    metas = tuple(SampleMeta(key, f"{index}.png", "p", "r", 8, 8) for index in range(number))
    return kind(key, images, images, torch.zeros(number, classes), metas, **more)


def head(task):
    return TaskKey("head", task)


def slow_limits(scores, truth, missed, precision):
    """Every score as a candidate, one after the other."""
    positives = sum(truth) + missed
    if positives < LEAST:
        return np.inf, 0.0
    present = np.inf
    for candidate in sorted(set(scores)):
        above = [t for s, t in zip(scores, truth, strict=True) if s >= candidate]
        if sum(above) >= LEAST and sum(above) >= precision * len(above):
            present = candidate
            break
    if present == np.inf:
        return np.inf, 0.0
    absent = 0.0
    for candidate in sorted({s for s, t in zip(scores, truth, strict=True) if t}):
        below = sum(t for s, t in zip(scores, truth, strict=True) if s < candidate) + missed
        if below <= (1 - precision) * positives + 1e-9:
            absent = candidate
    return present, min(absent, present)


@pytest.mark.parametrize("seed", range(12))
def test_limits_are_those_of_a_slow_search(seed):
    rng = np.random.default_rng(seed)
    number, precision = int(rng.integers(5, 120)), float(rng.choice([0.6, 0.8, 0.9]))
    truth = rng.random(number) < 0.4
    scores = np.round(np.clip(0.5 + 0.3 * (truth - 0.5) + 0.2 * rng.normal(size=number), 0, 1), 2)
    kinds = rng.integers(2, size=number)
    missed = np.array([0, int(rng.integers(3))])
    limits = choose_limits(Evidence(kinds, scores, truth, missed), 2, precision)
    for k in range(2):
        own = kinds == k
        expected = slow_limits(scores[own].tolist(), truth[own].tolist(), int(missed[k]), precision)
        assert (limits.present[k], limits.absent[k]) == pytest.approx(expected)
    again = Limits.parse(limits.as_json())
    np.testing.assert_array_equal(again.present, limits.present)
    np.testing.assert_array_equal(again.absent, limits.absent)


LIMITS = Limits(np.array([0.8, 0.6, np.inf]), np.array([0.2, 0.0, 0.0]))


def test_labels_are_filled_where_open_and_sure():
    torch.manual_seed(0)
    scores, open_ = torch.rand(40, 3), torch.rand(40, 3) < 0.7
    filled, count = labels.filled(
        ClassificationPrediction(scores),
        batch(Task.CLASSIFICATION, 40, 2),
        TaskKey("head", Task.CLASSIFICATION),
        LIMITS,
        open_,
    )
    assert filled.key.dataset == "head"
    for index in range(40):
        for k in range(3):
            value, score = filled.labels[index, k].item(), scores[index, k].item()
            if open_[index, k] and score >= LIMITS.present[k]:
                assert value == 1 and count[index, k]
            elif open_[index, k] and score < LIMITS.absent[k]:
                assert value == 0 and not count[index, k]
            else:
                assert np.isnan(value) and not count[index, k]


def test_masks_are_filled_pixel_by_pixel():
    torch.manual_seed(1)
    scores, open_ = torch.rand(6, 3, 8, 8), torch.tensor([[True, True, True], [False, True, True]] * 3)
    filled, count = masks.filled(
        SegmentationPrediction(scores),
        batch(Task.SEGMENTATION, 6, 3),
        TaskKey("head", Task.SEGMENTATION),
        LIMITS,
        open_,
    )
    for index, k, y, x in np.ndindex(6, 3, 8, 8):
        score = scores[index, k, y, x].item()
        sure = 1 if score >= LIMITS.present[k] else 0 if score < LIMITS.absent[k] else 255
        assert filled.masks[index, k, y, x] == (sure if open_[index, k] else 255)
    assert torch.equal(count, (filled.masks == 1).sum(dim=(2, 3)))
    assert filled.labels[1, 0].isnan() and filled.labels[0, 0] == 1 and filled.labels[:, 2].isnan().all()


def predicted_boxes(number=5, queries=12):
    torch.manual_seed(2)
    corners = torch.rand(number, queries, 2) * 0.5
    relative = torch.cat([corners, corners + 0.1 + 0.3 * torch.rand(number, queries, 2)], dim=2)
    scores = torch.rand(number, queries).sort(dim=1, descending=True).values
    return DetectionPrediction(relative, scores, torch.randint(3, (number, queries)))


def test_sure_boxes_are_filled_and_doubtful_ones_are_regions():
    prediction = predicted_boxes()
    open_ = torch.tensor([[True, True, True], [False, True, True], [True, False, True], [True] * 3, [False] * 3])
    filled, count = boxes.filled(prediction, batch(Task.DETECTION, 5, 2), head(Task.DETECTION), LIMITS, open_)
    for index in range(5):
        expected, regions = [], []
        for box, score, k in zip(
            prediction.relative_boxes[index], prediction.scores[index], prediction.box_classes[index], strict=True
        ):
            if not open_[index, k] or k == 2:
                continue
            row = (int(k), *[round(v, 4) for v in box.tolist()])
            if score >= LIMITS.present[k]:
                expected.append(row)
            elif LIMITS.absent[k] > 0 and score >= LIMITS.absent[k]:
                regions.append(row)
        if open_[index, 1]:  # absence of class 1 cannot be shown
            regions.append((1, 0.0, 0.0, 1.0, 1.0))
        assert rows_of(filled.centred_boxes[index], filled.box_classes[index]) == sorted(expected)
        assert rows_of(filled.ignored_boxes[index], filled.ignored_classes[index]) == sorted(regions)
        for k in range(3):
            number = sum(row[0] == k for row in expected)
            assert count[index, k] == number
            known = bool(open_[index, k]) and k != 2 and (LIMITS.absent[k] > 0 or number > 0)
            assert filled.labels[index, k].isnan().item() == (not known)


def rows_of(centred, kinds):
    corners = torch.cat([centred[:, :2] - centred[:, 2:] / 2, centred[:, :2] + centred[:, 2:] / 2], dim=1)
    return sorted(
        (int(k), *[round(v, 4) + 0.0 for v in box.tolist()]) for box, k in zip(corners, kinds, strict=True) if k >= 0
    )


def test_evidence_counts_each_true_box_once():
    relative = torch.tensor([[[0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.52], [0.6, 0.6, 0.9, 0.9], [0.0, 0.0, 0.1, 0.1]]])
    prediction = DetectionPrediction(relative, torch.tensor([[0.9, 0.8, 0.7, 0.001]]), torch.tensor([[0, 0, 1, 0]]))
    true = torch.tensor([[[0.3, 0.3, 0.4, 0.4], [0.2, 0.8, 0.1, 0.1]]])
    truth = batch(Task.DETECTION, 1, 2, DetectionBatch, centred_boxes=true, box_classes=torch.tensor([[0, 0]]))
    truth.labels = torch.tensor([[1.0, float("nan")]])
    found = boxes.evidence(prediction, truth)
    assert found.classes.tolist() == [0, 0] and found.truth.tolist() == [True, False]
    np.testing.assert_allclose(found.scores, [0.9, 0.8], rtol=1e-6)
    assert found.missed.tolist() == [1, 0]


def test_evidence_of_labels_and_masks_leaves_out_what_is_unknown():
    known = batch(Task.CLASSIFICATION, 2, 2)
    known.labels = torch.tensor([[1.0, float("nan")], [0.0, 1.0]])
    found = labels.evidence(ClassificationPrediction(torch.tensor([[0.9, 0.1], [0.2, 0.3]])), known)
    assert sorted(zip(found.classes.tolist(), found.truth.tolist(), strict=True)) == [(0, False), (0, True), (1, True)]
    pixels = torch.full((1, 1, 8, 8), 255, dtype=torch.uint8)
    pixels[0, 0, :4, :4] = 1
    pixels[0, 0, 4:, 4:] = 0
    drawn = batch(Task.SEGMENTATION, 1, 1, SegmentationBatch, masks=pixels)
    seen = masks.evidence(SegmentationPrediction(torch.full((1, 1, 8, 8), 0.5)), drawn)
    assert seen.truth.tolist() == [True, False]
