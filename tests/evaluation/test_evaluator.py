"""Every head and model is evaluated on every image once; exact figures come from a model that knows the truth."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from foundationx.core.config.load import load_config
from foundationx.core.errors import DataError
from foundationx.core.types import Annotations, MaskPart, Split, Task, TaskKey
from foundationx.data.datamodule import DataModule, open_datasets
from foundationx.data.pixels.read import read_grey
from foundationx.evaluation.evaluator import evaluate
from foundationx.evaluation.images import image_batches
from foundationx.evaluation.measure import metric_rows
from foundationx.evaluation.metrics import froc
from foundationx.models.foundation_model import FoundationModel
from foundationx.phantoms.write import write_phantom_datasets
from foundationx.tasks.classification.prediction import ClassificationPrediction
from foundationx.tasks.detection.prediction import DetectionPrediction
from foundationx.tasks.detection.record import SHOWN_SCORE
from foundationx.tasks.detection.target import Boxes
from foundationx.tasks.segmentation.prediction import SegmentationPrediction
from tests.evaluation.test_predictions import equal

CONFIG = Path(__file__).parents[2] / "tests" / "helpers" / "tiny_config.py"
OPTIONS = {"split.train": 0.4, "split.val": 0.6, "split.test": 0.0}
KEYS = {task: TaskKey("odd", task) for task in (Task.CLASSIFICATION, Task.DETECTION, Task.SEGMENTATION)}
SIZES = [(40, 100), (96, 48), (70, 70), (30, 120), (64, 50)]
"""Height and width of the images that the truth-telling model is evaluated on."""


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    names = ("phantom_labels", "phantom_boxes", "phantom_masks")
    write_phantom_datasets(folder, dict.fromkeys(names, 12), size=64, processes=1)
    return folder


@pytest.fixture(scope="module")
def data_module(phantoms):
    return open_datasets(load_config(CONFIG, OPTIONS), phantoms)


@pytest.fixture(scope="module")
def models(data_module):
    torch.manual_seed(0)
    return {name: FoundationModel(data_module.config.model, data_module.classes) for name in ("student", "teacher")}


@pytest.fixture(scope="module")
def evaluated(data_module, models):
    return evaluate(data_module, models, Split.VAL, 3)


METRICS = {
    Task.CLASSIFICATION: ("AUROC", "AUPRC", "ECE"),
    Task.DETECTION: ("AP40", "AP50", "AP", "FROC", *froc.POINTS),
    Task.SEGMENTATION: ("Dice", "Dice positives", "Dice empty", "IoU", "HD95", "ASD", "HD95 defined"),
}
"""Metrics of each task on validation: those at a threshold need one that was chosen elsewhere."""


def test_there_is_a_row_for_every_head_model_metric_and_class(data_module, evaluated):
    expected = {
        (key.dataset, key.task.value, metric, name, model)
        for key, classes in data_module.classes.items()
        for metric in METRICS[key.task]
        for name in (*classes, "mean")
        for model in ("student", "teacher")
    }
    assert {(r.dataset, r.task, r.metric, r.class_name, r.model) for r in evaluated.rows} == expected
    assert len(evaluated.rows) == len(expected)
    assert {(row.visit, row.split) for row in evaluated.rows} == {(3, "val")}
    assert all(row.value is None or 0 <= row.value <= 1 for row in evaluated.rows if row.metric not in ("HD95", "ASD"))


def test_n_counts_images_and_true_boxes_of_the_split(data_module, evaluated):
    for key, table in data_module.annotations.items():
        side = data_module.indices[key][Split.VAL]
        for row in evaluated.rows:
            if (row.dataset, row.metric) == (key.dataset, METRICS[key.task][0]) and row.class_name != "mean":
                k = table.classes.index(row.class_name)
                boxes = (
                    sum((table.targets[i].box_classes == k).sum() for i in side) if key.task is Task.DETECTION else None
                )
                assert row.n == (len(side) if boxes is None else boxes) > 0


def test_the_last_model_is_shown_and_models_differ(data_module, evaluated):
    assert set(evaluated.examples) == set(data_module.annotations)
    assert all(len(examples) == data_module.config.evaluate.examples for examples in evaluated.examples.values())
    assert {curve["model"] for curve in evaluated.curves.values()} == {"teacher"}
    assert set(evaluated.curves) == {"phantom_labels/classification"}
    values = {model: [row.value for row in evaluated.rows if row.model == model] for model in ("student", "teacher")}
    assert values["student"] != values["teacher"], "two models of other weights"


def test_a_second_evaluation_gives_the_same_in_batches_of_any_size(phantoms, models, evaluated):
    other = open_datasets(load_config(CONFIG, OPTIONS | {"runtime.eval_batch_size": 3}), phantoms)
    again = evaluate(other, models, Split.VAL, 3)
    for one, two in zip(evaluated.rows, again.rows, strict=True):
        assert one.value == pytest.approx(two.value, abs=1e-5) and one.n == two.n


def test_progress_is_reported_after_each_batch(data_module, models):
    reported = []
    evaluate(data_module, models, Split.VAL, 0, lambda key, done, total: reported.append((key, done, total)))
    for key in data_module.annotations:
        total = -(-len(data_module.indices[key][Split.VAL]) // data_module.config.runtime.eval_batch_size)
        assert [entry for entry in reported if entry[0] == key] == [(key, done + 1, total) for done in range(total)]


def image_box(height, width):
    """A box with other shares in x and y."""
    return [width // 5, height // 4, width // 5 * 3, height // 4 * 3]


@pytest.fixture
def odd(tmp_path):
    """Images that are not square, with one box each that is also their mask; the label is 1 on every second."""
    number = len(SIZES)
    boxes = [np.array([image_box(*size)], np.float32) for size in SIZES]
    for index, size in enumerate(SIZES):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full(size, 10 * index + 10, np.uint8))
        mask = np.zeros(size, np.uint8)
        x1, y1, x2, y2 = image_box(*size)
        mask[y1:y2, x1:x2] = 255
        cv2.imwrite(str(tmp_path / f"m{index}.png"), mask)
    targets = {
        Task.CLASSIFICATION: {},
        Task.DETECTION: {"targets": [Boxes(corners, np.zeros(1, np.int64)) for corners in boxes]},
        Task.SEGMENTATION: {"targets": [(MaskPart(0, file=f"m{index}.png"),) for index in range(number)]},
    }
    tables = {
        key: Annotations(
            key, ("thing",), [f"{index}.png" for index in range(number)], [f"p{index}" for index in range(number)],
            [f"row {index}" for index in range(number)],
            (np.arange(number)[:, None] % 2 if key.task is Task.CLASSIFICATION else np.ones((number, 1)))
            .astype(np.float32), [None] * number, **targets[key.task])
        for key in KEYS.values()
    }  # fmt: skip
    indices = {key: {Split.VAL: np.arange(number), Split.TRAIN: np.arange(0)} for key in tables}
    options = {"runtime.on_bad_sample": "skip", "runtime.eval_batch_size": 2, "evaluate.examples": 9}
    return DataModule(tables, {"odd": tmp_path}, indices, {}, load_config(CONFIG, options))


class Knowing(nn.Module):
    """Knows each image by its grey level; its boxes keep ``share`` of the true height, its masks are the boxes."""

    def __init__(self, config, share=1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.mean, self.std, self.share = config.model.mean[0], config.model.std[0], share

    def predict(self, images, key):
        levels = (images[:, 0].mean((1, 2)) * self.std + self.mean) * 255
        positions = ((levels - 10) / 10).round().long()
        if key.task is Task.CLASSIFICATION:
            return ClassificationPrediction(probabilities=(positions % 2 * 0.8 + 0.1)[:, None])
        boxes = torch.stack([self.box(*SIZES[position]) for position in positions])
        if key.task is Task.DETECTION:
            weak = torch.tensor([[0.0, 0.0, 0.1, 0.1]]).expand(len(boxes), 1, 4)
            scores = torch.tensor([[0.9, SHOWN_SCORE / 2]]).expand(len(boxes), 2)
            both = torch.cat([boxes[:, None], weak], dim=1)
            return DetectionPrediction(
                relative_boxes=both, scores=scores, box_classes=torch.zeros(len(boxes), 2, dtype=torch.long)
            )
        x = (torch.arange(images.shape[-1]) + 0.5) / images.shape[-1]
        across = (x > boxes[:, :1]) & (x < boxes[:, 2:3])
        down = (x > boxes[:, 1:2]) & (x < boxes[:, 3:])
        return SegmentationPrediction(masks=(down[:, None, :, None] & across[:, None, None, :]).float())

    def box(self, height, width):
        x1, y1, x2, y2 = image_box(height, width)
        return torch.tensor([x1 / width, y1 / height, x2 / width, (y1 + (y2 - y1) * self.share) / height])


def values(evaluated, model="knows"):
    return {
        row.metric: (row.value, row.n) for row in evaluated.rows if row.class_name == "thing" and row.model == model
    }


def test_the_truth_scores_one_on_images_of_any_shape(odd):
    evaluated = evaluate(odd, {"knows": Knowing(odd.config)}, Split.VAL, 0)
    table = values(evaluated)
    for metric in ("AUROC", "AUPRC", "AP40", "AP50", "AP"):
        assert table[metric] == (pytest.approx(1.0), len(SIZES)), metric
    assert table["Dice"][0] > 0.97 and table["Dice positives"][1] == len(SIZES)


def test_boxes_of_less_height_fail_above_their_overlap(odd):
    models = {"half": Knowing(odd.config, share=0.47), "most": Knowing(odd.config, share=0.72)}
    evaluated = evaluate(odd, models, Split.VAL, 0)
    half, most = values(evaluated, "half"), values(evaluated, "most")
    assert (half["AP40"][0], half["AP50"][0], half["AP"][0]) == pytest.approx((1, 0, 0))
    assert (most["AP50"][0], most["AP"][0]) == pytest.approx((1, 0.5)), "0.50 to 0.70 of ten thresholds"


def test_boxes_are_scored_in_pixels_of_the_source(odd):
    (stored,) = [
        kept
        for kept in evaluate(odd, {"knows": Knowing(odd.config)}, Split.VAL, 0).predictions
        if kept.key.task is Task.DETECTION
    ]
    for image, size in enumerate(SIZES):
        boxes, true_boxes = stored.ragged("boxes").image(image), stored.ragged("true_boxes").image(image)
        assert np.allclose(true_boxes, [image_box(*size)], atol=1e-3) and np.allclose(boxes[0], true_boxes, atol=1e-3)


def test_examples_hold_truth_and_prediction_in_pixels_of_the_view(odd):
    evaluated = evaluate(odd, {"knows": Knowing(odd.config)}, Split.VAL, 0)
    side = odd.config.image_size
    for size, example in zip(SIZES, evaluated.examples[KEYS[Task.DETECTION]], strict=True):
        x1, y1, x2, y2 = image_box(*size)
        expected = [[x1 / size[1] * side, y1 / size[0] * side, x2 / size[1] * side, y2 / size[0] * side]]
        assert np.allclose(example.boxes, expected, atol=1e-3) and np.allclose(example.pred_boxes, expected, atol=1e-3)
        assert example.pred_scores == pytest.approx([0.9]), "weak boxes are not shown"
        assert example.image.shape == (side, side)
    for example in evaluated.examples[KEYS[Task.SEGMENTATION]]:
        assert example.masks.shape == example.pred_masks.shape == (1, side, side)
        assert set(np.unique(example.pred_masks)) == {0, 1}
    reported = [float(example.probabilities[0]) for example in evaluated.examples[KEYS[Task.CLASSIFICATION]]]
    assert reported == pytest.approx([0.1, 0.9, 0.1, 0.9, 0.1])


def test_an_unreadable_image_is_listed_and_none_is_evaluated_twice(odd):
    """The loader puts the next image in its place, which has a turn of its own."""
    (odd.roots["odd"] / "1.png").write_bytes(b"")
    evaluated = evaluate(odd, {"knows": Knowing(odd.config)}, Split.VAL, 0)
    table = values(evaluated)
    assert {metric: n for metric, (_, n) in table.items() if metric in ("AUROC", "AP50", "Dice")} == {
        "AUROC": 4, "AP50": 4, "Dice": 4}  # fmt: skip
    assert table["AP50"][0] == pytest.approx(1.0)
    names = [example.name for example in evaluated.examples[KEYS[Task.DETECTION]]]
    assert names == ["0.png", "2.png", "3.png", "4.png"]
    assert [(entry.file, entry.row, entry.task) for entry in evaluated.bad] == [
        ("1.png", "row 1", task.value) for task in KEYS
    ]


def test_an_unreadable_image_is_an_error_if_none_may_be_skipped(odd):
    (odd.roots["odd"] / "1.png").write_bytes(b"")
    runtime = odd.config.runtime.model_copy(update={"on_bad_sample": "raise"})
    odd.config = odd.config.model_copy(update={"runtime": runtime})
    with pytest.raises(DataError, match=r"row 1: .*1\.png: the file is empty"):
        evaluate(odd, {"knows": Knowing(odd.config)}, Split.VAL, 0)


def test_a_split_without_images_has_no_rows(odd):
    assert evaluate(odd, {"knows": Knowing(odd.config)}, Split.TRAIN, 0).rows == []


def test_a_file_is_decoded_once_for_all_heads_and_a_backbone_looks_once(odd, monkeypatch):
    read, looks = [], []
    reader = "foundationx.data.pixels.read.read_grey"
    monkeypatch.setattr(reader, lambda path: read.append(path.name) or read_grey(path))
    torch.manual_seed(0)
    models = {name: FoundationModel(odd.config.model, odd.classes) for name in ("student", "teacher")}
    for model in models.values():
        model.backbone.register_forward_hook(lambda part, inputs, output: looks.append(len(inputs[0])))
    evaluate(odd, models, Split.VAL, 0)
    assert read == [f"{position}.png" for position in range(len(SIZES))]
    assert looks == [2, 2, 2, 2, 1, 1], "two models, five images in batches of two"


def test_heads_together_predict_as_each_does_alone(odd):
    """Bit for bit: a head's batches are the same, and so is what the backbone makes of them."""
    torch.manual_seed(0)
    models = {"student": FoundationModel(odd.config.model, odd.classes)}
    together = evaluate(odd, models, Split.VAL, 0)
    for key, stored in zip(odd.annotations, together.predictions, strict=True):
        alone_book = replace(odd, annotations={key: odd.annotations[key]})
        alone = evaluate(alone_book, models, Split.VAL, 0)
        assert alone.rows == [row for row in together.rows if row.task == key.task.value]
        equal(alone.predictions[0], stored)


