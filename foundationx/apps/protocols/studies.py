"""Studies: the images of one examination (frontal and lateral) judged together, beside every image by itself.

The probabilities of a study's images are fused class by class. A study is what the card's attribute ``study`` names, or
else the images of one patient in one folder, as CheXpert and MIMIC-CXR publish them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
from pydantic import Field

from foundationx.apps.protocols.base import LABELS, Request, Result, Subject
from foundationx.core.arrays import AnyArray
from foundationx.core.config.model import Section
from foundationx.core.errors import ConfigError, nearest
from foundationx.core.types import Split, TaskKey
from foundationx.datasets.attributes import read_attributes
from foundationx.datasets.cards.catalog import Catalog
from foundationx.evaluation.bootstrap import estimate
from foundationx.evaluation.evaluator import evaluate
from foundationx.evaluation.measure import statistics
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.statistic import MEAN


class Options(Section):
    """How images are put together."""

    fuse: Literal["mean", "max"] = Field("mean", description="probability of a study: mean or largest of its images")


def run(request: Request, options: Options) -> Result:
    """Evaluates the dataset's own classification head on test: images, views, and studies.

    Raises:
        ConfigError: The model has no such head, or no study has two images.
    """
    subject, key = Subject(request), TaskKey(request.card, LABELS)
    if key not in subject.model.classes:
        known = [str(name) for name in subject.model.classes]
        raise ConfigError(
            "--card", f"the model has no head {key}", nearest(str(key), known), "name one of its datasets"
        )
    subject.need(key, (Split.TEST,))
    data_module = replace(subject.data_module, annotations={key: subject.data_module.annotations[key]})
    evaluation = evaluate(data_module, {subject.name: subject.model}, Split.TEST, subject.checkpoint.visit)
    images = evaluation.predictions[0]
    card, attributes = Catalog().card(request.card), {}
    if card.attributes is not None:
        attributes = read_attributes(card, data_module.roots[request.card], images.images)
    studies = studies_of(images, attributes.get("study"))
    fused = fuse(images, studies, options.fuse)
    several = np.array([count > 1 for count in np.unique(studies, return_counts=True)[1]])
    if not several.any():
        found, fix = "no study has two images", "use a dataset whose studies have several, or a card with a `study`"
        raise ConfigError("--card", found, "frontal and lateral images of one study", fix)
    rows = [_row("images, each by itself", images)]
    views = np.array(attributes.get("view", [""] * len(images)))
    rows += [_row(f"images, view {view}", images.take(views == view)) for view in sorted(set(views) - {""})]
    rows += [_row(f"studies, {options.fuse} of their images", fused)]
    rows += [_row("studies of several images alone", fused.take(several))]
    title = f"{key} of {request.checkpoint} ({subject.name}) by study, test"
    notes = ["intervals are by patient; a study has a label if one of its images has it"]
    return Result(title, ("what", "n", "patients", "mean AUROC", "95 % interval"), rows, notes, [fused])


def studies_of(predictions: Predictions, named: list[str] | None) -> AnyArray:
    """(N,) name of each image's study, with its patient."""
    folders = [str(PurePosixPath(image).parent) for image in predictions.images]
    names = folders if named is None else [name or folder for name, folder in zip(named, folders, strict=True)]
    return np.array([f"{patient} {name}" for patient, name in zip(predictions.patients, names, strict=True)])


def fuse(predictions: Predictions, studies: AnyArray, how: str) -> Predictions:
    """Predictions of studies, in alphabetical order: fused probabilities, and the largest known label of each class.

    Args:
        predictions: Predictions of image labels.
        studies: (N,) name of each image's study.
        how: ``mean`` or ``max``.
    """
    names, first, index = np.unique(studies, return_index=True, return_inverse=True)
    shape = (len(names), len(predictions.classes))
    scores, labels = np.zeros(shape), np.full(shape, -np.inf)
    probabilities = predictions.array("probabilities").astype(np.float64)
    if how == "mean":
        np.add.at(scores, index, probabilities)
        scores /= np.bincount(index)[:, None]
    else:
        np.maximum.at(scores, index, probabilities)
    np.maximum.at(labels, index, np.where(np.isnan(predictions.labels), -np.inf, predictions.labels))
    known = np.where(np.isinf(labels), np.nan, labels).astype(np.float32)
    recorded = {"probabilities": scores.astype(np.float32)}
    return replace(
        predictions, images=names, patients=predictions.patients[first], labels=known, recorded=recorded, thresholds={}
    )


def _row(what: str, predictions: Predictions) -> tuple[str, ...]:
    patients = predictions.patient_count
    scores = estimate([s for s in statistics(predictions) if s.metric == "AUROC"], patients)
    score = next(item for item in scores if item.class_name == MEAN)
    value = "-" if score.value is None else f"{score.value:.4f}"
    ends = "-" if score.low is None else f"{score.low:.4f} to {score.high:.4f}"
    return what, f"{len(predictions):,}", str(patients), value, ends
