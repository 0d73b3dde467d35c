"""Embeddings of images by a frozen backbone, with their labels; and a linear probe on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from foundationx.apps.protocols.base import LABELS, Subject
from foundationx.core.errors import ConfigError
from foundationx.core.types import Split, TaskKey
from foundationx.data.loader import AGAIN, PooledDataset, in_order, make_loader, read_all, usable
from foundationx.data.normalise import Normaliser
from foundationx.evaluation.metrics.auroc import auroc
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.ranking import POSITIVE, Steps
from foundationx.models.foundation_model import FoundationModel
from foundationx.tasks.classification.prediction import ClassificationPrediction

STRENGTHS = tuple(10.0**power for power in range(-5, 3))
"""Inverse strengths C of regularisation that are tried on validation; of equal ones the smallest is chosen."""


@dataclass(frozen=True)
class Embeddings:
    """Images of one split as (N, D) features, with (N, K) tri-state labels, image and patient names."""

    features: np.ndarray
    labels: np.ndarray
    images: np.ndarray
    patients: np.ndarray

    def take(self, chosen: np.ndarray) -> Embeddings:
        """Some of the images, by index."""
        return Embeddings(*(part[chosen] for part in (self.features, self.labels, self.images, self.patients)))


def check_projector(subject: Subject, projected: bool) -> None:
    """Raises ConfigError: the projected feature is asked for, and the model has no projector."""
    if projected and (subject.model.config.projector is None or LABELS.value not in subject.model.trunks):
        fix = "leave projected out, or name a model that has one"
        raise ConfigError("--with projected", "the model has no projector", "a projector", fix)


def embed(subject: Subject, key: TaskKey, split: Split, projected: bool) -> Embeddings:
    """The pooled feature of the last stage of every image of a split, whole and unaugmented.

    Args:
        subject: Model and dataset.
        key: Head whose labels are read; it need not exist in the model.
        split: Split of the images.
        projected: Whether to embed after the projector, which the model has to have.
    """
    trunk = subject.model.trunks[LABELS.value] if projected else None

    def pooled(inputs: Tensor) -> Tensor:
        maps = subject.model.backbone(inputs)
        return (trunk(maps) if trunk is not None else maps[-1].mean(dim=(2, 3))).double()

    return apply_to_all(subject, key, subject.data_module.evaluation(split), split, pooled)


def probabilities_of(model: FoundationModel, inputs: Tensor, key: TaskKey) -> Tensor:
    """Probabilities (B, K) of a classification head for normalised images (B, 3, H, W)."""
    prediction = model.predict(inputs, key)
    assert isinstance(prediction, ClassificationPrediction)
    return prediction.probabilities


@torch.no_grad()
def apply_to_all(
    subject: Subject, key: TaskKey, pool: PooledDataset, split: Split, answer: Callable[[Tensor], Tensor]
) -> Embeddings:
    """``answer`` of every image of a split; it takes normalised images (B, 3, H, W) and gives (B, D)."""
    runtime = subject.config.runtime
    batches = in_order(key, subject.data_module.indices[key][split], runtime.eval_batch_size)
    normalise = Normaliser(subject.config.model, subject.device)
    features, labels, images, patients = [], [], [], []
    loader = make_loader(pool, batches, runtime.workers, pin_memory=False)
    for item in read_all(loader, "evaluation", AGAIN):
        batch = usable(item, "raise")
        features.append(answer(normalise(batch.images.to(subject.device))).cpu().numpy())
        labels.append(batch.labels.numpy())
        images += [meta.image for meta in batch.metas]
        patients += [meta.patient for meta in batch.metas]
    return Embeddings(np.concatenate(features), np.concatenate(labels), np.array(images), np.array(patients))


class LinearProbe:
    """One logistic regression per class on standardised features, over the images whose label of the class is known.

    Args:
        train: Images to learn from; they also give mean and scale of each feature.
        strength: Inverse strength C of the L2 regularisation.
    """

    def __init__(self, train: Embeddings, strength: float):
        self.scaler = StandardScaler().fit(train.features)
        inputs = self.scaler.transform(train.features)
        self.classifiers = [_fit(inputs, train.labels[:, k], strength) for k in range(train.labels.shape[1])]

    def probabilities(self, embeddings: Embeddings) -> np.ndarray:
        """(N, K) float32 in [0, 1]; 0.5 for a class that training saw only present or only absent."""
        inputs = self.scaler.transform(embeddings.features)
        columns = [
            classifier.predict_proba(inputs)[:, 1] if classifier is not None else np.full(len(inputs), 0.5)
            for classifier in self.classifiers
        ]
        return np.stack(columns, axis=1).astype(np.float32)


def _fit(inputs: np.ndarray, labels: np.ndarray, strength: float) -> LogisticRegression | None:
    known = ~np.isnan(labels)
    present = labels[known] >= 0.5
    if len(set(present)) < 2:
        return None
    return LogisticRegression(C=strength, max_iter=2000).fit(inputs[known], present)


def best_probe(train: Embeddings, val: Embeddings, strengths: Sequence[float] = STRENGTHS) -> tuple[LinearProbe, float]:
    """The probe whose mean AUROC on validation is highest, and its C."""
    probes = [(LinearProbe(train, strength), strength) for strength in sorted(strengths)]
    scores = [mean_auroc(val.labels, probe.probabilities(val)) for probe, _ in probes]
    return probes[int(np.argmax([-1.0 if score is None else score for score in scores]))]


def mean_auroc(labels: np.ndarray, probabilities: np.ndarray) -> float | None:
    """Mean over classes with known labels of both kinds; None if there is no such class."""
    values = []
    for k in range(labels.shape[1]):
        known = ~np.isnan(labels[:, k])
        units = np.zeros(int(known.sum()), dtype=int)
        steps = Steps.of(probabilities[known, k].astype(float), labels[known, k] >= POSITIVE, units, 1)
        values.append(float(auroc(steps, np.ones((1, 1)))[0]))
    defined = [value for value in values if not np.isnan(value)]
    return sum(defined) / len(defined) if defined else None


def predictions_of(
    subject: Subject, key: TaskKey, split: Split, embeddings: Embeddings, probabilities: np.ndarray
) -> Predictions:
    """A probe's predictions in the form that ``foundationx compare`` reads."""
    return Predictions(
        key=key,
        model=subject.name,
        split=split,
        visit=subject.checkpoint.visit,
        classes=subject.data_module.classes[key],
        images=embeddings.images,
        patients=embeddings.patients,
        labels=embeddings.labels,
        recorded={"probabilities": probabilities},
    )
