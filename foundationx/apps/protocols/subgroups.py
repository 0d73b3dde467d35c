"""Subgroups: each head's AUROC by sex, age and view, and the gap between the best and the worst group.

A gap between small groups is mostly chance: the interval of every group stands beside it, and a group in which no class
has known labels of both kinds has no value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pydantic import Field

from foundationx.apps.protocols.base import LABELS, Request, Result, Subject
from foundationx.core.config.model import Section
from foundationx.core.errors import ConfigError, nearest
from foundationx.core.types import Split, TaskKey
from foundationx.datasets.attributes import AGES, groups_of
from foundationx.datasets.cards.catalog import Catalog
from foundationx.evaluation.evaluator import evaluate
from foundationx.evaluation.subgroups import LEAST, GroupScore, score, scores


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
    groups = groups_of(card, data_module.roots[request.card], predictions.images, options.ages)
    rows = _rows([score(predictions, "all", "all"), *scores(predictions, groups, LEAST)])
    title = f"{key} of {request.checkpoint} ({subject.name}) by subgroup, test"
    columns = ("attribute", "group", "patients", "mean AUROC", "95 % interval", "gap to the best")
    return Result(title, columns, rows, [f"groups of fewer than {LEAST} patients are left out"], [predictions])


def _rows(found: Sequence[GroupScore]) -> list[tuple[str, ...]]:
    """Attribute, group, patients, mean, interval and gap to the best group of the attribute, as text."""
    best: dict[str, float] = {}
    for entry in found:
        if entry.value is not None:
            best[entry.attribute] = max(entry.value, best.get(entry.attribute, entry.value))
    rows: list[tuple[str, ...]] = []
    for entry in found:
        ends = "-" if entry.low is None else f"{entry.low:.4f} to {entry.high:.4f}"
        mean = "-" if entry.value is None else f"{entry.value:.4f}"
        gap = "-" if entry.value is None else f"{best[entry.attribute] - entry.value:.4f}"
        gap = "" if entry.attribute == "all" else gap
        rows.append((entry.attribute, entry.group, str(entry.patients), mean, ends, gap))
    return rows
