"""Predictions built from arrays, for the tests of metrics."""

import numpy as np

from foundationx.core.types import Split, Task, TaskKey
from foundationx.evaluation.predictions import Masks, Predictions


def _common(task, labels, patients, split=Split.TEST):
    labels = np.asarray(labels, dtype=np.float32)
    number, classes = labels.shape
    patients = [f"p{place}" for place in range(number)] if patients is None else patients
    return {
        "key": TaskKey("made", task), "model": "teacher", "split": split, "visit": 3,
        "classes": tuple("abcdefgh"[:classes]), "images": np.array([f"{place}.png" for place in range(number)]),
        "patients": np.asarray(patients), "labels": labels,
    }  # fmt: skip


def labelled(labels, probabilities, patients=None, **more):
    """Classification: (N, K) tri-state labels and (N, K) probabilities."""
    return Predictions(
        **_common(Task.CLASSIFICATION, labels, patients, **more), probabilities=np.asarray(probabilities, np.float32)
    )


def boxed(images, classes=1, known=None, patients=None):
    """Detection. ``images``: of each image the true (box, class) and the found (box, class, score)."""
    labels = np.ones((len(images), classes)) if known is None else np.where(known, 1.0, np.nan)
    true = [(box, label, place) for place, (real, _) in enumerate(images) for box, label in real]
    seen = [(*entry, place) for place, (_, found) in enumerate(images) for entry in found]
    columns = [np.array([entry[column] for entry in seen]) for column in (1, 2, 3)] if seen else [np.zeros(0)] * 3
    return Predictions(
        **_common(Task.DETECTION, labels, patients),
        sizes=np.full((len(images), 2), 100),
        boxes=np.array([entry[0] for entry in seen], np.float32).reshape(-1, 4),
        box_classes=columns[0].astype(int), scores=columns[1].astype(np.float32), box_images=columns[2].astype(int),
        true_boxes=np.array([entry[0] for entry in true], np.float32).reshape(-1, 4),
        true_classes=np.array([entry[1] for entry in true], dtype=int),
        true_images=np.array([entry[2] for entry in true], dtype=int),
    )  # fmt: skip


def masked(predicted, true, known=None, patients=None):
    """Segmentation: (N, K, H, W) bool each."""
    predicted, true = np.asarray(predicted, dtype=bool), np.asarray(true, dtype=bool)
    known = np.ones_like(true) if known is None else np.asarray(known, dtype=bool)
    labels = np.where(known.any((2, 3)), (true & known).any((2, 3)), np.nan)
    stacks = (Masks.encode(stack) for stack in (predicted, true, known))
    names = ("predicted_masks", "true_masks", "known_masks")
    return Predictions(**_common(Task.SEGMENTATION, labels, patients), **dict(zip(names, stacks, strict=True)))
