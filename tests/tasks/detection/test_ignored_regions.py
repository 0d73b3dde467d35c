"""Regions in which a class is unknown: from the readers' files through the views to the loss and the metrics."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from foundationx.core.types import Annotations, Task, TaskKey
from foundationx.data.dataset import CardDataset
from foundationx.data.transforms.augment import ViewPipeline
from foundationx.datasets.cards.catalog import Catalog
from foundationx.datasets.exclusion import without_allowed_tests
from foundationx.datasets.shared_head import shared_classes
from foundationx.evaluation.matching import IOUS, match_boxes
from foundationx.evaluation.metrics import average_precision, froc
from foundationx.tasks.detection.boxes import to_corners
from foundationx.tasks.detection.matching import IGNORED_SHARE, Targets, match, matched_losses, set_losses
from foundationx.tasks.detection.record import record_truth
from foundationx.tasks.detection.target import Boxes, collate
from tests.helpers.coco_reference import coco_evaluator, coco_values
from tests.helpers.detection_samples import SMALL, build, draw_batch, draw_features, step
from tests.helpers.predicted import boxed, boxed_arrays, ignored, values_of
from tests.helpers.reader_cards import Folder, make_card

NAN = math.nan


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path)


COLUMNS = {"image_column": "file", "class_column": "kind", "box_columns": ["a", "b", "c", "d"], "box_layout": "xyxy"}
THREE = COLUMNS | {"reader_column": "who", "empty_column": "kind", "empty_values": ["none"], "absent": "negative"}


def test_what_one_of_three_readers_marks_is_unknown_there_and_not_background(folder):
    folder.files("x.png", "y.png")
    rows = ["x.png,R1,Mass,10,10,20,20", "x.png,R2,Mass,10,10,20,22", "x.png,R1,Mass,60,60,80,80"]
    rows += ["x.png,R3,Nodule,30,30,40,40", "y.png,R1,none,,,,", "y.png,R2,none,,,,", "y.png,R3,none,,,,"]
    folder.write("b.csv", "\n".join(["file,who,kind,a,b,c,d", *rows, ""]))
    table = folder.read(make_card("bbox_csv", ["Mass", "Nodule", "Cyst"], "detection", file="b.csv", options=THREE))
    np.testing.assert_array_equal(table.labels, [[1, NAN, 0], [0, 0, 0]])
    disputed, empty = table.targets
    np.testing.assert_allclose(disputed.boxes, [[10, 10, 20, 21]])
    np.testing.assert_allclose(disputed.ignored, [[60, 60, 80, 80], [30, 30, 40, 40]])
    assert disputed.ignored_classes.tolist() == [0, 1] and len(disputed) == 1
    assert len(empty.ignored) == len(empty.ignored_classes) == 0


def coco(*annotations) -> dict:
    return {
        "images": [{"id": 1, "file_name": "x.png", "width": 100, "height": 100}],
        "categories": [{"id": 1, "name": "Mass"}],
        "annotations": [{"id": n, "image_id": 1, "category_id": 1} | one for n, one in enumerate(annotations)],
    }


def test_a_crowd_region_beside_a_box_is_unknown_there(folder):
    folder.files("x.png")
    folder.write("f.json", coco({"bbox": [1, 1, 9, 9]}, {"bbox": [50, 50, 20, 20], "iscrowd": 1}))
    table = folder.read(make_card("coco", ["Mass"], "detection", file="f.json"))
    assert table.labels.tolist() == [[1.0]] and table.targets[0].boxes.tolist() == [[1, 1, 10, 10]]
    assert table.targets[0].ignored.tolist() == [[50, 50, 70, 70]]
    folder.write("f.json", coco({"bbox": [1, 1, 9, 9]}, {"iscrowd": 1}))
    table = folder.read(make_card("coco", ["Mass"], "detection", file="f.json"))
    assert np.isnan(table.labels).all(), "without a box nobody knows where the crowd is"


TARGET = Boxes(
    np.array([[10, 10, 30, 30]], np.float32),
    np.array([0]),
    np.array([[40, 40, 60, 60], [0, 0, 20, 20]], np.float32),
    np.array([0, 1]),
)


def test_regions_follow_the_image_and_stay_as_long_as_a_rim_is_seen():
    resized = TARGET.resized((50, 200), 100)
    np.testing.assert_allclose(resized.ignored, [[20, 80, 30, 120], [0, 0, 10, 40]])
    moved = TARGET.moved(_Shift(62, 64))
    assert len(moved) == 0, "the box left the view"
    np.testing.assert_allclose(moved.ignored, [[62, 0, 64, 20]], err_msg="of the region a tenth is seen")
    assert moved.ignored_classes.tolist() == [1]


class _Shift:
    """Moves to the right."""

    def __init__(self, by: float, size: int):
        self.by, self.size = by, size

    def points(self, points: np.ndarray) -> np.ndarray:
        return (points + np.array([self.by, 0])).astype(np.float32)


def test_a_batch_holds_regions_only_if_an_image_has_one():
    plain = Boxes(TARGET.boxes, TARGET.box_classes)
    common = {"key": TaskKey("d", Task.DETECTION), "images": None, "teacher_images": None, "labels": None, "metas": ()}
    assert collate(common, [plain, plain], (100, 100)).ignored_boxes is None
    batch = collate(common, [plain, TARGET], (100, 100))
    assert batch.ignored_classes.tolist() == [[-1, -1], [0, 1]]
    np.testing.assert_allclose(batch.ignored_boxes[1].numpy(), [[0.5, 0.5, 0.2, 0.2], [0.1, 0.1, 0.2, 0.2]])


def drawn(regions, region_classes, layers=2, queries=6, seed=0):
    """Logits, boxes and targets of two images with one true box each."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(layers, 2, queries, 2, generator=generator).requires_grad_()
    boxes = torch.rand(layers, 2, queries, 4, generator=generator) * 0.2 + 0.3
    truth = torch.tensor([[[0.4, 0.4, 0.3, 0.3]], [[0.5, 0.5, 0.2, 0.2]]])
    known = torch.tensor([[True, True], [True, False]])
    return logits, boxes, Targets(truth, torch.tensor([[0], [1]]), known, regions, region_classes)


