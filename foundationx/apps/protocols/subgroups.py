"""Subgroups: each head's AUROC by sex, age and view, and the gap between the best and the worst group.

A gap between small groups is mostly chance: the interval of every group stands beside it, and a group in which no class
has known labels of both kinds has no value.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pydantic import Field

from foundationx.apps.protocols.base import LABELS, Request, Result, Subject
from foundationx.core.config.model import Section
from foundationx.core.errors import ConfigError, nearest
from foundationx.core.types import Split, TaskKey
from foundationx.datasets.attributes import AGES, group_of, read_attributes
from foundationx.datasets.cards.catalog import Catalog
from foundationx.evaluation.bootstrap import estimate
from foundationx.evaluation.evaluator import evaluate
from foundationx.evaluation.measure import statistics
from foundationx.evaluation.predictions import Predictions
from foundationx.evaluation.statistic import MEAN

LEAST = 10
"""Patients that a group needs to be shown."""


class Options(Section):
    """Limits between age groups."""

    ages: tuple[int, ...] = Field(AGES, description="years at which ages are cut")


def run(request: Request, options: Options) -> Result:
    """Evaluates the dataset's own classification head on test and groups it.

    Raises:
        ConfigError: The model has no such head.
        CardError: The card names no attributes.
    """
    subject, key = Subject(request), TaskKey(request.card, LABELS)
    if key not in subject.model.classes:
        known = [str(name) for name in subject.model.classes]
        raise ConfigError("--card", f"the model has no head {key}", nearest(str(key), known))
    subject.need(key, (Split.TEST,))
    data_module = replace(subject.data_module, annotations={key: subject.data_module.annotations[key]})
    evaluation = evaluate(data_module, {subject.name: subject.model}, Split.TEST, subject.checkpoint.visit)
    predictions = evaluation.predictions[0]
    card = Catalog().card(request.card)
    attributes = read_attributes(card, data_module.roots[request.card], predictions.images)
    rows: list[tuple[str, ...]] = [("all", "all", *_scores(predictions), "")]
    for attribute, values in attributes.items():
        rows += _group_rows(attribute, np.array([group_of(attribute, v, options.ages) for v in values]), predictions)
    title = f"{key} of {request.checkpoint} ({subject.name}) by subgroup, test"
    columns = ("attribute", "group", "patients", "mean AUROC", "95 % interval", "gap to the best")
    return Result(title, columns, rows, [f"groups of fewer than {LEAST} patients are left out"], [predictions])


def _group_rows(attribute: str, groups: np.ndarray, predictions: Predictions) -> list[tuple[str, ...]]:
    scores = {}
    for group in sorted(set(groups) - {""}):
        part = predictions.take(groups == group)
        if len(set(part.patients)) >= LEAST:
            scores[group] = _scores(part)
    values = [float(mean) for _, mean, _ in scores.values() if mean != "-"]
    best = max(values, default=0.0)
    return [
        (attribute, group, patients, mean, interval, "-" if mean == "-" else f"{best - float(mean):.4f}")
        for group, (patients, mean, interval) in scores.items()
    ]


def _scores(predictions: Predictions) -> tuple[str, str, str]:
    """Patients, mean AUROC and its interval, as text."""
    patients = predictions.patient_count
    score = next(
        item
        for item in estimate(statistics(predictions), patients)
        if (item.metric, item.class_name) == ("AUROC", MEAN)
    )
    if score.value is None:
        return str(patients), "-", "-"
    ends = "-" if score.low is None else f"{score.low:.4f} to {score.high:.4f}"
    return str(patients), f"{score.value:.4f}", ends
