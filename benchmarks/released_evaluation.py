"""Evaluation as the released code does it, written out plainly in our own words.

See ``docs/methods/foundation_x.md``, "6 Cost of the released loop". One model after the other; each head on its own,
with a loader of its own, every image decoded; detection one image at a time; all predictions and targets kept in lists
until the end, where scikit-learn, pycocotools on a copy of the truth and a sum over all masks make the numbers.
"""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Mapping

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from sklearn.metrics import roc_auc_score

from foundationx.core.types import Batch, Prediction, Split, Task, TaskKey
from foundationx.data.datamodule import DataModule
from foundationx.data.loader import in_order, make_loader
from foundationx.data.normalise import Normaliser
from foundationx.evaluation.matching import IOUS
from foundationx.models.foundation_model import FoundationModel
from foundationx.tasks.detection.record import true_boxes

Kept = list[tuple[Prediction, Batch]]


def evaluate_plainly(
    data_module: DataModule, models: Mapping[str, FoundationModel], split: Split
) -> dict[tuple[str, TaskKey], np.ndarray]:
    """AUROC, AP at 0.40 or Dice of each class, by model and head."""
    return {
        (name, key): _head(data_module, model, key, split)
        for name, model in models.items()
        for key in data_module.annotations
    }


def _head(data_module: DataModule, model: FoundationModel, key: TaskKey, split: Split) -> np.ndarray:
    size = 1 if key.task is Task.DETECTION else data_module.config.runtime.eval_batch_size
    loader = make_loader(
        data_module.evaluation(split), in_order(key, data_module.indices[key][split], size), 0, pin_memory=False
    )
    normalise = Normaliser(data_module.config.model, "cpu")
    kept: Kept = []
    model.eval()
    for batch in loader:
        with torch.no_grad():
            kept.append((model.predict(normalise(batch.images), key), batch))
    return _SCORES[key.task](kept, len(data_module.classes[key]))


def _auroc(kept: Kept, classes: int) -> np.ndarray:
    truth = np.concatenate([batch.labels.numpy() for _, batch in kept])
    output = np.concatenate([prediction.probabilities.numpy() for prediction, _ in kept]).astype(np.float64)
    known = ~np.isnan(truth)
    columns = [(truth[known[:, k], k], output[known[:, k], k]) for k in range(classes)]
    return np.array([roc_auc_score(t, s) if 0 < t.sum() < len(t) else np.nan for t, s in columns])


def _dice(kept: Kept, classes: int) -> np.ndarray:
    truth = np.concatenate([batch.masks.numpy() for _, batch in kept]) == 1
    output = np.concatenate([prediction.masks.numpy() for prediction, _ in kept]) >= 0.5
    both, total = (truth & output).sum((2, 3)), truth.sum((2, 3)) + output.sum((2, 3))
    return np.where(total == 0, 1.0, 2 * both / np.maximum(total, 1)).mean(0)


def _ap40(kept: Kept, classes: int) -> np.ndarray:
    truth: list[dict] = []
    result: list[dict] = []
    for image, (prediction, batch) in enumerate(kept):
        meta = batch.metas[0]
        scale = np.array([meta.width, meta.height, meta.width, meta.height], dtype=np.float32)
        corners, labels = true_boxes(batch, 0)
        for entry in _entries(corners * scale, labels, image):
            area = entry["bbox"][2] * entry["bbox"][3]
            truth.append(entry | {"id": len(truth) + 1, "area": area, "iscrowd": 0})
        entries = _entries(prediction.relative_boxes[0].numpy() * scale, prediction.box_classes[0].numpy(), image)
        for entry, score in zip(entries, prediction.scores[0].tolist(), strict=True):
            result.append(entry | {"score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        categories = [{"id": k, "name": str(k)} for k in range(classes)]
        coco.dataset = {"images": [{"id": n} for n in range(len(kept))], "annotations": truth, "categories": categories}
        coco.createIndex()
        judge = COCOeval(copy.deepcopy(coco), coco.loadRes(result), "bbox")
        judge.params.iouThrs = IOUS
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][0, :, :, 0, -1].mean(0)
    return np.where(precision < 0, np.nan, precision)


def _entries(boxes: np.ndarray, labels: np.ndarray, image: int) -> list[dict]:
    boxes = boxes.astype(np.float64)
    shapes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()
    return [
        {"image_id": image, "category_id": label, "bbox": shape}
        for shape, label in zip(shapes, labels.tolist(), strict=True)
    ]


_SCORES = {Task.CLASSIFICATION: _auroc, Task.DETECTION: _ap40, Task.SEGMENTATION: _dice}