def test_heads_that_look_at_some_files_together_see_each_image_once(odd):
    """Detection knows images 0 to 2, segmentation 1 to 4: three sets of heads."""
    chosen = {Task.CLASSIFICATION: range(5), Task.DETECTION: range(3), Task.SEGMENTATION: range(1, 5)}
    odd.indices = {KEYS[task]: {Split.VAL: np.array(positions)} for task, positions in chosen.items()}
    batches = image_batches(odd, Split.VAL, 2)
    assert all(len({tuple(ref.key for ref in refs) for refs in batch}) == 1 and len(batch) <= 2 for batch in batches)
    for task, positions in chosen.items():
        assert sorted(ref.index for batch in batches for refs in batch for ref in refs if ref.key == KEYS[task]) == [
            *positions
        ]
    assert sum(len(batch) for batch in batches) == 5
    evaluated = values(evaluate(odd, {"knows": Knowing(odd.config)}, Split.VAL, 0))
    counts = {metric: evaluated[metric] for metric in ("AUROC", "AP50", "Dice positives")}
    assert [n for _, n in counts.values()] == [5, 3, 4] and counts["AP50"][0] == counts["AUROC"][0] == 1


def test_a_head_that_cannot_use_an_image_leaves_it_to_the_others(odd):
    (odd.roots["odd"] / "m1.png").write_bytes(b"")
    evaluated = evaluate(odd, {"knows": Knowing(odd.config)}, Split.VAL, 0)
    table = values(evaluated)
    assert [table[metric][1] for metric in ("AUROC", "AP50", "Dice")] == [5, 5, 4]
    assert table["AP50"][0] == 1 and table["Dice"][0] > 0.97
    assert [(entry.row, entry.task) for entry in evaluated.bad] == [("row 1", "segmentation")]


