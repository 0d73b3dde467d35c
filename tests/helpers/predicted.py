"""Predictions built from arrays, for the tests of metrics."""

from dataclasses import replace

import numpy as np

from foundationx.core.arrays import Masks, Ragged
from foundationx.core.types import Split, Task, TaskKey
from foundationx.evaluation.bootstrap import estimate
from foundationx.evaluation.predictions import Predictions


def _common(task, labels, patients, split=Split.TEST):
    labels = np.asarray(labels, dtype=np.float32)
    number, classes = labels.shape
    patients = [f"p{position}" for position in range(number)] if patients is None else patients
    return {
        "key": TaskKey("made", task), "model": "teacher", "split": split, "visit": 3,
        "classes": tuple("abcdefgh"[:classes]), "images": np.array([f"{position}.png" for position in range(number)]),
        "patients": np.asarray(patients), "labels": labels,
    }  # fmt: skip


def labelled(labels, probabilities, patients=None, **more):
    """Classification: (N, K) tri-state labels and (N, K) probabilities."""
    recorded = {"probabilities": np.asarray(probabilities, np.float32)}
    return Predictions(**_common(Task.CLASSIFICATION, labels, patients, **more), recorded=recorded)


def boxed(images, classes=1, known=None, patients=None):
    """Detection. ``images``: of each image the true (box, class) and the predicted (box, class, score)."""
    labels = np.ones((len(images), classes)) if known is None else np.where(known, 1.0, np.nan)
    columns = {"true_boxes": [], "true_classes": [], "boxes": [], "box_classes": [], "scores": []}
    for true, predicted in images:
        columns["true_boxes"].append(np.array([box for box, _ in true], np.float32).reshape(-1, 4))
        columns["true_classes"].append(np.array([label for _, label in true], dtype=int))
        columns["boxes"].append(np.array([box for box, _, _ in predicted], np.float32).reshape(-1, 4))
        columns["box_classes"].append(np.array([label for _, label, _ in predicted], dtype=int))
        columns["scores"].append(np.array([score for _, _, score in predicted], np.float32))
    recorded = {name: Ragged.of(parts) for name, parts in columns.items()} | ignored(len(images))
    return Predictions(
        **_common(Task.DETECTION, labels, patients), recorded={"sizes": np.full((len(images), 2), 100)} | recorded
    )


def ignored(number, regions=None):
    """Regions in which a class is unknown: of each image by its number a list of (box, class)."""
    regions = [(regions or {}).get(image, []) for image in range(number)]
    boxes = [np.array([box for box, _ in own], np.float64).reshape(-1, 4) for own in regions]
    classes = [np.array([label for _, label in own], dtype=int) for own in regions]
    return {"ignored_boxes": Ragged.of(boxes), "ignored_classes": Ragged.of(classes)}


def boxed_arrays(images, classes=1, known=None, regions=None):
    """Detection. ``images``: boxes (M, 4), scores, classes, true boxes (T, 4), true classes of each, kept exactly."""
    result = boxed([((), ())] * len(images), classes, known)
    names = ("boxes", "scores", "box_classes", "true_boxes", "true_classes")
    columns = zip(names, zip(*images, strict=True), strict=True)
    recorded = {name: Ragged.of([np.asarray(part) for part in parts]) for name, parts in columns}
    return replace(result, recorded=recorded | ignored(len(images), regions))


def masked(predicted, true, known=None, patients=None):
    """Segmentation: (N, K, H, W) bool each."""
    predicted, true = np.asarray(predicted, dtype=bool), np.asarray(true, dtype=bool)
    known = np.ones_like(true) if known is None else np.asarray(known, dtype=bool)
    labels = np.where(known.any((2, 3)), (true & known).any((2, 3)), np.nan)
    stacks = {"predicted_masks": predicted, "true_masks": true, "known_masks": known}
    recorded = {name: Masks.encode(stack) for name, stack in stacks.items()}
    return Predictions(**_common(Task.SEGMENTATION, labels, patients), recorded=recorded)


def values_of(statistics, predictions):
    """Value and n of each metric and class."""
    return {(s.metric, s.class_name): (s.value(predictions.patient_count), s.n) for s in statistics(predictions)}


def scores_of(statistics, predictions, metric):
    """Value and n by class of one metric, the mean over classes included."""
    result = estimate(statistics(predictions), predictions.patient_count, repeats=0)
    return {entry.class_name: (entry.value, entry.n) for entry in result if entry.metric == metric}