def covered(box, region):
    sides = torch.minimum(box[2:], region[2:]) - torch.maximum(box[:2], region[:2])
    return float(sides.clamp(min=0).prod() / (box[2:] - box[:2]).prod())


def test_unmatched_queries_in_a_region_are_left_out_of_the_loss_and_no_others():
    regions = torch.tensor(
        [[[0.45, 0.45, 0.3, 0.3], [0.0, 0.0, 0.0, 0.0]], [[0.35, 0.5, 0.1, 1.0], [0.4, 0.4, 0.2, 0.2]]]
    )
    classes = torch.tensor([[0, -1], [1, 0]])
    logits, boxes, targets = drawn(regions, classes)
    matched = match(logits, boxes, targets)
    set_losses(logits, boxes, targets)[:, 0].sum().backward()
    silent = 0
    for layer, image, query, k in np.ndindex(*logits.shape):
        box = to_corners(boxes[layer, image, query])
        own = [to_corners(region) for region, label in zip(regions[image], classes[image], strict=True) if label == k]
        inside = any(covered(box, region) >= IGNORED_SHARE for region in own)
        is_true = int(matched[layer, image, 0]) == query and int(targets.classes[image, 0]) == k
        left_out = (inside and not is_true) or not bool(targets.known[image, k])
        assert (logits.grad[layer, image, query, k] == 0) == left_out
        silent += inside and not is_true
    assert 0 < silent < logits.numel()


def test_without_regions_the_loss_is_the_same_to_the_last_bit():
    logits, boxes, targets = drawn(None, None)
    elsewhere = replace(targets, ignored_boxes=torch.full((2, 1, 4), 0.01), ignored_classes=torch.tensor([[0], [-1]]))
    matched = match(logits, boxes, targets)
    assert torch.equal(
        matched_losses(logits, boxes, targets, matched), matched_losses(logits, boxes, elsewhere, matched)
    )


def test_a_training_step_takes_no_background_from_a_region():
    """A region over the whole image leaves the classes of matched queries alone to be learned."""
    trunk, head = build(SMALL)
    torch.manual_seed(1)
    features, batch = draw_features(), draw_batch((2, 1))
    plain = {name: loss.item() for name, loss in step(trunk, head, features, batch).items()}
    every = torch.tensor([0.5, 0.5, 1.0, 1.0]).expand(2, 3, 4)
    with_region = replace(batch, ignored_boxes=every, ignored_classes=torch.arange(3).expand(2, 3))
    ignoring = {name: loss.item() for name, loss in step(trunk, head, features, with_region).items()}
    assert ignoring["class"] < plain["class"] and ignoring["proposals"] < plain["proposals"]
    assert ignoring["box"] == plain["box"] and ignoring["giou"] == plain["giou"]
    moved = with_region.to("cpu")
    assert torch.equal(moved.ignored_boxes, every) and torch.equal(moved.ignored_classes, with_region.ignored_classes)