def test_a_head_without_one_image_that_can_be_used_is_an_error(odd):
    for position in range(len(SIZES)):
        (odd.roots["odd"] / f"m{position}.png").write_bytes(b"")
    with pytest.raises(DataError, match="odd/segmentation: not one image can be used"):
        evaluate(odd, {"knows": Knowing(odd.config)}, Split.VAL, 0)


def test_every_row_is_a_statistic_of_the_predictions(evaluated):
    assert [row for stored in evaluated.predictions for row in metric_rows(stored)] == evaluated.rows


def test_thresholds_chosen_on_validation_give_the_other_split_its_metrics(odd):
    """Labels are 1 on every second image; the scores know them, so that a threshold parts them."""
    models = {"knows": Knowing(odd.config)}
    val = evaluate(odd, models, Split.VAL, 0)
    key = KEYS[Task.CLASSIFICATION]
    assert val.thresholds[key, "knows"]["thing"].value == pytest.approx(0.9) and "F1" not in values(val)
    for sides in odd.indices.values():
        sides[Split.TEST] = sides[Split.VAL]
    test = evaluate(odd, models, Split.TEST, 0, thresholds=val.thresholds)
    assert {metric: values(test)[metric] for metric in ("F1", "MCC", "Accuracy")} == {
        "F1": (1, 5), "MCC": (1, 5), "Accuracy": (1, 5)}  # fmt: skip
    assert "F1" not in values(evaluate(odd, models, Split.TEST, 0)), "without a threshold there is no such metric"


def test_models_are_compared_on_a_truth_that_is_recorded_once(evaluated):
    student, teacher = (
        {stored.key: stored for stored in evaluated.predictions if stored.model == model}
        for model in ("student", "teacher")
    )
    for key, stored in student.items():
        assert stored.images is teacher[key].images and stored.patients is teacher[key].patients
