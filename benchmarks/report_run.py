"""A made-up run with everything that a report shows, as large as wanted; no network is trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from foundationx.core.arrays import Masks, Ragged
from foundationx.core.types import Example, MetricRow, Split, Task, TaskKey
from foundationx.core.workdir import WorkDir
from foundationx.evaluation.evaluator import measure
from foundationx.evaluation.measure import curves
from foundationx.evaluation.outcomes import choose_cases
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.report.pictures import each_of
from foundationx.evaluation.stored import store
from foundationx.tasks.classification.prediction import ClassificationExample
from foundationx.tasks.detection.prediction import DetectionExample
from foundationx.tasks.segmentation.prediction import SegmentationExample

TASKS = (Task.CLASSIFICATION, Task.DETECTION, Task.SEGMENTATION)
FINDINGS = (
    *("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax"),
    *("Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural Thickening", "Hernia"),
)
SIDE = 224
MASK = 64
VISITS = 4
"""Visits of each head."""


def write_run(
    folder: Path,
    heads: Sequence[TaskKey],
    images: int = 200,
    classes: int = 14,
    pictures: int = 24,
    names: Sequence[str] = FINDINGS,
    seed: int = 0,
) -> None:
    """Writes the work directory of a finished run.

    Args:
        folder: Work directory.
        heads: Its heads.
        images: Test images of each; as many for validation.
        classes: Classes of labels; boxes and masks have three.
        pictures: Images of each head that are kept for the report.
        names: Names of the classes.
        seed: Of everything random.
    """
    work, generator = WorkDir(folder), np.random.default_rng(seed)
    classes_of = {key: tuple(names[: classes if key.task is TASKS[0] else 3]) for key in heads}
    _write_plan(work, heads, images)
    both = [
        predicted(key, classes_of[key], images, split, len(heads) * VISITS, generator)
        for key in heads
        for split in (Split.VAL, Split.TEST)
    ]
    evaluation = measure(both)
    store(folder, replace(evaluation, rows=[]))
    of_curves = {}
    for test in (entry for entry in evaluation.predictions if entry.split is Split.TEST):
        if points := curves(test):
            of_curves[str(test.key)] = {"model": "teacher", "split": "test", "classes": points}
        work.write_examples(
            test.key, test.classes, "teacher", _examples(test, min(pictures, each_of(len(heads))), generator)
        )
    work.add_metrics(_history(evaluation.rows, len(heads)))
    work.write_json("curves.json", of_curves)
    counts = [row for key, own in classes_of.items() for row in _counts(key, own, images)]
    work.write_json("datasets.json", counts)
    work.write_json("splits.json", {f"p{n}": ("train", "val", "test")[n % 3] for n in range(3 * images)})


def _write_plan(work: WorkDir, heads: Sequence[TaskKey], images: int) -> None:
    """Run, plan, log and configuration."""
    run = {"name": "made up", "started": "2026-01-01T10:00:00", "finished": "2026-01-01T12:30:00", "version": "0"}
    cards = {
        key.dataset: {"title": f"Title of {key.dataset}", "licence": "CC BY 4.0", "redistribution": "yes"}
        | {"commercial": "unknown", "access": "open", "home": "https://example.org", "file": f"{key.dataset}.yaml"}
        for key in heads
    }
    run |= {"commit": "0123456789abcdef", "seed": 7, "machine": "a machine, 2 cores", "packages": {"torch": "0"}}
    work.write_json("run.json", run | {"device": "cpu", "parameters": {"backbone": 28_000_000}, "cards": cards})
    visits, log, steps = [], [], 60
    for index in range(len(heads) * VISITS):
        key, first = heads[index % len(heads)], index * steps
        phases = [{"name": "lock", "first_step": first, "steps": 20}]
        phases += [{"name": "release", "first_step": first + 20, "steps": 40}]
        head = {"dataset": key.dataset, "task": key.task.value}
        visits.append({"index": index + 1, "cycle": 1 + index // len(heads), "phases": phases} | head)
        for step in range(first + 2, first + steps + 1, 2):
            losses = {"task": 3 / (1 + step / len(heads)) ** 0.5, "consistency": 0.1, "total": 1.0}
            row = {"step": step, "visit": index + 1, "phase": "lock", "images_per_second": 40.0, "losses": losses}
            log.append(json.dumps(row | head))
    work.write_json("plan.json", {"visits": visits, "total_steps": len(visits) * steps})
    work.log.write_text("\n".join(log) + "\n")
    work.write_json("config.json", {"name": "made up", "datasets": [{"card": key.dataset} for key in heads]})


def _counts(key: TaskKey, classes: Sequence[str], images: int) -> list[dict[str, object]]:
    counts = {"positive": images // 5, "negative": images - images // 5, "unknown": 0}
    known = [{"name": name, **counts} for name in classes]
    head = {"dataset": key.dataset, "task": key.task.value, "patients": images // 2, "classes": known}
    return [head | {"split": split.value, "images": images * (3 if split is Split.TRAIN else 1)} for split in Split]


def _history(rows: Sequence[MetricRow], heads: int) -> list[MetricRow]:
    """The newest rows with student, untrained, trivial and earlier ones made of them: metrics that grow."""
    found = []
    for row in rows:
        for cycle in range(VISITS + 1):
            value = None if row.value is None else row.value * (0.4 + 0.6 * cycle / VISITS)
            for model in ("student", "teacher") if cycle else ("student",):
                if row.split == "val" or cycle in (0, VISITS):
                    found.append(replace(row, model=model, visit=cycle * heads, value=value))
        if row.metric == Task(row.task).facts.headline:
            found.append(replace(row, model="trivial", value=0.3))
    return found


def predicted(
    key: TaskKey, classes: tuple[str, ...], images: int, split: Split, visit: int, generator: np.random.Generator
) -> Predictions:
    """Predictions of a head that is right more often than not; every patient has two images."""
    labels = (generator.random((images, len(classes))) < 0.2).astype(np.float32)
    names = np.array([f"{split.value}_{n:05}.png" for n in range(images)])
    patients = np.array([f"{split.value}_{n // 2}" for n in range(images)])
    recorded = _RECORDED[TASKS.index(key.task)](labels, generator)
    return Predictions(key, "teacher", split, visit, classes, names, patients, labels, recorded)


def _labels(labels: np.ndarray, generator: np.random.Generator) -> dict[str, object]:
    noise = generator.beta(2, 3, labels.shape)
    return {"probabilities": np.clip(0.35 * labels + 0.65 * noise, 0, 1).astype(np.float32)}


def _boxes(labels: np.ndarray, generator: np.random.Generator) -> dict[str, object]:
    true, own, boxes, scores, classes = [], [], [], [], []
    for row in labels:
        present = np.flatnonzero(row)
        corner = generator.uniform(10, 120, (len(present), 2))
        found = np.hstack([corner, corner + generator.uniform(30, 90, (len(present), 2))]).astype(np.float32)
        extra = generator.uniform(0, 100, (3, 2))
        drawn = np.vstack([found + generator.normal(0, 6, found.shape), np.hstack([extra, extra + 50])])
        true.append(found)
        own.append(present)
        boxes.append(drawn.astype(np.float32))
        scores.append(np.append(generator.beta(4, 3, len(present)), generator.beta(1, 5, 3)).astype(np.float32))
        classes.append(np.append(present, generator.integers(len(row), size=3)))
    parts = {"true_boxes": true, "true_classes": own, "boxes": boxes, "scores": scores, "box_classes": classes}
    none = {"ignored_boxes": [np.zeros((0, 4), np.float32)], "ignored_classes": [np.zeros(0, int)]}
    recorded = {name: Ragged.of(values) for name, values in parts.items()}
    recorded |= {name: Ragged.of(values * len(labels)) for name, values in none.items()}
    return {"sizes": np.full((len(labels), 2), SIDE), **recorded}


def _masks(labels: np.ndarray, generator: np.random.Generator) -> dict[str, object]:
    true, drawn = (np.zeros((*labels.shape, MASK, MASK), bool) for _ in range(2))
    rows, columns = np.indices((MASK, MASK))
    for image, k in zip(*np.nonzero(labels + 1), strict=True):
        if labels[image, k] or generator.random() < 0.05:
            y, x, radius = generator.uniform((16, 16, 6), (48, 48, 15)).tolist()
            shift = generator.normal(0, 3, 2)
            true[image, k] = bool(labels[image, k]) & (np.hypot(rows - y, columns - x) < radius)
            drawn[image, k] = np.hypot(rows - y - shift[0], columns - x - shift[1]) < radius
    masks = {"true_masks": true, "predicted_masks": drawn, "known_masks": np.ones_like(true)}
    return {name: Masks.encode(values) for name, values in masks.items()}


_RECORDED = (_labels, _boxes, _masks)


def _examples(predictions: Predictions, number: int, generator: np.random.Generator) -> list[Example]:
    """The images that are worth a look, as the report keeps them: smooth blotches for radiographs."""
    indices = dict.fromkeys(case.index for case in choose_cases(predictions, number))
    return [_example(predictions, index, generator) for index in indices]


def _example(predictions: Predictions, index: int, generator: np.random.Generator) -> Example:
    side = MASK if predictions.key.task is TASKS[2] else SIDE
    blotches = generator.integers(20, 230, (9, 9)).astype(np.uint8)
    image = cv2.resize(blotches, (side, side), interpolation=cv2.INTER_CUBIC)
    image = np.clip(image + generator.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
    common = {"image": image, "name": str(predictions.images[index]), "labels": predictions.labels[index]}
    if predictions.key.task is TASKS[0]:
        return ClassificationExample(**common, probabilities=predictions.array("probabilities")[index])
    if predictions.key.task is TASKS[1]:
        of = {name: predictions.ragged(name).image(index) for name in ("boxes", "scores", "box_classes")}
        true = {name: predictions.ragged(f"true_{name}").image(index) for name in ("boxes", "classes")}
        seen = of["scores"] >= 0.3
        return DetectionExample(
            **common, boxes=true["boxes"], box_classes=true["classes"], pred_boxes=of["boxes"][seen],
            pred_scores=of["scores"][seen], pred_classes=of["box_classes"][seen],
        )  # fmt: skip
    stacks = {name: predictions.masks(f"{name}_masks").image(index).astype(np.uint8) for name in ("true", "predicted")}
    return SegmentationExample(**common, masks=stacks["true"], pred_masks=stacks["predicted"])