def table_with_regions(count: int) -> Annotations:
    return Annotations(
        key=TaskKey("d", Task.DETECTION),
        classes=("a", "b"),
        images=[f"{n}.png" for n in range(count)],
        patients=[f"d:{n}" for n in range(count)],
        rows=[f"row {n}" for n in range(count)],
        labels=np.ones((count, 2), np.float32),
        splits=[None] * count,
        targets=[
            replace(TARGET, ignored=TARGET.ignored[:n], ignored_classes=TARGET.ignored_classes[:n])
            for n in range(count)
        ],
    )


def test_regions_reach_the_recorded_truth_in_pixels_of_the_image(tmp_path):
    import cv2

    for n in range(3):
        cv2.imwrite(str(tmp_path / f"{n}.png"), np.arange(64 * 128, dtype=np.uint32).reshape(64, 128).astype(np.uint8))
    dataset = CardDataset(table_with_regions(3), tmp_path, ViewPipeline(32))
    samples = [dataset.sample(n, seed=0) for n in range(3)]
    images = torch.zeros(3, 1, 32, 32, dtype=torch.uint8)
    common = {"key": TaskKey("d", Task.DETECTION), "images": images, "teacher_images": images}
    common |= {"labels": torch.ones(3, 2)}
    batch = collate(common | {"metas": tuple(one.meta for one in samples)}, [one.target for one in samples], (32, 32))
    recorded = record_truth(batch)
    for n in range(3):
        np.testing.assert_allclose(recorded["ignored_boxes"].image(n), TARGET.ignored[:n], atol=1e-4)
        assert recorded["ignored_classes"].image(n).tolist() == TARGET.ignored_classes[:n].tolist()


def test_a_shared_head_and_an_allowed_test_list_leave_regions_as_they_are():
    table = table_with_regions(3)
    assert shared_classes({table.key: table}, Catalog())[table.key] is table
    (allowed,) = without_allowed_tests([table], ["d"])
    assert allowed.targets is table.targets


@pytest.mark.parametrize("seed", range(6))
def test_every_value_with_regions_is_that_of_pycocotools_with_crowds(seed):
    rng = np.random.default_rng(seed)

    def boxes(count):
        corner = rng.uniform(0, 120, (count, 2))
        return np.concatenate([corner, corner + rng.uniform(10, 70, (count, 2))], axis=1)

    images, regions = [], {}
    for number in range(25):
        truth, regions[number] = (
            boxes(rng.integers(0, 4)),
            [(box, int(rng.integers(2))) for box in boxes(rng.integers(0, 3))],
        )
        near = truth[rng.integers(0, len(truth), 6)] + rng.normal(0, 6, (6, 4)) if len(truth) else boxes(2)
        found = np.concatenate([near, boxes(6), *(box[None] for box, _ in regions[number])])
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        images.append(
            (found, rng.random(len(found)), rng.integers(0, 2, len(found)), truth, rng.integers(0, 2, len(truth)))
        )
    known = rng.random((25, 2)) < 0.8
    metric = boxed_arrays(images, 2, known=known, regions=regions)
    ignored_boxes = 0
    for k, name in enumerate("ab"):
        values = [values_of(average_precision.statistics, metric)[which, name][0] for which in ("AP40", "AP50", "AP")]
        assert values == pytest.approx(coco_values(images, known, k, regions), abs=1e-12)
        matches = metric.derive(match_boxes)[k]
        for judged in filter(None, coco_evaluator(images, known, k, regions).evalImgs):
            of_image = matches.box_images == judged["image_id"]
            for iou in range(len(IOUS)):
                _, hits, counted = matches.counted(iou)
                judged_ignored = judged["dtIgnore"][iou].astype(bool) & (judged["dtMatches"][iou] > 0)
                assert (counted == judged["image_id"]).sum() == of_image.sum() - judged_ignored.sum()
                ignored_boxes += int(judged_ignored.sum())
                assert (
                    hits[counted == judged["image_id"]].sum()
                    == ((judged["dtMatches"][iou] > 0) & ~judged_ignored).sum()
                )
    assert ignored_boxes > 20


def test_a_box_in_a_region_is_no_false_positive_of_froc():
    box, far = [10, 10, 30, 30], [60, 60, 80, 80]
    predictions = boxed([([(box, 0)], [(box, 0, 0.5), (far, 0, 0.9)])])
    assert values_of(froc.statistics, predictions)["FROC 1/8", "a"][0] == 0.0
    region = replace(predictions, recorded={**predictions.recorded, **ignored(1, {0: [([55, 55, 85, 85], 0)]})})
    assert values_of(froc.statistics, region)["FROC 1/8", "a"][0] == 1.0
    other = replace(predictions, recorded={**predictions.recorded, **ignored(1, {0: [([55, 55, 85, 85], 1)]})})
    assert values_of(froc.statistics, other)["FROC 1/8", "a"][0] == 0.0
