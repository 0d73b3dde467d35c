"""Trivial rows: hand-computed priors, mean boxes and mean masks, and what is marked beside them."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.text import Text

from foundationx.apps.run.hooks import headline_table
from foundationx.core.types import MetricRow, SampleMeta, Split, Task, TaskKey
from foundationx.core.workdir import WorkDir
from foundationx.data.datamodule import open_datasets
from foundationx.evaluation.compare.compare import compare
from foundationx.evaluation.compare.table import as_csv, latex, markdown
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.trivial import (
    best_trivial,
    learn_trivial,
    read_trivial,
    run_trivial,
    trivial_predictions,
    trivial_rows,
)
from foundationx.tasks.definition import task_of
from foundationx.tasks.detection.target import DetectionBatch
from foundationx.tasks.segmentation.target import SegmentationBatch
from tests.evaluation.test_evaluator import data_module, phantoms  # noqa: F401
from tests.helpers.predicted import boxed, labelled, masked

NAN = float("nan")


def common(task, labels):
    key, number = TaskKey("made", task), len(labels)
    images = torch.zeros(number, 1, 4, 4, dtype=torch.uint8)
    metas = tuple(SampleMeta(key, f"{n}.png", f"p{n}", f"row {n}", 4, 4) for n in range(number))
    labels = torch.tensor(labels, dtype=torch.float32)
    return {"key": key, "images": images, "teacher_images": images, "labels": labels, "metas": metas}


def learned_of(task, labels, batches, classes="ab"):
    return {f"made/{task.value}": task_of(task).learn_trivial(np.array(labels, np.float32), batches, tuple(classes))}


def values(rows):
    return {(row.model, row.metric, row.class_name): row.value for row in rows}


def test_priors_are_means_of_known_training_labels_and_rank_nothing():
    trivial = learned_of(Task.CLASSIFICATION, [[1, NAN], [0, NAN], [0, NAN], [NAN, NAN]], iter(()))
    assert trivial == {"made/classification": {"a": {"prior": pytest.approx(1 / 3)}}}, "b is never known"
    scored = labelled([[1, 0], [0, 1], [1, 1]], [[0.9, 0.1], [0.2, 0.8], [0.4, 0.3]])
    (answered,) = trivial_predictions(trivial, scored)
    assert answered.array("probabilities").tolist() == [[pytest.approx(1 / 3), 0.5]] * 3
    found = values(trivial_rows(trivial, scored))
    assert found["trivial", "AUROC", "a"] == found["trivial", "AUROC", "mean"] == 0.5
    assert found["trivial", "AUPRC", "a"] == pytest.approx(2 / 3), "the share of positives"


def test_the_mean_training_box_is_a_share_of_the_image_and_scored_in_pixels():
    """Boxes of a: (0, 0, .4, .4) and (.2, .2, .6, .6); b has none, and is unknown in the second image."""
    centred = torch.tensor([[[0.2, 0.2, 0.4, 0.4]], [[0.4, 0.4, 0.4, 0.4]], [[0.0, 0.0, 0.0, 0.0]]])
    batch = DetectionBatch(
        **common(Task.DETECTION, [[1, 0], [1, NAN], [0, 0]]),
        centred_boxes=centred,
        box_classes=torch.tensor([[0], [0], [-1]]),
    )
    trivial = learned_of(Task.DETECTION, batch.labels, [batch])
    mean = trivial["made/detection"]["a"]
    assert list(trivial["made/detection"]) == ["a"]
    assert mean["box"] == pytest.approx([0.1, 0.1, 0.5, 0.5]) and mean["score"] == pytest.approx(2 / 3)
    hit, miss = ((10, 10, 50, 50), 0), ((60, 60, 90, 90), 0)  # images of 100 x 100 pixels
    scored = boxed([([hit], []), ([miss], []), ([hit], [])], classes=2)
    (answered,) = trivial_predictions(trivial, scored)
    assert answered.ragged("boxes").image(1).tolist() == [pytest.approx([10, 10, 50, 50])]
    # one box per image, all of one score, in the order of images: hit, miss, hit; recalls 1/3 and 2/3
    # precision 1 up to recall 1/3 (34 of 101 points), 2/3 up to 2/3 (33 points), then nothing is found
    assert values(trivial_rows(trivial, scored))["trivial", "AP40", "a"] == pytest.approx((34 + 33 * 2 / 3) / 101)


def test_boxes_of_wide_images_are_scaled_by_width_and_height():
    trivial = {"made/detection": {"a": {"box": [0.1, 0.2, 0.5, 0.6], "score": 1.0}}}
    scored = boxed([([], [])])
    wide = replace(scored, recorded={**scored.recorded, "sizes": np.array([[50, 200]])})
    (answered,) = trivial_predictions(trivial, wide)
    assert answered.ragged("boxes").values.tolist() == [pytest.approx([20, 10, 100, 30])]


def test_the_mean_training_mask_holds_pixels_true_in_half_of_the_images_that_know_them():
    masks = torch.zeros(2, 2, 2, 2, dtype=torch.uint8)
    masks[0, 0] = torch.tensor([[1, 1], [0, 255]])
    masks[1, 0] = torch.tensor([[1, 0], [0, 1]])
    masks[:, 1] = 255
    batch = SegmentationBatch(**common(Task.SEGMENTATION, [[1, NAN], [1, NAN]]), masks=masks)
    trivial = json.loads(json.dumps(learned_of(Task.SEGMENTATION, batch.labels, [batch])))
    true = np.zeros((1, 2, 2, 2), bool)
    true[0, 0] = [[1, 1], [1, 1]]
    scored = masked(np.zeros_like(true), true)
    mean, empty = trivial_predictions(trivial, scored)
    assert mean.masks("predicted_masks").image(0).tolist() == [[[True, True], [False, True]], [[False] * 2] * 2]
    found = values(trivial_rows(trivial, scored))
    assert found["trivial", "Dice", "a"] == pytest.approx(2 * 3 / (3 + 4)) and found["empty", "Dice", "a"] == 0
    assert found["trivial", "Dice", "b"] == found["empty", "Dice", "b"] == 1, "both empty"
    assert empty.model == "empty"


def test_masks_of_another_size_get_the_mean_mask_at_their_size():
    batch = SegmentationBatch(
        **common(Task.SEGMENTATION, [[1]]), masks=torch.tensor([[[[1, 0], [0, 0]]]], dtype=torch.uint8)
    )
    trivial = learned_of(Task.SEGMENTATION, batch.labels, [batch], "a")
    scored = masked(np.zeros((1, 1, 4, 4)), np.ones((1, 1, 4, 4)))
    mask = trivial_predictions(trivial, scored)[0].masks("predicted_masks").image(0)[0]
    assert mask.sum() == 4 and mask[:2, :2].all()


def test_classes_are_matched_by_name_whatever_their_order():
    trivial = {"made/classification": {"b": {"prior": 0.25}, "a": {"prior": 0.75}}}
    scored = labelled([[1, 0]], [[0.5, 0.5]])
    assert trivial_predictions(trivial, scored)[0].array("probabilities").tolist() == [[0.75, 0.25]]


def test_only_training_annotations_are_learned_from(data_module):  # noqa: F811
    """All else is changed and nothing moves; one training label is changed, and its prior moves."""
    before = learn_trivial(data_module)
    assert len(before) == len(data_module.annotations)
    key = next(key for key in data_module.annotations if key.task is Task.CLASSIFICATION)
    table = data_module.annotations[key]
    train = data_module.indices[key][Split.TRAIN]
    others = np.setdiff1d(np.arange(len(table)), train)
    labels = np.array(table.labels)
    labels[others] = 1 - labels[others]
    moved = replace(data_module, annotations=data_module.annotations | {key: replace(table, labels=labels)})
    assert learn_trivial(moved, [key])[str(key)] == before[str(key)]
    labels[train[0]] = 1 - labels[train[0]]
    assert learn_trivial(moved, [key])[str(key)] != before[str(key)]


def test_a_run_keeps_what_it_learned_and_learns_what_is_missing(data_module, tmp_path):  # noqa: F811
    first = run_trivial(tmp_path, data_module)
    key = next(iter(first))
    WorkDir(tmp_path).write_json("trivial.json", {key: {"mine": {"prior": 0.1}}})
    again = run_trivial(tmp_path, data_module)
    assert again[key] == {"mine": {"prior": 0.1}} and again.keys() == first.keys()
    assert {name: again[name] for name in first if name != key} == {n: v for n, v in first.items() if n != key}


@pytest.mark.parametrize("damaged", [1, None], ids=["one", "all"])
def test_training_images_that_cannot_be_read_are_counted_and_named(data_module, phantoms, tmp_path, damaged):  # noqa: F811
    root = shutil.copytree(phantoms, tmp_path / "data")
    opened = open_datasets(data_module.config, root)
    key = next(key for key in opened.annotations if key.task is Task.DETECTION)
    train = opened.indices[key][Split.TRAIN][:damaged]
    names = [opened.annotations[key].images[index] for index in train]
    for name in names:
        (opened.roots[key.dataset] / name).write_bytes(b"no image")
    notes = []
    learned = run_trivial(tmp_path, opened, notes.append)
    (note,) = [note for note in notes if note.key == key]
    wanted = len(opened.indices[key][Split.TRAIN])
    assert {one.file for one in note.bad} == set(names) and note.wanted == wanted
    assert str(note).startswith(f"{len(names)} training images could not be read") and names[0] in str(note)
    if damaged is None:
        assert str(key) not in learned, "nothing is known of what no image tells"
        return
    assert all(entry["images"] == wanted and entry["unreadable"] == 1 for entry in learned[str(key)].values())
    assert read_trivial(tmp_path) == learned
    assert all("unreadable" not in entry for entry in learn_trivial(data_module, [key])[str(key)].values())
    again = []
    run_trivial(tmp_path, opened, again.append)
    assert not [note for note in again if note.key == key], "it was said when it was learned"


def rows_of(**by_model):
    return [MetricRow("x", "segmentation", "Dice", "mean", v, 9, model, 3, "test") for model, v in by_model.items()]


@pytest.mark.parametrize(("value", "low"), [(0.7, True), (0.7681, True), (0.7689, False), (0.9, False)])
def test_the_terminal_marks_a_head_at_or_below_the_better_trivial_row(value, low):
    rows = rows_of(student=value, trivial=0.768, empty=0.013)
    assert best_trivial(rows, TaskKey("x", Task.SEGMENTATION), "test") == 0.768
    columns, [[_, _, cell, trivial, empty]] = headline_table(rows)
    assert columns == ["head", "metric", "student", "trivial", "empty"] and (trivial, empty) == ("0.768", "0.013")
    assert (isinstance(cell, Text) and "red" in str(cell.style) and "<= trivial" in cell.plain) == low


def test_a_perfect_head_is_not_marked_if_the_trivial_row_is_perfect_too():
    assert headline_table(rows_of(student=1.0, trivial=1.0))[1] == [["x/segmentation", "Dice", "1.000", "1.000"]]


def test_chance_stands_for_tasks_without_trivial_rows():
    assert best_trivial([], TaskKey("x", Task.CLASSIFICATION), "test") == 0.5
    assert best_trivial([], TaskKey("x", Task("self_supervision")), "test") == 0.0


def test_compare_shows_the_trivial_value_and_marks_who_does_not_beat_it(tmp_path):
    scored = labelled([[1], [1], [0], [0]], [[0.9], [0.4], [0.6], [0.1]])  # AUROC .75
    bad = replace(scored, recorded={"probabilities": 1 - np.asarray(scored.recorded["probabilities"])})  # AUROC .25
    for name, predictions in (("good", scored), ("bad", bad)):
        assert isinstance(predictions, Predictions)
        predictions.write(tmp_path / name)
    WorkDir(tmp_path / "good").write_json("trivial.json", {"made/classification": {"a": {"prior": 0.5}}})
    comparison = compare([tmp_path / "good", tmp_path / "bad"], repeats=0)
    row = next(row for row in comparison.rows if (row.metric, row.class_name) == ("AUROC", "mean"))
    assert row.trivial == 0.5 and [row.is_low(cell) for cell in row.cells] == [False, True]
    assert "| 0.500 | 0.750 | 0.250 <= trivial |" in markdown(comparison)
    assert r"0.500 & 0.750 & \textcolor{red}{0.250}" in latex(comparison)
    assert as_csv(comparison).splitlines()[0].endswith(",trivial")
