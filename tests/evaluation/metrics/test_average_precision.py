"""Average precision of boxes: hand-worked numbers, a slow independent AP, unknown classes, properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from foundationx.evaluation.matching import IOUS, as_xywh, match_boxes, match_image
from foundationx.evaluation.metrics.average_precision import statistics
from tests.helpers.coco_reference import coco_evaluator, coco_values
from tests.helpers.predicted import boxed_arrays, scores_of

NO_BOXES = (np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))


def scores(predictions, name="AP50"):
    return scores_of(statistics, predictions, name)


def iou(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    overlap = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return overlap / (sum(areas) - overlap)


def slow_ap(images, threshold):
    """101-point AP of one class. ``images``: (boxes, scores, true boxes) each; greedy matching, best score first."""
    judged, count = [], 0
    for boxes, confidences, truth in images:
        free = list(range(len(truth)))
        count += len(truth)
        for place in sorted(range(len(boxes)), key=lambda place: -confidences[place]):
            overlaps = [(iou(boxes[place], truth[t]), t) for t in free]
            best = max(overlaps, default=(0, None))
            hit = best[0] >= threshold
            if hit:
                free.remove(best[1])
            judged.append((confidences[place], hit))
    hits = np.cumsum([hit for _, hit in sorted(judged, key=lambda pair: -pair[0])])
    precision, recall = hits / np.arange(1, len(hits) + 1), hits / count
    return np.mean([precision[recall >= level].max(initial=0) for level in np.linspace(0, 1, 101)])


def random_boxes(rng, count):
    corner, size = rng.uniform(0, 120, (count, 2)), rng.uniform(20, 80, (count, 2))
    return np.concatenate([corner, corner + size], axis=1)


def random_images(rng, count):
    """True boxes, and predictions that are some of them shaken, with others that hit nothing."""
    images = []
    for _ in range(count):
        truth = random_boxes(rng, rng.integers(0, 4))
        near = truth + rng.normal(0, 6, truth.shape)
        boxes = np.concatenate([near, truth[:1] + rng.normal(0, 3, truth[:1].shape), random_boxes(rng, 3)])
        images.append((boxes, rng.random(len(boxes)), truth))
    return images


def measure(images):
    return boxed_arrays([(b, c, np.zeros(len(b), int), truth, np.zeros(len(truth), int)) for b, c, truth in images])


def test_hand_worked():
    # The first box hits, the second hits nothing, the third hits: precision 1 up to recall 1/2, then 2/3.
    truth = np.array([[0, 0, 100, 100], [100, 100, 200, 200]], float)
    boxes = np.array([[0, 0, 100, 100], [0, 120, 30, 150], [100, 100, 200, 200]], float)
    metric = measure([(boxes, np.array([0.9, 0.8, 0.7]), truth)])
    expected = (51 * 1 + 50 * 2 / 3) / 101
    for name in ("AP40", "AP50", "AP"):
        assert scores(metric, name) == {"a": (pytest.approx(expected), 2), "mean": (pytest.approx(expected), 2)}


@pytest.mark.parametrize(
    ("width", "ap40", "ap50", "ap"), [(45, 1, 0, 0), (39, 0, 0, 0), (52, 1, 1, 0.1), (76, 1, 1, 0.6)]
)
def test_each_threshold_at_its_edge(width, ap40, ap50, ap):
    """A box of full height and ``width`` per cent of the true one has just that IoU."""
    metric = measure([(np.array([[0, 0, width, 100.0]]), np.array([0.5]), np.array([[0, 0, 100, 100.0]]))])
    result = [scores(metric, name)["a"][0] for name in ("AP40", "AP50", "AP")]
    assert result == pytest.approx([ap40, ap50, ap])


@pytest.mark.parametrize("seed", range(5))
def test_equals_a_slow_loop(seed):
    images = random_images(np.random.default_rng(seed), 12)
    metric = measure(images)
    assert scores(metric, "AP40")["a"][0] == pytest.approx(slow_ap(images, 0.4))
    assert scores(metric, "AP50")["a"][0] == pytest.approx(slow_ap(images, 0.5))
    levels = np.arange(50, 100, 5) / 100
    assert scores(metric, "AP")["a"][0] == pytest.approx(np.mean([slow_ap(images, level) for level in levels]))


def plain_coco(images):
    """pycocotools as everybody calls it, over all classes at once: AP and AP50 of each class."""
    truth = {"images": [], "annotations": [], "categories": [{"id": k, "name": str(k)} for k in (1, 2)]}
    result = []
    for number, (boxes, confidences, classes, true_boxes, true_classes) in enumerate(images, start=1):
        truth["images"].append({"id": number, "width": 200, "height": 200})
        for (x1, y1, x2, y2), label in zip(true_boxes.tolist(), true_classes.tolist(), strict=True):
            entry = {"id": len(truth["annotations"]) + 1, "image_id": number, "category_id": label + 1}
            entry |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
            truth["annotations"].append(entry)
        for (x1, y1, x2, y2), score, label in zip(boxes.tolist(), confidences.tolist(), classes.tolist(), strict=True):
            box = [x1, y1, x2 - x1, y2 - y1]
            result.append({"image_id": number, "category_id": label + 1, "bbox": box, "score": score})
    coco = COCO()
    coco.dataset = truth
    coco.createIndex()
    judge = COCOeval(coco, coco.loadRes(result), "bbox")
    judge.evaluate()
    judge.accumulate()
    precision = judge.eval["precision"][:, :, :, 0, 2]  # all areas, 100 detections
    return precision.mean((0, 1)), precision[0].mean(0)


@pytest.mark.parametrize("seed", range(3))
def test_equals_pycocotools_over_all_classes_at_once(seed):
    rng = np.random.default_rng(seed)
    images = [
        (boxes, confidences, rng.integers(0, 2, len(boxes)), truth, rng.integers(0, 2, len(truth)))
        for boxes, confidences, truth in random_images(rng, 25)
    ]
    metric = boxed_arrays(images, 2)
    ap, ap50 = plain_coco(images)
    for k, name in enumerate("ab"):
        assert scores(metric, "AP")[name][0] == pytest.approx(ap[k])
        assert scores(metric, "AP50")[name][0] == pytest.approx(ap50[k])
    assert scores(metric, "AP")["mean"][0] == pytest.approx(ap.mean())


def test_second_box_on_one_truth_is_a_false_positive():
    truth = np.array([[0, 0, 100, 100.0]])
    metric = measure([(np.repeat(truth, 2, 0), np.array([0.9, 0.8]), truth), (truth, np.array([0.7]), truth)])
    assert scores(metric)["a"][0] == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)


def test_box_of_another_class_does_not_count():
    box = np.array([[0, 0, 100, 100.0]])
    metric = boxed_arrays([(box, np.array([0.9]), np.array([1]), box, np.array([0]))], 2)
    assert scores(metric) == {"a": (0.0, 1), "b": (None, 0), "mean": (0.0, 1)}


def test_image_where_a_class_was_not_annotated_is_left_out_for_that_class_alone():
    box = np.array([[0, 0, 100, 100.0]])
    both = np.array([0, 1])
    marked = (np.repeat(box, 2, 0), np.array([0.5, 0.5]), both, np.repeat(box, 2, 0), both)
    # Class b may be there unmarked: the confident box is no mistake. Class a was looked for: its box is one.
    unmarked = (np.repeat(box, 2, 0), np.array([0.9, 0.9]), both, box, both[1:])
    metric = boxed_arrays([marked, unmarked], 2, known=[[True, True], [True, False]])
    assert scores(metric) == {
        "a": (pytest.approx(0.5), 1),
        "b": (pytest.approx(1.0), 1),
        "mean": (pytest.approx(0.75), 2),
    }


def test_degenerate_cases(capfd):
    box = np.array([[0, 0, 100, 100.0]])
    assert scores(boxed_arrays([(*NO_BOXES, *NO_BOXES[::2])], known=[[False]])) == {"a": (None, 0), "mean": (None, 0)}
    assert scores(measure([(box, np.array([0.9]), NO_BOXES[0])])) == {"a": (None, 0), "mean": (None, 0)}
    assert scores(measure([(NO_BOXES[0], NO_BOXES[1], box)])) == {"a": (0.0, 1), "mean": (0.0, 1)}
    assert scores(measure([(box, np.array([0.9]), box)])) == {
        "a": (pytest.approx(1.0), 1),
        "mean": (pytest.approx(1.0), 1),
    }
    assert capfd.readouterr().out == ""


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**16), st.randoms(use_true_random=False))
def test_neither_the_order_of_boxes_and_images_nor_the_scale_of_scores_counts(seed, random):
    images = [*random_images(np.random.default_rng(seed), 4), (NO_BOXES[0], NO_BOXES[1], np.array([[0, 0, 50, 50.0]]))]
    shuffled = []
    for boxes, confidences, truth in random.sample(images, len(images)):
        order = random.sample(range(len(boxes)), len(boxes))
        shuffled.append((boxes[order], confidences[order] ** 3, truth[random.sample(range(len(truth)), len(truth))]))
    for name in ("AP40", "AP50", "AP"):
        assert scores(measure(shuffled), name)["a"] == pytest.approx(scores(measure(images), name)["a"])


def drawn(seed, ties):
    """Images of two classes, each known in some; ``ties`` rounds scores and repeats true boxes."""
    rng = np.random.default_rng(seed)
    images = []
    for boxes, confidences, truth in random_images(rng, 25):
        if ties:
            confidences, truth = confidences.round(1), np.concatenate([truth, truth])
        images.append((boxes, confidences, rng.integers(0, 2, len(boxes)), truth, rng.integers(0, 2, len(truth))))
    return images, rng.random((len(images), 2)) < 0.8


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_every_value_and_every_hit_is_that_of_pycocotools(seed, ties):
    images, known = drawn(seed, ties)
    metric = boxed_arrays(images, 2, known=known)
    matches = metric.derive(match_boxes)
    for k, name in enumerate("ab"):
        values = [scores(metric, which)[name][0] for which in ("AP40", "AP50", "AP")]
        assert values == pytest.approx(coco_values(images, known, k), abs=1e-12)
        for judged in filter(None, coco_evaluator(images, known, k).evalImgs):
            boxes, confidences, classes, truth, true_classes = images[judged["image_id"]]
            seen, true = classes == k, truth[true_classes == k]
            _, hits = match_image(as_xywh(boxes[seen]), confidences[seen], as_xywh(true), IOUS)
            assert (hits == (judged["dtMatches"].reshape(len(IOUS), -1) > 0)).all()
            of_image = matches[k].box_images == judged["image_id"]
            assert all((matches[k].hits(iou)[of_image] == hits[iou]).all() for iou in range(len(IOUS)))


def test_only_the_best_hundred_boxes_of_an_image_count():
    rng = np.random.default_rng(0)
    truth = random_boxes(rng, 5)
    boxes = np.concatenate([random_boxes(rng, 120), truth])
    classes = np.zeros(len(boxes), int)
    images = [(boxes, np.linspace(1, 0.1, len(boxes)), classes, truth, classes[:5])]
    expected = coco_values(images, np.array([[True]]), 0)[1]
    assert scores(boxed_arrays(images))["a"][0] == pytest.approx(expected, abs=1e-12)
    images.append((truth, np.full(5, 0.05), classes[:5], truth, classes[:5]))
    assert scores(boxed_arrays(images))["a"][0] > 0, "the same boxes count in an image of their own"


def test_matches_keep_a_score_an_image_and_eleven_bits_of_a_box():
    """Neither the boxes nor the overlaps are kept, and what is kept grows by the image."""
    sizes = []
    for count in (1, 8):
        for number in (10, 20):
            boxes, truth = np.tile([0, 0, 50, 50.0], (300, 1)), np.tile([0, 0, 50, 50.0], (count, 1))
            image = (boxes, np.ones(300, np.float32), np.zeros(300, int), truth, np.zeros(count, int))
            (matches,) = match_boxes(boxed_arrays([image] * number))
            kept = [matches.scores, matches.box_images, matches.packed_hits]
            assert all(array.base is None for array in kept), "no view on a larger array"
            assert len(matches.images) == number and len(matches.true_images) == number * count
            sizes.append(sum(array.nbytes for array in kept))
    assert sizes == [10 * 100 * (4 + 4 + 2), 20 * 100 * (4 + 4 + 2)] * 2
