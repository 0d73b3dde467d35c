"""``foundationx score``: a run's own predictions, written as tables, score as the run; what is wrong is named."""

import csv
import json

import cv2
import numpy as np
import pytest
import torch

from foundationx.apps.cli.main import FAULT, main
from foundationx.core.config.load import load_config
from foundationx.core.types import Split, Task, TaskKey
from foundationx.data.datamodule import open_datasets
from foundationx.evaluation.compare.compare import compare
from foundationx.evaluation.evaluator import evaluate
from foundationx.evaluation.metrics.confusion import METRICS
from foundationx.evaluation.predictions import read_predictions
from foundationx.evaluation.stored import store
from foundationx.models.foundation_model import FoundationModel
from foundationx.phantoms.write import write_phantom_datasets
from tests.apps.test_cli import TINY

KEYS = {
    "labels": TaskKey("phantom_labels", Task.CLASSIFICATION),
    "boxes": TaskKey("phantom_boxes", Task.DETECTION),
    "masks": TaskKey("phantom_masks", Task.SEGMENTATION),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Data, and a work directory with the predictions of an untrained network on test and validation."""
    data, run = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("run")
    write_phantom_datasets(data, 12, size=96, processes=1)
    config = load_config(TINY)
    module = open_datasets(config, data)
    torch.manual_seed(0)
    model = FoundationModel(config.model, module.classes)
    evaluations = [evaluate(module, {"teacher": model}, split, 1) for split in (Split.VAL, Split.TEST)]
    for evaluation in evaluations:
        store(run, evaluation)
    splits = {patient: split.value for patient, split in module.patients.items()}
    (run / "splits.json").write_text(json.dumps(splits))
    (run / "config.json").write_text(json.dumps({"image_size": config.image_size}))
    return data, run


def stored(run, key, split=Split.TEST):
    return read_predictions(run / "predictions" / key.dataset / f"{key.task.value}.{split.value}.teacher.npz")


def write_table(path, header, rows):
    with open(path, "w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def label_rows(predictions):
    values = predictions.array("probabilities")
    return [
        (image, name, repr(float(values[index, k])))
        for index, image in enumerate(predictions.images)
        for k, name in enumerate(predictions.classes)
    ]


def box_rows(predictions):
    boxes, scores, kinds = (predictions.ragged(name) for name in ("boxes", "scores", "box_classes"))
    for index, image in enumerate(predictions.images):
        for box, score, kind in zip(boxes.image(index), scores.image(index), kinds.image(index), strict=True):
            yield image, predictions.classes[kind], repr(float(score)), *(repr(float(value)) for value in box)


def score(table, key, world, out, *more):
    data, run = world
    options = ["--card", key.dataset, "--data-root", str(data), "--run", str(run), "--out", str(out), "--repeats", "0"]
    return main(["score", str(table), *options, *more])


def assert_equal(run, out, key, but=()):
    """Every metric but some is that of the run."""
    rows = [row for row in compare([run, out], repeats=0).rows if row.head == key and row.metric not in but]
    values = [row for row in rows if row.cells[0].value is not None]
    assert len(values) > 5
    for row in rows:
        assert row.cells[1].value == pytest.approx(row.cells[0].value, abs=1e-6), (row.metric, row.class_name)
        assert row.cells[1].n == row.cells[0].n


@pytest.mark.parametrize("form", ["long", "wide"])
def test_image_labels_score_as_the_run(world, form, tmp_path, capsys):
    """The rows in any order; with those of validation in the same folder, thresholds and their metrics, too."""
    key = KEYS["labels"]
    for split in (Split.VAL, Split.TEST):
        rows = label_rows(stored(world[1], key, split))
        header = ("image", "class", "score")
        if form == "wide":
            classes = stored(world[1], key, split).classes
            header = ("image", *classes)
            values = {(image, name): value for image, name, value in rows}
            images = dict.fromkeys(image for image, _, _ in rows)
            rows = [(image, *(values[image, name] for name in classes)) for image in images]
        table = write_table(tmp_path / "table.csv", header, reversed(rows))
        more = ["--beside", str(world[1])] if split is Split.TEST else ["--split", "val"]
        assert score(table, key, world, tmp_path / "out", *more) == 0
    assert_equal(world[1], tmp_path / "out", key)
    said = capsys.readouterr().out
    assert "| AUROC" in said and "difference" not in said and "phantom_boxes" not in said
    assert json.loads((tmp_path / "out/thresholds.json").read_text())["phantom_labels/classification"]["teacher"]


def test_boxes_score_as_the_run(world, tmp_path):
    key = KEYS["boxes"]
    rows = list(box_rows(stored(world[1], key)))
    header = ("image", "class", "score", "x1", "y1", "x2", "y2")
    good = [row for row in rows if float(row[3]) < float(row[5]) and float(row[4]) < float(row[6])]
    assert good == rows
    table = write_table(tmp_path / "table.csv", header, rows)
    assert score(table, key, world, tmp_path / "out") == 0
    assert_equal(world[1], tmp_path / "out", key)


def test_masks_score_as_the_run(world, tmp_path):
    """One file for each image and class, in bytes of 0 and 255; a class that was not found has no file."""
    key, rows = KEYS["masks"], []
    predictions = stored(world[1], key)
    for index, image in enumerate(predictions.images):
        for name, mask in zip(predictions.classes, predictions.masks("predicted_masks").image(index), strict=True):
            file = f"{index} {name}.png" if mask.any() else ""
            if file:
                cv2.imwrite(str(tmp_path / file), mask.astype(np.uint8) * 255)
            rows.append((image, name, file))
    table = write_table(tmp_path / "table.csv", ("image", "class", "mask"), rows)
    assert score(table, key, world, tmp_path / "out") == 0
    assert_equal(world[1], tmp_path / "out", key)


def test_images_may_be_named_by_the_end_of_their_path_without_suffix(world, tmp_path):
    key = KEYS["labels"]
    rows = [(image.rsplit("/", 1)[-1].split(".")[0], *rest) for image, *rest in label_rows(stored(world[1], key))]
    table = write_table(tmp_path / "table.csv", ("image", "class", "score"), rows)
    assert score(table, key, world, tmp_path / "out") == 0
    assert_equal(world[1], tmp_path / "out", key, but=METRICS)  # there are no thresholds without a table of validation


def test_images_of_other_splits_are_counted(world, tmp_path, capsys):
    key = KEYS["labels"]
    rows = label_rows(stored(world[1], key)) + label_rows(stored(world[1], key, Split.VAL))
    table = write_table(tmp_path / "table.csv", ("image", "class", "score"), rows)
    assert score(table, key, world, tmp_path / "out") == 0
    number = len(stored(world[1], key, Split.VAL))
    assert f"{number} images of the table are not in this split and are not scored" in capsys.readouterr().out


def spoiled(rows, kind):
    first = rows[0]
    return {
        "unknown image": [("nobody.png", *first[1:]), *rows],
        "unknown class": [(first[0], "Nodul", first[2]), *rows[1:]],
        "missing class": rows[1:],
        "missing image": [row for row in rows if row[0] != first[0]],
        "double": [first, *rows],
        "no number": [(*first[:2], "high"), *rows[1:]],
        "out of range": [(*first[:2], "17.2"), *rows[1:]],
        "not finite": [(*first[:2], "nan"), *rows[1:]],
        "no image": [("", *first[1:]), *rows[1:]],
        "more cells": [(*first, "x"), *rows[1:]],
    }[kind]


FAULTS = {
    "unknown image": "the image is 'nobody.png', which the card does not have",
    "unknown class": "did you mean 'Nodule'",
    "missing class": "has no row for",
    "missing image": "images of the split have no row",
    "double": "stands in the table twice",
    "no number": "score is 'high'",
    "out of range": "scale scores to [0, 1]",
    "not finite": "score is 'nan'",
    "no image": "the image is ''",
    "more cells": "another number of cells",
}


@pytest.mark.parametrize("kind", FAULTS)
def test_nothing_wrong_is_passed_over(world, kind, tmp_path, capsys):
    key = KEYS["labels"]
    rows = spoiled(label_rows(stored(world[1], key)), kind)
    table = write_table(tmp_path / "table.csv", ("image", "class", "score"), rows)
    assert score(table, key, world, tmp_path / "out") == FAULT
    error = " ".join(capsys.readouterr().err.split())
    assert FAULTS[kind] in error and "fix:" in error
    assert not (tmp_path / "out" / "predictions").exists()


def test_boxes_without_area_and_images_without_rows_are_named(world, tmp_path, capsys):
    key, header = KEYS["boxes"], ("image", "class", "score", "x1", "y1", "x2", "y2")
    images, name = stored(world[1], key).images, stored(world[1], key).classes[0]
    table = write_table(tmp_path / "a.csv", header, [(image, name, 0.5, 9, 0, 3, 5) for image in images])
    assert score(table, key, world, tmp_path / "out") == FAULT
    assert "has no area" in capsys.readouterr().err
    table = write_table(tmp_path / "b.csv", header, [])
    assert score(table, key, world, tmp_path / "out") == FAULT
    assert "--missing-is-empty" in capsys.readouterr().err
    assert score(table, key, world, tmp_path / "out", "--missing-is-empty") == 0
    empty = [(image, "", "", "", "", "", "") for image in images[1:]]
    table = write_table(tmp_path / "c.csv", header, [(images[0], name, 0.5, 0, 0, 3, 5), *empty])
    assert score(table, key, world, tmp_path / "other") == 0
    table = write_table(tmp_path / "d.csv", ("image", "class", "confidence"), [])
    assert score(table, key, world, tmp_path / "x") == FAULT
    assert "has no column 'score', 'x1', 'y1'" in capsys.readouterr().err
